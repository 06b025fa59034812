//! What a job does, apart from where and when.

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
    /// What it reads, the same on every attempt.
    pub input: Option<JobInput>,
    /// The last checkpoint, if an earlier attempt kept one.
    pub resume: Option<Bytes>,
    /// Threads it may use.
    pub threads: usize,
    /// Where to read from. Only the worker writes.
    pub store: Store,
    /// For [`Work::wait`].
    pub(super) runtime: Handle,
}

impl Work {
    /// Waits on the job's own thread for something of the store.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// How a job ended well.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It made the job's version.
    Version(NewVersion),
    /// It found something out.
    Result {
        /// Figures for the job's `metrics`.
        metrics: Value,
        /// The whole answer.
        result: Value,
    },
}

/// Does jobs. Called on a thread of its own, which may compute for hours; asks
/// [`Monitor::canceled`] often. A panic fails the job and nothing else.
pub trait Runner: Send + Sync + 'static {
    /// Does one job.
    fn run(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome>;
}
