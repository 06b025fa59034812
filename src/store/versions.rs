//! The finished versions of models: a handful of files in the object store and one row each.
//!
//! A version is visible from the transaction that inserts its row, which is also the one that ends its job.

use super::change::Change;
use super::clock::now;
use super::db::{Row, Tx, sql};
use super::jobs::Claim;
use super::model_rows::{NewModel, VersionFile, files, insert_model, model_exists, no_model, not_inserted};
use super::models::{Model, Traffic, from_row, no_version, steer};
use super::{JobId, ModelName, Store};
use crate::{Error, Result};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// The state of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// It is served.
    Served,
    /// It may be promoted and has never been served.
    Ready,
    /// It is the shadow.
    Shadow,
    /// It answers a share of the requests.
    Canary,
    /// It was served before and may be promoted again.
    Retired,
}

/// A finished version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Its number, from 1.
    pub version: u64,
    /// What it is used for.
    pub state: VersionState,
    /// Its family.
    pub family: String,
    /// What was measured when it was made.
    pub metrics: Value,
    /// Further data of the layers above.
    #[serde(skip)]
    pub info: Value,
    /// Size of all files.
    pub bytes: u64,
    /// Its files.
    #[serde(skip)]
    pub files: Vec<VersionFile>,
    /// The job that made it.
    pub job_id: Option<JobId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A version to publish.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// Its family.
    pub family: String,
    /// `classification` or `regression`.
    pub task: Option<String>,
    /// What was measured.
    pub metrics: Value,
    /// Further data of the layers above; also becomes what the model shows, where not null.
    pub info: Value,
    /// Name and content of each file of the bundle.
    pub files: Vec<(String, Vec<u8>)>,
    /// Why it is not to be served at once, if so. Nor is it while a canary or shadow is set,
    /// or when a newer version is served already.
    pub withheld: Option<String>,
}

/// Whether a published version is served, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Whether.
    pub served: bool,
    /// One sentence.
    pub reason: String,
}

