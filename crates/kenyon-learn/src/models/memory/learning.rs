//! How the memory family learns: mini-batches in chunks, several networks until the best is known.

use super::{Kind, Memory, SMALL, Sizes};
use crate::data::Batch;
use crate::models::attention::{loss_gradient, number, read, row_weights, tensor, whole};
use crate::models::{Learner, LearnerSpec, Network, Next, Position, Schedule, Targets, Task, UNLABELLED};
use crate::nn::Tensors;
use crate::nn::adam::{Moments, WarmCosine, clip, constants};
use crate::nn::kernels::dense;
use crate::nn::kernels::parallel;
use crate::nn::memory::knn_attention::{self, Keys};
use crate::nn::memory::network;
use crate::nn::memory::query_reduction;
use crate::random::Random;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::Value;

/// Chunks a mini-batch is cut into at most, whatever the threads.
const CHUNKS: usize = 4;

/// Stories from which on rows alone keep the network from learning them by heart: what is dropped or
/// decays then only stands in the way of exact matches.
const MANY: usize = 50_000;

/// One network in training: the restarts are several of them until the best is known.
struct Candidate {
    weights: Vec<f32>,
    moments: Moments,
    loss: f64,
}

struct MemoryLearner {
    net: Memory,
    candidates: Vec<Candidate>,
    lanes: Vec<(Vec<f32>, Vec<f32>, f32)>,
    schedule: Schedule,
    rate: WarmCosine,
    decay: f32,
    dropout: f32,
    time_noise: f32,
    /// Episodes kept at most of each class, or of all for numbers.
    quota: Vec<usize>,
    /// Lowest validation loss of the linear start, and the epoch that ended it.
    linear_best: f32,
    seed: u64,
    threads: usize,
}

/// A network with fresh weights, ready to learn.
pub fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    let config = spec.config;
    let many = spec.rows >= MANY;
    let sizes = if many { Sizes { width: 128, wide_gates: true } } else { SMALL };
    let mut net = Memory::new(spec.encoder, spec.task, spec.outputs, config, sizes);
    let softmax = matches!(net.kind, Kind::Softmax(..));
    net.linear = softmax && config.get("linear_start").and_then(Value::as_bool).unwrap_or(true);
    let restarts = whole(config, "restarts", if softmax { 3 } else { 1 }).max(1);
    let candidates: Vec<Candidate> = (0..restarts)
        .map(|restart| {
            let weights = net.fresh(spec.seed.wrapping_add(restart as u64 * 1_000_003));
            Candidate { moments: Moments::new(weights.len()), weights, loss: 0.0 }
        })
        .collect();
    net.weights.clone_from(&candidates[0].weights);
    let capacity = whole(config, "episodes", 512);
    let quota = match spec.task {
        Task::Classification => vec![(capacity / spec.outputs.max(1)).max(1); spec.outputs],
        Task::Regression => vec![capacity],
    };
    // The published rate of plain gradient steps on summed losses, and what serves AdamW here.
    let (rate, decay, dropout) = match &net.kind {
        Kind::Softmax(..) => (0.01, 0.01, 0.0),
        Kind::Ordered(..) if many => (0.005, 0.0, 0.0),
        Kind::Ordered(..) => (0.003, 0.01, 0.2),
        Kind::Recall(_) => (0.003, 0.01, 0.0),
    };
    Ok(Box::new(MemoryLearner {
        candidates,
        lanes: Vec::new(),
        schedule: spec.schedule(default_schedule(spec.rows, &net.kind)),
        rate: WarmCosine { peak: number(config, "learning_rate", rate) as f32, warm_up: 200 },
        decay: number(config, "weight_decay", decay) as f32,
        dropout: number(config, "dropout", dropout) as f32,
        time_noise: number(config, "time_noise", 0.1) as f32,
        quota,
        linear_best: f32::INFINITY,
        seed: spec.seed,
        threads: spec.threads.max(1),
        net,
    }))
}

fn default_schedule(rows: usize, kind: &Kind) -> Schedule {
    let (batch_size, goal, least) = match kind {
        // Of twenty kinds of question a small mini-batch holds one or two each: too few to tell the way from.
        Kind::Ordered(..) if rows >= MANY => return Schedule { epochs: 40, batch_size: 256, patience: 20 },
        Kind::Ordered(..) | Kind::Softmax(..) => (32, 34_000, 20),
        Kind::Recall(_) => (64, 3000, 12),
    };
    let batch_size = if rows < 512 { 16 } else { batch_size };
    let steps = rows.div_ceil(batch_size).max(1);
    let epochs = (goal / steps).clamp(least, 200);
    Schedule { epochs, batch_size, patience: epochs / 3 }
}

