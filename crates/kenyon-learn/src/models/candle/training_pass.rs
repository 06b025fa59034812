//! What a step of Kenyon's own training adds to a forward pass of a candle form: dropping, boosting, gaps in time.

use crate::nn::layers::activation::scaled;
use crate::nn::layers::attention::drop_mask;
use crate::random::Random;
use candle_core::{Result, Tensor};

/// The noise of one forward pass in training, and what the training reads from it.
#[derive(Clone, Debug)]
pub struct TrainingPass {
    /// Share of values that are dropped, or of steps that are skipped.
    noise: f32,
    random: Random,
    /// Of each layer of competing units, first to last, where they are not the module's own.
    pub(crate) competitions: Vec<Competition>,
}

/// How the units of a layer compete in a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Competition {
    /// Units that win a row.
    pub(crate) winners: usize,
    /// The factor of each unit's score, `[units]`; empty for none.
    pub(crate) boosts: Vec<f32>,
    /// Rows that each unit won, `[units]`; known after the pass.
    pub(crate) wins: Vec<f32>,
}

impl TrainingPass {
    /// A pass that drops a share of `noise`, drawn from `random`.
    pub fn new(noise: f32, random: Random) -> Self {
        Self { noise, random, competitions: Vec::new() }
    }

    /// `x` without the values that are dropped, the others scaled up.
    pub(super) fn dropped(&mut self, x: Tensor) -> Result<Tensor> {
        if self.noise <= 0.0 {
            return Ok(x);
        }
        let mut mask = Vec::new();
        drop_mask(&mut mask, x.elem_count(), self.noise, &mut self.random);
        scaled(&x, mask)
    }

    /// Whether a step in time is skipped here.
    pub(super) fn skips(&mut self) -> bool {
        self.noise > 0.0 && self.random.uniform() < self.noise
    }
}

/// `x` as it is, or with dropping where there is a pass.
pub(super) fn dropped(pass: &mut Option<&mut TrainingPass>, x: Tensor) -> Result<Tensor> {
    match pass {
        Some(pass) => pass.dropped(x),
        None => Ok(x),
    }
}