impl Store {
    /// The served versions of a page of models, by model: one statement, however many they are.
    pub async fn served_versions(&self, page: &[Model]) -> Result<HashMap<ModelName, Version>> {
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(HashMap::new()) };
        let list = "SELECT v.*, m.name AS model FROM models m JOIN versions v ON v.model_id = m.id
            AND v.version = m.stable WHERE m.name >= $1 AND m.name <= $2";
        let rows = self.inner.db.all(sql(list).bind(&first.name).bind(&last.name)).await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            let name: ModelName = row.parse("model")?;
            if let Some(model) = page.iter().find(|m| m.name == name) {
                found.insert(name, version_from_row(model, row)?);
            }
        }
        Ok(found)
    }

    /// A model's versions, newest first.
    pub async fn versions(&self, name: &ModelName) -> Result<Vec<Version>> {
        let model = self.model(name).await?;
        let list = "SELECT * FROM versions WHERE model_id = $1 ORDER BY version DESC";
        let rows = self.inner.db.all(sql(list).bind(model.id.to_string())).await?;
        rows.iter().map(|row| version_from_row(&model, row)).collect()
    }

    /// One version; 404 `version_not_found`.
    pub async fn version(&self, name: &ModelName, version: u64) -> Result<Version> {
        let id = self.model(name).await?.id;
        self.version_of(name, id, version).await
    }

    /// A version of the model with this id; 404 `version_not_found` where another model has taken the name.
    pub async fn version_of(&self, name: &ModelName, id: Uuid, version: u64) -> Result<Version> {
        let model = self.model(name).await?;
        let one = "SELECT * FROM versions WHERE model_id = $1 AND version = $2";
        let row = self.inner.db.opt(sql(one).bind(id.to_string()).bind(version)).await?;
        version_from_row(&model, &row.filter(|_| model.id == id).ok_or_else(|| no_version(version))?)
    }

    /// The files of a version, checked against their digests.
    pub async fn version_files(&self, version: &Version) -> Result<Vec<(String, Bytes)>> {
        self.checked_files(version.files.clone()).await
    }

    /// The files of a version of the model with this id, as [`Self::version_of`] and [`Self::version_files`] in one statement.
    pub async fn files_of(&self, name: &ModelName, id: Uuid, version: u64) -> Result<Vec<(String, Bytes)>> {
        let one = "SELECT v.files FROM versions v JOIN models m ON m.id = v.model_id
            WHERE m.name = $1 AND m.id = $2 AND v.version = $3";
        let row = self.inner.db.opt(sql(one).bind(name).bind(id.to_string()).bind(version)).await?;
        let Some(row) = row else {
            // 404 of the model where there is none of this name.
            self.model(name).await?;
            return Err(no_version(version));
        };
        self.checked_files(files(&row)?).await
    }

    async fn checked_files(&self, files: Vec<VersionFile>) -> Result<Vec<(String, Bytes)>> {
        let (names, wanted): (Vec<_>, Vec<_>) =
            files.into_iter().map(|file| (file.name, (file.key, file.digest))).unzip();
        Ok(names.into_iter().zip(self.inner.objects.get_checked(wanted).await?).collect())
    }

    /// Makes a model together with its first version, or nothing: 409 `model_exists`.
    pub async fn create_model_with(&self, new: &NewModel, version: NewVersion) -> Result<Model> {
        match self.model(&new.name).await {
            Ok(_) => return Err(model_exists(&new.name)),
            Err(error) if error.kind == crate::Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        let model = Uuid::now_v7();
        let files = self.write_files(&new.name, model, 1, "0", &version).await?;
        let visible = async {
            let mut tx = self.inner.db.begin().await?;
            let inserted = insert_model(&mut tx, new, model).await;
            let id = inserted.map_err(|error| not_inserted(error, &new.name))?;
            tx.exec(sql("UPDATE models SET next_version = 2 WHERE id = $1").bind(&id)).await?;
            insert_version(&mut tx, &id, 1, None, &version, &files).await?;
            tx.commit().await
        };
        if let Err(error) = visible.await {
            return Err(self.unpublished(error, &files).await);
        }
        self.model(&new.name).await
    }

    /// Makes a version visible without a job (import): 404 `model_not_found`.
    pub async fn publish_version(&self, name: &ModelName, new: NewVersion) -> Result<Version> {
        let model = self.model(name).await?;
        let number = "UPDATE models SET next_version = next_version + 1 WHERE id = $1 RETURNING next_version - 1 AS v";
        let row = self.inner.db.exec_all(sql(number).bind(model.id.to_string())).await?;
        let version = row.first().ok_or_else(|| no_model(name))?.u64("v")?;
        let files = self.write_files(name, model.id, version, "0", &new).await?;
        let mut tx = self.inner.db.begin().await?;
        insert_version(&mut tx, &model.id.to_string(), version, None, &new, &files).await?;
        tx.notify(Change::Model(name.clone()));
        tx.commit().await?;
        self.version(name, version).await
    }

    /// Makes a job's version visible and ends the job, in one transaction. Fails with
    /// `lease_lost` when the job is no longer this worker's, and then nothing is visible.
    pub async fn publish_job(&self, claim: &Claim, new: NewVersion) -> Result<()> {
        let version = claim.job.version.ok_or_else(|| Error::internal("a job without a version publishes"))?;
        let attempt = claim.job.attempt.to_string();
        let model = claim.job.model()?;
        let files = self.write_files(model, claim.model_id, version, &attempt, &new).await?;
        let visible = async {
            let mut tx = self.inner.db.begin().await?;
            super::jobs::hold(&mut tx, claim).await?;
            let id = claim.model_id.to_string();
            let serving = insert_version(&mut tx, &id, version, Some(claim.job.id), &new, &files).await?;
            let mut result = json!({ "version": version, "served": serving.served, "served_reason": serving.reason,
                "warnings": new.info.get("warnings").unwrap_or(&json!([])) });
            if let Some(forgotten) = new.info.get("forgotten") {
                result["forgotten"] = forgotten.clone();
            }
            super::jobs::succeed(&mut tx, claim, &new.metrics, &result).await?;
            tx.notify(Change::Model(model.clone()));
            tx.commit().await
        };
        if let Err(error) = visible.await {
            return Err(self.unpublished(error, &files).await);
        }
        self.drop_checkpoints(claim.job.id).await;
        self.drop_lost_attempts(&format!("models/{model}/{}/{version}", claim.model_id), &attempt).await;
        Ok(())
    }

    /// Deletes the files of a version that did not become visible. Whether an interrupted transaction was committed is not
    /// known: then they stay.
    async fn unpublished(&self, error: Error, files: &[VersionFile]) -> Error {
        if error.kind != crate::Kind::Unavailable {
            for file in files {
                if let Err(error) = self.inner.objects.delete(&file.key).await {
                    return error;
                }
            }
        }
        error
    }

    /// The part of the key after the version is that of the attempt: a worker that lost its lease may
    /// still be writing in parallel with its successor.
    async fn write_files(
        &self,
        name: &ModelName,
        model: Uuid,
        version: u64,
        attempt: &str,
        new: &NewVersion,
    ) -> Result<Vec<VersionFile>> {
        let mut files = Vec::with_capacity(new.files.len());
        for (file, bytes) in &new.files {
            let key = format!("models/{name}/{model}/{version}/{attempt}/{file}");
            let stored = self.inner.objects.put(&key, bytes.clone()).await?;
            let (bytes, digest) = (stored.bytes, stored.digest);
            files.push(VersionFile { name: file.clone(), key, bytes, digest });
        }
        Ok(files)
    }
}

