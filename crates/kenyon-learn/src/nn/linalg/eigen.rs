//! Eigenvalues and eigenvectors of symmetric matrices: Householder reduction to three diagonals, then the QL method with
//! implicit shifts (Golub and Van Loan, Matrix Computations, chapter 8).

use super::dot;
use crate::{Error, Result};

/// Steps for one eigenvalue; two or three are usual.
const MOST_STEPS: usize = 60;

/// Eigenvalues, the largest first, and the eigenvectors as rows `[n, n]`.
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    pub(crate) vectors: Vec<f64>,
}

/// Decomposes the symmetric matrix `a` `[n, n]`, of which the lower part is read.
///
/// # Errors
/// `not_finite` where a number is not, or the method does not converge.
pub(crate) fn eigen(a: &[f64], n: usize) -> Result<Eigen> {
    let (mut diagonal, mut off, mut vectors) = tridiagonal(a, n);
    if diagonal.iter().chain(&off).any(|value| !value.is_finite()) {
        return Err(Error::unprocessable("not_finite", "a matrix to decompose is not finite"));
    }
    implicit_ql(&mut diagonal, &mut off, &mut vectors, n)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]));
    let sorted = order.iter().flat_map(|&i| &vectors[i * n..(i + 1) * n]).copied().collect();
    Ok(Eigen { values: order.iter().map(|&i| diagonal[i]).collect(), vectors: sorted })
}

/// The diagonal `[n]`, the one below it `[n]` (element `i` is between `i` and `i + 1`), and `Qᵀ` as rows with
/// `A = Q T Qᵀ`.
fn tridiagonal(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut a: Vec<f64> = (0..n * n).map(|at| a[(at / n).max(at % n) * n + (at / n).min(at % n)]).collect();
    let mut q = vec![0.0; n * n];
    (0..n).for_each(|i| q[i * n + i] = 1.0);
    let (mut reflector, mut product) = (vec![0.0; n], vec![0.0; n]);
    for k in 0..n.saturating_sub(2) {
        // Reflects column k below the diagonal onto its first element.
        let first = k + 1;
        (first..n).for_each(|i| reflector[i] = a[i * n + k]);
        let norm = dot(&reflector[first..], &reflector[first..]).sqrt();
        if norm == 0.0 {
            continue;
        }
        reflector[first] += norm.copysign(reflector[first]);
        let scale = 2.0 / dot(&reflector[first..], &reflector[first..]);
        // A ← A − v wᵀ − w vᵀ with w = scale · (A v − scale/2 · (vᵀ A v) v).
        for i in k..n {
            product[i] = scale * dot(&a[i * n + first..(i + 1) * n], &reflector[first..]);
        }
        let half = scale / 2.0 * dot(&product[first..], &reflector[first..]);
        (first..n).for_each(|i| product[i] -= half * reflector[i]);
        for i in k..n {
            let v = if i < first { 0.0 } else { reflector[i] };
            let w = product[i];
            let row = &mut a[i * n + first..(i + 1) * n];
            for ((x, r), p) in row.iter_mut().zip(&reflector[first..]).zip(&product[first..]) {
                *x -= v * p + w * r;
            }
        }
        for i in first..n {
            a[i * n + k] = a[k * n + i];
        }
        // The rows of Qᵀ: H Qᵀ, a combination of its rows.
        product.fill(0.0);
        for i in first..n {
            let factor = scale * reflector[i];
            product.iter_mut().zip(&q[i * n..(i + 1) * n]).for_each(|(p, x)| *p += factor * x);
        }
        for i in first..n {
            let factor = reflector[i];
            q[i * n..(i + 1) * n].iter_mut().zip(&product).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let diagonal = (0..n).map(|i| a[i * n + i]).collect();
    let off = (0..n).map(|i| if i + 1 < n { a[(i + 1) * n + i] } else { 0.0 }).collect();
    (diagonal, off, q)
}

/// Diagonalises; `vectors` are rows that rotate with it.
fn implicit_ql(diagonal: &mut [f64], off: &mut [f64], vectors: &mut [f64], n: usize) -> Result<()> {
    for l in 0..n {
        for step in 0.. {
            let small = |i: usize| off[i].abs() <= f64::EPSILON * (diagonal[i].abs() + diagonal[i + 1].abs());
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            if step == MOST_STEPS {
                return Err(Error::unprocessable("not_finite", "the eigenvalues of a matrix do not converge"));
            }
            let mut g = (diagonal[l + 1] - diagonal[l]) / (2.0 * off[l]);
            let mut r = g.hypot(1.0);
            g = diagonal[m] - diagonal[l] + off[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (l..m).rev() {
                let (f, b) = (s * off[i], c * off[i]);
                r = f.hypot(g);
                off[i + 1] = r;
                if r == 0.0 {
                    diagonal[i + 1] -= p;
                    off[m] = 0.0;
                    split = true;
                    break;
                }
                (s, c) = (f / r, g / r);
                g = diagonal[i + 1] - p;
                r = (diagonal[i] - g) * s + 2.0 * c * b;
                p = s * r;
                diagonal[i + 1] = g + p;
                g = c * r - b;
                let (low, high) = vectors.split_at_mut((i + 1) * n);
                for (x, y) in low[i * n..].iter_mut().zip(&mut high[..n]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
            if !split {
                diagonal[l] -= p;
                off[l] = g;
                off[m] = 0.0;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn vectors_and_values_give_the_matrix_back() {
        for n in [1, 2, 3, 17, 96] {
            let mut random = Random::new(n as u64);
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..=i {
                    a[i * n + j] = f64::from(random.normal());
                    a[j * n + i] = a[i * n + j];
                }
            }
            let Eigen { values, vectors } = eigen(&a, n).unwrap();
            assert!(values.is_sorted_by(|x, y| x >= y));
            for i in 0..n {
                for j in 0..n {
                    let back: f64 = (0..n).map(|k| values[k] * vectors[k * n + i] * vectors[k * n + j]).sum();
                    assert!((back - a[i * n + j]).abs() < 1e-9 * n as f64, "n = {n}: {back} {}", a[i * n + j]);
                }
                let own = dot(&vectors[i * n..(i + 1) * n], &vectors[i * n..(i + 1) * n]);
                assert!((own - 1.0).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn equal_eigenvalues_and_zeros_are_no_exception() {
        let n = 5;
        let mut a = vec![0.0; n * n];
        (0..3).for_each(|i| a[i * n + i] = 2.0);
        assert_eq!(eigen(&a, n).unwrap().values, [2.0, 2.0, 2.0, 0.0, 0.0]);
        a[0] = f64::NAN;
        assert_eq!(eigen(&a, n).err().unwrap().code, "not_finite");
    }
}
