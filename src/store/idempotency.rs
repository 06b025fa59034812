//! A retried request is answered as before. The first with a key is executed; the same body later gets
//! the stored answer (an error, too, if it was stored), another body 422 `idempotency_mismatch`, and
//! one that comes while the first is still executed 409 `idempotency_in_flight`.

use super::Store;
use super::clock::now;
use super::db::{Tx, sql};
use super::idempotency_key::IdempotencyKey;
use crate::{Error, Result};
use std::time::Duration;

/// After this a request that never finished (its process died) may be executed again.
const IN_FLIGHT_MS: i64 = 60_000;

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// How to continue with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is the first: execute it, then [`Store::finish_idempotent`] or [`Store::abandon_idempotent`].
    Fresh,
    /// It was answered before.
    Replay(Answer),
}

impl Store {
    /// Looks a key up and claims it when it is new.
    pub async fn begin_idempotent(&self, key: &IdempotencyKey) -> Result<Begun> {
        let mut tx = self.inner.db.begin().await?;
        let answer = claim_key(&mut tx, key).await?;
        tx.commit().await?;
        Ok(answer.map_or(Begun::Fresh, Begun::Replay))
    }

    /// Stores the answer for later tries.
    pub async fn finish_idempotent(&self, key: &IdempotencyKey, status: u16, body: Vec<u8>) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        record_answer(&mut tx, key, status, body).await?;
        tx.commit().await
    }

    /// Deletes a key whose request did nothing, so that it may be sent again.
    pub async fn abandon_idempotent(&self, key: &IdempotencyKey) -> Result<()> {
        let delete = "DELETE FROM idempotency WHERE scope = $1 AND key = $2 AND status IS NULL";
        self.inner.db.exec(sql(delete).bind(&key.scope).bind(&key.key)).await.map(|_| ())
    }

    /// Deletes keys older than `age`, those of observation logs, too.
    pub async fn prune_idempotency(&self, age: Duration) -> Result<u64> {
        let before = now() - age.as_millis() as i64;
        let answers = self.inner.db.exec(sql("DELETE FROM idempotency WHERE created_at < $1").bind(before)).await?;
        let keys = self.inner.db.exec(sql("DELETE FROM observation_keys WHERE created_at < $1").bind(before)).await?;
        Ok(answers + keys)
    }
}

/// Claims a key inside a transaction, or gives the stored answer.
pub(super) async fn claim_key(tx: &mut Tx, key: &IdempotencyKey) -> Result<Option<Answer>> {
    let insert = "INSERT INTO idempotency (scope, key, body_hash, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (scope, key) DO NOTHING";
    let insert = sql(insert).bind(&key.scope).bind(&key.key).bind(&key.body_hash).bind(now());
    if tx.exec(insert).await? == 1 {
        return Ok(None);
    }
    let one = "SELECT body_hash, status, body, created_at FROM idempotency WHERE scope = $1 AND key = $2";
    let Some(row) = tx.opt(sql(one).bind(&key.scope).bind(&key.key)).await? else {
        return Err(in_flight());
    };
    if row.get::<String>("body_hash")? != key.body_hash {
        let detail = "this Idempotency-Key was sent before with another body";
        return Err(Error::unprocessable("idempotency_mismatch", detail));
    }
    if let Some(status) = row.opt_u64("status")? {
        let body = row.get::<Option<Vec<u8>>>("body")?.unwrap_or_default();
        return Ok(Some(Answer { status: status as u16, body }));
    }
    let old: i64 = row.get("created_at")?;
    let take = "UPDATE idempotency SET created_at = $3
        WHERE scope = $1 AND key = $2 AND created_at = $4 AND status IS NULL";
    let take = sql(take).bind(&key.scope).bind(&key.key).bind(now()).bind(old);
    if old < now() - IN_FLIGHT_MS && tx.exec(take).await? == 1 {
        return Ok(None);
    }
    Err(in_flight())
}

/// Stores an answer inside a transaction.
pub(super) async fn record_answer(tx: &mut Tx, key: &IdempotencyKey, status: u16, body: Vec<u8>) -> Result<()> {
    let update = "UPDATE idempotency SET status = $3, body = $4 WHERE scope = $1 AND key = $2";
    tx.exec(sql(update).bind(&key.scope).bind(&key.key).bind(i64::from(status)).bind(body)).await.map(|_| ())
}

fn in_flight() -> Error {
    let detail = "a request with this Idempotency-Key is still being answered";
    Error::conflict("idempotency_in_flight", detail).with_retry_after(1)
}
