//! Opening, closing and change notifications: the [`Store`] itself.

use super::change::Change;
use super::db::{Db, Pools, sql};
use super::key_cache::KeyCache;
use super::log_writer::LogWriter;
use super::scratch::{self, ScratchFolder};
use super::{ModelChanges, Objects, postgres};
use crate::{Error, Kind, Result};
use sqlx::Connection;
use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// How often SQLite's log is moved into the database.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

/// Where everything is stored.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// The data folder; always needed (database and objects by default, caches otherwise).
    pub data_dir: PathBuf,
    /// `sqlite://FILE` or `postgres://…`; a file in the data folder when missing.
    pub database_url: Option<String>,
    /// A folder, `file://…` or `s3://…`; a folder in the data folder when missing.
    pub objects_url: Option<String>,
}

/// The persistent state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<StoreInner>,
}

pub(super) struct StoreInner {
    pub(super) db: Arc<Db>,
    pub(super) objects: Objects,
    pub(super) keys: KeyCache,
    pub(super) log: LogWriter,
    /// Held shared while a snapshot copies objects, exclusively while garbage is removed.
    pub(super) copying: tokio::sync::RwLock<()>,
    replica: String,
    data_dir: PathBuf,
    /// Listens on Postgres, moves the log on SQLite.
    aside: std::sync::Mutex<Option<JoinHandle<()>>>,
    /// Held for life on SQLite: two processes on one data folder would not notify each other.
    _lock: File,
    /// A temporary store's folder; removed last.
    pub(super) _folder: Option<tempfile::TempDir>,
}

impl fmt::Debug for StoreInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl StoreInner {
    fn aside(&self) -> Option<JoinHandle<()>> {
        self.aside.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        if let Some(task) = self.aside() {
            task.abort();
        }
    }
}

impl Store {
    /// Opens the database and the object store, and brings the tables up to date. A database that
    /// a newer Kenyon has used is refused.
    pub async fn open(options: &StoreOptions) -> Result<Self> {
        Self::open_in(options, None).await
    }

    /// A fresh store for a test: SQLite in a temporary folder that goes when the store is dropped.
    pub async fn open_temporary() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = StoreOptions { data_dir: folder.path().to_owned(), ..StoreOptions::default() };
        Self::open_in(&options, Some(folder)).await
    }

    pub(super) async fn open_in(options: &StoreOptions, folder: Option<tempfile::TempDir>) -> Result<Self> {
        tokio::fs::create_dir_all(&options.data_dir).await?;
        let (changes, _) = broadcast::channel(1024);
        let server = options.database_url.as_deref().filter(|url| is_postgres(url));
        let lock = lock_folder(&options.data_dir, server.is_none()).await?;
        let pools = match server {
            Some(url) => Pools::Postgres(postgres::connect(url).await?),
            None => open_sqlite(options).await?,
        };
        migrate(&pools).await?;
        let aside = match &pools {
            Pools::Postgres(pool) => {
                let listener = postgres::listening(pool).await?;
                Some(tokio::spawn(postgres::listen(pool.clone(), listener, changes.clone())))
            }
            Pools::Sqlite { read, .. } => Some(tokio::spawn(checkpoint(read.clone()))),
        };
        let db = Arc::new(Db { pools, changes, model_changes: Arc::default() });
        let folder_url = options.data_dir.join("objects").to_string_lossy().into_owned();
        let url = options.objects_url.clone().unwrap_or(folder_url);
        let objects = Objects::open(&url, options.data_dir.join("cache")).await?;
        let inner = StoreInner {
            log: LogWriter::start(db.clone()),
            db,
            objects,
            keys: KeyCache::default(),
            copying: tokio::sync::RwLock::new(()),
            replica: uuid::Uuid::now_v7().to_string(),
            data_dir: options.data_dir.clone(),
            aside: aside.into(),
            _lock: lock,
            _folder: folder,
        };
        let store = Self { inner: Arc::new(inner) };
        if server.is_none() {
            // No other process can have this database: whatever ran when the process died is orphaned.
            store.requeue_orphans().await?;
        }
        if let Err(error) = scratch::remove_abandoned(&options.data_dir) {
            tracing::warn!(%error, "files of a job that was cut off could not be removed");
        }
        store.collect_garbage_at_start().await?;
        Ok(store)
    }

    /// Closes the database. Other clones return `database_unavailable` from then on.
    pub async fn close(&self) {
        self.inner.log.flush().await;
        if let Some(task) = self.inner.aside() {
            // It holds a connection, and closing waits for every one of them.
            task.abort();
            let _ = task.await;
        }
        match &self.inner.db.pools {
            Pools::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }

    /// Changes from now on, made here or on another replica. Slow receivers get `Lagged`, which
    /// they take as [`Change::Unknown`].
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.db.changes.subscribe()
    }

    /// Which models this process has changed since when.
    pub fn model_changes(&self) -> &ModelChanges {
        &self.inner.db.model_changes
    }

    /// The object store.
    pub fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    /// This process among all that share the database; fresh at every start.
    pub fn replica(&self) -> &str {
        &self.inner.replica
    }

    /// The data folder, for caches and temporary files.
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    /// A new folder for files of a job.
    pub fn scratch_folder(&self) -> Result<ScratchFolder> {
        ScratchFolder::new(self.data_dir())
    }

    /// `sqlite` or `postgres`.
    pub fn backend(&self) -> &'static str {
        if self.inner.db.is_postgres() { "postgres" } else { "sqlite" }
    }

    /// Whether the database answers: for readiness.
    pub async fn ping(&self) -> Result<()> {
        self.inner.db.opt(sql("SELECT 1 AS one")).await.map(|_| ())
    }
}

