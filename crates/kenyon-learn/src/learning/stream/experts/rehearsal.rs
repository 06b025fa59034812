//! A network of one hidden layer that learns every new row together with a few stored ones (rehearsal: Robins 1995,
//! "Catastrophic forgetting, rehearsal and pseudorehearsal"; experience replay: Lin 1992). A single pass over a stream
//! then has the effect of several passes. A stored row gives way to a new one at random, so that the age of what is
//! rehearsed has a bounded mean and the network follows change.

use super::{ExpertKind, ExpertRow, Lesson, Pass, StreamExpert, Truth, from_bytes, to_bytes};
use crate::Result;
use crate::learning::stream::copy_on_write::CopyOnWrite;
use crate::learning::stream::inputs::ReceptiveField;
use crate::nn::adam::{Moments, constants};
use crate::nn::kernels::dense::{add_outer, add_scaled, dot, rectified};
use crate::nn::probability::softmax;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Units of the hidden layer.
const UNITS: usize = 64;
/// Stored rows that are learned together with a new one.
const REHEARSED: usize = 7;
/// Rows that are stored, at most, and numbers in all of them.
const MOST_ROWS: usize = 4_000;
const MOST_NUMBERS: usize = 200_000;
/// Learning rate of the first step; steps after which it has halved, and the share it never falls below.
const RATE: f32 = 0.003;
const HALVED: f32 = 1_000.0;
const LEAST_RATE: f32 = 0.1;
/// Stored inputs are whole numbers of this size: they lie between −5 and 5.
const STEP: f32 = 1.0 / 6_000.0;
/// Errors of standardised values count at most as much as this one (Huber 1964).
const LARGE_ERROR: f32 = 2.0;
/// A network whose predictions have less weight than this after this many rows is paused.
const MIN_WEIGHT: (f32, u64) = (1e-3, 3_000);

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "rehearsal",
    make: |shape| {
        let Some(inputs) = shape.inputs() else { return Vec::new() };
        let width = inputs.width(ReceptiveField::Plain);
        vec![Box::new(Rehearsal::new(width, shape.regression, shape.seed))]
    },
    load: |bytes| Ok(Box::new(from_bytes::<Rehearsal>(bytes)?)),
};

/// The network, its optimiser and the rows it rehearses.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rehearsal {
    /// Inputs, the bias among them.
    width: usize,
    regression: bool,
    seed: u64,
    /// Outputs: classes, or one value.
    outputs: usize,
    /// Rows learned since it began.
    rows: u64,
    /// Steps since the rate was last at its largest.
    steps: u64,
    paused: bool,
    /// Mean weight of its predictions over about the last thousand rows.
    weight: f32,
    /// `[UNITS, width]`.
    hidden: Layer,
    /// `[outputs, UNITS + 1]`, the bias last.
    readout: Layer,
    /// Stored inputs without the bias, `[rows, width − 1]`, and their classes or values.
    stored: Vec<i16>,
    outcomes: Vec<f32>,
    /// Mean and variance of the values so far.
    mean: f32,
    variance: f32,
}

/// Weights and their moments.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Layer {
    weights: CopyOnWrite<Vec<f32>>,
    moments: Moments,
}

impl Layer {
    fn new(weights: Vec<f32>) -> Self {
        Self { moments: Moments::new(weights.len()), weights: weights.into() }
    }

    /// Appends weights of zero up to `len`.
    fn extend(&mut self, len: usize) {
        self.weights.resize(len, 0.0);
        self.moments.first.resize(len, 0.0);
        self.moments.second.resize(len, 0.0);
    }

    fn step(&mut self, gradient: &[f32], step: u64, rate: f32) {
        let all = 0..gradient.len();
        self.moments.update(&mut self.weights, all, gradient, constants(step, rate, 1.0 / (1 + REHEARSED) as f32));
    }
}

