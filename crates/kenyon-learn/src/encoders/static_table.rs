//! Static encoders in the format of model2vec: a vector a token, and the mean of a text's tokens as its vector.

use super::pooling::normalise;
use super::refused;
use super::weights::Weights;
use crate::Result;

/// A vector for every token.
pub(super) struct StaticTable {
    width: usize,
    /// `[rows, width]`.
    vectors: Vec<f32>,
    /// The row of each token, where tokens share rows.
    rows: Vec<u32>,
    /// The weight of each token, where they have some.
    weights: Vec<f32>,
    unit_length: bool,
}

/// The names a table of vectors has: model2vec's, and sentence-transformers'.
pub(super) const TABLES: [&str; 2] = ["embeddings", "embedding.weight"];

impl StaticTable {
    /// Reads the table named `table`.
    pub(super) fn open(weights: &mut Weights, table: &str, unit_length: bool) -> Result<Self> {
        let [rows, width] = *weights.shape(table).unwrap_or_default() else {
            return Err(refused(format!("{table} must have two dimensions")));
        };
        if rows == 0 || width == 0 || width > 8192 {
            return Err(refused(format!("{table} is {rows} vectors of {width} numbers")));
        }
        let optional = |name: &str, weights: &Weights| match weights.shape(name) {
            Some([length]) => Some(*length),
            _ => None,
        };
        let mapped = optional("mapping", weights);
        let shared = mapped.map(|n| weights.take_indices("mapping", &[n])).transpose()?.unwrap_or_default();
        let weighted = optional("weights", weights);
        let factors = weighted.map(|n| weights.take("weights", &[n])).transpose()?.unwrap_or_default();
        let tokens = mapped.unwrap_or(rows);
        if shared.iter().any(|row| *row as usize >= rows) || weighted.is_some_and(|n| n != tokens) {
            return Err(refused("mapping, weights and embeddings do not fit each other"));
        }
        let vectors = weights.take(table, &[rows, width])?;
        Ok(Self { width, vectors, rows: shared, weights: factors, unit_length })
    }

    /// How many tokens it has.
    pub(super) fn tokens(&self) -> usize {
        if self.rows.is_empty() { self.vectors.len() / self.width } else { self.rows.len() }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        (self.vectors.len() + self.rows.len() + self.weights.len()) * 4
    }

    /// The vector of a text; zeros for one without a known token.
    pub(super) fn of(&self, ids: &[u32], out: &mut [f32]) {
        out.fill(0.0);
        for &id in ids {
            let row = self.rows.get(id as usize).copied().unwrap_or(id) as usize;
            let weight = self.weights.get(id as usize).copied().unwrap_or(1.0);
            let vector = &self.vectors[row * self.width..][..self.width];
            out.iter_mut().zip(vector).for_each(|(o, v)| *o += weight * v);
        }
        let count = ids.len().max(1) as f32;
        out.iter_mut().for_each(|o| *o /= count);
        if self.unit_length {
            normalise(out);
        }
    }
}
