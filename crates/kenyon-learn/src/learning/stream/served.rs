//! Calibration of a stream's answers as clients get them: by the state before a record of the log, which may be many
//! rows older than the row that is answered.
//!
//! Before a record is learned, a sample of its rows is answered by that state. The answers' log loss moves one
//! temperature; their conformity scores are the reference of sets and intervals; and how often these held the truth
//! moves the coverage whose quantile is used (adaptive conformal inference, Gibbs & Candès 2021), so that coverage
//! follows changes: over T answers it is off by at most (1 + γ) / (γ T).

use super::experts::Truth;
use crate::learning::calibrate::{Calibration, score};
use crate::nn::probability::softmax;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Answers that are kept as the reference.
pub(super) const KEPT: usize = 512;
/// With fewer there is no guarantee.
const FEWEST: usize = 20;
/// Rows of a long record that are answered, evenly spaced; of a shorter one a row in so many.
const SAMPLE: usize = 32;
const ONE_IN: usize = 8;
/// Coverages that are followed; those between are interpolated.
const LEVELS: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];
/// The one that is reported.
const REPORTED: usize = 2;
/// Step of a followed coverage.
const STEP: f64 = 0.01;
/// Step of the temperature's logarithm, and the largest slope that counts.
const RATE: f32 = 0.01;
const STEEPEST: f32 = 4.0;
/// The temperature's logarithm lies between these.
const POWERS: [f32; 2] = [-2.0, 1.0];
/// The class of an answer from before classes were kept.
const UNKNOWN: u32 = u32::MAX;

/// How well an answer fits the truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conformity {
    /// Conformity score of the truth, or absolute standardised error.
    score: f32,
    /// Slope of the truth's log probability in the logarithm of the power.
    slope: f32,
    class: u32,
}

/// The state of the calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ServedCalibration {
    /// Probabilities are raised to the power exp of this.
    log_power: f32,
    /// The coverage that is used for each of [`LEVELS`].
    used: [f64; LEVELS.len()],
    /// Classes of the kept scores.
    classes: Vec<u32>,
    /// Whether probabilities stay as they are, as in streams of 0.1.
    fixed: bool,
}

impl Default for ServedCalibration {
    fn default() -> Self {
        Self { log_power: 0.0, used: LEVELS, classes: Vec::new(), fixed: false }
    }
}

/// The quantiles that sets and intervals are made by, during one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds([f32; LEVELS.len()]);

impl ServedCalibration {
    /// Of a stream that version 0.1 began: its probabilities keep their meaning.
    pub(super) fn fixed() -> Self {
        Self { fixed: true, ..Self::default() }
    }

    /// Whether it is of a stream that version 0.1 began.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Numbers of the rows of a record of `rows` rows, after `before` others, that are answered before it is learned: at
    /// every age alike, and few, since each is predicted once more. The first needs no answer of its own.
    pub(super) fn sample(rows: usize, before: u64) -> impl Iterator<Item = usize> {
        let step = if rows > SAMPLE { rows.div_ceil(SAMPLE) } else { rows.clamp(1, ONE_IN) };
        let first = Random::stream(0, "answered as served", before).below(step);
        (first..rows).step_by(step)
    }

    /// Compares an answer with the truth: probabilities, or one standardised value, whose truth is `observed`.
    pub(super) fn conformity_of(&self, answer: &[f32], truth: Truth, observed: f32) -> Conformity {
        match truth {
            Truth::Value(_) => Conformity { score: (answer[0] - observed).abs(), slope: 0.0, class: 0 },
            // A class that the state has not learned.
            Truth::Class(class) if class >= answer.len() => {
                Conformity { score: f32::INFINITY, slope: 0.0, class: class as u32 }
            }
            Truth::Class(class) => {
                let power = self.log_power.exp();
                let mut p: Vec<f32> = answer.iter().map(|p| power * p.max(1e-9).ln()).collect();
                softmax(&mut p);
                let ln = |p: f32| p.max(1e-9).ln();
                let expected: f32 = p.iter().map(|&p| p * ln(p)).sum();
                Conformity { score: score(&p, class), slope: ln(p[class]) - expected, class: class as u32 }
            }
        }
    }

    /// The thresholds that the kept `scores` give; none while there are too few.
    pub(super) fn thresholds(&self, scores: &[f32]) -> Option<Thresholds> {
        let mut sorted = recent(scores).to_vec();
        if sorted.len() < FEWEST {
            return None;
        }
        sorted.sort_by(f32::total_cmp);
        let at = |used: f64| {
            let rank = ((sorted.len() + 1) as f64 * used).ceil();
            match used {
                _ if rank > sorted.len() as f64 => f32::INFINITY,
                _ if used <= 0.0 => f32::NEG_INFINITY,
                _ => sorted[(rank as usize).max(1) - 1],
            }
        };
        Some(Thresholds(self.used.map(at)))
    }

