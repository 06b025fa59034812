//! Kernels of filters over time.

use super::isa::dispatch;

dispatch! {
    /// `out = 3 (a + b + c) − sum`: two at the strong taps and −1 at the others.
    pub(crate) fn pattern(sum: &[f32], taps: [&[f32]; 3], out: &mut [f32]) {
        let [a, b, c] = taps;
        for ((((o, s), a), b), c) in out.iter_mut().zip(sum).zip(a).zip(b).zip(c) {
            *o = 3.0 * (a + b + c) - s;
        }
    }
}

dispatch! {
    /// How many values are above `level`.
    pub(crate) fn count_above(values: &[f32], level: f32) -> f32 {
        let mut count = 0u32;
        for value in values {
            count += u32::from(*value > level);
        }
        count as f32
    }
}

dispatch! {
    /// Adds `weight` to `terms` where a value is above `level`.
    pub(crate) fn mark_above(values: &[f32], level: f32, weight: f32, terms: &mut [f32]) {
        for (term, value) in terms.iter_mut().zip(values) {
            *term += if *value > level { weight } else { 0.0 };
        }
    }
}

/// Kernels that compete, and steps that are compared at once.
pub(crate) const GROUP_KERNELS: usize = 8;
/// Taps of a kernel.
pub(crate) const TAPS: usize = 9;
const AT_ONCE: usize = 16;

/// Numbers behind the last step that [`compete`] may read.
pub(crate) const MARGIN: usize = AT_ONCE;

/// For each step which of some kernels gives the largest output, that output, and which gives the smallest.
#[derive(Debug, Default)]
pub(crate) struct Winners {
    /// The largest output.
    pub(crate) high: Vec<f32>,
    /// The kernel that gives it.
    pub(crate) of_high: Vec<u8>,
    /// The kernel that gives the smallest.
    pub(crate) of_low: Vec<u8>,
}

impl Winners {
    /// For as many steps.
    pub(crate) fn resize(&mut self, steps: usize) {
        self.high.resize(steps, 0.0);
        self.of_high.resize(steps, 0);
        self.of_low.resize(steps, 0);
    }
}

dispatch! {
    /// Lets `kernels` `[GROUP_KERNELS, TAPS]` compete at each of the steps of `winners`. `padded` has the series with
    /// `4 dilation` zeros before it and as many and [`MARGIN`] behind.
    pub(crate) fn compete(padded: &[f32], dilation: usize, kernels: &[f32], winners: &mut Winners) {
        let steps = winners.high.len();
        let mut start = 0;
        while start < steps {
            let (mut high, mut low) = ([f32::NEG_INFINITY; AT_ONCE], [f32::INFINITY; AT_ONCE]);
            let (mut of_high, mut of_low) = ([0i32; AT_ONCE], [0i32; AT_ONCE]);
            for (k, kernel) in kernels.chunks_exact(TAPS).enumerate() {
                let mut sums = [0f32; AT_ONCE];
                for (tap, weight) in kernel.iter().enumerate() {
                    let from = &padded[start + tap * dilation..start + tap * dilation + AT_ONCE];
                    for (sum, value) in sums.iter_mut().zip(from) {
                        *sum += weight * value;
                    }
                }
                for i in 0..AT_ONCE {
                    of_high[i] = if sums[i] > high[i] { k as i32 } else { of_high[i] };
                    high[i] = if sums[i] > high[i] { sums[i] } else { high[i] };
                    of_low[i] = if sums[i] < low[i] { k as i32 } else { of_low[i] };
                    low[i] = if sums[i] < low[i] { sums[i] } else { low[i] };
                }
            }
            let count = AT_ONCE.min(steps - start);
            winners.high[start..start + count].copy_from_slice(&high[..count]);
            for i in 0..count {
                winners.of_high[start + i] = of_high[i] as u8;
                winners.of_low[start + i] = of_low[i] as u8;
            }
            start += AT_ONCE;
        }
    }
}
