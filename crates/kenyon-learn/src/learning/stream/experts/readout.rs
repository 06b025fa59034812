//! The readout of codes as an expert: the streaming discriminant, or ridge regression, solved at intervals from sums
//! of every row.

use super::few_shot::{self, Parts};
use super::{ExpertKind, ExpertRow, Lesson, Pass, Shared, StreamExpert, Truth, from_bytes, to_bytes};
use crate::Result;
use crate::data::Batch;
use crate::learning::stream::copy_on_write::CopyOnWrite;
use crate::nn::linalg::cholesky::Factor;
use crate::nn::probability::softmax;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::nn::readouts::few_shot::ResidualVariances;
use crate::nn::readouts::label_propagation::UnlabelledPool;
use crate::nn::readouts::semi_supervised;
use serde::{Deserialize, Serialize};

/// Rows of a class from which on the temperature is learned from it.
const CALIBRATED: u64 = 7;

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "readout",
    make: |shape| {
        let mut expert = ReadoutExpert::new(Solver::new(shape.reads_codes));
        if let Some(sums) = &shape.sums {
            expert.solver.go_on(sums.clone());
        }
        vec![Box::new(expert)]
    },
    load: |bytes| {
        let (solver, pool, readout, class_bias, log_temperature) =
            from_bytes::<(Solver, UnlabelledPool, _, _, _)>(bytes)?;
        let solver = Solver { pool, ..solver };
        Ok(Box::new(ReadoutExpert { solver, readout, class_bias, log_temperature, rebuilding: false }))
    },
};

/// The readout as last solved, and what it is solved from.
#[derive(Clone, Debug)]
pub(in crate::learning::stream) struct ReadoutExpert {
    pub(in crate::learning::stream) solver: Solver,
    pub(in crate::learning::stream) readout: Option<CopyOnWrite<Readout>>,
    /// Added to each class's output: the correction for a mean of few rows.
    pub(in crate::learning::stream) class_bias: Vec<f32>,
    /// Logarithm of the temperature.
    pub(in crate::learning::stream) log_temperature: f32,
    /// Whether sums that had faded are computed again from the rows that follow.
    pub(in crate::learning::stream) rebuilding: bool,
}

impl ReadoutExpert {
    fn new(solver: Solver) -> Self {
        Self { solver, readout: None, class_bias: Vec::new(), log_temperature: 1.0, rebuilding: false }
    }

    /// Logits of the classes, before bias and temperature.
    fn logits(readout: &Readout, code: &[f32], classes: usize) -> Vec<f32> {
        let mut logits = readout.forward(code);
        logits.resize(classes, -1e9);
        logits
    }

    /// One step of temperature: dL/d ln T = (z_truth − E z) / T.
    fn calibrate(&mut self, row: &ExpertRow<'_>, class: usize, predicted: &[f32]) {
        let Some(readout) = &self.readout else { return };
        let logits = Self::logits(readout, row.row.code, row.shared.classes);
        if row.shared.counts.get(class).is_none_or(|&rows| rows < CALIBRATED) {
            return;
        }
        let cool = (-self.log_temperature).exp();
        let expected: f32 = logits.iter().zip(predicted).map(|(z, p)| if *p > 0.0 { z * p } else { 0.0 }).sum();
        let slope = (logits[class] - expected) * cool;
        self.log_temperature = (self.log_temperature - 0.01 * slope.clamp(-1.0, 1.0)).clamp(-3.0, 8.0);
    }

    /// Adds a row, and solves when it is due.
    fn add(&mut self, row: &ExpertRow<'_>, label: Option<f32>) {
        let (code, shared) = (row.row.code, row.shared);
        if !self.solver.add(code, label, self.readout.is_some(), shared) {
            return;
        }
        if self.solver.is_due() {
            self.solve(shared);
        } else if let Some(class) = label.filter(|_| !shared.regression) {
            self.refresh(class as usize, shared);
        }
    }

