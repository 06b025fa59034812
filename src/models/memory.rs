//! The memory family: a question reads memory slots in several hops. The slots are the row's own
//! context (a column of sentences) where it has one, and otherwise remembered training rows.

use super::attention::{loss_gradient, number, read, row_weights, tensor, whole};
use super::{
    Activity, Explanation, Family, LayerActivity, Learner, LearnerSpec, Network, Next, Position, RECALLED, Recalled,
    RecalledRow, Schedule, Setting, Targets, Task, UNLABELLED,
};
use crate::data::encoder::Encoder;
use crate::data::{Batch, ColumnKind};
use crate::nn::adam::{Moments, WarmCosine, clip, constants};
use crate::nn::kernels::dense;
use crate::nn::memory::{self, Part, Places, Stories};
use crate::nn::random::Random;
use crate::nn::recall::{self, Episodes, Keys};
use crate::nn::{Tensors, parallel, reduction};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::{Map, Value};
use std::ops::Range;

/// What a training request may set.
pub fn settings() -> Vec<Setting> {
    vec![
        Setting::new("width", 64, super::Range::Integer(4, 1024), "Numbers a slot or question is described by."),
        Setting::new("hops", 3, super::Range::Integer(1, 16), "How often the question reads the slots."),
        Setting::new("slots", 256, super::Range::Integer(1, 4096), "Latest slots of a row that are seen."),
        Setting::new(
            "read",
            "ordered",
            super::Range::Choice(&["ordered", "softmax"]),
            "Whether hops walk over the slots in order, or weigh all of them at once (a classic memory network).",
        ),
        Setting::new(
            "episodes",
            512,
            super::Range::Integer(1, 65536),
            "Training rows remembered where rows have no slots of their own.",
        ),
        Setting::new(
            "restarts",
            Value::Null,
            super::Range::Integer(1, 16),
            "Networks begun; the one with the least training error goes on.",
        ),
        Setting::new(
            "dropout",
            Value::Null,
            super::Range::Number(0.0, 0.9),
            "Share of slot numbers dropped while training.",
        ),
        Setting::new(
            "time_noise",
            0.1,
            super::Range::Number(0.0, 0.9),
            "Share of gaps in time while training (softmax read).",
        ),
        Setting::new(
            "linear_start",
            true,
            super::Range::Boolean,
            "Read without softmax until validation stalls (softmax read).",
        ),
        Setting::new(
            "learning_rate",
            Value::Null,
            super::Range::Number(1e-6, 1.0),
            "Largest learning rate; by kind of read if not given.",
        ),
        Setting::new("weight_decay", 0.01, super::Range::Number(0.0, 10.0), "Decay of the weights."),
    ]
}

/// What kind of slots and reads, with its sizes.
#[derive(Clone, Debug)]
enum Kind {
    Ordered(reduction::Plan, Places),
    Softmax(memory::Plan, Places),
    Recall(recall::Plan),
}

/// The network: kind, weights and what they are read with.
#[derive(Clone, Debug)]
struct Memory {
    kind: Kind,
    weights: Vec<f32>,
    /// Whether softmax reads go without their softmax still (linear start).
    linear: bool,
    /// Fields whose tokens are slots.
    story: Vec<bool>,
    episodes: Episodes,
    /// Episodes' descriptions under the present weights, for answering.
    keys: Keys,
}

impl Memory {
    fn new(encoder: &Encoder, task: Task, outputs: usize, config: &Map<String, Value>) -> Self {
        let is_story = |name: &str| {
            let plan = encoder.inputs.iter().find(|plan| plan.name == name);
            plan.is_some_and(|plan| plan.kind == ColumnKind::Sequence && plan.channels == Some(0))
        };
        let story: Vec<bool> = encoder.fields.iter().map(|field| is_story(&field.name)).collect();
        let (width, words) = (whole(config, "width", 64).max(1), encoder.width as usize);
        let (hops, slots) = (whole(config, "hops", 3).max(1), whole(config, "slots", 256).max(1));
        let kind = if !story.contains(&true) {
            let regression = task == Task::Regression;
            Kind::Recall(recall::Plan::new(recall::Shape { features: words, width, outputs, regression }))
        } else if config.get("read").and_then(Value::as_str) == Some("softmax") {
            let shape = memory::Shape { words, width, hops, slots, outputs };
            Kind::Softmax(memory::Plan::new(shape), Places::new(width, hops + 1))
        } else {
            let shape = reduction::Shape { words, width, hops, slots, outputs, wide_gates: false };
            Kind::Ordered(reduction::Plan::new(shape), Places::new(width, 1))
        };
        Self { kind, weights: Vec::new(), linear: false, story, episodes: Episodes::default(), keys: Keys::default() }
    }

