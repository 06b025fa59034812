//! Sizes of networks over stories, and descriptions of slots: sums of their words' rows, weighted by word position.

use crate::nn::layers::word_sums::WordSums;
use crate::nn::memory::memory_network::{PositionEncoding, Stories};

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

/// The words of the slots `of`, numbers within the stories, for tables with rows of `row` numbers.
pub(super) fn words(
    encoding: &PositionEncoding,
    stories: &Stories,
    of: impl ExactSizeIterator<Item = usize>,
    row: usize,
) -> WordSums {
    let mut sums = WordSums { offsets: vec![0], ..WordSums::default() };
    for slot in of {
        let range = stories.slot(slot);
        let length = range.len();
        sums.places.reserve(length * row);
        (0..length).for_each(|j| sums.places.extend_from_slice(encoding.of(length, j)));
        sums.words.extend_from_slice(&stories.words[range.clone()]);
        sums.values.extend_from_slice(&stories.values[range]);
        sums.offsets.push(sums.words.len());
    }
    sums
}
