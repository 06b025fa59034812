//! A stream's state as a network: what serving answers by while the stream goes on.

use super::code::Code;
use super::mixture::{Mixture, Scratch};
use super::shape::Row;
use super::{StreamModel, Task};
use crate::data::Batch;
use crate::learning::bundle::{Bundle, BundleConfig, FORMAT};
use crate::learning::calibrate::{Calibration, Novelty};
use crate::models::hybrid::{explain_by_steps, strongest_units};
use crate::models::{Activity, Explanation, Family, LayerActivity, Network};
use crate::nn::Tensors;
use crate::nn::probability::softmax;
use crate::{Error, Result};
use serde_json::Map;
use std::cell::RefCell;
use std::sync::Arc;

/// A frozen view of a stream.
struct Published {
    base: Option<Arc<Bundle>>,
    code: Code,
    mixture: Mixture,
}

thread_local! {
    /// Intermediate results, kept by each thread that answers.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Answers of a trained network as probabilities (or values, which stay).
pub(super) fn to_probabilities(answers: &mut [f32], base: &Bundle) {
    if base.config.task == Task::Classification {
        let temperature = base.config.calibration.temperature.max(1e-3);
        for row in answers.chunks_exact_mut(base.network.outputs().max(1)) {
            row.iter_mut().for_each(|v| *v /= temperature);
            softmax(row);
        }
    }
}

impl Published {
    fn each<T>(&self, batch: &Batch, mut work: impl FnMut(&Scratch, &[f32]) -> T) -> Result<Vec<T>> {
        if !self.mixture.shared.regression && self.mixture.shared.classes == 0 {
            let detail = "the model has not learned anything yet: observe labelled rows first";
            return Err(Error::conflict("nothing_learned", detail));
        }
        let (codes, answers) = match (&self.code, &self.base) {
            (Code::Base, Some(base)) => {
                let (mut answers, codes) = base.network.forward_with_features(batch)?;
                to_probabilities(&mut answers, base);
                (codes, answers)
            }
            (code, _) => (code.of(batch, 1).unwrap_or_default(), Vec::new()),
        };
        let rows = batch.rows().max(1);
        let (width, outputs) = (codes.len() / rows, answers.len() / rows);
        // A stream that has learned nothing has nothing to add: the trained network's answer stands.
        let untaught = outputs > 0 && self.mixture.shared.counts.iter().all(|&rows| rows == 0);
        SCRATCH.with_borrow_mut(|scratch| {
            Ok((0..batch.rows())
                .map(|r| {
                    let (indices, values) = batch.entries(r);
                    let code = &codes[r * width..(r + 1) * width];
                    let base = &answers[r * outputs..(r + 1) * outputs];
                    self.mixture.answer(Row { indices, values, code, base }, scratch);
                    if untaught {
                        scratch.answer.clear();
                        scratch.answer.extend_from_slice(base);
                    }
                    work(scratch, code)
                })
                .collect())
        })
    }

    fn logit(&self, probability: f32) -> f32 {
        if self.mixture.shared.regression { probability } else { probability.max(1e-9).ln() }
    }
}

impl Network for Published {
    fn family(&self) -> Family {
        self.base.as_ref().map_or_else(Family::of_streams, |base| base.config.family)
    }

    fn outputs(&self) -> usize {
        if self.mixture.shared.regression { 1 } else { self.mixture.shared.classes }
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        let rows = self.each(batch, |scratch, _| scratch.answer.iter().map(|&p| self.logit(p)).collect::<Vec<_>>())?;
        Ok(rows.concat())
    }

    fn feature_width(&self) -> usize {
        self.mixture.key_width()
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.forward_with_features(batch)?.1)
    }

    fn forward_with_features(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut answers, mut keys) = (Vec::new(), Vec::new());
        self.each(batch, |scratch, code| {
            answers.extend(scratch.answer.iter().map(|&p| self.logit(p)));
            keys.extend_from_slice(self.mixture.key(code, scratch));
        })?;
        Ok((answers, keys))
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let mut explanation = explain_by_steps(batch, row, output, self.outputs(), |kept| self.forward(kept))?;
        let mut found = self.each(&batch.select(&[row]), |scratch, code| {
            (self.mixture.recalled(scratch), strongest_units(self.mixture.key(code, scratch)))
        })?;
        if let Some((memories, units)) = found.pop() {
            (explanation.memories, explanation.active_units) = (memories, units);
        }
        Ok(explanation)
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        if let Some(base) = &self.base {
            let mut activity = base.network.activity(batch)?;
            activity.memory_macs += self.mixture.memory_macs();
            activity.bytes += self.mixture.bytes();
            return Ok(activity);
        }
        let keys = self.features(batch)?;
        let (rows, units) = (batch.rows().max(1), self.feature_width());
        let mut duty = vec![0.0f32; units];
        for key in keys.chunks_exact(units.max(1)) {
            duty.iter_mut().zip(key).for_each(|(d, k)| *d += f32::from(u8::from(*k != 0.0)) / rows as f32);
        }
        let winners: f64 = duty.iter().map(|d| f64::from(*d)).sum();
        let mut out =
            Activity { bytes: self.mixture.bytes(), memory_macs: self.mixture.memory_macs(), ..Activity::default() };
        if let Some(groups) = self.code.groups() {
            for part in 0..groups.parts.len() {
                let (_, dense, effective, comparisons) = groups.work(part, batch);
                out.dense_macs += dense / rows as f64;
                out.effective_macs += effective / rows as f64;
                out.top_k_operations += comparisons / rows as f64;
            }
        }
        out.dense_macs += (units * self.outputs()) as f64;
        out.effective_macs += winners * self.outputs() as f64;
        out.layers.push(LayerActivity {
            name: "code".into(),
            units,
            winners,
            active_share: winners / units.max(1) as f64,
            dead_units: duty.iter().filter(|d| **d == 0.0).count(),
            duty,
        });
        Ok(out)
    }

    fn save(&self) -> Result<Tensors> {
        self.base.as_ref().map_or_else(|| Ok(Tensors::new()), |base| base.network.save())
    }
}

