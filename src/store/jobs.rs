//! The queue: one row a job, and the statements that move it. Whoever works on a job holds a
//! [`Claim`]; every write of a worker names owner and attempt, so one that lost its lease changes
//! nothing any more.

use super::datasets::{dataset_in, no_dataset};
use super::db::{Row, Tx, is_duplicate, now, sql};
use super::events::add_event;
use super::idempotency::{IdempotencyKey, claim_key, record_answer};
use super::models::{NewModel, discard, insert_model, no_model};
use super::open::Change;
use super::{DatasetName, JobId, ModelName, Page, Store};
use crate::{Error, Kind, Result};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// Tenths of an attempt that end a job when none of them got past the last checkpoint.
const MAX_STRIKES: u64 = 30;
/// What an attempt counts that died after at least one heartbeat.
const STRIKE: u64 = 10;
/// What one counts that died before its first: a machine that is switched off and on again should
/// not fail a good job, and a job that kills every worker at once should still end.
const YOUNG_STRIKE: u64 = 3;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Makes a version from a dataset.
    Train,
    /// Makes a version from the served one and what was observed.
    Consolidate,
    /// Measures the served version on a dataset.
    Evaluate,
}

impl JobKind {
    /// Its name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Consolidate => "consolidate",
            Self::Evaluate => "evaluate",
        }
    }

    /// Whether it makes a version; of those, one at a time runs for a model, in the queue's order.
    pub fn makes_version(self) -> bool {
        self != Self::Evaluate
    }
}

impl FromStr for JobKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Train, Self::Consolidate, Self::Evaluate];
        let found = all.into_iter().find(|k| k.name() == text);
        found.ok_or_else(|| Error::malformed("unknown_kind", "a job's kind is train, consolidate or evaluate"))
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waiting for a worker.
    Queued,
    /// A worker holds it.
    Running,
    /// Done.
    Succeeded,
    /// Ended by an error.
    Failed,
    /// Ended by wish.
    Canceled,
}

impl JobStatus {
    /// Its name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether nothing more will happen to it by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl FromStr for JobStatus {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled];
        let unknown = || {
            let detail = "a job's status is queued, running, succeeded, failed or canceled";
            Error::malformed("unknown_status", detail)
        };
        all.into_iter().find(|s| s.name() == text).ok_or_else(unknown)
    }
}

/// A job as the interface shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// For which model.
    pub model: ModelName,
    /// The version it makes, fixed when it was submitted.
    pub version: Option<u64>,
    /// What it reads.
    pub dataset: Option<DatasetName>,
    /// Where it stands.
    pub status: JobStatus,
    /// Higher runs first.
    pub priority: i64,
    /// `epoch`, `step`, `fraction` … as last written.
    pub progress: Value,
    /// Last values of what is measured.
    pub metrics: Value,
    /// What an evaluation found; which version a training made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Value>,
    /// How often it was started.
    pub attempt: u64,
    /// Step of the checkpoint this attempt went on from; 0 from the start.
    pub resumed_from_step: u64,
    /// Who runs it.
    pub worker: Option<String>,
    /// Whether it will end soon because somebody wants it to.
    pub cancel_requested: bool,
    /// `code` and `detail` of what ended it.
    pub error: Option<Value>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it was first started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The request, for whoever runs it.
    #[serde(skip)]
    pub spec: Value,
}

/// A job to submit.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// For which model.
    pub model: ModelName,
    /// What it reads; must exist.
    pub dataset: Option<DatasetName>,
    /// The request, for whoever runs it.
    pub spec: Value,
    /// Higher runs first.
    pub priority: i64,
    /// Makes the model when there is none; without it a missing model is 404.
    pub create: Option<NewModel>,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFilter {
    /// Only these.
    pub status: Option<JobStatus>,
    /// Only this model's.
    pub model: Option<ModelName>,
    /// Only of this kind.
    pub kind: Option<JobKind>,
}

/// A job in the hands of a worker. Good for as long as the lease is renewed.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The job as it was claimed.
    pub job: Job,
    /// The model it is for, told from a later one of the same name.
    pub model_id: Uuid,
    /// Who claimed it.
    pub owner: String,
}

