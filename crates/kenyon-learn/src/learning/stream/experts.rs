//! Small models that learn from every row at once, and how their answers are joined.
//!
//! An [`Expert`] is multinomial logistic regression with AdaGrad steps (Duchi et al. 2011), one rate
//! a weight; where the squares of its gradients decay, its rates never die and it follows change.
//! [`Hedge`] weighs experts by recent loss (fixed share, Herbster & Warmuth 1998), so that what fits
//! now speaks, and nobody has to choose. [`Squares`] is recursive least squares for numbers.

use crate::nn::linalg::dot;
pub(super) use crate::nn::probability::softmax;
use serde::{Deserialize, Serialize};

/// Smallest probability an expert is charged for, so that one surprise does not silence it for ever.
const LEAST: f32 = 1e-3;

/// Logistic regression over inputs of a fixed width and a growing number of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Expert {
    width: usize,
    rate: f32,
    decay: f32,
    /// `[classes, width]`.
    weights: Vec<f32>,
    /// Sums of squared gradients, `[classes, width]`.
    squares: Vec<f32>,
}

impl Expert {
    /// An expert that knows nothing.
    pub(super) fn new(width: usize, rate: f32, decay: f32) -> Self {
        Self { width, rate, decay, weights: Vec::new(), squares: Vec::new() }
    }

    /// Makes room for classes up to `classes`.
    pub(super) fn grow(&mut self, classes: usize) {
        self.weights.resize(self.weights.len().max(classes * self.width), 0.0);
        self.squares.resize(self.squares.len().max(classes * self.width), 1e-2);
    }

    /// Class probabilities for a dense input, `[classes]`.
    pub(super) fn predict(&self, input: &[f32], out: &mut [f32]) {
        for (slot, row) in out.iter_mut().zip(self.weights.chunks_exact(self.width.max(1))) {
            *slot = dot(input, row);
        }
        softmax(out);
    }

    /// Class probabilities for a sparse input.
    pub(super) fn predict_sparse(&self, indices: &[u32], values: &[f32], out: &mut [f32]) {
        for (slot, row) in out.iter_mut().zip(self.weights.chunks_exact(self.width.max(1))) {
            *slot = indices.iter().zip(values).map(|(&i, &v)| v * row[self.place(i)]).sum();
        }
        softmax(out);
    }

    /// Learns a dense row whose probabilities were `predicted`.
    pub(super) fn learn(&mut self, input: &[f32], class: usize, predicted: &[f32]) {
        for (c, &p) in predicted.iter().enumerate() {
            let error = p - f32::from(u8::from(c == class));
            let range = c * self.width..(c + 1) * self.width;
            let (weights, squares) = (&mut self.weights[range.clone()], &mut self.squares[range]);
            for ((w, s), &x) in weights.iter_mut().zip(squares).zip(input) {
                let gradient = error * x;
                *s = *s * self.decay + gradient * gradient;
                *w -= self.rate * gradient / s.max(1e-12).sqrt();
            }
        }
    }

    /// Learns a sparse row.
    pub(super) fn learn_sparse(&mut self, indices: &[u32], values: &[f32], class: usize, predicted: &[f32]) {
        for (c, &p) in predicted.iter().enumerate() {
            let error = p - f32::from(u8::from(c == class));
            if error.abs() < 1e-4 {
                continue;
            }
            for (&i, &x) in indices.iter().zip(values) {
                let at = c * self.width + self.place(i);
                let gradient = error * x;
                let square = self.squares[at] * self.decay + gradient * gradient;
                self.squares[at] = square;
                self.weights[at] -= self.rate * gradient / square.max(1e-12).sqrt();
            }
        }
    }

    /// After a change: large steps again.
    pub(super) fn wake(&mut self) {
        if self.decay < 1.0 {
            self.squares.iter_mut().for_each(|s| *s = (*s * 0.05).max(1e-2));
        }
    }