    fn parts(&self) -> &[Part] {
        match &self.kind {
            Kind::Ordered(plan, _) => &plan.parts,
            Kind::Softmax(plan, _) => &plan.parts,
            Kind::Recall(plan) => &plan.parts,
        }
    }

    fn fresh(&self, seed: u64) -> Vec<f32> {
        match &self.kind {
            Kind::Ordered(plan, _) => plan.fresh(seed),
            Kind::Softmax(plan, _) => plan.fresh(seed),
            Kind::Recall(plan) => plan.fresh(seed),
        }
    }

    fn outputs(&self) -> usize {
        match &self.kind {
            Kind::Ordered(plan, _) => plan.shape.outputs,
            Kind::Softmax(plan, _) => plan.shape.outputs,
            Kind::Recall(plan) => plan.shape.outputs,
        }
    }

    fn width(&self) -> usize {
        match &self.kind {
            Kind::Ordered(plan, _) => plan.shape.width,
            Kind::Softmax(plan, _) => plan.shape.width,
            Kind::Recall(plan) => plan.shape.width,
        }
    }

    /// Rows of a batch as question and slots.
    fn stories(&self, batch: &Batch, rows: Range<usize>) -> Stories {
        let mut out = Stories { rows: vec![0], slots: vec![0], ..Stories::default() };
        let is_story = |token: usize| {
            batch.fields.get(token).is_some_and(|field| self.story.get(usize::from(*field)).copied().unwrap_or(false))
        };
        let push = |out: &mut Stories, token: usize| {
            let entries = batch.token_offsets[token]..batch.token_offsets[token + 1];
            let (indices, values) = batch.token(token);
            out.words.extend_from_slice(indices);
            out.values.extend_from_slice(values);
            out.origin.extend(entries);
        };
        for row in rows {
            batch.row(row).filter(|token| !is_story(*token)).for_each(|token| push(&mut out, token));
            out.slots.push(out.words.len() as u32);
            out.tokens.push(u32::MAX);
            for token in batch.row(row).filter(|token| is_story(*token)) {
                push(&mut out, token);
                out.slots.push(out.words.len() as u32);
                out.tokens.push(token as u32);
            }
            out.rows.push(out.slots.len() as u32 - 1);
        }
        out
    }

    /// Answers and states of rows, `[rows, outputs]` and `[rows, width]`.
    fn run(&self, batch: &Batch, threads: usize) -> (Vec<f32>, Vec<f32>) {
        let cuts = parallel::cut(batch, usize::MAX, 256);
        let mut parts: Vec<(Vec<f32>, Vec<f32>)> = vec![Default::default(); cuts.len()];
        parallel::each(&mut parts, threads, |i, (logits, states)| {
            let rows = cuts[i].clone();
            match &self.kind {
                Kind::Ordered(plan, places) => {
                    let stories = self.stories(batch, rows.clone());
                    let mut tape = reduction::Tape::default();
                    tape.forward(plan, places, &self.weights, &stories, 0..rows.len(), None);
                    logits.extend_from_slice(tape.logits());
                    states.extend_from_slice(tape.states());
                }
                Kind::Softmax(plan, places) => {
                    let stories = self.stories(batch, rows.clone());
                    let mut tape = memory::Tape::default();
                    for row in 0..rows.len() {
                        tape.forward(plan, places, &self.weights, &stories, row, self.linear, None);
                        logits.extend_from_slice(tape.logits());
                        states.extend_from_slice(tape.state(plan));
                    }
                }
                Kind::Recall(plan) => {
                    let mut tape = recall::Tape::default();
                    for row in rows {
                        tape.forward(plan, &self.weights, &self.episodes, &self.keys, batch.entries(row), false);
                        logits.extend_from_slice(tape.logits());
                        states.extend_from_slice(tape.description());
                    }
                }
            }
        });
        let mut out = (Vec::new(), Vec::new());
        for (logits, states) in parts {
            out.0.extend(logits);
            out.1.extend(states);
        }
        out
    }

    /// The episodes most like the row last answered.
    fn nearest(&self, tape: &recall::Tape) -> Vec<Recalled> {
        let similarity = tape.similarities();
        let mut order: Vec<usize> = (0..similarity.len()).collect();
        order.sort_by(|&a, &b| similarity[b].total_cmp(&similarity[a]).then(a.cmp(&b)));
        let one = |&at: &usize| {
            let (indices, values) = self.episodes.entries(at);
            let entries = indices.iter().copied().zip(values.iter().copied()).collect();
            let (outcome, similarity) = (self.episodes.outcomes[at], similarity[at]);
            Recalled { id: at as u64, outcome, similarity, row: RecalledRow::Entries(entries) }
        };
        order.iter().take(RECALLED).map(one).collect()
    }

