//! A stream's state as a network: what serving predicts with while the stream continues.

use super::code::Code;
use super::familiar::Familiar;
use super::mixture::{Mixture, Scratch};
use super::shape::StreamRow;
use super::{StreamModel, Task};
use crate::data::Batch;
use crate::learning::bundle::{Bundle, BundleConfig, FORMAT};
use crate::learning::calibrate::Calibration;
use crate::learning::novelty::{KnownCodes, MAX_KEYS, Novelty, SKETCH};
use crate::models::hybrid::{explain_by_steps, strongest_units};
use crate::models::{Activity, Explanation, Family, LayerActivity, Network, RECALLED, Recalled, layer_names};
use crate::nn::Tensors;
use crate::nn::probability::softmax;
use crate::{Error, Result};
use serde_json::Map;
use std::cell::RefCell;
use std::sync::Arc;

/// Rows observed last whose novelty new rows are ranked among.
pub(super) const NOVELTY_WINDOW: usize = 1_000;
/// With fewer observed rows the rank is that among the rows the training held out.
const FEWEST_RECENT: usize = 100;
/// With fewer scores none is capped, and how far beyond nearly all others one counts at least.
const FEWEST_CAPPED: usize = 10;
const LEAST_STEP: f32 = 0.1;
/// Largest number of rows after which the reference of novelty is fitted again.
const RENEWED: u64 = 500;

/// A frozen view of a stream.
struct Published {
    base: Option<Arc<Bundle>>,
    code: Code,
    mixture: Mixture,
}

