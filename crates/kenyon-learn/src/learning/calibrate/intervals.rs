//! Conformal intervals whose width follows the row: errors are divided by an expected size before they are ranked
//! (normalised residuals, Papadopoulos et al. 2008; Lei et al. 2018), the two ends by ranks of their own.
//!
//! The expected size of an error is exp(w · f), where f has the position of the row's answer between knots and
//! its code (a random projection). The weights maximise the likelihood of held-out errors as if these were
//! exponentially distributed, with a ridge; how much of f is used is selected by cross-validation, and errors are ranked by
//! sizes from folds without them.

use super::{Unseen, thin};
use crate::learning::novelty::SKETCH;
use crate::nn::linalg::cholesky::Factor;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Order statistics kept of the errors.
const MAX_ERRORS: usize = 2048;
/// Answers between which the size of an error is interpolated.
const KNOTS: usize = 9;
/// With fewer held-out rows all rows have one width.
const FEWEST: usize = 60;
/// With fewer rows both ends have one width.
const FEWEST_TWO_SIDED: usize = 100;
const FOLDS: usize = 5;
/// Held-out rows read at most.
const MOST_ROWS: usize = 5_000;
/// Strengths of the ridge on the weights of the code; infinite leaves the code out.
const RIDGES: [f64; 4] = [f64::INFINITY, 300.0, 30.0, 3.0];

/// The distribution of errors, depending on the row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorModel {
    /// Ascending answers.
    knots: Vec<f32>,
    /// One a knot, then [`SKETCH`] for the code, or none.
    weights: Vec<f32>,
    /// Signed errors in expected sizes, ascending.
    errors: Vec<f32>,
    /// Rows they came from.
    rows: usize,
}

/// The rows that an [`ErrorModel`] was fitted on, each with the size of error that the other folds expect of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutOfFold {
    /// The fold of each.
    folds: Vec<usize>,
    /// Which of the rows.
    rows: Vec<usize>,
    /// Expected sizes of their errors.
    sizes: Vec<f32>,
    /// Signed errors in expected sizes.
    errors: Vec<f32>,
}

impl OutOfFold {
    /// Of rows whose errors all have one expected size; `drawn` as in [`Unseen`].
    pub fn plain(answers: &[f32], truths: &[f32], drawn: bool) -> Self {
        let rows: Vec<usize> = (0..answers.len()).filter(|&row| (truths[row] - answers[row]).is_finite()).collect();
        let errors = rows.iter().map(|&row| truths[row] - answers[row]).collect();
        let folds = folds(&rows, |a, b| drawn && answers[a] == answers[b] && truths[a] == truths[b]);
        Self { folds, sizes: vec![1.0; rows.len()], rows, errors }
    }

    /// The number of rows.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The distances below and above the answer of each of `count` rows that contain the truth for a share `coverage` of rows,
    /// from sizes and ranks of the other folds: no row has a part in its own. None for rows that the model was not fitted on,
    /// and where there are too few. `effective` is the effective sample size where rows weigh differently.
    pub fn reaches(&self, count: usize, effective: Option<usize>, coverage: f64) -> Vec<Option<[f32; 2]>> {
        let mut reaches = vec![None; count];
        for fold in 0..FOLDS {
            let others = self.errors.iter().zip(&self.folds).filter(|(_, own)| **own != fold).map(|(error, _)| *error);
            let others: Vec<f32> = others.collect();
            let mut model =
                ErrorModel { rows: others.len(), errors: thin(others, MAX_ERRORS), ..ErrorModel::default() };
            if let Some(effective) = effective {
                model.of_rows(effective - effective / FOLDS);
            }
            let Some(reach) = model.reach(coverage) else { continue };
            for at in (0..self.rows.len()).filter(|&at| self.folds[at] == fold) {
                reaches[self.rows[at]] = Some(reach.map(|end| end * self.sizes[at]));
            }
        }
        reaches
    }
}

/// The range of targets, in their own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetSpan {
    /// The least.
    pub least: f64,
    /// Below which a twentieth lies.
    pub low: f64,
    /// Above which a twentieth lies.
    pub high: f64,
    /// The largest.
    pub most: f64,
}

