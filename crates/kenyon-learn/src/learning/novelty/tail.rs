//! How rare a score is, from the scores of familiar rows: an empirical tail, and beyond the largest score a straight
//! line.

use serde::{Deserialize, Serialize};

/// A score this far beyond the largest does not count any further, in powers of ten.
const MOST_BEYOND: f32 = 8.0;

/// At most one in so many scores is an outlier, and none where there are few.
const ONE_IN: usize = 500;
const FEWEST: usize = 20;

/// How many of the scores, ascending, remain without outliers: the few largest, where a gap `gap` times as wide as what is
/// between the middle and the score below, and that many times `least`, separates them. One of these among familiar rows
/// does not make rows like it familiar.
pub(super) fn without_outliers(scores: &[f32], gap: f32, least: f32) -> usize {
    let rows = scores.len();
    let most = if rows < FEWEST { 0 } else { (rows / ONE_IN).max(1) };
    let middle = scores.get(rows / 2).copied().unwrap_or(0.0);
    let isolated = |count: &usize| {
        let below = scores[rows - count - 1];
        scores[rows - count] - below > gap * (below - middle).max(least)
    };
    rows - (1..=most).rev().find(isolated).unwrap_or(0)
}

/// The upper tail of a score's distribution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Powers of ten between two levels.
    step: f32,
    /// The score that a share 10^(−i·step) of the rows reaches, for i = 0, 1, …
    levels: Vec<f32>,
    /// Score beyond the last level that counts for a power of ten.
    unit: f32,
}

impl Tail {
    /// Of these scores; NaN is none. `step` is the resolution in powers of ten.
    pub(super) fn of(mut scores: Vec<f32>, step: f32) -> Self {
        scores.retain(|s| !s.is_nan());
        scores.sort_by(f32::total_cmp);
        let rows = scores.len();
        if rows == 0 {
            return Self::default();
        }
        let most = (rows as f64).log10();
        let count = (most / f64::from(step)).floor() as usize + 1;
        let mut levels: Vec<f32> = (0..count)
            .map(|i| {
                let reaching = rows as f64 * 10f64.powf(-(i as f64) * f64::from(step));
                scores[rows - (reaching.round() as usize).clamp(1, rows)]
            })
            .collect();
        // The largest is the last level, whatever the step.
        levels.push(scores[rows - 1]);
        let last = scores[rows - 1];
        let decade = levels[levels.len() - 1 - ((1.0 / step) as usize).min(levels.len() - 1)];
        let unit = (last - decade).max(0.05 * last.abs()).max(1e-6);
        Self { step, levels, unit }
    }

    /// −log10 of the share of rows that score as much or more.
    pub(super) fn rarity(&self, score: f32) -> f32 {
        if score.is_nan() || self.levels.is_empty() {
            return 0.0;
        }
        let at = self.levels.partition_point(|&level| level < score);
        let whole = |at: usize| at as f32 * self.step;
        if at == 0 {
            return 0.0;
        }
        if at == self.levels.len() {
            let last = self.levels[at - 1];
            return whole(at - 1) + ((score - last) / self.unit).min(MOST_BEYOND);
        }
        let (below, above) = (self.levels[at - 1], self.levels[at]);
        whole(at - 1) + self.step * (score - below) / (above - below)
    }

    /// Whether it can have been made by [`Tail::of`].
    pub(super) fn is_consistent(&self) -> bool {
        self.levels.is_sorted() && self.levels.iter().all(|l| l.is_finite()) && self.unit.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rarity_is_the_logarithm_of_the_share_above() {
        let tail = Tail::of((1..=1000).map(|i| i as f32).collect(), 0.1);
        assert!((tail.rarity(901.0) - 1.0).abs() < 0.05 && (tail.rarity(991.0) - 2.0).abs() < 0.1);
        assert_eq!(tail.rarity(0.0), 0.0);
        assert!(tail.rarity(1000.0) > 2.8 && tail.rarity(1010.0) > tail.rarity(1001.0));
        assert!(tail.rarity(1e9) < 13.0);
        // Many rows with one score: a row with that score is as common as all of them.
        let zeros = Tail::of([vec![0.0; 90], vec![1.0; 10]].concat(), 0.1);
        assert_eq!(zeros.rarity(0.0), 0.0);
        assert!((zeros.rarity(1.0) - 1.0).abs() < 0.11 && zeros.rarity(2.0) > 2.0, "{}", zeros.rarity(1.0));
        assert_eq!(Tail::default().rarity(5.0), 0.0);
    }
}
