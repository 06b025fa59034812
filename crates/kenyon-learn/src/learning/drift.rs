//! Change detection: ADWIN (Bifet & Gavaldà 2007, "Learning from time-changing data with adaptive
//! windowing") over one number a row, such as whether the answer was wrong.
//!
//! The window is kept as an exponential histogram, so that it costs O(log n) memory; whenever two
//! of its parts differ more than chance allows, the older part is dropped.

use serde::{Deserialize, Serialize};

/// Buckets of one size before two of them are merged.
const SAME_SIZE: usize = 5;
/// Rows between two tests.
const CLOCK: u64 = 16;
/// Rows a part must have to be compared.
const SHORTEST: f64 = 16.0;
/// Rows of buckets whose means are compared to see how much they usually differ, and the fewest pairs of them.
const COMPARED: f64 = 64.0;
const FEWEST_PAIRS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bucket {
    count: f64,
    sum: f64,
    /// Sum of squared deviations from the bucket's mean.
    spread: f64,
}

/// An adaptive window over numbers in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    delta: f64,
    /// Whether a change counts only when numbers grow (errors) or in either direction (inputs).
    upwards_only: bool,
    /// Newest first; sizes are powers of two.
    buckets: Vec<Bucket>,
    seen: u64,
    changes: u64,
    last_change: Option<u64>,
}

impl Adwin {
    /// A window whose detections are false with probability `delta`, approximately.
    pub fn new(delta: f64, upwards_only: bool) -> Self {
        Self { delta, upwards_only, buckets: Vec::new(), seen: 0, changes: 0, last_change: None }
    }

    /// Adds a number; whether a change was detected.
    pub fn add(&mut self, value: f64) -> bool {
        self.seen += 1;
        self.buckets.insert(0, Bucket { count: 1.0, sum: value.clamp(0.0, 1.0), spread: 0.0 });
        self.compress();
        if !self.seen.is_multiple_of(CLOCK) {
            return false;
        }
        let changed = self.cut();
        if changed {
            self.changes += 1;
            self.last_change = Some(self.seen);
        }
        changed
    }

