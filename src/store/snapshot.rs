//! A consistent copy of everything in one file, made while serving, and its restoration.
//!
//! The file is a tar: `manifest.json`, `tables/NAME.ndjson` (one row a line, all tables from one
//! read transaction) and `objects/KEY`. It does not depend on the database it came from, so it also
//! moves a server from SQLite to Postgres and from a folder to S3. Objects never change under their
//! key, and this process removes none while it copies.

use super::db::{Arg, Row, sql};
use super::{Store, StoreOptions};
use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Increased when an older reader could not read what is written.
const FORMAT: u64 = 1;

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the file.
    pub format: u64,
    /// Version of kenyon that wrote it.
    pub kenyon: String,
    /// When.
    pub created_at: jiff::Timestamp,
    /// Rows of all tables.
    pub rows: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of all objects.
    pub bytes: u64,
}

/// How a column is encoded: `t`ext, `i`nteger, `r`eal, `b`oolean, `x` for bytes.
type Columns = &'static [(&'static str, char)];

/// Every table but the one of requests in flight, in an order in which rows may be inserted.
const TABLES: &[(&str, Columns)] = &[
    (
        "datasets",
        &[
            ("name", 't'),
            ("revision", 'i'),
            ("row_count", 'i'),
            ("bytes", 'i'),
            ("digest", 't'),
            ("columns", 't'),
            ("created_at", 'i'),
            ("updated_at", 'i'),
        ],
    ),
    (
        "dataset_parts",
        &[
            ("dataset", 't'),
            ("position", 'i'),
            ("object_key", 't'),
            ("format", 't'),
            ("compression", 't'),
            ("row_count", 'i'),
            ("bytes", 'i'),
            ("digest", 't'),
            ("read_as", 't'),
        ],
    ),
    ("garbage", &[("object_key", 't'), ("since", 'i')]),
    (
        "models",
        &[
            ("name", 't'),
            ("id", 't'),
            ("family", 't'),
            ("task", 't'),
            ("target", 't'),
            ("info", 't'),
            ("next_version", 'i'),
            ("stable", 'i'),
            ("canary", 'i'),
            ("canary_weight", 'r'),
            ("shadow", 'i'),
            ("history", 't'),
            ("created_at", 'i'),
            ("updated_at", 'i'),
        ],
    ),
    (
        "versions",
        &[
            ("model_id", 't'),
            ("version", 'i'),
            ("family", 't'),
            ("metrics", 't'),
            ("info", 't'),
            ("files", 't'),
            ("bytes", 'i'),
            ("job_id", 't'),
            ("served_at", 'i'),
            ("created_at", 'i'),
        ],
    ),
    (
        "logs",
        &[("model_id", 't'), ("next_seq", 'i'), ("snapshot_seq", 'i'), ("snapshot_key", 't'), ("snapshot_info", 't')],
    ),
    (
        "observations",
        &[
            ("model_id", 't'),
            ("seq", 'i'),
            ("row_count", 'i'),
            ("kind", 't'),
            ("payload", 'x'),
            ("created_at", 'i'),
            ("key_id", 't'),
        ],
    ),
    ("log_checkpoints", &[("model_id", 't'), ("seq", 'i'), ("object_key", 't'), ("info", 't')]),
    ("observation_keys", &[("model_id", 't'), ("key", 't'), ("body_hash", 't'), ("seq", 'i'), ("created_at", 'i')]),
    (
        "jobs",
        &[
            ("id", 't'),
            ("kind", 't'),
            ("model", 't'),
            ("model_id", 't'),
            ("version", 'i'),
            ("dataset", 't'),
            ("spec", 't'),
            ("input", 't'),
            ("status", 't'),
            ("exclusive", 'b'),
            ("priority", 'i'),
            ("progress", 't'),
            ("metrics", 't'),
            ("result", 't'),
            ("error", 't'),
            ("attempt", 'i'),
            ("strikes", 'i'),
            ("kills", 'i'),
            ("resumed_from_step", 'i'),
            ("checkpoint_key", 't'),
            ("checkpoint_step", 'i'),
            ("owner", 't'),
            ("lease_until", 'i'),
            ("heartbeats", 'i'),
            ("cancel_requested", 'b'),
            ("event_seq", 'i'),
            ("created_at", 'i'),
            ("started_at", 'i'),
            ("finished_at", 'i'),
        ],
    ),
    ("job_inputs", &[("job_id", 't'), ("object_key", 't')]),
    ("job_events", &[("job_id", 't'), ("seq", 'i'), ("kind", 't'), ("data", 't'), ("created_at", 'i')]),
    (
        "api_keys",
        &[
            ("id", 't'),
            ("name", 't'),
            ("hash", 't'),
            ("scopes", 't'),
            ("models", 't'),
            ("created_at", 'i'),
            ("expires_at", 'i'),
        ],
    ),
    ("encoders", &[("name", 't'), ("digest", 't'), ("bytes", 'i'), ("info", 't'), ("created_at", 'i')]),
    (
        "audit",
        &[
            ("id", 't'),
            ("at", 'i'),
            ("caller", 't'),
            ("caller_name", 't'),
            ("method", 't'),
            ("path", 't'),
            ("status", 'i'),
            ("request_id", 't'),
        ],
    ),
];