impl TargetSpan {
    /// Of these targets; NaN is none.
    pub fn of(targets: impl Iterator<Item = f64>) -> Option<Self> {
        let mut known: Vec<f64> = targets.filter(|t| t.is_finite()).collect();
        known.sort_by(f64::total_cmp);
        let at = |share: f64| known.get(((known.len().max(1) - 1) as f64 * share).round() as usize).copied();
        Some(Self { least: at(0.0)?, low: at(0.05)?, high: at(0.95)?, most: at(1.0)? })
    }

    /// Clips an interval to the sign of the targets: to zero and above where all were at least zero, or below.
    pub fn clip(&self, [low, high]: [f64; 2]) -> [f64; 2] {
        let [mut low, mut high] = [low, high];
        if self.least >= 0.0 {
            (low, high) = (low.max(0.0), high.max(0.0));
        }
        if self.most <= 0.0 {
            (low, high) = (low.min(0.0), high.min(0.0));
        }
        [low, high]
    }
}

impl ErrorModel {
    /// Fits on held-out answers, truths (both standardised) and sketches of codes `[rows, SKETCH]`.
    pub fn fit(answers: &[f32], truths: &[f32], sketches: &[f32], seed: u64) -> Option<(Self, OutOfFold)> {
        Self::of_ensemble(Unseen { one: answers, two: None, members: 1, drawn: false }, truths, sketches, seed)
    }

    /// The same of an ensemble whose members have not learned the held-out rows, each for other rows.
    pub fn of_ensemble(unseen: Unseen<'_>, truths: &[f32], sketches: &[f32], seed: u64) -> Option<(Self, OutOfFold)> {
        let answers = unseen.two.unwrap_or(unseen.one);
        let mut order: Vec<usize> =
            (0..answers.len()).filter(|&row| (answers[row] - truths[row]).is_finite()).collect();
        if sketches.len() < answers.len() * SKETCH {
            return None;
        }
        let error = |row: usize| truths[row] - answers[row];
        let sketch = |row: usize| &sketches[row * SKETCH..(row + 1) * SKETCH];
        let alike = |a: usize, b: usize| answers[a] == answers[b] && truths[a] == truths[b] && sketch(a) == sketch(b);
        let same = |a, b| unseen.drawn && alike(a, b);
        // Copies of a row are no evidence of their own.
        if order.iter().filter(|&&row| row == 0 || !same(row - 1, row)).count() < FEWEST {
            return None;
        }
        Random::stream(seed, "intervals", 0).shuffle(&mut order);
        order.truncate(MOST_ROWS);
        let folds = folds(&order, same);
        let knots = knots(order.iter().map(|&row| answers[row]).collect());
        let rows: Vec<Example> = order
            .iter()
            .map(|&row| Example { features: features(&knots, answers[row], sketch(row)), error: error(row) })
            .collect();
        let mut best: Option<(f64, f64, Vec<f32>)> = None;
        for ridge in RIDGES {
            let mut sizes = vec![0.0f32; rows.len()];
            for fold in 0..FOLDS {
                let learned = rows.iter().zip(&folds).filter(|(_, own)| **own != fold).map(|(row, _)| row);
                let weights = solve(learned, knots.len(), ridge)?;
                for at in (0..rows.len()).filter(|&at| folds[at] == fold) {
                    sizes[at] = size(&weights, &rows[at].features);
                }
            }
            let loss = laplace_loss(&rows, &sizes);
            if best.as_ref().is_none_or(|(least, ..)| loss < *least) {
                best = Some((loss, ridge, sizes));
            }
        }
        let (_, ridge, sizes) = best?;
        let weights = solve(rows.iter(), knots.len(), ridge)?;
        let relative = |answers: &[f32]| -> Vec<f32> {
            order.iter().zip(&sizes).map(|(&row, size)| (truths[row] - answers[row]) / size).collect()
        };
        let own = relative(unseen.one);
        let errors = unseen.scores(own.clone(), unseen.two.map(relative));
        let model = Self { knots, weights, errors: thin(errors, MAX_ERRORS), rows: rows.len() };
        Some((model, OutOfFold { rows: order, folds, sizes, errors: own }))
    }

