//! Descriptions of slots: sums of their words' rows, weighted by the position of each word.

use crate::nn::memory::memory_network::{PositionEncoding, Stories};
use candle_core::{Result, Tensor};

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
    let lines = (lines * Tensor::from_vec(places, (count, row), device)?)?;
    sum.index_add(&Tensor::from_vec(at, count, device)?, &lines, 0)
}
