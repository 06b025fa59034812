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

dispatch! {
    /// As [`adam`], only where `mask` is not 0: the rest keeps its weights and moments. The arithmetic is that of [`adam_lanes`].
    pub(crate) fn adam_masked(
        weights: &mut [f32], first: &mut [f32], second: &mut [f32], gradients: &[f32], mask: &[f32], step: &AdamStep,
    ) = adam_masked_body
}

#[inline(always)]
fn adam_masked_body<const FMA: bool>(
    weights: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradients: &[f32],
    mask: &[f32],
    step: &AdamStep,
) {
    let parts = weights.chunks_mut(LANE).zip(first.chunks_mut(LANE)).zip(second.chunks_mut(LANE));
    for (((w, m), v), (g, on)) in parts.zip(gradients.chunks(LANE).zip(mask.chunks(LANE))) {
        if on.iter().fold(0, |any, on| any | on.to_bits() << 1) == 0 {
            continue;
        }
        for ((((w, m), v), &g), &on) in w.iter_mut().zip(m).zip(v).zip(g).zip(on) {
            let [w_new, m_new, v_new] = moved::<FMA>([*w, *m, *v], g * step.scale, step);
            *w = if on != 0.0 { w_new } else { *w };
            *m = if on != 0.0 { m_new } else { *m };
            *v = if on != 0.0 { v_new } else { *v };
        }
    }
}

/// A weight and its moments after a step.
#[inline(always)]
fn moved<const FMA: bool>([w, m, v]: [f32; 3], g: f32, step: &AdamStep) -> [f32; 3] {
    let m_new = fused::<FMA>(step.beta1, m - g, g);
    let v_new = fused::<FMA>(step.beta2, v - g * g, g * g);
    let move_by = (m_new * step.correction1) / ((v_new * step.correction2).sqrt() + step.epsilon);
    [w - step.rate * fused::<FMA>(step.decay, w, move_by), m_new, v_new]
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
            let [w_new, m_new, v_new] = moved::<FMA>([w[l], m[l], v[l]], gradient.0[l] * step.scale, step);
            let on = mask.0[l] != 0.0;
            m[l] = if on { m_new } else { m[l] };
            v[l] = if on { v_new } else { v[l] };
            w[l] = if on { w_new } else { w[l] };
        }
    }
}