/// What a heartbeat found out about a job that is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The job.
    pub id: JobId,
    /// The attempt that is held.
    pub attempt: u64,
    /// Whether it should end.
    pub cancel_requested: bool,
}

impl Store {
    /// Queues a job; `true` when it is new, `false` when `idempotency` named one that was submitted
    /// before. 429 `queue_full` when `max_queued` wait already.
    pub async fn submit_job(
        &self,
        new: NewJob,
        max_queued: u64,
        idempotency: Option<&IdempotencyKey>,
    ) -> Result<(Job, bool)> {
        let mut tx = self.inner.db.begin().await?;
        if let Some(key) = idempotency
            && let Some(answer) = claim_key(&mut tx, key).await?
        {
            let id: JobId = String::from_utf8_lossy(&answer.body).parse()?;
            tx.commit().await?;
            return Ok((self.job(id).await?, false));
        }
        let id = match insert_job(&mut tx, &new, max_queued).await {
            Err(error) if is_duplicate(&error) => {
                return Err(Error::conflict("conflict", "the model was just made by another request; try again"));
            }
            other => other?,
        };
        if let Some(key) = idempotency {
            record_answer(&mut tx, key, 202, id.to_string().into_bytes()).await?;
        }
        tx.commit().await?;
        Ok((self.job(id).await?, true))
    }

    /// One job; 404 `job_not_found`.
    pub async fn job(&self, id: JobId) -> Result<Job> {
        let row = self.inner.db.opt(sql("SELECT * FROM jobs WHERE id = $1").bind(id)).await?;
        from_row(&row.ok_or_else(no_job)?)
    }