    /// Solves for all classes.
    fn solve(&mut self, shared: &Shared) {
        let solver = &mut self.solver;
        solver.next = solver.seen + (solver.seen / 4).max(32);
        let Some(sums) = &mut solver.sums else { return };
        let (width, rows) = (sums.width() as f64, solver.seen as f64);
        let shrink = (0.01 + 0.5 * width / (width + 20.0 * rows)).min(0.5);
        if shared.regression {
            let Ok(factor) = sums.factor(shrink, (0, 1.0), shared.threads) else { return };
            self.readout = Some(sums.read_values(&factor).into());
            return;
        }
        if let Some(readout) = few(sums, &solver.pool, shared) {
            self.readout = Some(readout.into());
            solver.factor = None;
            self.class_bias.fill(0.0);
            return;
        }
        sums.grow(shared.classes);
        let Ok(factor) = sums.factor(shrink, (0, 1.0), shared.threads) else { return };
        solver.centre = sums.centre();
        self.readout = Some(sums.read(&factor, 0.0).into());
        solver.factor = Some(factor);
        self.solver.spread = self.parts(shared).and_then(|parts| parts.variances()).into_iter().collect();
        self.class_bias.fill(0.0);
        if !self.solver.spread.is_empty() {
            let few = (0..shared.classes).filter(|&c| (1..few_shot::MANY).contains(&shared.counts[c]));
            few.for_each(|class| self.solve_class(class, shared));
        }
    }

    /// Updates a class of few rows between solutions.
    fn refresh(&mut self, class: usize, shared: &Shared) {
        let rows = shared.counts.get(class).copied().unwrap_or(0);
        let due = rows <= 8 || (rows <= few_shot::MANY && rows.is_multiple_of(rows / 6));
        if due && self.solver.factor.is_some() {
            self.solve_class(class, shared);
        }
    }

    /// Predicts class `class` from its current rows, with the bias for that few.
    fn solve_class(&mut self, class: usize, shared: &Shared) {
        let Some(parts) = self.parts(shared) else { return };
        // Snapshots from before the variances were stored have something of another length in their position.
        let spread = if let [spread] = self.solver.spread[..] { Some(spread) } else { None };
        let (weights, bias) = parts.discriminant(class, spread);
        let class_bias = spread.map_or(0.0, |spread| parts.class_bias(class, (&weights, bias), spread));
        let Some(readout) = self.readout.as_deref_mut() else { return };
        grow(readout, class + 1);
        readout.bias[class] = bias;
        readout.weights[class * readout.width..(class + 1) * readout.width].copy_from_slice(&weights);
        if let Some(slot) = self.class_bias.get_mut(class) {
            *slot = class_bias;
        }
    }

    fn parts<'a>(&'a self, shared: &'a Shared) -> Option<Parts<'a>> {
        let (Some(factor), Some(sums)) = (&self.solver.factor, &self.solver.sums) else { return None };
        Parts::new(factor, sums, &self.solver.centre, shared, self.readout.as_deref()?)
    }
}

impl StreamExpert for ReadoutExpert {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn is_ready(&self) -> bool {
        self.readout.is_some()
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        match (&self.readout, row.shared.regression) {
            (Some(readout), true) => out.copy_from_slice(&readout.forward(row.row.code)[..1]),
            (None, true) => out.fill(row.shared.mean),
            (Some(readout), false) => {
                let cool = (-self.log_temperature).exp();
                let logits = Self::logits(readout, row.row.code, out.len());
                for ((o, l), bias) in out.iter_mut().zip(&logits).zip(&self.class_bias) {
                    *o = (l + bias) * cool;
                }
                softmax(out);
            }
            (None, false) => out.fill(1.0 / out.len().max(1) as f32),
        }
    }

    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        let label = match lesson.truth {
            Truth::Class(class) => class as f32,
            Truth::Value(value) => value,
        };
        match lesson.pass {
            Pass::Stream => {
                if let Truth::Class(class) = lesson.truth {
                    self.calibrate(row, class, lesson.predicted);
                }
                self.add(row, Some(label));
            }
            Pass::RebuildFirst if self.rebuilding => self.add(row, Some(label)),
            _ => {}
        }
    }

    fn learn_unlabelled(&mut self, row: &ExpertRow<'_>) {
        self.add(row, None);
    }

    fn on_drift(&mut self, fade: bool, shared: &Shared) {
        if fade {
            self.solver.fade(shared.threads);
        }
    }

    fn on_new_code(&mut self) {
        self.solver = Solver::new(self.solver.on);
        self.readout = None;
    }

    fn restart(&mut self) {
        if self.solver.faded {
            self.solver = Solver::new(self.solver.on);
            self.rebuilding = true;
        }
    }

    fn settle(&mut self, shared: &Shared) {
        self.rebuilding = false;
        self.solve(shared);
    }

    fn forget(&mut self, _rows: &Batch, codes: &[f32], labels: &[f32], shared: &Shared) {
        if self.solver.take(codes, labels, shared) {
            self.solve(shared);
        }
    }

    fn grow(&mut self, classes: usize) {
        self.class_bias.resize(classes, 0.0);
    }

    fn bytes(&self) -> u64 {
        self.readout.as_ref().map_or(0, |r| (r.weights.len() * 4) as u64)
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(&(&self.solver, &self.solver.pool, &self.readout, &self.class_bias, self.log_temperature))
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        Box::new(Self {
            solver: Solver::new(false),
            readout: self.readout.clone(),
            class_bias: self.class_bias.clone(),
            log_temperature: self.log_temperature,
            rebuilding: false,
        })
    }
}

