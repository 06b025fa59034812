//! Training by candle's autograd, on any device: `DeviceLearner` makes the steps of a family's learner with the candle
//! form of its network. The learner itself ([`AutogradLearner`]) still does everything else: fresh weights, losses,
//! schedules, what a checkpoint holds. So a checkpoint continues on the kernels as well as on a device, and whatever
//! follows a training does not depend on how it was trained.

mod learner;
mod network;

pub(crate) use learner::{DEVICE_FAILED, DeviceLearner};

use super::candle::{TokenConfig, TrainingPass};
use super::{Learner, Position, Targets};
use crate::Result;
use crate::data::Batch;
use crate::nn::kernels::AdamStep;
use crate::nn::kernels::gather::Reach;
use crate::nn::layers::descent::Reached;
use candle_core::Tensor;
use std::sync::Arc;

/// A weight with what its optimiser keeps, on the CPU.
#[derive(Clone, Debug)]
pub struct TrainedWeight {
    /// Its path in the candle form.
    pub name: String,
    /// Its numbers.
    pub value: Tensor,
    /// First and second moments; none where steps are plain.
    pub moments: Option<[Tensor; 2]>,
    /// Whether weight decay applies.
    pub decays: bool,
    /// Whether numbers that no row of a mini-batch reached keep their weights and moments.
    pub lazy: bool,
    /// Whether it has a row for each feature of a batch: those that a mini-batch lacks cost nothing.
    pub is_table: bool,
    /// The columns of each row that are more than zeros; none for all.
    pub(crate) reach: Option<Arc<Reach>>,
}

/// What a mini-batch changed besides weights, before its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The configuration of the candle form.
    Form,
    /// Weights have to be added by [`AutogradLearner::grow`].
    Sizes,
}

/// How weights follow gradients in a step.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// AdamW; decay is for weights that decay.
    Adam(AdamStep),
    /// By this rate.
    Plain(f32),
}

/// A learner whose steps can be made by candle's autograd. Networks are those that learn side by side: members of an
/// ensemble, restarts.
pub trait AutogradLearner: Learner {
    /// How many networks there are.
    fn networks(&self) -> usize;

    /// The first networks, whose mean output is the answer.
    fn answering(&self) -> usize {
        1
    }

    /// Reads rows that will be trained on, before the first step.
    fn meet(&mut self, _batch: &Batch) {}

    /// Called before a step: stores rows, counts features.
    fn prepare(&mut self, _batch: &Batch, _targets: Targets<'_>, _position: Position) -> Change {
        Change::None
    }

    /// Adds the weights that [`Change::Sizes`] was about.
    fn grow(&mut self) {}

    /// The rows as the tables of the candle form are indexed.
    fn rows(&self, batch: &Batch) -> Batch {
        batch.expanded().into_owned()
    }

    /// The configuration of a network's candle form for rows of [`Self::rows`], with tables of `features` rows, or of
    /// all.
    fn form(&self, features: Option<usize>) -> Result<Box<dyn TokenConfig>>;

    /// The weights of network `network`.
    fn weights_of(&self, network: usize) -> Result<Vec<TrainedWeight>>;

    /// Takes weights as [`Self::weights_of`] gives them, after `steps` steps.
    fn set_weights_of(&mut self, network: usize, weights: &[TrainedWeight], steps: u64) -> Result<()>;

    /// Which numbers of a weight of network `network` a step on `batch`, rows of [`Self::rows`], moves by AdamW; `pass` is what the
    /// forward pass has found.
    fn reached(&self, _network: usize, weight: &TrainedWeight, _batch: &Batch, _pass: &TrainingPass) -> Reached {
        if weight.lazy { Reached::Gradient } else { Reached::All }
    }

    /// The noise of a step of network `network`.
    fn pass(&self, network: usize, position: Position) -> TrainingPass;

    /// What the pass of a step over `rows` rows has found.
    fn passed(&mut self, _network: usize, _pass: &TrainingPass, _rows: usize, _position: Position, _loss: f32) {}

    /// Turns outputs into the gradient of the mean loss; returns the loss.
    fn slopes(&self, outputs: &mut [f32], targets: Targets<'_>) -> f32;

    /// Whether [`Self::rule`] depends on the size of the gradient.
    fn clips(&self) -> bool {
        true
    }

    /// The rule of a step over `rows` rows, whose gradient has this sum of squares.
    fn rule(&self, position: Position, rows: usize, squares: f64) -> Rule;
}
