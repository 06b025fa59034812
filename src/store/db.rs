//! Two pools in one enum and one SQL text for both. Only `store` uses this.

use super::change::Change;
use super::postgres::{Session, limited};
use super::{DatasetName, JobId, ModelChanges, ModelName};
use crate::{Error, Kind, Result};
use futures::TryStreamExt;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Decode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Transaction, Type};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::broadcast;

/// The database, and the channel on which changes are published.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) pools: Pools,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) model_changes: Arc<ModelChanges>,
}

/// SQLite has one writer, so it gets one connection, and readers never wait for it.
#[derive(Debug)]
pub(super) enum Pools {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(PgPool),
}

/// A value to bind. `None` carries its type, because Postgres needs it.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    Text(Option<String>),
    Int(Option<i64>),
    Real(Option<f64>),
    Bool(bool),
    Blob(Option<Vec<u8>>),
}

macro_rules! arg {
    ($($from:ty, $name:ident => $to:expr;)*) => {
        $(impl From<$from> for Arg {
            fn from($name: $from) -> Self {
                $to
            }
        })*
    };
}
arg! {
    &str, v => Self::Text(Some(v.to_owned()));
    String, v => Self::Text(Some(v));
    &String, v => Self::Text(Some(v.clone()));
    Option<String>, v => Self::Text(v);
    Option<&str>, v => Self::Text(v.map(str::to_owned));
    &ModelName, v => Self::Text(Some(v.to_string()));
    &DatasetName, v => Self::Text(Some(v.to_string()));
    JobId, v => Self::Text(Some(v.to_string()));
    &Value, v => Self::Text(Some(v.to_string()));
    i64, v => Self::Int(Some(v));
    u64, v => Self::Int(Some(v as i64));
    usize, v => Self::Int(Some(v as i64));
    Option<i64>, v => Self::Int(v);
    Option<u64>, v => Self::Int(v.map(|v| v as i64));
    Option<f64>, v => Self::Real(v);
    bool, v => Self::Bool(v);
    Vec<u8>, v => Self::Blob(Some(v));
    Option<Vec<u8>>, v => Self::Blob(v);
}

/// A statement with its values. `{now}` (milliseconds by the database's clock), `{skip_locked}` and
/// `{by_queue}` (SQLite would sort all that waits instead of reading it in order) are the only
/// fragments that differ.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    text: Cow<'static, str>,
    args: Vec<Arg>,
}

/// A statement; values are `$1`, `$2` … in the order of [`Sql::bind`].
pub(super) fn sql(text: impl Into<Cow<'static, str>>) -> Sql {
    Sql { text: text.into(), args: Vec::new() }
}

impl Sql {
    pub(super) fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    fn text(&self, now: &str, skip_locked: &str, by_queue: &str) -> SqlStr {
        match &self.text {
            Cow::Borrowed(text) if !text.contains('{') => text.into_sql_str(),
            // Text that is not a constant is built from constants of `store`, never from input.
            text => AssertSqlSafe(
                text.replace("{now}", now).replace("{skip_locked}", skip_locked).replace("{by_queue}", by_queue),
            )
            .into_sql_str(),
        }
    }

    fn sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        let text = self.text("CAST(unixepoch('subsec') * 1000 AS INTEGER)", "", "INDEXED BY jobs_queue");
        self.args.into_iter().fold(sqlx::query(text), bound)
    }

    fn postgres(self) -> Query<'static, Postgres, PgArguments> {
        let text =
            self.text("CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)", "FOR UPDATE SKIP LOCKED", "");
        self.args.into_iter().fold(sqlx::query(text), bound)
    }
}