impl StreamModel {
    /// The stream as it stands, as a bundle that answers. Its probabilities need no temperature;
    /// sets and intervals come from the newest rows.
    pub fn publish(&self) -> Bundle {
        let (base, code) = (self.base.clone(), self.code.published());
        let network = Published { base, code, mixture: self.mixture.published() };
        let mut scores = self.scores[self.scores.len().saturating_sub(super::RECENT)..].to_vec();
        scores.sort_by(f32::total_cmp);
        let calibration = Calibration { temperature: 1.0, rows: scores.len(), scores };
        let config = match &self.base {
            Some(base) => BundleConfig {
                target_encoder: self.target_encoder.clone(),
                calibration: if self.scores.len() < 50 {
                    Calibration { temperature: 1.0, ..base.config.calibration.clone() }
                } else {
                    calibration
                },
                folds: Vec::new(),
                ..base.config.clone()
            },
            None => BundleConfig {
                format: FORMAT,
                family: Family::of_streams(),
                family_reason: None,
                task: self.task,
                target: self.target.clone(),
                target_encoder: self.target_encoder.clone(),
                ignored: Vec::new(),
                config: self.config.clone(),
                calibration,
                novelty_threshold: f32::MAX,
                metrics: Map::new(),
                rows: self.rows as usize,
                folds: Vec::new(),
                decision: Vec::new(),
                seed: self.seed,
            },
        };
        let novelty = match &self.base {
            Some(base) => Arc::clone(&base.novelty),
            None => self.novelty.as_ref().map(|(_, found)| Arc::clone(found)).unwrap_or_default(),
        };
        Bundle::new(
            BundleConfig { novelty_threshold: novelty.threshold, ..config },
            Arc::clone(&self.encoder),
            Box::new(network),
            novelty,
        )
    }

    /// Finds out anew what is near to what is remembered, when a quarter more rows have come. Part of
    /// learning and not of publishing, so that replicas agree on it.
    pub(super) fn renew_novelty(&mut self) {
        if self.base.is_none() && self.novelty.as_ref().is_none_or(|(rows, _)| self.rows >= rows + rows / 4 + 10) {
            self.novelty = Some((self.rows, Arc::new(self.find_novelty())));
        }
    }

    /// What is near to what is remembered: every second episode is known, the others tell how far
    /// known things are.
    fn find_novelty(&self) -> Novelty {
        let (memory, width) = (&self.mixture.shared.memory, self.mixture.key_width());
        if memory.entries().len() < 40 {
            return Novelty::with_keys(Vec::new(), width, f32::MAX);
        }
        let step = memory.entries().len().div_ceil(400);
        let codes = |first: usize| -> Vec<f32> {
            (first..memory.entries().len()).step_by(2 * step).flat_map(|e| memory.code(e)).collect()
        };
        Novelty::fit(&codes(0), &codes(step), width, self.seed)
    }
}