async fn insert_version(
    tx: &mut Tx,
    model_id: &str,
    version: u64,
    job: Option<JobId>,
    new: &NewVersion,
    files: &[VersionFile],
) -> Result<Serving> {
    let lock = "UPDATE models SET updated_at = $2 WHERE id = $1 RETURNING *";
    let row = tx.opt(sql(lock).bind(model_id).bind(now())).await?;
    let row = row.ok_or_else(|| Error::not_found("model_not_found", "the model was deleted in the meantime"))?;
    let model = from_row(&row)?;
    let bytes: u64 = files.iter().map(|f| f.bytes).sum();
    let insert = "INSERT INTO versions
        (model_id, version, family, metrics, info, files, bytes, job_id, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let insert = sql(insert).bind(model_id).bind(version).bind(&new.family).bind(&new.metrics).bind(&new.info);
    let insert = insert.bind(&json!(files)).bind(bytes).bind(job.map(|j| j.to_string())).bind(now());
    tx.exec(insert).await?;
    let tried = model.traffic.canary.is_some() || model.traffic.shadow.is_some();
    let newer = model.traffic.stable.filter(|stable| *stable > version);
    let withheld = match (&new.withheld, newer) {
        (Some(reason), _) => Some(reason.clone()),
        (None, Some(newer)) => Some(format!("version {newer}, which is newer, is served already")),
        (None, None) if tried => Some("another version is tried as canary or shadow; promote this one".to_owned()),
        (None, None) => None,
    };
    if withheld.is_none() {
        steer(tx, &model, &Traffic { stable: Some(version), ..Traffic::default() }).await?;
    }
    let served = withheld.is_none();
    // The model shows the data of the served version, or of the last one where none is served.
    if served || model.traffic.stable.is_none() {
        let show = "UPDATE models SET family = $2, task = COALESCE($3, task) WHERE id = $1";
        tx.exec(sql(show).bind(model_id).bind(&new.family).bind(new.task.clone())).await?;
        if !new.info.is_null() {
            tx.exec(sql("UPDATE models SET info = $2 WHERE id = $1").bind(model_id).bind(&new.info)).await?;
        }
    }
    let reason = withheld.unwrap_or_else(|| "the newest version is served".to_owned());
    Ok(Serving { served, reason })
}

fn version_from_row(model: &Model, row: &Row) -> Result<Version> {
    let version = row.u64("version")?;
    let traffic = &model.traffic;
    let state = if traffic.stable == Some(version) {
        VersionState::Served
    } else if traffic.canary.is_some_and(|c| c.version == version) {
        VersionState::Canary
    } else if traffic.shadow == Some(version) {
        VersionState::Shadow
    } else if row.get::<Option<i64>>("served_at")?.is_some() {
        VersionState::Retired
    } else {
        VersionState::Ready
    };
    Ok(Version {
        version,
        state,
        family: row.get("family")?,
        metrics: row.json("metrics")?,
        info: row.json("info")?,
        bytes: row.u64("bytes")?,
        files: files(row)?,
        job_id: row.get::<Option<String>>("job_id")?.map(|id| id.parse()).transpose()?,
        created_at: row.time("created_at")?,
    })
}
