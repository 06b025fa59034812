//! The encoded rows of a training, their targets, and evaluation on the held-out rows.

use crate::data::Batch;
use crate::data::split::Split;
use crate::data::target::{Encoded, TargetEncoder};
use crate::learning::bundle::Bundle;
use crate::learning::calibrate::{Calibration, ErrorModel, fit_temperature, log_loss};
use crate::learning::evaluate::{self, Evaluation};
use crate::learning::metrics;
use crate::learning::novelty::SKETCH;
use crate::nn::probability::{argmax, softmax_with_temperature};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The encoded rows and their targets, split.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) batch: &'a Batch,
    pub(super) targets: &'a Encoded,
    pub(super) split: &'a Split,
    pub(super) outputs: usize,
    /// Held-out rows as often as they weigh, where they weigh differently.
    pub(super) drawn: Option<Drawn<'a>>,
}

/// Held-out rows as often as they weigh.
#[derive(Clone, Copy)]
pub(super) struct Drawn<'a> {
    /// Positions among the held-out rows.
    pub(super) positions: &'a [usize],
    /// The effective sample size.
    pub(super) rows: usize,
}

impl Data<'_> {
    /// Inverse class frequencies over the training rows, 1 on average.
    pub(super) fn balanced_weights(&self) -> Option<Vec<f32>> {
        let Encoded::Classes(ids) = self.targets else { return None };
        let mut counts = vec![0usize; self.outputs];
        for &row in &self.split.training {
            if let Some(count) = counts.get_mut(ids[row] as usize) {
                *count += 1;
            }
        }
        let total: usize = counts.iter().sum();
        Some(counts.iter().map(|&c| total as f32 / (self.outputs * c.max(1)) as f32).collect())
    }

    /// Held-out rows, each as often as it weighs.
    fn judged(&self) -> Cow<'_, [usize]> {
        let rows = &self.split.validation;
        match self.drawn {
            Some(drawn) => drawn.positions.iter().map(|&position| rows[position]).collect(),
            None => rows.into(),
        }
    }

    /// The outputs for [`Data::judged`], from those for the held-out rows.
    fn weighed<'o>(&self, outputs: &'o [f32]) -> Cow<'o, [f32]> {
        let width = self.outputs;
        match self.drawn {
            Some(drawn) => {
                drawn.positions.iter().flat_map(|&at| &outputs[at * width..(at + 1) * width]).copied().collect()
            }
            None => outputs.into(),
        }
    }

    fn validation_classes(&self) -> Option<Vec<u32>> {
        let Encoded::Classes(ids) = self.targets else { return None };
        Some(self.judged().iter().map(|&row| ids[row]).collect())
    }

    fn validation_values(&self) -> Vec<f32> {
        let Encoded::Values(values) = self.targets else { return Vec::new() };
        self.judged().iter().map(|&row| values[row]).collect()
    }

    /// Loss on the held-out rows for choosing weights: log loss at the best temperature (the
    /// temperature is refitted at the end anyway), or mean squared error; and the accuracy.
    pub(super) fn validate(&self, answers: &[f32]) -> (f64, Option<f64>) {
        let answers = &*self.weighed(answers);
        match self.validation_classes() {
            Some(truths) => {
                let temperature = fit_temperature(answers, self.outputs, &truths);
                let right =
                    answers.chunks_exact(self.outputs).zip(&truths).filter(|(a, t)| argmax(a) == **t as usize).count();
                let accuracy = right as f64 / truths.len().max(1) as f64;
                (log_loss(answers, self.outputs, &truths, temperature), Some(accuracy))
            }
            None => {
                let truths = self.validation_values();
                let sum: f64 = answers.iter().zip(&truths).map(|(a, t)| f64::from(a - t).powi(2)).sum();
                (sum / truths.len().max(1) as f64, None)
            }
        }
    }

    /// `sketches` are those of the codes of the held-out rows.
    pub(super) fn calibrate(&self, answers: &[f32], sketches: &[f32], seed: u64) -> Calibration {
        let weighed = &*self.weighed(answers);
        let calibration = match self.validation_classes() {
            Some(truths) => Calibration::classification(weighed, self.outputs, &truths),
            None => {
                let truths = self.validation_values();
                let sketches: Cow<'_, [f32]> = match self.drawn {
                    Some(drawn) => {
                        let one = |&at: &usize| &sketches[at * SKETCH..(at + 1) * SKETCH];
                        drawn.positions.iter().flat_map(one).copied().collect()
                    }
                    None => sketches.into(),
                };
                let errors = ErrorModel::fit(weighed, &truths, &sketches, seed);
                Calibration { errors, ..Calibration::regression(weighed, &truths) }
            }
        };
        match self.drawn {
            Some(drawn) => calibration.of_rows(drawn.rows),
            None => calibration,
        }
    }

    pub(super) fn held_out(&self, bundle: &Bundle, answers: &[f32]) -> Evaluation {
        let answers = &*self.weighed(answers);
        let mut found = match (self.validation_classes(), &bundle.config.target_encoder) {
            (Some(truths), TargetEncoder::Classes(classes)) => {
                let mut probabilities = answers.to_vec();
                let temperature = bundle.config.calibration.temperature;
                probabilities.chunks_exact_mut(self.outputs).for_each(|row| softmax_with_temperature(row, temperature));
                evaluate::classified(bundle, classes, &probabilities, &truths, 0)
            }
            (_, TargetEncoder::Number { mean, std }) => {
                let scale = |v: &f32| f64::from(*v) * std + mean;
                let truths: Vec<f64> = self.validation_values().iter().map(scale).collect();
                evaluate::regressed(bundle, (&answers.iter().map(scale).collect::<Vec<_>>(), &[]), &truths, 0)
            }
            (None, TargetEncoder::Classes(classes)) => evaluate::classified(bundle, classes, &[], &[], 0),
        };
        found.coverage.clear();
        found.rows = self.split.validation.len();
        found
    }

    pub(super) fn figures(
        &self,
        answers: &[f32],
        calibration: &Calibration,
        target: &TargetEncoder,
    ) -> Map<String, Value> {
        let answers = &*self.weighed(answers);
        match (self.validation_classes(), target) {
            (Some(truths), _) => {
                let mut probabilities = answers.to_vec();
                probabilities
                    .chunks_exact_mut(self.outputs)
                    .for_each(|row| softmax_with_temperature(row, calibration.temperature));
                metrics::to_map(&metrics::classification(&probabilities, self.outputs, &truths))
            }
            (None, TargetEncoder::Number { mean, std }) => {
                let scale = |v: &f32| f64::from(*v) * std + mean;
                let truths: Vec<f64> = self.validation_values().iter().map(scale).collect();
                metrics::regression(&answers.iter().map(scale).collect::<Vec<_>>(), &truths)
            }
            (None, TargetEncoder::Classes(_)) => Map::new(),
        }
    }
}
