//! Why a question got no answer, told apart by what the operator or the caller can do about it.
//!
//! Retrying is left to the caller: [`StoreError::is_transient`] says whether it can help.

use sea_orm::{DbErr, RuntimeErr, sqlx};

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database server does not answer, or dropped the connection.
    #[error("database {target} is unreachable: {reason}\nhint: {hint}")]
    Unreachable {
        /// Where, without credentials.
        target: String,
        /// What the driver said.
        reason: String,
        /// What the operator can do.
        hint: String,
    },
    /// Too many writers at this moment; the same call may succeed a moment later.
    #[error("database is busy: {0}")]
    Busy(String),
    /// Another process owns the database.
    #[error("database {target} is in use by {holder}\nhint: only one `portreeve serve` may use a database; {hint}")]
    Locked {
        /// Which database.
        target: String,
        /// `process 1234`.
        holder: String,
        /// What the operator can do.
        hint: String,
    },
    /// The database was written by a newer release.
    #[error(
        "database {target} has schema `{database}`, newer than `{binary}`, the newest this portreeve knows\nhint: run the release that wrote it or a later one, or restore a backup made before the upgrade"
    )]
    NewerSchema {
        /// Which database.
        target: String,
        /// Newest schema step in the database.
        database: String,
        /// Newest schema step that this binary knows.
        binary: String,
    },
    /// The address of the database is not one.
    #[error(
        "`{url}` is not a database address: {reason}\nhint: write sqlite:///var/lib/portreeve/portreeve.db or postgres://user:password@host:5432/name"
    )]
    BadUrl {
        /// As written, without password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file or the server refuses us.
    #[error("no permission for database {target}: {reason}\nhint: {hint}")]
    Permission {
        /// Which database.
        target: String,
        /// What the system said.
        reason: String,
        /// What the operator can do.
        hint: String,
    },
    /// Something of that name exists already.
    #[error("{0} exists already")]
    Conflict(String),
    /// It is not there (any more).
    #[error("{0} does not exist")]
    NotFound(String),
    /// It stands in a state that does not allow this.
    #[error("{0}")]
    NotAllowed(String),
    /// A row holds what this release cannot read.
    #[error("column {column} of a row cannot be read: {reason}")]
    BadRow {
        /// Column.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// The database refused a statement for a reason of its own: disk full, corruption, a defect of ours.
    #[error("database error: {0}")]
    Backend(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody doing anything to us.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unreachable { .. } | StoreError::Busy(_))
    }
}

/// Answer of every question.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A failure in the middle of a question, sorted by what it means. Opening sorts its own, because it knows more.
impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if let DbErr::ConnectionAcquire(reason) = &error {
            return unreachable(reason.to_string());
        }
        let (DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause))) = &error
        else {
            return StoreError::Backend(error.to_string());
        };
        match cause.as_ref() {
            sqlx::Error::Database(database) => from_code(&database.code().unwrap_or_default(), database.message()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => unreachable(cause.to_string()),
            other => StoreError::Backend(other.to_string()),
        }
    }
}

fn unreachable(reason: String) -> StoreError {
    StoreError::Unreachable {
        target: "server".into(),
        reason,
        hint: "check that PostgreSQL is running and reachable; portreeve goes on by itself when it is back".into(),
    }
}

/// SQLSTATEs (PostgreSQL, appendix A) are five characters; SQLite's extended result codes are numbers of up to four digits.
pub(crate) fn from_code(code: &str, message: &str) -> StoreError {
    let permission =
        |hint: &str| StoreError::Permission { target: "file or role".into(), reason: message.into(), hint: hint.into() };
    match code {
        // Class 08 connection, 57P0x shutdown and start-up, 53300 too many connections, 25006 read-only during a failover.
        "57P01" | "57P02" | "57P03" | "53300" | "25006" => unreachable(message.into()),
        c if c.len() == 5 && c.starts_with("08") => unreachable(message.into()),
        // Serialisation failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => StoreError::Busy(message.into()),
        "42501" => permission("grant the role all privileges on the database and its schema"),
        "23505" | "1555" | "2067" => StoreError::Conflict(message.into()),
        "23503" | "787" => StoreError::NotFound(format!("what the row refers to ({message})")),
        sqlite if sqlite.len() < 5 => match sqlite.parse::<u32>().map(|n| n & 0xff) {
            Ok(5 | 6) => StoreError::Busy(message.into()),
            Ok(3 | 8 | 14 | 23) => permission("the file and its directory must be writable by the user portreeve runs as"),
            Ok(13) => StoreError::Backend(format!("{message}\nhint: free space on the volume of the database")),
            Ok(11 | 26) => StoreError::Backend(format!("{message}\nhint: the file is damaged; restore it from a backup")),
            _ => StoreError::Backend(format!("{message} (code {code})")),
        },
        _ => StoreError::Backend(format!("{message} (code {code})")),
    }
}
