//! Classes a stream has shown only a few rows of: what they are taken for, and when they are answered.

use super::model::Model;
use crate::nn::cholesky::Factor;
use crate::nn::discriminant::Sums;
use crate::nn::new_class::Known;

/// Rows from which on a class is known like any other.
pub(super) const MANY: u64 = 200;
/// Known classes that others are told from, at most and at least.
const KNOWN: std::ops::RangeInclusive<usize> = 3..=64;
/// Rows up to which the bias is what it is calibrated to; from there on it fades.
const CALIBRATED: f32 = 40.0;
/// Remembered rows of known classes that a bias is calibrated on, a class and in all.
const ASKED: (usize, usize) = (100, 2000);
/// One in so many of them may be lost to the new class.
const LOST: usize = 200;
/// Remembered rows that tell how far rows lie from their class.
const MEASURED: usize = 24;

/// Mean square distances outside of what known classes differ by: of a class from the others, and of
/// a row from its class.
pub(super) type Spread = (f32, f32);

/// What a class of few rows is judged by.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    factor: &'a Factor,
    sums: &'a Sums,
    centre: &'a [f64],
    model: &'a Model,
    /// None while few classes are known.
    known: Option<Known>,
}

/// The classes with many rows, those with most if there are very many.
fn known(model: &Model) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..model.classes).filter(|&c| model.counts[c] >= MANY).collect();
    classes.sort_by_key(|&c| std::cmp::Reverse(model.counts[c]));
    classes.truncate(*KNOWN.end());
    classes
}

impl<'a> Parts<'a> {
    /// None before there is a readout.
    pub(super) fn new(factor: &'a Factor, sums: &'a Sums, centre: &'a [f64], model: &'a Model) -> Option<Self> {
        let readout = model.readout.as_ref()?;
        let classes = known(model);
        let of = |class: usize| sums.mean(class).into_iter().zip(centre).map(|(m, c)| m - c);
        let solved = |class: usize| readout.weights[class * readout.width..(class + 1) * readout.width].iter();
        let known = KNOWN.contains(&classes.len()).then(|| {
            let means = classes.iter().flat_map(|&class| of(class)).collect();
            let solved = classes.iter().flat_map(|&class| solved(class).map(|&w| f64::from(w))).collect();
            Known::new(means, solved, sums.width())
        });
        Some(Self { factor, sums, centre, model, known: known.and_then(crate::Result::ok) })
    }

    /// How far classes and rows lie outside of what known classes differ by.
    pub(super) fn spread(&self) -> Option<Spread> {
        let (known, entries) = (self.known.as_ref()?, self.model.memory.entries());
        let many = |e: &usize| self.model.counts.get(entries[*e].label as usize).is_some_and(|&rows| rows >= MANY);
        let rows: Vec<usize> = (0..entries.len()).filter(many).collect();
        let measured: Vec<f64> = (rows.iter().step_by(rows.len().div_ceil(MEASURED).max(1)))
            .map(|&e| {
                let mean = self.sums.mean(entries[e].label as usize);
                let apart: Vec<f64> =
                    self.model.memory.code(e).iter().zip(mean).map(|(v, m)| f64::from(*v) - m).collect();
                let mut solved = apart.clone();
                self.factor.solve(&mut solved);
                known.outside(&apart, &solved)
            })
            .collect();
        let row = measured.iter().sum::<f64>() / measured.len() as f64;
        known.apart().ok().filter(|_| row.is_finite()).map(|class| (class as f32, row as f32))
    }

    /// Weights and bias of class `class` from the mean of its rows, `[width]`.
    pub(super) fn discriminant(&self, class: usize, spread: Option<Spread>) -> (Vec<f32>, f32) {
        let mut mean: Vec<f64> = self.sums.mean(class).into_iter().zip(self.centre).map(|(m, c)| m - c).collect();
        let mut solved = mean.clone();
        self.factor.solve(&mut solved);
        if let (Some(known), Some((apart, row))) = (&self.known, spread) {
            let rows = self.sums.counts()[class].max(1.0);
            let keep = f64::from(apart) / (f64::from(apart) + f64::from(row) / rows);
            (mean, solved) = known.shrunk(&mean, &solved, keep);
        }
        let half: f64 = solved.iter().zip(&mean).map(|(w, m)| w * m).sum::<f64>() * 0.5;
        let offset: f64 = solved.iter().zip(self.centre).map(|(w, c)| w * c).sum();
        (solved.into_iter().map(|w| w as f32).collect(), (-half - offset) as f32)
    }
}

/// The bias that class `class` of few rows is due: as large as it can be while one in two hundred
/// remembered rows of known classes is lost to it. A mean of few rows is further from everything by
/// its own noise, so without that it would hardly ever be the answer.
pub(super) fn gate(class: usize, model: &Model) -> f32 {
    let rows = model.counts.get(class).copied().unwrap_or(0);
    let (Some(readout), false) = (&model.readout, rows >= MANY) else { return 0.0 };
    let (known, entries) = (known(model), model.memory.entries());
    if known.len() < *KNOWN.start() {
        return 0.0;
    }
    let most = ASKED.0.min(ASKED.1 / known.len());
    let mut asked = Vec::new();
    for &one in &known {
        let of = (0..entries.len()).filter(|&e| entries[e].label as usize == one);
        of.take(most).for_each(|e| asked.extend(model.memory.code(e)));
    }
    let outputs = readout.bias.len();
    let logits = readout.forward(&asked);
    let mut margins: Vec<f32> = logits
        .chunks_exact(outputs)
        .map(|row| {
            let others = (0..outputs).filter(|&o| o != class).map(|o| row[o]);
            row[class] - others.fold(f32::NEG_INFINITY, f32::max)
        })
        .collect();
    if margins.len() < LOST {
        return 0.0;
    }
    let lost = margins.len() / LOST;
    let (_, margin, _) = margins.select_nth_unstable_by(lost, |a, b| b.total_cmp(a));
    let fade = ((MANY as f32 / (rows as f32).max(1.0)).ln() / (MANY as f32 / CALIBRATED).ln()).min(1.0);
    -*margin * fade
}
