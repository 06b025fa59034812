//! What a mixture of experts is made of, and what it sees of a row.

use super::hedge::Mixing;
use super::inputs::Inputs;
use crate::nn::readouts::discriminant::Sums;

/// A row on its way through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row<'a> {
    /// Feature indices of the bag.
    pub(super) indices: &'a [u32],
    /// Their values.
    pub(super) values: &'a [f32],
    /// The code memory is keyed by and the readout reads; empty where there is none.
    pub(super) code: &'a [f32],
    /// The trained network's answer: probabilities, or one value.
    pub(super) base: &'a [f32],
}

/// What a new mixture is made of.
#[derive(Clone, Debug)]
pub(super) struct MixtureShape {
    /// Whether numbers are answered.
    pub(super) regression: bool,
    /// Classes known.
    pub(super) classes: usize,
    /// Columns for the experts of tables; none for wide inputs.
    pub(super) columns: Vec<u32>,
    /// Width of the feature space where experts read the sparse bag; 0 for none.
    pub(super) sparse: usize,
    /// Width of the code; 0 where memory is keyed by the columns.
    pub(super) code: usize,
    /// Whether the readout learns from codes.
    pub(super) reads_codes: bool,
    /// What the readout goes on from.
    pub(super) sums: Option<Sums>,
    /// How the answers are joined.
    pub(super) mixing: Mixing,
    /// Whether a trained network's answer takes part.
    pub(super) base: bool,
    /// Remembered rows a class.
    pub(super) capacity: usize,
    /// Whether the last labels are inputs.
    pub(super) labels_in_time: bool,
    /// Everything random follows from it.
    pub(super) seed: u64,
}

impl MixtureShape {
    /// What experts of tables see of a row; none for wide inputs.
    pub(super) fn inputs(&self) -> Option<Inputs> {
        let labels = self.labels_in_time && !self.regression;
        (!self.columns.is_empty()).then(|| Inputs::new(self.columns.clone(), labels, self.seed))
    }
}
