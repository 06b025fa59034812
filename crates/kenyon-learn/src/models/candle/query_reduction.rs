//! Slots read in their order, as published for query reduction (see `nn::memory::query_reduction`).

use super::slots::{StoryConfig, words};
use super::training_pass::{TrainingPass, dropped};
use super::{TokenBatch, matrix};
use crate::nn::layers::activation::Activation;
use crate::nn::layers::dense_linear::DenseLinear;
use crate::nn::layers::gated_scan::GatedScan;
use crate::nn::layers::word_sums::WordSums;
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
    readout: DenseLinear,
    plain: bool,
}

#[derive(Clone, Debug)]
struct Hop {
    slot: DenseLinear,
    question: DenseLinear,
    update: DenseLinear,
    reset: DenseLinear,
}

impl ReduceQuery {
    pub(super) fn new(sizes: StoryConfig, wide_gates: bool, weights: &VarBuilder<'_>) -> Result<Self> {
        let d = sizes.width;
        let gates = if wide_gates { d } else { 1 };
        let hop = |index: usize| -> Result<Hop> {
            let own = weights.pp(format!("hops.{index}"));
            let linear = |name: &str, outputs: usize, bias: Option<(&str, f64)>| -> Result<DenseLinear> {
                let bias = bias.map(|(name, value)| own.get_with_hints(outputs, name, Init::Const(value)));
                Ok(DenseLinear { weight: matrix(&own, d, outputs, name)?, bias: bias.transpose()? })
            };
            Ok(Hop {
                slot: linear("slot", d, Some(("bias", 0.0)))?,
                question: linear("question", d, None)?,
                // At first gates are mostly closed.
                update: linear("update", gates, Some(("update_bias", -1.0)))?,
                reset: linear("reset", gates, Some(("reset_bias", 1.0)))?,
            })
        };
        let stdev = (1.0 / d.max(1) as f64).sqrt().max(0.1);
        Ok(Self {
            encoding: PositionEncoding::new(d, 1),
            words: weights.get_with_hints((sizes.words, d), "words", Init::Randn { mean: 0.0, stdev })?,
            hops: (0..sizes.hops).map(hop).collect::<Result<_>>()?,
            readout: DenseLinear {
                weight: matrix(weights, d, sizes.outputs, "readout")?,
                bias: Some(weights.get_with_hints(sizes.outputs, "bias", Init::Const(0.0))?),
            },
            sizes,
            plain: false,
        })
    }

    pub(super) fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    /// Answers, and the last state of each row.
    pub(super) fn forward(&self, tokens: &TokenBatch, mut pass: Option<&mut TrainingPass>) -> Result<(Tensor, Tensor)> {
        let stories = Stories::new(tokens.batch(), 0..tokens.rows(), &self.sizes.story_fields);
        let LatestSlots { slots, offsets, rows } = latest_slots(&stories, self.sizes.slots);
        let first = stories.rows[..tokens.rows()].iter().map(|&slot| slot as usize);
        let first = self.described(words(&self.encoding, &stories, first, self.sizes.width))?;
        let slots = self.described(words(&self.encoding, &stories, slots.into_iter(), self.sizes.width))?;
        let slots = dropped(&mut pass, slots)?;
        let rows = Tensor::from_slice(&rows, rows.len(), tokens.device())?;
        let ends: Vec<u32> = offsets[1..].iter().map(|&end| end as u32 - 1).collect();
        let offsets = Arc::new(offsets);
        let (mut questions, mut carried) = (first.index_select(&rows, 0)?, slots.clone());
        for (index, hop) in self.hops.iter().enumerate() {
            let matches = (&slots * &questions)?;
            let gate = |layer: &DenseLinear| self.activated(Activation::Sigmoid, &self.linear(layer, &matches)?);
            let (update, reset) = (gate(&hop.update)?, gate(&hop.reset)?);
            let candidates = (self.linear(&hop.slot, &slots)? + self.linear(&hop.question, &questions)?)?;
            let candidates = self.activated(Activation::Tanh, &candidates)?;
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
        Ok((self.linear(&self.readout, &last)?, last))
    }

    fn described(&self, sums: WordSums) -> Result<Tensor> {
        if self.plain { sums.expression(&self.words) } else { sums.forward(&self.words) }
    }

    fn linear(&self, layer: &DenseLinear, x: &Tensor) -> Result<Tensor> {
        if self.plain { layer.expression(x) } else { layer.forward(x) }
    }

    fn activated(&self, function: Activation, x: &Tensor) -> Result<Tensor> {
        if self.plain { function.expression(x) } else { function.forward(x) }
    }
}

/// The slots that are read.
struct LatestSlots {
    /// Their numbers within the stories.
    slots: Vec<usize>,
    /// `[rows + 1]`, in slots read.
    offsets: Vec<usize>,
    /// The row of each.
    rows: Vec<u32>,
}

/// The latest slots of each row, at most `most`; a row without slots reads its own question once.
fn latest_slots(stories: &Stories, most: usize) -> LatestSlots {
    let mut latest_slots = LatestSlots { slots: Vec::new(), offsets: vec![0], rows: Vec::new() };
    for (row, range) in stories.rows.windows(2).enumerate() {
        let (start, end) = (range[0] as usize, range[1] as usize);
        let first = if end == start + 1 { start } else { (start + 1).max(end.saturating_sub(most)) };
        latest_slots.slots.extend(first..end);
        latest_slots.rows.resize(latest_slots.slots.len(), row as u32);
        latest_slots.offsets.push(latest_slots.slots.len());
    }
    latest_slots
}
