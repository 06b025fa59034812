//! Distances between conditions: Euclidean, correlation, Mahalanobis and crossnobis.
//!
//! The definitions are rsatoolbox's: all but the correlation distance are squared and divided by the number
//! of channels, crossnobis is cross-validated between runs and may be negative.

use super::noise::{Noise, Shrinkage};
use super::rdm::{Dropped, Rdm, pairs};
use super::responses::Responses;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Conditions whose distances are computed by one matrix product.
const BLOCK: usize = 256;

/// How the dissimilarity of two conditions is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// 1 minus the correlation of the two mean patterns across channels.
    #[default]
    Correlation,
    /// Squared Euclidean distance of the mean patterns, divided by the number of channels.
    Euclidean,
    /// The same after whitening by the noise between channels.
    Mahalanobis,
    /// As Mahalanobis, but with the difference of each pair taken from different runs: unbiased, so it may be
    /// negative.
    Crossnobis,
}

/// The dissimilarities of all pairs of conditions.
///
/// Conditions are weighted exactly where the design is unbalanced. Euclidean, correlation and Mahalanobis use the
/// mean over a condition's observations; crossnobis averages the products of all pairs of observations from
/// different runs. A condition without a defined distance is dropped and named.
pub fn dissimilarities(responses: &Responses, distance: Distance, shrinkage: Shrinkage) -> Result<Rdm> {
    if responses.conditions().len() < 2 {
        return Err(Error::unprocessable("one_condition", "a distance needs two conditions, and the data has one"));
    }
    match distance {
        Distance::Euclidean => euclidean(responses),
        Distance::Correlation => correlation(responses),
        Distance::Mahalanobis => euclidean(&Noise::estimate(responses, shrinkage)?.whiten(responses)?),
        Distance::Crossnobis => crossnobis(&Noise::estimate(responses, shrinkage)?.whiten(responses)?),
    }
}

fn euclidean(responses: &Responses) -> Result<Rdm> {
    let p = responses.channels();
    let mut means = responses.means();
    // Without the mean over conditions, which no distance depends on, little is lost by subtracting products.
    let n = means.len() / p;
    for c in 0..p {
        let mean = means.iter().skip(c).step_by(p).sum::<f64>() / n as f64;
        means.iter_mut().skip(c).step_by(p).for_each(|v| *v -= mean);
    }
    let values = from_products(&means, p, |own_i, own_j, both| (own_i + own_j - 2.0 * both).max(0.0) / p as f64);
    finish(responses.conditions().to_vec(), values, Vec::new())
}

