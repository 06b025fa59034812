//! Sizes of a sparse network.

use super::receptive_field::ReceptiveField;
use crate::data::BinRanges;
use crate::nn::kernels::BinSums;

/// A hidden layer's sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// Units it has.
    pub units: usize,
    /// Units that win a row in each winner group.
    pub winners: usize,
    /// Groups of equally many units that compete among themselves; one in training, one a network in a merged
    /// ensemble.
    pub winner_groups: usize,
    /// The inputs of its units.
    pub receptive_field: ReceptiveField,
}

impl From<(usize, usize)> for Hidden {
    /// Units and winners of one winner group; every unit has all inputs.
    fn from((units, winners): (usize, usize)) -> Self {
        Self { units, winners, winner_groups: 1, receptive_field: ReceptiveField::All }
    }
}

/// Layer sizes of a sparse network.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseNetShape {
    /// Width of a row.
    pub inputs: usize,
    /// Hidden layers, first to last.
    pub hidden: Vec<Hidden>,
    /// Answers.
    pub outputs: usize,
    /// Whether the row also reaches the answers directly. Always so without a hidden layer.
    pub skip: bool,
    /// Inputs that are bins of numbers: layers that read the row keep running sums of their weights, so that a row may
    /// name a sum instead of every bin in it. Units must have all inputs then.
    pub bins: BinRanges,
}

impl SparseNetShape {
    /// Which lines of the layers that read the row are sums.
    pub(crate) fn sums(&self) -> BinSums {
        BinSums::new(self.inputs, &self.bins)
    }

    /// The same for rows of `inputs` entries.
    pub(crate) fn with_inputs(&self, inputs: usize) -> Self {
        Self { inputs, ..self.clone() }
    }
}

/// The name of hidden layer `index` in saved weights.
pub(crate) fn hidden_name(index: usize) -> String {
    format!("hidden.{index}")
}
