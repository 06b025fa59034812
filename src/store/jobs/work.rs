//! Operations on the queue for workers: claim, renew, save checkpoints, end. A job whose worker was lost
//! is queued again from its last checkpoint.

use super::{Claim, Held, JobKind, JobStatus, fenced, from_row};
use crate::store::change::Change;
use crate::store::clock::now;
use crate::store::datasets::{Dataset, JobInput, dataset_in, no_dataset};
use crate::store::db::{Row, Tx, is_duplicate, sql};
use crate::store::events::add_event;
use crate::store::{JobId, Store};
use crate::{Error, Kind, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Tenths of an attempt that fail a job when none of them got past the last checkpoint.
const MAX_STRIKES: u64 = 30;
/// What an attempt counts that died after at least one heartbeat.
const STRIKE: u64 = 10;
/// What an end before the first heartbeat counts: a machine that is switched off and on again should
/// not fail a good job, and a job that kills every worker at once should still end.
const EARLY_STRIKE: u64 = 3;

/// How often a job is tried again whose process was ended from outside.
const MAX_KILLS: u64 = 1;

impl Store {
    /// Takes the next job: highest priority, then oldest; of one model's trainings one at a time.
    pub async fn claim_job(&self, owner: &str, lease: Duration) -> Result<Option<Claim>> {
        // Idle workers query without taking the write lock.
        let any = "SELECT 1 AS one FROM jobs WHERE status = 'queued' LIMIT 1";
        if self.inner.db.opt(sql(any)).await?.is_none() {
            return Ok(None);
        }
        for _ in 0..4 {
            let mut tx = self.inner.db.begin().await?;
            let claimed = sql(CLAIM).bind(owner).bind(lease.as_millis() as i64);
            let row = match tx.opt(claimed).await {
                // Another claimer started a training of the same model in this very moment.
                Err(error) if is_duplicate(&error) => continue,
                other => other?,
            };
            let Some(row) = row else { return Ok(None) };
            let model_id = row.get::<String>("model_id")?.parse().map_err(Error::internal)?;
            let claim = Claim { job: from_row(&row)?, model_id, owner: owner.to_owned() };
            let fixed = fix_input(&mut tx, &claim, row.opt_json("input")?.is_some()).await;
            let status = json!({ "status": "running", "attempt": claim.job.attempt,
                "resumed_from_step": claim.job.resumed_from_step });
            add_event(&mut tx, claim.job.id, "status", &status).await?;
            let Err(error) = fixed else {
                tx.commit().await?;
                return Ok(Some(claim));
            };
            if error.kind != Kind::NotFound {
                return Err(error);
            }
            // Its dataset was removed while it waited: it fails, and the next one is tried.
            end(&mut tx, &claim, JobStatus::Failed, Some(&error), None).await?;
            tx.commit().await?;
        }
        Ok(None)
    }

    /// Renews the leases of everything `owner` holds and returns it; a job that is missing
    /// was lost and must stop.
    pub async fn heartbeat(&self, owner: &str, lease: Duration) -> Result<Vec<Held>> {
        let renew = "UPDATE jobs SET lease_until = {now} + $2, heartbeats = heartbeats + 1
            WHERE owner = $1 AND status = 'running' RETURNING id, attempt, cancel_requested";
        let rows = self.inner.db.exec_all(sql(renew).bind(owner).bind(lease.as_millis() as i64)).await?;
        rows.iter().map(held_from_row).collect()
    }

    /// What `owner` holds, without renewing: a cheap way to read cancel requests often.
    pub async fn held_jobs(&self, owner: &str) -> Result<Vec<Held>> {
        let list = "SELECT id, attempt, cancel_requested FROM jobs WHERE owner = $1 AND status = 'running'";
        let rows = self.inner.db.all(sql(list).bind(owner)).await?;
        rows.iter().map(held_from_row).collect()
    }

    /// Queues jobs again whose worker has not renewed its lease; the number of jobs moved.
    pub async fn reap_expired(&self) -> Result<usize> {
        let expired = "SELECT * FROM jobs WHERE status = 'running' AND lease_until < {now}";
        self.requeue(expired).await
    }

    /// Queues all running jobs again, when no worker can be running them.
    pub(in crate::store) async fn requeue_orphans(&self) -> Result<()> {
        self.requeue("SELECT * FROM jobs WHERE status = 'running'").await.map(|_| ())
    }

    async fn requeue(&self, which: &'static str) -> Result<usize> {
        if self.inner.db.opt(sql(which)).await?.is_none() {
            return Ok(0);
        }
        let mut tx = self.inner.db.begin().await?;
        let rows = tx.all(sql(which)).await?;
        for row in &rows {
            let model_id = row.get::<String>("model_id")?.parse().map_err(Error::internal)?;
            let claim = Claim { job: from_row(row)?, model_id, owner: row.get("owner")? };
            let strike = if row.u64("heartbeats")? > 0 { STRIKE } else { EARLY_STRIKE };
            give_back(&mut tx, &claim, row, strike).await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    /// Returns a job to the queue: the worker shuts down regularly.
    pub async fn release_job(&self, claim: &Claim) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        let release = "UPDATE jobs SET status = 'queued', owner = NULL, lease_until = NULL
            WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
        fenced(tx.exec(sql(release).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt)).await?)?;
        add_event(&mut tx, claim.job.id, "status", &json!({ "status": "queued" })).await?;
        tx.notify(Change::Queue);
        tx.commit().await
    }

    /// Returns a job that could not be run now: it is retried, and fails after three times.
    pub async fn give_back_job(&self, claim: &Claim) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        let one = "SELECT * FROM jobs WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
        let row = tx.opt(sql(one).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt)).await?;
        let Some(row) = row else { return fenced(0) };
        give_back(&mut tx, claim, &row, STRIKE).await?;
        tx.commit().await
    }

    /// Counts that the process which ran a job was ended from outside: the job is tried once more, from its checkpoint,
    /// and the second time it fails with `error`.
    pub async fn count_kill(&self, claim: &Claim, error: &Error) -> Result<()> {
        if claim.job.kills >= MAX_KILLS {
            return self.fail_job(claim, error).await;
        }
        let mut tx = self.inner.db.begin().await?;
        let again = "UPDATE jobs SET status = 'queued', owner = NULL, lease_until = NULL, kills = kills + 1
            WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running' RETURNING checkpoint_step";
        let again = sql(again).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt);
        let Some(row) = tx.opt(again).await? else { return fenced(0) };
        let step = row.u64("checkpoint_step")?;
        let status = json!({ "status": "queued", "reason": error.detail, "code": error.code, "from_step": step });
        add_event(&mut tx, claim.job.id, "status", &status).await?;
        tx.notify(Change::Queue);
        tx.commit().await
    }

    /// Replaces the checkpoint.
    pub async fn save_checkpoint(&self, claim: &Claim, step: u64, bytes: Vec<u8>) -> Result<()> {
        let id = claim.job.id;
        let key = format!("checkpoints/{id}/{}-{step}-{}", claim.job.attempt, Uuid::now_v7().simple());
        self.inner.objects.put(&key, bytes).await?;
        let outcome = async {
            let mut tx = self.inner.db.begin().await?;
            let old = tx.opt(sql("SELECT checkpoint_key FROM jobs WHERE id = $1").bind(id)).await?;
            let old = old.map(|r| r.get::<Option<String>>("checkpoint_key")).transpose()?.flatten();
            let update = "UPDATE jobs SET checkpoint_key = $4, checkpoint_step = $5
                WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
            let update = sql(update).bind(id).bind(&claim.owner).bind(claim.job.attempt).bind(&key).bind(step);
            fenced(tx.exec(update).await?)?;
            tx.commit().await?;
            Ok(old)
        };
        match outcome.await {
            Ok(old) => {
                if let Some(old) = old {
                    self.inner.objects.delete(&old).await?;
                }
                Ok(())
            }
            Err(error) => {
                self.inner.objects.delete(&key).await?;
                Err(error)
            }
        }
    }

    /// The last checkpoint with its step, for the next attempt.
    pub async fn load_checkpoint(&self, id: JobId) -> Result<Option<(u64, Bytes)>> {
        let row = self.inner.db.opt(sql("SELECT checkpoint_key, checkpoint_step FROM jobs WHERE id = $1").bind(id));
        let Some(row) = row.await? else { return Ok(None) };
        let Some(key) = row.get::<Option<String>>("checkpoint_key")? else { return Ok(None) };
        Ok(Some((row.u64("checkpoint_step")?, self.inner.objects.get(&key).await?)))
    }

    /// Ends a job that makes no version.
    pub async fn succeed_job(&self, claim: &Claim, metrics: &Value, result: &Value) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        succeed(&mut tx, claim, metrics, result).await?;
        tx.commit().await?;
        self.drop_checkpoints(claim.job.id).await;
        Ok(())
    }

    /// Ends a job by an error; one of kind `Canceled` ends it as cancelled.
    pub async fn fail_job(&self, claim: &Claim, error: &Error) -> Result<()> {
        let status = if error.kind == Kind::Canceled { JobStatus::Canceled } else { JobStatus::Failed };
        let mut tx = self.inner.db.begin().await?;
        end(&mut tx, claim, status, Some(error).filter(|_| status == JobStatus::Failed), None).await?;
        tx.commit().await?;
        self.drop_checkpoints(claim.job.id).await;
        Ok(())
    }
}

