//! Dense matrix products on plain slices, checked and single-threaded: the caller owns the threads. The work is done
//! by the `gemm` crate, which selects AVX-512, AVX2 or NEON at run time.

use gemm::Parallelism;

/// How a matrix is stored in a slice: `rows × columns`, element `(r, c)` at `r * row_step + c * column_step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixShape {
    /// Rows.
    pub(crate) rows: usize,
    /// Columns.
    pub(crate) columns: usize,
    /// Distance between two rows.
    pub(crate) row_step: usize,
    /// Distance between two columns.
    pub(crate) column_step: usize,
}

impl MatrixShape {
    /// A row-major matrix without gaps.
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        Self { rows, columns, row_step: columns, column_step: 1 }
    }

    /// A row-major matrix whose rows are `step` apart.
    pub(crate) fn strided(rows: usize, columns: usize, step: usize) -> Self {
        Self { rows, columns, row_step: step, column_step: 1 }
    }

    /// The same memory read as the transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_step: self.column_step, column_step: self.row_step }
    }

    /// Elements of memory it spans.
    fn span(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_step + (self.columns - 1) * self.column_step + 1
    }
}

/// Numbers that have a fast product.
pub(crate) trait Element: Copy + 'static + private::Sealed {}
impl Element for f32 {}
impl Element for f64 {}

mod private {
    pub(crate) trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `out = keep · out + scale · left · right`; with `keep` missing, `out` is overwritten unread.
///
/// # Panics
/// When the shapes do not fit each other or the slices: a bug of the caller, never of the input.
pub(crate) fn product<T: Element>(
    out: (&mut [T], MatrixShape),
    left: (&[T], MatrixShape),
    right: (&[T], MatrixShape),
    keep: Option<T>,
    scale: T,
) {
    let ((out, o), (left, l), (right, r)) = (out, left, right);
    assert!(l.columns == r.rows && o.rows == l.rows && o.columns == r.columns, "shapes do not fit");
    assert!(out.len() >= o.span() && left.len() >= l.span() && right.len() >= r.span(), "slices too short");
    if o.rows == 0 || o.columns == 0 {
        return;
    }
    // SAFETY: the asserts above keep every element `(r, c)` of the three matrices inside its slice,
    // `out` is borrowed mutably so it overlaps neither input, and no element of `out` is written
    // twice because its steps come from `MatrixShape`, whose rows do not overlap.
    unsafe {
        gemm::gemm(
            o.rows,
            o.columns,
            l.columns,
            out.as_mut_ptr(),
            o.column_step as isize,
            o.row_step as isize,
            keep.is_some(),
            left.as_ptr(),
            l.column_step as isize,
            l.row_step as isize,
            right.as_ptr(),
            r.column_step as isize,
            r.row_step as isize,
            keep.unwrap_or(scale),
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_agrees_with_the_sum() {
        let (m, n, k) = (7, 5, 9);
        let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.37).sin()).collect();
        let b: Vec<f64> = (0..n * k).map(|i| (i as f64 * 0.91).cos()).collect();
        let mut out = vec![1.0; m * n];
        product(
            (&mut out, MatrixShape::new(m, n)),
            (&a, MatrixShape::new(m, k)),
            (&b, MatrixShape::new(n, k).transposed()),
            Some(2.0),
            0.5,
        );
        for r in 0..m {
            for c in 0..n {
                let sum: f64 = (0..k).map(|i| a[r * k + i] * b[c * k + i]).sum();
                assert!((out[r * n + c] - (2.0 + 0.5 * sum)).abs() < 1e-12);
            }
        }
    }
}
