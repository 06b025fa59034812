//! Recursive least squares with forgetting, for one number.

use super::{ExpertKind, ExpertRow, Lesson, Pass, StreamExpert, Truth, from_bytes, to_bytes};
use crate::Result;
use crate::learning::stream::inputs::ReceptiveField;
use crate::nn::linalg::dot;
use serde::{Deserialize, Serialize};

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "least_squares",
    make: |shape| {
        let Some(inputs) = shape.inputs().filter(|_| shape.regression) else { return Vec::new() };
        // Fields and the factor by which a row's weight falls with the next.
        [(ReceptiveField::Plain, 1.0), (ReceptiveField::Context, 0.9995), (ReceptiveField::Full, 0.99995)]
            .into_iter()
            .map(|(field, forget)| -> Box<dyn StreamExpert> {
                Box::new(LeastSquares { field, squares: Squares::new(inputs.width(field), forget) })
            })
            .collect()
    },
    load: |bytes| Ok(Box::new(from_bytes::<LeastSquares>(bytes)?)),
};

/// A regressor over a field of a row's view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::learning::stream) struct LeastSquares {
    pub(in crate::learning::stream) field: ReceptiveField,
    pub(in crate::learning::stream) squares: Squares,
}

/// The weights and their inverse scatter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::learning::stream) struct Squares {
    width: usize,
    forget: f64,
    /// Inverse of the weighted scatter, `[width, width]`, kept symmetric.
    inverse: Vec<f64>,
    weights: Vec<f64>,
}

impl Squares {
    /// A fresh regressor; `forget` below 1 makes old rows fade.
    fn new(width: usize, forget: f64) -> Self {
        let mut inverse = vec![0.0; width * width];
        (0..width).for_each(|i| inverse[i * width + i] = 1.0);
        Self { width, forget, inverse, weights: vec![0.0; width] }
    }

    /// The answer for one input.
    fn predict(&self, input: &[f32]) -> f32 {
        self.weights.iter().zip(input).map(|(w, &x)| w * f64::from(x)).sum::<f64>() as f32
    }

    /// Learns one row that counts `credibility`.
    fn learn(&mut self, input: &[f32], value: f32, credibility: f32) {
        let n = self.width;
        let x: Vec<f64> = input.iter().map(|&v| f64::from(v)).collect();
        let gain: Vec<f64> = self.inverse.chunks_exact(n.max(1)).map(|row| dot(row, &x)).collect();
        let scale = self.forget / f64::from(credibility) + dot(&gain, &x);
        let error = f64::from(value) - dot(&self.weights, &x);
        for (w, g) in self.weights.iter_mut().zip(&gain) {
            *w += g / scale * error;
        }
        // Without new data in some direction its variance would grow for ever: it is capped.
        let trace: f64 = (0..n).map(|i| self.inverse[i * n + i]).sum();
        let grow = if trace < 100.0 * n as f64 { 1.0 / self.forget } else { 1.0 };
        for (row, &gi) in self.inverse.chunks_exact_mut(n.max(1)).zip(&gain) {
            let step = gi / scale;
            row.iter_mut().zip(&gain).for_each(|(v, gj)| *v = (*v - step * gj) * grow);
        }
    }
}

impl StreamExpert for LeastSquares {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        out.fill(row.shared.mean + self.squares.predict(row.view.of(self.field)));
    }

    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        if let (Truth::Value(value), false) = (lesson.truth, lesson.pass == Pass::Rehearsal) {
            self.squares.learn(row.view.of(self.field), value - row.shared.mean, lesson.credibility);
        }
    }

    fn restart(&mut self) {
        self.squares = Squares::new(self.squares.width, self.squares.forget);
    }

    fn bytes(&self) -> u64 {
        (self.squares.weights.len() * 8) as u64
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        let squares = Squares { inverse: Vec::new(), weights: self.squares.weights.clone(), ..self.squares };
        Box::new(Self { field: self.field, squares })
    }
}
