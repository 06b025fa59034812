//! Units in which what varies together counts once (Mahalanobis 1936).

use super::blocks::SKETCH;
use crate::nn::linalg::cholesky::Factor;

/// Added to each direction's variance, as a share of the mean variance.
const RIDGE: f64 = 0.03;

/// The inverse of the covariance of `keys`, `[SKETCH, SKETCH]`, with a share [`RIDGE`] of the mean variance added; a
/// direction in which they do not vary has the mean variance.
pub(super) fn precision(keys: &[f32]) -> Vec<f32> {
    let rows = (keys.len() / SKETCH).max(1) as f64;
    let mut means = [0.0f64; SKETCH];
    for key in keys.chunks_exact(SKETCH) {
        means.iter_mut().zip(key).for_each(|(mean, v)| *mean += f64::from(*v) / rows);
    }
    let mut covariance = vec![0.0f64; SKETCH * SKETCH];
    for key in keys.chunks_exact(SKETCH) {
        let centred: Vec<f64> = key.iter().zip(means).map(|(v, mean)| f64::from(*v) - mean).collect();
        for (i, a) in centred.iter().enumerate() {
            let row = &mut covariance[i * SKETCH..=i * SKETCH + i];
            row.iter_mut().zip(&centred).for_each(|(sum, b)| *sum += a * b / rows);
        }
    }
    let variances = || (0..SKETCH).map(|i| covariance[i * (SKETCH + 1)]).filter(|variance| *variance > 1e-9);
    let mean = (variances().sum::<f64>() / variances().count().max(1) as f64).max(1e-6);
    for i in 0..SKETCH {
        let variance = &mut covariance[i * (SKETCH + 1)];
        *variance += if *variance > 1e-9 { RIDGE * mean } else { mean };
    }
    let Ok(factor) = Factor::new(covariance, SKETCH, 1) else { return vec![0.0; SKETCH * SKETCH] };
    let column = |i: usize| {
        let mut unit = vec![0.0; SKETCH];
        unit[i] = 1.0;
        factor.solve(&mut unit);
        unit.into_iter().map(|v| v as f32)
    };
    (0..SKETCH).flat_map(column).collect()
}