    /// The expected size of the error of a row with this answer and sketch of its code.
    pub fn size(&self, answer: f32, sketch: &[f32]) -> f32 {
        size(&self.weights, &features(&self.knots, answer, sketch))
    }

    /// The distances below and above an answer that contain the truth for a share `coverage` of rows, in expected sizes; none where
    /// there were too few rows for that.
    pub fn reach(&self, coverage: f64) -> Option<[f32; 2]> {
        let (rows, kept) = (self.rows as f64, self.errors.len() as f64);
        if self.rows < FEWEST_TWO_SIDED {
            let absolute = thin(self.errors.iter().map(|e| e.abs()).collect(), usize::MAX);
            let at = super::rank_of(&absolute, self.rows, coverage)?;
            return Some([-absolute[at], absolute[at]]);
        }
        let tail = (1.0 - coverage) / 2.0;
        let low = ((rows + 1.0) * tail).floor();
        let high = ((rows + 1.0) * (1.0 - tail)).ceil();
        if low < 1.0 || high > rows {
            return None;
        }
        let at = |rank: f64| (rank / rows * kept).clamp(1.0, kept) as usize - 1;
        let high = ((high / rows * kept).ceil().clamp(1.0, kept)) as usize - 1;
        Some([self.errors[at(low)], self.errors[high]])
    }

    /// The same from rows with the effective sample size `rows`.
    pub(super) fn of_rows(&mut self, rows: usize) {
        super::thin_sorted(&mut self.errors, rows.max(1));
        self.rows = self.rows.min(rows);
    }

    /// Whether its parts fit each other.
    pub fn is_consistent(&self) -> bool {
        let widths = [self.knots.len(), self.knots.len() + SKETCH];
        widths.contains(&self.weights.len())
            && !self.knots.is_empty()
            && self.errors.len() <= self.rows
            && !self.errors.is_empty()
            && self.errors.is_sorted()
            && self.knots.is_sorted()
            && self.weights.iter().all(|w| w.is_finite())
    }
}

/// Ridge on the weights of the answer, towards one size for all.
const KNOT_RIDGE: f64 = 3.0;
/// Steps of Fisher scoring.
const STEPS: usize = 8;
/// An error counts as this many expected sizes at most, so that none dominates.
const MOST_EXCESS: f64 = 4.0;

struct Example {
    features: Vec<f32>,
    error: f32,
}

/// Answers with about as many rows between each two.
fn knots(mut answers: Vec<f32>) -> Vec<f32> {
    answers.sort_by(f32::total_cmp);
    let last = answers.len() - 1;
    let mut knots: Vec<f32> = (0..KNOTS).map(|i| answers[(2 * i + 1) * last / (2 * KNOTS)]).collect();
    knots.dedup();
    knots
}

/// Where the answer lies between the knots, then the sketch.
fn features(knots: &[f32], answer: f32, sketch: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; knots.len()];
    let above = knots.partition_point(|&knot| knot < answer);
    if above == 0 {
        out[0] = 1.0;
    } else if above == knots.len() {
        out[above - 1] = 1.0;
    } else {
        let share = (answer - knots[above - 1]) / (knots[above] - knots[above - 1]);
        (out[above - 1], out[above]) = (1.0 - share, share);
    }
    // A sketch has length 1; its elements are scaled to the size of the shares.
    out.extend(sketch.iter().map(|v| 4.0 * v));
    out
}

fn size(weights: &[f32], features: &[f32]) -> f32 {
    weights.iter().zip(features).map(|(w, f)| w * f).sum::<f32>().clamp(-20.0, 20.0).exp()
}