/// The query with one more value, on either database.
fn bound<D>(query: Query<'static, D, D::Arguments>, arg: Arg) -> Query<'static, D, D::Arguments>
where
    D: sqlx::Database,
    Option<String>: for<'q> sqlx::Encode<'q, D> + Type<D>,
    Option<i64>: for<'q> sqlx::Encode<'q, D> + Type<D>,
    Option<f64>: for<'q> sqlx::Encode<'q, D> + Type<D>,
    Option<Vec<u8>>: for<'q> sqlx::Encode<'q, D> + Type<D>,
    bool: for<'q> sqlx::Encode<'q, D> + Type<D>,
{
    match arg {
        Arg::Text(v) => query.bind(v),
        Arg::Int(v) => query.bind(v),
        Arg::Real(v) => query.bind(v),
        Arg::Bool(v) => query.bind(v),
        Arg::Blob(v) => query.bind(v),
    }
}

/// A fetched row of either database.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// Types that both databases return: `i64`, `f64`, `bool`, `String`, `Vec<u8>` and their options.
pub(super) trait Both:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}
impl<T> Both for T where T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl Row {
    pub(super) fn get<T: Both>(&self, column: &str) -> Result<T> {
        Ok(match self {
            // SQLite has no type BYTEA; the value's own type decides.
            Self::Sqlite(row) => row.try_get_unchecked(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub(super) fn u64(&self, column: &str) -> Result<u64> {
        Ok(self.get::<i64>(column)?.max(0) as u64)
    }

    pub(super) fn opt_u64(&self, column: &str) -> Result<Option<u64>> {
        Ok(self.get::<Option<i64>>(column)?.map(|v| v.max(0) as u64))
    }

    pub(super) fn json(&self, column: &str) -> Result<Value> {
        Ok(self.opt_json(column)?.unwrap_or(Value::Null))
    }

    pub(super) fn opt_json(&self, column: &str) -> Result<Option<Value>> {
        let text: Option<String> = self.get(column)?;
        text.map(|t| serde_json::from_str(&t).map_err(Error::internal)).transpose()
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp> {
        time(self.get(column)?)
    }

    pub(super) fn opt_time(&self, column: &str) -> Result<Option<Timestamp>> {
        self.get::<Option<i64>>(column)?.map(time).transpose()
    }

    /// Parses a column whose text was checked before it was stored.
    pub(super) fn parse<T: std::str::FromStr<Err = Error>>(&self, column: &str) -> Result<T> {
        self.get::<String>(column)?.parse().map_err(Error::internal)
    }
}

pub(super) fn time(ms: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(Error::internal)
}

impl Db {
    pub(super) fn is_postgres(&self) -> bool {
        matches!(self.pools, Pools::Postgres(_))
    }

    /// All rows, outside a transaction and in parallel with the writer.
    pub(super) async fn all(&self, sql: Sql) -> Result<Vec<Row>> {
        Ok(match &self.pools {
            Pools::Sqlite { read, .. } => sql.sqlite().fetch_all(read).await?.into_iter().map(Row::Sqlite).collect(),
            Pools::Postgres(pool) => rows(&mut Session::new(pool).await?, sql).await?,
        })
    }

    /// The first row, if any.
    pub(super) async fn opt(&self, sql: Sql) -> Result<Option<Row>> {
        Ok(match &self.pools {
            Pools::Sqlite { read, .. } => sql.sqlite().fetch_optional(read).await?.map(Row::Sqlite),
            Pools::Postgres(pool) => first(&mut Session::new(pool).await?, sql).await?,
        })
    }

    /// Starts a transaction that may write. SQLite takes the write lock at once, so that what is
    /// read cannot be overtaken before it is written.
    pub(super) async fn begin(&self) -> Result<Tx> {
        let inner = match &self.pools {
            Pools::Sqlite { write, .. } => Inner::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Pools::Postgres(pool) => Inner::Postgres(Session::begin(pool, "BEGIN").await?),
        };
        Ok(self.transaction(inner))
    }

    fn transaction(&self, inner: Inner) -> Tx {
        let (changes, model_changes) = (self.changes.clone(), Arc::clone(&self.model_changes));
        Tx { inner, notifications: Vec::new(), changes, model_changes }
    }

    /// Starts a transaction that reads one consistent state, for copies.
    pub(super) async fn begin_read(&self) -> Result<Tx> {
        let inner = match &self.pools {
            Pools::Sqlite { read, .. } => Inner::Sqlite(read.begin().await?),
            Pools::Postgres(pool) => {
                // Objects are copied between its statements, for as long as that takes.
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                    SET LOCAL idle_in_transaction_session_timeout = 0";
                Inner::Postgres(Session::begin(pool, begin).await?)
            }
        };
        Ok(self.transaction(inner))
    }

    /// One writing statement in its own transaction; the number of rows it changed.
    pub(super) async fn exec(&self, sql: Sql) -> Result<u64> {
        Ok(match &self.pools {
            Pools::Sqlite { write, .. } => sql.sqlite().execute(write).await?.rows_affected(),
            Pools::Postgres(pool) => affected(&mut Session::new(pool).await?, sql).await?,
        })
    }

    /// One writing statement with `RETURNING`, in its own transaction.
    pub(super) async fn exec_all(&self, sql: Sql) -> Result<Vec<Row>> {
        Ok(match &self.pools {
            Pools::Sqlite { write, .. } => sql.sqlite().fetch_all(write).await?.into_iter().map(Row::Sqlite).collect(),
            Pools::Postgres(pool) => rows(&mut Session::new(pool).await?, sql).await?,
        })
    }
}

async fn rows(session: &mut Session, sql: Sql) -> Result<Vec<Row>> {
    let found = limited(sql.postgres().fetch_all(session.connection()?)).await;
    Ok(session.keep(found)?.into_iter().map(Row::Postgres).collect())
}

async fn first(session: &mut Session, sql: Sql) -> Result<Option<Row>> {
    let found = limited(sql.postgres().fetch_optional(session.connection()?)).await;
    Ok(session.keep(found)?.map(Row::Postgres))
}

async fn affected(session: &mut Session, sql: Sql) -> Result<u64> {
    let done = limited(sql.postgres().execute(session.connection()?)).await;
    Ok(session.keep(done)?.rows_affected())
}

/// Passes on row by row.
async fn each(connection: &mut PgConnection, sql: Sql, take: &mut impl FnMut(Row) -> Result<()>) -> Result<()> {
    let mut rows = sql.postgres().fetch(connection);
    while let Some(row) = limited(rows.try_next()).await? {
        take(Row::Postgres(row))?;
    }
    Ok(())
}

enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Session),
}

/// A transaction; dropped without [`Tx::commit`] it is rolled back.
pub(super) struct Tx {
    inner: Inner,
    notifications: Vec<Change>,
    changes: broadcast::Sender<Change>,
    model_changes: Arc<ModelChanges>,
}

impl Tx {
    pub(super) async fn all(&mut self, sql: Sql) -> Result<Vec<Row>> {
        Ok(match &mut self.inner {
            Inner::Sqlite(tx) => sql.sqlite().fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect(),
            Inner::Postgres(session) => rows(session, sql).await?,
        })
    }

    pub(super) async fn opt(&mut self, sql: Sql) -> Result<Option<Row>> {
        Ok(match &mut self.inner {
            Inner::Sqlite(tx) => sql.sqlite().fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            Inner::Postgres(session) => first(session, sql).await?,
        })
    }

    pub(super) async fn exec(&mut self, sql: Sql) -> Result<u64> {
        Ok(match &mut self.inner {
            Inner::Sqlite(tx) => sql.sqlite().execute(&mut **tx).await?.rows_affected(),
            Inner::Postgres(session) => affected(session, sql).await?,
        })
    }

    /// Passes on row by row what may be too much for memory.
    pub(super) async fn each(&mut self, sql: Sql, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        match &mut self.inner {
            Inner::Sqlite(tx) => {
                let mut rows = sql.sqlite().fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Sqlite(row))?;
                }
            }
            Inner::Postgres(session) => each(session.connection()?, sql, &mut take).await?,
        }
        Ok(())
    }

    /// Sends `change` to every replica, if and once the transaction commits.
    pub(super) fn notify(&mut self, change: Change) {
        if !self.notifications.contains(&change) {
            self.notifications.push(change);
        }
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        let models = self.notifications.iter().filter_map(|change| match change {
            Change::Model(name) => Some(name.clone()),
            _ => None,
        });
        // Until the end of this function: a request that starts after the commit can be seen reads what it wrote.
        let _writing = self.model_changes.begin(models.collect());
        match self.inner {
            Inner::Sqlite(tx) => {
                tx.commit().await?;
                for change in self.notifications.drain(..) {
                    // Without a receiver there is nothing to do.
                    let _ = self.changes.send(change);
                }
            }
            Inner::Postgres(mut session) => {
                for change in &self.notifications {
                    let notify = sql("SELECT pg_notify('kenyon', $1)").bind(change.to_string());
                    affected(&mut session, notify).await?;
                }
                session.commit().await?;
                // The notification is delivered by the database. A revoked key must not be valid for
                // the next request to this process, which may arrive sooner.
                if self.notifications.contains(&Change::Keys) {
                    let _ = self.changes.send(Change::Keys);
                }
            }
        }
        Ok(())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned());
        let (kind, name, detail) = match (&error, code.as_deref()) {
            (_, Some("13" | "53100")) => (Kind::DiskFull, "disk_full", "no space is left on the server's disk"),
            (_, Some("8" | "776" | "1032")) => {
                (Kind::Unavailable, "storage_read_only", "the server's storage cannot be written")
            }
            // SQLite could not open, read or write a file: 14 or 10 with details in the upper bits.
            (_, Some(code))
                if code.parse::<u32>().is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 10 | 14)) =>
            {
                (Kind::Unavailable, "storage_failed", "the server's storage cannot be read or written")
            }
            // Busy, locked, deadlock, serialisation, idle for too long, too many connections, shutting down.
            (_, Some("5" | "6" | "261" | "517" | "25P03" | "40001" | "40P01" | "53300" | "57P01" | "57P03"))
            | (
                // A connection that breaks in the middle of an answer is a protocol error to the driver.
                sqlx::Error::Io(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed,
                _,
            ) => (Kind::Unavailable, "database_unavailable", "the database cannot be reached; try again"),
            _ => return Self::internal(error),
        };
        let mut mapped = Self::new(kind, name, detail);
        if kind == Kind::Unavailable {
            mapped.retry_after = Some(1);
        }
        mapped.cause = Some(error.into());
        mapped
    }
}

/// Whether the statement failed because such a row exists already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    let cause = error.cause.as_ref().and_then(|c| c.downcast_ref::<sqlx::Error>());
    cause.and_then(|e| e.as_database_error()).is_some_and(|e| e.is_unique_violation())
}
