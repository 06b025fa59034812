//! A solved linear readout.

use crate::nn::kernels::matrix::{MatrixShape, product};

/// `score_c = weights_c · φ + bias_c`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Readout {
    /// Inputs.
    pub(crate) width: usize,
    /// `[outputs, width]`.
    pub(crate) weights: Vec<f32>,
    /// `[outputs]`.
    pub(crate) bias: Vec<f32>,
}

impl Readout {
    /// The answers for `rows` codes, `[rows, outputs]`.
    pub(crate) fn forward(&self, codes: &[f32]) -> Vec<f32> {
        let (rows, outputs) = (codes.len() / self.width.max(1), self.bias.len());
        let mut out = self.bias.repeat(rows);
        product(
            (&mut out, MatrixShape::new(rows, outputs)),
            (codes, MatrixShape::new(rows, self.width)),
            (&self.weights, MatrixShape::new(outputs, self.width).transposed()),
            Some(1.0),
            1.0,
        );
        out
    }

    /// Multiplies all scores by `factor`; an output that never wins stays one.
    pub(crate) fn scale(&mut self, factor: f32) {
        let known = |bias: &&mut f32| **bias > -1e8;
        self.weights.iter_mut().chain(self.bias.iter_mut().filter(known)).for_each(|value| *value *= factor);
    }
}