fn correlation(responses: &Responses) -> Result<Rdm> {
    let p = responses.channels();
    if p < 2 {
        let message = "a correlation distance needs at least two channels; use the distance `euclidean`";
        return Err(Error::unprocessable("one_channel", message));
    }
    let means = responses.means();
    let (mut patterns, mut names, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    for (row, name) in means.chunks_exact(p).zip(responses.conditions()) {
        let mean = row.iter().sum::<f64>() / p as f64;
        let norm = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt();
        let largest = row.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        if norm <= 1e-12 * largest * (p as f64).sqrt() {
            let reason = "the same value in all channels; its correlation is not defined".into();
            dropped.push(Dropped { condition: name.clone(), reason });
        } else {
            patterns.extend(row.iter().map(|v| (v - mean) / norm));
            names.push(name.clone());
        }
    }
    // Equal patterns are equal, not a rounding error apart.
    let gap = |both: f64| if 1.0 - both < 1e-12 { 0.0 } else { 1.0 - both };
    let values = from_products(&patterns, p, |_, _, both| gap(both));
    finish(names, values, dropped)
}

/// Distances from the inner products of the rows of `x`, `[n, p]`, in blocks of rows.
fn from_products(x: &[f64], p: usize, distance: impl Fn(f64, f64, f64) -> f64) -> Vec<f32> {
    let n = x.len() / p;
    let own: Vec<f64> = x.chunks_exact(p).map(|row| row.iter().map(|v| v * v).sum()).collect();
    let mut values = Vec::with_capacity(pairs(n));
    let mut block = vec![0.0; BLOCK.min(n) * n];
    for start in (0..n).step_by(BLOCK) {
        let (high, wide) = (BLOCK.min(n - start), n - start);
        product(
            (&mut block, MatrixShape::new(high, wide)),
            (&x[start * p..], MatrixShape::new(high, p)),
            (&x[start * p..], MatrixShape::new(wide, p).transposed()),
            None,
            1.0,
        );
        for i in 0..high {
            let row = &block[i * wide..(i + 1) * wide];
            values.extend((i + 1..wide).map(|j| distance(own[start + i], own[start + j], row[j]) as f32));
        }
    }
    values
}

/// Cross-validated distances of whitened responses: `S_ii + S_jj − 2 S_ij`, where `S_ab` is the mean product of
/// an observation of `a` and one of `b` over all pairs of observations from different runs.
fn crossnobis(responses: &Responses) -> Result<Rdm> {
    let p = responses.channels();
    if responses.folds() < 2 {
        let message = "a cross-validated distance needs two runs; use the distance `mahalanobis`";
        return Err(Error::unprocessable("one_run", message));
    }
    let cells = responses.fold_sums()?;
    let kept: Vec<usize> = (0..cells.kept.len()).filter(|&c| cells.kept[c]).collect();
    let n = kept.len();
    let mut place = vec![usize::MAX; cells.kept.len()];
    kept.iter().enumerate().for_each(|(at, &c)| place[c] = at);
    let (mut totals, mut counts) = (vec![0.0; n * p], vec![0.0; n]);
    let mut by_fold = vec![Vec::new(); responses.folds()];
    for (at, &(c, f)) in cells.cells.iter().enumerate().filter(|(_, (c, _))| cells.kept[*c]) {
        let i = place[c];
        totals[i * p..(i + 1) * p].iter_mut().zip(&cells.sums[at * p..(at + 1) * p]).for_each(|(t, v)| *t += v);
        counts[i] += cells.counts[at] as f64;
        by_fold[f].push((i, at));
    }
    // Products of the totals, minus those of observations of the same run.
    let mut products = vec![0.0; n * n];
    let square = MatrixShape::new(n, n);
    product(
        (&mut products, square),
        (&totals, MatrixShape::new(n, p)),
        (&totals, MatrixShape::new(n, p).transposed()),
        None,
        1.0,
    );
    let mut weights: Vec<f64> = (0..n * n).map(|at| counts[at / n] * counts[at % n]).collect();
    let (mut sums, mut block) = (Vec::new(), Vec::new());
    for members in &by_fold {
        let m = members.len();
        sums.clear();
        members.iter().for_each(|&(_, at)| sums.extend_from_slice(&cells.sums[at * p..(at + 1) * p]));
        block.resize(m * m, 0.0);
        let shape = MatrixShape::new(m, p);
        product((&mut block, MatrixShape::new(m, m)), (&sums, shape), (&sums, shape.transposed()), None, 1.0);
        for (a, &(i, at)) in members.iter().enumerate() {
            for (b, &(j, other)) in members.iter().enumerate() {
                products[i * n + j] -= block[a * m + b];
                weights[i * n + j] -= (cells.counts[at] * cells.counts[other]) as f64;
            }
        }
    }
    products.iter_mut().zip(&weights).for_each(|(v, w)| *v /= w * p as f64);
    let mut values = Vec::with_capacity(pairs(n));
    for i in 0..n {
        let own = products[i * n + i];
        values.extend((i + 1..n).map(|j| (own + products[j * n + j] - 2.0 * products[i * n + j]) as f32));
    }
    let names = kept.iter().map(|&c| responses.conditions()[c].clone()).collect();
    finish(names, values, cells.dropped)
}

fn finish(names: Vec<String>, values: Vec<f32>, dropped: Vec<Dropped>) -> Result<Rdm> {
    if names.len() < 2 {
        let reasons = dropped
            .iter()
            .map(|d| crate::Detail { reason: format!("`{}`: {}", d.condition, d.reason), ..crate::Detail::default() });
        let message = "fewer than two conditions have a defined distance";
        return Err(Error::unprocessable("too_few_conditions", message).with_details(reasons));
    }
    let mut rdm = Rdm::new(names, values)?;
    rdm.dropped = dropped;
    Ok(rdm)
}
