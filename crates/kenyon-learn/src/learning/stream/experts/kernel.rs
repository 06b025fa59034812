//! Kernel ridge regression on the vectors of a pretrained encoder, while rows are few: all of them are stored, and what
//! each weighs is solved for at intervals, as `memory` does it in a training ([`crate::models::memory`]). The name of a
//! class, read as a text, is stored like a row of it where left-out rows are answered better so.

use super::{ExpertKind, ExpertRow, LEAD, Lesson, Pass, Shared, StreamExpert, Truth, from_bytes, to_bytes};
use crate::Result;
use crate::data::Batch;
use crate::learning::stream::copy_on_write::CopyOnWrite;
use crate::models::memory::{RIDGES, StoredTexts, TextPlaces, Texts};
use crate::nn::probability::softmax;
use crate::nn::readouts::ridge::{RidgeRows, RidgeSearch, Solution, least_leave_one_out};
use serde::{Deserialize, Serialize};

/// Rows that are stored: the equations grow with the cube. Those after them change nothing.
const MOST: usize = 2_000;
/// The equations are solved again when there are more rows by one in so many.
const SOLVED_EACH: usize = 16;

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "kernel",
    make: |shape| match shape.reads_vectors() && !shape.regression {
        true => vec![Box::new(Kernel::new(&shape.texts))],
        false => Vec::new(),
    },
    load: |bytes| Ok(Box::new(from_bytes::<Kernel>(bytes)?)),
};

/// Stored vectors and the last solution.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kernel {
    places: TextPlaces,
    width: usize,
    keys: Texts,
    labels: Vec<f32>,
    /// The names of classes up to the first that has none.
    names: Texts,
    solved: Option<CopyOnWrite<StoredTexts>>,
    /// Classes of the last solution.
    classes: usize,
    /// Rows from which on the equations are solved again, and rows from which on settings are chosen again.
    next: (usize, usize),
    /// The ridge, and whether names are stored.
    chosen: (f64, bool),
    /// Whether a row came that is not stored.
    full: bool,
}

impl Kernel {
    fn new(places: &TextPlaces) -> Self {
        Self {
            places: places.clone(),
            width: places.width(),
            keys: Texts::default(),
            labels: Vec::new(),
            names: Texts::default(),
            solved: None,
            classes: 0,
            next: (0, 0),
            chosen: (RIDGES[0], false),
            full: false,
        }
    }

    /// The rows, with the names of classes behind them.
    fn rows(&self, named: bool) -> (Texts, Vec<f32>) {
        let (mut keys, mut labels) = (self.keys.clone(), self.labels.clone());
        if named {
            keys.extend(&self.names);
            labels.extend((0..self.names.vectors.len() / self.width.max(1)).map(|class| class as f32));
        }
        (keys, labels)
    }

    fn text(&self, row: &ExpertRow<'_>) -> Texts {
        self.places.text(row.row.code, row.row.indices, row.row.values)
    }

    fn solution(&self, ridges: &[f64], named: bool, classes: usize, threads: usize) -> Option<Solution> {
        let (keys, targets) = self.rows(named);
        let products: Vec<f64> = keys.kernel(&keys, self.width).into_iter().map(f64::from).collect();
        let weights = vec![1.0; targets.len()];
        let from = RidgeRows { rows: Vec::new(), weights, targets, folds: Vec::new() };
        let search = RidgeSearch { outputs: classes, evaluated: self.labels.len(), ridges };
        // Rows that do not differ have no solution: it stays as it was.
        least_leave_one_out(&products, &from, search, threads).ok().flatten()
    }

    fn solve(&mut self, shared: &Shared) {
        // A single class is an output that is always right.
        let (rows, classes) = (self.labels.len(), shared.classes.max(2));
        let (ridge, named) = self.chosen;
        let found = if rows >= self.next.1 {
            self.next.1 = rows + rows / 2 + 1;
            let of = |named| self.solution(&RIDGES, named, classes, shared.threads).map(|found| (named, found));
            let tried = [of(false), if self.names.vectors.is_empty() { None } else { of(true) }];
            tried.into_iter().flatten().min_by(|a, b| a.1.loss.total_cmp(&b.1.loss))
        } else {
            self.solution(&[ridge], named, classes, shared.threads).map(|found| (named, found))
        };
        (self.next.0, self.classes) = (rows + (rows / SOLVED_EACH).max(1), shared.classes);
        let Some((named, found)) = found else { return };
        self.chosen = (found.ridge, named);
        let (keys, outcomes) = self.rows(named);
        self.solved = Some(StoredTexts::solved(keys, outcomes, &found).into());
    }
}

impl StreamExpert for Kernel {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn is_ready(&self) -> bool {
        self.solved.is_some()
    }

    fn lead(&self) -> f32 {
        if self.full || self.solved.is_none() { 0.0 } else { LEAD }
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        let Some(solved) = self.solved.as_ref().filter(|_| row.row.code.len() == self.width) else {
            return out.fill(1.0 / out.len().max(1) as f32);
        };
        let mut known = solved.answer(&self.text(row), self.width, 0);
        known.truncate(out.len());
        softmax(&mut known);
        // Classes that came after the last solution are as likely as if nothing were known.
        let each = 1.0 / out.len() as f32;
        let share = each * known.len() as f32;
        out.fill(each);
        out.iter_mut().zip(known).for_each(|(o, p)| *o = p * share);
    }

    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>) {
        let (Truth::Class(class), Pass::Stream) = (lesson.truth, lesson.pass) else { return };
        self.full |= self.labels.len() >= MOST;
        if self.full || row.row.code.len() != self.width {
            return;
        }
        let text = self.text(row);
        self.keys.extend(&text);
        self.labels.push(class as f32);
        if self.labels.len() >= self.next.0 || row.shared.classes > self.classes {
            self.solve(row.shared);
        }
    }

    fn name_classes(&mut self, first: usize, names: &Texts) {
        if self.names.vectors.len() == first * self.width {
            self.names.extend(names);
        }
    }

    fn settle(&mut self, shared: &Shared) {
        if !self.labels.is_empty() {
            self.solve(shared);
        }
    }

    fn forget(&mut self, _rows: &Batch, codes: &[f32], labels: &[f32], shared: &Shared) {
        let before = self.labels.len();
        for (code, &label) in codes.chunks_exact(self.width.max(1)).zip(labels) {
            let same =
                |row: &usize| self.labels[*row] == label && self.keys.vectors[row * self.width..].starts_with(code);
            if let Some(row) = (0..self.labels.len()).find(same) {
                self.labels.remove(row);
                self.keys.remove(row, self.width);
            }
        }
        if self.labels.len() < before {
            (self.solved, self.next) = (None, (0, 0));
            self.settle(shared);
        }
    }

    fn bytes(&self) -> u64 {
        self.solved.as_ref().map_or(0, |solved| solved.bytes())
    }

    fn save(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(self.clone())
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        let (solved, classes, full) = (self.solved.clone(), self.classes, self.full);
        Box::new(Self { solved, classes, full, ..Self::new(&self.places) })
    }
}
