//! The readout that is solved from the sums, its shrinkage, and the scale of its logits.

use super::{CHOSEN_BY, HybridLearner, Solved};
use crate::models::Task;
use crate::nn::layers::local_groups::{CodeSegment, LocalGroups};
use crate::nn::linalg::cholesky::Factor;
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::nn::readouts::semi_supervised;
use crate::{Error, Result};
use serde_json::Value;

/// What is tried where copies are learned: with them or without, and the shrinkage. The first is taken where no
/// row can be evaluated.
const CANDIDATES: [(bool, f64); 4] = [(true, 0.1), (true, 0.3), (false, 0.1), (false, 0.3)];
/// Mean distance of a learned row's logit from the next best, before a temperature is fitted.
const MARGIN: f32 = 3.0;

/// Width of the part of the code that is copied from the data; the rest are units.
fn plain_width(groups: &LocalGroups) -> usize {
    match groups.parts.as_slice() {
        [CodeSegment::Columns(c)] => c.raw.len(),
        _ => groups.width(),
    }
}

impl HybridLearner {
    /// The readout for the current sums, with the shrinkage that is best on rows set aside.
    pub(super) fn solve(&self) -> Result<Solved> {
        let alone = |whole| Ok(Solved { whole, folds: Vec::new(), sums: None });
        let Some(sums) = &self.sums else {
            return alone(Readout { width: 0, weights: Vec::new(), bias: vec![0.0; self.outputs] });
        };
        let (codes, ids) = &self.labelled;
        if semi_supervised::are_few(sums)
            && let Some(readout) =
                semi_supervised::read(codes.clone(), ids, self.outputs, &self.pool, sums, self.threads)
        {
            return alone(readout);
        }
        let requested = self.config.get("shrinkage").and_then(Value::as_f64);
        if self.copies > 0 && self.task == Task::Classification {
            return self.solve_with_copies(sums, requested);
        }
        let soft = self.groups.as_ref().map_or(0, plain_width);
        let (shrink, extra) = match requested {
            Some(shrink) => (shrink, 1.0),
            None => self.choose(sums, soft)?,
        };
        let readout = |mut sums: Sums| -> Result<Readout> {
            let factor = sums.factor(shrink, (soft, extra), self.threads)?;
            Ok(read(&sums, &factor, self.task))
        };
        let whole = readout(sums.clone())?;
        let excluded = (0..self.folds.count()).map(|fold| self.folds.without(sums, fold, self.threads));
        Ok(Solved { whole, folds: excluded.map(readout).collect::<Result<_>>()?, sums: None })
    }

    /// As [`Self::solve`], with the copies or without, whichever answers the rows that each fold leaves out better.
    fn solve_with_copies(&self, sums: &Sums, requested: Option<f64>) -> Result<Solved> {
        let readout = |mut sums: Sums, shrink: f64| -> Result<Readout> {
            let factor = sums.factor(shrink, (sums.width(), 1.0), self.threads)?;
            Ok(read(&sums, &factor, self.task))
        };
        let (folds, few) = (self.folds.count(), self.labelled.1.len() <= CHOSEN_BY);
        let candidates: Vec<(bool, f64)> = match requested {
            Some(shrink) => vec![(true, shrink)],
            None if folds > 1 && few => CANDIDATES.to_vec(),
            None => vec![CANDIDATES[0]],
        };
        let mut best: Option<(f64, (bool, f64), Vec<Readout>)> = None;
        for (copies, shrink) in candidates {
            let each = (0..folds).map(|fold| readout(self.sums_without(sums, copies, Some(fold)), shrink));
            let each = match each.collect::<Result<Vec<_>>>() {
                Ok(each) => each,
                // Rows of a class that are the same have no covariance; their copies have.
                Err(_) if !copies => continue,
                Err(error) => return Err(error),
            };
            let loss = self.loss_of_excluded(&each);
            if best.as_ref().is_none_or(|best| loss < best.0) {
                best = Some((loss, (copies, shrink), each));
            }
        }
        let Some((_, (copies, shrink), mut folds)) = best else { return Err(Error::internal("no readout")) };
        let chosen = self.sums_without(sums, copies, None);
        let mut whole = readout(chosen.clone(), shrink)?;
        let scale = self.scale(&whole);
        folds.iter_mut().chain([&mut whole]).for_each(|readout| readout.scale(scale));
        Ok(Solved { whole, folds, sums: (!copies).then_some(chosen) })
    }

    /// The sums of the rows outside a fold, or of all, with their copies or without.
    fn sums_without(&self, sums: &Sums, copies: bool, fold: Option<usize>) -> Sums {
        match fold {
            None if copies => sums.clone(),
            Some(fold) if copies => self.folds.without(sums, fold, self.threads),
            _ => {
                let mut out = Sums::new(sums.width(), self.outputs, false);
                let codes = self.labelled.0.chunks_exact(sums.width().max(1));
                for ((code, &class), &own) in codes.zip(&self.labelled.1).zip(&self.labelled_folds) {
                    if fold != Some(usize::from(own)) {
                        out.add(code, class as usize, 1.0, self.threads);
                    }
                }
                out
            }
        }
    }

