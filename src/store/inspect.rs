//! What is found where everything is to be stored, without changing it.

use super::objects::is_bucket;
use super::open::{MIGRATIONS, StoreOptions, is_postgres, sqlite_file};
use crate::Result;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use std::path::PathBuf;
use std::time::Duration;

/// The query for the newest change of tables that a database has.
const NEWEST: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";

/// A database, in a sentence; an error where it cannot be read.
pub async fn database(options: &StoreOptions) -> Result<String> {
    let newest: Option<i64> = match options.database_url.as_deref().filter(|url| is_postgres(url)) {
        Some(url) => {
            let connect: PgConnectOptions = url.parse()?;
            let mut connection = connect.connect().await?;
            let table = sqlx::query_scalar::<_, Option<String>>("SELECT to_regclass('_sqlx_migrations')::text");
            if table.fetch_one(&mut connection).await?.is_none() {
                return Ok("reachable; it has no tables yet".to_owned());
            }
            sqlx::query_scalar(NEWEST).fetch_one(&mut connection).await?
        }
        None => {
            let file = sqlite_file(options);
            if !file.exists() {
                return Ok(format!("{} is not there yet; a server makes it", file.display()));
            }
            // Without a log no process has it open, and one that is not to be locked leaves no files behind.
            let is_closed = !PathBuf::from(format!("{}-wal", file.display())).exists();
            let connect = SqliteConnectOptions::new()
                .filename(&file)
                .read_only(true)
                .immutable(is_closed)
                .busy_timeout(Duration::from_secs(5));
            sqlx::query_scalar(NEWEST).fetch_one(&mut connect.connect().await?).await?
        }
    };
    let known = MIGRATIONS.iter().map(|migration| migration.version).max();
    Ok(match (newest, known) {
        (Some(newest), Some(known)) if newest < known => "readable; a server brings its tables up to date".to_owned(),
        (Some(newest), Some(known)) if newest > known => {
            return Err(crate::Error::new(
                crate::Kind::Unavailable,
                "database_incompatible",
                "the database was made by a newer version of kenyon; use that version or restore a snapshot",
            ));
        }
        _ => "readable; its tables are up to date".to_owned(),
    })
}

/// The object store, in a sentence; an error where it does not answer.
pub async fn objects(options: &StoreOptions) -> Result<String> {
    match &options.objects_url {
        Some(url) if is_bucket(url) => {
            super::Objects::open(url, options.data_dir.join("cache")).await?.answers().await?;
            Ok(format!("{url} answers"))
        }
        Some(url) => Ok(format!("the folder {}", url.strip_prefix("file://").unwrap_or(url))),
        None => Ok("in the data folder".to_owned()),
    }
}