pub(super) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

async fn lock_folder(folder: &Path, exclusive: bool) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    // A process that was just killed, or is shutting down, releases the lock in a moment.
    for _ in 0..50 {
        let locked = if exclusive { file.try_lock() } else { file.try_lock_shared() };
        match locked {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    let detail = "another kenyon process uses this data folder; several need --database-url postgres://…";
    Err(Error::conflict("data_dir_in_use", detail))
}

/// The database's file.
pub(super) fn sqlite_file(options: &StoreOptions) -> PathBuf {
    match &options.database_url {
        Some(url) => PathBuf::from(url.strip_prefix("sqlite:").map_or(url.as_str(), |r| r.trim_start_matches("//"))),
        None => options.data_dir.join("kenyon.db"),
    }
}

async fn open_sqlite(options: &StoreOptions) -> Result<Pools> {
    let file = sqlite_file(options);
    let connect = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // A commit that also moves the log into the database waits ten times as long as one that does
        // not. That is done by `checkpoint`; this only bounds the log (64 MB) if it cannot keep up.
        .pragma("wal_autocheckpoint", "16384");
    let write = SqlitePoolOptions::new().max_connections(1).min_connections(1).max_lifetime(None).idle_timeout(None);
    // A full disk makes SQLite end a transaction by itself, while the driver still counts it as open after its rollback: that
    // connection cannot be used any more.
    let write = write.after_release(|connection, _| {
        Box::pin(async move {
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    });
    let write = write.acquire_timeout(Duration::from_secs(30)).connect_with(connect.clone()).await?;
    let read = SqlitePoolOptions::new().max_connections(4).max_lifetime(None);
    let read = read.acquire_timeout(Duration::from_secs(30)).connect_lazy_with(connect);
    Ok(Pools::Sqlite { read, write })
}

/// Moves what is committed from SQLite's log into the database, while others read and write.
async fn checkpoint(pool: SqlitePool) {
    while !pool.is_closed() {
        tokio::time::sleep(CHECKPOINT_EVERY).await;
        // `PASSIVE` does not wait; whatever is in use is moved the next time.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&pool).await
            && !pool.is_closed()
        {
            tracing::warn!(%error, "the database's log could not be moved into the database");
        }
    }
}

/// The tables, change by change; without sqlx's macro, which compiles both databases a second time for the compiler itself.
pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let change = |version, name: &'static str, text| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(text), false)
    };
    Migrator::with_migrations(vec![
        change(1, "first", include_str!("../../migrations/0001_first.sql")),
        change(2, "jobs by status", include_str!("../../migrations/0002_jobs_by_status.sql")),
        change(3, "read as", include_str!("../../migrations/0003_read_as.sql")),
        change(4, "encoders", include_str!("../../migrations/0004_encoders.sql")),
        change(5, "kills", include_str!("../../migrations/0005_kills.sql")),
        change(6, "audit", include_str!("../../migrations/0006_audit.sql")),
        change(7, "log history", include_str!("../../migrations/0007_log_history.sql")),
    ])
});

/// Forward only, checksummed, under a lock (Postgres: an advisory lock; SQLite: the folder's lock).
async fn migrate(pools: &Pools) -> Result<()> {
    use sqlx::migrate::MigrateError;
    let outcome = match pools {
        Pools::Sqlite { write, .. } => MIGRATIONS.run(write).await,
        Pools::Postgres(pool) => MIGRATIONS.run(pool).await,
    };
    outcome.map_err(|cause| {
        let detail = match &cause {
            MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
                "the database was made by a newer version of kenyon; use that version or restore a snapshot"
            }
            MigrateError::VersionMismatch(_) => "the database's tables do not match this version of kenyon",
            _ => "the database's tables could not be brought up to date",
        };
        let mut error = Error::new(Kind::Unavailable, "database_incompatible", detail);
        error.cause = Some(cause.into());
        error
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::JobId;

    #[test]
    fn every_file_of_the_folder_is_a_migration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let known =
            MIGRATIONS.iter().map(|m| (format!("{:04}_{}.sql", m.version, m.description.replace(' ', "_")), &m.sql));
        let known: Vec<_> = known.map(|(name, sql)| (name, sql.as_str().to_owned())).collect();
        let there = files.iter().map(|file| {
            (file.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(file).unwrap())
        });
        assert_eq!(known, there.collect::<Vec<_>>());
    }

    #[test]
    fn changes_travel_as_text() {
        let changes = [
            Change::Queue,
            Change::Job(JobId::fresh()),
            Change::Model("iris".parse().unwrap()),
            Change::Log("a-b_c".parse().unwrap()),
            Change::Dataset("d".parse().unwrap()),
            Change::Keys,
            Change::Unknown,
        ];
        for change in changes {
            assert_eq!(change.to_string().parse::<Change>().unwrap(), change);
        }
        assert_eq!("later:thing".parse::<Change>().unwrap(), Change::Unknown);
    }
}
