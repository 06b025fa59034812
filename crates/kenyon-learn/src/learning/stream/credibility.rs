//! How much the experts learn from a row: a single outlier or a wrong label far from everything must not cost accuracy for
//! hundreds of rows, and a real change must be learned (bounded influence, Huber 1981, "Robust Statistics").

use super::experts::Truth;
use super::inputs::CLIPPED;
use super::shape::StreamRow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a row with a clipped number counts.
const OUTLIER: f32 = 0.02;
/// Usual errors up to which a row counts in full, and the share by which the usual error follows a row.
const USUAL: f32 = 5.0;
const PACE: f32 = 0.05;
/// A number that is far from the mean in more rows than this, and in more than one row of so many, is usual in its
/// column, for example a flag that is seldom set.
const FEW: u32 = 3;
const SELDOM: u64 = 1_000;
/// Rows from which on the usual error is known.
const KNOWN: u32 = 20;

/// The usual error of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Credibility {
    rows: u32,
    error: f32,
    /// Whether all rows count in full, as in streams of 0.1.
    fixed: bool,
    /// Rows that were compared with the usual numbers, and in how many of them a column's number was clipped, by its feature.
    #[serde(default)]
    #[serde(rename = "judged")]
    compared: u64,
    #[serde(default)]
    clipped: BTreeMap<u32, u32>,
}

impl Credibility {
    /// Of a stream that version 0.1 began.
    pub(super) fn fixed() -> Self {
        Self { fixed: true, ..Self::default() }
    }

    /// Whether an error is beyond those that count in full.
    pub(super) fn is_unusual(&self, error: f32) -> bool {
        self.rows > KNOWN && error.abs() > USUAL * self.error.max(1e-9)
    }

    /// Whether a clipped number of this feature is unusual in its column.
    pub(super) fn is_outlier(&self, feature: u32) -> bool {
        let rows = self.clipped.get(&feature).copied().unwrap_or_default();
        self.fixed || rows <= FEW || u64::from(rows) * SELDOM < self.compared
    }

    /// Whether a number of the row is far from all usual ones of its column.
    fn has_outlier(&mut self, row: StreamRow<'_>) -> bool {
        self.compared += 1;
        let mut found = false;
        for (&feature, _) in row.indices.iter().zip(row.values).filter(|(_, value)| value.abs() >= CLIPPED) {
            found |= self.is_outlier(feature);
            *self.clipped.entry(feature).or_default() += 1;
        }
        found
    }

    /// What a row counts, in `(0, 1]`, whose prediction was `answer`; `numbers` means that its entries are columns.
    pub(super) fn of(&mut self, row: StreamRow<'_>, truth: Truth, answer: &[f32], numbers: bool) -> f32 {
        if self.fixed {
            return 1.0;
        }
        let input = if numbers && self.has_outlier(row) { OUTLIER } else { 1.0 };
        let (Truth::Value(value), Some(answer)) = (truth, answer.first()) else { return input };
        let error = (value - answer).abs();
        self.rows = (self.rows + 1).min(KNOWN + 1);
        if self.rows <= KNOWN {
            self.error += (error - self.error) / self.rows as f32;
            return input;
        }
        let most = USUAL * self.error.max(1e-9);
        // Errors that stay large widen what is usual by a fifth with each row.
        self.error += PACE * (error.min(most) - self.error);
        input * (most / error.max(1e-9)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_counts_little_and_a_change_soon_in_full() {
        let mut it = Credibility::default();
        let mut one = |error: f32, input: f32| {
            let values = [input, 1.0];
            it.of(
                StreamRow { indices: &[0, 1], values: &values, ..StreamRow::default() },
                Truth::Value(error),
                &[0.0],
                true,
            )
        };
        (0..100).for_each(|i| assert_eq!(one(0.5 + 0.01 * (i % 10) as f32, 1.0), 1.0));
        assert!(one(1_000.0, 1.0) < 0.01 && one(0.5, 8.0) <= OUTLIER);
        let weights: Vec<f32> = (0..30).map(|_| one(50.0, 1.0)).collect();
        assert!(weights[0] < 0.1 && weights[20] == 1.0, "{weights:?}");
        let class = StreamRow { indices: &[4], values: &[8.0], ..StreamRow::default() };
        assert_eq!(it.of(class, Truth::Class(0), &[0.1, 0.9], true), OUTLIER);
        assert_eq!(it.of(class, Truth::Class(0), &[0.1, 0.9], false), 1.0);
        // One row of ten is no outlier.
        let mut flagged = |row: u32| {
            let values = [if row.is_multiple_of(10) { 8.0 } else { -0.1 }];
            it.of(
                StreamRow { indices: &[2], values: &values, ..StreamRow::default() },
                Truth::Class(0),
                &[0.1, 0.9],
                true,
            )
        };
        let counted: Vec<f32> = (0..100).map(&mut flagged).collect();
        assert_eq!((counted[0], counted[30], counted[40], counted[90]), (OUTLIER, OUTLIER, 1.0, 1.0));
        assert_eq!(Credibility::fixed().of(class, Truth::Class(0), &[0.1, 0.9], true), 1.0);
    }
}
