//! Cholesky factors of large symmetric matrices, and solving with them.

use super::dot;
use crate::nn::kernels::matrix::{MatrixShape, product};
use crate::nn::kernels::parallel;
use crate::{Error, Result};

/// Rows of the trailing matrix updated by one product.
const PANEL: usize = 128;

/// A lower-triangular Cholesky factor `L` with `L Lᵀ` the factored matrix.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Factor {
    width: usize,
    lower: Vec<f64>,
}

impl Factor {
    /// Factors the symmetric matrix whose lower part is given, block by block: the trailing update,
    /// nearly all of the work, is a matrix product.
    pub(crate) fn new(mut a: Vec<f64>, n: usize, threads: usize) -> Result<Self> {
        const B: usize = 64;
        let mut panel = Vec::new();
        for start in (0..n).step_by(B) {
            let b = B.min(n - start);
            let end = start + b;
            for j in start..end {
                let mut diagonal = a[j * n + j];
                for k in start..j {
                    diagonal -= a[j * n + k] * a[j * n + k];
                }
                if diagonal.is_nan() || diagonal <= 0.0 {
                    return Err(Error::unprocessable("singular", "the features do not vary enough to learn from"));
                }
                let root = diagonal.sqrt();
                a[j * n + j] = root;
                for i in j + 1..end {
                    let dot: f64 = (start..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
                    a[i * n + j] = (a[i * n + j] - dot) / root;
                }
            }
            // The block's columns below it: solve X Lᵀ = A, row by row.
            let (top, bottom) = a.split_at_mut(end * n);
            let top = &*top;
            for row in bottom.chunks_exact_mut(n) {
                for j in start..end {
                    let l = &top[j * n + start..j * n + j];
                    let dot: f64 = row[start..j].iter().zip(l).map(|(x, y)| x * y).sum();
                    row[j] = (row[j] - dot) / top[j * n + j];
                }
            }
            let rest = n - end;
            if rest == 0 {
                continue;
            }
            panel.clear();
            for row in bottom.chunks_exact(n) {
                panel.extend_from_slice(&row[start..end]);
            }
            let panel = &panel[..];
            // The widest panels first, so that threads end together.
            let mut targets: Vec<(usize, &mut [f64])> = bottom.chunks_mut(PANEL * n).enumerate().rev().collect();
            let threads = if rest < 512 { 1 } else { threads };
            parallel::each(&mut targets, threads, |_, (number, target)| {
                let first = *number * PANEL;
                let high = PANEL.min(rest - first);
                let wide = first + high;
                product(
                    (&mut target[end..], MatrixShape::strided(high, wide, n)),
                    (&panel[first * b..], MatrixShape::new(high, b)),
                    (panel, MatrixShape::new(wide, b).transposed()),
                    Some(1.0),
                    -1.0,
                );
            });
        }
        Ok(Self { width: n, lower: a })
    }

    /// The diagonal of the inverse of the factored matrix, `[width]`.
    pub(crate) fn inverse_diagonal(&self) -> Vec<f64> {
        let (n, l) = (self.width, &self.lower);
        let mut column = vec![0.0; n];
        let square_of_column = |i: usize| {
            // Column `i` of the inverse of L is zero above its diagonal.
            column[i] = 1.0 / l[i * n + i];
            for r in i + 1..n {
                column[r] = -dot(&l[r * n + i..r * n + r], &column[i..r]) / l[r * n + r];
            }
            dot(&column[i..], &column[i..])
        };
        (0..n).map(square_of_column).collect()
    }

    /// Solves `A x = b` in place for each row of `rhs` `[count, width]`.
    pub(crate) fn solve(&self, rhs: &mut [f64]) {
        let (n, l) = (self.width, &self.lower);
        for x in rhs.chunks_exact_mut(n.max(1)) {
            for i in 0..n {
                let dot = dot(&l[i * n..i * n + i], &x[..i]);
                x[i] = (x[i] - dot) / l[i * n + i];
            }
            // Lᵀ by columns of Lᵀ, which are rows of L: one pass through memory in order.
            for i in (0..n).rev() {
                let v = x[i] / l[i * n + i];
                x[i] = v;
                if v != 0.0 {
                    for (t, c) in x[..i].iter_mut().zip(&l[i * n..i * n + i]) {
                        *t -= v * c;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn factor_solves() {
        for n in [1, 3, 64, 150, 300] {
            let mut random = Random::new(n as u64);
            let m: Vec<f64> = (0..n * n).map(|_| f64::from(random.normal())).collect();
            let mut a = vec![0.0; n * n];
            for r in 0..n {
                for c in 0..n {
                    a[r * n + c] = dot(&m[r * n..(r + 1) * n], &m[c * n..(c + 1) * n]) + if r == c { 1.0 } else { 0.0 };
                }
            }
            let factor = Factor::new(a.clone(), n, 2).unwrap();
            let truth: Vec<f64> = (0..n).map(|_| f64::from(random.normal())).collect();
            let mut x: Vec<f64> = (0..n).map(|r| dot(&a[r * n..(r + 1) * n], &truth)).collect();
            factor.solve(&mut x);
            assert!(x.iter().zip(&truth).all(|(a, b)| (a - b).abs() < 1e-6), "n = {n}");
            for (i, diagonal) in factor.inverse_diagonal().into_iter().enumerate().step_by(7) {
                let mut unit = vec![0.0; n];
                unit[i] = 1.0;
                factor.solve(&mut unit);
                assert!((unit[i] - diagonal).abs() < 1e-6 * diagonal.abs().max(1.0), "{n}: {} {diagonal}", unit[i]);
            }
        }
    }
}
