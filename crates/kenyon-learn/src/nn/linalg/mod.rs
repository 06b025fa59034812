//! Linear algebra in double precision: factorisations and what they are made of.

pub(crate) mod cholesky;
pub(crate) mod eigen;

use std::iter::Sum;
use std::ops::{AddAssign, Mul};

/// A dot product with eight independent sums, which the compiler keeps in vectors.
pub(crate) fn dot<T: Copy + Default + AddAssign + Mul<Output = T> + Sum>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: T = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| *x * *y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    let mut sum: T = sums.into_iter().sum();
    sum += tail;
    sum
}
