//! Datasets: an ordered list of parts (files as uploaded) and one schema over all of them.
//!
//! A part never changes. Replacing writes the new parts first, then one transaction points the name
//! at them; the old parts become garbage, which is deleted once no unfinished job reads it.

use super::change::Change;
use super::clock::now;
use super::db::{Db, Row, Tx, sql};
use super::objects::digest;
use super::{DatasetName, JobId, Objects, Page, Store};
use crate::{Error, Result};
use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One file of a dataset, as uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// Key in the object store.
    pub key: String,
    /// Name of the format (`csv`, `ndjson` …).
    pub format: String,
    /// `none`, `gzip` or `zstd`.
    pub compression: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// SHA-256 of the bytes as stored, hexadecimal.
    pub digest: String,
    /// How its text is read, in the representation of `data`; null for parts of 0.1.
    #[serde(default)]
    pub read_as: Value,
}

/// A dataset with its schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Its name.
    pub name: DatasetName,
    /// Counts up with every change.
    pub revision: u64,
    /// Rows of all parts.
    pub rows: u64,
    /// Bytes of all parts as stored.
    pub bytes: u64,
    /// SHA-256 over the parts' digests, in order.
    pub digest: String,
    /// The schema with statistics, in the representation of `data`.
    pub columns: Value,
    /// Its files, in order.
    pub parts: Vec<StoredPart>,
    /// When it was first made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a job reads, fixed when it first starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInput {
    /// The dataset it is for.
    #[serde(flatten)]
    pub dataset: Dataset,
    /// The dataset that a training is evaluated on, where the request names one.
    #[serde(default)]
    pub held_out: Option<Dataset>,
    /// What a comparison reads besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Dataset>,
}

/// A file that was uploaded and is not part of anything yet. Dropped without being put into a
/// dataset, it is deleted, so that a client that disconnects leaves nothing.
#[derive(Debug)]
pub struct Staged {
    key: String,
    bytes: u64,
    digest: String,
    path: PathBuf,
    objects: Objects,
    kept: bool,
}

impl Staged {
    /// The content as a local file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 of its content, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (objects, key) = (self.objects.clone(), std::mem::take(&mut self.key));
        // Without a runtime the sweep at the next start removes it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { objects.delete(&key).await });
        }
    }
}

/// A staged file with the results of its reader.
#[derive(Debug)]
pub struct NewPart {
    /// The uploaded file.
    pub file: Staged,
    /// Name of the format.
    pub format: String,
    /// `none`, `gzip` or `zstd`.
    pub compression: String,
    /// Rows in it.
    pub rows: u64,
    /// How its text is read.
    pub read_as: Value,
}

impl NewPart {
    fn part(&self) -> StoredPart {
        StoredPart {
            key: self.file.key.clone(),
            format: self.format.clone(),
            compression: self.compression.clone(),
            rows: self.rows,
            bytes: self.file.bytes,
            digest: self.file.digest.clone(),
            read_as: self.read_as.clone(),
        }
    }
}

impl Store {
    /// Streams an upload to storage in flat memory; more than `limit` bytes are refused. The result
    /// belongs to nothing until it is put into or appended to a dataset.
    pub async fn stage<S, E>(&self, stream: S, limit: u64) -> Result<Staged>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Error>,
    {
        let objects = self.inner.objects.clone();
        let key = format!("datasets/{}", uuid::Uuid::now_v7());
        let stored = objects.put_stream(&key, stream, limit).await?;
        let mut staged =
            Staged { key, bytes: stored.bytes, digest: stored.digest, path: PathBuf::new(), objects, kept: false };
        staged.path = staged.objects.path(&staged.key).await?;
        Ok(staged)
    }

    /// Creates the dataset or replaces all of it; `true` when it is new.
    pub async fn put_dataset(
        &self,
        name: &DatasetName,
        mut parts: Vec<NewPart>,
        columns: &Value,
    ) -> Result<(Dataset, bool)> {
        let mut tx = self.inner.db.begin().await?;
        let at = now();
        let upsert = "INSERT INTO datasets (name, revision, row_count, bytes, digest, columns, created_at, updated_at)
            VALUES ($1, 1, 0, 0, '', $2, $3, $3)
            ON CONFLICT (name) DO UPDATE SET revision = datasets.revision + 1, columns = $2, updated_at = $3
            RETURNING revision";
        let row = tx.opt(sql(upsert).bind(name).bind(columns).bind(at)).await?;
        let new = row.map_or(Ok(1), |r| r.u64("revision"))? == 1;
        let old = "INSERT INTO garbage (object_key, since) SELECT object_key, $2 FROM dataset_parts WHERE dataset = $1";
        tx.exec(sql(old).bind(name).bind(at)).await?;
        tx.exec(sql("DELETE FROM dataset_parts WHERE dataset = $1").bind(name)).await?;
        for (position, part) in parts.iter().enumerate() {
            insert_part(&mut tx, name, position, &part.part()).await?;
        }
        sum_up(&mut tx, name).await?;
        tx.notify(Change::Dataset(name.clone()));
        tx.commit().await?;
        parts.iter_mut().for_each(|p| p.file.kept = true);
        Ok((self.dataset(name).await?, new))
    }

