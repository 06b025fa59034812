//! A class of which only a few rows are known, among classes of which many are.
//!
//! The mean of `n` rows is off by their noise, and in hundreds of dimensions that noise is longer than
//! what distinguishes classes. But known classes show in which directions classes differ: within the span of these
//! the mean is taken as it is, and the residual outside of it is shrunk to zero by [`kept_share`], with the variance of
//! classes there as the prior and that of rows as the noise (as in probabilistic discriminant analysis, Ioffe 2006).
//! Lengths are measured by the covariance within classes, `xᵀ Σ⁻¹ x`.
//!
//! The bias of such a class is calibrated on stored rows of known classes: it is as large as it can be while at
//! most one in 600 of these is lost to the new class, evaluated as if that row had not been learned. With more rows
//! the calibrated bias fades.

use super::shrinkage::{class_discriminant, factor_with_ridge, kept_share, mean_diagonal};
use crate::Result;
use crate::nn::linalg::cholesky::Factor;
use crate::nn::linalg::dot;
use serde::{Deserialize, Serialize};

/// Added to the products of the known means, as a share of their mean: they add up to nothing, so one
/// of them follows from the others.
const RIDGE: f64 = 1e-3;
/// What all products are raised by, in terms of their mean, so that coefficients add up to one.
const AFFINE: f64 = 1e4;

/// Rows from which on a class is known like any other.
pub(crate) const MANY: u64 = 200;
/// Rows up to which the bias is the calibrated one; from there on it fades.
const CALIBRATED: f32 = 40.0;
/// One in this many stored rows may be lost to the new class. Stored rows are more typical of their class
/// than other rows are, of which a few times as many are lost.
const LOST: usize = 600;
/// Stored rows below which nothing is calibrated.
const LEAST: usize = 200;

/// The subspace in which known classes differ.
#[derive(Debug)]
pub(crate) struct ClassSubspace {
    width: usize,
    /// Means less the centre, `[classes, width]`.
    means: Vec<f64>,
    /// `Σ⁻¹` times the means, `[classes, width]`.
    solved: Vec<f64>,
    /// `meansᵀ Σ⁻¹ means`, `[classes, classes]`.
    products: Vec<f64>,
    factor: Factor,
}

/// Mean squared lengths outside of the subspace of known classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ResidualVariances {
    /// Of a class against the others.
    pub(crate) class: f32,
    /// Of a row against its class.
    pub(crate) row: f32,
}

impl ClassSubspace {
    /// From means less their centre, `[classes, width]`, and these solved by the covariance.
    ///
    /// # Errors
    /// `singular` where all classes have the same mean.
    pub(crate) fn new(means: Vec<f64>, solved: Vec<f64>, width: usize) -> Result<Self> {
        let classes = means.len() / width.max(1);
        let products: Vec<f64> = (means.chunks_exact(width))
            .flat_map(|mean| solved.chunks_exact(width).map(move |solved| dot(mean, solved)))
            .collect();
        let ridge = RIDGE * mean_diagonal(&products, classes);
        let factor = factor_with_ridge(products.clone(), classes, |_| ridge, 1)?;
        Ok(Self { width, means, solved, products, factor })
    }

    /// The coefficients of the known means in the projection of `x`.
    fn coefficients(&self, x: &[f64]) -> Vec<f64> {
        let mut shares: Vec<f64> = self.solved.chunks_exact(self.width).map(|solved| dot(solved, x)).collect();
        self.factor.solve(&mut shares);
        shares
    }

    /// Squared length of what is outside of the subspace, of `x` of which `solved` is `Σ⁻¹ x`.
    pub(crate) fn residual(&self, x: &[f64], solved: &[f64]) -> f64 {
        let shares = self.coefficients(x);
        let along: f64 = (shares.iter().zip(self.solved.chunks_exact(self.width))).map(|(a, s)| a * dot(s, x)).sum();
        (dot(x, solved) - along).max(0.0)
    }

