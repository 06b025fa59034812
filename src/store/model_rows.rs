//! Statements on a model's rows that other tables need, too: creating one, and marking what it leaves behind.

use super::ModelName;
use super::change::Change;
use super::clock::now;
use super::db::{Row, Tx, is_duplicate, sql};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A model to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewModel {
    /// Its name.
    pub name: ModelName,
    /// Family, if it is known.
    pub family: Option<String>,
    /// Task, if it is known.
    pub task: Option<String>,
    /// Column that is predicted.
    pub target: String,
    /// Further data of the layers above.
    pub info: Value,
}

/// Marks an object as unreferenced.
pub(super) async fn discard(tx: &mut Tx, key: &str) -> Result<()> {
    let insert = "INSERT INTO garbage (object_key, since) VALUES ($1, $2) ON CONFLICT (object_key) DO NOTHING";
    tx.exec(sql(insert).bind(key).bind(now())).await.map(|_| ())
}

pub(super) async fn insert_model(tx: &mut Tx, new: &NewModel, id: Uuid) -> Result<String> {
    let id = id.to_string();
    let insert = "INSERT INTO models
        (name, id, family, task, target, info, next_version, history, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, 1, '[]', $7, $7)";
    let insert = sql(insert).bind(&new.name).bind(&id).bind(new.family.clone()).bind(new.task.clone());
    tx.exec(insert.bind(&new.target).bind(&new.info).bind(now())).await?;
    tx.exec(sql("INSERT INTO logs (model_id, next_seq) VALUES ($1, 0)").bind(&id)).await?;
    tx.notify(Change::Model(new.name.clone()));
    Ok(id)
}

/// 404 for a model.
pub(super) fn no_model(name: impl std::fmt::Display) -> Error {
    Error::not_found("model_not_found", format!("there is no model {name}"))
}

/// What [`insert_model`] failed with; 409 `model_exists` where the name is taken.
pub(super) fn not_inserted(error: Error, name: &ModelName) -> Error {
    if is_duplicate(&error) { model_exists(name) } else { error }
}

/// 409 for a model that is to be made.
pub(super) fn model_exists(name: &ModelName) -> Error {
    Error::conflict("model_exists", format!("there is a model {name} already"))
}

/// A version's file in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFile {
    /// Name inside the bundle (`weights.safetensors`).
    pub name: String,
    /// Key in the object store.
    pub key: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub digest: String,
}

/// The files of a version, from its row.
pub(super) fn files(row: &Row) -> Result<Vec<VersionFile>> {
    serde_json::from_value(row.json("files")?).map_err(Error::internal)
}
