//! Eigenvalues and eigenvectors of small symmetric matrices (Householder reduction, then implicit QL).

use crate::{Error, Result};

/// Steps of QL for one eigenvalue at most; a few are usual.
const STEPS: usize = 60;

/// Eigenvalues of the symmetric `n × n` matrix and, in the columns of the second value, its eigenvectors.
pub(crate) fn symmetric(mut a: Vec<f64>, n: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut d, mut e) = (vec![0.0; n], vec![0.0; n]);
    tridiagonal(&mut a, n, &mut d, &mut e);
    ql(&mut d, &mut e, Some(&mut a), n)?;
    Ok((d, a))
}

/// Sum of the square roots of the positive eigenvalues.
pub(crate) fn sum_of_roots(mut a: Vec<f64>, n: usize) -> Result<f64> {
    let (mut d, mut e) = (vec![0.0; n], vec![0.0; n]);
    tridiagonal(&mut a, n, &mut d, &mut e);
    ql(&mut d, &mut e, None, n)?;
    Ok(d.iter().map(|v| v.max(0.0).sqrt()).sum())
}

/// Reduces `a` to tridiagonal form: diagonal `d`, subdiagonal `e[1..]`, transformation in `a`.
fn tridiagonal(a: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64]) {
    for i in (1..n).rev() {
        let mut h = 0.0;
        let scale: f64 = a[i * n..i * n + i].iter().map(|v| v.abs()).sum();
        if i == 1 || scale == 0.0 {
            e[i] = a[i * n + i - 1];
            d[i] = 0.0;
            continue;
        }
        for k in 0..i {
            a[i * n + k] /= scale;
            h += a[i * n + k] * a[i * n + k];
        }
        let f = a[i * n + i - 1];
        let g = if f >= 0.0 { -h.sqrt() } else { h.sqrt() };
        e[i] = scale * g;
        h -= f * g;
        a[i * n + i - 1] = f - g;
        let mut total = 0.0;
        for j in 0..i {
            a[j * n + i] = a[i * n + j] / h;
            let mut g = 0.0;
            for k in 0..=j {
                g += a[j * n + k] * a[i * n + k];
            }
            for k in j + 1..i {
                g += a[k * n + j] * a[i * n + k];
            }
            e[j] = g / h;
            total += e[j] * a[i * n + j];
        }
        let half = total / (h + h);
        for j in 0..i {
            let f = a[i * n + j];
            let g = e[j] - half * f;
            e[j] = g;
            for k in 0..=j {
                a[j * n + k] -= f * e[k] + g * a[i * n + k];
            }
        }
        d[i] = h;
    }
    e[0] = 0.0;
    for i in 0..n {
        if i > 0 && d[i] != 0.0 {
            for j in 0..i {
                let g: f64 = (0..i).map(|k| a[i * n + k] * a[k * n + j]).sum();
                for k in 0..i {
                    a[k * n + j] -= g * a[k * n + i];
                }
            }
        }
        d[i] = a[i * n + i];
        a[i * n + i] = 1.0;
        for j in 0..i {
            a[j * n + i] = 0.0;
            a[i * n + j] = 0.0;
        }
    }
}

/// Diagonalises a tridiagonal matrix, turning the columns of `z` along.
fn ql(d: &mut [f64], e: &mut [f64], mut z: Option<&mut Vec<f64>>, n: usize) -> Result<()> {
    e.rotate_left(1);
    for l in 0..n {
        let mut steps = 0;
        loop {
            let small = |m: usize, d: &[f64]| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs());
            let m = (l..n - 1).find(|&m| small(m, d)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            steps += 1;
            if steps > STEPS {
                return Err(Error::internal("the eigenvalues of a matrix of second moments did not converge"));
            }
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let mut r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut ended = false;
            for i in (l..m).rev() {
                let f = s * e[i];
                let b = c * e[i];
                r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    ended = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                if let Some(z) = z.as_deref_mut() {
                    for k in 0..n {
                        let f = z[k * n + i + 1];
                        z[k * n + i + 1] = s * z[k * n + i] + c * f;
                        z[k * n + i] = c * z[k * n + i] - s * f;
                    }
                }
            }
            if !ended {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    Ok(())
}
