//! Connections to Postgres that may be cut without notice: a network that drops packets reports nothing, so that a client
//! that waits for an answer waits until the kernel gives up, a quarter of an hour or never. Here every wait has a limit, and a
//! connection that exceeded one is closed instead of being used again.

use super::change::Change;
use crate::{Error, Kind, Result};
use futures::future::BoxFuture;
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::timeout;

/// The longest that a statement may take, or the pause between two rows of its answer.
const STATEMENT: Duration = Duration::from_secs(30);
/// The longest that a connection without work may take to answer.
const PING: Duration = Duration::from_secs(3);
/// A connection that was in use so recently is not checked.
const RECENT: Duration = Duration::from_secs(1);
/// How long to wait for a notification before the connection is checked.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(20);

/// What the database does about a client that has gone: it ends the transaction, so that its locks are free again.
const SESSION: &str = "SET idle_in_transaction_session_timeout = '15s'; SET tcp_keepalives_idle = 10; \
    SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '20s'";

/// Connects.
pub(super) async fn connect(url: &str) -> Result<PgPool> {
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(10))
        .test_before_acquire(false)
        .before_acquire(answers)
        .after_release(answers)
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(|_| ()) })
        });
    pool.connect(url).await.map_err(|cause| {
        let mut error = Error::new(Kind::Unavailable, "database_unavailable", "the database cannot be reached");
        error.cause = Some(cause.into());
        error
    })
}

/// Whether an idle connection is alive.
fn answers(connection: &mut PgConnection, used: PoolConnectionMetadata) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
    Box::pin(async move {
        if !used.idle_for.is_zero() && used.idle_for < RECENT {
            return Ok(true);
        }
        timeout(PING, connection.ping()).await.unwrap_or_else(|_| Err(silent())).map(|()| true)
    })
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer"))
}

/// What `work` brings within the time that a statement may take.
pub(super) async fn limited<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(STATEMENT, work).await.unwrap_or_else(|_| Err(silent()))
}

/// A connection in use.
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    /// Whether a transaction is open.
    open: bool,
}

impl Session {
    /// One for single statements.
    pub(super) async fn new(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: Some(pool.acquire().await?), open: false })
    }

    /// One in a transaction that `statement` begins.
    pub(super) async fn begin(pool: &PgPool, statement: &'static str) -> Result<Self, sqlx::Error> {
        let mut session = Self::new(pool).await?;
        session.open = true;
        session.simple(statement).await?;
        Ok(session)
    }

    /// Ends the transaction.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.simple("COMMIT").await?;
        self.open = false;
        Ok(())
    }

    async fn simple(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        let done = limited(sqlx::raw_sql(statement).execute(self.connection()?)).await;
        self.keep(done).map(|_| ())
    }

    /// For one statement, whose outcome goes through [`limited`] and [`Session::keep`].
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or_else(silent)
    }

    /// The outcome of a statement; after one that shows that the connection is lost it is closed.
    pub(super) fn keep<T>(&mut self, outcome: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if matches!(outcome, Err(sqlx::Error::Io(_))) {
            self.discard();
        }
        outcome
    }

    /// Closes the connection: what was begun ends with it.
    fn discard(&mut self) {
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

impl Drop for Session {
    /// A transaction that was not committed is rolled back.
    fn drop(&mut self) {
        let (true, Some(mut connection)) = (self.open, self.connection.take()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return drop(connection.detach()) };
        runtime.spawn(async move {
            let ended = timeout(PING, sqlx::raw_sql("ROLLBACK").execute(&mut *connection)).await;
            if !matches!(ended, Ok(Ok(_))) {
                drop(connection.detach());
            }
        });
    }
}

/// Sends what other replicas notify of to `changes`, as long as the program runs.
pub(super) async fn listen(pool: PgPool, mut listener: PgListener, changes: broadcast::Sender<Change>) {
    loop {
        let change = match timeout(LISTEN_TIMEOUT, listener.try_recv()).await {
            Ok(Ok(Some(message))) => message.payload().parse().unwrap_or(Change::Unknown),
            // The connection was lost and is being made again: notifications sent meanwhile are lost.
            Ok(Ok(None)) => Change::Unknown,
            Ok(Err(error)) => {
                tracing::warn!(%error, "listening to the database failed");
                listener = listening_again(&pool).await;
                Change::Unknown
            }
            Err(_) if is_alive(&mut listener).await => continue,
            Err(_) => {
                tracing::warn!("the connection that listens to the database does not answer: it is made again");
                listener = listening_again(&pool).await;
                Change::Unknown
            }
        };
        // Without a receiver there is nothing to do.
        let _ = changes.send(change);
    }
}

/// A connection that listens, once the database can be reached: only what is read after that misses no change.
async fn listening_again(pool: &PgPool) -> PgListener {
    loop {
        match timeout(STATEMENT, listening(pool)).await {
            Ok(Ok(again)) => return again,
            Ok(Err(error)) => tracing::warn!(%error, "listening to the database failed"),
            Err(_) => {}
        }
        tokio::time::sleep(RECENT).await;
    }
}

/// A connection that listens.
pub(super) async fn listening(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("kenyon").await?;
    Ok(listener)
}

async fn is_alive(listener: &mut PgListener) -> bool {
    matches!(timeout(PING, sqlx::query("SELECT 1").execute(&mut *listener)).await, Ok(Ok(_)))
}
