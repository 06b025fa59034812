//! Encoding models: how much of the recorded responses a representation predicts, by ridge regression on stimuli that
//! it was not fitted to, beside how much is there to be predicted.

use super::eigen::symmetric;
use super::rdm::MIN_CONDITIONS;
use super::responses::Responses;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::random::Random;
use crate::{Error, Kind, Result};
use std::collections::HashMap;

/// Stimuli of an encoding model at most; its cost grows with their cube.
pub const MAX_ENCODED: usize = 2000;

/// Penalties that are tried, as multiples of the mean eigenvalue of the representation's inner products.
const PENALTIES: [f64; 9] = [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4];

/// The mean response to each stimulus, and how much of its variance is no noise.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanResponses {
    conditions: Vec<String>,
    channels: usize,
    values: Vec<f64>,
    /// Share of the variance between mean responses that repetitions reproduce, a channel each; none without
    /// repetitions.
    explainable: Option<Vec<f64>>,
}

/// How much of one subject's responses an encoding model predicts.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Share of the variance of held-out stimuli that is predicted, mean over channels; below 0 where a prediction is
    /// worse than the mean response.
    pub explained: f64,
    /// Share that could be predicted, mean over the same channels; none without repetitions.
    pub explainable: Option<f64>,
    /// Channels that vary.
    pub channels: usize,
}

impl MeanResponses {
    /// The means of `responses`.
    pub fn new(responses: &Responses) -> Self {
        let (channels, n) = (responses.channels(), responses.conditions().len());
        let values = responses.means();
        let extra = responses.observations() - n;
        let explainable = (extra > 0).then(|| {
            let residuals = responses.residuals();
            // A mean over k observations has noise of 1 / k; over conditions, that is the mean of 1 / k.
            let share = responses.counts().iter().map(|&count| 1.0 / count as f64).sum::<f64>() / n as f64;
            (0..channels)
                .map(|c| {
                    let squares = |all: &[f64]| all.iter().skip(c).step_by(channels).map(|v| v * v).sum::<f64>();
                    let noise = squares(&residuals) / extra as f64 * share;
                    let mean = values.iter().skip(c).step_by(channels).sum::<f64>() / n as f64;
                    let spread = values.iter().skip(c).step_by(channels).map(|v| (v - mean).powi(2)).sum::<f64>()
                        / (n - 1).max(1) as f64;
                    if spread > 0.0 { (1.0 - noise / spread).clamp(0.0, 1.0) } else { 0.0 }
                })
                .collect()
        });
        Self { conditions: responses.conditions().to_vec(), channels, values, explainable }
    }

    /// The rows of these conditions, in their order.
    fn rows(&self, names: &[String]) -> Vec<f64> {
        let at: HashMap<&str, usize> = self.conditions.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        let row =
            |name: &String| &self.values[at[name.as_str()] * self.channels..(at[name.as_str()] + 1) * self.channels];
        names.iter().flat_map(row).copied().collect()
    }
}

/// Predicts `recorded` from `system` by ridge regression, with the penalty chosen inside each training part, in folds of
/// the stimuli that both have. Deterministic by the seed.
pub fn encode(system: &MeanResponses, recorded: &MeanResponses, seed: u64) -> Result<Encoded> {
    let shared: Vec<String> =
        system.conditions.iter().filter(|name| recorded.conditions.contains(name)).cloned().collect();
    let n = shared.len();
    if n < 4 * MIN_CONDITIONS {
        let message = format!("{n} shared stimuli; an encoding model needs {}", 4 * MIN_CONDITIONS);
        return Err(Error::unprocessable("too_few_conditions", message));
    }
    if n > MAX_ENCODED {
        let message = format!("{n} stimuli; an encoding model is fitted to at most {MAX_ENCODED}");
        return Err(Error::new(Kind::TooLarge, "too_many_conditions", message));
    }
    let (x, y) = (system.rows(&shared), recorded.rows(&shared));
    let (p, q) = (system.channels, recorded.channels);
    let mut order: Vec<usize> = (0..n).collect();
    Random::stream(seed, "folds of stimuli", 0).shuffle(&mut order);
    let folds = (n / MIN_CONDITIONS).min(5);
    let (mut errors, mut totals) = (vec![0.0; q], vec![0.0; q]);
    for fold in 0..folds {
        let test: Vec<usize> = order.iter().copied().skip(fold).step_by(folds).collect();
        let train: Vec<usize> =
            order.iter().enumerate().filter(|(at, _)| at % folds != fold).map(|(_, &i)| i).collect();
        let mean = column_means(&y, q, &train);
        let predicted = ridge(
            &centred(&x, p, &train, &train),
            &centred(&x, p, &test, &train),
            &centred(&y, q, &train, &train),
            p,
            q,
        )?;
        for (row, &i) in test.iter().enumerate() {
            for c in 0..q {
                let truth = y[i * q + c] - mean[c];
                errors[c] += (truth - predicted[row * q + c]).powi(2);
                totals[c] += truth * truth;
            }
        }
    }
    let varies: Vec<usize> = (0..q).filter(|&c| totals[c] > 0.0).collect();
    if varies.is_empty() {
        return Err(Error::unprocessable("constant_rdm", "no channel of the recordings varies between stimuli"));
    }
    let over = |of: &dyn Fn(usize) -> f64| varies.iter().map(|&c| of(c)).sum::<f64>() / varies.len() as f64;
    Ok(Encoded {
        explained: over(&|c| 1.0 - errors[c] / totals[c]),
        explainable: recorded.explainable.as_ref().map(|shares| over(&|c| shares[c])),
        channels: varies.len(),
    })
}

