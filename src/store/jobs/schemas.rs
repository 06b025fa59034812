//! The parts of a job that are stored as JSON, described for the OpenAPI document.

use crate::error::ErrorCode;
use kenyon_learn::Detail;
use serde::Serialize;
use utoipa::ToSchema;

/// The progress of a job; empty before its first report.
#[derive(Serialize, ToSchema)]
pub(super) struct JobProgress {
    /// Passes that have ended, of a search the trials.
    epoch: Option<u64>,
    /// Passes planned.
    epochs: Option<u64>,
    /// Mini-batches, of a batch of predictions the rows.
    step: Option<u64>,
    /// Steps planned.
    steps: Option<u64>,
    /// Share of the work that is done.
    fraction: Option<f64>,
    /// Rows a second.
    rows_per_second: Option<f64>,
    /// Estimated seconds left.
    eta_seconds: Option<f64>,
    /// The device that a training or a batch of predictions runs on: `cpu`, `cuda:N` or `metal`.
    device: Option<String>,
}

/// What ended a job.
#[derive(Serialize, ToSchema)]
pub(super) struct JobError {
    /// Stable code, to be compared by programs.
    #[schema(value_type = ErrorCode)]
    code: String,
    /// What is wrong, for a person.
    detail: String,
    /// Where.
    #[schema(required = false)]
    details: Vec<Detail>,
}