/// Weights by Fisher scoring: each step is a ridge regression of how much errors exceed their expected size.
fn solve<'a>(rows: impl Iterator<Item = &'a Example> + Clone, knots: usize, ridge: f64) -> Option<Vec<f32>> {
    let width = if ridge.is_finite() { knots + SKETCH } else { knots };
    let count = rows.clone().count().max(1) as f64;
    let mean = rows.clone().map(|row| f64::from(row.error.abs())).sum::<f64>() / count;
    let strength = |i: usize| if i < knots { KNOT_RIDGE } else { ridge };
    let mut gram = vec![0.0; width * width];
    for row in rows.clone() {
        for i in (0..width).filter(|&i| row.features[i] != 0.0) {
            for j in 0..=i {
                gram[i * width + j] += f64::from(row.features[i]) * f64::from(row.features[j]);
            }
        }
    }
    (0..width).for_each(|i| gram[i * width + i] += strength(i));
    let factor = Factor::new(gram, width, 1).ok()?;
    // The shares of a row sum to 1, so the logarithm of the mean at each knot is one size for all.
    let start = mean.max(1e-12).ln();
    let mut weights: Vec<f32> = (0..width).map(|i| if i < knots { start as f32 } else { 0.0 }).collect();
    for _ in 0..STEPS {
        let mut step: Vec<f64> =
            (0..width).map(|i| strength(i) * (if i < knots { start } else { 0.0 } - f64::from(weights[i]))).collect();
        for row in rows.clone() {
            let excess = f64::from(row.error.abs() / size(&weights, &row.features)).min(MOST_EXCESS) - 1.0;
            step.iter_mut().zip(&row.features).for_each(|(s, f)| *s += excess * f64::from(*f));
        }
        factor.solve(&mut step);
        weights.iter_mut().zip(&step).for_each(|(w, s)| *w += *s as f32);
    }
    Some(weights)
}

/// The fold of each row of `order`: its place there modulo [`FOLDS`]. Copies of a row, which follow it where rows are drawn as often as they
/// weigh, are in its fold, so that none is compared with itself.
fn folds(order: &[usize], same: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let rows = order.iter().max().map_or(0, |most| most + 1);
    let mut first: Vec<usize> = (0..rows).collect();
    for row in 1..rows {
        if same(row - 1, row) {
            first[row] = first[row - 1];
        }
    }
    let mut fold_of = vec![None; rows];
    order.iter().enumerate().map(|(at, &row)| *fold_of[first[row]].get_or_insert(at % FOLDS)).collect()
}

