//! What the readouts share: shrinkage of covariances and means towards a prior, ridges, and the discriminant of a
//! class.

use crate::Result;
use crate::nn::linalg::cholesky::Factor;

/// Mean of the diagonal of a matrix `[width, width]`.
pub(crate) fn mean_diagonal(matrix: &[f64], width: usize) -> f64 {
    (0..width).map(|i| matrix[i * width + i]).sum::<f64>() / width.max(1) as f64
}

/// The factor of a symmetric matrix `[width, width]` with `ridge(i)` added to entry `i` of its diagonal.
///
/// # Errors
/// `singular` where that is not positive definite.
pub(crate) fn factor_with_ridge(
    mut matrix: Vec<f64>,
    width: usize,
    ridge: impl Fn(usize) -> f64,
    threads: usize,
) -> Result<Factor> {
    (0..width).for_each(|i| matrix[i * width + i] += ridge(i));
    Factor::new(matrix, width, threads)
}

/// The factor of a covariance shrunk towards the unit matrix, `(1 − share) Σ + share (tr Σ / width) I` (Ledoit & Wolf
/// 2004), of whose `Σ` the part at and below the diagonal is given. From entry `stronger.0` on the diagonal gets
/// `stronger.1` times as much.
///
/// # Errors
/// `singular` where that is not positive definite.
pub(crate) fn factor_shrunk(
    mut covariance: Vec<f64>,
    width: usize,
    share: f64,
    stronger: (usize, f64),
    threads: usize,
) -> Result<Factor> {
    let trace: f64 = (0..width).map(|i| covariance[i * width + i].max(0.0)).sum();
    let mean_variance = trace / width.max(1) as f64;
    let ridge = share * mean_variance + 1e-9 + 1e-6 * mean_variance;
    covariance.iter_mut().for_each(|v| *v *= 1.0 - share);
    factor_with_ridge(covariance, width, |i| if i < stronger.0 { ridge } else { ridge * stronger.1 }, threads)
}

/// How much of a mean of `rows` rows is kept against a prior mean: `s / (s + r / n)`, the posterior mean of a Gaussian
/// mean with variance `prior` whose rows have variance `noise`.
pub(crate) fn kept_share(prior: f64, noise: f64, rows: f64) -> f64 {
    prior / (prior + noise / rows)
}

/// Weights and bias of a class from its mean less `centre`, and `solved`, which is the inverse covariance times that:
/// `solved`, and `log_prior − ½ meanᵀ solved − centreᵀ solved`.
pub(crate) fn class_discriminant(mean: &[f64], solved: &[f64], centre: &[f64], log_prior: f64) -> (Vec<f32>, f32) {
    let half: f64 = solved.iter().zip(mean).map(|(w, m)| w * m).sum::<f64>() * 0.5;
    let offset: f64 = solved.iter().zip(centre).map(|(w, c)| w * c).sum();
    (solved.iter().map(|&w| w as f32).collect(), (log_prior - half - offset) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_share_leaves_the_mean_variance_alone() {
        let factor = factor_shrunk(vec![4.0, 9.0, 1.0, 2.0], 2, 1.0, (2, 1.0), 1).unwrap();
        let mut solved = vec![3.0, 6.0];
        factor.solve(&mut solved);
        assert!((solved[0] - 1.0).abs() < 1e-5 && (solved[1] - 2.0).abs() < 1e-5, "{solved:?}");
    }

    #[test]
    fn a_mean_of_many_rows_is_kept() {
        assert!(kept_share(1.0, 10.0, 1e6) > 0.9999);
        assert!((kept_share(1.0, 4.0, 4.0) - 0.5).abs() < 1e-12);
    }
}
