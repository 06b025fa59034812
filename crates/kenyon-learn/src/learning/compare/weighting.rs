//! Flexible weighting: how well the best non-negative mixture of several layers explains the recordings,
//! with the weights fitted on other stimuli and other subjects than those it is evaluated on.

use super::matrices::{Comparison, Matrices, check_varies};
use super::products::inner_products;
use super::rdm::{Dropped, MIN_CONDITIONS, Rdm, align};
use super::sample::Sample;
use super::statistics::{single_variance, variance};
use crate::random::Random;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Result of [`fit_weights`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighting {
    /// Names of the layers.
    pub layers: Vec<String>,
    /// Weight of each layer's matrix, fitted on everything, with squares that sum to 1.
    pub weights: Vec<f64>,
    /// Mean similarity of the mixtures to held-out subjects on held-out stimuli.
    pub value: f64,
    /// Similarity to each subject, held out.
    pub per_subject: Vec<f64>,
    /// Standard error over subjects; missing with one subject.
    pub standard_error: Option<f64>,
    /// Number of folds of the stimuli.
    pub folds: usize,
    /// Conditions that were left out, and why.
    pub dropped: Vec<Dropped>,
}

/// Folds of the stimuli: at least three are left in each.
fn default_folds(stimuli: usize) -> usize {
    (stimuli / 8).clamp(2, 5)
}

/// Fits non-negative weights of the layers to the average subject and evaluates the mixture by cross-validation over
/// stimuli and, where there are several, subjects: each subject is left out once, and pairs between training and
/// test stimuli are used by neither.
pub fn fit_weights(
    layers: Vec<(String, Rdm)>,
    subjects: Vec<(String, Rdm)>,
    comparison: Comparison,
    seed: u64,
) -> Result<Weighting> {
    let (l, s) = (layers.len(), subjects.len());
    if l == 0 || s == 0 {
        return Err(Error::unprocessable("nothing_to_compare", "a weighting needs a layer and a reference"));
    }
    let names: Vec<String> = layers.iter().map(|(name, _)| name.clone()).collect();
    let all: Vec<(String, Rdm)> = layers.into_iter().chain(subjects).collect();
    let named: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
    let aligned = align(named.iter().map(String::as_str).zip(all.into_iter().map(|(_, rdm)| rdm)).collect())?;
    for (name, values) in named.iter().zip(&aligned.values) {
        check_varies(name, values, comparison)?;
    }
    let n = aligned.conditions.len();
    let folds = default_folds(n);
    if n < 2 * MIN_CONDITIONS {
        let message = format!("{n} stimuli; to fit weights on some and evaluate them on others, six are needed");
        return Err(Error::unprocessable("too_few_conditions", message));
    }
    let mut order: Vec<usize> = (0..n).collect();
    Random::stream(seed, "folds of stimuli", 0).shuffle(&mut order);
    let mut sums = vec![0.0; s];
    for fold in 0..folds {
        let mut test: Vec<usize> = order.iter().copied().skip(fold).step_by(folds).collect();
        let mut train: Vec<usize> =
            order.iter().enumerate().filter(|(at, _)| at % folds != fold).map(|(_, &i)| i).collect();
        test.sort_unstable();
        train.sort_unstable();
        let moments = Moments::new(&aligned.values, l, comparison, &Sample::subset(n, train));
        let test = Sample::subset(n, test);
        for held in 0..s {
            let others: Vec<usize> = (0..s).filter(|&t| t != held || s == 1).collect();
            let weights = moments.weights(&others);
            let mixture = mix(&aligned.values[..l], &weights);
            let pair = vec![mixture, aligned.values[l + held].clone()];
            let fit = Matrices::new(pair, 1, n, comparison)?.prepare(&test)?.fits()[0];
            sums[held] += fit / folds as f64;
        }
    }
    let everything: Vec<usize> = (0..s).collect();
    let weights = Moments::new(&aligned.values, l, comparison, &Sample::all(n)).weights(&everything);
    let value = sums.iter().sum::<f64>() / s as f64;
    // The variance of a mean: what a bootstrap over subjects converges to, corrected for their number.
    let spread = || single_variance(variance(sums.iter().copied()) * (s - 1) as f64 / s as f64, s) / s as f64;
    let standard_error = (s > 1).then(|| spread().sqrt());
    Ok(Weighting {
        layers: names,
        weights: unit(weights),
        value,
        per_subject: sums,
        standard_error,
        folds,
        dropped: aligned.dropped,
    })
}

fn unit(weights: Vec<f64>) -> Vec<f64> {
    let norm = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
    if norm > 0.0 { weights.into_iter().map(|w| w / norm).collect() } else { weights }
}

fn mix(layers: &[Vec<f32>], weights: &[f64]) -> Vec<f32> {
    let value = |at: usize| layers.iter().zip(weights).map(|(layer, w)| f64::from(layer[at]) * w).sum::<f64>() as f32;
    (0..layers[0].len()).map(value).collect()
}

/// Inner products of layers and subjects over the training pairs.
struct Moments {
    layers: usize,
    subjects: usize,
    products: Vec<f64>,
    /// Length of each subject, by which it is scaled.
    lengths: Vec<f64>,
}

impl Moments {
    /// Around the mean dissimilarity for comparisons by rank, which do not depend on it.
    fn new(values: &[Vec<f32>], layers: usize, comparison: Comparison, sample: &Sample) -> Self {
        let all = values.len();
        let centred = matches!(comparison, Comparison::RhoA | Comparison::Spearman | Comparison::Kendall);
        let mut means = vec![0.0; all];
        if centred {
            let total = sample.weight();
            sample.for_blocks(|block| {
                for (mean, from) in means.iter_mut().zip(values) {
                    *mean += block.index.iter().map(|&at| f64::from(from[at])).sum::<f64>() / total;
                }
            });
        }
        let products = inner_products(
            sample,
            all,
            0,
            |m, block, row| {
                let (from, mean) = (&values[m], means[m]);
                row.iter_mut().zip(&block.index).for_each(|(v, &at)| *v = f64::from(from[at]) - mean);
            },
            |_, _| (),
        );
        let lengths = (layers..all).map(|m| products[m * all + m].sqrt()).collect();
        Self { layers, subjects: all - layers, products, lengths }
    }

    /// Weights whose mixture fits the average of these subjects best.
    fn weights(&self, subjects: &[usize]) -> Vec<f64> {
        let (l, all) = (self.layers, self.layers + self.subjects);
        let known = subjects.iter().filter(|&&s| self.lengths[s] > 0.0);
        let scale = |s: usize| 1.0 / (self.lengths[s] * subjects.len() as f64);
        let target: Vec<f64> =
            (0..l).map(|m| known.clone().map(|&s| scale(s) * self.products[m * all + l + s]).sum()).collect();
        let own: Vec<f64> = (0..l * l).map(|at| self.products[at / l * all + at % l]).collect();
        // Layers of unit length, so that no scale decides which one enters first.
        let size: Vec<f64> = (0..l).map(|m| own[m * l + m].sqrt()).collect();
        let by = |m: usize| if size[m] > 0.0 { 1.0 / size[m] } else { 0.0 };
        let own: Vec<f64> = (0..l * l).map(|at| own[at] * by(at / l) * by(at % l)).collect();
        let target: Vec<f64> = target.iter().enumerate().map(|(m, t)| t * by(m)).collect();
        let weights = non_negative(&own, &target);
        if weights.iter().all(|&w| w == 0.0) {
            // No layer fits better than zero: equal weights, so that there is a prediction.
            return (0..l).map(by).collect();
        }
        weights.iter().enumerate().map(|(m, w)| w * by(m)).collect()
    }
}

/// Non-negative least squares from the normal equations (Lawson and Hanson's active sets as in Bro and de Jong
/// 1997): the `x ≥ 0` that minimises `xᵀ A x − 2 xᵀ b`.
pub(crate) fn non_negative(a: &[f64], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let (mut x, mut active) = (vec![0.0; n], vec![false; n]);
    let scale = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for _ in 0..10 * n {
        let gradient = |i: usize| b[i] - (0..n).map(|j| a[i * n + j] * x[j]).sum::<f64>();
        let next = (0..n).filter(|&i| !active[i]).map(|i| (gradient(i), i)).max_by(|p, q| p.0.total_cmp(&q.0));
        let Some((gain, at)) = next.filter(|(gain, _)| *gain > 1e-12 * scale) else { break };
        debug_assert!(gain.is_finite());
        active[at] = true;
        loop {
            let members: Vec<usize> = (0..n).filter(|&i| active[i]).collect();
            let Some(solved) = solve(a, b, n, &members) else {
                // A layer that repeats the others adds nothing.
                active[at] = false;
                return x;
            };
            if solved.iter().all(|&v| v > 0.0) {
                members.iter().zip(&solved).for_each(|(&i, &v)| x[i] = v);
                break;
            }
            let step = members.iter().zip(&solved).filter(|(_, v)| **v <= 0.0).map(|(&i, &v)| x[i] / (x[i] - v));
            let step = step.fold(1.0f64, f64::min);
            for (&i, &v) in members.iter().zip(&solved) {
                x[i] += step * (v - x[i]);
                if x[i] <= 1e-14 {
                    x[i] = 0.0;
                    active[i] = false;
                }
            }
        }
    }
    x
}

/// Solves the rows and columns `members` of `a x = b` by elimination; none if they are singular.
fn solve(a: &[f64], b: &[f64], n: usize, members: &[usize]) -> Option<Vec<f64>> {
    let m = members.len();
    let mut rows: Vec<Vec<f64>> =
        members.iter().map(|&i| members.iter().map(|&j| a[i * n + j]).chain([b[i]]).collect()).collect();
    for k in 0..m {
        let pivot = (k..m).max_by(|&p, &q| rows[p][k].abs().total_cmp(&rows[q][k].abs()))?;
        rows.swap(k, pivot);
        if rows[k][k].abs() < 1e-10 {
            return None;
        }
        for r in k + 1..m {
            let factor = rows[r][k] / rows[k][k];
            for c in k..=m {
                rows[r][c] -= factor * rows[k][c];
            }
        }
    }
    for k in (0..m).rev() {
        let known: f64 = (k + 1..m).map(|c| rows[k][c] * rows[c][m]).sum();
        rows[k][m] = (rows[k][m] - known) / rows[k][k];
    }
    Some(rows.iter().map(|row| row[m]).collect())
}
