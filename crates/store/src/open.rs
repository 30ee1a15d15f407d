//! Opening the database: the address, the pools of connections, the schema, and the claim to be its only server.
//!
//! Waiting for a database that is down is left to the caller: what fails here says whether another try can help.

use crate::claim::Claim;
use crate::{Result, StoreError, schema, sql};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, SqlxPostgresConnector, SqlxSqliteConnector,
    TransactionOptions, TransactionTrait,
};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a question waits for a connection to PostgreSQL before it says that the server is unreachable. Long enough for
/// a restart of the server on the same machine (about two seconds), short enough that a person sees an answer.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Connections to PostgreSQL at most. Its default limit is 100 for everybody; one server keeps some of ten busy.
const CONNECTIONS: u32 = 10;
/// Readers of SQLite beside its one writer: heavy lists do not queue behind each other on a small machine.
const READERS: u32 = 4;
/// How long SQLite waits for another process's write (`portreeve token create` beside `serve`).
const BUSY: Duration = Duration::from_secs(10);

/// Which database stands behind a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file of ours.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

impl Backend {
    /// `sqlite` or `postgresql`.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Sqlite => "sqlite",
            Backend::Postgres => "postgresql",
        }
    }
}

/// The database. Clones share its connections and its claim.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    /// SQLite: the one connection that writes. PostgreSQL: the pool.
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    claim: Option<Claim>,
}

/// A parsed address.
enum Address {
    File(PathBuf),
    Server(Box<PgConnectOptions>),
}

impl Store {
    /// Opens the database (SQLite: creates the file, readable by its owner alone) and brings its schema up to date.
    ///
    /// Does not claim it: this is for short commands beside a running server. Where the schema must change it is claimed
    /// for that long.
    pub async fn open(url: &str) -> Result<Store> {
        Self::connect(url, false).await
    }

    /// As [`Store::open`], and claims the database for this process until the last clone is dropped.
    pub async fn open_exclusive(url: &str) -> Result<Store> {
        Self::connect(url, true).await
    }

    async fn connect(url: &str, exclusive: bool) -> Result<Store> {
        let target = without_password(url);
        match Address::parse(url)? {
            Address::File(path) => Self::connect_file(&path, &target, exclusive).await,
            Address::Server(options) => Self::connect_server(*options, &target, exclusive).await,
        }
    }

    async fn connect_file(path: &Path, target: &str, exclusive: bool) -> Result<Store> {
        create(path, target)?;
        let mut claim = if exclusive { Some(Claim::file(path, target)?) } else { None };
        // synchronous=FULL: what was answered `Recorded` survives a power cut too. Measured on one disk it makes 4,500 small
        // transactions a second of 31,000, and no difference to batches of 500 rows, which is what sweeps write.
        let options =
            SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).foreign_keys(true).disable_statement_logging();
        let write = options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        // One connection for all writes: SQLite has one writer at a time anyway, and so nobody ever finds it busy.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(30));
        let writer = pool.connect_with(write).await.map_err(|e| opening(e, target))?;
        let writer = SqlxSqliteConnector::from_sqlx_sqlite_pool(writer);
        let readers = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(Duration::from_secs(30));
        let reader = SqlxSqliteConnector::from_sqlx_sqlite_pool(readers.connect_lazy_with(options.read_only(true)));

        if schema::pending(&writer, target).await? {
            let passing = if claim.is_none() { Some(Claim::file(path, target)?) } else { None };
            schema::migrate(&writer).await?;
            drop(passing);
        }
        Ok(Store { inner: Arc::new(Inner { backend: Backend::Sqlite, writer, reader, claim: claim.take() }) })
    }

    async fn connect_server(options: PgConnectOptions, target: &str, exclusive: bool) -> Result<Store> {
        // The pool would try for all of its timeout and then only say that it timed out; one connection of its own says why.
        let options = options.disable_statement_logging();
        let first = options.connect().await.map_err(|e| opening(e, target))?;
        first.close().await.ok();

        let doubt = Arc::new(AtomicBool::new(true));
        let mut claim = if exclusive { Some(Claim::session(&options, target, doubt.clone()).await?) } else { None };
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .after_connect(move |_, _| {
                // A new connection may mean that the server was away, and with it the session that holds our claim.
                doubt.store(true, Ordering::SeqCst);
                Box::pin(async { Ok(()) })
            })
            .connect_with(options.clone())
            .await
            .map_err(|e| opening(e, target))?;
        let db = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);

        if schema::pending(&db, target).await? {
            let passing = if claim.is_none() { Some(Claim::session(&options, target, Arc::default()).await?) } else { None };
            schema::migrate(&db).await?;
            if let Some(passing) = passing {
                passing.release().await;
            }
        }
        Ok(Store { inner: Arc::new(Inner { backend: Backend::Postgres, writer: db.clone(), reader: db, claim: claim.take() }) })
    }

    /// Which database stands behind it.
    pub fn backend(&self) -> Backend {
        self.inner.backend
    }

    /// One round trip to the database; also finds out whether the claim still holds.
    pub async fn ping(&self) -> Result<()> {
        self.held().await?;
        sql::one(self.read(), "SELECT 1 AS one", vec![]).await.map(drop)
    }

    /// Ends the connections and gives up the claim. Other clones get errors from then on.
    pub async fn close(self) {
        if let Some(claim) = &self.inner.claim {
            claim.release().await;
        }
        self.inner.reader.close_by_ref().await.ok();
        self.inner.writer.close_by_ref().await.ok();
    }

    /// For questions that change nothing.
    pub(crate) fn read(&self) -> &DatabaseConnection {
        &self.inner.reader
    }

    /// For one statement that changes something; several belong in a [`Store::begin`].
    pub(crate) async fn write(&self) -> Result<&DatabaseConnection> {
        self.held().await?;
        Ok(&self.inner.writer)
    }

    /// A transaction that may write. On SQLite it holds the write lock from its first moment, so that it never fails half-way
    /// because another process wrote in between.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction> {
        self.held().await?;
        let mode = (self.inner.backend == Backend::Sqlite).then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..Default::default() };
        Ok(self.inner.writer.begin_with_options(options).await?)
    }

    async fn held(&self) -> Result<()> {
        match &self.inner.claim {
            Some(claim) => claim.verify().await,
            None => Ok(()),
        }
    }
}

