//! The families, and the traits of trained networks and of networks in training.
//!
//! A new family is one file here and one line in `registry.rs`.

pub(crate) mod attention;
pub mod autograd;
pub mod candle;
pub(crate) mod candle_network;
#[cfg(test)]
mod conformance;
pub mod family;
mod fold_readouts;
pub(crate) mod hybrid;
mod layers;
mod members;
pub(crate) mod memory;
pub(crate) mod onnx;
pub mod recipe;
mod registry;
mod reports;
pub mod settings;
pub(crate) mod sparse_mlp;
mod tensors;
#[cfg(test)]
mod toy;

use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::data::encoder::onnx::SeriesGraph;
use crate::nn::Tensors;
use crate::onnx::{Graph, Node};
use crate::{Error, Result};
use autograd::AutogradLearner;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::data::Task;
pub use family::{Family, FamilySpec, SavedNetwork, Suitability};
pub use layers::{LayerCode, layer_code, layer_names};
pub use reports::{Activity, Explanation, LayerActivity, RECALLED, Recalled, RecalledRow, leave_one_out};

/// One setting of a family: enough to check a request, draw a form and write JSON Schema.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Its name in `config`.
    pub name: &'static str,
    /// Its value when the request does not name it; `null` means selected from the data.
    pub default: Value,
    /// The values it takes.
    pub range: Range,
    /// One sentence for a form.
    pub help: &'static str,
    /// Its value where the default leaves it open and no rule of the recipe applies.
    #[serde(skip)]
    pub otherwise: Value,
}

/// The values a [`Setting`] takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// A whole number between two bounds, both included.
    Integer(i64, i64),
    /// A number between two bounds, both included.
    Number(f64, f64),
    /// A boolean.
    Boolean,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A list of whole numbers, each between two bounds, both included.
    Integers(i64, i64),
}

impl Setting {
    /// A setting with its default, range and help.
    pub fn new(name: &'static str, default: impl Into<Value>, range: Range, help: &'static str) -> Self {
        Self { name, default: default.into(), range, help, otherwise: Value::Null }
    }

    /// The same, with the value used where neither the request nor a rule of the recipe gives one.
    #[must_use]
    pub fn otherwise(self, value: impl Into<Value>) -> Self {
        Self { otherwise: value.into(), ..self }
    }
}

/// The labels of a mini-batch.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// Class ids below the number of outputs, or [`UNLABELLED`]; with a weight per row, if any.
    Classes(&'a [u32], Option<&'a [f32]>),
    /// Standardised values (mean 0, deviation 1 on the training rows), NaN where there is none; with a weight per row,
    /// if any.
    Values(&'a [f32], Option<&'a [f32]>),
}

impl Targets<'_> {
    /// Calls `with` with the targets of some rows.
    pub(crate) fn at<T>(&self, rows: &[usize], with: impl FnOnce(Targets<'_>) -> T) -> T {
        fn chosen<T: Copy>(rows: &[usize], of: &[T]) -> Vec<T> {
            rows.iter().map(|&row| of[row]).collect()
        }
        let (Targets::Classes(_, weights) | Targets::Values(_, weights)) = self;
        let weights = weights.map(|weights| chosen(rows, weights));
        match self {
            Targets::Classes(classes, _) => with(Targets::Classes(&chosen(rows, classes), weights.as_deref())),
            Targets::Values(values, _) => with(Targets::Values(&chosen(rows, values), weights.as_deref())),
        }
    }
}

/// The class id of a row without a label. Only families that can learn from it get such rows.
pub const UNLABELLED: u32 = u32::MAX;

/// The position in a training: families derive learning rate, annealing and randomness from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Passes over the data that are finished.
    pub epoch: usize,
    /// Passes that are planned.
    pub epochs: usize,
    /// Mini-batches finished since the start.
    pub step: u64,
    /// Mini-batches planned in all.
    pub steps: u64,
}

impl Position {
    /// The finished share of the planned steps, in `[0, 1]`.
    pub fn fraction(&self) -> f32 {
        self.step as f32 / self.steps.max(1) as f32
    }
}

/// The result of a family's [`Learner::end_epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Continue; early stopping may end it.
    Go,
    /// Continue, and drop the best weights so far: later losses are not comparable with theirs.
    Restart,
    /// Training is complete.
    Stop,
}