impl Rehearsal {
    fn new(width: usize, regression: bool, seed: u64) -> Self {
        let mut random = Random::stream(seed, "rehearsal units", 0);
        let mut it = Self {
            width,
            regression,
            seed,
            outputs: 0,
            rows: 0,
            steps: 0,
            paused: false,
            weight: 0.0,
            hidden: Layer::new(random.normals(UNITS * width, (2.0 / width.max(1) as f32).sqrt())),
            readout: Layer::default(),
            stored: Vec::new(),
            outcomes: Vec::new(),
            mean: 0.0,
            variance: 0.0,
        };
        it.extend(usize::from(regression));
        it
    }

    fn extend(&mut self, outputs: usize) {
        if outputs > self.outputs {
            self.outputs = outputs;
            self.readout.extend(outputs * (UNITS + 1));
        }
    }

    /// The activations, followed by 1 for the bias, into `units`; outputs into `out`.
    fn forward(&self, input: &[f32], units: &mut Vec<f32>, out: &mut [f32]) {
        units.clear();
        units.resize(UNITS + 1, 1.0);
        rectified(input, &self.hidden.weights, &mut units[..UNITS]);
        for (out, weights) in out.iter_mut().zip(self.readout.weights.chunks_exact(UNITS + 1)) {
            *out = dot(units, weights);
        }
        if !self.regression {
            softmax(out);
        }
    }

    fn deviation(&self) -> f32 {
        self.variance.sqrt().max(1e-6)
    }

    /// Learns a row, and stored ones with it.
    fn learn(&mut self, input: &[f32], outcome: f32) {
        self.rows += 1;
        if self.regression {
            let (before, share) = (outcome - self.mean, 1.0 / self.rows as f32);
            self.mean += share * before;
            self.variance += share * (before * (outcome - self.mean) - self.variance);
        }
        let mut random = Random::stream(self.seed, "rehearsal", self.rows);
        let mut gradients = Gradients {
            hidden: vec![0.0; UNITS * self.width],
            readout: vec![0.0; self.outputs * (UNITS + 1)],
            units: Vec::new(),
            errors: vec![0.0; self.outputs],
            back: Vec::new(),
        };
        self.add_gradient(input, outcome, &mut gradients);
        let columns = self.width - 1;
        let mut rehearsed = vec![1.0; self.width];
        for _ in 0..REHEARSED.min(self.outcomes.len()) {
            let at = random.below(self.outcomes.len());
            let stored = &self.stored[at * columns..(at + 1) * columns];
            rehearsed[1..].iter_mut().zip(stored).for_each(|(x, &s)| *x = f32::from(s) * STEP);
            self.add_gradient(&rehearsed, self.outcomes[at], &mut gradients);
        }
        let rate = RATE * (1.0 / (1.0 + self.steps as f32 / HALVED)).max(LEAST_RATE);
        self.hidden.step(&gradients.hidden, self.steps, rate);
        self.readout.step(&gradients.readout, self.steps, rate);
        self.steps += 1;
        self.store(&input[1..], outcome, &mut random);
    }

    fn add_gradient(&self, input: &[f32], outcome: f32, to: &mut Gradients) {
        self.forward(input, &mut to.units, &mut to.errors);
        if self.regression {
            let error = to.errors[0] - (outcome - self.mean) / self.deviation();
            to.errors[0] = error.clamp(-LARGE_ERROR, LARGE_ERROR);
        } else if let Some(probability) = to.errors.get_mut(outcome as usize) {
            *probability -= 1.0;
        }
        to.back.clear();
        to.back.resize(UNITS, 0.0);
        for (&error, weights) in to.errors.iter().zip(self.readout.weights.chunks_exact(UNITS + 1)) {
            add_scaled(&mut to.back, error, weights);
        }
        to.back.iter_mut().zip(&to.units).for_each(|(back, &unit)| *back = if unit > 0.0 { *back } else { 0.0 });
        add_outer(&mut to.readout, &to.errors, &to.units);
        add_outer(&mut to.hidden, &to.back, input);
    }