/// Mean negative log likelihood of errors that are spread by the best multiple of `sizes`.
fn laplace_loss(rows: &[Example], sizes: &[f32]) -> f64 {
    let count = rows.len() as f64;
    let ratio = |(row, size): (&Example, &f32)| f64::from(row.error.abs() / size);
    let multiple = rows.iter().zip(sizes).map(ratio).sum::<f64>() / count;
    multiple.max(1e-12).ln() + sizes.iter().map(|size| f64::from(size.ln())).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers whose errors grow with the answer and with the first number of the sketch, skewed upwards.
    fn rows(count: usize, seed: u64) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut random = Random::new(seed);
        let (mut answers, mut truths, mut sketches) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let answer = 2.0 * random.uniform();
            let hard = random.uniform() < 0.3;
            let mut sketch = vec![0.0; SKETCH];
            sketch[0] = if hard { 0.8 } else { -0.3 };
            let noise = if random.uniform() < 0.5 { -random.uniform() } else { 3.0 * random.uniform() };
            answers.push(answer);
            truths.push(answer + noise * (0.1 + answer) * if hard { 3.0 } else { 1.0 });
            sketches.extend(sketch);
        }
        (answers, truths, sketches)
    }

    #[test]
    fn copies_of_a_row_are_in_its_fold() {
        let values = [1, 1, 1, 2, 3, 3, 1];
        assert_eq!(folds(&[6, 2, 0, 5, 3, 4, 1], |a, b| values[a] == values[b]), [0, 1, 1, 3, 4, 3, 1]);
        assert_eq!(folds(&[2, 0, 1], |_, _| false), [0, 1, 2]);
        assert_eq!(folds(&[], |_, _| true), [0; 0]);
    }

    #[test]
    fn intervals_cover_alike_whatever_the_answer_and_the_code() {
        let (answers, truths, sketches) = rows(3_000, 1);
        let (model, own) = ErrorModel::fit(&answers, &truths, &sketches, 7).unwrap();
        assert!(model.is_consistent());
        // The rows it was fitted on are covered alike, the large as the small.
        let reaches = own.reaches(answers.len(), None, 0.9);
        for chosen in [|answer: f32| answer < 0.5, |answer: f32| answer > 1.5] {
            let rows: Vec<usize> = (0..answers.len()).filter(|&row| chosen(answers[row])).collect();
            let within = |row: &&usize| {
                let [low, high] = reaches[**row].unwrap();
                (low..=high).contains(&(truths[**row] - answers[**row]))
            };
            let share = rows.iter().filter(within).count() as f64 / rows.len() as f64;
            assert!((share - 0.9).abs() < 0.05, "{share}");
        }
        let (answers, truths, sketches) = rows(8_000, 2);
        for coverage in [0.8, 0.9, 0.95] {
            let [low, high] = model.reach(coverage).unwrap();
            assert!(high > -1.5 * low, "the upper end is the longer one: {low} {high}");
            let held = |chosen: &dyn Fn(usize) -> bool| {
                let chosen: Vec<usize> = (0..answers.len()).filter(|&row| chosen(row)).collect();
                let within = chosen.iter().filter(|&&row| {
                    let size = model.size(answers[row], &sketches[row * SKETCH..(row + 1) * SKETCH]);
                    (low * size..=high * size).contains(&(truths[row] - answers[row]))
                });
                within.count() as f64 / chosen.len() as f64
            };
            for (what, share) in [
                ("all", held(&|_| true)),
                ("small", held(&|row| answers[row] < 0.5)),
                ("large", held(&|row| answers[row] > 1.5)),
                ("hard", held(&|row| sketches[row * SKETCH] > 0.0)),
            ] {
                assert!((share - coverage).abs() < 0.04, "{what}: {share} at {coverage}");
            }
        }
    }

    /// Where intervals are fitted to noise, the rows that chose them are covered too often; out of fold they are not.
    #[test]
    fn rows_that_chose_an_interval_do_not_evaluate_it() {
        let (mut own, mut apart, mut total) = (0, 0, 0);
        for seed in 0..200 {
            let (answers, truths, _) = rows(30, seed);
            let error = |row: usize| truths[row] - answers[row];
            let half = super::super::Calibration::regression(&answers, &truths).threshold(0.8);
            let reaches = OutOfFold::plain(&answers, &truths, false).reaches(30, None, 0.8);
            total += 30;
            own += (0..30).filter(|&row| error(row).abs() <= half).count();
            apart += (0..30)
                .filter(|&row| reaches[row].is_some_and(|[low, high]| (low..=high).contains(&error(row))))
                .count();
        }
        let (own, apart) = (f64::from(own as u32) / f64::from(total), f64::from(apart as u32) / f64::from(total));
        assert!((own - 25.0 / 30.0).abs() < 1e-9, "whatever the rows: {own}");
        assert!((apart - 0.8).abs() < 0.02, "{apart}");
        assert_eq!(OutOfFold::plain(&[0.0; 3], &[1.0; 3], false).reaches(3, None, 0.9), [None; 3]);
    }

    #[test]
    fn few_rows_guarantee_what_they_can_and_no_end_lies_where_no_target_was() {
        let (answers, truths, sketches) = rows(70, 3);
        let (model, _) = ErrorModel::fit(&answers, &truths, &sketches, 7).unwrap();
        let [low, high] = model.reach(0.9).unwrap();
        assert_eq!(-low, high);
        assert!(model.reach(0.99).is_none());
        assert!(ErrorModel::fit(&answers[..50], &truths[..50], &sketches, 7).is_none());
        let span = TargetSpan::of([3.0, 0.0, f64::NAN, 8.0].into_iter()).unwrap();
        assert_eq!((span.least, span.most, span.clip([-2.0, 9.0])), (0.0, 8.0, [0.0, 9.0]));
    }
}
