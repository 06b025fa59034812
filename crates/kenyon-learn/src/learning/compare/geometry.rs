//! Comparisons of whole configurations: linear CKA of two layers, and the Procrustes distance.

use super::eigen;
use super::prepared::Prepared;
use super::rdm::pair_index;
use super::sample::Sample;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::{Error, Result};

/// Conditions that a Procrustes comparison takes at most; its cost grows with their cube.
pub const MAX_PROCRUSTES: usize = 1000;

/// Linear CKA of two representations of the same stimuli, `[stimuli, x_channels]` and `[stimuli, y_channels]`.
///
/// It equals the whitened cosine of their Euclidean dissimilarity matrices (Diedrichsen et al. 2021).
pub fn linear_cka(x: &[f64], x_channels: usize, y: &[f64], y_channels: usize) -> Result<f64> {
    let (rows, other) = (x.len() / x_channels.max(1), y.len() / y_channels.max(1));
    if rows != other || rows < 2 {
        let message = format!("{rows} and {other} stimuli: two layers are compared on the same two or more stimuli");
        return Err(Error::unprocessable("stimuli_do_not_match", message));
    }
    let (gx, gy) = (centred_products(x, x_channels), centred_products(y, y_channels));
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let (own_x, own_y) = (dot(&gx, &gx), dot(&gy, &gy));
    if own_x <= 0.0 || own_y <= 0.0 {
        return Err(Error::unprocessable("constant_layer", "a layer responds equally to all stimuli"));
    }
    Ok(dot(&gx, &gy) / (own_x * own_y).sqrt())
}

fn centred_products(x: &[f64], p: usize) -> Vec<f64> {
    let n = x.len() / p;
    let mut x = x.to_vec();
    for c in 0..p {
        let mean = x.iter().skip(c).step_by(p).sum::<f64>() / n as f64;
        x.iter_mut().skip(c).step_by(p).for_each(|v| *v -= mean);
    }
    let mut g = vec![0.0; n * n];
    product(
        (&mut g, MatrixShape::new(n, n)),
        (&x, MatrixShape::new(n, p)),
        (&x, MatrixShape::new(n, p).transposed()),
        None,
        1.0,
    );
    g
}

/// The Procrustes distance that belongs to a Procrustes similarity: the smallest distance of two
/// configurations of unit size over all rotations, from 0 to the root of 2.
pub fn procrustes_distance(similarity: f64) -> f64 {
    (2.0 - 2.0 * similarity).max(0.0).sqrt()
}

/// Second moments of all matrices in a sample, for the Procrustes similarity: the nuclear norm of
/// `Xᵀ Y` for centred configurations of unit size.
///
/// The roots of small eigenvalues make it the least exact of the comparisons: for layers of few dimensions the
/// fifth digit depends on the rounding of the dissimilarities. Unlike pairs of dissimilarities, repeated stimuli cannot be left out of a configuration; they weigh twice.
pub(crate) struct Configurations {
    size: usize,
    systems: usize,
    /// Centred second moments, `[drawn, drawn]` each.
    moments: Vec<Vec<f64>>,
    /// Length of each subject's dissimilarities; subjects are scaled by it before they are averaged.
    lengths: Vec<f64>,
    fits: Vec<f64>,
}

impl Configurations {
    /// Of squared Euclidean dissimilarities, the first `systems` of which are systems, the others subjects.
    pub(crate) fn new(values: &[Vec<f32>], systems: usize, sample: &Sample) -> Result<Self> {
        let size = sample.drawn.len();
        let moments: Vec<Vec<f64>> = values.iter().map(|v| centred_moments(v, sample)).collect();
        let length = |v: &Vec<f32>| {
            let mut sum = 0.0;
            sample.for_blocks(|block| {
                sum += block.index.iter().zip(&block.weight).map(|(&at, w)| f64::from(v[at]).powi(2) * w).sum::<f64>();
            });
            sum.sqrt()
        };
        let lengths = values[systems..].iter().map(length).collect();
        let mut this = Self { size, systems, moments, lengths, fits: Vec::new() };
        let targets: Vec<usize> = (0..values.len() - systems).collect();
        for m in 0..systems {
            let fits = this.similarities(&this.moments[m], &targets)?;
            this.fits.extend(fits);
        }
        Ok(this)
    }

    /// Of one configuration to some subjects.
    fn similarities(&self, moments: &[f64], subjects: &[usize]) -> Result<Vec<f64>> {
        let (n, root) = (self.size, root(moments, self.size)?);
        let trace = |g: &[f64]| -> f64 { (0..n).map(|i| g[i * n + i]).sum() };
        let (shape, mut half, mut both) = (MatrixShape::new(n, n), vec![0.0; n * n], vec![0.0; n * n]);
        let mut one = |&subject: &usize| {
            let other = &self.moments[self.systems + subject];
            let size = trace(moments) * trace(other);
            if size <= 0.0 {
                return Ok(0.0);
            }
            product((&mut half, shape), (&root, shape), (other, shape), None, 1.0);
            product((&mut both, shape), (&half, shape), (&root, shape), None, 1.0);
            Ok(eigen::sum_of_roots(both.clone(), n)? / size.sqrt())
        };
        subjects.iter().map(&mut one).collect()
    }
}

/// `√W H G Hᵀ √W` with `G = −d/2` and the mean over the sample taken out.
fn centred_moments(values: &[f32], sample: &Sample) -> Vec<f64> {
    let (n, total) = (sample.drawn.len(), sample.size());
    let mut g = vec![0.0; n * n];
    for (a, &i) in sample.drawn.iter().enumerate() {
        for (b, &j) in sample.drawn.iter().enumerate().skip(a + 1) {
            let v = -0.5 * f64::from(values[pair_index(sample.conditions, i, j)]);
            (g[a * n + b], g[b * n + a]) = (v, v);
        }
    }
    let mean = |row: &[f64]| row.iter().zip(&sample.counts).map(|(v, w)| v * w).sum::<f64>() / total;
    let means: Vec<f64> = g.chunks_exact(n).map(mean).collect();
    let grand = mean(&means);
    for a in 0..n {
        for b in 0..n {
            let v = &mut g[a * n + b];
            *v = (*v - means[a] - means[b] + grand) * (sample.counts[a] * sample.counts[b]).sqrt();
        }
    }
    g
}

/// The symmetric root of a matrix, its negative eigenvalues taken as 0.
fn root(g: &[f64], n: usize) -> Result<Vec<f64>> {
    let (values, vectors) = eigen::symmetric(g.to_vec(), n)?;
    let scaled: Vec<f64> = (0..n * n).map(|at| vectors[at] * values[at % n].max(0.0).sqrt()).collect();
    let (mut out, shape) = (vec![0.0; n * n], MatrixShape::new(n, n));
    product((&mut out, shape), (&scaled, shape), (&vectors, shape.transposed()), None, 1.0);
    Ok(out)
}

impl Prepared for Configurations {
    fn fits(&self) -> Vec<f64> {
        self.fits.clone()
    }

    fn pooled(&self, counts: &[f64], targets: &[usize]) -> Vec<f64> {
        let mut mean = vec![0.0; self.size * self.size];
        for (s, (&count, &length)) in counts.iter().zip(&self.lengths).enumerate() {
            if count > 0.0 && length > 0.0 {
                let from = &self.moments[self.systems + s];
                mean.iter_mut().zip(from).for_each(|(m, g)| *m += g * count / length);
            }
        }
        // A sample whose eigenvalues do not converge counts as undefined, and its sample is left out.
        self.similarities(&mean, targets).unwrap_or_else(|_| vec![f64::NAN; targets.len()])
    }
}
