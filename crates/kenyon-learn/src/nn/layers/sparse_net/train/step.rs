//! The inputs of a training step: labels, optimiser and rates.

use crate::nn::kernels::AdamStep;

/// The true labels of the rows of a mini-batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Labels<'a> {
    /// Class ids, or [`NO_LABEL`]; with a weight per row, if any.
    Classes(&'a [u32], Option<&'a [f32]>),
    /// Standardised values, NaN where there is none; with a weight per row, if any.
    Values(&'a [f32], Option<&'a [f32]>),
}

/// The class id of a row without a label.
pub(crate) const NO_LABEL: u32 = u32::MAX;

impl Labels<'_> {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Classes(classes, _) => classes.len(),
            Self::Values(values, _) => values.len(),
        }
    }

    /// Labelled rows.
    pub(crate) fn known(&self) -> usize {
        match self {
            Self::Classes(classes, _) => classes.iter().filter(|&&class| class != NO_LABEL).count(),
            Self::Values(values, _) => values.iter().filter(|value| value.is_finite()).count(),
        }
    }
}

/// How weights follow gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Optimiser {
    /// `w -= rate · Σ gradient` over the rows of the mini-batch; touches only active input × winner.
    Sgd,
    /// Adam on the same weights only, by the mean gradient.
    Adam,
}

/// The parameters of one step; the same for the whole training or annealed by the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// How weights follow gradients.
    pub(crate) optimiser: Optimiser,
    /// Learning rate now.
    pub(crate) rate: f32,
    /// Weight decay, decoupled; Adam only.
    pub(crate) decay: f32,
    /// Chance that a winner's output is dropped in this step.
    pub(crate) dropout: f32,
    /// How strongly a unit that wins too rarely is boosted; 0 for not at all.
    pub(crate) boost: f32,
    /// Share of all probability that is given to the wrong classes.
    pub(crate) smoothing: f32,
    /// Winners are this share of the way from all units (0) to their number (1).
    pub(crate) anneal: f32,
    /// Number of this step, from 0.
    pub(crate) number: u64,
}

impl Step {
    /// The constants of Adam after `steps` steps.
    pub(crate) fn adam(&self, steps: u64) -> AdamStep {
        let t = (steps + 1) as f64;
        AdamStep {
            rate: self.rate,
            beta1: 0.9,
            beta2: 0.999,
            correction1: (1.0 / (1.0 - 0.9f64.powf(t))) as f32,
            correction2: (1.0 / (1.0 - 0.999f64.powf(t))) as f32,
            epsilon: 1e-8,
            decay: self.decay,
            scale: 1.0,
        }
    }
}
