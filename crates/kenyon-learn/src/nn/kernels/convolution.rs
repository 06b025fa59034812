//! Convolutions of images whose channels lie side by side, `[height, width, channels]`, for networks that only predict.

use super::dense::exp;
use super::isa::dispatch;

/// How a window moves over an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Height and width of the image.
    pub(crate) side: [usize; 2],
    /// Its channels.
    pub(crate) channels: usize,
    /// Height and width of the window.
    pub(crate) kernel: usize,
    /// Steps between two windows.
    pub(crate) stride: usize,
    /// Rows above and columns left of the image that count as zeros.
    pub(crate) before: [usize; 2],
    /// Windows down and across.
    pub(crate) out: [usize; 2],
}

impl Window {
    /// The parts of the image that the window of row `y` and column `x` covers: which of its own rows and columns, and
    /// where in the image they begin.
    #[inline(always)]
    fn covered(self, axis: usize, at: usize) -> (std::ops::Range<usize>, usize) {
        let first = (at * self.stride).saturating_sub(self.before[axis]);
        let skipped = self.before[axis].saturating_sub(at * self.stride);
        let inside = self.side[axis].saturating_sub(first).min(self.kernel - skipped.min(self.kernel));
        (skipped..skipped + inside, first)
    }
}

dispatch! {
    /// Every channel with a window of its own: `x` `[height, width, channels]`, `weights` `[kernel², channels]`, `bias`
    /// `[channels]`, to `out` `[out height, out width, channels]`.
    pub(crate) fn depthwise(window: Window, x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32]) {
        let Window { channels, kernel, side, out: [_, across], .. } = window;
        for (at, out) in out.chunks_exact_mut(channels).enumerate() {
            let (rows, top) = window.covered(0, at / across);
            let (columns, left) = window.covered(1, at % across);
            out.copy_from_slice(bias);
            for row in rows.clone() {
                for column in columns.clone() {
                    let from = ((top + row - rows.start) * side[1] + left + column - columns.start) * channels;
                    let (x, w) = (&x[from..from + channels], &weights[(row * kernel + column) * channels..][..channels]);
                    for i in 0..channels {
                        out[i] += w[i] * x[i];
                    }
                }
            }
        }
    }
}

/// What each window of output row `y` covers, `[out width, kernel, kernel, channels]`; zeros outside the image.
pub(crate) fn windows(window: Window, x: &[f32], y: usize, out: &mut [f32]) {
    let Window { channels, kernel, side, .. } = window;
    let (rows, top) = window.covered(0, y);
    for (at, out) in out.chunks_exact_mut(kernel * kernel * channels).enumerate() {
        let (columns, left) = window.covered(1, at);
        out.fill(0.0);
        for row in rows.clone() {
            let from = ((top + row - rows.start) * side[1] + left) * channels;
            let to = (row * kernel + columns.start) * channels;
            let length = columns.len() * channels;
            out[to..to + length].copy_from_slice(&x[from..from + length]);
        }
    }
}

/// The largest of each window and channel.
pub(crate) fn largest(window: Window, x: &[f32], out: &mut [f32]) {
    let Window { channels, side, out: [_, across], .. } = window;
    for (at, out) in out.chunks_exact_mut(channels).enumerate() {
        let (rows, top) = window.covered(0, at / across);
        let (columns, left) = window.covered(1, at % across);
        out.fill(f32::NEG_INFINITY);
        for row in 0..rows.len() {
            for column in 0..columns.len() {
                let from = ((top + row) * side[1] + left + column) * channels;
                out.iter_mut().zip(&x[from..from + channels]).for_each(|(o, x)| *o = o.max(*x));
            }
        }
    }
}

dispatch! {
    /// `x / (1 + e⁻ˣ)` of each value.
    pub(crate) fn silu(values: &mut [f32]) {
        for x in values {
            *x /= 1.0 + exp(-*x);
        }
    }
}

dispatch! {
    /// Each value between 0 and `most`.
    pub(crate) fn clamped(values: &mut [f32], most: f32) {
        for x in values {
            *x = x.max(0.0).min(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_what_they_should() {
        // A 3×3 image of one channel, windows of 3 with a border of one and a stride of two.
        let x: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let window = Window { side: [3, 3], channels: 1, kernel: 3, stride: 2, before: [1, 1], out: [2, 2] };
        let mut out = vec![0.0; 4];
        depthwise(window, &x, &[1.0; 9], &[0.5], &mut out);
        assert_eq!(out, [12.5, 16.5, 24.5, 28.5]);
        largest(window, &x, &mut out);
        assert_eq!(out, [5.0, 6.0, 8.0, 9.0]);
        let mut rows = vec![9.0; 18];
        windows(window, &x, 1, &mut rows);
        assert_eq!(rows[..9], [0.0, 4.0, 5.0, 0.0, 7.0, 8.0, 0.0, 0.0, 0.0]);
        assert_eq!(rows[9..], [5.0, 6.0, 0.0, 8.0, 9.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn activations_are_those_defined() {
        let mut x = [-3.0f32, 0.0, 2.0];
        silu(&mut x);
        for (x, expected) in x.iter().zip([-0.142_277_6, 0.0, 1.761_594_2]) {
            assert!((x - expected).abs() < 1e-6);
        }
        let mut x = [-3.0f32, 3.0, 9.0];
        clamped(&mut x, 6.0);
        assert_eq!(x, [0.0, 3.0, 6.0]);
    }
}
