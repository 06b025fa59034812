//! Sizes of networks over stories, and descriptions of slots: sums of their words' rows, weighted by word position.

use crate::nn::memory::memory_network::{PositionEncoding, Stories};
use candle_core::{Result, Tensor};

/// Sizes of a network over stories: a question and slots, which are columns of sentences.
#[derive(Clone, Debug, PartialEq)]
pub struct StoryConfig {
    /// Words.
    pub words: usize,
    /// Numbers a slot or question is described by.
    pub width: usize,
    /// How often the question reads the slots.
    pub hops: usize,
    /// Latest slots that are read.
    pub slots: usize,
    /// Classes, or 1.
    pub outputs: usize,
    /// Which fields of the encoder hold slots; all others are the question.
    pub story_fields: Vec<bool>,
}

/// `[slots, row]` for the slots `of`, numbers within the stories: the sum of value × row of the table `[words, row]` × the
/// weights of the word's position.
pub(super) fn embedded(
    table: &Tensor,
    encoding: &PositionEncoding,
    stories: &Stories,
    of: impl ExactSizeIterator<Item = usize>,
) -> Result<Tensor> {
    let (row, device, slots) = (table.dims2()?.1, table.device(), of.len());
    let (mut words, mut places, mut at) = (Vec::new(), Vec::new(), Vec::new());
    for (number, slot) in of.enumerate() {
        let range = stories.slot(slot);
        let length = range.len();
        for (j, word) in range.enumerate() {
            words.push(stories.words[word]);
            at.push(number as u32);
            places.extend(encoding.of(length, j).iter().map(|place| place * stories.values[word]));
        }
    }
    let sum = Tensor::zeros((slots, row), table.dtype(), device)?;
    let count = words.len();
    if count == 0 {
        return Ok(sum);
    }
    let lines = table.index_select(&Tensor::from_vec(words, count, device)?, 0)?;
    let lines = (lines * Tensor::from_vec(places, (count, row), device)?.to_dtype(table.dtype())?)?;
    sum.index_add(&Tensor::from_vec(at, count, device)?, &lines, 0)
}