/// The parameters of a new learner.
#[derive(Clone, Debug)]
pub struct LearnerSpec<'a> {
    /// The fitted encoder: width of the feature space, fields, shapes.
    pub encoder: &'a Encoder,
    /// The task.
    pub task: Task,
    /// Classes, or 1 for a number.
    pub outputs: usize,
    /// Names of the classes; none for a number, and where they are not known.
    pub names: &'a [String],
    /// Rows to train on.
    pub rows: usize,
    /// The family's settings in full, as [`recipe::Recipe`] gives them.
    pub config: &'a Map<String, Value>,
    /// Seed of everything random.
    pub seed: u64,
    /// Threads this job may use; the weights do not depend on it.
    pub threads: usize,
}

/// The schedule of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Passes over the training rows.
    pub epochs: usize,
    /// Rows a mini-batch.
    pub batch_size: usize,
    /// Passes without a better validation loss after which it ends early; 0 for never.
    pub patience: usize,
}

impl LearnerSpec<'_> {
    /// The family's own schedule, with `epochs`, `batch_size` and
    /// `early_stopping` from the request.
    pub fn schedule(&self, default: Schedule) -> Schedule {
        let named = |name: &str, default: usize| {
            self.config.get(name).and_then(Value::as_u64).map_or(default, |value| value as usize)
        };
        Schedule {
            epochs: named("epochs", default.epochs),
            batch_size: named("batch_size", default.batch_size).max(1),
            patience: named("early_stopping", default.patience),
        }
    }
}

/// The settings every family has, in addition to its own.
pub fn common_settings() -> Vec<Setting> {
    vec![
        Setting::new("epochs", Value::Null, Range::Integer(1, 10_000), "Passes over the training rows."),
        Setting::new("batch_size", Value::Null, Range::Integer(1, 8192), "Rows learned from at once."),
        Setting::new(
            "early_stopping",
            Value::Null,
            Range::Integer(0, 10_000),
            "Passes without a better validation loss before training ends; 0 for never.",
        ),
        Setting::new(
            "engine",
            "auto",
            Range::Choice(&["auto", "kernels", "candle"]),
            "What trains: Kenyon's kernels, on the CPU alone, or candle's autograd, on any device; auto is candle on a device and the kernels on the CPU.",
        ),
        Setting::new(
            "class_weights",
            "none",
            Range::Choice(&["none", "balanced"]),
            "Whether rare classes weigh more, by the inverse of their share.",
        ),
    ]
}

/// A network in training. A step with the same state, batch and position always does the same.
pub trait Learner: Send {
    /// Its schedule: `spec.schedule(the family's default)`.
    fn schedule(&self) -> Schedule;

    /// Whether a step takes the weights of its rows into account.
    fn weighs_rows(&self) -> bool {
        true
    }

    /// Learns from one mini-batch and returns its mean loss before the step.
    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32>;

    /// The current outputs, `[rows, outputs]` row-major: logits, or standardised values.
    fn forward(&self, batch: &Batch) -> Result<Vec<f32>>;

    /// Itself as a learner whose steps candle can make on a device, or why it is none.
    fn autograd(&mut self) -> Result<&mut dyn AutogradLearner, &'static str> {
        Err("the family is not trained by gradients")
    }

    /// Its members, for a learner that can be cross-fitted.
    fn members(&mut self) -> Option<&mut dyn MemberLearner> {
        None
    }

    /// Called at the end of a pass over the data with its training loss and validation loss.
    fn end_epoch(&mut self, _position: Position, _train_loss: f32, _validation_loss: f32) -> Result<Next> {
        Ok(Next::Go)
    }

    /// The current weights alone; kept by the caller for the best epoch.
    fn weights(&self) -> Result<Tensors>;

    /// The complete training state: weights, moments, counters, running statistics.
    fn state(&self) -> Result<Tensors>;

    /// Bytes that training takes at its peak besides the rows, about: the state, gradients, the best weights so far, and
    /// copies of them for a checkpoint and for the files.
    fn training_bytes(&self) -> u64 {
        let bytes =
            |tensors: &Tensors| tensors.values().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum::<usize>();
        self.state().map_or(0, |state| 8 * bytes(&state) as u64)
    }

    /// Continues from an earlier [`Learner::state`], bit for bit.
    fn restore(&mut self, state: &Tensors) -> Result<()>;

    /// The finished network, with these weights (the best) or the current ones.
    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>>;
}

