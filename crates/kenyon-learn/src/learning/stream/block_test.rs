//! How far blocks of rows are from each other, and which distance is a change.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Parts of the first block that are compared with the rest of it.
const PARTS: usize = 10;
/// How many blocks their distance counts as, and the deviation of blocks in distances until blocks were seen.
const PRIOR: f64 = 6.0;
const DEVIATION: f64 = 0.4;
/// The least deviation, in distances.
const LEAST_DEVIATION: f64 = 0.2;
/// Distances have longer tails than normal numbers: they are compared at this share of the level.
const STRICTER: f64 = 0.3;

/// The share of rows by which two samples of counts differ (total variation).
pub(super) fn distance(before: &[f64], after: &[f64]) -> f64 {
    let (past, now) = (before.iter().sum::<f64>().max(1e-9), after.iter().sum::<f64>().max(1e-9));
    before.iter().zip(after).map(|(b, a)| (b / past - a / now).abs()).sum::<f64>() / 2.0
}

/// Distances of blocks to the rows before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Distances {
    count: f64,
    mean: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

impl Distances {
    /// What is expected from one block, given the bins of its rows: distances of its parts, which fall with the root of
    /// the number of rows.
    pub(super) fn within(bins: &[usize], count: usize) -> Self {
        let part = (bins.len() / PARTS).max(1);
        let counts = |rows: &[usize]| {
            let mut counts = vec![0.0; count];
            rows.iter().for_each(|&bin| counts[bin] += 1.0);
            counts
        };
        let whole = counts(bins);
        let one = |rows: &[usize]| {
            let own = counts(rows);
            let rest: Vec<f64> = whole.iter().zip(&own).map(|(whole, own)| whole - own).collect();
            distance(&rest, &own)
        };
        let found: Vec<f64> = bins.chunks_exact(part).take(PARTS).map(one).collect();
        if found.len() < PARTS {
            return Self::default();
        }
        // At least what chance makes of as many independent rows: the hours of a day, one after the other, are the same in
        // every part, and any remainder of a day would be a change.
        let rows = bins.len() as f64;
        let deviation = |count: &f64| (2.0 * count / rows * (1.0 - count / rows) / (PI * rows)).sqrt();
        let chance = whole.iter().map(deviation).sum::<f64>() / 2.0;
        let mean = chance.max(found.iter().sum::<f64>() / (found.len() as f64 * (PARTS as f64).sqrt()));
        Self { count: PRIOR, mean, squares: PRIOR * (DEVIATION * mean).powi(2) }
    }

    /// The one of larger distances.
    pub(super) fn or_larger(self, other: Self) -> Self {
        if other.mean > self.mean { other } else { self }
    }

    /// Whether a distance is a change at this level. It counts as the largest that is none, so that changes that come again
    /// and again become usual.
    pub(super) fn is_unusual(&mut self, distance: f64, level: f64) -> bool {
        let limit = if self.count < PRIOR { f64::INFINITY } else { self.limit(level * STRICTER) };
        let counted = distance.min(limit);
        self.count += 1.0;
        let before = counted - self.mean;
        self.mean += before / self.count;
        self.squares += before * (counted - self.mean);
        distance > limit
    }

    /// The distance that one more block exceeds with probability `level`, as if distances were normal.
    fn limit(&self, level: f64) -> f64 {
        let freedom = self.count - 1.0;
        let deviation = (self.squares / freedom).sqrt().max(LEAST_DEVIATION * self.mean);
        self.mean + student_quantile(level, freedom) * deviation * (1.0 + 1.0 / self.count).sqrt()
    }
}

/// What a number of Student's distribution exceeds with probability `level`: its square is Fisher's F, whose cube root is
/// nearly normal (Paulson 1942). Too large rather than too small for few degrees of freedom.
fn student_quantile(level: f64, freedom: f64) -> f64 {
    let z = normal_quantile(2.0 * level);
    let (a, b) = (2.0 / 9.0, 2.0 / (9.0 * freedom));
    // Solves ((1 − b) x − (1 − a)) / √(b x² + a) = z for the cube root x of F.
    let (p, q) = (1.0 - b, 1.0 - a);
    let square = p * p - z * z * b;
    if square <= 0.0 {
        return f64::INFINITY;
    }
    let root = (p * p * q * q - square * (q * q - z * z * a)).max(0.0).sqrt();
    ((p * q + root) / square).powf(1.5)
}

/// What a standard normal number exceeds with probability `level` < 1/2 (Abramowitz & Stegun 26.2.23).
fn normal_quantile(level: f64) -> f64 {
    let t = (-2.0 * level.ln()).sqrt();
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        assert!((normal_quantile(1e-3) - 3.0902).abs() < 1e-3);
        // Student's t with 40 and 10 degrees of freedom.
        assert!((student_quantile(5e-4, 40.0) - 3.551).abs() < 0.1, "{}", student_quantile(5e-4, 40.0));
        assert!((student_quantile(5e-3, 10.0) - 3.169).abs() < 0.2, "{}", student_quantile(5e-3, 10.0));
    }

    #[test]
    fn distances_far_beyond_the_usual_are_changes() {
        let mut usual = Distances::within(&(0..1_000).map(|row| row * 7 % 10).collect::<Vec<_>>(), 10);
        for block in 0..20 {
            assert!(!usual.is_unusual(0.05 + 0.002 * f64::from(block % 5), 1e-3), "{usual:?}");
        }
        assert!(usual.is_unusual(0.2, 1e-3) && !usual.is_unusual(0.055, 1e-3));
        assert!(!Distances::default().is_unusual(0.9, 1e-3));
        assert_eq!(distance(&[2.0, 2.0], &[0.0, 1.0]), 0.5);
    }
}