    /// Jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter, limit: usize, cursor: Option<&str>) -> Result<Page<Job>> {
        // A condition that is not asked for is not written, so that each filter finds its index.
        let wanted = [
            ("status", filter.status.map(JobStatus::name)),
            ("model", filter.model.as_ref().map(ModelName::as_str)),
            ("kind", filter.kind.map(JobKind::name)),
        ];
        let wanted: Vec<_> = wanted.into_iter().filter_map(|(column, value)| Some((column, value?))).collect();
        let mut list = "SELECT * FROM jobs WHERE id < $1".to_owned();
        for (i, (column, _)) in wanted.iter().enumerate() {
            list.push_str(&format!(" AND {column} = ${}", i + 2));
        }
        list.push_str(&format!(" ORDER BY id DESC LIMIT ${}", wanted.len() + 2));
        let list = sql(list).bind(cursor.unwrap_or("g"));
        let list = wanted.into_iter().fold(list, |list, (_, value)| list.bind(value));
        let rows = self.inner.db.all(list.bind(limit + 1)).await?;
        let items = rows.iter().map(from_row).collect::<Result<_>>()?;
        Ok(Page::from_fetched(items, limit, |j: &Job| j.id.to_string()))
    }

    /// How many jobs wait.
    pub async fn queue_depth(&self) -> Result<u64> {
        let row = self.inner.db.opt(sql(DEPTH)).await?;
        row.map_or(Ok(0), |r| r.u64("n"))
    }

    /// Ends a waiting job at once, asks a running one to end; one that has ended stays as it is.
    pub async fn cancel_job(&self, id: JobId) -> Result<Job> {
        let mut tx = self.inner.db.begin().await?;
        if tx.opt(sql("SELECT 1 AS one FROM jobs WHERE id = $1").bind(id)).await?.is_none() {
            return Err(no_job());
        }
        cancel(&mut tx, id).await?;
        tx.commit().await?;
        self.job(id).await
    }

    /// Queues a failed or cancelled job again, from its start; 409 for any other.
    pub async fn retry_job(&self, id: JobId) -> Result<Job> {
        let mut tx = self.inner.db.begin().await?;
        let again = "UPDATE jobs SET status = 'queued', error = NULL, strikes = 0, cancel_requested = $2,
            finished_at = NULL, progress = '{}', metrics = '{}'
            WHERE id = $1 AND status IN ('failed', 'canceled') RETURNING model_id";
        let Some(row) = tx.opt(sql(again).bind(id).bind(false)).await? else {
            drop(tx);
            let job = self.job(id).await?;
            let detail = format!("only failed and canceled jobs can be retried; this one is {}", job.status.name());
            return Err(Error::conflict("job_not_retryable", detail));
        };
        let model: String = row.get("model_id")?;
        if tx.opt(sql("SELECT 1 AS one FROM models WHERE id = $1").bind(&model)).await?.is_none() {
            return Err(Error::conflict("model_removed", "the job's model was removed"));
        }
        add_event(&mut tx, id, "status", &json!({ "status": "queued" })).await?;
        tx.tell(Change::Queue);
        tx.commit().await?;
        self.job(id).await
    }

    /// Takes the next job: highest priority, then oldest; of one model's trainings one at a time.
    pub async fn claim_job(&self, owner: &str, lease: Duration) -> Result<Option<Claim>> {
        // Idle workers look without taking the write lock.
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
            // Its dataset was removed while it waited: it fails, and the next one is looked at.
            end(&mut tx, &claim, JobStatus::Failed, Some(&error), None).await?;
            tx.commit().await?;
        }
        Ok(None)
    }

    /// Renews the leases of everything `owner` holds and tells what that is; a job that is missing
    /// was lost and must stop.
    pub async fn heartbeat(&self, owner: &str, lease: Duration) -> Result<Vec<Held>> {
        let renew = "UPDATE jobs SET lease_until = {now} + $2, heartbeats = heartbeats + 1
            WHERE owner = $1 AND status = 'running' RETURNING id, attempt, cancel_requested";
        let rows = self.inner.db.exec_all(sql(renew).bind(owner).bind(lease.as_millis() as i64)).await?;
        rows.iter().map(held_from_row).collect()
    }

    /// What `owner` holds, without renewing: to hear of cancel wishes often at little cost.
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

    /// Queues everything again that runs: nobody can be running it.
    pub(super) async fn requeue_orphans(&self) -> Result<()> {
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
            let strike = if row.u64("heartbeats")? > 0 { STRIKE } else { YOUNG_STRIKE };
            give_back(&mut tx, &claim, row, strike).await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    /// Gives a job back to the queue, unharmed: the worker is ending in good order.
    pub async fn release_job(&self, claim: &Claim) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        let release = "UPDATE jobs SET status = 'queued', owner = NULL, lease_until = NULL
            WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
        fenced(tx.exec(sql(release).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt)).await?)?;
        add_event(&mut tx, claim.job.id, "status", &json!({ "status": "queued" })).await?;
        tx.tell(Change::Queue);
        tx.commit().await
    }

    /// Gives a job back that could not be run now: it is tried again, and fails after three times.
    pub async fn give_back_job(&self, claim: &Claim) -> Result<()> {
        let mut tx = self.inner.db.begin().await?;
        let one = "SELECT * FROM jobs WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running'";
        let row = tx.opt(sql(one).bind(claim.job.id).bind(&claim.owner).bind(claim.job.attempt)).await?;
        let Some(row) = row else { return fenced(0) };
        give_back(&mut tx, claim, &row, STRIKE).await?;
        tx.commit().await
    }

    /// Keeps a checkpoint instead of the one before.
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

    /// Removes jobs that ended more than `age` ago; the number removed.
    pub async fn prune_jobs(&self, age: Duration) -> Result<u64> {
        let old = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_at < $1 LIMIT 1000)";
        self.inner.db.exec(sql(old).bind(now() - age.as_millis() as i64)).await
    }

    /// Removes checkpoints of jobs that have ended: whose worker was killed between the job's end and
    /// tidying up. However young they are, nobody will read them.
    pub async fn collect_checkpoints(&self) -> Result<()> {
        for listed in self.inner.objects.list("checkpoints").await? {
            let id = listed.key.split('/').nth(1).unwrap_or_default();
            let wanted = "SELECT 1 AS one FROM jobs WHERE id = $1 AND status IN ('queued', 'running')";
            if self.inner.db.opt(sql(wanted).bind(id)).await?.is_none() {
                self.inner.objects.delete(&listed.key).await?;
            }
        }
        Ok(())
    }

    /// Checkpoints are of use to nobody once a job has ended. What is missed here goes at the next start.
    pub(super) async fn drop_checkpoints(&self, id: JobId) {
        for listed in self.inner.objects.list(&format!("checkpoints/{id}")).await.unwrap_or_default() {
            if let Err(error) = self.inner.objects.delete(&listed.key).await {
                tracing::warn!(%error, "a checkpoint could not be removed");
            }
        }
        if let Some(root) = self.inner.objects.folder() {
            let _ = tokio::fs::remove_dir(root.join(format!("checkpoints/{id}"))).await;
        }
        if let Err(error) = self.sweep().await {
            tracing::warn!(%error, "garbage could not be removed");
        }
    }
}

