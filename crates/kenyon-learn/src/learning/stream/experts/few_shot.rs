//! Classes of which a stream has had only a few rows: the statistics for their readout and bias. The equations
//! are in [`crate::nn::readouts::few_shot`].

use super::Shared;
use crate::nn::linalg::cholesky::Factor;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::nn::readouts::few_shot::{
    ClassSubspace, ResidualVariances, calibrated_bias, discriminant, leave_one_out_margins,
};

pub(super) use crate::nn::readouts::few_shot::MANY;

/// Known classes that others are distinguished from, at most and at least.
const KNOWN: std::ops::RangeInclusive<usize> = 3..=64;
/// Stored rows of known classes that a bias is calibrated on, a class and in all.
const CALIBRATION_ROWS: (usize, usize) = (100, 2000);
/// Stored rows that give the distance of rows from their class.
const MEASURED: usize = 24;

/// The statistics for classes of few rows.
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
    known: Option<ClassSubspace>,
}

/// The classes with many rows that the readout predicts, those with most if there are very many.
fn known(shared: &Shared, readout: &Readout) -> Vec<usize> {
    let answered = shared.counts.iter().take(readout.bias.len()).enumerate();
    let mut classes: Vec<usize> = answered.filter(|(_, rows)| **rows >= MANY).map(|(class, _)| class).collect();
    classes.sort_by_key(|&c| std::cmp::Reverse(shared.counts[c]));
    classes.truncate(*KNOWN.end());
    classes
}

impl<'a> Parts<'a> {
    /// Of a readout as it was last solved.
    pub(super) fn new(
        factor: &'a Factor,
        sums: &'a Sums,
        centre: &'a [f64],
        shared: &'a Shared,
        readout: &'a Readout,
    ) -> Option<Self> {
        let classes = known(shared, readout);
        let of = |class: usize| sums.mean(class).into_iter().zip(centre).map(|(m, c)| m - c);
        let solved = |class: usize| readout.weights[class * readout.width..(class + 1) * readout.width].iter();
        let known = KNOWN.contains(&classes.len()).then(|| {
            let means = classes.iter().flat_map(|&class| of(class)).collect();
            let solved = classes.iter().flat_map(|&class| solved(class).map(|&w| f64::from(w))).collect();
            ClassSubspace::new(means, solved, sums.width())
        });
        Some(Self { factor, sums, centre, shared, readout, classes, known: known.and_then(crate::Result::ok) })
    }

    /// The variances that the means of new classes are shrunk by, from some stored rows.
    pub(super) fn variances(&self) -> Option<ResidualVariances> {
        let entries = self.shared.memory.entries();
        let many = |e: &usize| self.shared.counts.get(entries[*e].label as usize).is_some_and(|&rows| rows >= MANY);
        let rows: Vec<usize> = (0..entries.len()).filter(many).collect();
        let deviations = rows.iter().step_by(rows.len().div_ceil(MEASURED).max(1)).map(|&e| {
            let mean = self.sums.mean(entries[e].label as usize);
            self.shared.memory.code(e).iter().zip(mean).map(|(v, m)| f64::from(*v) - m).collect::<Vec<f64>>()
        });
        self.known.as_ref()?.variances(self.factor, deviations)
    }

    /// Weights and bias of class `class` from the mean of its rows, `[width]`.
    pub(super) fn discriminant(&self, class: usize, variances: Option<ResidualVariances>) -> (Vec<f32>, f32) {
        let mean: Vec<f64> = self.sums.mean(class).into_iter().zip(self.centre).map(|(m, c)| m - c).collect();
        let rows = self.sums.counts()[class];
        discriminant(self.factor, mean, self.centre, rows, self.known.as_ref().zip(variances))
    }

    /// The calibrated bias of class `class` whose discriminant is `weights` and `bias`.
    pub(super) fn class_bias(&self, class: usize, (weights, bias): (&[f32], f32), variances: ResidualVariances) -> f32 {
        let (entries, outputs) = (self.shared.memory.entries(), self.readout.bias.len());
        let most = CALIBRATION_ROWS.0.min(CALIBRATION_ROWS.1 / self.classes.len().max(1));
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
            let (rows, own_rows) = (self.sums.rows() + self.sums.unlabelled(), self.sums.counts()[one]);
            margins.extend(leave_one_out_margins(&own, rows, own_rows, f64::from(variances.row)));
        }
        calibrated_bias(margins, self.shared.counts[class])
    }
}
