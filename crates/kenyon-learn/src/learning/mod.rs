//! Learning algorithms, pure and synchronous: fit, observe, consolidate, calibrate, evaluate, drift.
//! Nothing here depends on SQL, tokio or HTTP.

pub mod answers;
pub mod background;
pub mod bundle;
pub mod calibrate;
mod candle;
pub mod compare;
pub mod drift;
mod engine;
pub mod evaluate;
pub mod explain;
pub mod fit;
#[cfg(test)]
mod fixtures;
pub mod importance;
mod metric_intervals;
pub mod metrics;
pub mod novelty;
pub mod onnx;
pub mod paired;
pub mod residuals;
pub mod row_weights;
pub mod stream;
pub mod verify;

pub use bundle::Bundle;
pub use engine::{Engine, PlacedBundle};
pub use fit::{Fitted, fit};

use crate::Result;
use crate::data::encoder::DroppedColumn;
use crate::data::warning::Warning;
use crate::device::DeviceName;
use crate::models::{Family, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The options of a training, in addition to the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FitSpec {
    /// Column to predict.
    pub target: String,
    /// Selected from the data when missing.
    #[serde(default)]
    pub family: Option<Family>,
    /// Inferred from the target when missing.
    #[serde(default)]
    pub task: Option<Task>,
    /// Which rows are held out.
    pub validation: Validation,
    /// Seed of everything random.
    pub seed: u64,
    /// Settings of the family and of training itself.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Column of the table with the weight of each row; all have weight 1 when missing.
    #[serde(default)]
    pub weight: Option<String>,
    /// How much each class weighs; the family's own setting when missing.
    #[serde(default)]
    pub class_weights: Option<ClassWeights>,
    /// Which class is named.
    #[serde(default)]
    pub objective: Objective,
    /// The device that it is trained on as far as the family's candle form can be; the CPU where it is not there.
    #[serde(default)]
    pub device: DeviceName,
    /// Rules of the recipe that do not apply, by name: to measure what each gains.
    #[serde(default)]
    pub without_rules: Vec<String>,
}

/// Which class an answer names. Probabilities are the same under each.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The most probable one: as many rows right as possible.
    #[default]
    Accuracy,
    /// The one that is most probable for its share of the rows: every class right as often as possible.
    Balanced,
}

/// Which rows of a training are held out: no network learns from them, and the metrics are measured on them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// As the recipe has it: cross-fitted, so that every row is evaluated by a member that has not learned it and none is
    /// set aside; or a share that is chosen by the number of rows.
    #[default]
    Auto,
    /// A share of the rows, in `(0, 0.9]`, of every class alike.
    Share(f32),
    /// The newest rows by a column of the table.
    Newest {
        /// A column of timestamps or numbers.
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

/// How much each class weighs in the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// By the inverse of its share.
    Balanced,
    /// By name; 1 where a class is not named.
    Each(Map<String, Value>),
}

/// The state of a training; the job's `progress` and `metrics`.
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
    /// The finished share, in `[0, 1]`.
    pub fraction: f64,
    /// Rows learned a second, recently.
    pub rows_per_second: f64,
    /// Seconds left by that rate.
    pub eta_seconds: f64,
    /// The device that it is trained on.
    #[serde(default)]
    pub device: DeviceName,
    /// `train_loss`, `validation_loss`, `validation_accuracy` …, the latest values.
    pub metrics: Map<String, Value>,
}

/// What a training is about to do.
#[derive(Clone, Copy)]
pub struct Prepared<'a> {
    /// The family that is trained.
    pub family: Family,
    /// Why, where the request names none.
    pub reason: Option<&'a str>,
    /// Columns without information.
    pub dropped: &'a [DroppedColumn],
    /// Warnings about the data.
    pub warnings: &'a [Warning],
    /// Rows that are learned from, or choose the pass whose weights are kept.
    pub training: usize,
    /// Rows held out.
    pub held_out: usize,
    /// Members of which each learns from `training` rows and is evaluated by `held_out` others; 0 where rows are held out
    /// from all.
    pub folds: usize,
    /// Bytes of the rows and their encoded form in memory.
    pub bytes: u64,
    /// Bytes that the network takes at the peak of its training.
    pub training_bytes: &'a dyn Fn() -> u64,
    /// The device that it is trained on.
    pub device: DeviceName,
}

/// Callbacks of a training. Called from the training thread; must not block long.
pub trait Monitor: Send + Sync {
    /// Called after every mini-batch; `epoch_ended` marks points of the curves.
    fn progress(&self, progress: &Progress, epoch_ended: bool);

    /// A line for the job's log.
    fn log(&self, line: &str);

    /// Called once the data are read and encoded, before the first mini-batch.
    fn prepared(&self, _prepared: &Prepared<'_>) {}

    /// Whether to stop; called before every mini-batch.
    fn canceled(&self) -> bool;

    /// Whether a checkpoint is due; called after every mini-batch and epoch.
    fn checkpoint_due(&self, epoch_ended: bool) -> bool;

    /// Saves a checkpoint (safetensors bytes) so that [`fit`](self) can continue from it.
    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> Result<()>;
}
