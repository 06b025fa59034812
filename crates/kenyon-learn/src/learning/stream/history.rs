//! A stream's points for curves beside its prequential figures: when, how often conformal sets held the truth, and how
//! much is remembered.

use super::copy_on_write::CopyOnWrite;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Points of a curve that are kept; when there are twice as many, every second is dropped.
pub(super) const POINTS: usize = 200;
/// The coverage that is followed.
const COVERAGE: f64 = 0.9;
/// Rows after which the threshold of sets is computed again, and the fewest scores it needs.
const RENEWED: u64 = 32;
const FEWEST: usize = 20;
/// Rows over which coverage is a mean.
const WINDOW: f64 = 500.0;

/// What is known at one row in addition to the figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HistoryPoint {
    pub(super) row: u64,
    /// When it was observed, where that is known.
    pub(super) at: Option<Timestamp>,
    pub(super) coverage: Option<f64>,
    pub(super) memory: u64,
}

/// The points, and the running mean of the coverage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    pub(super) points: CopyOnWrite<Vec<HistoryPoint>>,
    stride: u64,
    threshold: Option<f32>,
    judged: u64,
    coverage: f64,
}

impl Default for History {
    fn default() -> Self {
        Self { points: CopyOnWrite::default(), stride: 10, threshold: None, judged: 0, coverage: 0.0 }
    }
}

impl History {
    /// A row's score is known; `scores` are those of the rows before it.
    pub(super) fn score(&mut self, score: f32, scores: &[f32], labelled: u64) {
        if labelled.is_multiple_of(RENEWED) || self.threshold.is_none() {
            self.threshold = threshold(scores);
        }
        let Some(threshold) = self.threshold else { return };
        self.judged += 1;
        let held = f64::from(u8::from(score <= threshold));
        self.coverage += (held - self.coverage) / (self.judged as f64).min(WINDOW);
    }

    /// Keeps a point where the figures keep one: at every so many labelled rows.
    pub(super) fn point(&mut self, row: u64, at: Option<Timestamp>, memory: usize) {
        if !row.is_multiple_of(self.stride) {
            return;
        }
        let coverage = Some(self.coverage).filter(|_| self.judged >= 2 * RENEWED);
        self.points.push(HistoryPoint { row, at, coverage, memory: memory as u64 });
        if self.points.len() >= 2 * POINTS {
            self.stride *= 2;
            let stride = self.stride;
            self.points.retain(|point| point.row.is_multiple_of(stride));
        }
    }

    /// The point at a row.
    pub(super) fn at(&self, row: u64) -> Option<&HistoryPoint> {
        self.points.binary_search_by_key(&row, |point| point.row).ok().map(|at| &self.points[at])
    }
}

/// The conformal threshold: the score that a new row exceeds with probability `1 - COVERAGE` at most.
fn threshold(scores: &[f32]) -> Option<f32> {
    if scores.len() < FEWEST {
        return None;
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    let rank = ((sorted.len() + 1) as f64 * COVERAGE).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn coverage_is_as_asked_and_falls_when_errors_grow() {
        let mut random = Random::new(2);
        let (mut history, mut scores) = (History::default(), Vec::new());
        let mut observe = |rows: std::ops::RangeInclusive<u64>, scale: f32, history: &mut History| {
            for row in rows {
                let score = random.uniform() * scale;
                history.score(score, &scores[scores.len().saturating_sub(512)..], row);
                scores.push(score);
                history.point(row, Timestamp::from_second(row as i64).ok(), 3);
            }
        };
        observe(1..=5_000, 1.0, &mut history);
        assert!((history.coverage - 0.9).abs() < 0.04, "{}", history.coverage);
        observe(5_001..=5_100, 3.0, &mut history);
        assert!(history.coverage < 0.86, "{}", history.coverage);
        assert!(history.points.len() < 2 * POINTS && history.points[0].coverage.is_none());
        let point = history.at(5_040).expect("a point");
        assert_eq!((point.at, point.memory), (Timestamp::from_second(5_040).ok(), 3));
    }
}
