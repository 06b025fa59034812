//! Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019): on plain slices, and on the lines of
//! a block of units that a mini-batch touched.

use super::isa::dispatch;
use super::lane::{LANE, Lane, fused};

/// Constants of one step.
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
    /// Factor of the gradients (clipping).
    pub scale: f32,
}

dispatch! {
    /// One step in place on weights and both moments.
    pub(crate) fn adam(w: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], s: AdamStep) {
        let (shrink, a1, a2) = (1.0 - s.rate * s.decay, 1.0 - s.beta1, 1.0 - s.beta2);
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(grad) {
            let g = g * s.scale;
            *m = s.beta1 * *m + a1 * g;
            *v = s.beta2 * *v + a2 * g * g;
            *w = *w * shrink - s.rate * (*m * s.correction1) / ((*v * s.correction2).sqrt() + s.epsilon);
        }
    }
}

/// Whether all of these are 0.
#[inline(always)]
fn are_zero(numbers: &[f32]) -> bool {
    numbers.iter().fold(0, |any, number| any | number.to_bits() << 1) == 0
}

dispatch! {
    /// The step of a moment: the running mean of the gradients, or of their squares. With `lazy`, numbers whose gradient is 0 stay.
    pub(crate) fn adam_moment(moment: &mut [f32], gradient: &[f32], step: &AdamStep, squared: bool, lazy: bool) {
        let keep = if squared { step.beta2 } else { step.beta1 };
        for (moment, gradient) in moment.chunks_mut(LANE).zip(gradient.chunks(LANE)) {
            if lazy && are_zero(gradient) {
                continue;
            }
            for (moment, &gradient) in moment.iter_mut().zip(gradient) {
                let scaled = gradient * step.scale;
                let next = if squared { scaled * scaled } else { scaled };
                let new = keep * *moment + (1.0 - keep) * next;
                *moment = if lazy && gradient == 0.0 { *moment } else { new };
            }
        }
    }
}

dispatch! {
    /// The step of weights by their moments; where there is a gradient, only of those for which it is not 0.
    pub(crate) fn adam_move(weights: &mut [f32], first: &[f32], second: &[f32], gradient: Option<&[f32]>, step: &AdamStep) {
        let shrink = 1.0 - step.rate * step.decay;
        let moved = |weight: f32, first: f32, second: f32| {
            let divisor = (second * step.correction2).sqrt() + step.epsilon;
            weight * shrink - step.rate * (first * step.correction1) / divisor
        };
        let parts = weights.chunks_mut(LANE).zip(first.chunks(LANE).zip(second.chunks(LANE)));
        let Some(gradient) = gradient else {
            for (weights, (first, second)) in parts {
                weights.iter_mut().zip(first.iter().zip(second)).for_each(|(w, (&m, &v))| *w = moved(*w, m, v));
            }
            return;
        };
        for ((weights, (first, second)), gradient) in parts.zip(gradient.chunks(LANE)) {
            if are_zero(gradient) {
                continue;
            }
            for ((w, (&m, &v)), &gradient) in weights.iter_mut().zip(first.iter().zip(second)).zip(gradient) {
                let new = moved(*w, m, v);
                *w = if gradient == 0.0 { *w } else { new };
            }
        }
    }
}

dispatch! {
    /// One step on the lines `ids` of a block, only in lanes where `mask` is not zero: the rest
    /// keeps its weights and moments, so the cost follows what was active. `gradients[i]` belongs
    /// to line `ids[i]`.
    pub(crate) fn adam_lanes(
        weights: &mut [Lane], first: &mut [Lane], second: &mut [Lane], ids: &[u32], gradients: &[Lane],
        mask: &Lane, step: &AdamStep,
    ) = adam_lanes_body
}

#[inline(always)]
fn adam_lanes_body<const FMA: bool>(
    weights: &mut [Lane],
    first: &mut [Lane],
    second: &mut [Lane],
    ids: &[u32],
    gradients: &[Lane],
    mask: &Lane,
    step: &AdamStep,
) {
    for (&id, gradient) in ids.iter().zip(gradients) {
        let id = id as usize;
        let (w, m, v) = (&mut weights[id].0, &mut first[id].0, &mut second[id].0);
        for l in 0..LANE {
            let g = gradient.0[l] * step.scale;
            let m_new = fused::<FMA>(step.beta1, m[l] - g, g);
            let v_new = fused::<FMA>(step.beta2, v[l] - g * g, g * g);
            let move_by = (m_new * step.correction1) / ((v_new * step.correction2).sqrt() + step.epsilon);
            let w_new = w[l] - step.rate * fused::<FMA>(step.decay, w[l], move_by);
            let on = mask.0[l] != 0.0;
            m[l] = if on { m_new } else { m[l] };
            v[l] = if on { v_new } else { v[l] };
            w[l] = if on { w_new } else { w[l] };
        }
    }
}
