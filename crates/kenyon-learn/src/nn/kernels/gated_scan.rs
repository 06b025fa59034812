//! Kernels of gated scans over slots: gates, the gated carry in both directions, and their gradients.

use super::dense::exp;
use super::isa::dispatch;

dispatch! {
    /// `1 / (1 + e^−x)` in place.
    pub(crate) fn sigmoid(values: &mut [f32]) {
        for v in values {
            *v = 1.0 / (1.0 + exp(-*v));
        }
    }
}

dispatch! {
    /// Gradient through [`sigmoid`], whose results are `s`.
    pub(crate) fn sigmoid_backward(gradient: &mut [f32], s: &[f32]) {
        for (g, s) in gradient.iter_mut().zip(s) {
            *g *= s * (1.0 - s);
        }
    }
}

dispatch! {
    /// Hyperbolic tangent in place.
    pub(crate) fn tanh(values: &mut [f32]) {
        for v in values {
            *v = 1.0 - 2.0 / (1.0 + exp(2.0 * *v));
        }
    }
}

dispatch! {
    /// Gradient through [`tanh`], whose results are `t`.
    pub(crate) fn tanh_backward(gradient: &mut [f32], t: &[f32]) {
        for (g, t) in gradient.iter_mut().zip(t) {
            *g *= 1.0 - t * t;
        }
    }
}

dispatch! {
    /// Gradients of `x ⊙ q` added to both.
    pub(crate) fn match_backward(gradient: &[f32], x: &[f32], q: &[f32], dx: &mut [f32], dq: &mut [f32]) {
        for ((((g, x), q), dx), dq) in gradient.iter().zip(x).zip(q).zip(dx).zip(dq) {
            *dx += g * q;
            *dq += g * x;
        }
    }
}

dispatch! {
    /// `out_t = z_t r_t h_t + (1 − z_t) out_{t−1}` over slots of `width`, from the first or (if
    /// `reverse`) from the last. Gates are one a slot or one a number.
    pub(crate) fn scan(z: &[f32], r: &[f32], h: &[f32], out: &mut [f32], width: usize, reverse: bool) {
        let slots = h.len() / width;
        let wide = z.len() == h.len() && width > 1;
        let mut before: Option<usize> = None;
        for step in 0..slots {
            let t = if reverse { slots - 1 - step } else { step };
            let at = t * width;
            for i in 0..width {
                let gate = if wide { at + i } else { t };
                let carried = match before {
                    Some(b) => out[b + i],
                    None => 0.0,
                };
                out[at + i] = z[gate] * r[gate] * h[at + i] + (1.0 - z[gate]) * carried;
            }
            before = Some(at);
        }
    }
}

/// Inputs of a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanInputs<'a> {
    /// Update gates.
    pub(crate) z: &'a [f32],
    /// Reset gates.
    pub(crate) r: &'a [f32],
    /// Candidates.
    pub(crate) h: &'a [f32],
    /// Numbers a slot.
    pub(crate) width: usize,
}

dispatch! {
    /// Backward of [`scan`], whose results are `out`; `dout` is used up, the others are added to.
    pub(crate) fn scan_backward(known: ScanInputs<'_>, out: &[f32], dout: &mut [f32], dz: &mut [f32], dr: &mut [f32], dh: &mut [f32], reverse: bool) {
        let ScanInputs { z, r, h, width } = known;
        let slots = h.len() / width;
        let wide = z.len() == h.len() && width > 1;
        for step in (0..slots).rev() {
            let t = if reverse { slots - 1 - step } else { step };
            let at = t * width;
            let before = (step > 0).then(|| if reverse { at + width } else { at.wrapping_sub(width) });
            if wide {
                for i in at..at + width {
                    let carried = before.map_or(0.0, |b| out[b + i - at]);
                    let g = dout[i];
                    dz[i] += g * (r[i] * h[i] - carried);
                    dr[i] += g * z[i] * h[i];
                    dh[i] += g * z[i] * r[i];
                    if let Some(b) = before {
                        dout[b + i - at] += (1.0 - z[i]) * g;
                    }
                }
            } else {
                let (mut zs, mut rs) = ([0f32; 16], [0f32; 16]);
                for i in 0..width {
                    let carried = match before {
                        Some(b) => out[b + i],
                        None => 0.0,
                    };
                    let g = dout[at + i];
                    zs[i % 16] += g * (r[t] * h[at + i] - carried);
                    rs[i % 16] += g * z[t] * h[at + i];
                    dh[at + i] += g * z[t] * r[t];
                    if let Some(b) = before {
                        dout[b + i] += (1.0 - z[t]) * g;
                    }
                }
                dz[t] += zs.iter().sum::<f32>();
                dr[t] += rs.iter().sum::<f32>();
            }
        }
    }
}