const CLAIM: &str = "UPDATE jobs SET status = 'running', owner = $1, lease_until = {now} + $2,
        attempt = attempt + 1, heartbeats = 0, resumed_from_step = checkpoint_step,
        started_at = COALESCE(started_at, {now})
    WHERE id = (SELECT id FROM jobs {by_queue}
        WHERE status = 'queued' AND (NOT exclusive
            OR model NOT IN (SELECT model FROM jobs WHERE status = 'running' AND exclusive))
        ORDER BY priority DESC, created_at, id LIMIT 1 {skip_locked})
    RETURNING *";

/// Fixes what the job reads when it first starts.
async fn fix_input(tx: &mut Tx, claim: &Claim, fixed: bool) -> Result<()> {
    let (Some(name), false) = (&claim.job.dataset, fixed) else { return Ok(()) };
    let dataset = dataset_in(tx, name.as_str()).await?.ok_or_else(|| no_dataset(name))?;
    let held_out = match claim.job.spec.pointer("/validation/dataset").and_then(Value::as_str) {
        Some(name) => Some(dataset_in(tx, name).await?.ok_or_else(|| no_dataset(name))?),
        None => None,
    };
    let mut others = Vec::new();
    for name in compared(&claim.job.spec).filter(|_| claim.job.kind == JobKind::Compare) {
        let known = |d: &Dataset| d.name.as_str() == name;
        if !known(&dataset) && !others.iter().any(known) {
            others.push(dataset_in(tx, name).await?.ok_or_else(|| no_dataset(name))?);
        }
    }
    let more = held_out.iter().chain(&others).flat_map(|dataset| &dataset.parts);
    for part in dataset.parts.iter().chain(more) {
        let insert = "INSERT INTO job_inputs (job_id, object_key) VALUES ($1, $2)";
        tx.exec(sql(insert).bind(claim.job.id).bind(&part.key)).await?;
    }
    let input = serde_json::to_value(JobInput { dataset, held_out, others }).map_err(Error::internal)?;
    tx.exec(sql("UPDATE jobs SET input = $2 WHERE id = $1").bind(claim.job.id).bind(&input)).await?;
    Ok(())
}

