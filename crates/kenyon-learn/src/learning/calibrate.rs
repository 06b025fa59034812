//! Calibration: temperature, conformal sets and intervals, all fitted on rows the network has not learned from.
//!
//! Sets and intervals hold the truth with the requested coverage on exchangeable rows, not after a change of the distribution.

mod ensemble;
mod intervals;
mod sets;
mod temperature;

pub use ensemble::Unseen;
pub use intervals::{ErrorModel, OutOfFold, TargetSpan};
pub(in crate::learning) use sets::score;
pub use sets::{RAPS_FROM, SetOptions};
pub use temperature::{fit_temperature, log_loss};

use crate::nn::probability::{argmax, softmax_with_temperature};
use serde::{Deserialize, Serialize};

/// Order statistics kept of the calibration scores; more rows are thinned to this many.
const MAX_SCORES: usize = 4096;

/// The calibration of a network, fitted on held-out rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Logits are divided by it; 1 for regression.
    pub temperature: f32,
    /// Conformity scores in ascending order: of the true class, or absolute standardised errors.
    pub scores: Vec<f32>,
    /// Held-out rows the scores came from.
    pub rows: usize,
    /// The scores of sets that always have the likeliest class, ascending: 0 where that is the true one. They are kept from
    /// [`RAPS_FROM`] classes on; without them such sets are those that may be empty, with the likeliest class added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likeliest_scores: Vec<f32>,
    /// The same scores by true class, each in ascending order; empty for numbers, for very many classes, and in models
    /// from before they were stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_scores: Vec<Vec<f32>>,
    /// Held-out rows of each class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_rows: Vec<usize>,
    /// How the size of errors varies from row to row; none in models from before it was stored: all rows have one width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorModel>,
    /// The range of the training rows' targets, and of those that a stream has observed; for regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetSpan>,
    /// Of a stream: requested coverages, ascending, and the quantile that gives each at present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapted: Vec<[f64; 2]>,
}

impl Calibration {
    /// Fits on held-out `logits` `[rows, classes]` and their classes.
    pub fn classification(logits: &[f32], classes: usize, truths: &[u32]) -> Self {
        Self::of_ensemble(Unseen { one: logits, two: None, members: 1, drawn: false }, classes, truths)
    }

    /// The same of an ensemble whose members have not learned the held-out rows, each for other rows.
    pub fn of_ensemble(unseen: Unseen<'_>, classes: usize, truths: &[u32]) -> Self {
        let temperature = unseen.temperature(classes, truths);
        let scores = |logits: &[f32]| -> Vec<f32> {
            let mut row = vec![0.0; classes];
            let scored = logits.chunks_exact(classes).zip(truths).map(|(logits, &truth)| {
                row.copy_from_slice(logits);
                softmax_with_temperature(&mut row, temperature);
                sets::score(&row, truth as usize)
            });
            scored.collect()
        };
        let (one, two) = (scores(unseen.one), unseen.two.map(scores));
        let mut it = Self { temperature, rows: one.len(), ..Self::default() };
        it.keep_by_class(&unseen, (&one, two.as_deref()), truths, classes);
        if classes >= RAPS_FROM {
            let zeroed = |logits: &[f32], scores: &[f32]| -> Vec<f32> {
                let rows = logits.chunks_exact(classes).zip(truths).zip(scores);
                rows.map(|((logits, &truth), &score)| if argmax(logits) == truth as usize { 0.0 } else { score })
                    .collect()
            };
            let of_two = unseen.two.zip(two.as_deref()).map(|(logits, scores)| zeroed(logits, scores));
            it.likeliest_scores = thin(unseen.scores(zeroed(unseen.one, &one), of_two), MAX_SCORES);
        }
        it.scores = thin(unseen.scores(one, two), MAX_SCORES);
        it
    }

    /// Of a network without held-out rows: probabilities as they are, and sets without a guarantee.
    pub fn none() -> Self {
        Self { temperature: 1.0, ..Self::default() }
    }

    /// Fits on held-out standardised answers and truths.
    pub fn regression(answers: &[f32], truths: &[f32]) -> Self {
        Self::of_mean(Unseen { one: answers, two: None, members: 1, drawn: false }, truths)
    }

    /// The same of an ensemble.
    pub fn of_mean(unseen: Unseen<'_>, truths: &[f32]) -> Self {
        let errors = |answers: &[f32]| answers.iter().zip(truths).map(|(a, t)| (a - t).abs()).collect::<Vec<f32>>();
        let scores = unseen.scores(errors(unseen.one), unseen.two.map(errors));
        Self { temperature: 1.0, rows: scores.len(), scores: thin(scores, MAX_SCORES), ..Self::default() }
    }

    /// Of a stream's newest conformity scores; a class beyond `classes` is unknown.
    pub(in crate::learning) fn of_stream(temperature: f32, scores: &[f32], truths: &[u32], classes: usize) -> Self {
        let mut it = Self { temperature, rows: scores.len(), ..Self::default() };
        if classes > 0 && truths.iter().all(|&truth| (truth as usize) < classes) {
            let unseen = Unseen { one: &[], two: None, members: 1, drawn: false };
            it.keep_by_class(&unseen, (scores, None), truths, classes);
        }
        it.scores = thin(scores.to_vec(), MAX_SCORES);
        it.rows = it.rows.min(it.scores.len());
        it
    }

