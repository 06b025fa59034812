//! What a job computes, independent of scheduling.

use crate::Result;
use crate::store::{Job, JobInput, NewVersion, Store};
use bytes::Bytes;
use kenyon_learn::learning::Monitor;
use serde_json::Value;
use std::future::Future;
use tokio::runtime::Handle;

/// Everything a runner is given.
#[derive(Clone, Debug)]
pub struct Work {
    /// The job as it was claimed.
    pub job: Job,
    /// Id of the model it is for.
    pub model_id: uuid::Uuid,
    /// Its inputs, the same on every attempt.
    pub input: Option<JobInput>,
    /// The last checkpoint, if an earlier attempt saved one.
    pub resume: Option<Bytes>,
    /// Threads it may use.
    pub threads: usize,
    /// Where to read from. Only the worker writes.
    pub store: Store,
    /// For [`Work::wait`].
    pub(super) runtime: Handle,
}

impl Work {
    /// Blocks the job's own thread on a future of the store.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// The result of a job that succeeded.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It made the job's version.
    Version(NewVersion),
    /// It measured something.
    Result {
        /// Figures for the job's `metrics`.
        metrics: Value,
        /// The whole answer.
        result: Value,
    },
}

/// Runs jobs. Called on a thread of its own, which may compute for hours; polls
/// [`Monitor::canceled`] often. A panic fails the job and nothing else.
pub trait Runner: Send + Sync + 'static {
    /// Runs one job.
    fn run(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome>;
}
