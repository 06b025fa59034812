//! A class of which only a few rows are known, beside classes of which many are.
//!
//! The mean of `n` rows is off by their noise, and in hundreds of dimensions that noise is longer than
//! what tells classes apart. But known classes say in which directions classes differ: within these
//! the mean is taken as it is, and outside of them it is shrunk towards nothing by how far a class
//! lies there against how far a row does, `s / (s + r / n)`. That is the posterior mean of a Gaussian class
//! mean, with two variances for the prior (as in probabilistic discriminant analysis, Ioffe 2006).
//! Lengths are measured by the covariance within classes, `xᵀ Σ⁻¹ x`.

use crate::Result;
use crate::nn::linalg::cholesky::{Factor, dot};

/// Added to the products of the known means, as a share of their mean: they add up to nothing, so one
/// of them follows from the others.
const RIDGE: f64 = 1e-3;
/// What all products are raised by, in terms of their mean, so that coefficients add up to one.
const AFFINE: f64 = 1e4;

/// Known classes: what they differ by.
#[derive(Debug)]
pub struct Known {
    width: usize,
    /// Means less the centre, `[classes, width]`.
    means: Vec<f64>,
    /// `Σ⁻¹` times the means, `[classes, width]`.
    solved: Vec<f64>,
    /// `meansᵀ Σ⁻¹ means`, `[classes, classes]`.
    products: Vec<f64>,
    factor: Factor,
}

impl Known {
    /// From means less their centre, `[classes, width]`, and these solved by the covariance.
    ///
    /// # Errors
    /// `singular` where all classes have the same mean.
    pub fn new(means: Vec<f64>, solved: Vec<f64>, width: usize) -> Result<Self> {
        let classes = means.len() / width.max(1);
        let products: Vec<f64> = (means.chunks_exact(width))
            .flat_map(|mean| solved.chunks_exact(width).map(move |solved| dot(mean, solved)))
            .collect();
        let mut system = products.clone();
        let ridge = RIDGE * trace(&products, classes) / classes.max(1) as f64;
        (0..classes).for_each(|c| system[c * classes + c] += ridge);
        let factor = Factor::new(system, classes, 1)?;
        Ok(Self { width, means, solved, products, factor })
    }

    /// How much of each known mean makes up the part of `x` that lies among them.
    fn among(&self, x: &[f64]) -> Vec<f64> {
        let mut shares: Vec<f64> = self.solved.chunks_exact(self.width).map(|solved| dot(solved, x)).collect();
        self.factor.solve(&mut shares);
        shares
    }

    /// Square length of `x`, of which `solved` is `Σ⁻¹ x`, outside of what known classes differ by.
    pub fn outside(&self, x: &[f64], solved: &[f64]) -> f64 {
        let shares = self.among(x);
        let along: f64 = (shares.iter().zip(self.solved.chunks_exact(self.width))).map(|(a, s)| a * dot(s, x)).sum();
        (dot(x, solved) - along).max(0.0)
    }

    /// Mean square distance of a class from the plane through all the others: the inverse of its
    /// diagonal entry in the inverse of the products.
    ///
    /// # Errors
    /// `singular` where classes have the same mean.
    pub fn apart(&self) -> Result<f64> {
        let classes = self.means.len() / self.width.max(1);
        let raised = AFFINE * trace(&self.products, classes) / classes.max(1) as f64;
        let system: Vec<f64> = self.products.iter().map(|p| p + raised).collect();
        let factor = Factor::new(system, classes, 1)?;
        let mut inverse = vec![0.0; classes * classes];
        (0..classes).for_each(|c| inverse[c * classes + c] = 1.0);
        factor.solve(&mut inverse);
        Ok((0..classes).map(|c| 1.0 / inverse[c * classes + c]).sum::<f64>() / classes as f64)
    }

    /// The mean `x` of a new class with `keep` of what lies outside, and that solved.
    pub fn shrunk(&self, x: &[f64], solved: &[f64], keep: f64) -> (Vec<f64>, Vec<f64>) {
        let shares = self.among(x);
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

fn trace(products: &[f64], classes: usize) -> f64 {
    (0..classes).map(|c| products[c * classes + c]).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::random::Random;

    /// Four classes in the plane of the first two of six axes; the covariance is the unit matrix.
    fn square() -> Known {
        let means: Vec<f64> = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)]
            .iter()
            .flat_map(|&(a, b)| [a, b, 0.0, 0.0, 0.0, 0.0])
            .collect();
        Known::new(means.clone(), means, 6).unwrap()
    }

    #[test]
    fn what_lies_among_the_known_is_kept_and_the_rest_shrunk() {
        let x = [0.5, 0.2, 0.7, 0.0, -0.4, 0.1];
        let known = square();
        assert!((known.outside(&x, &x) - 0.66).abs() < 0.01, "{}", known.outside(&x, &x));
        let (mean, solved) = known.shrunk(&x, &x, 0.5);
        for (found, wanted) in mean.iter().chain(&solved).zip([0.5, 0.2, 0.35, 0.0, -0.2, 0.05].iter().cycle()) {
            assert!((found - wanted).abs() < 0.01, "{mean:?}");
        }
    }

    #[test]
    fn how_far_apart_classes_lie_is_measured_from_the_plane_of_the_others() {
        // Corners of a simplex with edges of length 2: each is 2·√(2/3) from the plane of the other three.
        let corners: [[f64; 3]; 4] =
            [[1., 0., -0.5f64.sqrt()], [-1., 0., -0.5f64.sqrt()], [0., 1., 0.5f64.sqrt()], [0., -1., 0.5f64.sqrt()]];
        let means: Vec<f64> = corners.concat();
        let known = Known::new(means.clone(), means, 3).unwrap();
        assert!((known.apart().unwrap() - 8.0 / 3.0).abs() < 0.01, "{}", known.apart().unwrap());
    }

    #[test]
    fn one_row_of_a_new_class_tells_more_when_it_is_shrunk() {
        let mut random = Random::new(5);
        let (width, among) = (200, 6);
        // Classes differ by six directions, and a little by all others.
        let mut class = || -> Vec<f64> {
            (0..width).map(|i| f64::from(random.normal()) * if i < among { 3.0 } else { 0.1 }).collect()
        };
        let means: Vec<Vec<f64>> = (0..8).map(|_| class()).collect();
        let (fresh, flat) = (class(), means.concat());
        let known = Known::new(flat.clone(), flat, width).unwrap();
        let row: Vec<f64> = fresh.iter().map(|m| m + f64::from(random.normal())).collect();
        let keep = 2.0 / (2.0 + known.outside(&row, &row));
        let (mean, _) = known.shrunk(&row, &row, keep);
        let far = |from: &[f64]| from.iter().zip(&fresh).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        assert!(far(&mean) < 0.2 * far(&row), "{} {}", far(&mean), far(&row));
    }
}