    /// Forgets everything, for as many classes as before.
    pub(super) fn restart(&mut self) {
        self.weights.fill(0.0);
        self.squares.fill(1e-2);
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        (self.weights.len() * 8) as u64
    }

    fn place(&self, index: u32) -> usize {
        // Widths below the feature space are powers of two: what is beyond is hashed in.
        let index = index as usize;
        if index < self.width { index } else { (index.wrapping_mul(0x9e37_79b1) >> 7) % self.width }
    }
}

/// Recursive least squares with forgetting, for one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Squares {
    width: usize,
    forget: f64,
    /// Inverse of the weighted scatter, `[width, width]`, kept symmetric.
    inverse: Vec<f64>,
    weights: Vec<f64>,
}

impl Squares {
    /// A regressor that knows nothing; `forget` below 1 lets old rows fade.
    pub(super) fn new(width: usize, forget: f64) -> Self {
        let mut inverse = vec![0.0; width * width];
        (0..width).for_each(|i| inverse[i * width + i] = 1.0);
        Self { width, forget, inverse, weights: vec![0.0; width] }
    }

    /// Forgets everything.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.width, self.forget);
    }

    /// The answer for one input.
    pub(super) fn predict(&self, input: &[f32]) -> f32 {
        self.weights.iter().zip(input).map(|(w, &x)| w * f64::from(x)).sum::<f64>() as f32
    }

    /// Learns one row.
    pub(super) fn learn(&mut self, input: &[f32], value: f32) {
        let n = self.width;
        let x: Vec<f64> = input.iter().map(|&v| f64::from(v)).collect();
        let gain: Vec<f64> = self.inverse.chunks_exact(n.max(1)).map(|row| dot(row, &x)).collect();
        let scale = self.forget + dot(&gain, &x);
        let error = f64::from(value) - dot(&self.weights, &x);
        for (w, g) in self.weights.iter_mut().zip(&gain) {
            *w += g / scale * error;
        }
        // Without new evidence in some direction its variance would grow for ever: it is capped.
        let trace: f64 = (0..n).map(|i| self.inverse[i * n + i]).sum();
        let grow = if trace < 100.0 * n as f64 { 1.0 / self.forget } else { 1.0 };
        for (row, &gi) in self.inverse.chunks_exact_mut(n.max(1)).zip(&gain) {
            let step = gi / scale;
            row.iter_mut().zip(&gain).for_each(|(v, gj)| *v = (*v - step * gj) * grow);
        }
    }
}

/// Weights of experts by their recent losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hedge {
    /// Logarithms of the weights, one an expert.
    scores: Vec<f32>,
}

/// What an expert that was trained before the stream began is ahead of those that know nothing yet:
/// e⁶ : 1, as much as thirty rows that the others answer better by two thirds of a nat.
const LEAD: f32 = 6.0;

impl Hedge {
    /// All experts alike, or the first ahead because it is `trained`.
    pub(super) fn new(experts: usize, trained: bool) -> Self {
        let mut it = Self { scores: vec![0.0; experts] };
        it.restart(trained);
        it
    }

    /// The weights, summing to 1.
    pub(super) fn weights(&self, out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(&self.scores);
        softmax(out);
    }

    /// Charges each expert with its loss; losses of long ago fade.
    pub(super) fn charge(&mut self, losses: impl Iterator<Item = f32>) {
        for (score, loss) in self.scores.iter_mut().zip(losses) {
            *score = 0.99 * *score - 0.3 * loss;
        }
    }

    /// As at first.
    pub(super) fn restart(&mut self, trained: bool) {
        self.scores.fill(0.0);
        if let Some(first) = self.scores.first_mut().filter(|_| trained) {
            *first = LEAD;
        }
    }

    /// After a change: all nearly alike again.
    pub(super) fn level(&mut self) {
        self.scores.iter_mut().for_each(|s| *s *= 0.1);
    }
}

/// The loss an expert is charged with for the probability it gave to the truth.
pub(super) fn log_loss(probability: f32) -> f32 {
    -probability.max(LEAST).ln()
}