impl MemoryLearner {
    /// Remembers labelled rows of the first pass until each class has its share.
    fn remember(&mut self, batch: &Batch, targets: Targets<'_>) {
        for row in 0..batch.rows() {
            let (class, outcome) = match targets {
                Targets::Classes(classes, _) if classes[row] != UNLABELLED => {
                    (classes[row] as usize, classes[row] as f32)
                }
                Targets::Values(values, _) if !values[row].is_nan() => (0, values[row]),
                _ => continue,
            };
            if let Some(left) = self.quota.get_mut(class)
                && *left > 0
            {
                *left -= 1;
                let (indices, values) = batch.entries(row);
                self.net.episodes.push(indices, values, outcome);
            }
        }
    }

    /// Gradient of the mean loss under `self.net.weights`, in the first lane; returns the loss.
    fn gradient(&mut self, batch: &Batch, targets: Targets<'_>, step: u64) -> f32 {
        let cuts = parallel::cut(batch, CHUNKS, 48);
        self.lanes.resize_with(self.lanes.len().max(cuts.len()).max(1), Default::default);
        let (row_weights, sum) = row_weights(targets);
        let net = &self.net;
        let outputs = net.outputs();
        let (dropout, noise, seed) = (self.dropout, self.time_noise, self.seed);
        let lanes = &mut self.lanes[..cuts.len().max(1)];
        for (gradient, dkeys, loss) in lanes.iter_mut() {
            gradient.clear();
            gradient.resize(net.weights.len(), 0.0);
            dkeys.clear();
            dkeys.resize(net.episodes.len() * net.width(), 0.0);
            *loss = 0.0;
        }
        let keys = match &net.kind {
            Kind::Recall(plan) => plan.keys(&net.weights, &net.episodes),
            _ => Keys::default(),
        };
        parallel::each(&mut lanes[..cuts.len()], self.threads, |i, (gradient, dkeys, loss)| {
            let rows = cuts[i].clone();
            let mut random = Random::stream(seed, "memory.noise", step.wrapping_mul(64) + i as u64);
            let weighted = (&row_weights[..], sum);
            match &net.kind {
                Kind::Ordered(plan, places) => {
                    let stories = net.stories(batch, rows.clone());
                    let mut tape = query_reduction::Tape::default();
                    let drop = (dropout > 0.0).then_some((dropout, &mut random));
                    tape.forward(plan, places, &net.weights, &stories, 0..rows.len(), drop);
                    let mut dlogits = tape.logits().to_vec();
                    *loss = loss_gradient(&mut dlogits, outputs, rows, targets, weighted, 0.0);
                    tape.backward(plan, places, &net.weights, &stories, &dlogits, gradient);
                }
                Kind::Softmax(plan, places) => {
                    let stories = net.stories(batch, rows.clone());
                    let mut tape = network::Tape::default();
                    for (at, row) in rows.enumerate() {
                        let gaps = (noise > 0.0).then_some((noise, &mut random));
                        tape.forward(plan, places, &net.weights, &stories, at, net.linear, gaps);
                        let mut dlogits = tape.logits().to_vec();
                        *loss += loss_gradient(&mut dlogits, outputs, row..row + 1, targets, weighted, 0.0);
                        tape.backward(plan, places, &net.weights, &stories, at, net.linear, &dlogits, gradient);
                    }
                }
                Kind::Recall(plan) => {
                    let mut tape = knn_attention::Tape::default();
                    for row in rows {
                        let entries = batch.entries(row);
                        tape.forward(plan, &net.weights, &net.episodes, &keys, entries, true);
                        let mut dlogits = tape.logits().to_vec();
                        *loss += loss_gradient(&mut dlogits, outputs, row..row + 1, targets, weighted, 0.0);
                        tape.backward(plan, &net.weights, &net.episodes, &keys, entries, &dlogits, gradient, dkeys);
                    }
                }
            }
        });
        let (first, rest) = lanes.split_at_mut(1);
        let (gradient, dkeys, loss) = &mut first[0];
        for (other, other_keys, part) in rest.iter() {
            dense::add(gradient, other);
            dense::add(dkeys, other_keys);
            *loss += part;
        }
        if let Kind::Recall(plan) = &net.kind {
            knn_attention::keys_backward(plan, &net.episodes, &keys, dkeys, gradient);
        }
        *loss
    }

