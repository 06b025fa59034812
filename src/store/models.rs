//! Models, and which of their versions gets how much traffic.

use super::change::Change;
use super::clock::now;
use super::db::{Row, Tx, sql};
use super::model_rows::{NewModel, discard, files, insert_model, no_model, not_inserted};
use super::{ModelName, Page, Store};
use crate::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// How many earlier served versions are kept for a rollback.
const HISTORY: usize = 32;

/// A model; its versions are read separately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// Distinguishes a model from an earlier one of the same name.
    #[serde(skip)]
    pub id: Uuid,
    /// Family, once it is known.
    pub family: Option<String>,
    /// `classification` or `regression`, once it is known.
    pub task: Option<String>,
    /// Column that is predicted.
    pub target: String,
    /// Further data of the layers above: feature kinds, configuration, classes.
    pub info: Value,
    /// Which versions answer.
    pub traffic: Traffic,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it, its versions or its traffic last changed.
    pub updated_at: Timestamp,
}

/// Which versions answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "stable": 3, "canary": { "version": 4, "weight": 0.1 }, "shadow": 5 })))]
pub struct Traffic {
    /// The version that is served.
    #[schema(minimum = 1)]
    pub stable: Option<u64>,
    /// A version that gets a share of the requests.
    #[serde(default)]
    pub canary: Option<Canary>,
    /// A version that predicts without being answered from, for comparison.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub shadow: Option<u64>,
}

/// A version that gets a share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Which.
    #[schema(minimum = 1)]
    pub version: u64,
    /// Share of the requests, in `[0, 1]`.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub weight: f64,
}

impl Store {
    /// Makes a model without versions; 409 `model_exists`.
    pub async fn create_model(&self, new: &NewModel) -> Result<Model> {
        let mut tx = self.inner.db.begin().await?;
        insert_model(&mut tx, new, Uuid::now_v7()).await.map_err(|error| not_inserted(error, &new.name))?;
        tx.commit().await?;
        self.model(&new.name).await
    }

    /// One model; 404 `model_not_found`.
    pub async fn model(&self, name: &ModelName) -> Result<Model> {
        let row = self.inner.db.opt(sql("SELECT * FROM models WHERE name = $1").bind(name)).await?;
        from_row(&row.ok_or_else(|| no_model(name))?)
    }

    /// Whether the model with this id serves this version and has observed something.
    pub async fn has_observed(&self, name: &ModelName, id: Uuid, version: u64) -> Result<bool> {
        let one = "SELECT 1 AS one FROM models m JOIN logs l ON l.model_id = m.id
            WHERE m.name = $1 AND m.id = $2 AND m.stable = $3 AND l.next_seq > 0";
        Ok(self.inner.db.opt(sql(one).bind(name).bind(id.to_string()).bind(version)).await?.is_some())
    }

    /// Models by name.
    pub async fn models(&self, limit: usize, cursor: Option<&str>) -> Result<Page<Model>> {
        let list = "SELECT * FROM models WHERE name > $1 ORDER BY name LIMIT $2";
        let rows = self.inner.db.all(sql(list).bind(cursor.unwrap_or("")).bind(limit + 1)).await?;
        let items = rows.iter().map(from_row).collect::<Result<_>>()?;
        Ok(Page::from_fetched(items, limit, |m| m.name.to_string()))
    }