    /// Mean squared distance of a class from the plane through all the others: the inverse of its
    /// diagonal entry in the inverse of the products.
    ///
    /// # Errors
    /// `singular` where classes have the same mean.
    pub(crate) fn class_variance(&self) -> Result<f64> {
        let classes = self.means.len() / self.width.max(1);
        let raised = AFFINE * mean_diagonal(&self.products, classes);
        let system: Vec<f64> = self.products.iter().map(|p| p + raised).collect();
        let factor = Factor::new(system, classes, 1)?;
        let mut inverse = vec![0.0; classes * classes];
        (0..classes).for_each(|c| inverse[c * classes + c] = 1.0);
        factor.solve(&mut inverse);
        Ok((0..classes).map(|c| 1.0 / inverse[c * classes + c]).sum::<f64>() / classes as f64)
    }

    /// The variances of classes and, from the `deviations` of some rows from their class's mean, of rows; none where
    /// classes have the same mean or there is no row.
    pub(crate) fn variances(
        &self,
        covariance: &Factor,
        deviations: impl Iterator<Item = Vec<f64>>,
    ) -> Option<ResidualVariances> {
        let residuals: Vec<f64> = deviations
            .map(|deviation| {
                let mut solved = deviation.clone();
                covariance.solve(&mut solved);
                self.residual(&deviation, &solved)
            })
            .collect();
        let row = residuals.iter().sum::<f64>() / residuals.len() as f64;
        let class = self.class_variance().ok().filter(|_| row.is_finite())?;
        Some(ResidualVariances { class: class as f32, row: row as f32 })
    }

    /// The mean `x` of a new class with `keep` of its residual, and that solved.
    pub(crate) fn shrunk(&self, x: &[f64], solved: &[f64], keep: f64) -> (Vec<f64>, Vec<f64>) {
        let shares = self.coefficients(x);
        let mix = |own: &[f64], known: &[f64]| {
            let mut out: Vec<f64> = own.iter().map(|v| keep * v).collect();
            for (share, row) in shares.iter().zip(known.chunks_exact(self.width)) {
                out.iter_mut().zip(row).for_each(|(o, v)| *o += (1.0 - keep) * share * v);
            }
            out
        };
        (mix(x, &self.means), mix(solved, &self.solved))
    }
}

/// Weights and bias of a class from the `mean` less `centre` of its `rows` rows, shrunk if there is something to
/// shrink by.
pub(crate) fn discriminant(
    covariance: &Factor,
    mut mean: Vec<f64>,
    centre: &[f64],
    rows: f64,
    prior: Option<(&ClassSubspace, ResidualVariances)>,
) -> (Vec<f32>, f32) {
    let mut solved = mean.clone();
    covariance.solve(&mut solved);
    if let Some((subspace, variances)) = prior {
        let keep = kept_share(f64::from(variances.class), f64::from(variances.row), rows.max(1.0));
        (mean, solved) = subspace.shrunk(&mean, &solved, keep);
    }
    class_discriminant(&mean, &solved, centre, 0.0)
}

/// What `margins` of stored rows of a known class of `class_rows` rows would be had they not been among the
/// `rows` rows learned. A row at squared distance `h` from its mean pulls the covariance and the mean towards itself:
/// without it, its deviation is `N / (N − h)` times as large, and its class `h / n` further from it.
pub(crate) fn leave_one_out_margins(margins: &[f64], rows: f64, class_rows: f64, h: f64) -> impl Iterator<Item = f64> {
    let stretch = rows / (rows - h).max(rows / 10.0);
    let mean = margins.iter().sum::<f64>() / margins.len().max(1) as f64;
    let shift = stretch * h / class_rows.max(1.0);
    margins.iter().map(move |margin| mean + stretch * (margin - mean) + shift)
}