    fn store(&mut self, columns: &[f32], outcome: f32, random: &mut Random) {
        let quantised = columns.iter().map(|x| (x / STEP).round() as i16);
        let most = (MOST_NUMBERS / columns.len().max(1)).clamp(1, MOST_ROWS);
        if self.outcomes.len() < most {
            self.stored.extend(quantised);
            self.outcomes.push(outcome);
            return;
        }
        let at = random.below(most);
        self.outcomes[at] = outcome;
        let row = &mut self.stored[at * columns.len()..(at + 1) * columns.len()];
        row.iter_mut().zip(quantised).for_each(|(to, from)| *to = from);
    }

    /// Starts again without rows, for as many classes as before.
    fn start_over(&mut self) {
        let outputs = self.outputs;
        *self = Self::new(self.width, self.regression, self.seed);
        self.extend(outputs);
    }
}

/// Sums of gradients over the rows of a step, and intermediate results.
struct Gradients {
    hidden: Vec<f32>,
    readout: Vec<f32>,
    units: Vec<f32>,
    /// Derivatives of the loss by the outputs.
    errors: Vec<f32>,
    /// Derivatives by the units.
    back: Vec<f32>,
}

impl StreamExpert for Rehearsal {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn predict_one(&self, row: &ExpertRow<'_>, buffer: &mut Vec<f32>, out: &mut [f32]) {
        match (self.regression, self.paused) {
            (true, true) => out.fill(row.shared.mean),
            (false, true) => out.fill(1.0 / out.len().max(1) as f32),
            _ => self.forward(row.view.of(ReceptiveField::Plain), buffer, out),
        }
        if self.regression && !self.paused {
            out.iter_mut().for_each(|value| *value = self.mean + self.deviation() * *value);
        }
    }