    /// The same with the quantiles `adapted` in place of requested coverages.
    #[must_use]
    pub(in crate::learning) fn with_adapted(self, adapted: Vec<[f64; 2]>) -> Self {
        Self { adapted, ..self }
    }

    /// The quantile that gives this coverage.
    fn adapted(&self, coverage: f64) -> f64 {
        let above = self.adapted.partition_point(|[level, _]| *level < coverage);
        let ends = [[0.0, 0.0], [1.0, 1.0]];
        let [low, from] = above.checked_sub(1).map_or(ends[0], |at| self.adapted[at]);
        let [high, to] = self.adapted.get(above).copied().unwrap_or(ends[1]);
        if self.adapted.is_empty() || high <= low {
            return coverage;
        }
        from + (coverage - low) / (high - low) * (to - from)
    }

    /// The same from rows with the effective sample size `rows`.
    pub fn of_rows(mut self, rows: usize) -> Self {
        let share = rows as f64 / self.rows.max(1) as f64;
        thin_sorted(&mut self.scores, rows);
        thin_sorted(&mut self.likeliest_scores, rows);
        for (scores, of_class) in self.class_scores.iter_mut().zip(&mut self.class_rows) {
            *of_class = (*of_class as f64 * share).round() as usize;
            thin_sorted(scores, (*of_class).max(1));
        }
        if let Some(errors) = &mut self.errors {
            errors.of_rows(rows);
        }
        Self { rows, ..self }
    }

    /// The score below which a share `coverage` of unseen truths falls: the ⌈(n+1)·coverage⌉-th
    /// smallest of n; infinite where n is too small for this coverage.
    pub fn threshold(&self, coverage: f64) -> f32 {
        self.among(&self.scores, coverage)
    }

    /// The same for sets that always have the likeliest class.
    fn likeliest_threshold(&self, coverage: f64) -> f32 {
        self.among(if self.likeliest_scores.is_empty() { &self.scores } else { &self.likeliest_scores }, coverage)
    }

    fn among(&self, scores: &[f32], coverage: f64) -> f32 {
        let coverage = self.adapted(coverage);
        if coverage <= 0.0 {
            return f32::NEG_INFINITY;
        }
        rank_of(scores, self.rows, coverage).map_or(f32::INFINITY, |at| scores[at])
    }
}

/// The index of the ⌈(rows+1)·coverage⌉-th smallest in the ascending `scores`, thinned from `rows`; none where there
/// are too few rows for this coverage.
fn rank_of(scores: &[f32], rows: usize, coverage: f64) -> Option<usize> {
    let rank = ((rows + 1) as f64 * coverage).ceil();
    if rows == 0 || scores.is_empty() || rank > rows as f64 {
        return None;
    }
    // Thinned scores are equally spaced order statistics; rounding up keeps the guarantee.
    let position = (rank / rows as f64 * scores.len() as f64).ceil() as usize;
    Some(position.clamp(1, scores.len()) - 1)
}

/// Sorts, and keeps at most `most` equally spaced order statistics with the largest.
fn thin(mut scores: Vec<f32>, most: usize) -> Vec<f32> {
    scores.retain(|s| s.is_finite());
    scores.sort_by(f32::total_cmp);
    thin_sorted(&mut scores, most);
    scores
}

fn thin_sorted(scores: &mut Vec<f32>, most: usize) {
    let rows = scores.len();
    if rows > most {
        *scores = (1..=most).map(|i| scores[(i * rows).div_ceil(most) - 1]).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Logits whose softmax at temperature `t` is the true distribution labels are drawn from.
    pub(super) fn drawn(rows: usize, classes: usize, t: f32, seed: u64) -> (Vec<f32>, Vec<u32>) {
        let mut random = Random::new(seed);
        let (mut logits, mut truths) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let row = random.normals(classes, 2.0);
            let mut p = row.clone();
            softmax_with_temperature(&mut p, t);
            let (mut u, mut class) = (random.uniform(), 0);
            while class + 1 < classes && u >= p[class] {
                u -= p[class];
                class += 1;
            }
            logits.extend(row);
            truths.push(class as u32);
        }
        (logits, truths)
    }

    #[test]
    fn adapted_coverages_are_interpolated() {
        let calibration = Calibration::default().with_adapted(vec![[0.8, 0.9], [0.9, 1.0]]);
        let near = |coverage: f64, used: f64| (calibration.adapted(coverage) - used).abs() < 1e-9;
        assert!(near(0.8, 0.9) && near(0.85, 0.95) && near(0.4, 0.45) && near(0.95, 1.0));
        assert_eq!(Calibration::default().adapted(0.7), 0.7);
    }

    #[test]
    fn too_few_rows_have_no_guarantee() {
        let calibration = Calibration::regression(&[0.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(calibration.threshold(0.95), f32::INFINITY);
        assert_eq!(calibration.threshold(0.5), 3.0);
    }
}