const DEPTH: &str = "SELECT COUNT(*) AS n FROM jobs WHERE status = 'queued'";

const CLAIM: &str = "UPDATE jobs SET status = 'running', owner = $1, lease_until = {now} + $2,
        attempt = attempt + 1, heartbeats = 0, resumed_from_step = checkpoint_step,
        started_at = COALESCE(started_at, {now})
    WHERE id = (SELECT id FROM jobs
        WHERE status = 'queued' AND (NOT exclusive
            OR model NOT IN (SELECT model FROM jobs WHERE status = 'running' AND exclusive))
        ORDER BY priority DESC, created_at, id LIMIT 1 {skip_locked})
    RETURNING *";

async fn insert_job(tx: &mut Tx, new: &NewJob, max_queued: u64) -> Result<JobId> {
    let depth = tx.opt(sql(DEPTH)).await?.map_or(Ok(0), |r| r.u64("n"))?;
    if depth >= max_queued {
        let detail = format!("{depth} jobs wait already; try again when some are done");
        return Err(Error::new(Kind::Overloaded, "queue_full", detail).with_retry_after(5));
    }
    if let Some(dataset) = &new.dataset {
        let found = tx.opt(sql("SELECT 1 AS one FROM datasets WHERE name = $1").bind(dataset)).await?;
        found.ok_or_else(|| no_dataset(dataset))?;
    }
    let one = "SELECT id FROM models WHERE name = $1";
    let model_id: String = match (tx.opt(sql(one).bind(&new.model)).await?, &new.create) {
        (Some(row), _) => row.get("id")?,
        (None, Some(create)) => insert_model(tx, create).await?,
        (None, None) => return Err(no_model(&new.model)),
    };
    let version = if new.kind.makes_version() {
        let number = "UPDATE models SET next_version = next_version + 1 WHERE id = $1 RETURNING next_version - 1 AS v";
        tx.opt(sql(number).bind(&model_id)).await?.map(|r| r.u64("v")).transpose()?
    } else {
        None
    };
    let id = JobId::fresh();
    let insert = "INSERT INTO jobs (id, kind, model, model_id, version, dataset, spec, status, exclusive, priority,
            progress, metrics, attempt, strikes, resumed_from_step, checkpoint_step, heartbeats,
            cancel_requested, event_seq, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued', $8, $9, '{}', '{}', 0, 0, 0, 0, 0, $10, 0, $11)";
    let insert = sql(insert).bind(id).bind(new.kind.name()).bind(&new.model).bind(model_id).bind(version);
    let insert = insert.bind(new.dataset.as_ref().map(DatasetName::as_str)).bind(&new.spec);
    let insert = insert.bind(new.kind.makes_version()).bind(new.priority).bind(false).bind(now());
    tx.exec(insert).await?;
    add_event(tx, id, "status", &json!({ "status": "queued" })).await?;
    tx.tell(Change::Queue);
    Ok(id)
}

