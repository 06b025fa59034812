//! All slots read at once, as published for end-to-end memory networks (see `nn::memory::memory_network`).

use super::slots::{StoryConfig, words};
use super::{TokenBatch, TrainingPass};
use crate::nn::layers::attention::masked_softmax;
use crate::nn::layers::padding::Padding;
use crate::nn::memory::memory_network::{PositionEncoding, Stories};
use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// The network.
#[derive(Clone, Debug)]
pub(super) struct ReadSlots {
    pub(super) sizes: StoryConfig,
    linear: bool,
    encoding: PositionEncoding,
    words: Tensor,
    time: Tensor,
    readout: Tensor,
    bias: Tensor,
}

impl ReadSlots {
    pub(super) fn new(sizes: StoryConfig, linear: bool, weights: &VarBuilder<'_>) -> Result<Self> {
        let (tables, d) = (sizes.hops + 1, sizes.width);
        let small = Init::Randn { mean: 0.0, stdev: 0.1 };
        Ok(Self {
            linear,
            encoding: PositionEncoding::new(d, tables),
            words: weights.get_with_hints((sizes.words, tables, d), "words", small)?,
            time: weights.get_with_hints((sizes.slots, tables, d), "time", small)?,
            readout: weights.get_with_hints((sizes.outputs, d), "readout", small)?,
            bias: weights.get_with_hints(sizes.outputs, "bias", Init::Const(0.0))?,
            sizes,
        })
    }

    /// Answers, and the last state of each row.
    pub(super) fn forward(&self, tokens: &TokenBatch, mut pass: Option<&mut TrainingPass>) -> Result<(Tensor, Tensor)> {
        let StoryConfig { words: rows, width: d, hops, slots: most, .. } = self.sizes;
        let stories = Stories::new(tokens.batch(), 0..tokens.rows(), &self.sizes.story_fields);
        let row = (hops + 1) * d;
        let table = self.words.reshape((rows, row))?;
        let questions = stories.rows[..tokens.rows()].iter().map(|&slot| slot as usize);
        let mut state =
            words(&self.encoding, &stories, questions, row).forward(&table)?.narrow(1, 0, d)?.contiguous()?;
        // Time runs backwards from the latest slot; in training it skips a step now and then.
        let (mut seen, mut times, mut offsets) = (Vec::new(), Vec::new(), vec![0]);
        for range in stories.rows.windows(2) {
            let mut time = 0;
            for slot in (range[0] as usize + 1..range[1] as usize).rev() {
                time += u32::from(pass.as_mut().is_some_and(|pass| pass.skips()));
                if time as usize >= most {
                    break;
                }
                seen.push(slot);
                times.push(time);
                time += 1;
            }
            offsets.push(seen.len());
        }
        let count = times.len();
        if count == 0 {
            return Ok((self.answers(&state)?, state));
        }
        let time =
            self.time.reshape((most, row))?.index_select(&Tensor::from_vec(times, count, tokens.device())?, 0)?;
        let slots = (words(&self.encoding, &stories, seen.into_iter(), row).forward(&table)? + time)?;
        let padding = Padding::new(&offsets, tokens.device())?;
        let slots = padding.pad(&slots)?;
        for hop in 0..hops {
            let part = |table: usize| slots.narrow(2, table * d, d)?.contiguous();
            let scores = part(hop)?.matmul(&state.unsqueeze(2)?)?.squeeze(2)?;
            let reads = if self.linear { scores } else { masked_softmax(&scores, padding.mask())? };
            // Where there is no slot, its value is 0.
            state = (state + reads.unsqueeze(1)?.matmul(&part(hop + 1)?)?.squeeze(1)?)?;
        }
        Ok((self.answers(&state)?, state))
    }

    fn answers(&self, state: &Tensor) -> Result<Tensor> {
        state.matmul(&self.readout.t()?)?.broadcast_add(&self.bias)
    }
}
