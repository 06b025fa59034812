//! What a network reports beside its outputs: explanations, retrieved rows, and the activity of its layers.

use super::Network;
use crate::Result;
use crate::data::Batch;
use serde::Serialize;

/// Terms of an answer. `bias` plus the sum of `entries` is the logit (or standardised value).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// What the answer would be without any input.
    pub bias: f32,
    /// Contribution of each entry of the row, in the batch's order of entries.
    pub entries: Vec<f32>,
    /// For families with attention: one weight a token of the row (of the last hop), summing to 1.
    pub attention: Vec<f32>,
    /// What each token adds to the answer, by [`leave_one_out`]; empty unless requested.
    pub leave_one_out: Vec<f32>,
    /// Units that were active, strongest first: (unit, activation).
    pub active_units: Vec<(u32, f32)>,
    /// For families with a memory: retrieved entries, most similar first.
    pub memories: Vec<Recalled>,
}

/// How much lower output `output` of a row is without the contents of one of its tokens, a number a token.
/// The token's position is kept, so that those after it keep theirs.
pub fn leave_one_out(network: &dyn Network, batch: &Batch, row: usize, output: usize) -> Result<Vec<f32>> {
    let tokens = batch.row(row);
    let mut without = Batch { bins: batch.bins.clone(), ..Batch::new() };
    // The unchanged row comes first.
    for gone in std::iter::once(None).chain(tokens.clone().map(Some)) {
        for token in tokens.clone() {
            let (indices, values) = batch.token(token);
            if gone != Some(token) {
                indices.iter().zip(values).for_each(|(&index, &value)| without.push_entry(index, value));
            }
            without.end_token(batch.fields.get(token).copied().unwrap_or_default());
        }
        without.end_row();
    }
    let answers = network.forward(&without)?;
    let of: Vec<f32> = answers.chunks_exact(network.outputs().max(1)).map(|answer| answer[output]).collect();
    Ok(of[1..].iter().map(|answer| of[0] - answer).collect())
}

/// Memories an explanation lists at most.
pub const RECALLED: usize = 5;

/// A memory entry that a row retrieved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// Its number in the memory.
    pub id: u64,
    /// Its class id, or its standardised value.
    pub outcome: f32,
    /// Cosine of its key and the row's.
    pub similarity: f32,
    /// The stored row.
    pub row: RecalledRow,
}

/// A stored row, as far as it was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RecalledRow {
    /// Not at all: a class's mean, for example.
    #[default]
    None,
    /// As the JSON that was sent.
    Text(Box<str>),
    /// As (feature, value) entries.
    Entries(Vec<(u32, f32)>),
}

/// A layer's activity over some rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LayerActivity {
    /// Its name.
    pub name: String,
    /// Units it has.
    pub units: usize,
    /// Units active a row, on average.
    pub winners: f64,
    /// `winners / units`.
    pub active_share: f64,
    /// Units active in none of the rows.
    pub dead_units: usize,
    /// Share of the rows each unit was active in, `[units]`.
    #[serde(skip)]
    pub duty: Vec<f32>,
}

/// The work of a network, per row.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Activity {
    /// Layers in order.
    pub layers: Vec<LayerActivity>,
    /// Multiply-accumulates of the dense network of the same size.
    pub dense_macs: f64,
    /// Multiply-accumulates with both operands non-zero.
    pub effective_macs: f64,
    /// Comparisons to find the winners (NeuroBench leaves them out).
    pub top_k_operations: f64,
    /// Multiply-accumulates of memory search (left out there, too).
    pub memory_macs: f64,
    /// Bytes of weights and memories.
    pub bytes: u64,
}