    /// Removes a model with its versions and its log, and cancels its jobs.
    pub async fn delete_model(&self, name: &ModelName) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        let lock = "UPDATE models SET updated_at = updated_at WHERE name = $1 RETURNING id";
        let row = tx.opt(sql(lock).bind(name)).await?.ok_or_else(|| no_model(name))?;
        let id: String = row.get("id")?;
        super::jobs::cancel_all_of(&mut tx, name).await?;
        for version in tx.all(sql("SELECT files FROM versions WHERE model_id = $1").bind(&id)).await? {
            for file in files(&version)? {
                discard(&mut tx, &file.key).await?;
            }
        }
        let snapshot = "SELECT snapshot_key FROM logs WHERE model_id = $1 AND snapshot_key IS NOT NULL";
        if let Some(row) = tx.opt(sql(snapshot).bind(&id)).await? {
            discard(&mut tx, &row.get::<String>("snapshot_key")?).await?;
        }
        super::log_history::discard_all(&mut tx, &id).await?;
        tx.exec(sql("DELETE FROM models WHERE name = $1").bind(name)).await?;
        tx.notify(Change::Model(name.clone()));
        tx.commit().await?;
        self.sweep().await.map(|_| ())
    }

    /// Serves `version` at once.
    pub async fn promote(&self, name: &ModelName, version: u64) -> Result<Model> {
        let mut tx = self.inner.db.begin().await?;
        let model = locked(&mut tx, name).await?;
        has_version(&mut tx, &model, version).await?;
        let mut traffic = model.traffic.clone();
        traffic.stable = Some(version);
        traffic.canary = traffic.canary.filter(|c| c.version != version);
        traffic.shadow = traffic.shadow.filter(|s| *s != version);
        steer(&mut tx, &model, &traffic).await?;
        tx.commit().await?;
        self.model(name).await
    }

    /// Serves the version that was served before; 409 `no_earlier_version`.
    pub async fn rollback(&self, name: &ModelName) -> Result<Model> {
        let mut tx = self.inner.db.begin().await?;
        let model = locked(&mut tx, name).await?;
        let mut history = history(&mut tx, name).await?;
        let Some(version) = history.pop() else {
            return Err(Error::conflict("no_earlier_version", format!("model {name} has not served another version")));
        };
        let traffic = Traffic { stable: Some(version), ..Traffic::default() };
        steer(&mut tx, &model, &traffic).await?;
        // Going back twice goes back two versions, not forward again.
        let keep = "UPDATE models SET history = $2 WHERE name = $1";
        tx.exec(sql(keep).bind(name).bind(&json!(history))).await?;
        tx.commit().await?;
        self.model(name).await
    }

    /// Splits the traffic; every version named must exist.
    pub async fn set_traffic(&self, name: &ModelName, traffic: &Traffic) -> Result<Model> {
        if traffic.canary.is_some_and(|c| !(0.0..=1.0).contains(&c.weight)) {
            return Err(Error::unprocessable("invalid_weight", "a canary's weight is between 0 and 1"));
        }
        let mut tx = self.inner.db.begin().await?;
        let model = locked(&mut tx, name).await?;
        let mut traffic = traffic.clone();
        traffic.stable = traffic.stable.or(model.traffic.stable);
        let named = [traffic.stable, traffic.canary.map(|c| c.version), traffic.shadow];
        for version in named.into_iter().flatten() {
            has_version(&mut tx, &model, version).await?;
        }
        steer(&mut tx, &model, &traffic).await?;
        tx.commit().await?;
        self.model(name).await
    }
}

/// Reads a model and holds its row until the transaction ends.
async fn locked(tx: &mut Tx, name: &ModelName) -> Result<Model> {
    let lock = "UPDATE models SET updated_at = $2 WHERE name = $1 RETURNING *";
    from_row(&tx.opt(sql(lock).bind(name).bind(now())).await?.ok_or_else(|| no_model(name))?)
}

async fn has_version(tx: &mut Tx, model: &Model, version: u64) -> Result<()> {
    let one = "SELECT 1 AS one FROM versions WHERE model_id = $1 AND version = $2";
    let found = tx.opt(sql(one).bind(model.id.to_string()).bind(version)).await?;
    found.map(|_| ()).ok_or_else(|| no_version(version))
}

async fn history(tx: &mut Tx, name: &ModelName) -> Result<Vec<u64>> {
    let row = tx.opt(sql("SELECT history FROM models WHERE name = $1").bind(name)).await?;
    let value = row.map(|r| r.json("history")).transpose()?.unwrap_or(Value::Null);
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Changes the traffic, and records what was served.
pub(super) async fn steer(tx: &mut Tx, model: &Model, traffic: &Traffic) -> Result<()> {
    let mut history = history(tx, &model.name).await?;
    if let Some(old) = model.traffic.stable.filter(|old| Some(*old) != traffic.stable) {
        history.retain(|v| *v != old);
        history.push(old);
        history.drain(..history.len().saturating_sub(HISTORY));
    }
    history.retain(|v| Some(*v) != traffic.stable);
    let update = "UPDATE models SET stable = $2, canary = $3, canary_weight = $4, shadow = $5, history = $6
        WHERE name = $1";
    let update = sql(update).bind(&model.name).bind(traffic.stable).bind(traffic.canary.map(|c| c.version));
    let update = update.bind(traffic.canary.map(|c| c.weight)).bind(traffic.shadow).bind(&json!(history));
    tx.exec(update).await?;
    let served = "UPDATE versions SET served_at = $3 WHERE model_id = $1 AND version = $2";
    for version in [traffic.stable, traffic.canary.map(|c| c.version)].into_iter().flatten() {
        tx.exec(sql(served).bind(model.id.to_string()).bind(version).bind(now())).await?;
    }
    tx.notify(Change::Model(model.name.clone()));
    Ok(())
}

/// A model from its row.
pub(super) fn from_row(row: &Row) -> Result<Model> {
    let canary = row.opt_u64("canary")?;
    let weight: Option<f64> = row.get("canary_weight")?;
    Ok(Model {
        name: row.parse("name")?,
        id: row.get::<String>("id")?.parse().map_err(Error::internal)?,
        family: row.get("family")?,
        task: row.get("task")?,
        target: row.get("target")?,
        info: row.json("info")?,
        traffic: Traffic {
            stable: row.opt_u64("stable")?,
            canary: canary.map(|version| Canary { version, weight: weight.unwrap_or(0.0) }),
            shadow: row.opt_u64("shadow")?,
        },
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(super) fn no_version(version: u64) -> Error {
    Error::not_found("version_not_found", format!("the model has no version {version}"))
}