/// Names of the datasets that the systems of a comparison read.
fn compared(spec: &Value) -> impl Iterator<Item = &str> {
    let systems = spec["systems"].as_array().into_iter().flatten();
    systems.flat_map(|system| ["dataset", "rdm"].into_iter().filter_map(|field| system[field].as_str()))
}

/// What happens to a job whose worker was lost.
async fn give_back(tx: &mut Tx, claim: &Claim, row: &Row, strike: u64) -> Result<()> {
    // The claim may be from before the job was canceled.
    if row.get("cancel_requested")? {
        return end(tx, claim, JobStatus::Canceled, None, None).await;
    }
    let step = row.u64("checkpoint_step")?;
    let strikes = if step > claim.job.resumed_from_step { 0 } else { row.u64("strikes")? + strike };
    if strikes >= MAX_STRIKES {
        let detail = format!(
            "{} attempts ended without an answer and the last ones got no further than step {step}; \
             the job may need more memory than there is",
            claim.job.attempt
        );
        let error = Error::new(Kind::Internal, "no_progress", detail);
        return end(tx, claim, JobStatus::Failed, Some(&error), None).await;
    }
    let again = "UPDATE jobs SET status = 'queued', owner = NULL, lease_until = NULL, strikes = $4
        WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
    let again = sql(again).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt).bind(strikes);
    if tx.exec(again).await? == 1 {
        let status = json!({ "status": "queued", "reason": "its attempt ended without an answer", "from_step": step });
        add_event(tx, claim.job.id, "status", &status).await?;
        tx.notify(Change::Queue);
    }
    Ok(())
}

/// Checks that the job is still this worker's, for the rest of the transaction.
pub(in crate::store) async fn hold(tx: &mut Tx, claim: &Claim) -> Result<()> {
    let hold = "UPDATE jobs SET owner = owner WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
    fenced(tx.exec(sql(hold).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt)).await?)
}

pub(in crate::store) async fn succeed(tx: &mut Tx, claim: &Claim, metrics: &Value, result: &Value) -> Result<()> {
    let update = "UPDATE jobs SET metrics = $4 WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
    let update = sql(update).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt).bind(metrics);
    fenced(tx.exec(update).await?)?;
    end(tx, claim, JobStatus::Succeeded, None, Some(result)).await
}

/// The one way for a running job to end.
async fn end(
    tx: &mut Tx,
    claim: &Claim,
    status: JobStatus,
    error: Option<&Error>,
    result: Option<&Value>,
) -> Result<()> {
    let shown = error.map(|e| json!({ "code": e.code, "detail": e.detail, "details": e.details }));
    let id = claim.job.id;
    let update = "UPDATE jobs SET status = $4, error = $5, result = $6, finished_at = $7, lease_until = NULL,
            input = NULL, checkpoint_key = NULL, checkpoint_step = 0
        WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
    let update = sql(update).bind(id).bind(&claim.owner).bind(claim.job.attempt).bind(status.name());
    let update = update.bind(shown.as_ref().map(Value::to_string)).bind(result.map(Value::to_string)).bind(now());
    fenced(tx.exec(update).await?)?;
    tx.exec(sql("DELETE FROM job_inputs WHERE job_id = $1").bind(id)).await?;
    add_event(tx, id, "status", &json!({ "status": status.name(), "error": shown })).await?;
    // A training of the same model may have been waiting for this one.
    tx.notify(Change::Queue);
    Ok(())
}

fn held_from_row(row: &Row) -> Result<Held> {
    let cancel_requested = row.get("cancel_requested")?;
    Ok(Held { id: row.parse("id")?, attempt: row.u64("attempt")?, cancel_requested })
}
