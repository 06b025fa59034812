//! Dense kernels on slices: matrix products and the row-wise functions between them. Compiled
//! once for each vector width and chosen at run time; sums keep one order on all of them.

/// How a matrix lies in its slice: element `(i, j)` at `offset + i * row + j * column`.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Where it starts.
    pub offset: usize,
    /// Step from row to row.
    pub row: usize,
    /// Step from column to column.
    pub column: usize,
}

impl View {
    /// A row-major matrix with rows of `width`.
    pub fn rows(width: usize) -> Self {
        Self { offset: 0, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix with rows of `width`.
    pub fn transposed(width: usize) -> Self {
        Self { offset: 0, row: 1, column: width }
    }

    /// The same matrix, starting elsewhere.
    pub fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// One past the last element of an `m` by `n` matrix.
    fn end(self, m: usize, n: usize) -> usize {
        if m == 0 || n == 0 { 0 } else { self.offset + (m - 1) * self.row + (n - 1) * self.column + 1 }
    }
}

/// `c = keep · c + alpha · a b` for `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`; `keep` is 0 or 1.
#[expect(clippy::too_many_arguments, reason = "the sizes and three matrices are what a product is")]
pub fn product(
    (m, k, n): (usize, usize, usize),
    alpha: f32,
    a: &[f32],
    a_view: View,
    b: &[f32],
    b_view: View,
    keep: bool,
    c: &mut [f32],
    c_view: View,
) {
    assert!(a_view.end(m, k) <= a.len() && b_view.end(k, n) <= b.len() && c_view.end(m, n) <= c.len());
    if m == 0 || n == 0 || k == 0 {
        assert!(k != 0 || keep, "an empty sum would have to clear c");
        return;
    }
    // SAFETY: the assertion above holds every address within its slice, and `c` is borrowed
    // uniquely, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr().add(c_view.offset),
            c_view.column as isize,
            c_view.row as isize,
            keep,
            a.as_ptr().add(a_view.offset),
            a_view.column as isize,
            a_view.row as isize,
            b.as_ptr().add(b_view.offset),
            b_view.column as isize,
            b_view.row as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Compiles a function for AVX-512, AVX2 and the baseline, and picks one when it is called.
macro_rules! widths {
    ($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        pub fn $name($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
                fn v4($($arg: $ty),*) $(-> $out)? { body($($arg),*) }
                #[target_feature(enable = "avx2")]
                fn v3($($arg: $ty),*) $(-> $out)? { body($($arg),*) }
                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: this CPU has the instructions.
                    return unsafe { v4($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: this CPU has the instructions.
                    return unsafe { v3($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use widths;

/// Lanes of the sums below: the widest vector in f32.
const LANES: usize = 16;

/// Sums lanes in a fixed tree, so that all vector widths agree.
#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut sums = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Dot product in a fixed order. `a` and `b` are equally long.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in heads_a.iter().zip(heads_b) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let mut sum = fold(lanes);
    for (x, y) in tail_a.iter().zip(tail_b) {
        sum += x * y;
    }
    sum
}

/// `y += s x`.
#[inline(always)]
pub fn add_scaled(y: &mut [f32], s: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}

/// e^x to about 2 units in the last place, in a form that compiles to vectors.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding and subtracting 1.5·2^23 rounds to the nearest whole number.
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let f = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * f + 1.398_199_9e-3;
    let p = p * f + 8.333_452e-3;
    let p = p * f + 4.166_579_6e-2;
    let p = p * f + 1.666_666_5e-1;
    let p = p * f + 5e-1;
    let e = p * f * f + f + 1.0;
    e * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

widths! {
    /// Softmax of each row of `[rows, width]`, in place.
    pub fn softmax_rows(values: &mut [f32], width: usize) {
        for row in values.chunks_exact_mut(width) {
            softmax(row);
        }
    }
}

/// Softmax of one row in place.
#[inline(always)]
pub fn softmax(row: &mut [f32]) {
    let mut peak = [f32::NEG_INFINITY; LANES];
    let (heads, tail) = row.as_chunks::<LANES>();
    for chunk in heads {
        for i in 0..LANES {
            peak[i] = if chunk[i] > peak[i] { chunk[i] } else { peak[i] };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for value in peak.iter().chain(tail) {
        max = max.max(*value);
    }
    let mut lanes = [0f32; LANES];
    let (heads, tail) = row.as_chunks_mut::<LANES>();
    for chunk in heads {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - max);
            lanes[i] += chunk[i];
        }
    }
    let mut sum = fold(lanes);
    for value in tail {
        *value = exp(*value - max);
        sum += *value;
    }
    let scale = 1.0 / sum;
    for value in row {
        *value *= scale;
    }
}

widths! {
    /// Backward of softmax rows: `grad` becomes `p (grad − Σ p grad) scale`.
    pub fn softmax_rows_backward(probabilities: &[f32], grad: &mut [f32], width: usize, scale: f32) {
        for (p, g) in probabilities.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let mean = dot(p, g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = p * (*g - mean) * scale;
            }
        }
    }
}

/// Keeps the root of a row of zeros finite.
const EPSILON: f32 = 1e-6;

widths! {
    /// `y = gain x / rms(x)` for each row of `[rows, width]`; `inverse` `[rows]` keeps 1 / rms.
    pub fn rms_norm(x: &[f32], gain: &[f32], y: &mut [f32], inverse: &mut [f32]) {
        let width = gain.len();
        for ((x, y), inverse) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse) {
            let r = 1.0 / (dot(x, x) / width as f32 + EPSILON).sqrt();
            *inverse = r;
            for i in 0..width {
                y[i] = x[i] * r * gain[i];
            }
        }
    }
}

widths! {
    /// Backward of [`rms_norm`]: adds to `dx` and `dgain`.
    pub fn rms_norm_backward(x: &[f32], gain: &[f32], inverse: &[f32], dy: &[f32], dx: &mut [f32], dgain: &mut [f32]) {
        let width = gain.len();
        for (((x, dy), dx), r) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)).zip(inverse) {
            let mut lanes = [0f32; LANES];
            let mut sum = 0.0;
            for i in 0..width {
                let term = gain[i] * dy[i] * x[i];
                if i < width - width % LANES { lanes[i % LANES] += term } else { sum += term }
                dgain[i] += dy[i] * x[i] * r;
            }
            let s = (fold(lanes) + sum) * r * r * r / width as f32;
            for i in 0..width {
                dx[i] += r * gain[i] * dy[i] - s * x[i];
            }
        }
    }
}

widths! {
    /// Adds `bias` to each row.
    pub fn add_bias(y: &mut [f32], bias: &[f32]) {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
}

widths! {
    /// Adds the rows of `dy` to `dbias`.
    pub fn sum_rows(dy: &[f32], dbias: &mut [f32]) {
        for row in dy.chunks_exact(dbias.len()) {
            for (d, y) in dbias.iter_mut().zip(row) {
                *d += y;
            }
        }
    }
}

widths! {
    /// `y += x`.
    pub fn add(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

widths! {
    /// `y −= s x`.
    pub fn subtract_scaled(y: &mut [f32], s: f32, x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y -= s * x;
        }
    }
}

widths! {
    /// `y = x ⊙ mask` where `keep` is the mask.
    pub fn multiply(y: &mut [f32], mask: &[f32]) {
        for (y, m) in y.iter_mut().zip(mask) {
            *y *= m;
        }
    }
}

widths! {
    /// Sum of squares in f64, in a fixed order.
    pub fn square_sum(x: &[f32]) -> f64 {
        x.chunks(1024).map(|part| f64::from(dot(part, part))).sum()
    }
}

/// What one AdamW step needs beside the slices.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate of this step.
    pub rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// `1 / (1 − beta1^t)`.
    pub correction1: f32,
    /// `1 / (1 − beta2^t)`.
    pub correction2: f32,
    /// Keeps the denominator away from zero.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// What gradients are multiplied with first (clipping).
    pub scale: f32,
}

widths! {
    /// AdamW (Loshchilov & Hutter 2019), in place on weights and both moments.
    pub fn adam(w: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], s: AdamStep) {
        let (shrink, a1, a2) = (1.0 - s.rate * s.decay, 1.0 - s.beta1, 1.0 - s.beta2);
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(grad) {
            let g = g * s.scale;
            *m = s.beta1 * *m + a1 * g;
            *v = s.beta2 * *v + a2 * g * g;
            *w = *w * shrink - s.rate * (*m * s.correction1) / ((*v * s.correction2).sqrt() + s.epsilon);
        }
    }
}

widths! {
    /// Gradient of the k-winners: what flows back through units that did not win is dropped.
    pub fn mask_losers(grad: &mut [f32], activation: &[f32]) {
        for (g, a) in grad.iter_mut().zip(activation) {
            *g = if *a > 0.0 { *g } else { 0.0 };
        }
    }
}

/// Keeps the `k` largest positive values of each row of `width` and clears the rest; of equal
/// values the earlier wins. `scratch` is reused between calls.
pub fn winners_rows(z: &mut [f32], width: usize, k: usize, scratch: &mut Vec<u32>) {
    if k >= width {
        for value in z {
            *value = value.max(0.0);
        }
        return;
    }
    for row in z.chunks_exact_mut(width) {
        // Positive floats order as their bits do, so whole numbers are compared.
        scratch.clear();
        scratch.extend(row.iter().filter(|v| **v > 0.0).map(|v| v.to_bits()));
        let threshold = if scratch.len() <= k {
            0
        } else {
            let at = scratch.len() - k;
            *scratch.select_nth_unstable(at).1
        };
        let above = if threshold == 0 { 0 } else { scratch.iter().filter(|bits| **bits > threshold).count() };
        let mut ties = k - above;
        for value in row {
            let bits = if *value > 0.0 { value.to_bits() } else { 0 };
            let wins = bits > threshold || (bits == threshold && bits > 0 && ties > 0);
            if bits == threshold && wins {
                ties -= 1;
            }
            *value = if wins { *value } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= 3e-7 * exact, "{x}: {ours} {exact}");
        }
    }

    #[test]
    fn winners_are_exactly_k_and_earlier_ties_win() {
        let mut z = vec![1.0, 2.0, 2.0, 2.0, -1.0, 0.0];
        winners_rows(&mut z, 6, 2, &mut Vec::new());
        assert_eq!(z, [0.0, 2.0, 2.0, 0.0, 0.0, 0.0]);
        let mut few = vec![-1.0, 3.0, -2.0, 0.0];
        winners_rows(&mut few, 4, 2, &mut Vec::new());
        assert_eq!(few, [0.0, 3.0, 0.0, 0.0]);
    }

    #[test]
    fn product_reads_and_writes_views() {
        // a is the transpose of [[1, 2], [3, 4]], b the identity scaled by 2, written to column 1.
        let (a, b, mut c) = ([1.0, 2.0, 3.0, 4.0], [2.0, 0.0, 0.0, 2.0], [0f32; 6]);
        product((2, 2, 2), 1.0, &a, View::transposed(2), &b, View::rows(2), false, &mut c, View::rows(3).at(1));
        assert_eq!(c, [0.0, 2.0, 6.0, 0.0, 4.0, 8.0]);
    }
}
