//! Measures of sparse coding: lifetime and population sparseness, selectivity by class, tuning curves and
//! participation ratio.
//!
//! For comparison: cells of macaque V1 during natural scenes have a lifetime sparseness of 0.4–0.6 (Vinje and
//! Gallant 2000); about 6 % of the Kenyon cells in a fly's mushroom body respond to an odour (Turner et al. 2008).

use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Points of a tuning curve.
pub const TUNING_POINTS: usize = 32;

/// Sparse-coding measures of a layer's activity over a set of stimuli.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SparseCoding))]
pub struct Sparsity {
    /// Number of stimuli.
    pub stimuli: usize,
    /// Number of units.
    pub units: usize,
    /// Share of activations that are not 0.
    pub active_share: f64,
    /// Units that respond to no stimulus; they have no sparseness and are left out of the means over units.
    pub silent_units: usize,
    /// Stimuli to which no unit responds; left out of the means over stimuli.
    pub silent_stimuli: usize,
    /// Treves–Rolls sparseness of each unit over the stimuli, from 0 (equal responses to all) to 1 (a response to one).
    pub lifetime: Option<Summary>,
    /// Treves–Rolls sparseness of the units for each stimulus.
    pub population: Option<Summary>,
    /// Hoyer's sparseness of each unit over the stimuli.
    pub lifetime_hoyer: Option<Summary>,
    /// Hoyer's sparseness of the units for each stimulus.
    pub population_hoyer: Option<Summary>,
    /// How many dimensions the activity fills: the squared sum of the covariance's eigenvalues, divided by the sum
    /// of their squares. Missing where the activity does not vary.
    pub participation_ratio: Option<f64>,
    /// Selectivity of each unit for the class it responds to most: `(best − rest) / (best + rest)` of the mean
    /// responses, where `rest` is the mean over the other classes. Missing without classes.
    pub selectivity: Option<Summary>,
    /// How many units respond most to each class.
    pub preferred: Vec<usize>,
    /// Mean over units of the responses to all stimuli, strongest first, each unit's largest set to 1; at
    /// [`TUNING_POINTS`] shares of the stimuli.
    pub tuning_curve: Vec<f64>,
}

/// Distribution of a measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = MeasureSummary))]
pub struct Summary {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Quantiles 0.05, 0.25, 0.5, 0.75 and 0.95.
    pub quantiles: [f64; 5],
}

impl Summary {
    fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        let quantile = |q: f64| {
            let (at, part) = ((q * last as f64) as usize, (q * last as f64).fract());
            values[at] + part * (values[(at + 1).min(last)] - values[at])
        };
        Some(Self { mean, deviation, quantiles: [0.05, 0.25, 0.5, 0.75, 0.95].map(quantile) })
    }
}

/// Treves–Rolls sparseness in the form of Vinje and Gallant (2000): `(1 − (Σr/n)² / (Σr²/n)) / (1 − 1/n)`. Responses
/// count by size, whatever their sign. None where there is no response or a single value.
pub fn treves_rolls(responses: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum, squares) = moments(responses);
    (n > 1.0 && squares > 0.0).then(|| ((1.0 - sum * sum / (n * squares)) / (1.0 - 1.0 / n)).clamp(0.0, 1.0))
}

/// Hoyer's (2004) sparseness: `(√n − Σ|r| / √Σr²) / (√n − 1)`. None where there is no response or a single value.
pub fn hoyer(responses: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum, squares) = moments(responses);
    (n > 1.0 && squares > 0.0).then(|| ((n.sqrt() - sum / squares.sqrt()) / (n.sqrt() - 1.0)).clamp(0.0, 1.0))
}

fn moments(responses: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    responses.fold((0.0, 0.0, 0.0), |(n, sum, squares), r| (n + 1.0, sum + r.abs(), squares + r * r))
}

/// `(Σλ)² / Σλ²` for the eigenvalues of the covariance of `activity`, `[stimuli, units]`.
pub fn participation_ratio(activity: &[f32], units: usize) -> Option<f64> {
    let stimuli = activity.len().checked_div(units)?;
    let mut centred: Vec<f64> = activity.iter().map(|&v| f64::from(v)).collect();
    for u in 0..units {
        let mean = centred.iter().skip(u).step_by(units).sum::<f64>() / stimuli as f64;
        centred.iter_mut().skip(u).step_by(units).for_each(|v| *v -= mean);
    }
    // Both products have the same eigenvalues; the smaller one is formed, a block of rows at a time.
    let (size, shape) = if stimuli < units {
        (stimuli, MatrixShape::new(stimuli, units))
    } else {
        (units, MatrixShape::new(stimuli, units).transposed())
    };
    let trace: f64 = centred.iter().map(|v| v * v).sum();
    let (mut squares, mut block) = (0.0, Vec::new());
    for start in (0..size).step_by(256) {
        let high = 256.min(size - start);
        block.resize(high * size, 0.0);
        let rows = MatrixShape { rows: high, ..shape };
        let from = &centred[start * shape.row_step..];
        product((&mut block, MatrixShape::new(high, size)), (from, rows), (&centred, shape.transposed()), None, 1.0);
        squares += block.iter().map(|v| v * v).sum::<f64>();
    }
    (squares > 0.0).then(|| trace * trace / squares)
}