    /// Describes the episodes anew after the weights changed.
    fn refresh(&mut self) {
        if let Kind::Recall(plan) = &self.kind {
            self.keys = plan.keys(&self.weights, &self.episodes);
        }
    }

    fn save(&self) -> Result<Tensors> {
        let mut out = Tensors::new();
        for part in self.parts() {
            out.insert(part.name.clone(), tensor(&self.weights[part.range.clone()], &part.shape)?);
        }
        out.insert("linear".into(), tensor(&[f32::from(u8::from(self.linear))], &[1])?);
        if let Kind::Recall(_) = self.kind {
            let (e, cpu) = (&self.episodes, &Device::Cpu);
            out.insert("episodes.offsets".into(), Tensor::from_slice(&e.offsets, e.offsets.len(), cpu)?);
            out.insert("episodes.indices".into(), Tensor::from_slice(&e.indices, e.indices.len(), cpu)?);
            out.insert("episodes.values".into(), tensor(&e.values, &[e.values.len()])?);
            out.insert("episodes.outcomes".into(), tensor(&e.outcomes, &[e.outcomes.len()])?);
        }
        Ok(out)
    }

    fn load(&mut self, tensors: &Tensors) -> Result<()> {
        let parts = self.parts().to_vec();
        self.weights.resize(parts.last().map_or(0, |p| p.range.end), 0.0);
        for part in &parts {
            read(tensors, &part.name, &mut self.weights[part.range.clone()])?;
        }
        let mut linear = [0.0];
        read(tensors, "linear", &mut linear)?;
        self.linear = linear[0] != 0.0;
        if let Kind::Recall(plan) = &self.kind {
            self.episodes = episodes(tensors, &plan.shape)?;
        }
        self.refresh();
        Ok(())
    }
}

/// The stored rows in `tensors`, which may come from a stranger.
fn episodes(tensors: &Tensors, shape: &recall::Shape) -> Result<Episodes> {
    let broken = || Error::unprocessable("bad_weights", "the stored episodes do not fit together");
    let get = |name: &str| tensors.get(name).ok_or_else(broken);
    let offsets: Vec<u32> = get("episodes.offsets")?.to_vec1()?;
    let indices: Vec<u32> = get("episodes.indices")?.to_vec1()?;
    let values: Vec<f32> = get("episodes.values")?.to_vec1()?;
    let outcomes: Vec<f32> = get("episodes.outcomes")?.to_vec1()?;
    let whole = indices.len() == values.len()
        && offsets.len() == outcomes.len() + usize::from(!outcomes.is_empty())
        && offsets.windows(2).all(|o| o[0] <= o[1])
        && offsets.last().is_none_or(|last| *last as usize <= indices.len())
        && indices.iter().all(|i| (*i as usize) < shape.features);
    if !whole {
        return Err(broken());
    }
    let mut out = Episodes::default();
    for (at, outcome) in offsets.windows(2).zip(&outcomes) {
        let range = at[0] as usize..at[1] as usize;
        out.push(&indices[range.clone()], &values[range], *outcome);
    }
    Ok(out)
}

/// Chunks a mini-batch is cut into at most, whatever the threads.
const CHUNKS: usize = 4;

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
    let mut net = Memory::new(spec.encoder, spec.task, spec.outputs, config);
    let softmax = matches!(net.kind, Kind::Softmax(..));
    let ordered = matches!(net.kind, Kind::Ordered(..));
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
    let rate = number(config, "learning_rate", if softmax { 0.01 } else { 0.003 }) as f32;
    Ok(Box::new(MemoryLearner {
        candidates,
        lanes: Vec::new(),
        schedule: spec.schedule(default_schedule(spec.rows, ordered || softmax)),
        rate: WarmCosine { peak: rate, warm_up: 200 },
        decay: number(config, "weight_decay", 0.01) as f32,
        dropout: number(config, "dropout", if ordered { 0.2 } else { 0.0 }) as f32,
        time_noise: number(config, "time_noise", 0.1) as f32,
        quota,
        linear_best: f32::INFINITY,
        seed: spec.seed,
        threads: spec.threads.max(1),
        net,
    }))
}