    /// Takes up the conformity of an answer and keeps its score in `scores`; whether the reported set or interval held the truth.
    pub(super) fn learn(
        &mut self,
        conformity: Conformity,
        thresholds: Option<&Thresholds>,
        scores: &mut Vec<f32>,
    ) -> Option<bool> {
        if !self.fixed {
            let step = RATE * conformity.slope.clamp(-STEEPEST, STEEPEST);
            self.log_power = (self.log_power + step).clamp(POWERS[0], POWERS[1]);
        }
        self.classes.resize(scores.len(), UNKNOWN);
        if scores.len() >= 2 * KEPT {
            scores.drain(..KEPT);
            self.classes.drain(..KEPT);
        }
        scores.push(conformity.score);
        self.classes.push(conformity.class);
        let Thresholds(limits) = thresholds?;
        for ((used, level), limit) in self.used.iter_mut().zip(LEVELS).zip(limits) {
            let held = if conformity.score <= *limit { 1.0 } else { 0.0 };
            *used = (*used + STEP * (level - held)).clamp(0.0, 1.0);
        }
        Some(conformity.score <= limits[REPORTED])
    }

    /// Whether the reported set or interval of an answer holds the truth.
    pub(super) fn holds(conformity: Conformity, thresholds: &Thresholds) -> bool {
        conformity.score <= thresholds.0[REPORTED]
    }

    /// What answers are published with.
    pub(super) fn published(&self, scores: &[f32], classes: usize) -> Calibration {
        let kept = recent(scores);
        let mut truths = self.classes.clone();
        truths.resize(scores.len(), UNKNOWN);
        let truths = &truths[scores.len() - kept.len()..];
        let adapted = LEVELS.iter().zip(self.used).map(|(&level, used)| [level, used]).collect();
        Calibration::of_stream((-self.log_power).exp(), kept, truths, classes).with_adapted(adapted)
    }
}

fn recent(scores: &[f32]) -> &[f32] {
    &scores[scores.len().saturating_sub(KEPT)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::calibrate::SetOptions;

    /// Answers whose probabilities are too extreme by a power of two, and of which a share `flipped` is wrong beyond that.
    fn answer(random: &mut Random, flipped: f32) -> ([f32; 2], usize) {
        let logit = 1.5 * random.normal();
        let p = 1.0 / (1.0 + (-logit).exp());
        let truth = usize::from((random.uniform() < p) ^ (random.uniform() < flipped));
        let q = 1.0 / (1.0 + (-2.0 * logit).exp());
        ([1.0 - q, q], truth)
    }

    #[test]
    fn probabilities_are_corrected_and_coverage_follows_a_change() {
        let mut random = Random::new(3);
        let (mut it, mut scores) = (ServedCalibration::default(), Vec::new());
        let options = |coverage| SetOptions { allow_empty: true, ..SetOptions::of(coverage) };
        for (part, flipped) in [(0, 0.0), (1, 0.25), (2, 0.0)] {
            let (mut held, mut late) = ([0.0; 2], [0.0; 2]);
            for row in 0..4_000 {
                let (p, truth) = answer(&mut random, flipped);
                if row % 10 == 0 && row > 0 {
                    let calibration = it.published(&scores, 2);
                    let mut tempered = p.map(|p| p.ln() / calibration.temperature);
                    softmax(&mut tempered);
                    for (at, coverage) in [0.8, 0.9].into_iter().enumerate() {
                        let holds = calibration.set(&tempered, options(coverage)).contains(&truth);
                        held[at] += f64::from(u8::from(holds)) / 399.0;
                        late[at] += 1.0;
                    }
                }
                let thresholds = it.thresholds(&scores);
                let conformity = it.conformity_of(&p, Truth::Class(truth), 0.0);
                it.learn(conformity, thresholds.as_ref(), &mut scores);
            }
            assert!((held[0] - 0.8).abs() < 0.05 && (held[1] - 0.9).abs() < 0.04, "{part}: {held:?}");
        }
        // The right power is a half; a fixed calibration leaves probabilities alone.
        assert!((it.log_power.exp() - 0.5).abs() < 0.1, "{}", it.log_power.exp());
        let mut fixed = ServedCalibration::fixed();
        let conformity = fixed.conformity_of(&[0.9, 0.1], Truth::Class(1), 0.0);
        fixed.learn(conformity, None, &mut Vec::new());
        assert_eq!(fixed.published(&[], 2).temperature, 1.0);
    }

    #[test]
    fn rows_of_a_record_are_spread() {
        let sample = |rows, before| ServedCalibration::sample(rows, before).collect::<Vec<usize>>();
        assert_eq!((sample(1, 5), sample(0, 5)), (vec![0], vec![]));
        // Every row of a short record is as likely.
        let mut counts = [0; 10];
        (0..4_000).flat_map(|record| sample(10, 10 * record)).for_each(|row| counts[row] += 1);
        assert!(counts.iter().all(|&count| (400..600).contains(&count)), "{counts:?}");
        assert!((31..=32).contains(&sample(1_000, 7).len()));
    }
}
