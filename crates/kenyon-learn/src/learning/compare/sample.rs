//! Samples of stimuli as counts of the chosen conditions, and the pairs that a sample has.
//!
//! A sample never copies a matrix: a condition drawn twice weighs twice. A pair of two copies of one
//! condition has the dissimilarity 0 by construction and is left out, as in rsatoolbox.

use crate::random::Random;

/// Pairs that are handled together.
pub(crate) const BLOCK: usize = 256;

/// Counts of the drawn conditions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Conditions of the full matrix.
    pub(crate) conditions: usize,
    /// The drawn conditions, ascending.
    pub(crate) drawn: Vec<usize>,
    /// How often each was drawn.
    pub(crate) counts: Vec<f64>,
}

impl Sample {
    /// Each of `n` conditions once.
    pub(crate) fn all(n: usize) -> Self {
        Self { conditions: n, drawn: (0..n).collect(), counts: vec![1.0; n] }
    }

    /// `n` conditions drawn with replacement.
    pub(crate) fn draw(n: usize, random: &mut Random) -> Self {
        let counts = draw_counts(n, random);
        let drawn: Vec<usize> = (0..n).filter(|&i| counts[i] > 0.0).collect();
        let counts = drawn.iter().map(|&i| counts[i]).collect();
        Self { conditions: n, drawn, counts }
    }

    /// Some conditions, each once.
    pub(crate) fn subset(n: usize, drawn: Vec<usize>) -> Self {
        Self { conditions: n, counts: vec![1.0; drawn.len()], drawn }
    }

    /// Number of different pairs.
    pub(crate) fn pairs(&self) -> usize {
        super::rdm::pairs(self.drawn.len())
    }

    /// Drawn conditions, repeated ones counted.
    pub(crate) fn size(&self) -> f64 {
        self.counts.iter().sum()
    }

    /// Number of pairs, repeated ones counted.
    pub(crate) fn weight(&self) -> f64 {
        let (sum, squares) = self.counts.iter().fold((0.0, 0.0), |(s, q), c| (s + c, q + c * c));
        (sum * sum - squares) / 2.0
    }

    /// Calls `work` with the pairs in order, [`BLOCK`] at a time.
    pub(crate) fn for_blocks(&self, mut work: impl FnMut(&Block)) {
        let mut block = Block::default();
        for a in 0..self.drawn.len() {
            let start = super::rdm::row_start(self.conditions, self.drawn[a]);
            for b in a + 1..self.drawn.len() {
                block.first.push(a as u32);
                block.second.push(b as u32);
                block.index.push(start.wrapping_add(self.drawn[b]));
                block.weight.push(self.counts[a] * self.counts[b]);
                if block.index.len() == BLOCK {
                    work(&block);
                    block.start += BLOCK;
                    block.clear();
                }
            }
        }
        if !block.index.is_empty() {
            work(&block);
        }
    }
}

/// Pairs of a sample.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Number of pairs before it.
    pub(crate) start: usize,
    /// Position of the pair's first condition among the drawn ones.
    pub(crate) first: Vec<u32>,
    /// Position of its second condition.
    pub(crate) second: Vec<u32>,
    /// Position of the pair in the full matrix.
    pub(crate) index: Vec<usize>,
    /// How often the sample has the pair.
    pub(crate) weight: Vec<f64>,
}

impl Block {
    fn clear(&mut self) {
        self.first.clear();
        self.second.clear();
        self.index.clear();
        self.weight.clear();
    }
}

/// How often each of `n` things was drawn in `n` draws with replacement.
pub(crate) fn draw_counts(n: usize, random: &mut Random) -> Vec<f64> {
    let mut counts = vec![0.0; n];
    for _ in 0..n {
        counts[random.below(n)] += 1.0;
    }
    counts
}
