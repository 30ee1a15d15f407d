//! Why a question got no answer, told apart by what the operator or the caller can do about it.
//!
//! Retrying is left to the caller: [`StoreError::is_transient`] says whether it can help.

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
    #[error("row in {table} cannot be read: {reason}")]
    BadRow {
        /// Table.
        table: &'static str,
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
