//! Pretrained encoders: their files under their digest, their names in a table.

use super::clock::now;
use super::db::{Row, sql};
use super::{EncoderName, Page, Store};
use crate::{Detail, Error, Result};
use jiff::Timestamp;
use kenyon_learn::data::plan::{ColumnPlan, NO_ENCODER};
use kenyon_learn::data::vectors::ColumnEncoder;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Files of an encoder are copied in pieces of this size.
const PIECE: usize = 1 << 20;

/// A stored encoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredEncoder {
    /// Its name.
    pub name: EncoderName,
    /// SHA-256 over its files.
    pub digest: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// What is known about it; `files` are the paths of its files.
    pub info: Value,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A store that may be closed before this is used.
#[derive(Clone, Debug)]
pub struct WeakStore(Weak<super::open::StoreInner>);

impl WeakStore {
    /// The store, unless it is closed.
    pub fn open(&self) -> Option<Store> {
        Some(Store { inner: self.0.upgrade()? })
    }
}

impl Store {
    /// A reference that does not keep it open.
    pub fn weak(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }

    /// Stores the files of `folder` that `info` lists as an encoder; `true` when it is new. An encoder is never replaced by another
    /// one: 409 `encoder_exists`.
    pub async fn put_encoder(&self, name: &EncoderName, folder: &Path, info: &Value) -> Result<(StoredEncoder, bool)> {
        if name.as_str() == NO_ENCODER {
            return Err(Error::malformed("invalid_name", "'none' is what a column without an encoder names"));
        }
        let digest = info["digest"].as_str().unwrap_or_default();
        let files = info["files"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Ok(known) = self.encoder(name).await {
            return same(known, digest).map(|known| (known, false));
        }
        let mut bytes = 0;
        for file in files {
            let opened = tokio::fs::File::open(folder.join(file)).await?;
            let stream = tokio_util::io::ReaderStream::with_capacity(opened, PIECE);
            let key = format!("{}/{file}", prefix(digest));
            bytes += self.inner.objects.put_stream(&key, stream, u64::MAX).await?.bytes;
        }
        let insert = "INSERT INTO encoders (name, digest, bytes, info, created_at) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (name) DO NOTHING";
        let insert = sql(insert).bind(name.as_str()).bind(digest).bind(bytes).bind(info).bind(now());
        let new = self.inner.db.exec(insert).await? == 1;
        same(self.encoder(name).await?, digest).map(|stored| (stored, new))
    }

    /// One encoder; 404 `encoder_not_found`.
    pub async fn encoder(&self, name: &EncoderName) -> Result<StoredEncoder> {
        let row = self.inner.db.opt(sql("SELECT * FROM encoders WHERE name = $1").bind(name.as_str())).await?;
        from_row(&row.ok_or_else(|| no_encoder(name))?)
    }

    /// All encoders by name.
    pub async fn encoders(&self) -> Result<Page<StoredEncoder>> {
        let rows = self.inner.db.all(sql("SELECT * FROM encoders ORDER BY name")).await?;
        Ok(Page { items: rows.iter().map(from_row).collect::<Result<_>>()?, next_cursor: None })
    }

    /// Removes an encoder; 409 `encoder_in_use` while a version of a model reads a column with it.
    pub async fn delete_encoder(&self, name: &EncoderName) -> Result<()> {
        let found = self.encoder(name).await?;
        let others = "SELECT 1 AS one FROM encoders WHERE digest = $1 AND name <> $2";
        let others = sql(others).bind(&found.digest).bind(name.as_str());
        let last = self.inner.db.opt(others).await?.is_none();
        let user = "SELECT m.name AS name FROM versions v JOIN models m ON m.id = v.model_id
            WHERE v.info LIKE $1 LIMIT 1";
        let user = self.inner.db.opt(sql(user).bind(format!("%{}%", found.digest))).await?;
        if let Some(row) = user.filter(|_| last) {
            let model: String = row.get("name")?;
            return Err(Error::conflict("encoder_in_use", format!("the model {model} reads a column with {name}")));
        }
        if self.inner.db.exec(sql("DELETE FROM encoders WHERE name = $1").bind(name.as_str())).await? == 0 {
            return Err(no_encoder(name));
        }
        if last {
            self.inner.objects.delete_folder(&prefix(&found.digest)).await?;
            self.drop_vectors(&found.digest).await?;
        }
        Ok(())
    }

    /// The files of the encoder with this digest on this machine, by their path within its folder; none where there is no such
    /// encoder.
    pub async fn encoder_files(&self, digest: &str) -> Result<Vec<(String, PathBuf)>> {
        let find = "SELECT * FROM encoders WHERE digest = $1 ORDER BY name LIMIT 1";
        let Some(row) = self.inner.db.opt(sql(find).bind(digest)).await? else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for file in from_row(&row)?.info["files"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            files.push((file.to_owned(), self.inner.objects.path(&format!("{}/{file}", prefix(digest))).await?));
        }
        Ok(files)
    }

    /// The folder of those files.
    pub async fn encoder_folder(&self, digest: &str) -> Result<Option<PathBuf>> {
        let files = self.encoder_files(digest).await?;
        let folder =
            |(file, path): &(String, PathBuf)| path.ancestors().nth(file.split('/').count()).map(Path::to_owned);
        Ok(files.last().and_then(folder))
    }

    /// Encoders of texts that a training may try, the first by name.
    pub async fn text_encoders(&self) -> Result<Vec<ColumnEncoder>> {
        let all = self.encoders().await?.items;
        // Those from before there were encoders of pictures do not state what they read.
        let of_texts = all.into_iter().filter(|encoder| encoder.info["reads"].as_str().unwrap_or("text") == "text");
        Ok(of_texts.take(TRIED).map(|encoder| ColumnEncoder::new(encoder.name.as_str(), encoder.digest)).collect())
    }

    /// Completes the names of encoders in plans with what is stored under them; 404 `encoder_not_found`, 422 `bad_feature`
    /// where one reads something else.
    pub async fn find_encoders(&self, inputs: &mut [ColumnPlan]) -> Result<()> {
        for plan in inputs {
            let Some(encoder) = &mut plan.encoder else { continue };
            let name: EncoderName = encoder.name.parse()?;
            let found = self.encoder(&name).await?;
            // Encoders from before there were those of pictures do not state what they read.
            let reads = found.info["reads"].as_str().unwrap_or("text");
            if reads != plan.kind.name() {
                let reason = format!("the encoder {name} reads a {reads} and not a {}", plan.kind.name());
                let place = Detail::path(format!("features.{}.encoder", plan.name), reason.clone());
                return Err(Error::unprocessable("bad_feature", reason).with_details([place]));
            }
            *encoder = ColumnEncoder::new(name.as_str(), found.digest);
        }
        Ok(())
    }
}

/// Encoders that a training tries, at most.
const TRIED: usize = 4;

fn same(stored: StoredEncoder, digest: &str) -> Result<StoredEncoder> {
    if stored.digest == digest {
        return Ok(stored);
    }
    let detail = format!("there is another encoder {}: choose another name, or delete it first", stored.name);
    Err(Error::conflict("encoder_exists", detail))
}

fn prefix(digest: &str) -> String {
    format!("encoders/{digest}")
}

fn no_encoder(name: &EncoderName) -> Error {
    Error::not_found("encoder_not_found", format!("there is no encoder {name}"))
}

fn from_row(row: &Row) -> Result<StoredEncoder> {
    Ok(StoredEncoder {
        name: row.parse("name")?,
        digest: row.get("digest")?,
        bytes: row.u64("bytes")?,
        info: row.json("info")?,
        created_at: row.time("created_at")?,
    })
}