    /// One step of the candidate whose weights stand in `self.net`.
    fn descend(&mut self, moments: &mut Moments, batch_rows: usize, position: Position) {
        let gradient = &self.lanes[0].0;
        let squares = dense::square_sum(gradient);
        if let Kind::Softmax(..) = self.net.kind {
            // Plain steps on the summed loss, its norm cut at 40, the rate halved three times.
            let sum = batch_rows as f32;
            let rate = if self.net.linear {
                0.5 * self.rate.peak
            } else {
                self.rate.peak * 0.5f32.powi((4.0 * position.fraction()).min(3.0) as i32)
            };
            let scale = rate * sum * clip(squares * f64::from(sum * sum), 40.0);
            dense::subtract_scaled(&mut self.net.weights, scale, gradient);
        } else {
            let rate = self.rate.rate(position.step, position.steps);
            let mut step = constants(position.step, rate, clip(squares, 5.0));
            step.decay = self.decay;
            let all = 0..self.net.weights.len();
            moments.update(&mut self.net.weights, all, gradient, step);
        }
    }
}

impl Learner for MemoryLearner {
    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if position.epoch == 0 && matches!(self.net.kind, Kind::Recall(_)) {
            self.remember(batch, targets);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        let mut first = 0.0;
        for (i, candidate) in candidates.iter_mut().enumerate().rev() {
            std::mem::swap(&mut self.net.weights, &mut candidate.weights);
            let loss = self.gradient(batch, targets, position.step);
            self.descend(&mut candidate.moments, batch.rows(), position);
            candidate.loss += f64::from(loss);
            if i == 0 {
                first = loss;
                // The first candidate's weights answer until another proves better.
                candidate.weights.clone_from(&self.net.weights);
            } else {
                std::mem::swap(&mut self.net.weights, &mut candidate.weights);
            }
        }
        self.candidates = candidates;
        self.net.refresh();
        Ok(first)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.net.run(batch, self.threads).0)
    }

    fn end_epoch(&mut self, position: Position, _train_loss: f32, validation_loss: f32) -> Result<Next> {
        let mut next = Next::Go;
        if self.net.linear {
            let stalled = validation_loss >= self.linear_best || validation_loss.is_nan();
            self.linear_best = self.linear_best.min(validation_loss);
            if stalled || position.fraction() > 0.25 {
                self.net.linear = false;
                next = Next::Restart;
            }
        }
        if self.candidates.len() > 1 && position.fraction() >= 0.2 {
            let best =
                self.candidates.iter().enumerate().min_by(|a, b| a.1.loss.total_cmp(&b.1.loss)).map_or(0, |b| b.0);
            self.candidates.swap(0, best);
            self.candidates.truncate(1);
            self.net.weights.clone_from(&self.candidates[0].weights);
            next = Next::Restart;
        }
        for candidate in &mut self.candidates {
            candidate.loss = 0.0;
        }
        Ok(next)
    }

    fn weights(&self) -> Result<Tensors> {
        self.net.save()
    }

    fn state(&self) -> Result<Tensors> {
        let mut out = self.net.save()?;
        for (i, candidate) in self.candidates.iter().enumerate() {
            let len = candidate.weights.len();
            out.insert(format!("candidates.{i}.weights"), tensor(&candidate.weights, &[len])?);
            out.insert(format!("candidates.{i}.first"), tensor(&candidate.moments.first, &[len])?);
            out.insert(format!("candidates.{i}.second"), tensor(&candidate.moments.second, &[len])?);
            out.insert(format!("candidates.{i}.loss"), Tensor::from_slice(&[candidate.loss], 1, &Device::Cpu)?);
        }
        let quota: Vec<f32> = self.quota.iter().map(|left| *left as f32).collect();
        out.insert("quota".into(), tensor(&quota, &[quota.len()])?);
        out.insert("linear_best".into(), tensor(&[self.linear_best], &[1])?);
        Ok(out)
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.net.load(state)?;
        let len = self.net.weights.len();
        let mut candidates = Vec::new();
        while let Some(loss) = state.get(&format!("candidates.{}.loss", candidates.len())) {
            let i = candidates.len();
            let loss = loss.to_vec1::<f64>()?.first().copied().unwrap_or(0.0);
            let mut candidate = Candidate { weights: vec![0.0; len], moments: Moments::new(len), loss };
            read(state, &format!("candidates.{i}.weights"), &mut candidate.weights)?;
            read(state, &format!("candidates.{i}.first"), &mut candidate.moments.first)?;
            read(state, &format!("candidates.{i}.second"), &mut candidate.moments.second)?;
            candidates.push(candidate);
        }
        if candidates.is_empty() {
            return Err(Error::unprocessable("bad_weights", "the checkpoint has no network"));
        }
        self.candidates = candidates;
        let mut quota = vec![0.0; self.quota.len()];
        read(state, "quota", &mut quota)?;
        self.quota = quota.iter().map(|left| *left as usize).collect();
        let mut best = [0.0];
        read(state, "linear_best", &mut best)?;
        self.linear_best = best[0];
        Ok(())
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let mut net = self.net;
        if let Some(weights) = weights {
            net.load(&weights)?;
        }
        net.refresh();
        Ok(Box::new(net))
    }
}
