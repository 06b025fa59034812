//! The events of a job, numbered from 1, and the curves made from them.
//!
//! Kinds: `status` (with every change of state, in the same transaction), `progress` (only the
//! newest is kept), `metric` (a point of the curves) and `log`.

use super::change::Change;
use super::clock::now;
use super::db::{Tx, sql};
use super::jobs::{Claim, fenced, no_job};
use super::{JobId, Store};
use crate::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Its number in the job, increasing; some are missing where a newer event replaced them.
    pub id: u64,
    /// `status`, `progress`, `metric` or `log`.
    pub kind: String,
    /// What happened.
    pub data: Value,
    /// When.
    pub at: Timestamp,
}

/// What a worker writes about a job, at most once a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How far it is; none when that has not changed.
    pub progress: Option<Value>,
    /// Last values of what is measured.
    pub metrics: Option<Value>,
    /// New points of the curves.
    pub points: Vec<Value>,
    /// New lines of the log.
    pub lines: Vec<String>,
}

impl Report {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.progress.is_none() && self.metrics.is_none() && self.points.is_empty() && self.lines.is_empty()
    }
}

impl Store {
    /// Events after number `after`, at most `limit`, in order.
    pub async fn job_events(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<JobEvent>> {
        let list = "SELECT * FROM job_events WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let rows = self.inner.db.all(sql(list).bind(id).bind(after).bind(limit)).await?;
        let event = |row: &super::db::Row| {
            let (kind, data, at) = (row.get("kind")?, row.json("data")?, row.time("created_at")?);
            Ok(JobEvent { id: row.u64("seq")?, kind, data, at })
        };
        rows.iter().map(event).collect()
    }

    /// The points of a job's curves in order of their steps. Where an attempt repeated
    /// steps, only the last one's points count.
    pub async fn job_curve(&self, id: JobId) -> Result<Vec<Value>> {
        self.job(id).await?;
        let list = "SELECT data FROM job_events WHERE job_id = $1 AND kind = 'metric' ORDER BY seq";
        let step = |point: &Value| point["step"].as_f64().unwrap_or(f64::INFINITY);
        let mut curve: Vec<Value> = Vec::new();
        for row in self.inner.db.all(sql(list).bind(id)).await? {
            let point = row.json("data")?;
            while curve.last().is_some_and(|last| step(last) >= step(&point)) {
                curve.pop();
            }
            curve.push(point);
        }
        Ok(curve)
    }

    /// Writes what a worker reports; `lease_lost` when the job is no longer its own.
    pub async fn report_job(&self, claim: &Claim, report: &Report) -> Result<()> {
        let id = claim.job.id;
        let count = usize::from(report.progress.is_some()) + report.points.len() + report.lines.len();
        let mut tx = self.inner.db.begin().await?;
        let update = "UPDATE jobs SET event_seq = event_seq + $4, progress = COALESCE($5, progress),
                metrics = COALESCE($6, metrics)
            WHERE id = $1 AND owner = $2 AND attempt = $3 AND status = 'running' RETURNING event_seq";
        let update = sql(update).bind(id).bind(&claim.owner).bind(claim.job.attempt).bind(count);
        let update = update.bind(report.progress.as_ref().map(Value::to_string));
        let row = tx.opt(update.bind(report.metrics.as_ref().map(Value::to_string))).await?;
        fenced(u64::from(row.is_some()))?;
        let mut seq = row.map_or(Ok(0), |r| r.u64("event_seq"))? - count as u64;
        let lines = report.lines.iter().map(|line| ("log", serde_json::json!({ "line": line })));
        let points = report.points.iter().map(|point| ("metric", point.clone()));
        let progress = report.progress.iter().map(|progress| ("progress", progress.clone()));
        for (kind, data) in lines.chain(points).chain(progress) {
            seq += 1;
            insert(&mut tx, id, seq, kind, &data).await?;
        }
        if report.progress.is_some() {
            let older = "DELETE FROM job_events WHERE job_id = $1 AND kind = 'progress' AND seq < $2";
            tx.exec(sql(older).bind(id).bind(seq)).await?;
        }
        tx.notify(Change::Job(id));
        tx.commit().await
    }
}

/// Adds an event inside a transaction that changes the job.
pub(super) async fn add_event(tx: &mut Tx, id: JobId, kind: &str, data: &Value) -> Result<()> {
    let next = "UPDATE jobs SET event_seq = event_seq + 1 WHERE id = $1 RETURNING event_seq";
    let row = tx.opt(sql(next).bind(id)).await?.ok_or_else(no_job)?;
    insert(tx, id, row.u64("event_seq")?, kind, data).await?;
    tx.notify(Change::Job(id));
    Ok(())
}

async fn insert(tx: &mut Tx, id: JobId, seq: u64, kind: &str, data: &Value) -> Result<()> {
    let insert = "INSERT INTO job_events (job_id, seq, kind, data, created_at) VALUES ($1, $2, $3, $4, $5)";
    tx.exec(sql(insert).bind(id).bind(seq).bind(kind).bind(data).bind(now())).await.map(|_| ())
}
