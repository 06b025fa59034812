//! Classes a stream has shown only a few rows of: what they are taken for, and when they are answered.

use super::Shared;
use crate::nn::linalg::cholesky::Factor;
use crate::nn::readouts::discriminant::{Readout, Sums};
use crate::nn::readouts::few_shot::Known;

/// Rows from which on a class is known like any other.
pub(super) const MANY: u64 = 200;
/// Known classes that others are told from, at most and at least.
const KNOWN: std::ops::RangeInclusive<usize> = 3..=64;
/// Rows up to which the bias is what it is calibrated to; from there on it fades.
const CALIBRATED: f32 = 40.0;
/// Remembered rows of known classes that a bias is calibrated on, a class and in all.
const ASKED: (usize, usize) = (100, 2000);
/// One in so many of them may be lost to the new class. What is remembered is more typical of its class
/// than other rows are, of which a few times as many are lost.
const LOST: usize = 600;
/// Remembered rows below which nothing is calibrated.
const LEAST: usize = 200;
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
    shared: &'a Shared,
    readout: &'a Readout,
    /// The classes with many rows.
    classes: Vec<usize>,
    /// None while these are few.
    known: Option<Known>,
}

/// The classes with many rows that the readout answers, those with most if there are very many.
fn known(shared: &Shared, readout: &Readout) -> Vec<usize> {
    let answered = shared.counts.iter().take(readout.bias.len()).enumerate();
    let mut classes: Vec<usize> = answered.filter(|(_, rows)| **rows >= MANY).map(|(class, _)| class).collect();
    classes.sort_by_key(|&c| std::cmp::Reverse(shared.counts[c]));
    classes.truncate(*KNOWN.end());
    classes
}

impl<'a> Parts<'a> {
    /// Of a readout as it was last solved.
    pub(super) fn new(factor: &'a Factor, sums: &'a Sums, centre: &'a [f64], shared: &'a Shared, readout: &'a Readout) -> Option<Self> {
        let classes = known(shared, readout);
        let of = |class: usize| sums.mean(class).into_iter().zip(centre).map(|(m, c)| m - c);
        let solved = |class: usize| readout.weights[class * readout.width..(class + 1) * readout.width].iter();
        let known = KNOWN.contains(&classes.len()).then(|| {
            let means = classes.iter().flat_map(|&class| of(class)).collect();
            let solved = classes.iter().flat_map(|&class| solved(class).map(|&w| f64::from(w))).collect();
            Known::new(means, solved, sums.width())
        });
        Some(Self { factor, sums, centre, shared, readout, classes, known: known.and_then(crate::Result::ok) })
    }

    /// How far classes and rows lie outside of what known classes differ by.
    pub(super) fn spread(&self) -> Option<Spread> {
        let (known, entries) = (self.known.as_ref()?, self.shared.memory.entries());
        let many = |e: &usize| self.shared.counts.get(entries[*e].label as usize).is_some_and(|&rows| rows >= MANY);
        let rows: Vec<usize> = (0..entries.len()).filter(many).collect();
        let measured: Vec<f64> = (rows.iter().step_by(rows.len().div_ceil(MEASURED).max(1)))
            .map(|&e| {
                let mean = self.sums.mean(entries[e].label as usize);
                let apart: Vec<f64> =
                    self.shared.memory.code(e).iter().zip(mean).map(|(v, m)| f64::from(*v) - m).collect();
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

    /// The bias that class `class` is due whose discriminant is `weights` and `bias`: as large as it can
    /// be while one in six hundred remembered rows of known classes is lost to it. A mean of few rows is
    /// further from everything by its own noise, so without that it would hardly ever be the answer.
    pub(super) fn class_bias(&self, class: usize, (weights, bias): (&[f32], f32), spread: Spread) -> f32 {
        let (entries, outputs) = (self.shared.memory.entries(), self.readout.bias.len());
        let most = ASKED.0.min(ASKED.1 / self.classes.len().max(1));
        let mut margins: Vec<f64> = Vec::new();
        for &one in &self.classes {
            let of = (0..entries.len()).filter(|&e| entries[e].label as usize == one);
            let codes: Vec<f32> = of.take(most).flat_map(|e| self.shared.memory.code(e)).collect();
            let logits = self.readout.forward(&codes);
            let own: Vec<f64> = (logits.chunks_exact(outputs).zip(codes.chunks_exact(weights.len())))
                .map(|(logits, code)| {
                    let others = (0..outputs).filter(|&o| o != class).map(|o| logits[o]);
                    let new: f32 = weights.iter().zip(code).map(|(w, c)| w * c).sum::<f32>() + bias;
                    f64::from(new - others.fold(f32::NEG_INFINITY, f32::max))
                })
                .collect();
            margins.extend(self.as_if_unseen(&own, one, f64::from(spread.1)));
        }
        if margins.len() < LEAST {
            return 0.0;
        }
        let lost = margins.len() / LOST;
        let (_, margin, _) = margins.select_nth_unstable_by(lost, |a, b| b.total_cmp(a));
        let rows = self.shared.counts[class].max(1) as f32;
        let fade = ((MANY as f32 / rows).ln() / (MANY as f32 / CALIBRATED).ln()).clamp(0.0, 1.0);
        -*margin as f32 * fade
    }

    /// What `margins` of remembered rows of class `class` would be had they not been learned. A row at
    /// square distance `h` from its mean pulls the covariance and the mean its way: without it, its
    /// deviation is `N / (N − h)` times as large, and its class `h / n` further from it.
    fn as_if_unseen(&self, margins: &[f64], class: usize, h: f64) -> impl Iterator<Item = f64> {
        let rows = self.sums.rows() + self.sums.unlabelled();
        let stretch = rows / (rows - h).max(rows / 10.0);
        let mean = margins.iter().sum::<f64>() / margins.len().max(1) as f64;
        let shift = stretch * h / self.sums.counts()[class].max(1.0);
        margins.iter().map(move |margin| mean + stretch * (margin - mean) + shift)
    }
}
