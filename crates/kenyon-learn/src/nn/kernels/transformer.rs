//! The element-wise parts of a transformer that only predicts: activations, and layer normalisation with the addition
//! before it.

use super::dense::exp;
use super::isa::dispatch;

/// The error function, to 2e-7: Abramowitz and Stegun, 7.1.26.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.061_405_4 * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = (p * t + 0.254_829_6) * t;
    let e = 1.0 - p * exp(-z * z);
    if x < 0.0 { -e } else { e }
}

/// The hyperbolic tangent.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

dispatch! {
    /// x Φ(x), with the exact normal distribution.
    pub(crate) fn gelu(values: &mut [f32]) {
        for x in values {
            *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

dispatch! {
    /// x Φ(x), with the usual approximation by a hyperbolic tangent.
    pub(crate) fn gelu_tanh(values: &mut [f32]) {
        for x in values {
            let inner = 0.797_884_6 * (*x + 0.044_715 * *x * *x * *x);
            *x = 0.5 * *x * (1.0 + tanh(inner));
        }
    }
}

dispatch! {
    /// The hyperbolic tangent of each value.
    pub(crate) fn tanh_all(values: &mut [f32]) {
        for x in values {
            *x = tanh(*x);
        }
    }
}

dispatch! {
    /// Each row of `x` becomes `gain (x + residual − mean) / deviation + bias`; `residual` may be empty.
    pub(crate) fn add_layer_norm(x: &mut [f32], residual: &[f32], gain: &[f32], bias: &[f32], epsilon: f32) {
        let width = gain.len();
        let mut residuals = residual.chunks_exact(width);
        for row in x.chunks_exact_mut(width) {
            if let Some(residual) = residuals.next() {
                for i in 0..width {
                    row[i] += residual[i];
                }
            }
            let mut lanes = [0f32; 16];
            let (heads, tail) = row.as_chunks::<16>();
            for chunk in heads {
                for i in 0..16 {
                    lanes[i] += chunk[i];
                }
            }
            let mean = (lanes.iter().sum::<f32>() + tail.iter().sum::<f32>()) / width as f32;
            let mut lanes = [0f32; 16];
            for chunk in heads {
                for i in 0..16 {
                    lanes[i] += (chunk[i] - mean) * (chunk[i] - mean);
                }
            }
            let rest: f32 = tail.iter().map(|v| (v - mean) * (v - mean)).sum();
            let variance = (lanes.iter().sum::<f32>() + rest) / width as f32;
            let scale = 1.0 / (variance + epsilon).sqrt();
            for i in 0..width {
                row[i] = (row[i] - mean) * scale * gain[i] + bias[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_close_to_their_definitions() {
        let xs: Vec<f32> = (-600..=600).map(|i| i as f32 / 100.0).collect();
        let (mut exact, mut by_tanh, mut tanhs) = (xs.clone(), xs.clone(), xs.clone());
        gelu(&mut exact);
        gelu_tanh(&mut by_tanh);
        tanh_all(&mut tanhs);
        for (i, &x) in xs.iter().enumerate() {
            let x = f64::from(x);
            // The normal distribution by a midpoint sum.
            let steps = 20_000;
            let width = (x + 12.0) / f64::from(steps);
            let density = |z: f64| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
            let phi: f64 = (0..steps).map(|s| density(-12.0 + (f64::from(s) + 0.5) * width)).sum::<f64>() * width;
            assert!((f64::from(exact[i]) - x * phi).abs() < 2e-6, "{x}");
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            assert!((f64::from(by_tanh[i]) - 0.5 * x * (1.0 + inner.tanh())).abs() < 2e-6, "{x}");
            assert!((f64::from(tanhs[i]) - x.tanh()).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn layer_norm_has_mean_zero_and_deviation_one() {
        let mut x: Vec<f32> = (0..2 * 37).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let residual: Vec<f32> = (0..2 * 37).map(|i| (i as f32 * 0.3).cos()).collect();
        add_layer_norm(&mut x, &residual, &[1.0; 37], &[0.5; 37], 1e-12);
        for row in x.chunks_exact(37) {
            let mean = row.iter().sum::<f32>() / 37.0;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 37.0;
            assert!((mean - 0.5).abs() < 1e-5 && (variance - 1.0).abs() < 1e-4);
        }
    }
}