/// Sums of every row, and when they are solved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::learning::stream) struct Solver {
    on: bool,
    sums: Option<Sums>,
    factor: Option<Factor>,
    /// The mean that is subtracted in all discriminants of the last solution.
    centre: Vec<f64>,
    /// Rows at which it is solved again.
    next: u64,
    seen: u64,
    /// Whether earlier rows count less, so that a row's own share is not known any more.
    faded: bool,
    /// Variances of classes and rows outside the subspace of known classes; one entry, or none.
    spread: Vec<ResidualVariances>,
    /// Rows that labels are propagated to while these are few. In a snapshot it comes after everything else.
    #[serde(skip)]
    pub(in crate::learning::stream) pool: UnlabelledPool,
}

impl Solver {
    fn new(on: bool) -> Self {
        Self {
            on,
            sums: None,
            factor: None,
            centre: Vec::new(),
            next: 32,
            seen: 0,
            faded: false,
            spread: Vec::new(),
            pool: UnlabelledPool::default(),
        }
    }

    /// Continues from sums of a training.
    fn go_on(&mut self, sums: Sums) {
        self.seen = sums.rows() as u64;
        self.sums = Some(sums);
    }

    /// Earlier rows count a tenth.
    fn fade(&mut self, threads: usize) {
        if let Some(sums) = &mut self.sums {
            sums.decay(0.1, threads);
            self.faded = true;
            self.next = self.seen + 100;
        }
    }

    fn is_due(&self) -> bool {
        self.seen >= self.next
    }

    /// Adds a row; false where no codes are read.
    fn add(&mut self, code: &[f32], label: Option<f32>, solved: bool, shared: &Shared) -> bool {
        if !self.on || code.is_empty() {
            return false;
        }
        let (regression, threads) = (shared.regression, shared.threads);
        let sums = self.sums.get_or_insert_with(|| Sums::new(code.len(), usize::from(regression), regression));
        match label {
            None => {
                sums.add_unlabelled(code, threads);
                self.pool.add(code);
            }
            Some(value) if regression => sums.add_value(code, value, 1.0, threads),
            Some(class) => sums.add(code, class as usize, 1.0, threads),
        }
        self.seen += 1;
        if label.is_some() && !regression && self.factor.is_none() && solved {
            // Solved for few labels: some more change much.
            self.next = self.next.min(self.seen + (sums.rows() as u64 / 4).max(8));
        }
        true
    }

    /// Removes rows that were added before; whether it must be solved without them. Faded rows stay: the sums can
    /// only be computed again.
    fn take(&mut self, codes: &[f32], labels: &[f32], shared: &Shared) -> bool {
        let Some(sums) = &mut self.sums else { return false };
        let width = sums.width().max(1);
        let rows = || codes.chunks_exact(width).zip(labels);
        // The pool holds rows and not sums: they are removed whether or not the sums have faded.
        rows().filter(|(_, label)| label.is_nan()).for_each(|(code, _)| self.pool.take(code));
        if self.faded {
            return false;
        }
        for (code, &label) in rows() {
            match (label.is_nan(), shared.regression) {
                (true, _) => sums.take_unlabelled(code),
                (false, true) => sums.take_value(code, label),
                (false, false) => sums.take(code, label as usize),
            }
        }
        sums.scatter_rows(codes, -1.0, shared.threads);
        self.seen = self.seen.saturating_sub(labels.len() as u64);
        true
    }
}

/// The readout of few labels; none where they are not few, or the memory holds too little of their rows.
fn few(sums: &Sums, pool: &UnlabelledPool, shared: &Shared) -> Option<Readout> {
    let entries = shared.memory.entries();
    if !semi_supervised::are_few(sums) || (entries.len() as f64) < sums.rows() / 2.0 {
        return None;
    }
    let rows: Vec<f32> = (0..entries.len()).flat_map(|e| shared.memory.code(e)).collect();
    let labels: Vec<u32> = entries.iter().map(|entry| entry.label).collect();
    semi_supervised::read(rows, &labels, shared.classes, pool, sums, shared.threads)
}

/// Extends the arrays for outputs up to `outputs`.
fn grow(readout: &mut Readout, outputs: usize) {
    if readout.bias.len() < outputs {
        readout.bias.resize(outputs, -1e9);
        readout.weights.resize(outputs * readout.width, 0.0);
    }
}
