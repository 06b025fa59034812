//! The configuration of a mixture of experts, and its input rows.

use super::hedge::Mixing;
use super::inputs::Inputs;
use crate::models::memory::TextPlaces;
use crate::nn::readouts::discriminant::Sums;

/// An encoded row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamRow<'a> {
    /// Feature indices of the bag.
    pub(super) indices: &'a [u32],
    /// Their values.
    pub(super) values: &'a [f32],
    /// The key of the memory and the input of the readout; empty where there is none.
    pub(super) code: &'a [f32],
    /// The trained network's prediction: probabilities, or one value.
    pub(super) base: &'a [f32],
}

/// The configuration of a new mixture.
#[derive(Clone, Debug)]
pub(super) struct MixtureShape {
    /// Whether the task is regression.
    pub(super) regression: bool,
    /// Classes known.
    pub(super) classes: usize,
    /// Columns for the experts of tables; none for wide inputs.
    pub(super) columns: Vec<u32>,
    /// Width of the feature space where experts read the sparse bag; 0 for none.
    pub(super) sparse: usize,
    /// Width of the code; 0 where the columns are the key of the memory.
    pub(super) code: usize,
    /// The texts whose vectors by pretrained encoders are the code; none where it is another.
    pub(super) texts: TextPlaces,
    /// Whether the readout learns from codes.
    pub(super) reads_codes: bool,
    /// The sums that the readout continues from.
    pub(super) sums: Option<Sums>,
    /// How the predictions are combined.
    pub(super) mixing: Mixing,
    /// Whether a trained network is one of the experts.
    pub(super) base: bool,
    /// Memory entries a class.
    pub(super) capacity: usize,
    /// Whether the last labels are inputs.
    pub(super) labels_in_time: bool,
    /// Seed of everything random.
    pub(super) seed: u64,
}

impl MixtureShape {
    /// Whether the code is the vectors of pretrained encoders.
    pub(super) fn reads_vectors(&self) -> bool {
        !self.texts.vectors.is_empty()
    }

    /// The inputs of experts for tables; none for wide inputs.
    pub(super) fn inputs(&self) -> Option<Inputs> {
        let labels = self.labels_in_time && !self.regression;
        (!self.columns.is_empty()).then(|| Inputs::new(self.columns.clone(), labels, self.seed))
    }
}