fn column_means(values: &[f64], width: usize, rows: &[usize]) -> Vec<f64> {
    let mut means = vec![0.0; width];
    for &row in rows {
        means.iter_mut().zip(&values[row * width..(row + 1) * width]).for_each(|(m, v)| *m += v / rows.len() as f64);
    }
    means
}

/// Some rows minus the mean over others.
fn centred(values: &[f64], width: usize, rows: &[usize], over: &[usize]) -> Vec<f64> {
    let means = column_means(values, width, over);
    let row = |&i: &usize| values[i * width..(i + 1) * width].iter().zip(&means).map(|(v, m)| v - m);
    rows.iter().flat_map(row).collect()
}

/// `left · right` for `[rows, inner]` and `[inner, columns]`.
fn times(left: &[f64], l: MatrixShape, right: &[f64], r: MatrixShape) -> Vec<f64> {
    let mut out = vec![0.0; l.rows * r.columns];
    product((&mut out, MatrixShape::new(l.rows, r.columns)), (left, l), (right, r), None, 1.0);
    out
}

/// Predictions `[test, q]` of the ridge regression of `y` `[train, q]` on `x` `[train, p]`, all centred, with the penalty of the
/// least leave-one-out error.
fn ridge(x: &[f64], x_test: &[f64], y: &[f64], p: usize, q: usize) -> Result<Vec<f64>> {
    let (n, m) = (x.len() / p, x_test.len() / p);
    let (train, square) = (MatrixShape::new(n, p), MatrixShape::new(n, n));
    // With more channels than stimuli the inner products of stimuli are the smaller matrix, and enough.
    let (values, vectors) = symmetric(times(x, train, x, train.transposed()), n)?;
    let scale = values.iter().map(|v| v.max(0.0)).sum::<f64>() / n as f64;
    if scale <= 0.0 {
        return Ok(vec![0.0; m * q]);
    }
    let turned = times(&vectors, square.transposed(), y, MatrixShape::new(n, q));
    let fitted = |penalty: f64| -> Vec<f64> {
        let mut shrunk = turned.clone();
        for (row, value) in shrunk.chunks_exact_mut(q).zip(&values) {
            let share = value.max(0.0) / (value.max(0.0) + penalty);
            row.iter_mut().for_each(|v| *v *= share);
        }
        times(&vectors, square, &shrunk, MatrixShape::new(n, q))
    };
    let mut best = (f64::INFINITY, PENALTIES[0] * scale);
    for penalty in PENALTIES.map(|multiple| multiple * scale) {
        let found = fitted(penalty);
        let mut error = 0.0;
        for i in 0..n {
            let share = |(v, value): (&f64, &f64)| v * v * value.max(0.0) / (value.max(0.0) + penalty);
            // The mean was fitted, too.
            let leverage = vectors[i * n..(i + 1) * n].iter().zip(&values).map(share).sum::<f64>() + 1.0 / n as f64;
            let own = y[i * q..(i + 1) * q].iter().zip(&found[i * q..(i + 1) * q]);
            error += own.map(|(y, f)| (y - f).powi(2)).sum::<f64>() / (1.0 - leverage).max(1e-3).powi(2);
        }
        if error < best.0 {
            best = (error, penalty);
        }
    }
    let mut dual = turned;
    for (row, value) in dual.chunks_exact_mut(q).zip(&values) {
        row.iter_mut().for_each(|v| *v /= value.max(0.0) + best.1);
    }
    let dual = times(&vectors, square, &dual, MatrixShape::new(n, q));
    let between = times(x_test, MatrixShape::new(m, p), x, train.transposed());
    Ok(times(&between, MatrixShape::new(m, n), &dual, MatrixShape::new(n, q)))
}