    /// Log loss of the rows that readouts leave out, a readout a fold, as far as it has learned from their class.
    fn loss_of_excluded(&self, readouts: &[Readout]) -> f64 {
        let (codes, ids) = &self.labelled;
        let width = readouts.first().map_or(1, |readout| readout.width.max(1));
        let scale = readouts.first().map_or(1.0, |readout| self.scale(readout));
        let (mut answers, mut labels) = (Vec::new(), Vec::new());
        for ((code, &class), &fold) in codes.chunks_exact(width).zip(ids).zip(&self.labelled_folds) {
            let known = |readout: &&Readout| readout.bias[class as usize] > -1e8;
            if let Some(readout) = readouts.get(usize::from(fold)).filter(known) {
                answers.extend(readout.forward(code).into_iter().map(|logit| logit * scale));
                labels.push(class as f32);
            }
        }
        best_log_loss(&answers, self.outputs, &labels)
    }

    /// What logits are multiplied by so that the first rows that were learned have a margin of [`MARGIN`] on average:
    /// copies of a row vary less than rows of its class do, and where classes have one row each nothing else measures by
    /// how much.
    fn scale(&self, readout: &Readout) -> f32 {
        let (codes, labels) = &self.labelled;
        let answers = readout.forward(codes);
        let margins = answers.chunks_exact(self.outputs.max(1)).zip(labels).filter_map(|(answer, &label)| {
            let others = answer.iter().enumerate().filter(|(class, _)| *class != label as usize);
            let next = others.map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
            let margin = answer.get(label as usize)? - next;
            // A class without rows has a logit that no other is near.
            (margin.abs() < 1e6).then_some(f64::from(margin))
        });
        let (sum, count) = margins.fold((0.0, 0.0), |(sum, count), margin| (sum + margin, count + 1.0));
        let scale = f64::from(MARGIN) * count / sum;
        if scale.is_finite() && scale > 0.0 { scale as f32 } else { 1.0 }
    }

    /// Takes the rows set aside out of the sums and tries settings on them.
    fn choose(&self, sums: &Sums, soft: usize) -> Result<(f64, f64)> {
        let width = sums.width();
        let (codes, labels) = (&self.probes.0, &self.probes.1);
        let mut least = (f64::INFINITY, 0.01, 1.0);
        if labels.len() < 20 {
            return Ok((0.1, 30.0));
        }
        let mut rest = sums.clone();
        for (code, &label) in codes.chunks_exact(width).zip(labels) {
            match self.task {
                Task::Classification => rest.take(code, label as usize),
                Task::Regression => rest.take_value(code, label),
            }
        }
        rest.scatter_rows(codes, -1.0, self.threads);
        let extras: &[f64] = if soft < width { &[1.0, 10.0, 1000.0] } else { &[1.0] };
        for &extra in extras {
            for shrink in [0.001, 0.01, 0.1, 0.4] {
                let Ok(factor) = rest.factor(shrink, (soft, extra), self.threads) else { continue };
                let answers = read(&rest, &factor, self.task).forward(codes);
                let loss = match self.task {
                    Task::Regression => mean_square(&answers, labels),
                    Task::Classification => best_log_loss(&answers, self.outputs, labels),
                };
                if loss < least.0 {
                    least = (loss, shrink, extra);
                }
            }
        }
        Ok((least.1, least.2))
    }
}

fn read(sums: &Sums, factor: &Factor, task: Task) -> Readout {
    match task {
        Task::Classification => sums.read(factor, 1.0),
        Task::Regression => sums.read_values(factor),
    }
}

fn mean_square(answers: &[f32], labels: &[f32]) -> f64 {
    answers.iter().zip(labels).map(|(a, l)| f64::from(a - l).powi(2)).sum::<f64>() / labels.len().max(1) as f64
}

/// Log loss at the best of some temperatures: discriminants are overconfident, and the temperature
/// is fitted on held-out rows anyway.
fn best_log_loss(answers: &[f32], outputs: usize, labels: &[f32]) -> f64 {
    let loss_at = |t: f32| -> f64 {
        let rows = answers.chunks_exact(outputs.max(1)).zip(labels);
        rows.map(|(row, &label)| {
            let top = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            let sum: f32 = row.iter().map(|v| ((v - top) / t).exp()).sum();
            f64::from(sum.ln() - (row[label as usize] - top) / t)
        })
        .sum::<f64>()
            / labels.len().max(1) as f64
    };
    [0.7, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0].into_iter().map(loss_at).fold(f64::INFINITY, f64::min)
}
