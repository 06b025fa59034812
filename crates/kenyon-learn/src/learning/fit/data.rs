//! The encoded rows of a training, their targets, and evaluation on the held-out rows.

use super::rest::Rest;
use crate::data::Batch;
use crate::data::split::{Folds, Split};
use crate::data::target::{Encoded, TargetEncoder};
use crate::learning::bundle::Bundle;
use crate::learning::calibrate::{Calibration, ErrorModel, OutOfFold, Unseen, fit_temperature, log_loss};
use crate::learning::evaluate::{self, Evaluation};
use crate::learning::metric_intervals::intervals;
use crate::learning::metrics;
use crate::learning::novelty::SKETCH;
use crate::learning::residuals::Residuals;
use crate::learning::row_weights::RowWeights;
use crate::nn::probability::{argmax, softmax_with_temperature};
use serde_json::{Map, Value};

/// With fewer rows of known classes to calibrate by, a cross-fitted ensemble is not calibrated.
const FEWEST: usize = 10;

/// Parts of held-out rows, where members do not leave rows out, of which each is calibrated by the others: so many that a part's
/// temperature is nearly that of all.
const PARTS: usize = 5;

/// The coverage of the intervals that are evaluated by the size of the target.
const COVERAGE: f64 = 0.9;

/// The encoded rows and their targets, split.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) batch: &'a Batch,
    pub(super) targets: &'a Encoded,
    /// The rows of each part; cross-fitted, all labelled rows are learned from and held out.
    pub(super) split: &'a Split,
    /// Which member leaves each row out, where members do.
    pub(super) folds: Option<&'a Folds>,
    pub(super) outputs: usize,
    /// Held-out rows as often as they weigh, where they weigh differently.
    pub(super) drawn: Option<Drawn<'a>>,
    /// Rows that are learned from as well.
    pub(super) rest: Option<&'a Rest>,
}

/// Held-out rows as often as they weigh.
#[derive(Clone, Copy)]
pub(super) struct Drawn<'a> {
    /// Positions among the held-out rows.
    pub(super) positions: &'a [usize],
    /// Positions among those that choose the pass.
    pub(super) stopping: &'a [usize],
    /// The effective sample size.
    pub(super) rows: usize,
    /// The weight of every row of the table.
    pub(super) weights: &'a [f32],
}

/// Calibration, and the calibrated answers to the held-out rows.
pub(super) struct CalibratedAnswers {
    /// For answers to new rows.
    pub(super) calibration: Calibration,
    /// Calibrated probabilities of the held-out rows, each by rows of other parts; or their values.
    pub(super) answers: Vec<f32>,
    /// Of numbers: the rows that the intervals are fitted on.
    pub(super) out_of_fold: OutOfFold,
}

