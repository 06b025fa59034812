//! Slots read in their order, as published for query reduction (see `nn::memory::query_reduction`).

use super::slots::{StoryConfig, embedded};
use super::training_pass::{TrainingPass, dropped};
use super::{TokenBatch, matrix};
use crate::nn::layers::gated_scan::GatedScan;
use crate::nn::memory::memory_network::{PositionEncoding, Stories};
use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use std::sync::Arc;

/// The network.
#[derive(Clone, Debug)]
pub(super) struct ReduceQuery {
    pub(super) sizes: StoryConfig,
    encoding: PositionEncoding,
    words: Tensor,
    hops: Vec<Hop>,
    readout: Tensor,
    bias: Tensor,
    plain: bool,
}

#[derive(Clone, Debug)]
struct Hop {
    slot: Tensor,
    question: Tensor,
    bias: Tensor,
    update: (Tensor, Tensor),
    reset: (Tensor, Tensor),
}

impl ReduceQuery {
    pub(super) fn new(sizes: StoryConfig, wide_gates: bool, weights: &VarBuilder<'_>) -> Result<Self> {
        let d = sizes.width;
        let gates = if wide_gates { d } else { 1 };
        let hop = |index: usize| -> Result<Hop> {
            let own = weights.pp(format!("hops.{index}"));
            Ok(Hop {
                slot: matrix(&own, d, d, "slot")?,
                question: matrix(&own, d, d, "question")?,
                bias: own.get_with_hints(d, "bias", Init::Const(0.0))?,
                // At first gates are mostly closed.
                update: (
                    matrix(&own, d, gates, "update")?,
                    own.get_with_hints(gates, "update_bias", Init::Const(-1.0))?,
                ),
                reset: (matrix(&own, d, gates, "reset")?, own.get_with_hints(gates, "reset_bias", Init::Const(1.0))?),
            })
        };
        let stdev = (1.0 / d.max(1) as f64).sqrt().max(0.1);
        Ok(Self {
            encoding: PositionEncoding::new(d, 1),
            words: weights.get_with_hints((sizes.words, d), "words", Init::Randn { mean: 0.0, stdev })?,
            hops: (0..sizes.hops).map(hop).collect::<Result<_>>()?,
            readout: matrix(weights, d, sizes.outputs, "readout")?,
            bias: weights.get_with_hints(sizes.outputs, "bias", Init::Const(0.0))?,
            sizes,
            plain: false,
        })
    }

    pub(super) fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    pub(super) fn forward(&self, tokens: &TokenBatch, mut pass: Option<&mut TrainingPass>) -> Result<Tensor> {
        let stories = Stories::new(tokens.batch(), 0..tokens.rows(), &self.sizes.story_fields);
        let Seen { slots, offsets, rows } = seen(&stories, self.sizes.slots);
        let first =
            embedded(&self.words, &self.encoding, &stories, stories.rows[..tokens.rows()].iter().map(|&s| s as usize))?;
        let slots = embedded(&self.words, &self.encoding, &stories, slots.into_iter())?;
        let slots = dropped(&mut pass, slots)?;
        let rows = Tensor::from_slice(&rows, rows.len(), tokens.device())?;
        let ends: Vec<u32> = offsets[1..].iter().map(|&end| end as u32 - 1).collect();
        let offsets = Arc::new(offsets);
        let (mut questions, mut carried) = (first.index_select(&rows, 0)?, slots.clone());
        for (index, hop) in self.hops.iter().enumerate() {
            let matches = (&slots * &questions)?;
            let gate = |(weight, bias): &(Tensor, Tensor)| sigmoid(&matches.matmul(weight)?.broadcast_add(bias)?);
            let (update, reset) = (gate(&hop.update)?, gate(&hop.reset)?);
            let candidates =
                (slots.matmul(&hop.slot)? + questions.matmul(&hop.question)?)?.broadcast_add(&hop.bias)?.tanh()?;
            let scan = |reverse: bool| {
                let scan = GatedScan { offsets: offsets.clone(), reverse };
                if self.plain {
                    scan.expression(&update, &reset, &candidates)
                } else {
                    scan.forward(&update, &reset, &candidates)
                }
            };
            carried = scan(false)?;
            if index + 1 < self.hops.len() {
                questions = (&carried + scan(true)?)?;
            }
        }
        let count = ends.len();
        let last = carried.index_select(&Tensor::from_vec(ends, count, tokens.device())?, 0)?;
        last.matmul(&self.readout)?.broadcast_add(&self.bias)
    }
}

/// Logistic function, in operations that have a gradient on every device.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// The slots that are read.
struct Seen {
    /// Their numbers within the stories.
    slots: Vec<usize>,
    /// `[rows + 1]`, in slots seen.
    offsets: Vec<usize>,
    /// The row of each.
    rows: Vec<u32>,
}

/// The latest slots of each row, at most `most`; a row without slots reads its own question once.
fn seen(stories: &Stories, most: usize) -> Seen {
    let mut seen = Seen { slots: Vec::new(), offsets: vec![0], rows: Vec::new() };
    for (row, range) in stories.rows.windows(2).enumerate() {
        let (start, end) = (range[0] as usize, range[1] as usize);
        let first = if end == start + 1 { start } else { (start + 1).max(end.saturating_sub(most)) };
        seen.slots.extend(first..end);
        seen.rows.resize(seen.slots.len(), row as u32);
        seen.offsets.push(seen.slots.len());
    }
    seen
}
