//! The covariance of the noise between channels, estimated with shrinkage from repeated observations.

use super::responses::Responses;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// Channels whose covariance is held in memory at most (three matrices of this size, squared).
pub const MAX_CHANNELS: usize = 4096;

/// How the noise covariance is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shrinkage {
    /// Towards the diagonal of variances (Schäfer and Strimmer 2005).
    #[default]
    Diagonal,
    /// Towards a multiple of the identity (Ledoit and Wolf 2004).
    Identity,
}

/// The noise covariance of the channels that vary.
#[derive(Clone, Debug)]
pub struct Noise {
    /// Channels with noise; a channel without has no precision and takes no part in the distance.
    pub channels: Vec<usize>,
    /// The covariance, `[channels, channels]`.
    pub covariance: Vec<f64>,
    /// How far it was shrunk, from 0 (not at all) to 1.
    pub shrinkage: f64,
}

impl Noise {
    /// Estimates the covariance of the residuals around the mean of each condition.
    pub fn estimate(responses: &Responses, shrinkage: Shrinkage) -> Result<Self> {
        let (rows, all) = (responses.observations(), responses.channels());
        let Some(freedom) = rows.checked_sub(responses.conditions().len()).filter(|&f| f > 0) else {
            let message = "the noise between channels is estimated from repeated observations of a condition, \
                and no condition has two; use the distance `euclidean` or `correlation`";
            return Err(Error::unprocessable("no_repetitions", message));
        };
        let residuals = responses.residuals();
        let scale = responses.values().iter().fold(0.0f64, |m, v| m.max(v.abs()));
        // Residuals of a constant channel are rounding errors of its mean.
        let varies = |c: usize| residuals.iter().skip(c).step_by(all).any(|v| v.abs() > 1e-12 * scale);
        let channels: Vec<usize> = (0..all).filter(|&c| varies(c)).collect();
        let p = channels.len();
        if p == 0 {
            let message = "no channel varies between the observations of a condition, so there is no noise to weigh by";
            return Err(Error::unprocessable("no_noise", message));
        }
        if p > MAX_CHANNELS {
            let message = format!("{p} channels; the noise covariance of at most {MAX_CHANNELS} can be estimated");
            return Err(Error::new(Kind::TooLarge, "too_many_channels", message));
        }
        let kept = select(&residuals, all, &channels);
        let mut noise = match shrinkage {
            Shrinkage::Diagonal => towards_diagonal(&kept, p, freedom as f64),
            Shrinkage::Identity => towards_identity(&kept, p, freedom as f64),
        };
        noise.channels = channels;
        Ok(noise)
    }

    /// The responses with noise of unit covariance: `x ↦ L⁻¹ x` where `L Lᵀ` is the covariance.
    pub fn whiten(&self, responses: &Responses) -> Result<Responses> {
        let p = self.channels.len();
        let lower = cholesky(&self.covariance, p)?;
        let mut values = select(responses.values(), responses.channels(), &self.channels);
        for x in values.chunks_exact_mut(p) {
            for i in 0..p {
                let known: f64 = lower[i * p..i * p + i].iter().zip(&x[..i]).map(|(l, v)| l * v).sum();
                x[i] = (x[i] - known) / lower[i * p + i];
            }
        }
        Ok(responses.with_values(values, p))
    }
}

/// The chosen columns of a matrix.
fn select(values: &[f64], all: usize, channels: &[usize]) -> Vec<f64> {
    values.chunks_exact(all).flat_map(|row| channels.iter().map(|&c| row[c])).collect()
}

/// `xᵀ x` for `x` `[rows, p]`.
fn second_moment(x: &[f64], p: usize) -> Vec<f64> {
    let (mut out, shape) = (vec![0.0; p * p], MatrixShape::new(x.len() / p, p));
    product((&mut out, MatrixShape::new(p, p)), (x, shape.transposed()), (x, shape), None, 1.0);
    out
}

/// As rsatoolbox's `shrinkage_diag`.
fn towards_diagonal(x: &[f64], p: usize, freedom: f64) -> Noise {
    let rows = (x.len() / p) as f64;
    let moment = second_moment(x, p);
    let squares: Vec<f64> = x.iter().map(|v| v * v).collect();
    let fourth = second_moment(&squares, p);
    let variance: Vec<f64> = (0..p).map(|i| moment[i * p + i] / freedom).collect();
    let (mut uncertainty, mut strength) = (0.0, 0.0);
    for i in 0..p {
        for j in 0..p {
            if i != j {
                let v = variance[i] * variance[j];
                let mean = moment[i * p + j] / v.sqrt() / (rows - 1.0);
                uncertainty += rows / (freedom * freedom) * (fourth[i * p + j] / v / (rows - 1.0) - mean * mean);
                strength += mean * mean;
            }
        }
    }
    let shrinkage = if strength > 0.0 { (uncertainty / strength).clamp(0.0, 1.0) } else { 1.0 };
    let mut covariance = moment;
    for i in 0..p {
        for j in 0..p {
            covariance[i * p + j] *= if i == j { 1.0 / freedom } else { (1.0 - shrinkage) / freedom };
        }
    }
    Noise { channels: Vec::new(), covariance, shrinkage }
}

/// As rsatoolbox's `shrinkage_eye`.
fn towards_identity(x: &[f64], p: usize, freedom: f64) -> Noise {
    let rows = (x.len() / p) as f64;
    let mut covariance = second_moment(x, p);
    covariance.iter_mut().for_each(|v| *v /= rows);
    let squares: Vec<f64> = x.iter().map(|v| v * v).collect();
    let fourth = second_moment(&squares, p);
    let mean = (0..p).map(|i| covariance[i * p + i]).sum::<f64>() / p as f64;
    let uncertainty = fourth.iter().zip(&covariance).map(|(f, s)| f / rows - s * s).sum::<f64>() / rows;
    let mut distance = 0.0;
    for i in 0..p {
        for j in 0..p {
            let target = if i == j { mean } else { 0.0 };
            distance += (covariance[i * p + j] - target).powi(2);
        }
    }
    let shrinkage = if distance > 0.0 { (uncertainty / distance).clamp(0.0, 1.0) } else { 1.0 };
    for i in 0..p {
        for j in 0..p {
            let target = if i == j { shrinkage * mean } else { 0.0 };
            covariance[i * p + j] = (target + (1.0 - shrinkage) * covariance[i * p + j]) * rows / freedom;
        }
    }
    Noise { channels: Vec::new(), covariance, shrinkage }
}

/// The lower factor of a covariance.
fn cholesky(a: &[f64], p: usize) -> Result<Vec<f64>> {
    let mut l = a.to_vec();
    for i in 0..p {
        for j in 0..=i {
            let known: f64 = l[i * p..i * p + j].iter().zip(&l[j * p..j * p + j]).map(|(x, y)| x * y).sum();
            let rest = l[i * p + j] - known;
            if i != j {
                l[i * p + j] = rest / l[j * p + j];
            } else if rest > 1e-12 * a[i * p + i] {
                l[i * p + i] = rest.sqrt();
            } else {
                let message = "the noise covariance has no inverse: there are too few repeated observations, or two \
                    channels are the same; use more repetitions or the distance `euclidean`";
                return Err(Error::unprocessable("singular_noise", message));
            }
        }
    }
    Ok(l)
}