impl Data<'_> {
    /// Rows that are learned from.
    pub(super) fn training_rows(&self) -> usize {
        self.split.training.len() + self.rest.map_or(0, Rest::rows)
    }

    /// The sum of weights of each class over the training rows; `weights` are those of all rows of the table, and
    /// `classes` those of classes.
    pub(super) fn class_sums(&self, weights: Option<&[f32]>, classes: Option<&[f32]>) -> Option<Vec<f64>> {
        let Encoded::Classes(ids) = self.targets else { return None };
        let mut sums = vec![0.0; self.outputs];
        for &row in &self.split.training {
            if let Some(sum) = sums.get_mut(ids[row] as usize) {
                *sum += weights.map_or(1.0, |weights| f64::from(weights[row]));
            }
        }
        if let Some(rest) = self.rest {
            rest.add_classes(&mut sums, classes);
        }
        Some(sums)
    }

    /// Inverse class frequencies over the training rows, 1 on average over the rows.
    pub(super) fn balanced_weights(&self) -> Option<Vec<f32>> {
        self.class_sums(None, None).map(|sums| inverse(&sums, 1.0))
    }

    /// The part that held-out row `position` is in, of those whose answers are calibrated by the others: its fold, or one of
    /// [`PARTS`].
    fn part(&self, position: usize) -> usize {
        self.folds.map_or(position % PARTS, |folds| usize::from(folds.of_row[self.split.validation[position]]))
    }

    /// Positions among the held-out rows, each as often as it weighs, of those that `wanted` holds for.
    fn positions(&self, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        match self.drawn {
            Some(drawn) => drawn.positions.iter().copied().filter(|&at| wanted(at)).collect(),
            None => (0..self.split.validation.len()).filter(|&at| wanted(at)).collect(),
        }
    }

    /// Positions among the held-out rows that metrics are of, each once: those with a weight above 0; where none has one, all.
    fn evaluated(&self) -> Vec<usize> {
        let rows = &self.split.validation;
        let weighs = |at: &usize| self.drawn.is_none_or(|drawn| drawn.weights[rows[*at]] > 0.0);
        let weighing: Vec<usize> = (0..rows.len()).filter(weighs).collect();
        if weighing.is_empty() { (0..rows.len()).collect() } else { weighing }
    }

    /// The weights at `positions`; none where all rows count alike.
    fn weights_at(&self, positions: &[usize]) -> Option<Vec<f32>> {
        let Drawn { weights, .. } = self.drawn?;
        let weights: Vec<f32> = positions.iter().map(|&at| weights[self.split.validation[at]]).collect();
        weights.iter().any(|weight| *weight > 0.0).then_some(weights)
    }

    /// The answers at `positions`, from those of all held-out rows.
    fn at(&self, positions: &[usize], answers: &[f32]) -> Vec<f32> {
        let width = self.outputs;
        positions.iter().flat_map(|&at| &answers[at * width..(at + 1) * width]).copied().collect()
    }

    fn rows_at(&self, positions: &[usize]) -> Vec<usize> {
        positions.iter().map(|&at| self.split.validation[at]).collect()
    }

    fn classes_at(&self, positions: &[usize]) -> Option<Vec<u32>> {
        self.classes_of(&self.rows_at(positions))
    }

    fn values_at(&self, positions: &[usize]) -> Vec<f32> {
        self.values_of(&self.rows_at(positions))
    }

    fn classes_of(&self, rows: &[usize]) -> Option<Vec<u32>> {
        let Encoded::Classes(ids) = self.targets else { return None };
        Some(rows.iter().map(|&row| ids[row]).collect())
    }

    fn values_of(&self, rows: &[usize]) -> Vec<f32> {
        let Encoded::Values(values) = self.targets else { return Vec::new() };
        rows.iter().map(|&row| values[row]).collect()
    }

    /// The classes of all held-out rows; none where the target is a number.
    pub(super) fn held_out_classes(&self) -> Option<Vec<u32>> {
        self.classes_of(&self.split.validation)
    }

    /// Loss on the held-out rows that `wanted` holds for, to choose weights by, and the accuracy, as [`Self::loss`] has them.
    pub(super) fn validate(&self, answers: &[f32], wanted: impl Fn(usize) -> bool) -> (f64, Option<f64>) {
        let positions = self.positions(wanted);
        self.loss(&self.at(&positions, answers), &self.rows_at(&positions))
    }

    /// Loss on the rows that choose the pass, from the answers to them.
    pub(super) fn validate_stopping(&self, answers: &[f32]) -> (f64, Option<f64>) {
        let rows = &self.split.stopping;
        match self.drawn {
            Some(Drawn { stopping, .. }) => {
                self.loss(&self.at(stopping, answers), &stopping.iter().map(|&at| rows[at]).collect::<Vec<_>>())
            }
            None => self.loss(answers, rows),
        }
    }

    /// Log loss at the best temperature (the temperature is refitted at the end anyway), or mean squared error; and the
    /// accuracy. Not a number without rows.
    fn loss(&self, answers: &[f32], rows: &[usize]) -> (f64, Option<f64>) {
        if rows.is_empty() {
            return (f64::NAN, None);
        }
        match self.classes_of(rows) {
            Some(truths) => {
                let temperature = fit_temperature(answers, self.outputs, &truths);
                let right =
                    answers.chunks_exact(self.outputs).zip(&truths).filter(|(a, t)| argmax(a) == **t as usize).count();
                let accuracy = right as f64 / truths.len() as f64;
                (log_loss(answers, self.outputs, &truths, temperature), Some(accuracy))
            }
            None => {
                let truths = self.values_of(rows);
                let sum: f64 = answers.iter().zip(&truths).map(|(a, t)| f64::from(a - t).powi(2)).sum();
                (sum / truths.len() as f64, None)
            }
        }
    }

    /// Calibrates by the held-out rows, from the answers to them, those of a second member that has not learned them
    /// either, where there is one, and the sketches of their codes.
    pub(super) fn calibrate(
        &self,
        answers: &[f32],
        second: Option<&[f32]>,
        sketches: &[f32],
        seed: u64,
    ) -> CalibratedAnswers {
        let known = self.known();
        let positions = self.positions(|at| known[at]);
        let at_positions = self.at(&positions, answers);
        let mut out_of_fold = OutOfFold::default();
        let by_two: Option<Vec<f32>> = second.map(|second| {
            let second = self.at(&positions, second);
            at_positions.iter().zip(second).map(|(&one, other)| f32::midpoint(one, other)).collect()
        });
        let members = self.folds.map_or(1, |folds| folds.count);
        let drawn = self.drawn.is_some();
        let unseen = Unseen { one: &at_positions, two: by_two.as_deref(), members, drawn };
        let calibration = match self.classes_at(&positions) {
            Some(_) if self.folds.is_some() && distinct(&positions) < FEWEST => Calibration::none(),
            Some(truths) => Calibration::of_ensemble(unseen, self.outputs, &truths),
            None => {
                let truths = self.values_at(&positions);
                let sketch = |&at: &usize| &sketches[at * SKETCH..(at + 1) * SKETCH];
                let sketches: Vec<f32> = positions.iter().flat_map(sketch).copied().collect();
                let fitted = ErrorModel::of_ensemble(unseen, &truths, &sketches, seed);
                let plain = || (None, OutOfFold::plain(&at_positions, &truths, drawn));
                let errors;
                (errors, out_of_fold) = fitted.map_or_else(plain, |(model, own)| (Some(model), own));
                Calibration { errors, ..Calibration::of_mean(unseen, &truths) }
            }
        };
        let calibration = match self.drawn {
            Some(drawn) => calibration.of_rows(drawn.rows),
            None => calibration,
        };
        let mut calibrated = answers.to_vec();
        if matches!(self.targets, Encoded::Classes(_)) {
            let temperatures = self.temperatures(answers, &calibration, &known);
            for (at, row) in calibrated.chunks_exact_mut(self.outputs).enumerate() {
                softmax_with_temperature(row, temperatures[self.part(at)]);
            }
        }
        CalibratedAnswers { calibration, answers: calibrated, out_of_fold }
    }

    /// The temperature for the rows of each part, fitted on the others.
    fn temperatures(&self, answers: &[f32], calibration: &Calibration, known: &[bool]) -> Vec<f32> {
        let parts = self.folds.map_or(PARTS, |folds| folds.count);
        if calibration.rows == 0 {
            return vec![calibration.temperature; parts];
        }
        let without = |part: usize| {
            let positions = self.positions(|at| self.part(at) != part && known[at]);
            let truths = self.classes_at(&positions).unwrap_or_default();
            fit_temperature(&self.at(&positions, answers), self.outputs, &truths)
        };
        (0..parts).map(without).collect()
    }

    /// Whether the network that evaluates a held-out row has learned from two others of its class at least: its answer about a class
    /// that it has not learned is no measure of its confidence.
    fn known(&self) -> Vec<bool> {
        let rows = &self.split.validation;
        match (self.folds, self.targets, self.class_sums(None, None)) {
            (Some(_), Encoded::Classes(ids), Some(sums)) => {
                rows.iter().map(|&row| sums[ids[row] as usize] >= 3.0).collect()
            }
            _ => vec![true; rows.len()],
        }
    }

    /// Whether some held-out row is evaluated by a network that has learned from its class.
    pub(super) fn can_evaluate(&self) -> bool {
        match (self.folds, self.class_sums(None, None)) {
            (Some(_), Some(sums)) => sums.iter().any(|&rows| rows >= 2.0),
            _ => true,
        }
    }

    /// Expected sizes of the errors of the held-out rows whose truth is known; none where all rows have one.
    pub(super) fn error_sizes(&self, calibrated: &CalibratedAnswers, sketches: &[f32]) -> Vec<f32> {
        let Some(errors) = &calibrated.calibration.errors else { return Vec::new() };
        let size = |at: usize| errors.size(calibrated.answers[at], &sketches[at * SKETCH..(at + 1) * SKETCH]);
        self.evaluated().into_iter().map(size).collect()
    }

    /// What the intervals of each held-out row reach below and above its answer, from rows that it has no part in; none for rows that
    /// none were fitted on.
    fn reaches(&self, out_of_fold: &OutOfFold) -> Vec<Option<Option<[f32; 2]>>> {
        let positions = self.positions(|_| true);
        let found = out_of_fold.reaches(positions.len(), self.drawn.map(|drawn| drawn.rows), COVERAGE);
        let mut reaches: Vec<Option<Option<[f32; 2]>>> = vec![None; self.split.validation.len()];
        for (&at, found) in positions.iter().zip(found) {
            let reach = reaches[at].get_or_insert(None);
            *reach = reach.or(found);
        }
        reaches
    }

    /// The held-out rows in detail, from what [`Self::calibrate`] and [`Self::error_sizes`] gave. Intervals are those of rows that
    /// had no part in them.
    pub(super) fn held_out(
        &self,
        bundle: &Bundle,
        answers: &[f32],
        error_sizes: &[f32],
        out_of_fold: &OutOfFold,
    ) -> Evaluation {
        let positions = self.evaluated();
        let answers = &self.at(&positions, answers);
        let weighed = self.weights_at(&positions);
        let weights = RowWeights::new(weighed.as_deref());
        let found = match (self.classes_at(&positions), &bundle.config.target_encoder) {
            (Some(truths), TargetEncoder::Classes(classes)) => {
                evaluate::classified(bundle, classes, answers, &truths, weights)
            }
            (_, TargetEncoder::Number { mean, std }) => {
                let scale = |v: &f32| f64::from(*v) * std + mean;
                let truths: Vec<f64> = self.values_at(&positions).iter().map(scale).collect();
                let values: Vec<f64> = answers.iter().map(scale).collect();
                let reaches = self.reaches(out_of_fold);
                // Of very many rows the intervals are fitted on some; the others had no part in them anyway.
                let some = bundle.config.calibration.errors.is_some()
                    && out_of_fold.count() < self.drawn.map_or(values.len(), |drawn| drawn.positions.len());
                let held = |row: usize| {
                    let [low, high] = match reaches[positions[row]] {
                        Some(Some(reach)) => bundle.around(values[row], reach.map(|end| f64::from(end) * std)),
                        Some(None) if !some => return None,
                        _ => bundle.interval(values[row], error_sizes.get(row).copied(), COVERAGE)?,
                    };
                    Some((low..=high).contains(&truths[row]))
                };
                let held: Option<Vec<bool>> = (0..values.len()).map(held).collect();
                let found = evaluate::regressed(bundle, (&values, error_sizes), &truths, weights);
                let residuals = Residuals::new(&values, &truths, held.as_deref(), weights);
                Evaluation { regression: Some(residuals), ..found }
            }
            (None, TargetEncoder::Classes(classes)) => evaluate::classified(bundle, classes, &[], &[], weights),
        };
        let (rows, skipped) = (positions.len(), self.split.validation.len() - positions.len());
        let weight = bundle.config.weight.clone().filter(|_| weighed.is_some());
        Evaluation { rows, skipped, weight, coverage: Vec::new(), ..found }
    }

    /// Figures on the held-out rows, from what [`Self::calibrate`] gave; and an interval for each.
    pub(super) fn figures(
        &self,
        answers: &[f32],
        target: &TargetEncoder,
        decision: &[f32],
        seed: u64,
    ) -> (Map<String, Value>, Map<String, Value>) {
        let positions = self.evaluated();
        let of = |positions: &[usize]| {
            let (answers, weights) = (self.at(positions, answers), self.weights_at(positions));
            let weights = RowWeights::new(weights.as_deref());
            match (self.classes_at(positions), target) {
                (Some(truths), _) => {
                    metrics::to_map(&metrics::classification(&answers, self.outputs, &truths, decision, weights))
                }
                (None, TargetEncoder::Number { mean, std }) => {
                    let scale = |v: &f32| f64::from(*v) * std + mean;
                    let truths: Vec<f64> = self.values_at(positions).iter().map(scale).collect();
                    metrics::regression(&answers.iter().map(scale).collect::<Vec<_>>(), &truths, weights)
                }
                (None, TargetEncoder::Classes(_)) => Map::new(),
            }
        };
        let figures = of(&positions);
        let effective = self.drawn.map_or(positions.len(), |drawn| drawn.rows);
        let intervals = intervals(&figures, (positions.len(), effective, self.outputs), seed, |drawn| {
            of(&drawn.iter().map(|&at| positions[at]).collect::<Vec<_>>())
        });
        (figures, intervals)
    }
}

/// How many positions there are without repetition; they are in ascending order.
fn distinct(positions: &[usize]) -> usize {
    positions.chunk_by(|a, b| a == b).count()
}

/// The inverse of each class's share of `sums`, 1 on average; no class counts as having less than `least`.
pub(super) fn inverse(sums: &[f64], least: f64) -> Vec<f32> {
    let total: f64 = sums.iter().sum();
    sums.iter().map(|&sum| (total / (sums.len() as f64 * sum.max(least))) as f32).collect()
}