/// Measures the `activity` of a layer, `[stimuli, units]`; `classes` gives the class of each stimulus, from 0 on.
pub fn measure(activity: &[f32], units: usize, classes: Option<&[usize]>) -> Result<Sparsity> {
    let stimuli = activity.len().checked_div(units).unwrap_or(0);
    if stimuli < 2 || activity.len() != stimuli * units || classes.is_some_and(|c| c.len() != stimuli) {
        let message = "sparseness is measured over two or more stimuli with the same units";
        return Err(Error::unprocessable("activity_size", message));
    }
    if activity.iter().any(|v| !v.is_finite()) {
        return Err(Error::unprocessable("activity_value", "an activation is not a finite number"));
    }
    let unit = |u: usize| activity.iter().skip(u).step_by(units).map(|&v| f64::from(v));
    let stimulus = |s: usize| activity[s * units..(s + 1) * units].iter().map(|&v| f64::from(v));
    let lifetime: Vec<f64> = (0..units).filter_map(|u| treves_rolls(unit(u))).collect();
    let population: Vec<f64> = (0..stimuli).filter_map(|s| treves_rolls(stimulus(s))).collect();
    let silent = |squares: f64| squares == 0.0;
    let (selectivity, preferred) = match classes {
        Some(classes) => selectivity(activity, units, classes),
        None => (Vec::new(), Vec::new()),
    };
    Ok(Sparsity {
        stimuli,
        units,
        active_share: activity.iter().filter(|&&v| v != 0.0).count() as f64 / activity.len() as f64,
        silent_units: (0..units).filter(|&u| silent(moments(unit(u)).2)).count(),
        silent_stimuli: (0..stimuli).filter(|&s| silent(moments(stimulus(s)).2)).count(),
        lifetime: Summary::new(lifetime),
        population: Summary::new(population),
        lifetime_hoyer: Summary::new((0..units).filter_map(|u| hoyer(unit(u))).collect()),
        population_hoyer: Summary::new((0..stimuli).filter_map(|s| hoyer(stimulus(s))).collect()),
        participation_ratio: participation_ratio(activity, units),
        selectivity: Summary::new(selectivity),
        preferred,
        tuning_curve: tuning_curve(activity, units),
    })
}

/// Mean response of each unit to each class, `[classes, units]`: its tuning over classes.
pub fn class_means(activity: &[f32], units: usize, classes: &[usize]) -> Vec<f64> {
    let count = classes.iter().max().map_or(0, |&c| c + 1);
    let (mut means, mut counts) = (vec![0.0; count * units], vec![0.0; count]);
    for (row, &class) in activity.chunks_exact(units).zip(classes) {
        counts[class] += 1.0;
        means[class * units..(class + 1) * units].iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v.abs()));
    }
    for (row, count) in means.chunks_exact_mut(units).zip(counts) {
        row.iter_mut().for_each(|m| *m /= f64::max(count, 1.0));
    }
    means
}

/// Selectivity of each unit that responds at all, and how many units prefer each class.
fn selectivity(activity: &[f32], units: usize, classes: &[usize]) -> (Vec<f64>, Vec<usize>) {
    let means = class_means(activity, units, classes);
    let count = means.len() / units;
    // A number that no stimulus has is no class.
    let present: Vec<usize> = (0..count).filter(|class| classes.contains(class)).collect();
    let (mut values, mut preferred) = (Vec::new(), vec![0; count]);
    if present.len() < 2 {
        return (values, preferred);
    }
    for u in 0..units {
        let (mut best, mut most, mut sum) = (present[0], f64::NEG_INFINITY, 0.0);
        for &class in &present {
            let mean = means[class * units + u];
            sum += mean;
            if mean > most {
                (best, most) = (class, mean);
            }
        }
        if most > 0.0 {
            let rest = (sum - most) / (present.len() - 1) as f64;
            values.push((most - rest) / (most + rest));
            preferred[best] += 1;
        }
    }
    (values, preferred)
}

fn tuning_curve(activity: &[f32], units: usize) -> Vec<f64> {
    let stimuli = activity.len() / units;
    let points = TUNING_POINTS.min(stimuli);
    let at: Vec<usize> = (0..points).map(|p| p * (stimuli - 1) / (points - 1).max(1)).collect();
    let (mut curve, mut answering) = (vec![0.0; points], 0.0);
    let mut responses = Vec::with_capacity(stimuli);
    for u in 0..units {
        responses.clear();
        responses.extend(activity.iter().skip(u).step_by(units).map(|v| v.abs()));
        responses.sort_unstable_by(|a, b| b.total_cmp(a));
        if responses[0] > 0.0 {
            answering += 1.0;
            curve.iter_mut().zip(&at).for_each(|(c, &s)| *c += f64::from(responses[s] / responses[0]));
        }
    }
    curve.iter_mut().for_each(|c| *c /= f64::max(answering, 1.0));
    curve
}