    /// Adds a part at the end, with the schema over old and new rows. `revision` is the one the
    /// schema was made for: when another change came between, 409 `dataset_changed`, and the caller
    /// makes the schema again.
    pub async fn append_dataset(
        &self,
        name: &DatasetName,
        revision: u64,
        mut part: NewPart,
        columns: &Value,
    ) -> Result<Dataset> {
        self.try_append_dataset(name, revision, &mut part, columns).await
    }

    /// As [`Store::append_dataset`], but a part that could not be added is returned for another try.
    pub async fn try_append_dataset(
        &self,
        name: &DatasetName,
        revision: u64,
        part: &mut NewPart,
        columns: &Value,
    ) -> Result<Dataset> {
        let mut tx = self.inner.db.begin().await?;
        let update = "UPDATE datasets SET revision = revision + 1, columns = $2, updated_at = $3
            WHERE name = $1 AND revision = $4";
        if tx.exec(sql(update).bind(name).bind(columns).bind(now()).bind(revision)).await? == 0 {
            let exists = tx.opt(sql("SELECT 1 AS one FROM datasets WHERE name = $1").bind(name)).await?.is_some();
            let detail = "the dataset changed while rows were being appended; try again";
            return Err(if exists { Error::conflict("dataset_changed", detail) } else { no_dataset(name) });
        }
        let last = "SELECT COALESCE(MAX(position), -1) + 1 AS next FROM dataset_parts WHERE dataset = $1";
        let position = tx.opt(sql(last).bind(name)).await?.map_or(Ok(0), |r| r.u64("next"))?;
        insert_part(&mut tx, name, position as usize, &part.part()).await?;
        sum_up(&mut tx, name).await?;
        tx.notify(Change::Dataset(name.clone()));
        tx.commit().await?;
        part.file.kept = true;
        self.dataset(name).await
    }

    /// One dataset; 404 `dataset_not_found`.
    pub async fn dataset(&self, name: &DatasetName) -> Result<Dataset> {
        let row = self.inner.db.opt(sql("SELECT * FROM datasets WHERE name = $1").bind(name)).await?;
        let row = row.ok_or_else(|| no_dataset(name))?;
        with_parts(&self.inner.db, &row).await
    }

    /// Datasets by name.
    pub async fn datasets(&self, limit: usize, cursor: Option<&str>) -> Result<Page<Dataset>> {
        let list = "SELECT * FROM datasets WHERE name > $1 ORDER BY name LIMIT $2";
        let rows = self.inner.db.all(sql(list).bind(cursor.unwrap_or("")).bind(limit + 1)).await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            items.push(with_parts(&self.inner.db, row).await?);
        }
        Ok(Page::from_fetched(items, limit, |d| d.name.to_string()))
    }

    /// Removes it; 409 `dataset_in_use` while a job reads it.
    pub async fn delete_dataset(&self, name: &DatasetName) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        // Locks the row on Postgres, so that no job starts on the dataset meanwhile.
        let lock = "UPDATE datasets SET updated_at = updated_at WHERE name = $1";
        if tx.exec(sql(lock).bind(name)).await? == 0 {
            return Err(no_dataset(name));
        }
        let reader = "SELECT id FROM jobs WHERE dataset = $1 AND status IN ('queued', 'running')
            AND (status = 'running' OR input IS NOT NULL) LIMIT 1";
        // A comparison reads several.
        let other = "SELECT j.id AS id FROM jobs j JOIN job_inputs i ON i.job_id = j.id
            JOIN dataset_parts p ON p.object_key = i.object_key WHERE p.dataset = $1 LIMIT 1";
        let found = match tx.opt(sql(reader).bind(name)).await? {
            None => tx.opt(sql(other).bind(name)).await?,
            found => found,
        };
        if let Some(row) = found {
            let job: String = row.get("id")?;
            return Err(Error::conflict("dataset_in_use", format!("job {job} reads dataset {name}; cancel it first")));
        }
        let old = "INSERT INTO garbage (object_key, since) SELECT object_key, $2 FROM dataset_parts WHERE dataset = $1";
        tx.exec(sql(old).bind(name).bind(now())).await?;
        tx.exec(sql("DELETE FROM datasets WHERE name = $1").bind(name)).await?;
        tx.notify(Change::Dataset(name.clone()));
        tx.commit().await?;
        self.sweep().await.map(|_| ())
    }

    /// A part as a local file.
    pub async fn part_path(&self, part: &StoredPart) -> Result<PathBuf> {
        self.inner.objects.path(&part.key).await
    }

    /// The dataset as the job reads it: fixed when the job first starts and the same on every later
    /// attempt, whatever happens to the name meanwhile.
    pub async fn job_input(&self, job: JobId) -> Result<Option<JobInput>> {
        let row = self.inner.db.opt(sql("SELECT input FROM jobs WHERE id = $1").bind(job)).await?;
        let input = row.map(|r| r.opt_json("input")).transpose()?.flatten();
        input.map(|value| serde_json::from_value(value).map_err(Error::internal)).transpose()
    }
}

