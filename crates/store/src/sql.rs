//! Values in and out of statements, in the dialect both databases accept: `$1` placeholders, epoch-ms instants, 16-byte addresses.
//!
//! Every subject's file writes its own statements with these; which columns make which entity is left to it.

use crate::{Result, StoreError};
use model::access::Role;
use model::alert::{AlertKind, AlertState, Language, NotificationState};
use model::asset::{CheckCeiling, Zone};
use model::event::EventKind;
use model::exposure::{DispositionKind, RiskKind, Severity};
use model::finding::{AttemptOutcome, FindingKind, FindingPhase};
use model::id::*;
use model::job::JobState;
use model::port_state::Phase;
use model::segment::{CanaryRole, Guard, SegmentStatus};
use model::service::{Confidence, Identity};
use model::task::{Cause, PortChoice, RunState, TaskKind, TaskState};
use model::{Duration, Liveness, Proto, Reason, State, Ts, address};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::net::IpAddr;
use uuid::Uuid;

/// Rows of one statement at most. Measured on both databases: beyond some hundreds of rows nothing gets faster.
const ROWS: usize = 500;
/// Keys looked up by one statement.
pub(crate) const IN_LIST: usize = 500;
/// Placeholders of one statement at most: SQLite's default limit is 32,766, PostgreSQL's 65,535.
const PLACEHOLDERS: usize = 30_000;

/// A type that is one column.
pub(crate) trait Field: Sized {
    /// As a placeholder's value.
    fn value(&self) -> Value;
    /// NULL of its type; PostgreSQL wants to know.
    fn null() -> Value;
    /// From a column; `None` for NULL.
    fn read(row: &QueryResult, column: &str) -> Result<Option<Self>>;
}

/// The value, or NULL.
pub(crate) fn value<T: Field>(field: &Option<T>) -> Value {
    field.as_ref().map_or_else(T::null, T::value)
}

/// A column that is never NULL.
pub(crate) fn get<T: Field>(row: &QueryResult, column: &str) -> Result<T> {
    T::read(row, column)?.ok_or_else(|| bad(column, "it is NULL"))
}

/// A column that may be NULL.
pub(crate) fn opt<T: Field>(row: &QueryResult, column: &str) -> Result<Option<T>> {
    T::read(row, column)
}

/// A structured value as JSON text.
pub(crate) fn json<T: Serialize>(value: &T) -> Value {
    // A model type that cannot be JSON would be a defect caught by the first test that stores it.
    Value::from(serde_json::to_string(value).expect("model types serialise"))
}

/// The same, or NULL.
pub(crate) fn json_opt<T: Serialize>(value: &Option<T>) -> Value {
    value.as_ref().map_or_else(String::null, json)
}

/// A structured value back from JSON text.
pub(crate) fn get_json<T: DeserializeOwned>(row: &QueryResult, column: &str) -> Result<T> {
    opt_json(row, column)?.ok_or_else(|| bad(column, "it is NULL"))
}

/// The same; `None` for NULL.
pub(crate) fn opt_json<T: DeserializeOwned>(row: &QueryResult, column: &str) -> Result<Option<T>> {
    match opt::<String>(row, column)? {
        Some(text) => serde_json::from_str(&text).map(Some).map_err(|e| bad(column, &e.to_string())),
        None => Ok(None),
    }
}

pub(crate) fn bad(column: &str, reason: &str) -> StoreError {
    StoreError::BadRow { column: column.into(), reason: reason.into() }
}

macro_rules! as_i64 {
    ($($t:ty),*) => {$(
        impl Field for $t {
            fn value(&self) -> Value {
                Value::BigInt(Some(i64::try_from(*self).unwrap_or(i64::MAX)))
            }
            fn null() -> Value {
                Value::BigInt(None)
            }
            fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
                let Some(n) = i64::read(row, column)? else { return Ok(None) };
                <$t>::try_from(n).map(Some).map_err(|_| bad(column, &format!("{n} is out of range")))
            }
        }
    )*};
}
as_i64!(u8, u16, u32, u64);

impl Field for i64 {
    fn value(&self) -> Value {
        Value::BigInt(Some(*self))
    }
    fn null() -> Value {
        Value::BigInt(None)
    }
    fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
        Ok(row.try_get_by::<Option<i64>, _>(column)?)
    }
}

impl Field for bool {
    fn value(&self) -> Value {
        Value::Bool(Some(*self))
    }
    fn null() -> Value {
        Value::Bool(None)
    }
    fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
        Ok(row.try_get_by::<Option<bool>, _>(column)?)
    }
}

impl Field for String {
    fn value(&self) -> Value {
        text(self)
    }
    fn null() -> Value {
        Value::String(None)
    }
    fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
        Ok(row.try_get_by::<Option<String>, _>(column)?)
    }
}

