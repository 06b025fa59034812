//! API keys: shown once, kept as SHA-256 (they are random, so nothing slower is needed), looked up
//! by that hash, so that timing reveals nothing. Revoking works on all replicas at once.

use super::Store;
use super::change::Change;
use super::clock::now;
use super::db::{Row, sql};
use super::objects::{digest, hex};
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// How long a list of keys is used without a change notification.
const MAX_AGE: Duration = Duration::from_secs(5);

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Use models for predictions.
    Predict,
    /// Teach models row by row: `observe` and `feedback`.
    Observe,
    /// Train models and steer their versions.
    Train,
    /// Make, change and remove datasets.
    Datasets,
    /// Everything, including keys and snapshots.
    Admin,
    /// Read everything, change nothing.
    Read,
}

/// A key as it is listed; the secret is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// The name given by its creator.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Names of the models it may use, or `*`.
    pub models: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// A key to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The name given by its creator.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Names of the models it may use, or `*`; all when missing.
    #[serde(default = "all_models")]
    pub models: Vec<String>,
    /// When it ends, if it does.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

fn all_models() -> Vec<String> {
    vec!["*".to_owned()]
}

impl ApiKey {
    /// Whether it may do `scope`: `admin` may do everything.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether it may use the model of this name.
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.iter().any(|m| m == "*" || m == name)
    }
}

/// The keys as last read, by hash.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    state: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Arc<HashMap<String, ApiKey>>,
    read_at: Option<Instant>,
    changes: Option<broadcast::Receiver<Change>>,
}

impl Cached {
    /// The keys, unless they may have changed since they were read.
    fn current(&mut self) -> Option<Arc<HashMap<String, ApiKey>>> {
        use broadcast::error::TryRecvError;
        let changes = self.changes.as_mut()?;
        let mut stale = self.read_at.is_none_or(|at| at.elapsed() > MAX_AGE);
        loop {
            match changes.try_recv() {
                Ok(Change::Keys | Change::Unknown) | Err(TryRecvError::Lagged(_)) => stale = true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        (!stale).then(|| self.keys.clone())
    }
}

impl Store {
    /// Makes a key; the second value is the secret, which is never shown again.
    pub async fn create_key(&self, new: &NewKey) -> Result<(ApiKey, String)> {
        if new.scopes.is_empty() {
            return Err(Error::unprocessable("invalid_key", "a key needs at least one scope"));
        }
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).map_err(|e| Error::internal(e.to_string()))?;
        let secret = format!("kenyon_{}", hex(&random));
        let id = uuid::Uuid::now_v7().to_string();
        let insert = "INSERT INTO api_keys (id, name, hash, scopes, models, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let insert = sql(insert).bind(&id).bind(&new.name).bind(digest(secret.as_bytes()));
        let insert = insert.bind(&json!(new.scopes)).bind(&json!(new.models)).bind(now());
        let mut tx = self.inner.db.begin().await?;
        tx.exec(insert.bind(new.expires_at.map(|at| at.as_millisecond()))).await?;
        let row = tx.opt(sql("SELECT * FROM api_keys WHERE id = $1").bind(&id)).await?;
        let key = from_row(&row.ok_or_else(|| Error::internal("a key was not stored"))?)?;
        tx.notify(Change::Keys);
        tx.commit().await?;
        Ok((key, secret))
    }

    /// The key with this secret; 401 `invalid_key` when there is none or it has ended. From memory,
    /// except after a change.
    pub async fn authenticate(&self, secret: &str) -> Result<ApiKey> {
        let keys = self.keys_by_hash().await?;
        let found = keys.get(&digest(secret.as_bytes()));
        let valid = found.filter(|key| key.expires_at.is_none_or(|at| at > Timestamp::now()));
        let refused = || Error::new(Kind::Unauthorized, "invalid_key", "the key is unknown or has expired");
        valid.cloned().ok_or_else(refused)
    }

    /// Whether there is any key.
    pub async fn has_keys(&self) -> Result<bool> {
        Ok(!self.keys_by_hash().await?.is_empty())
    }

    /// All keys, oldest first.
    pub async fn keys(&self) -> Result<Vec<ApiKey>> {
        let rows = self.inner.db.all(sql("SELECT * FROM api_keys ORDER BY id")).await?;
        rows.iter().map(from_row).collect()
    }

    /// Revokes a key, on all replicas at once; 404 `key_not_found`.
    pub async fn delete_key(&self, id: &str) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        if tx.exec(sql("DELETE FROM api_keys WHERE id = $1").bind(id)).await? == 0 {
            return Err(Error::not_found("key_not_found", "there is no such key"));
        }
        tx.notify(Change::Keys);
        tx.commit().await
    }

    async fn keys_by_hash(&self) -> Result<Arc<HashMap<String, ApiKey>>> {
        {
            let mut state = self.inner.keys.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(keys) = state.current() {
                return Ok(keys);
            }
        }
        // Subscribed before the first query, so that no change is missed between the two.
        let changes = self.changes();
        let rows = self.inner.db.all(sql("SELECT * FROM api_keys")).await?;
        let pairs = rows.iter().map(|row| Ok((row.get::<String>("hash")?, from_row(row)?)));
        let keys = Arc::new(pairs.collect::<Result<HashMap<_, _>>>()?);
        let mut state = self.inner.keys.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Cached { keys: keys.clone(), read_at: Some(Instant::now()), changes: Some(changes) };
        Ok(keys)
    }
}

fn from_row(row: &Row) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.get("id")?,
        name: row.get("name")?,
        scopes: serde_json::from_value(row.json("scopes")?).map_err(Error::internal)?,
        models: serde_json::from_value(row.json("models")?).map_err(Error::internal)?,
        created_at: row.time("created_at")?,
        expires_at: row.opt_time("expires_at")?,
    })
}