/// The dataset as read inside `tx`, which fixes it as a job's input.
pub(super) async fn dataset_in(tx: &mut Tx, name: &str) -> Result<Option<Dataset>> {
    let Some(row) = tx.opt(sql("SELECT * FROM datasets WHERE name = $1").bind(name)).await? else { return Ok(None) };
    let parts = tx.all(sql(PARTS).bind(name)).await?;
    from_rows(&row, &parts).map(Some)
}

const PARTS: &str = "SELECT * FROM dataset_parts WHERE dataset = $1 ORDER BY position";

async fn with_parts(db: &Db, row: &Row) -> Result<Dataset> {
    let parts = db.all(sql(PARTS).bind(row.get::<String>("name")?)).await?;
    from_rows(row, &parts)
}

fn from_rows(row: &Row, parts: &[Row]) -> Result<Dataset> {
    let part = |row: &Row| {
        Ok(StoredPart {
            key: row.get("object_key")?,
            format: row.get("format")?,
            compression: row.get("compression")?,
            rows: row.u64("row_count")?,
            bytes: row.u64("bytes")?,
            digest: row.get("digest")?,
            read_as: row.json("read_as")?,
        })
    };
    Ok(Dataset {
        name: row.parse("name")?,
        revision: row.u64("revision")?,
        rows: row.u64("row_count")?,
        bytes: row.u64("bytes")?,
        digest: row.get("digest")?,
        columns: row.json("columns")?,
        parts: parts.iter().map(part).collect::<Result<_>>()?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

async fn insert_part(tx: &mut Tx, name: &DatasetName, position: usize, part: &StoredPart) -> Result<()> {
    let insert = "INSERT INTO dataset_parts
        (dataset, position, object_key, format, compression, row_count, bytes, digest, read_as)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let insert = sql(insert).bind(name).bind(position).bind(&part.key).bind(&part.format).bind(&part.compression);
    tx.exec(insert.bind(part.rows).bind(part.bytes).bind(&part.digest).bind(&part.read_as)).await?;
    Ok(())
}

/// Totals over the parts: stored so that lists need not add them up.
async fn sum_up(tx: &mut Tx, name: &DatasetName) -> Result<()> {
    let parts = tx.all(sql(PARTS).bind(name)).await?;
    let (mut rows, mut bytes, mut digests) = (0, 0, String::new());
    for part in &parts {
        rows += part.u64("row_count")?;
        bytes += part.u64("bytes")?;
        digests.push_str(&part.get::<String>("digest")?);
    }
    let update = "UPDATE datasets SET row_count = $2, bytes = $3, digest = $4 WHERE name = $1";
    // One part's digest is the file's own, so that a user can compare it with sha256sum.
    let digest = if parts.len() == 1 { digests } else { digest(digests.as_bytes()) };
    tx.exec(sql(update).bind(name).bind(rows).bind(bytes).bind(digest)).await?;
    Ok(())
}

/// 404 for a dataset.
pub(super) fn no_dataset(name: impl std::fmt::Display) -> Error {
    Error::not_found("dataset_not_found", format!("there is no dataset {name}"))
}