/// The bias that is added for a class of `rows` rows, from the margins by which it would win stored rows of known
/// classes. A mean of few rows is further from everything by its own noise, so without a bias the class would hardly
/// ever be the answer. Zero where there are too few margins to calibrate on.
pub(crate) fn calibrated_bias(mut margins: Vec<f64>, rows: u64) -> f32 {
    if margins.len() < LEAST {
        return 0.0;
    }
    let lost = margins.len() / LOST;
    let (_, margin, _) = margins.select_nth_unstable_by(lost, |a, b| b.total_cmp(a));
    let fade = ((MANY as f32 / rows.max(1) as f32).ln() / (MANY as f32 / CALIBRATED).ln()).clamp(0.0, 1.0);
    -*margin as f32 * fade
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Four classes in the plane of the first two of six axes; the covariance is the unit matrix.
    fn square() -> ClassSubspace {
        let means: Vec<f64> = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)]
            .iter()
            .flat_map(|&(a, b)| [a, b, 0.0, 0.0, 0.0, 0.0])
            .collect();
        ClassSubspace::new(means.clone(), means, 6).unwrap()
    }

    #[test]
    fn the_projection_is_kept_and_the_residual_shrunk() {
        let x = [0.5, 0.2, 0.7, 0.0, -0.4, 0.1];
        let known = square();
        assert!((known.residual(&x, &x) - 0.66).abs() < 0.01, "{}", known.residual(&x, &x));
        let (mean, solved) = known.shrunk(&x, &x, 0.5);
        for (found, wanted) in mean.iter().chain(&solved).zip([0.5, 0.2, 0.35, 0.0, -0.2, 0.05].iter().cycle()) {
            assert!((found - wanted).abs() < 0.01, "{mean:?}");
        }
    }

    #[test]
    fn class_variance_is_measured_from_the_plane_of_the_others() {
        // Corners of a simplex with edges of length 2: each is 2·√(2/3) from the plane of the other three.
        let corners: [[f64; 3]; 4] =
            [[1., 0., -0.5f64.sqrt()], [-1., 0., -0.5f64.sqrt()], [0., 1., 0.5f64.sqrt()], [0., -1., 0.5f64.sqrt()]];
        let means: Vec<f64> = corners.concat();
        let known = ClassSubspace::new(means.clone(), means, 3).unwrap();
        assert!((known.class_variance().unwrap() - 8.0 / 3.0).abs() < 0.01, "{}", known.class_variance().unwrap());
    }

    #[test]
    fn one_row_of_a_new_class_is_a_better_mean_when_shrunk() {
        let mut random = Random::new(5);
        let (width, among) = (200, 6);
        // Classes differ by six directions, and a little by all others.
        let mut class = || -> Vec<f64> {
            (0..width).map(|i| f64::from(random.normal()) * if i < among { 3.0 } else { 0.1 }).collect()
        };
        let means: Vec<Vec<f64>> = (0..8).map(|_| class()).collect();
        let (fresh, flat) = (class(), means.concat());
        let known = ClassSubspace::new(flat.clone(), flat, width).unwrap();
        let row: Vec<f64> = fresh.iter().map(|m| m + f64::from(random.normal())).collect();
        let keep = kept_share(2.0, known.residual(&row, &row), 1.0);
        let (mean, _) = known.shrunk(&row, &row, keep);
        let far = |from: &[f64]| from.iter().zip(&fresh).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        assert!(far(&mean) < 0.2 * far(&row), "{} {}", far(&mean), far(&row));
    }

    #[test]
    fn the_bias_lets_one_in_six_hundred_go_and_fades() {
        let margins = || (0..1_200).map(f64::from).collect::<Vec<_>>();
        assert_eq!(calibrated_bias(margins(), 1), -1197.0);
        assert_eq!(calibrated_bias(margins(), MANY), 0.0);
        assert_eq!(calibrated_bias(vec![5.0; LEAST - 1], 1), 0.0);
    }
}
