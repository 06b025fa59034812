//! Products of a dense layer `y = x w`: its output, the gradient of its weights and that of its input.
//! Sizes are (rows, inputs, outputs); all matrices are row-major without gaps.

use super::matrix::{MatrixShape, product};

/// `y = x w` for `x` `[rows, inputs]` and `w` `[inputs, outputs]`; with `keep` it is added to `y`.
pub(crate) fn linear(x: &[f32], w: &[f32], y: &mut [f32], (n, i, o): (usize, usize, usize), keep: bool) {
    product(
        (y, MatrixShape::new(n, o)),
        (x, MatrixShape::new(n, i)),
        (w, MatrixShape::new(i, o)),
        keep.then_some(1.0),
        1.0,
    );
}

/// `dw += xᵀ dy`.
pub(crate) fn linear_weight_gradient(x: &[f32], dy: &[f32], dw: &mut [f32], (n, i, o): (usize, usize, usize)) {
    let x = (x, MatrixShape::new(n, i).transposed());
    product((dw, MatrixShape::new(i, o)), x, (dy, MatrixShape::new(n, o)), Some(1.0), 1.0);
}

/// `dx = dy wᵀ`; with `keep` it is added to `dx`.
pub(crate) fn linear_input_gradient(
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    (n, i, o): (usize, usize, usize),
    keep: bool,
) {
    product(
        (dx, MatrixShape::new(n, i)),
        (dy, MatrixShape::new(n, o)),
        (w, MatrixShape::new(i, o).transposed()),
        keep.then_some(1.0),
        1.0,
    );
}