/// Tables that snapshots of earlier versions do not have.
const ADDED: [&str; 3] = ["encoders", "audit", "log_checkpoints"];

/// Folders of the object store that hold what the tables name.
const FOLDERS: [&str; 6] = ["datasets", "models", "logs", "checkpoints", "encoders", "outputs"];

impl Store {
    /// Writes a copy of everything to `path` while others continue to read and write. The file
    /// appears whole or not at all.
    pub async fn write_snapshot(&self, path: &Path) -> Result<Manifest> {
        let _copying = self.inner.copying.read().await;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let work = tempfile::Builder::new().prefix(".snapshot").tempdir_in(folder)?;
        let mut rows = 0;
        let mut tx = self.inner.db.begin_read().await?;
        for (table, columns) in TABLES {
            let mut file = BufWriter::new(File::create(work.path().join(table))?);
            let select = sql(format!("SELECT * FROM {table}"));
            tx.each(select, |row| {
                rows += 1;
                serde_json::to_writer(&mut file, &row_to_json(&row, columns)?).map_err(Error::internal)?;
                Ok(file.write_all(b"\n")?)
            })
            .await?;
            file.flush()?;
        }
        drop(tx);
        let mut objects = Vec::new();
        for folder in FOLDERS {
            objects.extend(self.inner.objects.list(folder).await?);
        }
        let mut files = Vec::with_capacity(objects.len());
        for listed in &objects {
            match self.inner.objects.path(&listed.key).await {
                Ok(path) => files.push((listed.key.clone(), path)),
                // A checkpoint that was replaced meanwhile.
                Err(error) if error.code == "object_not_found" => {}
                Err(error) => return Err(error),
            }
        }
        let manifest = Manifest {
            format: FORMAT,
            kenyon: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: jiff::Timestamp::now(),
            rows,
            objects: files.len() as u64,
            bytes: objects.iter().map(|o| o.bytes).sum(),
        };
        let (path, written) = (path.to_owned(), manifest.clone());
        let task = tokio::task::spawn_blocking(move || write_tar(&path, work.path(), &files, &written));
        task.await.map_err(Error::internal)??;
        Ok(manifest)
    }

    /// Whether nothing was ever stored.
    async fn is_empty(&self) -> Result<bool> {
        let any = "SELECT 1 AS one FROM datasets UNION ALL SELECT 1 FROM models UNION ALL SELECT 1 FROM jobs
            UNION ALL SELECT 1 FROM api_keys LIMIT 1";
        Ok(self.inner.db.opt(sql(any)).await?.is_none())
    }
}