    // It stores rows: one that is stored must not be stored again.
    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        if self.paused || !matches!(lesson.pass, Pass::Stream | Pass::RebuildFirst) || lesson.credibility <= 0.5 {
            return;
        }
        self.weight += (lesson.weight - self.weight) / (self.rows + 1).min(1_000) as f32;
        if self.rows >= MIN_WEIGHT.1 && self.weight < MIN_WEIGHT.0 {
            self.start_over();
            self.paused = true;
            return;
        }
        let outcome = match lesson.truth {
            Truth::Class(class) => class as f32,
            Truth::Value(value) => value,
        };
        self.learn(row.view.of(ReceptiveField::Plain), outcome);
    }

    fn on_drift(&mut self, fade: bool, _shared: &super::Shared) {
        if self.paused {
            self.start_over();
        } else if fade {
            (self.steps, self.stored, self.outcomes) = (0, Vec::new(), Vec::new());
        }
    }

    fn restart(&mut self) {
        self.start_over();
    }

    fn grow(&mut self, classes: usize) {
        self.extend(classes);
    }

    fn bytes(&self) -> u64 {
        4 * (self.hidden.weights.len() + self.readout.weights.len()) as u64
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        let weights = |layer: &Layer| Layer { weights: layer.weights.clone(), moments: Moments::default() };
        Box::new(Self {
            hidden: weights(&self.hidden),
            readout: weights(&self.readout),
            stored: Vec::new(),
            outcomes: Vec::new(),
            ..*self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkerboard of four cells, which no linear model can separate.
    fn cell(random: &mut Random) -> ([f32; 3], f32) {
        let (x, y) = (2.0 * random.uniform() - 1.0, 2.0 * random.uniform() - 1.0);
        ([1.0, x, y], f32::from(u8::from((x > 0.0) == (y > 0.0))))
    }

    fn right(network: &Rehearsal, random: &mut Random, rows: usize) -> usize {
        let mut out = vec![0.0; 2];
        (0..rows)
            .filter(|_| {
                let (input, class) = cell(random);
                network.forward(&input, &mut Vec::new(), &mut out);
                (out[1] > out[0]) == (class == 1.0)
            })
            .count()
    }

    #[test]
    fn a_checkerboard_is_learned_in_one_pass() {
        let (mut network, mut random) = (Rehearsal::new(3, false, 1), Random::new(5));
        network.extend(2);
        for _ in 0..1_500 {
            let (input, class) = cell(&mut random);
            network.learn(&input, class);
        }
        let right = right(&network, &mut random, 1_000);
        assert!(right > 950, "{right} of 1,000");
    }

    #[test]
    fn gradients_equal_differences_of_the_loss() {
        for regression in [false, true] {
            let mut network = Rehearsal::new(3, regression, 3);
            network.extend(if regression { 1 } else { 2 });
            let mut random = Random::new(7);
            let weights = random.normals(network.readout.weights.len(), 0.5);
            *network.readout.weights = weights;
            (network.mean, network.variance) = (0.3, 4.0);
            let (input, outcome) = ([1.0, -0.7, 0.4], 1.0);
            let loss = |network: &Rehearsal| {
                let mut out = vec![0.0; network.outputs];
                network.forward(&input, &mut Vec::new(), &mut out);
                let error = (out[0] - (outcome - network.mean) / network.deviation()).abs();
                let near = error.min(LARGE_ERROR);
                if regression { near * (error - 0.5 * near) } else { -out[1].ln() }
            };
            let mut found = Gradients {
                hidden: vec![0.0; UNITS * 3],
                readout: vec![0.0; network.outputs * (UNITS + 1)],
                units: Vec::new(),
                errors: vec![0.0; network.outputs],
                back: Vec::new(),
            };
            network.add_gradient(&input, outcome, &mut found);
            let numeric = |change: &dyn Fn(&mut Rehearsal, f32)| {
                let at = |by: f32| {
                    let mut moved = network.clone();
                    change(&mut moved, by);
                    loss(&moved)
                };
                (at(1e-2) - at(-1e-2)) / 2e-2
            };
            for at in (0..UNITS * 3).step_by(17) {
                let expected = numeric(&|network, by| network.hidden.weights[at] += by);
                assert!((expected - found.hidden[at]).abs() < 2e-3, "{expected} {}", found.hidden[at]);
            }
            for at in (0..UNITS + 1).step_by(13) {
                let expected = numeric(&|network, by| network.readout.weights[at] += by);
                assert!((expected - found.readout[at]).abs() < 2e-3, "{expected} {}", found.readout[at]);
            }
        }
    }

    #[test]
    fn a_value_is_learned_whatever_its_unit() {
        for unit in [1e-3, 1.0, 1e6] {
            let (mut network, mut random) = (Rehearsal::new(3, true, 1), Random::new(5));
            let truth = |input: &[f32; 3]| unit * (3.0 + input[1] * input[2]);
            for _ in 0..2_000 {
                let (input, _) = cell(&mut random);
                network.learn(&input, truth(&input));
            }
            let mut out = [0.0];
            let mut squares = 0.0;
            for _ in 0..200 {
                let (input, _) = cell(&mut random);
                network.forward(&input, &mut Vec::new(), &mut out);
                squares += ((network.mean + network.deviation() * out[0] - truth(&input)) / unit).powi(2) / 200.0;
            }
            // The variance of the value is a ninth.
            assert!(squares < 0.01, "{squares} at {unit}");
        }
    }

    #[test]
    fn what_is_stored_is_bounded_and_what_is_saved_goes_on_the_same() {
        let (mut network, mut random) = (Rehearsal::new(3, false, 1), Random::new(5));
        network.extend(2);
        for _ in 0..MOST_ROWS + 100 {
            let (input, class) = cell(&mut random);
            network.learn(&input, class);
        }
        assert_eq!((network.outcomes.len(), network.stored.len()), (MOST_ROWS, 2 * MOST_ROWS));
        let mut loaded: Rehearsal = from_bytes(&to_bytes(&network).unwrap()).unwrap();
        for _ in 0..10 {
            let (input, class) = cell(&mut random);
            network.learn(&input, class);
            loaded.learn(&input, class);
        }
        assert_eq!(to_bytes(&network).unwrap(), to_bytes(&loaded).unwrap());
    }
}