/// Text from people or the network. PostgreSQL's text holds no NUL, so it becomes the replacement character on both.
pub(crate) fn text(s: &str) -> Value {
    Value::from(if s.contains('\0') { s.replace('\0', "\u{fffd}") } else { s.to_owned() })
}

macro_rules! through {
    ($($t:ty as $inner:ty: $to:expr, $from:expr);* $(;)?) => {$(
        impl Field for $t {
            fn value(&self) -> Value {
                let to: fn(&$t) -> $inner = $to;
                to(self).value()
            }
            fn null() -> Value {
                <$inner>::null()
            }
            fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
                let from: fn($inner) -> $t = $from;
                Ok(<$inner>::read(row, column)?.map(from))
            }
        }
    )*};
}
through! {
    Ts as i64: |t| t.0, Ts;
    Duration as u64: |d| d.0, Duration;
    Vantage as String: |v| v.0.clone(), Vantage;
    NodeName as String: |n| n.0.clone(), NodeName;
}

impl Field for Uuid {
    fn value(&self) -> Value {
        Value::from(*self)
    }
    fn null() -> Value {
        Value::from(None::<Uuid>)
    }
    fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
        Ok(row.try_get_by::<Option<Uuid>, _>(column)?)
    }
}

macro_rules! ids {
    ($($t:ident),*) => {$(
        through! { $t as Uuid: |id| id.0, $t; }
    )*};
}
ids!(
    AssetId,
    ExclusionId,
    BlackoutId,
    TaskId,
    RunId,
    JobId,
    ExposureId,
    EventId,
    AlertId,
    NotificationId,
    ReceiverId,
    UserId,
    SessionId,
    TokenId,
    AuditId,
    CanaryId,
    FindingId,
    ApprovalId
);

macro_rules! bytes {
    ($($t:ty, $n:literal: $to:expr, $from:expr);* $(;)?) => {$(
        impl Field for $t {
            fn value(&self) -> Value {
                let to: fn(&$t) -> [u8; $n] = $to;
                Value::from(to(self).to_vec())
            }
            fn null() -> Value {
                Value::Bytes(None)
            }
            fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
                let from: fn([u8; $n]) -> $t = $from;
                let Some(bytes) = row.try_get_by::<Option<Vec<u8>>, _>(column)? else { return Ok(None) };
                let bytes: [u8; $n] = bytes.try_into().map_err(|_| bad(column, concat!("it is not ", $n, " bytes long")))?;
                Ok(Some(from(bytes)))
            }
        }
    )*};
}
bytes! {
    IpAddr, 16: |ip| address::to_bytes(*ip), address::from_bytes;
    [u8; 32], 32: |hash| *hash, |hash| hash;
}

macro_rules! words {
    ($($t:ty),*) => {$(
        impl Field for $t {
            fn value(&self) -> Value {
                Value::from(self.to_string())
            }
            fn null() -> Value {
                Value::String(None)
            }
            fn read(row: &QueryResult, column: &str) -> Result<Option<Self>> {
                let Some(word) = String::read(row, column)? else { return Ok(None) };
                word.parse().map(Some).map_err(|e: String| bad(column, &e))
            }
        }
    )*};
}
words!(
    AlertKind,
    AlertState,
    AttemptOutcome,
    CanaryRole,
    Cause,
    CheckCeiling,
    DispositionKind,
    EventKind,
    FindingKind,
    FindingPhase,
    Guard,
    Confidence,
    Identity,
    JobState,
    Language,
    Liveness,
    NotificationState,
    Phase,
    PortChoice,
    Proto,
    Reason,
    RiskKind,
    Role,
    RunState,
    SegmentStatus,
    Severity,
    State,
    TaskKind,
    TaskState,
    Zone
);