thread_local! {
    /// Intermediate results, kept by each thread.
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
        let shared = &self.mixture.shared;
        let nothing = if shared.regression { shared.counts == [0] && self.base.is_none() } else { shared.classes == 0 };
        if nothing {
            let detail = "the model has not learned anything yet: observe labelled rows first";
            return Err(Error::conflict("nothing_learned", detail));
        }
        // Experts read entries one by one; a batch that was encoded before the stream began may be compact.
        let batch = &*batch.expanded();
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
        // A stream that has learned nothing changes nothing: the trained network's output stands.
        let unlearned = outputs > 0 && self.mixture.shared.counts.iter().all(|&rows| rows == 0);
        SCRATCH.with_borrow_mut(|scratch| {
            Ok((0..batch.rows())
                .map(|r| {
                    let (indices, values) = batch.entries(r);
                    let code = &codes[r * width..(r + 1) * width];
                    let base = &answers[r * outputs..(r + 1) * outputs];
                    self.mixture.answer(StreamRow { indices, values, code, base }, scratch);
                    if unlearned {
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
            (self.mixture.recalled(scratch, RECALLED), strongest_units(self.mixture.key(code, scratch)))
        })?;
        if let Some((memories, units)) = found.pop() {
            (explanation.memories, explanation.active_units) = (memories, units);
        }
        Ok(explanation)
    }

    fn nearest(&self, batch: &Batch, k: usize) -> Result<Option<Vec<Vec<Recalled>>>> {
        if self.mixture.shared.memory.entries().is_empty() {
            return self.base.as_ref().map_or(Ok(None), |base| base.network.nearest(batch, k));
        }
        self.each(batch, |scratch, _| self.mixture.recalled(scratch, k)).map(Some)
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

    /// The layers of the trained network; a stream without one has the code alone.
    fn layer(&self, batch: &Batch, name: &str) -> Result<Option<Vec<f32>>> {
        self.base.as_ref().map_or(Ok(None), |base| {
            if let Some(code) = base.network.layer(batch, name)? {
                return Ok(Some(code));
            }
            let names = layer_names(&*base.network, batch)?;
            let last = names.len().checked_sub(2).map(|at| &names[at]);
            (last.is_some_and(|last| last == name)).then(|| base.network.features(batch)).transpose()
        })
    }

    fn save(&self) -> Result<Tensors> {
        self.base.as_ref().map_or_else(|| Ok(Tensors::new()), |base| base.network.save())
    }
}

impl StreamModel {
    /// The current state of the stream as a bundle. Its probabilities need no temperature;
    /// sets and intervals come from the newest rows.
    pub fn publish(&self) -> Bundle {
        let (base, code) = (self.base.clone(), self.code.published());
        let network = Published { base, code, mixture: self.mixture.published() };
        let classes = if self.task == Task::Regression { 0 } else { self.target_encoder.outputs() };
        let target = self.targets.span();
        let calibration = Calibration { target, ..self.served.published(&self.scores, classes) };
        let config = match &self.base {
            Some(base) => BundleConfig {
                target_encoder: self.target_encoder.clone(),
                calibration: if self.scores.len() < 50 {
                    Calibration { temperature: 1.0, target, ..base.config.calibration.clone() }
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
                novelty: None,
                importance: None,
                metrics: Map::new(),
                rows: self.rows as usize,
                folds: Vec::new(),
                decision: Vec::new(),
                weight: None,
                seed: self.seed,
            },
        };
        let recent = &self.novelty_scores[self.novelty_scores.len().saturating_sub(NOVELTY_WINDOW)..];
        let novelty = match (&self.base, &self.novelty) {
            // A model of 0.1 keeps its meaning, and few rows are less evidence than those the training held out.
            (Some(base), _) if !base.novelty.is_rank() || recent.len() < FEWEST_RECENT => Arc::clone(&base.novelty),
            (Some(base), _) => base.novelty.among(recent).into(),
            (None, Some((_, found))) => found.among(recent).into(),
            (None, None) => Novelty::default().among(&[]).into(),
        };
        Bundle::new(
            BundleConfig { novelty_threshold: novelty.threshold, ..config },
            Arc::clone(&self.encoder),
            Box::new(network),
            novelty,
        )
        .with_background(self.base.as_ref().and_then(|base| base.background.clone()))
    }

    /// What new rows are compared with; none before there is anything.
    pub(super) fn reference(&self) -> Option<&Novelty> {
        let found = self.novelty.as_ref().map(|(_, found)| &**found);
        self.base.as_ref().map(|base| &*base.novelty).or(found)
    }

    /// How unusual row `r` of `batch` is, whose code has this sketch, among what was known before it.
    pub(super) fn novelty_score(&self, sketch: &[f32; SKETCH], batch: &Batch, r: usize) -> Option<f32> {
        Some(self.reference()?.score(sketch, batch, r)).filter(|score| score.is_finite())
    }

    /// Keeps the score of a row that was observed. Beyond nearly all others it counts as little more than they: a single
    /// outlier does not make what is like it familiar, and what comes again and again moves the reference step by step.
    pub(super) fn keep_novelty(&mut self, score: f32) {
        let recent = &self.novelty_scores[self.novelty_scores.len().saturating_sub(NOVELTY_WINDOW)..];
        let most = recent.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let score = if score > most && recent.len() >= FEWEST_CAPPED {
            let mut sorted = recent.to_vec();
            sorted.sort_by(f32::total_cmp);
            let high = sorted[(sorted.len() * 99).div_ceil(100) - 1];
            score.min(high + (0.5 * (high - sorted[sorted.len() / 2])).max(LEAST_STEP))
        } else {
            score
        };
        if self.novelty_scores.len() >= 2 * NOVELTY_WINDOW {
            self.novelty_scores.drain(..NOVELTY_WINDOW);
        }
        self.novelty_scores.push(score);
    }

    /// Starts novelty over: codes have another meaning, or rows were forgotten.
    pub(super) fn forget_familiar(&mut self) {
        self.novelty = None;
        self.familiar = Familiar::default();
        self.novelty_scores.clear();
        self.horizons.copy = None;
    }

    /// Fits novelty on the familiar rows again, when a quarter more rows have come. Part of
    /// learning and not of publishing, so that replicas agree on it.
    pub(super) fn renew_novelty(&mut self) {
        let due = |(rows, found): &(u64, Arc<Novelty>)| {
            let first = self.familiar.is_enough() && !found.reads_inputs();
            first || self.rows >= rows + (rows / 4).min(RENEWED) + 10
        };
        if self.base.is_some() || !self.novelty.as_ref().is_none_or(due) {
            return;
        }
        let before = self.novelty.as_ref();
        let (found, mut scores, first) = if self.familiar.is_enough() {
            let (found, scores) = self.familiar.fit(self.mixture.key_width(), self.seed);
            (found, scores, before.is_none_or(|(_, before)| !before.reads_inputs()))
        } else {
            let nothing_known = before.is_none_or(|(_, before)| before.codes.is_empty());
            let (found, scores) = self.find_novelty(nothing_known);
            (found, scores, nothing_known)
        };
        if first {
            // Scores of another kind, or from before anything was known, do not compare.
            self.novelty_scores.clear();
            scores.sort_by(f32::total_cmp);
            scores.into_iter().for_each(|score| self.keep_novelty(score));
        }
        self.novelty = Some((self.rows, Arc::new(found)));
    }

    /// The codes of what is remembered. At the first time every second episode is known, and the others measure how far
    /// familiar rows are.
    fn find_novelty(&self, first: bool) -> (Novelty, Vec<f32>) {
        let (memory, width) = (&self.mixture.shared.memory, self.mixture.key_width());
        let entries = memory.entries().len();
        if entries < 40 {
            return (Novelty::distance_alone(KnownCodes::new(&[], width), f32::MAX), Vec::new());
        }
        let step = entries.div_ceil(2 * MAX_KEYS);
        let codes = |from: usize, step: usize| -> Vec<f32> {
            (from..entries).step_by(step).flat_map(|e| memory.code(e)).collect()
        };
        if !first {
            let known = KnownCodes::sample(&codes(0, step), width, self.seed);
            return (Novelty::distance_alone(known, f32::MAX), Vec::new());
        }
        let known = KnownCodes::sample(&codes(0, 2 * step), width, self.seed);
        let scores = codes(step, 2 * step).chunks_exact(width.max(1)).map(|code| known.distance(code)).collect();
        (Novelty::distance_alone(known, f32::MAX), scores)
    }
}