/// An ensemble in training whose members can learn from different rows and answer singly: what cross-fitting needs.
/// At most 64 members.
pub trait MemberLearner {
    /// How many members there are.
    fn count(&self) -> usize;

    /// As [`Learner::step`]; member `m` does not learn the rows of which bit `m` of `excluded` is set.
    fn step(&mut self, batch: &Batch, targets: Targets<'_>, excluded: &[u64], position: Position) -> Result<f32>;

    /// As [`Learner::forward`], each row answered by the one member that `members` names.
    fn forward(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>>;

    /// What of [`Learner::weights`] belongs to one member.
    fn weights(&self, member: usize) -> Result<Tensors>;
}

/// A trained network. Shared between threads; answers rows independently of their neighbours.
pub trait Network: Send + Sync {
    /// Its family.
    fn family(&self) -> Family;

    /// Classes, or 1 for a number.
    fn outputs(&self) -> usize;

    /// The outputs, `[rows, outputs]` row-major: logits, or standardised values.
    fn forward(&self, batch: &Batch) -> Result<Vec<f32>>;

    /// Width of [`Network::features`].
    fn feature_width(&self) -> usize;

    /// The code that is input of the readout, `[rows, feature_width]` row-major. Memories use it as key.
    fn features(&self, batch: &Batch) -> Result<Vec<f32>>;

    /// [`Network::forward`] and [`Network::features`] of the same rows, in one pass where that is cheaper.
    fn forward_with_features(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok((self.forward(batch)?, self.features(batch)?))
    }

    /// As [`Network::forward`] of a cross-fitted ensemble, each row answered by the one member that `members` names.
    ///
    /// # Errors
    /// The network has no such members.
    fn forward_members(&self, _batch: &Batch, _members: &[u8]) -> Result<Vec<f32>> {
        Err(Error::internal("this network has no members that answer singly"))
    }

    /// Why row `row` of `batch` got the answer `output`.
    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation>;

    /// For each row the `k` remembered rows that are most similar to it, the most similar first; none where the network
    /// remembers no rows.
    ///
    /// # Errors
    /// As [`Network::forward`].
    fn nearest(&self, _batch: &Batch, _k: usize) -> Result<Option<Vec<Vec<Recalled>>>> {
        Ok(None)
    }

    /// Activity while these rows were predicted, counted while it ran.
    fn activity(&self, batch: &Batch) -> Result<Activity>;

    /// The code of a layer of [`Network::activity`], `[rows, units]` row-major; none where there is no such layer, and
    /// where it is what [`Network::features`] returns.
    fn layer(&self, _batch: &Batch, _name: &str) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }

    /// Whether it reads compact batches ([`Encoder::encode_compact`]) as such; others are given plain ones.
    fn reads_compact(&self) -> bool {
        false
    }

    /// The running sums behind the readout, for families that have them: a stream continues from these.
    fn sums(&self) -> Option<&crate::nn::readouts::discriminant::Sums> {
        None
    }

    /// Everything [`FamilySpec::load`] needs in addition to the configuration.
    fn save(&self) -> Result<Tensors>;

    /// Bytes it takes in memory, about; as it is saved where a family does not count them.
    fn bytes(&self) -> u64 {
        let bytes = |tensor: &candle_core::Tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
        self.save().map_or(0, |tensors| tensors.values().map(bytes).sum())
    }

    /// Adds the network to `graph` as operators on `features`, `[batch, encoder.width]`, and returns the logits (or
    /// standardised values); `None` where it is not a fixed graph over one row of features.
    ///
    /// # Errors
    /// Tensors that are missing.
    fn onnx(&self, _graph: &mut Graph, _features: &Node, _encoder: &Encoder) -> Result<Option<Node>> {
        Ok(None)
    }

    /// The same on the steps of its series.
    ///
    /// # Errors
    /// 422 `no_onnx_form`, with the reason.
    fn onnx_of_series(&self, _graph: &mut Graph, _series: &[SeriesGraph]) -> Result<Option<Node>> {
        Ok(None)
    }
}