/// A statement under construction: text and the values of its placeholders grow together.
#[derive(Clone)]
pub(crate) struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Sql { text: text.into(), values: Vec::new() }
    }
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }
    /// Appends a placeholder for the value.
    pub(crate) fn bind(&mut self, value: Value) -> &mut Self {
        self.values.push(value);
        self.text.push_str(&format!("${}", self.values.len()));
        self
    }
    /// Appends `($1,$2,…)`.
    pub(crate) fn tuple(&mut self, values: impl IntoIterator<Item = Value>) -> &mut Self {
        self.push("(");
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.push(",");
            }
            self.bind(value);
        }
        self.push(")")
    }
    /// Appends ` AND column IN (…)` unless the list is empty.
    pub(crate) fn and_in<T: Field>(&mut self, column: &str, list: &[T]) -> &mut Self {
        if !list.is_empty() {
            self.push(&format!(" AND {column} IN ")).tuple(list.iter().map(T::value));
        }
        self
    }
    /// Appends ` AND column <op> value` when there is one.
    pub(crate) fn and<T: Field>(&mut self, column_op: &str, field: &Option<T>) -> &mut Self {
        if let Some(field) = field {
            self.push(&format!(" AND {column_op} ")).bind(field.value());
        }
        self
    }
    /// Appends ` AND` that the column contains the words, without case. The column must hold lower-case text.
    pub(crate) fn and_contains(&mut self, column: &str, words: &str) -> &mut Self {
        let pattern = format!("%{}%", escaped(&words.to_lowercase()));
        self.push(&format!(" AND {column} LIKE ")).bind(text(&pattern)).push(" ESCAPE '\\'")
    }
    /// This statement with another beginning; placeholders must only stand in what stays.
    pub(crate) fn after(&self, head: &str) -> Sql {
        Sql { text: format!("{head}{}", self.text), values: self.values.clone() }
    }
    pub(crate) async fn all<C: ConnectionTrait>(self, db: &C) -> Result<Vec<QueryResult>> {
        all(db, &text_for(&self.text, db.get_database_backend()), self.values).await
    }
    pub(crate) async fn run<C: ConnectionTrait>(self, db: &C) -> Result<u64> {
        run(db, &text_for(&self.text, db.get_database_backend()), self.values).await
    }
}

/// A text in which no character means more than itself to LIKE with a backslash for an escape.
pub(crate) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// SQLite keeps `$7` as a name and looks names up one after the other: ten thousand of them take seconds. In a built statement
/// every placeholder stands once and in order, so that a bare `?` says the same.
fn text_for(text: &str, backend: DbBackend) -> Cow<'_, str> {
    if backend == DbBackend::Postgres {
        return Cow::Borrowed(text);
    }
    let mut bare = String::with_capacity(text.len());
    let mut parts = text.split('$');
    bare.push_str(parts.next().unwrap_or_default());
    for part in parts {
        bare.push('?');
        bare.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    Cow::Owned(bare)
}

/// Every row.
pub(crate) async fn all<C: ConnectionTrait>(db: &C, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>> {
    Ok(db.query_all_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?)
}

/// The first row, if there is one.
pub(crate) async fn one<C: ConnectionTrait>(db: &C, sql: &str, values: Vec<Value>) -> Result<Option<QueryResult>> {
    Ok(db.query_one_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?)
}

/// Number of rows changed.
pub(crate) async fn run<C: ConnectionTrait>(db: &C, sql: &str, values: Vec<Value>) -> Result<u64> {
    Ok(db.execute_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await?.rows_affected())
}

/// As [`run`], but no row is a [`StoreError::NotFound`] that names the thing.
pub(crate) async fn run_one<C: ConnectionTrait>(
    db: &C,
    sql: &str,
    values: Vec<Value>,
    what: impl FnOnce() -> String,
) -> Result<()> {
    if run(db, sql, values).await? == 0 { Err(StoreError::NotFound(what())) } else { Ok(()) }
}

/// Inserts many rows: `head` is `INSERT INTO t (a, b)`, `tail` an `ON CONFLICT …` or nothing.
pub(crate) async fn insert<C: ConnectionTrait>(db: &C, head: &str, rows: Vec<Vec<Value>>, tail: &str) -> Result<u64> {
    let Some(columns) = rows.first().map(Vec::len) else {
        return Ok(0);
    };
    let at_once = (PLACEHOLDERS / columns).clamp(1, ROWS);
    let mut rows = rows.into_iter().peekable();
    let mut changed = 0;
    while rows.peek().is_some() {
        let mut sql = Sql::new(format!("{head} VALUES "));
        for (i, row) in rows.by_ref().take(at_once).enumerate() {
            if i > 0 {
                sql.push(",");
            }
            sql.tuple(row);
        }
        sql.push(" ").push(tail);
        changed += sql.run(db).await?;
    }
    Ok(changed)
}

/// Names the thing in a conflict; other errors pass.
pub(crate) fn naming<T>(result: Result<T>, what: impl FnOnce() -> String) -> Result<T> {
    result.map_err(|e| match e {
        StoreError::Conflict(_) => StoreError::Conflict(what()),
        other => other,
    })
}

/// A computed number, which PostgreSQL gives as four bytes when it is made of constants.
pub(crate) fn small(row: &QueryResult, column: &str) -> Result<i64> {
    match row.try_get_by::<i64, _>(column) {
        Ok(n) => Ok(n),
        Err(_) => Ok(i64::from(row.try_get_by::<i32, _>(column)?)),
    }
}
