//! The claim to be the only server of a database: a lock on a file beside SQLite's, an advisory lock of a PostgreSQL session.
//!
//! Either ends with the process, however that ends. What to tell the operator is said here; what to do then is the caller's.

use crate::open::opening;
use crate::sql::{all, get, one, opt};
use crate::{Result, StoreError};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, Value};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The two numbers of the advisory lock: "port", "reeve" in ASCII as far as four bytes hold them. They only need to be ours.
const LOCK: (i32, i32) = (0x706f_7274, 0x7265_6576);

/// The session that holds the lock may be lost while the others live on; so it is asked at least this often.
const RECHECK: Duration = Duration::from_secs(10);

/// A claim that is held until it is dropped or released.
pub(crate) enum Claim {
    File(Mutex<Option<File>>),
    Session(Session),
}

pub(crate) struct Session {
    /// A pool of one connection, which is the session that holds the lock.
    link: DatabaseConnection,
    target: String,
    /// Set whenever the claim may have been lost.
    doubt: Arc<AtomicBool>,
    verified: Mutex<Option<Instant>>,
}

impl Claim {
    /// Claims a SQLite database by locking `<file>.lock`, which holds the number of the process.
    pub(crate) fn file(db: &Path, target: &str) -> Result<Claim> {
        let path = {
            let mut name = db.as_os_str().to_owned();
            name.push(".lock");
            std::path::PathBuf::from(name)
        };
        let refused = |e: std::io::Error| StoreError::Permission {
            target: path.display().to_string(),
            reason: e.to_string(),
            hint: "the directory of the database must be writable by the user portreeve runs as".into(),
        };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(refused)?;
                Ok(Claim::File(Mutex::new(Some(file))))
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.rewind().and_then(|()| file.read_to_string(&mut pid)).map_err(refused)?;
                let holder = match pid.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                let hint = format!("stop {holder} first, or give this one another --data directory");
                Err(StoreError::Locked { target: target.to_owned(), holder, hint })
            }
            Err(TryLockError::Error(e)) => Err(refused(e)),
        }
    }

    /// Claims a PostgreSQL database with an advisory lock of a session kept for it.
    pub(crate) async fn session(options: &PgConnectOptions, target: &str, doubt: Arc<AtomicBool>) -> Result<Claim> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.clone())
            .await
            .map_err(|e| opening(e, target))?;
        let link = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        let session = Session { link, target: target.to_owned(), doubt, verified: Mutex::new(None) };
        if let Err(e) = session.take().await {
            session.link.close_by_ref().await.ok();
            return Err(e);
        }
        Ok(Claim::Session(session))
    }

    /// Makes sure that the claim is still ours; takes it again when it was lost and nobody else has it.
    pub(crate) async fn verify(&self) -> Result<()> {
        match self {
            // The kernel holds it for us as long as the file is open.
            Claim::File(_) => Ok(()),
            Claim::Session(session) => {
                let recent = session.verified.lock().expect("not poisoned").is_some_and(|at| at.elapsed() < RECHECK);
                if recent && !session.doubt.load(Ordering::SeqCst) {
                    return Ok(());
                }
                session.take().await
            }
        }
    }

    /// Gives it up.
    pub(crate) async fn release(&self) {
        match self {
            Claim::File(file) => drop(file.lock().expect("not poisoned").take()),
            Claim::Session(session) => {
                session.link.close_by_ref().await.ok();
            }
        }
    }
}

impl Session {
    async fn take(&self) -> Result<()> {
        // Cleared first: what sets it while we ask must be heeded the next time.
        self.doubt.store(false, Ordering::SeqCst);
        let taken = self.try_take().await;
        match &taken {
            Ok(()) => *self.verified.lock().expect("not poisoned") = Some(Instant::now()),
            Err(_) => self.doubt.store(true, Ordering::SeqCst),
        }
        taken
    }

    async fn try_take(&self) -> Result<()> {
        let lock = || vec![Value::from(LOCK.0), Value::from(LOCK.1)];
        // Locks of a session are counted, so it is only taken when it is not held.
        let held = "SELECT CASE WHEN EXISTS(SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() \
                    AND classid::int8 = $1 AND objid::int8 = $2) THEN TRUE ELSE pg_try_advisory_lock($1, $2) END AS held";
        if let Some(row) = one(&self.link, held, lock()).await?
            && get::<bool>(&row, "held")?
        {
            return Ok(());
        }
        let who = "SELECT a.application_name AS name, CAST(a.client_addr AS TEXT) AS host FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
                   WHERE l.locktype = 'advisory' AND l.granted AND l.classid::int8 = $1 AND l.objid::int8 = $2 \
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let mut holder = "another portreeve process".to_owned();
        if let Some(row) = all(&self.link, who, lock()).await?.first() {
            let host = opt::<String>(row, "host")?.map(|host| format!(" on {host}")).unwrap_or_default();
            // Our sessions are called `portreeve process 1234`.
            holder = match get::<String>(row, "name")?.strip_prefix("portreeve ") {
                Some(process) => format!("{process}{host}"),
                None => format!("another process{host}"),
            };
        }
        let hint = format!("stop {holder} first, or give this one another database");
        Err(StoreError::Locked { target: self.target.clone(), holder, hint })
    }
}