    /// Mean over the window.
    pub fn mean(&self) -> f64 {
        let (count, sum) = self.buckets.iter().fold((0.0, 0.0), |(n, s), b| (n + b.count, s + b.sum));
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// Rows in the window.
    pub fn window(&self) -> u64 {
        self.buckets.iter().map(|b| b.count).sum::<f64>() as u64
    }

    /// Changes so far, and the row of the last one.
    pub fn changes(&self) -> (u64, Option<u64>) {
        (self.changes, self.last_change)
    }

    fn compress(&mut self) {
        let (mut start, mut size) = (0, 1.0);
        loop {
            let run = self.buckets[start..].iter().take_while(|b| b.count == size).count();
            if run <= SAME_SIZE {
                return;
            }
            let (a, b) = (self.buckets[start + run - 2], self.buckets[start + run - 1]);
            let apart = a.sum / a.count - b.sum / b.count;
            self.buckets[start + run - 2] = Bucket {
                count: a.count + b.count,
                sum: a.sum + b.sum,
                spread: a.spread + b.spread + apart * apart * a.count * b.count / (a.count + b.count),
            };
            self.buckets.remove(start + run - 1);
            start += run - 2;
            size *= 2.0;
        }
    }

    /// How many times as much neighbouring buckets differ as independent rows would make them: rows that come in runs or
    /// follow the hour are no change. The pair that differs most may be one, and does not count.
    fn spread_of_buckets(&self, variance: f64) -> f64 {
        let pair = |pair: &[Bucket]| {
            let (a, b) = (pair[0], pair[1]);
            let usual = variance * (1.0 / a.count + 1.0 / b.count);
            (b.count >= COMPARED && a.count >= COMPARED)
                .then(|| (a.sum / a.count - b.sum / b.count).powi(2) / usual.max(1e-12))
        };
        let mut found: Vec<f64> = self.buckets.windows(2).filter_map(pair).collect();
        found.sort_by(f64::total_cmp);
        found.pop();
        if found.len() < FEWEST_PAIRS { 1.0 } else { (found.iter().sum::<f64>() / found.len() as f64).max(1.0) }
    }

    /// Drops old buckets while some cut has a significant difference; whether one counts as a change.
    fn cut(&mut self) -> bool {
        let mut changed = false;
        'again: loop {
            let total: f64 = self.buckets.iter().map(|b| b.count).sum();
            let sum: f64 = self.buckets.iter().map(|b| b.sum).sum();
            if total < 2.0 * SHORTEST {
                return changed;
            }
            let mean = sum / total;
            let squares: f64 = self.buckets.iter().map(|b| b.spread + b.count * (b.sum / b.count - mean).powi(2)).sum();
            let mut variance = squares / total;
            // Errors are examined block by block before an alarm is raised.
            if !self.upwards_only {
                variance *= self.spread_of_buckets(variance);
            }
            let confidence = (2.0 * total.ln() / self.delta).ln();
            let (mut count, mut part) = (0.0, 0.0);
            for bucket in &self.buckets {
                count += bucket.count;
                part += bucket.sum;
                let rest = total - count;
                if rest < SHORTEST {
                    break;
                }
                if count < SHORTEST {
                    continue;
                }
                let harmonic = 1.0 / count + 1.0 / rest;
                let bound = (2.0 * harmonic * variance * confidence).sqrt() + 2.0 / 3.0 * harmonic * confidence;
                let difference = part / count - (sum - part) / rest;
                if difference.abs() > bound {
                    changed |= difference > 0.0 || !self.upwards_only;
                    self.buckets.pop();
                    continue 'again;
                }
            }
            return changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn errors(rate: f32, random: &mut Random) -> f64 {
        f64::from(u8::from(random.uniform() < rate))
    }

    #[test]
    fn finds_an_abrupt_change_soon_and_nothing_where_there_is_none() {
        for seed in 1..=3 {
            let mut random = Random::new(seed);
            let mut it = Adwin::new(0.002, true);
            for row in 0..50_000 {
                assert!(!it.add(errors(0.15, &mut random)), "false alarm at {row}, seed {seed}");
            }
            let found = (1..=300).find(|_| it.add(errors(0.8, &mut random)));
            assert!(found.is_some_and(|row| row <= 300), "{found:?}");
            // After the old part is dropped, the new rate is the reference.
            for _ in 0..2_000 {
                it.add(errors(0.8, &mut random));
            }
            assert!((it.mean() - 0.8).abs() < 0.05 && it.window() < 4_000);
        }
    }

    #[test]
    fn seasons_and_runs_of_inputs_are_no_alarm_and_a_change_of_them_is() {
        for seed in 1..=3 {
            let (mut random, mut last) = (Random::new(seed), 0.0);
            let mut it = Adwin::new(0.0002, false);
            let mut value = |row: u32, shift: f64| {
                last = 0.95 * last + 0.31 * f64::from(random.normal());
                0.4 + 0.1 * (f64::from(row) * std::f64::consts::TAU / 48.0).sin() + 0.05 * last + shift
            };
            let alarms = (0..50_000).filter(|&row| it.add(value(row, 0.0))).count();
            assert!(alarms <= 1, "{alarms} alarms, seed {seed}");
            let found = (50_000..52_000).find(|&row| it.add(value(row, 0.2)));
            assert!(found.is_some_and(|row| row < 51_000), "{found:?}, seed {seed}");
        }
    }

    #[test]
    fn getting_better_is_no_alarm() {
        let mut random = Random::new(9);
        let mut it = Adwin::new(0.002, true);
        assert!((0..3_000).all(|_| !it.add(errors(0.5, &mut random))));
        assert!((0..3_000).all(|_| !it.add(errors(0.1, &mut random))));
        assert!(it.mean() < 0.15);
    }
}