/// Fixes what the job reads when it first starts.
async fn fix_input(tx: &mut Tx, claim: &Claim, fixed: bool) -> Result<()> {
    let (Some(name), false) = (&claim.job.dataset, fixed) else { return Ok(()) };
    let dataset = dataset_in(tx, name.as_str()).await?.ok_or_else(|| no_dataset(name))?;
    for part in &dataset.parts {
        let insert = "INSERT INTO job_inputs (job_id, object_key) VALUES ($1, $2)";
        tx.exec(sql(insert).bind(claim.job.id).bind(&part.key)).await?;
    }
    let input = serde_json::to_value(&dataset).map_err(Error::internal)?;
    tx.exec(sql("UPDATE jobs SET input = $2 WHERE id = $1").bind(claim.job.id).bind(&input)).await?;
    Ok(())
}

/// What becomes of a job whose worker was lost.
async fn give_back(tx: &mut Tx, claim: &Claim, row: &Row, strike: u64) -> Result<()> {
    if claim.job.cancel_requested {
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
        tx.tell(Change::Queue);
    }
    Ok(())
}

pub(super) async fn succeed(tx: &mut Tx, claim: &Claim, metrics: &Value, result: &Value) -> Result<()> {
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
    tx.tell(Change::Queue);
    Ok(())
}

async fn cancel(tx: &mut Tx, id: JobId) -> Result<()> {
    let waiting = "UPDATE jobs SET status = 'canceled', finished_at = $2, input = NULL
        WHERE id = $1 AND status = 'queued' RETURNING checkpoint_key";
    if let Some(row) = tx.opt(sql(waiting).bind(id).bind(now())).await? {
        if let Some(key) = row.get::<Option<String>>("checkpoint_key")? {
            discard(tx, &key).await?;
            let none = "UPDATE jobs SET checkpoint_key = NULL, checkpoint_step = 0 WHERE id = $1";
            tx.exec(sql(none).bind(id)).await?;
        }
        tx.exec(sql("DELETE FROM job_inputs WHERE job_id = $1").bind(id)).await?;
        return add_event(tx, id, "status", &json!({ "status": "canceled" })).await;
    }
    let running = "UPDATE jobs SET cancel_requested = $2 WHERE id = $1 AND status = 'running'";
    tx.exec(sql(running).bind(id).bind(true)).await?;
    tx.tell(Change::Job(id));
    Ok(())
}

/// Cancels a model's unfinished jobs, because it goes.
pub(super) async fn cancel_all_of(tx: &mut Tx, model: &ModelName) -> Result<()> {
    let list = "SELECT id FROM jobs WHERE model = $1 AND status IN ('queued', 'running')";
    for row in tx.all(sql(list).bind(model)).await? {
        cancel(tx, row.parse("id")?).await?;
    }
    Ok(())
}

/// A worker's write that changed nothing was that of one who lost the job.
pub(super) fn fenced(changed: u64) -> Result<()> {
    if changed == 1 {
        return Ok(());
    }
    Err(Error::conflict("lease_lost", "the job is no longer this worker's"))
}

fn held_from_row(row: &Row) -> Result<Held> {
    let cancel_requested = row.get("cancel_requested")?;
    Ok(Held { id: row.parse("id")?, attempt: row.u64("attempt")?, cancel_requested })
}

fn from_row(row: &Row) -> Result<Job> {
    Ok(Job {
        id: row.parse("id")?,
        kind: row.parse("kind")?,
        model: row.parse("model")?,
        version: row.opt_u64("version")?,
        dataset: row.get::<Option<String>>("dataset")?.map(|d| d.parse()).transpose()?,
        status: row.parse("status")?,
        priority: row.get("priority")?,
        progress: row.json("progress")?,
        metrics: row.json("metrics")?,
        result: row.opt_json("result")?,
        attempt: row.u64("attempt")?,
        resumed_from_step: row.u64("resumed_from_step")?,
        worker: row.get("owner")?,
        cancel_requested: row.get("cancel_requested")?,
        error: row.opt_json("error")?,
        created_at: row.time("created_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
        spec: row.json("spec")?,
    })
}

/// 404 for a job.
pub(super) fn no_job() -> Error {
    Error::not_found("job_not_found", "there is no such job")
}