/// Fills an empty store from a snapshot file; 409 `store_not_empty` when there is something in it.
pub async fn restore(file: &Path, options: &StoreOptions) -> Result<Manifest> {
    let store = Store::open(options).await?;
    if !store.is_empty().await? {
        return Err(Error::conflict("store_not_empty", "a snapshot is restored into an empty data folder or database"));
    }
    let work = tempfile::Builder::new().prefix(".restore").tempdir_in(&options.data_dir)?;
    let (from, to) = (file.to_owned(), work.path().to_owned());
    let unpack = move || -> Result<()> {
        let mut tar = tar::Archive::new(BufReader::new(File::open(from)?));
        // Never writes outside of the folder: names with `..` and links that lead out are skipped.
        Ok(tar.unpack(to)?)
    };
    tokio::task::spawn_blocking(unpack).await.map_err(Error::internal)?.map_err(|error| {
        let mut bad = Error::unprocessable("invalid_snapshot", "the file is not a complete snapshot");
        bad.cause = Some(error.into());
        bad
    })?;
    let manifest = read_manifest(work.path())?;
    let mut objects = Vec::new();
    list_files(&work.path().join("objects"), "", &mut objects)?;
    for (key, path) in &objects {
        let file = tokio::fs::File::open(path).await?;
        store.inner.objects.put_stream(key, tokio_util::io::ReaderStream::new(file), u64::MAX).await?;
    }
    let mut tx = store.inner.db.begin().await?;
    for (table, columns) in TABLES {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let places: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        let insert = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        let file = match File::open(work.path().join("tables").join(format!("{table}.ndjson"))) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && ADDED.contains(table) => continue,
            file => file?,
        };
        for line in BufReader::new(file).lines() {
            let mut row: Map<String, Value> = serde_json::from_str(&line?).map_err(|_| invalid())?;
            let missing = |key: &str| !objects.iter().any(|(k, _)| k == key);
            if row.get("checkpoint_key").and_then(Value::as_str).is_some_and(missing) {
                // It was replaced while the copy was made; the job starts from the beginning.
                row.insert("checkpoint_key".to_owned(), Value::Null);
                row.insert("checkpoint_step".to_owned(), Value::from(0));
            }
            if *table == "jobs" {
                // Snapshots of earlier versions do not have it.
                row.entry("kills").or_insert(Value::from(0));
            }
            let mut statement = sql(insert.clone());
            for (name, kind) in *columns {
                statement = statement.bind(arg_from_json(row.get(*name).unwrap_or(&Value::Null), *kind)?);
            }
            tx.exec(statement).await?;
        }
    }
    tx.commit().await?;
    store.close().await;
    Ok(manifest)
}

fn invalid() -> Error {
    Error::unprocessable("invalid_snapshot", "the file is not a complete snapshot")
}

fn row_to_json(row: &Row, columns: Columns) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for (name, kind) in columns {
        let value = match kind {
            't' => Value::from(row.get::<Option<String>>(name)?),
            'i' => Value::from(row.get::<Option<i64>>(name)?),
            'r' => Value::from(row.get::<Option<f64>>(name)?),
            'b' => Value::from(row.get::<bool>(name)?),
            _ => Value::from(row.get::<Option<Vec<u8>>>(name)?.map(|bytes| BASE64.encode(bytes))),
        };
        map.insert((*name).to_owned(), value);
    }
    Ok(map)
}

fn arg_from_json(value: &Value, kind: char) -> Result<Arg> {
    Ok(match kind {
        't' => Arg::Text(value.as_str().map(str::to_owned)),
        'i' => Arg::Int(value.as_i64()),
        'r' => Arg::Real(value.as_f64()),
        'b' => Arg::Bool(value.as_bool().unwrap_or_default()),
        _ => {
            let bytes = value.as_str().map(|text| BASE64.decode(text).map_err(|_| invalid())).transpose()?;
            Arg::Blob(bytes)
        }
    })
}

fn write_tar(path: &Path, tables: &Path, objects: &[(String, PathBuf)], manifest: &Manifest) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".snapshot").tempfile_in(folder)?;
    let mut tar = tar::Builder::new(BufWriter::new(temporary));
    let text = serde_json::to_vec_pretty(manifest).map_err(Error::internal)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_cksum();
    tar.append_data(&mut header, "manifest.json", text.as_slice())?;
    for (table, _) in TABLES {
        tar.append_path_with_name(tables.join(table), format!("tables/{table}.ndjson"))?;
    }
    for (key, path) in objects {
        tar.append_path_with_name(path, format!("objects/{key}"))?;
    }
    let temporary = tar.into_inner()?.into_inner().map_err(|e| Error::from(e.into_error()))?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| Error::from(e.error))?;
    Ok(())
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let text = std::fs::read(folder.join("manifest.json")).map_err(|_| invalid())?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|_| invalid())?;
    if manifest.format > FORMAT {
        let detail = format!("the snapshot was made by kenyon {}, which is newer", manifest.kenyon);
        return Err(Error::unprocessable("snapshot_too_new", detail));
    }
    Ok(manifest)
}

fn list_files(folder: &Path, prefix: &str, into: &mut Vec<(String, PathBuf)>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            list_files(&entry.path(), &key, into)?;
        } else {
            into.push((key, entry.path()));
        }
    }
    Ok(())
}

/// Table and column of everything that is copied.
#[cfg(test)]
pub(super) fn known_columns() -> Vec<(String, String)> {
    let pairs = TABLES.iter().flat_map(|(table, columns)| columns.iter().map(move |(c, _)| (*table, *c)));
    pairs.map(|(table, column)| (table.to_owned(), column.to_owned())).collect()
}
