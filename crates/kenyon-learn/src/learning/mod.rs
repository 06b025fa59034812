//! How models learn, pure and synchronous: fit, observe, consolidate, calibrate, evaluate, drift.
//! Nothing here knows SQL, tokio or HTTP.

pub mod answers;
pub mod bundle;
pub mod calibrate;
pub mod compare;
pub mod drift;
pub mod evaluate;
pub mod fit;
pub mod metrics;
pub mod onnx;
pub mod paired;
pub mod stream;
pub mod verify;

pub use bundle::Bundle;
pub use fit::{Fitted, fit};

use crate::Result;
use crate::data::encoder::DroppedColumn;
use crate::data::warning::Warning;
use crate::models::{Family, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a training is asked to do, beside the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FitSpec {
    /// Column to predict.
    pub target: String,
    /// Chosen from the data when missing.
    #[serde(default)]
    pub family: Option<Family>,
    /// Inferred from the target when missing.
    #[serde(default)]
    pub task: Option<Task>,
    /// Which rows are held out.
    pub validation: Validation,
    /// Everything random follows from it.
    pub seed: u64,
    /// Settings of the family and of training itself.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Column of the table with the weight of each row; all weigh alike when missing.
    #[serde(default)]
    pub weight: Option<String>,
    /// How much each class weighs; the family's own setting when missing.
    #[serde(default)]
    pub class_weights: Option<ClassWeights>,
}

/// Which rows of a training are held out: no network learns from them, and figures are theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// A share of the rows, in `(0, 0.9]`, of every class alike.
    Share(f32),
    /// The newest rows by a column of the table.
    Newest {
        /// A column of moments or numbers.
        column: String,
        /// Share of the rows.
        share: f32,
    },
    /// Whole groups of rows that have the same value in a column of the table.
    Groups {
        /// Any column with one value a row.
        column: String,
        /// About this share of the rows.
        share: f32,
    },
    /// The rows from this number on.
    From(usize),
}

impl Default for Validation {
    fn default() -> Self {
        Self::Share(0.2)
    }
}

/// How much each class weighs in the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// By the inverse of its share.
    Balanced,
    /// By name; 1 where a class is not named.
    Each(Map<String, Value>),
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

/// What a training is about to learn from.
#[derive(Clone, Copy)]
pub struct Prepared<'a> {
    /// The family that learns.
    pub family: Family,
    /// Why, where the request names none.
    pub reason: Option<&'a str>,
    /// Columns without information.
    pub dropped: &'a [DroppedColumn],
    /// What was noticed in the data.
    pub warnings: &'a [Warning],
    /// Rows to learn from.
    pub training: usize,
    /// Rows held out.
    pub held_out: usize,
    /// Bytes of the rows and their encoded form in memory.
    pub bytes: u64,
    /// Bytes of the state of the network in training.
    pub state_bytes: &'a dyn Fn() -> u64,
}

/// Whoever runs a training listens through this. Called from the training thread; must not block long.
pub trait Monitor: Send + Sync {
    /// Called after every mini-batch; `epoch_ended` marks points of the curves.
    fn progress(&self, progress: &Progress, epoch_ended: bool);

    /// A line for the job's log.
    fn log(&self, line: &str);

    /// Called once the data are read and encoded, before the first mini-batch.
    fn prepared(&self, _prepared: &Prepared<'_>) {}

    /// Whether to stop; asked before every mini-batch.
    fn canceled(&self) -> bool;

    /// Whether a checkpoint is wanted now; asked after every mini-batch and epoch.
    fn checkpoint_due(&self, epoch_ended: bool) -> bool;

    /// Keeps a checkpoint (safetensors bytes) so that [`fit`](self) can continue from it.
    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> Result<()>;
}
