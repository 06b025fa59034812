//! Operations on the queue for clients: submit, look up, cancel, retry.

use super::{Job, JobFilter, JobKind, JobStatus, NewJob, from_row, no_job};
use crate::store::change::Change;
use crate::store::clock::now;
use crate::store::datasets::no_dataset;
use crate::store::db::{Tx, is_duplicate, sql};
use crate::store::events::add_event;
use crate::store::idempotency::{claim_key, record_answer};
use crate::store::idempotency_key::IdempotencyKey;
use crate::store::model_rows::{discard, insert_model, no_model};
use crate::store::{DatasetName, JobId, ModelName, Page, Store};
use crate::{Error, Kind, Result};
use serde_json::json;
use uuid::Uuid;

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
        // A condition that is not needed is not written, so that each filter finds its index.
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

    /// Ends a waiting job at once, requests a running one to stop; one that has ended stays as it is.
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
        let again = "UPDATE jobs SET status = 'queued', error = NULL, strikes = 0, kills = 0, cancel_requested = $2,
            finished_at = NULL, progress = '{}', metrics = '{}'
            WHERE id = $1 AND status IN ('failed', 'canceled') RETURNING model_id";
        let Some(row) = tx.opt(sql(again).bind(id).bind(false)).await? else {
            drop(tx);
            let job = self.job(id).await?;
            let detail = format!("only failed and canceled jobs can be retried; this one is {}", job.status.name());
            return Err(Error::conflict("job_not_retryable", detail));
        };
        let model: String = row.get("model_id")?;
        let one = "SELECT 1 AS one FROM models WHERE id = $1";
        if model != Uuid::nil().to_string() && tx.opt(sql(one).bind(&model)).await?.is_none() {
            return Err(Error::conflict("model_removed", "the job's model was removed"));
        }
        add_event(&mut tx, id, "status", &json!({ "status": "queued" })).await?;
        tx.notify(Change::Queue);
        tx.commit().await?;
        self.job(id).await
    }

    /// Removes a comparison with its output; 409 `comparison_running` while it waits or runs.
    pub async fn delete_comparison(&self, id: JobId) -> Result<()> {
        let delete = "DELETE FROM jobs WHERE id = $1 AND kind = 'compare'
            AND status IN ('succeeded', 'failed', 'canceled')";
        if self.inner.db.exec(sql(delete).bind(id)).await? == 0 {
            let job = self.job(id).await?;
            let detail = format!("the comparison is {}; cancel its job first", job.status.name());
            return Err(Error::conflict("comparison_running", detail));
        }
        self.drop_output(id).await
    }
}

const DEPTH: &str = "SELECT COUNT(*) AS n FROM jobs WHERE status = 'queued'";

async fn insert_job(tx: &mut Tx, new: &NewJob, max_queued: u64) -> Result<JobId> {
    let depth = tx.opt(sql(DEPTH)).await?.map_or(Ok(0), |r| r.u64("n"))?;
    if depth >= max_queued {
        let detail = format!("{depth} jobs are queued already; try again when some are done");
        return Err(Error::new(Kind::Overloaded, "queue_full", detail).with_retry_after(5));
    }
    if let Some(dataset) = &new.dataset {
        let found = tx.opt(sql("SELECT 1 AS one FROM datasets WHERE name = $1").bind(dataset)).await?;
        found.ok_or_else(|| no_dataset(dataset))?;
    }
    let model_id = match &new.model {
        None => Uuid::nil().to_string(),
        Some(model) => {
            let one = tx.opt(sql("SELECT id FROM models WHERE name = $1").bind(model)).await?;
            match (one, &new.create) {
                (Some(row), _) => row.get("id")?,
                (None, Some(create)) => insert_model(tx, create, Uuid::now_v7()).await?,
                (None, None) => return Err(no_model(model)),
            }
        }
    };
    let version = if new.kind.makes_version() {
        let number = "UPDATE models SET next_version = next_version + 1 WHERE id = $1 RETURNING next_version - 1 AS v";
        tx.opt(sql(number).bind(&model_id)).await?.map(|r| r.u64("v")).transpose()?
    } else {
        None
    };
    let id = JobId::fresh();
    let insert = "INSERT INTO jobs (id, kind, model, model_id, version, dataset, spec, status, exclusive, priority,
            progress, metrics, attempt, strikes, kills, resumed_from_step, checkpoint_step, heartbeats,
            cancel_requested, event_seq, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued', $8, $9, '{}', '{}', 0, 0, 0, 0, 0, 0, $10, 0, $11)";
    let insert = sql(insert).bind(id).bind(new.kind.name()).bind(new.model.as_ref().map_or("", ModelName::as_str));
    let insert = insert.bind(model_id).bind(version);
    let insert = insert.bind(new.dataset.as_ref().map(DatasetName::as_str)).bind(&new.spec);
    let insert = insert.bind(new.kind.makes_version()).bind(new.priority).bind(false).bind(now());
    tx.exec(insert).await?;
    add_event(tx, id, "status", &json!({ "status": "queued" })).await?;
    tx.notify(Change::Queue);
    Ok(id)
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
    tx.notify(Change::Job(id));
    Ok(())
}

/// Cancels a model's unfinished jobs, because the model is deleted.
pub(in crate::store) async fn cancel_all_of(tx: &mut Tx, model: &ModelName) -> Result<()> {
    let list = "SELECT id FROM jobs WHERE model = $1 AND status IN ('queued', 'running')";
    for row in tx.all(sql(list).bind(model)).await? {
        cancel(tx, row.parse("id")?).await?;
    }
    Ok(())
}
