//! API keys: shown once, kept as SHA-256 (they are random, so nothing slower is needed), looked up
//! by that hash, so that timing reveals nothing. Revoking works on all replicas at once.

use super::Store;
use super::api_key::{ApiKey, NewKey};
use super::change::Change;
use super::clock::now;
use super::db::{Row, sql};
use super::objects::{digest, hex};
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

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
        if let Some(keys) = self.inner.keys.current() {
            return Ok(keys);
        }
        // Subscribed before the first query, so that no change is missed between the two.
        let changes = self.changes();
        let rows = self.inner.db.all(sql("SELECT * FROM api_keys")).await?;
        let pairs = rows.iter().map(|row| Ok((row.get::<String>("hash")?, from_row(row)?)));
        let keys = Arc::new(pairs.collect::<Result<HashMap<_, _>>>()?);
        self.inner.keys.replace(keys.clone(), changes);
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
