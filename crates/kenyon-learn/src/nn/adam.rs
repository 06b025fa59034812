//! AdamW with moments that a checkpoint can store, its schedule, and clipping. candle's own hides
//! its moments to itself and updates tensor by tensor; this one is one pass over a slice.

use super::kernels::{AdamStep, adam, dense};

/// Warm-up to the peak rate, then a half cosine down to zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WarmCosine {
    /// The largest learning rate.
    pub(crate) peak: f32,
    /// Steps of warm-up at most; never more than a tenth of all steps.
    pub(crate) warm_up: u64,
}

impl WarmCosine {
    /// The rate of step `step` (from 0) of `steps`.
    pub(crate) fn rate(&self, step: u64, steps: u64) -> f32 {
        let warm_up = self.warm_up.min(steps / 10).max(1);
        if step < warm_up {
            return self.peak * (step + 1) as f32 / warm_up as f32;
        }
        let done = (step - warm_up) as f64 / (steps.saturating_sub(warm_up)).max(1) as f64;
        self.peak * (0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())) as f32
    }
}

/// Decay of the first moment.
const BETA1: f32 = 0.9;
/// Decay of the second moment; short, so that the first gradients of rarely used rows do not cause large steps.
const BETA2: f32 = 0.98;

/// The constants of step `step` (from 0) at `rate`, with gradients scaled by `scale`.
pub(crate) fn constants(step: u64, rate: f32, scale: f32) -> AdamStep {
    let t = (step + 1).min(100_000) as i32;
    AdamStep {
        rate,
        beta1: BETA1,
        beta2: BETA2,
        correction1: (1.0 / (1.0 - f64::from(BETA1).powi(t))) as f32,
        correction2: (1.0 / (1.0 - f64::from(BETA2).powi(t))) as f32,
        epsilon: 1e-8,
        decay: 0.0,
        scale,
    }
}

/// First and second moments of some weights.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Moments {
    /// Running mean of gradients.
    pub(crate) first: Vec<f32>,
    /// Running mean of squared gradients.
    pub(crate) second: Vec<f32>,
}

impl Moments {
    /// Zero moments for `len` weights.
    pub(crate) fn new(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len] }
    }

    /// One step on `weights[range]` with `gradient` of that range.
    pub(crate) fn update(
        &mut self,
        weights: &mut [f32],
        range: std::ops::Range<usize>,
        gradient: &[f32],
        step: AdamStep,
    ) {
        adam(&mut weights[range.clone()], &mut self.first[range.clone()], &mut self.second[range], gradient, step);
    }
}

/// Gradients of the rows of a table that a mini-batch touched; all other rows cost nothing.
#[derive(Debug, Default)]
pub(crate) struct RowGradients {
    width: usize,
    /// Place of each row in `rows` plus 1, or 0; `[table rows]`.
    place: Vec<u32>,
    rows: Vec<u32>,
    values: Vec<f32>,
}

impl RowGradients {
    /// For a table of `rows` rows of `width`.
    pub(crate) fn new(rows: usize, width: usize) -> Self {
        Self { width, place: vec![0; rows], rows: Vec::new(), values: Vec::new() }
    }

    /// Adds `scale · gradient` to row `row`.
    pub(crate) fn add(&mut self, row: u32, scale: f32, gradient: &[f32]) {
        let place = &mut self.place[row as usize];
        if *place == 0 {
            self.rows.push(row);
            *place = self.rows.len() as u32;
            self.values.resize(self.rows.len() * self.width, 0.0);
        }
        let at = (*place as usize - 1) * self.width;
        dense::add_scaled(&mut self.values[at..at + self.width], scale, gradient);
    }

    /// Sum of squares over all touched rows.
    pub(crate) fn square_sum(&self) -> f64 {
        dense::square_sum(&self.values)
    }

    /// Steps the touched rows of `table` and clears the gradients.
    pub(crate) fn apply(&mut self, table: &mut [f32], moments: &mut Moments, step: AdamStep) {
        for (row, gradient) in self.rows.iter().zip(self.values.chunks_exact(self.width.max(1))) {
            let start = *row as usize * self.width;
            moments.update(table, start..start + self.width, gradient, step);
        }
        self.clear();
    }

    /// The touched rows with their gradients.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[f32])> {
        self.rows.iter().copied().zip(self.values.chunks_exact(self.width.max(1)))
    }

    /// Clears all gradients.
    pub(crate) fn clear(&mut self) {
        for row in self.rows.drain(..) {
            self.place[row as usize] = 0;
        }
        self.values.clear();
    }
}

/// What gradients are scaled with so that their norm is at most `limit`.
pub(crate) fn clip(square_sum: f64, limit: f32) -> f32 {
    let norm = square_sum.sqrt() as f32;
    if norm.is_finite() && norm > limit { limit / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_rises_then_falls_to_nothing() {
        let schedule = WarmCosine { peak: 1.0, warm_up: 200 };
        assert!(schedule.rate(0, 10_000) < 0.01);
        assert!((schedule.rate(199, 10_000) - 1.0).abs() < 1e-6);
        assert!(schedule.rate(9_999, 10_000) < 1e-4);
        // A short training warms up for a tenth of it.
        assert!((schedule.rate(1, 20) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn adam_steps_as_published() {
        // One step from zero moments moves by the rate, whatever the gradient's size.
        let (mut w, mut moments) = (vec![1.0, 1.0], Moments::new(2));
        moments.update(&mut w, 0..2, &[0.001, -50.0], constants(0, 0.1, 1.0));
        assert!((w[0] - 0.9).abs() < 1e-5 && (w[1] - 1.1).abs() < 1e-5, "{w:?}");
    }

    #[test]
    fn rows_add_up_and_are_forgotten() {
        let mut grads = RowGradients::new(4, 2);
        grads.add(3, 1.0, &[1.0, 2.0]);
        grads.add(1, 2.0, &[1.0, 1.0]);
        grads.add(3, 1.0, &[1.0, 2.0]);
        assert_eq!(
            grads.iter().map(|(r, g)| (r, g.to_vec())).collect::<Vec<_>>(),
            [(3, vec![2.0, 4.0]), (1, vec![2.0, 2.0])]
        );
        grads.clear();
        assert_eq!(grads.iter().count(), 0);
    }
}