fn default_schedule(rows: usize, stories: bool) -> Schedule {
    let (batch_size, goal, least) = if stories { (32, 34_000, 20) } else { (64, 3000, 12) };
    let batch_size = if rows < 512 { 16 } else { batch_size };
    let steps = rows.div_ceil(batch_size).max(1);
    let epochs = (goal / steps).clamp(least, 200);
    Schedule { epochs, batch_size, patience: epochs / 3 }
}

/// The network saved as `tensors`.
pub fn load(
    encoder: &Encoder,
    task: Task,
    outputs: usize,
    config: &Map<String, Value>,
    tensors: &Tensors,
) -> Result<Box<dyn Network>> {
    let mut net = Memory::new(encoder, task, outputs, config);
    net.load(tensors)?;
    Ok(Box::new(net))
}

impl MemoryLearner {
    /// Remembers labelled rows of the first pass until each class has its share.
    fn remember(&mut self, batch: &Batch, targets: Targets<'_>) {
        for row in 0..batch.rows() {
            let (class, outcome) = match targets {
                Targets::Classes(classes, _) if classes[row] != UNLABELLED => {
                    (classes[row] as usize, classes[row] as f32)
                }
                Targets::Values(values) if !values[row].is_nan() => (0, values[row]),
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
                    let mut tape = reduction::Tape::default();
                    let drop = (dropout > 0.0).then_some((dropout, &mut random));
                    tape.forward(plan, places, &net.weights, &stories, 0..rows.len(), drop);
                    let mut dlogits = tape.logits().to_vec();
                    *loss = loss_gradient(&mut dlogits, outputs, rows, targets, weighted, 0.0);
                    tape.backward(plan, places, &net.weights, &stories, &dlogits, gradient);
                }
                Kind::Softmax(plan, places) => {
                    let stories = net.stories(batch, rows.clone());
                    let mut tape = memory::Tape::default();
                    for (at, row) in rows.enumerate() {
                        let gaps = (noise > 0.0).then_some((noise, &mut random));
                        tape.forward(plan, places, &net.weights, &stories, at, net.linear, gaps);
                        let mut dlogits = tape.logits().to_vec();
                        *loss += loss_gradient(&mut dlogits, outputs, row..row + 1, targets, weighted, 0.0);
                        tape.backward(plan, places, &net.weights, &stories, at, net.linear, &dlogits, gradient);
                    }
                }
                Kind::Recall(plan) => {
                    let mut tape = recall::Tape::default();
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
            recall::keys_backward(plan, &net.episodes, &keys, dkeys, gradient);
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
        self.refresh_if_recall();
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

impl MemoryLearner {
    fn refresh_if_recall(&mut self) {
        self.net.refresh();
    }
}

impl Network for Memory {
    fn family(&self) -> Family {
        Family::Memory
    }

    fn outputs(&self) -> usize {
        Memory::outputs(self)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.run(batch, 1).0)
    }

    fn feature_width(&self) -> usize {
        self.width()
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.run(batch, 1).1)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let first = batch.token_offsets[batch.row(row).start];
        let mut out = Explanation { entries: vec![0.0; batch.entries(row).0.len()], ..Explanation::default() };
        match &self.kind {
            Kind::Ordered(plan, places) => {
                let stories = self.stories(batch, row..row + 1);
                let mut tape = reduction::Tape::default();
                tape.forward(plan, places, &self.weights, &stories, 0..1, None);
                let (bias, terms) = tape.terms(plan, &self.weights, output);
                out.bias = bias;
                out.attention = vec![0.0; batch.row(row).len()];
                for (slot, term, weight) in terms {
                    let words = stories.slots[slot as usize] as usize..stories.slots[slot as usize + 1] as usize;
                    if words.is_empty() {
                        out.bias += term;
                    }
                    for word in words.clone() {
                        out.entries[(stories.origin[word] - first) as usize] += term / words.len() as f32;
                    }
                    attend(&mut out.attention, batch, row, stories.tokens[slot as usize], weight);
                }
            }
            Kind::Softmax(plan, places) => {
                let stories = self.stories(batch, row..row + 1);
                let mut tape = memory::Tape::default();
                tape.forward(plan, places, &self.weights, &stories, 0, self.linear, None);
                let (bias, terms) = tape.terms(plan, places, &self.weights, &stories, 0, output);
                out.bias = bias;
                out.attention = vec![0.0; batch.row(row).len()];
                for (origin, term) in terms {
                    out.entries[(origin - first) as usize] += term;
                }
                for (slot, weight) in tape.seen().zip(tape.reads(plan.shape.hops - 1)) {
                    attend(&mut out.attention, batch, row, stories.tokens[slot], *weight);
                }
            }
            Kind::Recall(plan) => {
                let mut tape = recall::Tape::default();
                let (indices, values) = batch.entries(row);
                tape.forward(plan, &self.weights, &self.episodes, &self.keys, (indices, values), false);
                out.bias = recall::Tape::bias(plan, &self.weights, output);
                out.memories = self.nearest(&tape);
                let recalled = tape.recalled(plan, &self.weights, output);
                // Recall compares whole rows; its term is shared by the size of the values.
                let sum: f32 = values.iter().map(|v| v.abs()).sum();
                if sum == 0.0 {
                    out.bias += recalled;
                }
                for ((entry, index), value) in out.entries.iter_mut().zip(indices).zip(values) {
                    *entry = recall::Tape::linear(plan, &self.weights, *index, *value, output);
                    if sum > 0.0 {
                        *entry += recalled * value.abs() / sum;
                    }
                }
            }
        }
        let total: f32 = out.attention.iter().sum();
        if total > 0.0 {
            out.attention.iter_mut().for_each(|weight| *weight /= total);
        }
        Ok(out)
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        let (rows, d) = (batch.rows().max(1) as f64, self.width() as f64);
        let entries: f64 = batch.indices.len() as f64 / rows;
        let outputs = Memory::outputs(self) as f64;
        let mut out = Activity { bytes: 4 * self.weights.len() as u64, ..Activity::default() };
        match &self.kind {
            Kind::Ordered(plan, places) => {
                let slots = batch.tokens() as f64 / rows;
                let hop = slots * (2.0 * d * d + 4.0 * d);
                out.dense_macs = slots * plan.shape.words as f64 * d + plan.shape.hops as f64 * hop + d * outputs;
                out.effective_macs = entries * d + plan.shape.hops as f64 * hop + d * outputs;
                for hop in 0..plan.shape.hops {
                    let mut duty = vec![0f32; plan.shape.width];
                    let mut winners = 0.0;
                    for row in 0..batch.rows() {
                        let stories = self.stories(batch, row..row + 1);
                        let mut tape = reduction::Tape::default();
                        tape.forward(plan, places, &self.weights, &stories, 0..1, None);
                        for (duty, value) in duty.iter_mut().zip(tape.carried(hop)) {
                            // A number that says less than this changes no answer to speak of.
                            if value.abs() > 0.05 {
                                *duty += 1.0 / rows as f32;
                                winners += 1.0 / rows;
                            }
                        }
                    }
                    out.layers.push(layer(format!("hops.{hop}"), duty, winners));
                }
            }
            Kind::Softmax(plan, _) => {
                let (slots, hops) = (batch.tokens() as f64 / rows, plan.shape.hops as f64);
                out.dense_macs =
                    slots * plan.shape.words as f64 * d * (hops + 1.0) + hops * slots * 2.0 * d + d * outputs;
                out.effective_macs = entries * d * (hops + 1.0) + hops * slots * 2.0 * d + d * outputs;
                let states = self.run(batch, 1).1;
                out.layers.push(states_layer(&states, self.width()));
            }
            Kind::Recall(plan) => {
                out.dense_macs = plan.shape.features as f64 * d + d * outputs;
                out.effective_macs = entries * d + d * outputs;
                out.memory_macs = self.episodes.len() as f64 * d;
                out.bytes += 8 * self.episodes.indices.len() as u64 + 16 * self.episodes.len() as u64;
                let states = self.run(batch, 1).1;
                out.layers.push(states_layer(&states, self.width()));
            }
        }
        Ok(out)
    }

    fn save(&self) -> Result<Tensors> {
        Memory::save(self)
    }
}

/// Adds `weight` to token `token` of the row; questions carry no weight of their own.
fn attend(attention: &mut [f32], batch: &Batch, row: usize, token: u32, weight: f32) {
    if token != u32::MAX {
        attention[token as usize - batch.row(row).start] += weight;
    }
}

fn layer(name: String, duty: Vec<f32>, winners: f64) -> LayerActivity {
    let units = duty.len();
    let dead_units = duty.iter().filter(|d| **d == 0.0).count();
    LayerActivity { name, units, winners, active_share: winners / units.max(1) as f64, dead_units, duty }
}

fn states_layer(states: &[f32], width: usize) -> LayerActivity {
    let rows = (states.len() / width.max(1)).max(1) as f32;
    let mut duty = vec![0f32; width];
    for state in states.chunks_exact(width.max(1)) {
        for (duty, value) in duty.iter_mut().zip(state) {
            *duty += f32::from(u8::from(value.abs() > 0.05)) / rows;
        }
    }
    let winners = duty.iter().map(|d| f64::from(*d)).sum();
    layer("state".into(), duty, winners)
}
