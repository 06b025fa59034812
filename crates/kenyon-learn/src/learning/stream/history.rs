//! A stream's points for curves beside its prequential figures: when, how often conformal sets held the truth, and how
//! much is remembered.

use super::copy_on_write::CopyOnWrite;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Points of a curve that are kept; when there are twice as many, every second is dropped.
pub(super) const POINTS: usize = 200;
/// Compared rows from which on coverage is shown.
const FEWEST: u64 = 64;
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
    #[serde(rename = "judged")]
    answers: u64,
    coverage: f64,
}

impl Default for History {
    fn default() -> Self {
        Self { points: CopyOnWrite::default(), stride: 10, answers: 0, coverage: 0.0 }
    }
}

impl History {
    /// Whether the set or interval of an answer held the truth.
    pub(super) fn held(&mut self, held: bool) {
        self.answers += 1;
        self.coverage += (f64::from(u8::from(held)) - self.coverage) / (self.answers as f64).min(WINDOW);
    }

    /// The running mean of the coverage, once it is known.
    pub(super) fn coverage(&self) -> Option<f64> {
        Some(self.coverage).filter(|_| self.answers >= FEWEST)
    }

    /// Keeps a point where the figures keep one: at every so many labelled rows.
    pub(super) fn point(&mut self, row: u64, at: Option<Timestamp>, memory: usize) {
        if !row.is_multiple_of(self.stride) {
            return;
        }
        let coverage = self.coverage();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn coverage_is_that_of_the_newest_rows() {
        let mut random = Random::new(2);
        let mut history = History::default();
        let mut observe = |rows: std::ops::RangeInclusive<u64>, share: f32, history: &mut History| {
            for row in rows {
                history.held(random.uniform() < share);
                history.point(row, Timestamp::from_second(row as i64).ok(), 3);
            }
        };
        observe(1..=5_000, 0.9, &mut history);
        assert!((history.coverage - 0.9).abs() < 0.04, "{}", history.coverage);
        observe(5_001..=5_100, 0.4, &mut history);
        assert!(history.coverage < 0.86, "{}", history.coverage);
        assert!(history.points.len() < 2 * POINTS && history.points[0].coverage.is_none());
        let point = history.at(5_040).expect("a point");
        assert_eq!((point.at, point.memory), (Timestamp::from_second(5_040).ok(), 3));
    }
}
