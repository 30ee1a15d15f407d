//! The store's questions asked of both databases: SQLite in a directory of its own, and a real PostgreSQL cluster started for
//! the tests and stopped with them.
//!
//! Every test that `on_both!` lists runs twice. What only one database can do wrong is in `faults`.

mod cluster;
mod faults;
mod findings;
mod people;
mod sample;
mod seen;
mod segments;
mod work;

use std::path::PathBuf;
use store::Store;
use tempfile::TempDir;

/// A database for one test.
pub struct Db {
    /// Its address.
    pub url: String,
    /// It, opened and claimed.
    pub store: Store,
    dir: Option<TempDir>,
}

impl Db {
    /// An empty SQLite database.
    pub async fn sqlite() -> Db {
        let dir = TempDir::new().unwrap();
        let url = format!("sqlite://{}", dir.path().join("portreeve.db").display());
        Db { store: Store::open_exclusive(&url).await.unwrap(), url, dir: Some(dir) }
    }

    /// An empty database in the shared cluster.
    pub async fn postgres() -> Db {
        let url = cluster::shared().database();
        Db { store: Store::open_exclusive(&url).await.unwrap(), url, dir: None }
    }

    /// The file of a SQLite database.
    pub fn path(&self) -> PathBuf {
        self.dir.as_ref().expect("a SQLite database").path().join("portreeve.db")
    }
}

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name($crate::Db::sqlite().await).await })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name($crate::Db::postgres().await).await })*
        }
    };
}
pub(crate) use on_both;
