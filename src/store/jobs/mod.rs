//! The queue: one row a job, and the statements that move it. `submit` has what clients call: submit, look
//! up, cancel, retry; `work` has what workers call. A worker holds a [`Claim`]; every
//! write of a worker names owner and attempt, so one that lost its lease changes nothing any more.

mod schemas;
mod submit;
mod work;

pub(super) use submit::cancel_all_of;
pub(super) use work::{hold, succeed};

use super::db::Row;
use super::model_rows::NewModel;
use super::{DatasetName, JobId, ModelName};
use crate::{Error, Result};
use jiff::Timestamp;
use kenyon_learn::data::Warning;
use schemas::{JobError, JobProgress};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::str::FromStr;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Makes a version from a dataset.
    Train,
    /// Makes a version from the served one and what was observed.
    Consolidate,
    /// Measures the version that was served when it was submitted on a dataset.
    Evaluate,
    /// Answers a dataset.
    Predict,
    /// Compares representations with each other and with recordings.
    Compare,
    /// Makes a static encoder from a transformer.
    Distill,
}

impl JobKind {
    /// Its name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Consolidate => "consolidate",
            Self::Evaluate => "evaluate",
            Self::Predict => "predict",
            Self::Compare => "compare",
            Self::Distill => "distill",
        }
    }

    /// Whether it makes a version; of those, one at a time runs for a model, in the queue's order.
    pub fn makes_version(self) -> bool {
        matches!(self, Self::Train | Self::Consolidate)
    }
}

impl FromStr for JobKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Train, Self::Consolidate, Self::Evaluate, Self::Predict, Self::Compare, Self::Distill];
        let found = all.into_iter().find(|k| k.name() == text);
        let unknown = "a job's kind is train, consolidate, evaluate, predict, compare or distill";
        found.ok_or_else(|| Error::malformed("unknown_kind", unknown))
    }
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
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
    /// Ended by a request to cancel.
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

    /// Whether the state is final.
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

/// A job in the form the interface returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "019401f0-a3c4-7a1e-8b2c-000000000001", "kind": "train", "model": "iris", "version": 2, "dataset": "iris",
    "status": "running", "priority": 0,
    "progress": {
        "epoch": 3, "epochs": 20, "step": 37, "steps": 240, "fraction": 0.15, "rows_per_second": 81000.0,
        "eta_seconds": 4.2, "device": "cpu"
    },
    "metrics": { "train_loss": 0.21, "validation_loss": 0.25, "validation_accuracy": 0.94 },
    "served": null, "served_reason": null, "warnings": [], "attempt": 1, "resumed_from_step": 0,
    "worker": "4711-019401f0", "cancel_requested": false, "error": null,
    "created_at": "2026-01-05T10:00:00Z", "started_at": "2026-01-05T10:00:01Z", "finished_at": null
})))]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// For which model; none for a comparison.
    #[schema(required)]
    pub model: Option<ModelName>,
    /// The version it makes, or evaluates; fixed when it was submitted.
    pub version: Option<u64>,
    /// What it reads.
    pub dataset: Option<DatasetName>,
    /// Its state.
    pub status: JobStatus,
    /// Higher runs first.
    pub priority: i64,
    /// `epoch`, `step`, `fraction` … as last written.
    #[schema(value_type = JobProgress)]
    pub progress: Value,
    /// Last values of what is measured.
    #[schema(value_type = HashMap<String, Option<f64>>)]
    pub metrics: Value,
    /// What an evaluation measured; which version a training made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<HashMap<String, Value>>)]
    pub result: Option<Value>,
    /// Whether the version it made is served; none before it has made one.
    #[serde(default)]
    pub served: Option<bool>,
    /// Why it is served, or not.
    #[serde(default)]
    pub served_reason: Option<String>,
    /// Warnings of the training.
    #[serde(default)]
    #[schema(value_type = Vec<Warning>, required)]
    pub warnings: Vec<Value>,
    /// How often it was started.
    pub attempt: u64,
    /// Step of the checkpoint this attempt continued from; 0 from the start.
    pub resumed_from_step: u64,
    /// Who runs it.
    pub worker: Option<String>,
    /// Whether a cancel request is pending.
    pub cancel_requested: bool,
    /// `code` and `detail` of what ended it.
    #[schema(value_type = Option<JobError>)]
    pub error: Option<Value>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it was first started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The request, for the worker that runs it.
    #[serde(skip)]
    pub spec: Value,
    /// How often the process that ran it was ended from outside.
    #[serde(skip)]
    pub kills: u64,
}

impl Job {
    /// The model it is for.
    ///
    /// # Errors
    /// It is for none, which its kind does not allow.
    pub fn model(&self) -> Result<&ModelName> {
        self.model.as_ref().ok_or_else(|| Error::internal("a job without a model"))
    }

    /// All models that it concerns: its own, or those of the systems that a comparison compares.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        let compared = self.spec.get("systems").and_then(Value::as_array).filter(|_| self.kind == JobKind::Compare);
        let compared = compared.into_iter().flatten().filter_map(|system| system.get("model")?.as_str());
        self.model.iter().map(ModelName::as_str).chain(compared)
    }
}

/// A job to submit.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// For which model; none for a comparison.
    pub model: Option<ModelName>,
    /// What it reads; must exist.
    pub dataset: Option<DatasetName>,
    /// The request, for the worker that runs it.
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

/// A job held by a worker. Valid as long as the lease is renewed.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The job as it was claimed.
    pub job: Job,
    /// The id of its model, which a later model of the same name does not have.
    pub model_id: Uuid,
    /// Who claimed it.
    pub owner: String,
}

/// What a heartbeat returned about a job that is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The job.
    pub id: JobId,
    /// The attempt that is held.
    pub attempt: u64,
    /// Whether it should end.
    pub cancel_requested: bool,
}

/// A worker's write that changed nothing was that of a worker that had lost the job.
pub(super) fn fenced(changed: u64) -> Result<()> {
    if changed == 1 {
        return Ok(());
    }
    Err(Error::conflict("lease_lost", "the job is no longer this worker's"))
}

fn from_row(row: &Row) -> Result<Job> {
    let result = row.opt_json("result")?;
    let found = |name: &str| result.as_ref().and_then(|result| result.get(name));
    let (kind, spec): (JobKind, Value) = (row.parse("kind")?, row.json("spec")?);
    let evaluated = spec["version"].as_u64().filter(|_| kind == JobKind::Evaluate);
    Ok(Job {
        id: row.parse("id")?,
        kind,
        model: Some(row.get::<String>("model")?)
            .filter(|name| !name.is_empty())
            .map(|name| name.parse())
            .transpose()?,
        version: row.opt_u64("version")?.or(evaluated),
        dataset: row.get::<Option<String>>("dataset")?.map(|d| d.parse()).transpose()?,
        status: row.parse("status")?,
        priority: row.get("priority")?,
        progress: row.json("progress")?,
        metrics: row.json("metrics")?,
        served: found("served").and_then(Value::as_bool),
        served_reason: found("served_reason").and_then(Value::as_str).map(str::to_owned),
        warnings: found("warnings").and_then(Value::as_array).cloned().unwrap_or_default(),
        result,
        attempt: row.u64("attempt")?,
        resumed_from_step: row.u64("resumed_from_step")?,
        worker: row.get("owner")?,
        cancel_requested: row.get("cancel_requested")?,
        error: row.opt_json("error")?,
        created_at: row.time("created_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
        spec,
        kills: row.u64("kills")?,
    })
}

/// 404 for a job.
pub(super) fn no_job() -> Error {
    Error::not_found("job_not_found", "there is no such job")
}
