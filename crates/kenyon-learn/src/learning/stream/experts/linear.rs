//! Linear models as experts: multinomial logistic regression with AdaGrad steps (Duchi et al. 2011), one rate a
//! weight. Where the squares of its gradients decay, its rates never vanish and it follows change.

use super::{ExpertKind, ExpertRow, Lesson, StreamExpert, Truth, from_bytes, to_bytes};
use crate::Result;
use crate::learning::stream::copy_on_write::CopyOnWrite;
use crate::learning::stream::inputs::ReceptiveField;
use crate::nn::linalg::dot;
use crate::nn::probability::softmax;
use serde::{Deserialize, Serialize};

/// Rate and decay of the squares for each field of the columns: small and large steps, steady and forgetting.
const DENSE: [(ReceptiveField, f32, f32); 5] = [
    (ReceptiveField::Plain, 0.1, 1.0),
    (ReceptiveField::Context, 0.5, 1.0),
    (ReceptiveField::Context, 0.05, 0.999),
    (ReceptiveField::Full, 0.1, 1.0),
    (ReceptiveField::Full, 0.05, 0.999),
];
/// The same for wide sparse inputs.
const SPARSE: [(f32, f32); 3] = [(0.1, 1.0), (0.5, 1.0), (0.05, 0.9995)];
/// Weights a class of a sparse input, at most: features beyond share them.
const SPARSE_WIDTH: usize = 1 << 17;

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "linear",
    make: |shape| {
        let mut made: Vec<Box<dyn StreamExpert>> = Vec::new();
        if shape.regression {
            return made;
        }
        if let Some(inputs) = shape.inputs() {
            for (field, rate, decay) in DENSE {
                let logistic = Logistic::new(inputs.width(field), rate, decay);
                made.push(Box::new(Linear { field: Some(field), logistic }));
            }
        }
        if shape.sparse > 0 {
            for (rate, decay) in SPARSE {
                let logistic = Logistic::new(shape.sparse.min(SPARSE_WIDTH), rate, decay);
                made.push(Box::new(Linear { field: None, logistic }));
            }
        }
        made
    },
    load: |bytes| Ok(Box::new(from_bytes::<Linear>(bytes)?)),
};

/// A linear model over a field of a row's view, or over its sparse features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::learning::stream) struct Linear {
    /// None: the sparse features.
    pub(in crate::learning::stream) field: Option<ReceptiveField>,
    pub(in crate::learning::stream) logistic: Logistic,
}

impl StreamExpert for Linear {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        match self.field {
            Some(field) => self.logistic.predict(row.view.of(field), out),
            None => self.logistic.predict_sparse(row.row.indices, row.row.values, out),
        }
    }

    // A row can be learned any number of times: each is one step.
    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        let Truth::Class(class) = lesson.truth else { return };
        match self.field {
            Some(field) => {
                self.logistic.learn(row.view.of(field), class, lesson.predicted, lesson.credibility);
            }
            None => self.logistic.learn_sparse(row.row.indices, row.row.values, class, lesson.predicted),
        }
    }

    fn on_drift(&mut self, _fade: bool, _shared: &super::Shared) {
        self.logistic.on_drift();
    }

    fn restart(&mut self) {
        self.logistic.restart();
    }

    fn grow(&mut self, classes: usize) {
        self.logistic.grow(classes);
    }

    fn bytes(&self) -> u64 {
        (self.logistic.weights.len() * 8) as u64
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        let logistic = Logistic { squares: CopyOnWrite::default(), ..self.logistic.clone() };
        Box::new(Self { field: self.field, logistic })
    }
}

/// Logistic regression over inputs of a fixed width and a growing number of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::learning::stream) struct Logistic {
    width: usize,
    rate: f32,
    decay: f32,
    /// `[classes, width]`.
    weights: CopyOnWrite<Vec<f32>>,
    /// Sums of squared gradients, `[classes, width]`.
    squares: CopyOnWrite<Vec<f32>>,
}

impl Logistic {
    /// A fresh classifier.
    fn new(width: usize, rate: f32, decay: f32) -> Self {
        Self { width, rate, decay, weights: CopyOnWrite::default(), squares: CopyOnWrite::default() }
    }

    /// Extends the arrays for classes up to `classes`.
    fn grow(&mut self, classes: usize) {
        let len = self.weights.len().max(classes * self.width);
        self.weights.resize(len, 0.0);
        self.squares.resize(len, 1e-2);
    }

    /// Class probabilities for a dense input, `[classes]`.
    fn predict(&self, input: &[f32], out: &mut [f32]) {
        for (slot, row) in out.iter_mut().zip(self.weights.chunks_exact(self.width.max(1))) {
            *slot = dot(input, row);
        }
        softmax(out);
    }

    /// Class probabilities for a sparse input.
    fn predict_sparse(&self, indices: &[u32], values: &[f32], out: &mut [f32]) {
        for (slot, row) in out.iter_mut().zip(self.weights.chunks_exact(self.width.max(1))) {
            *slot = indices.iter().zip(values).map(|(&i, &v)| v * row[place(i, self.width)]).sum();
        }
        softmax(out);
    }

    /// Learns a dense row whose probabilities were `predicted` and which counts `credibility`.
    fn learn(&mut self, input: &[f32], class: usize, predicted: &[f32], credibility: f32) {
        let (all_weights, all_squares) = (&mut *self.weights, &mut *self.squares);
        for (c, &p) in predicted.iter().enumerate() {
            let error = credibility * (p - f32::from(u8::from(c == class)));
            let range = c * self.width..(c + 1) * self.width;
            let (weights, squares) = (&mut all_weights[range.clone()], &mut all_squares[range]);
            for ((w, s), &x) in weights.iter_mut().zip(squares).zip(input) {
                let gradient = error * x;
                *s = *s * self.decay + gradient * gradient;
                *w -= self.rate * gradient / s.max(1e-12).sqrt();
            }
        }
    }

    /// Learns a sparse row.
    fn learn_sparse(&mut self, indices: &[u32], values: &[f32], class: usize, predicted: &[f32]) {
        let (width, rate, decay) = (self.width, self.rate, self.decay);
        let (weights, squares) = (&mut *self.weights, &mut *self.squares);
        for (c, &p) in predicted.iter().enumerate() {
            let error = p - f32::from(u8::from(c == class));
            if error.abs() < 1e-4 {
                continue;
            }
            for (&i, &x) in indices.iter().zip(values) {
                let at = c * width + place(i, width);
                let gradient = error * x;
                let square = squares[at] * decay + gradient * gradient;
                squares[at] = square;
                weights[at] -= rate * gradient / square.max(1e-12).sqrt();
            }
        }
    }

    /// After a change: large steps again.
    fn on_drift(&mut self) {
        if self.decay < 1.0 {
            self.squares.iter_mut().for_each(|s| *s = (*s * 0.05).max(1e-2));
        }
    }

    /// Forgets everything, for as many classes as before.
    fn restart(&mut self) {
        self.weights.fill(0.0);
        self.squares.fill(1e-2);
    }
}

/// The index of a feature's weight: widths below the feature space are powers of two, and what is beyond is hashed in.
fn place(index: u32, width: usize) -> usize {
    let index = index as usize;
    if index < width { index } else { (index.wrapping_mul(0x9e37_79b1) >> 7) % width }
}