impl Address {
    fn parse(url: &str) -> Result<Address> {
        let bad = |reason: &str| StoreError::BadUrl { url: without_password(url), reason: reason.into() };
        match url.split_once("://") {
            Some(("sqlite", path)) if !path.starts_with('/') => Err(bad("the path of the file must be absolute")),
            Some(("sqlite", path)) if path.ends_with('/') => Err(bad("it names a directory, not a file")),
            Some(("sqlite", path)) => Ok(Address::File(path.into())),
            Some(("postgres" | "postgresql", _)) => {
                let options = PgConnectOptions::from_str(url).map_err(|e| bad(&e.to_string()))?;
                let name = format!("portreeve process {}", std::process::id());
                Ok(Address::Server(Box::new(options.application_name(&name))))
            }
            Some((scheme, _)) => Err(bad(&format!("`{scheme}` is neither sqlite nor postgres"))),
            None => Err(bad("it has no scheme")),
        }
    }
}

/// The address as it may appear in messages.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match authority.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}@{host}{path}", user.split_once(':').map_or(user, |(name, _)| name)),
        None => format!("{scheme}://{authority}{path}"),
    }
}

/// Creates the file so that only its owner reads it: it holds password hashes and the secrets of receivers. SQLite gives the
/// same mode to the files beside it.
fn create(path: &Path, target: &str) -> Result<()> {
    match OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(StoreError::BadUrl {
            url: target.to_owned(),
            reason: format!("the directory {} does not exist", path.parent().unwrap_or(Path::new("/")).display()),
        }),
        Err(e) if e.kind() == ErrorKind::IsADirectory => {
            Err(StoreError::BadUrl { url: target.to_owned(), reason: "it names a directory, not a file".into() })
        }
        Err(e) => Err(StoreError::Permission {
            target: target.to_owned(),
            reason: e.to_string(),
            hint: "the file and its directory must be writable by the user portreeve runs as".into(),
        }),
    }
}

/// Why a first connection failed.
pub(crate) fn opening(error: sqlx::Error, target: &str) -> StoreError {
    let unreachable =
        |reason: String, hint: &str| StoreError::Unreachable { target: target.to_owned(), reason, hint: hint.to_owned() };
    match error {
        sqlx::Error::Io(e) if e.kind() == ErrorKind::ConnectionRefused => unreachable(
            e.to_string(),
            "nothing listens there: start PostgreSQL (systemctl start postgresql), or correct host and port",
        ),
        sqlx::Error::Io(e) if e.kind() == ErrorKind::NotFound => unreachable(
            e.to_string(),
            "the socket is not there: start PostgreSQL (systemctl start postgresql), or correct its directory",
        ),
        sqlx::Error::Io(e) => unreachable(e.to_string(), "check host, port and the network between"),
        sqlx::Error::Tls(e) => unreachable(e.to_string(), "check the certificate of the server and `sslmode` in the address"),
        sqlx::Error::Configuration(e) => StoreError::BadUrl { url: target.to_owned(), reason: e.to_string() },
        sqlx::Error::Database(e) => {
            let permission = |hint: &str| StoreError::Permission {
                target: target.to_owned(),
                reason: e.message().to_owned(),
                hint: hint.to_owned(),
            };
            match e.code().unwrap_or_default().as_ref() {
                "28P01" | "28000" => permission("check user and password in the address, and pg_hba.conf on the server"),
                "3D000" => permission("create the database first: createdb portreeve"),
                code => match crate::error::from_code(code, e.message()) {
                    StoreError::Permission { reason, hint, .. } => {
                        StoreError::Permission { target: target.to_owned(), reason, hint }
                    }
                    StoreError::Unreachable { reason, hint, .. } => {
                        StoreError::Unreachable { target: target.to_owned(), reason, hint }
                    }
                    other => other,
                },
            }
        }
        other => unreachable(other.to_string(), "check that the server is running and reachable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_never_show_a_password() {
        for (url, shown) in [
            ("postgres://reeve:s3cret@db.example:5432/portreeve", "postgres://reeve@db.example:5432/portreeve"),
            ("postgres://reeve:p@ss@db/portreeve?password=s3cret", "postgres://reeve@db/portreeve"),
            ("postgres://db/portreeve", "postgres://db/portreeve"),
            ("sqlite:///var/lib/portreeve/portreeve.db", "sqlite:///var/lib/portreeve/portreeve.db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn bad_addresses_are_refused_by_name() {
        for (url, why) in [
            ("portreeve.db", "it has no scheme"),
            ("sqlite://portreeve.db", "absolute"),
            ("sqlite:///var/lib/", "directory"),
            ("mysql://db/portreeve", "`mysql` is neither"),
            ("postgres://db:notaport/x", "port"),
        ] {
            let error = Address::parse(url).err().expect(url).to_string();
            assert!(error.contains(why) && error.contains(url), "{error}");
        }
    }
}
