//! How models learn, pure and synchronous: fit, observe, consolidate, calibrate, evaluate, drift.
//! Nothing here knows SQL, tokio or HTTP.

pub mod bundle;
pub mod calibrate;
pub mod choose;
pub mod compare;
pub mod drift;
pub mod evaluate;
pub mod fit;
pub mod metrics;
pub mod onnx;
pub mod settings;
pub mod stream;

pub use bundle::Bundle;
pub use fit::{Fitted, fit};

use crate::Result;
use crate::models::{Family, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a training is asked to do, beside the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitSpec {
    /// Column to predict.
    pub target: String,
    /// Chosen from the data when missing.
    #[serde(default)]
    pub family: Option<Family>,
    /// Inferred from the target when missing.
    #[serde(default)]
    pub task: Option<Task>,
    /// Share of the rows held out, in `(0, 0.9]`.
    pub validation: f32,
    /// Everything random follows from it.
    pub seed: u64,
    /// Settings of the family and of training itself.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// How far a training is; the job's `progress` and `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Passes finished.
    pub epoch: usize,
    /// Passes planned.
    pub epochs: usize,
    /// Mini-batches finished.
    pub step: u64,
    /// Mini-batches planned.
    pub steps: u64,
    /// Share done, in `[0, 1]`.
    pub fraction: f64,
    /// Rows learned a second, lately.
    pub rows_per_second: f64,
    /// Seconds left by that rate.
    pub eta_seconds: f64,
    /// `train_loss`, `validation_loss`, `validation_accuracy` … as known so far.
    pub metrics: Map<String, Value>,
}

/// Whoever runs a training listens through this. Called from the training thread; must not block long.
pub trait Monitor: Send + Sync {
    /// Called after every mini-batch; `epoch_ended` marks points of the curves.
    fn progress(&self, progress: &Progress, epoch_ended: bool);

    /// A line for the job's log.
    fn log(&self, line: &str);

    /// Whether to stop; asked before every mini-batch.
    fn canceled(&self) -> bool;

    /// Whether a checkpoint is wanted now; asked after every mini-batch and epoch.
    fn checkpoint_due(&self, epoch_ended: bool) -> bool;

    /// Keeps a checkpoint (safetensors bytes) so that [`fit`](self) can continue from it.
    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> Result<()>;
}
