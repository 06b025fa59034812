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
