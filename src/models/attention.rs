//! The attention family: tokens attend to each other, and the answer is a weighted sum over them.

use super::{
    Activity, Explanation, Family, LayerActivity, Learner, LearnerSpec, Network, Position, Range, Schedule, Setting,
    Targets, Task, UNLABELLED,
};
use crate::data::encoder::Encoder;
use crate::data::{Batch, ColumnKind};
use crate::nn::adam::{Moments, RowGradients, WarmCosine, clip, constants};
use crate::nn::attention::{Dropout, Gradients, Plan, Shape, Tape, Weights};
use crate::nn::filter_branch::{Branch, Column, Training};
use crate::nn::filters::Bank;
use crate::nn::kernels::dense;
use crate::nn::{Tensors, parallel};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

/// What a training request may set.
pub fn settings() -> Vec<Setting> {
    vec![
        Setting::new("width", 64, Range::Integer(8, 1024), "Numbers a token is described by."),
        Setting::new("heads", 4, Range::Integer(1, 32), "Attention heads; they share the width."),
        Setting::new("layers", 2, Range::Integer(0, 16), "Attention blocks."),
        Setting::new(
            "hidden",
            Value::Null,
            Range::Integer(8, 8192),
            "Feed-forward units a block; twice the width by default.",
        ),
        Setting::new("active_share", 0.25, Range::Number(0.01, 1.0), "Share of feed-forward units that stay active."),
        Setting::new(
            "reads",
            2,
            Range::Integer(1, 16),
            "Soft reads over the tokens, beside the one that takes the largest values.",
        ),
        Setting::new("positions", 1024, Range::Integer(1, 65536), "Positions within a column that are told apart."),
        Setting::new("dropout", 0.1, Range::Number(0.0, 0.9), "Share of values dropped while training."),
        Setting::new(
            "label_smoothing",
            0.05,
            Range::Number(0.0, 0.5),
            "Share of certainty taken from the labels while training.",
        ),
        Setting::new(
            "learning_rate",
            0.002,
            Range::Number(1e-6, 1.0),
            "Largest learning rate; reached by a warm-up, left by a cosine.",
        ),
        Setting::new("weight_decay", 0.01, Range::Number(0.0, 10.0), "Decay of the weight matrices."),
    ]
}

/// How long to train on `rows` rows: enough steps for a small table, and no more passes than a
/// large one needs.
fn default_schedule(rows: usize) -> Schedule {
    let batch_size = if rows < 256 { 16 } else { 64 };
    let steps = rows.div_ceil(batch_size).max(1);
    let epochs = (3000 / steps).clamp(12, 120);
    Schedule { epochs, batch_size, patience: epochs / 3 }
}

/// A setting as a number; `default` where it is missing or of another kind.
pub(super) fn number(config: &Map<String, Value>, name: &str, default: f64) -> f64 {
    config.get(name).and_then(Value::as_f64).unwrap_or(default)
}

pub(super) fn whole(config: &Map<String, Value>, name: &str, default: usize) -> usize {
    config.get(name).and_then(Value::as_u64).map_or(default, |v| v as usize)
}

/// How the sizes follow from the encoder and the settings.
fn shape(encoder: &Encoder, outputs: usize, config: &Map<String, Value>) -> Result<Shape> {
    let width = whole(config, "width", 64);
    let heads = whole(config, "heads", 4).max(1);
    if !width.is_multiple_of(heads) {
        return Err(Error::unprocessable("bad_config", format!("heads ({heads}) must divide width ({width})")));
    }
    let hidden = whole(config, "hidden", 2 * width).max(1);
    let winners = ((number(config, "active_share", 0.25) * hidden as f64).round() as usize).clamp(1, hidden);
    Ok(Shape {
        features: encoder.width as usize,
        fields: encoder.fields.len().max(1),
        positions: whole(config, "positions", 1024).max(1),
        width,
        heads,
        layers: whole(config, "layers", 2),
        hidden,
        winners,
        reads: whole(config, "reads", 2).max(1),
        outputs,
    })
}

/// Entries a token of each feature's column has, about.
fn fan_in(encoder: &Encoder) -> Vec<f32> {
    let mut out = vec![1.0; encoder.width as usize];
    for field in &encoder.fields {
        let entries = match field.kind {
            ColumnKind::Sequence => field.width.min(64) as f32,
            ColumnKind::Vector | ColumnKind::Image => field.width.min(16) as f32,
            ColumnKind::Text => 2.0,
            _ => 1.0,
        };
        let end = (field.start + field.width).min(encoder.width) as usize;
        out[(field.start as usize).min(end)..end].fill(entries);
    }
    out
}

pub(super) fn tensor(values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, shape, &Device::Cpu)?)
}

/// Copies tensor `name` over `values`; their sizes must agree.
pub(super) fn read(tensors: &Tensors, name: &str, values: &mut [f32]) -> Result<()> {
    let found = tensors.get(name).map(|t| t.flatten_all()?.to_vec1::<f32>()).transpose()?;
    match found {
        Some(found) if found.len() == values.len() => {
            values.copy_from_slice(&found);
            Ok(())
        }
        _ => Err(Error::unprocessable("bad_weights", format!("the weights lack `{name}` in the right size"))),
    }
}

/// The network: sizes and weights, and the filters where there are series.
#[derive(Debug)]
struct Attention {
    plan: Plan,
    weights: Weights,
    branch: Option<Branch>,
}

/// Filters for the series columns, if there are any and `filters` are wanted.
fn branch(encoder: &Encoder, outputs: usize, config: &Map<String, Value>) -> Option<Branch> {
    let wanted = whole(config, "filters", FILTERS);
    let cuts: Vec<_> = (0..encoder.fields.len()).filter_map(|f| Some((f, encoder.windows(f)?))).collect();
    if wanted == 0 || cuts.is_empty() {
        return None;
    }
    // The filters are the same for every seed: what is fixed need not be drawn anew.
    let column = |(field, (channels, _, stride)): &(usize, (usize, usize, usize))| Column {
        field: *field as u16,
        start: encoder.fields[*field].start,
        stride: *stride,
        bank: Bank::new(*channels, *stride, wanted / cuts.len(), *field as u64),
    };
    Some(Branch::new(cuts.iter().map(column).collect(), outputs))
}

/// Pooled filter values by default, in all series columns together.
const FILTERS: usize = 4000;

impl Attention {
    fn save(&self) -> Result<Tensors> {
        let (shape, mut out) = (&self.plan.shape, Tensors::new());
        for part in &self.plan.parts {
            out.insert(part.name.clone(), tensor(&self.weights.dense[part.range.clone()], &part.shape)?);
        }
        if let Some(branch) = &self.branch {
            for part in &branch.plan.parts {
                out.insert(part.name.clone(), tensor(&branch.numbers[part.range.clone()], &part.shape)?);
            }
        }
        out.insert("tokens".into(), tensor(&self.weights.tokens, &[shape.features, shape.width])?);
        out.insert("positions".into(), tensor(&self.weights.positions, &[shape.positions, shape.width])?);
        Ok(out)
    }

    fn read(&mut self, tensors: &Tensors) -> Result<()> {
        for part in &self.plan.parts {
            read(tensors, &part.name, &mut self.weights.dense[part.range.clone()])?;
        }
        if let Some(branch) = &mut self.branch {
            for part in &branch.plan.parts {
                read(tensors, &part.name, &mut branch.numbers[part.range.clone()])?;
            }
        }
        read(tensors, "tokens", &mut self.weights.tokens)?;
        read(tensors, "positions", &mut self.weights.positions)
    }

    /// The answers: those of the blocks, mixed with those of the filters if there are any.
    fn answers(&self, batch: &Batch, threads: usize) -> Vec<f32> {
        let mut out = self.run(batch, threads, |tape| tape.logits().to_vec());
        if let Some(branch) = &self.branch {
            let cuts = parallel::cut(batch, usize::MAX, 256);
            let mut parts: Vec<Vec<f32>> = vec![Vec::new(); cuts.len()];
            parallel::each(&mut parts, threads, |i, part| {
                *part = branch.logits(&branch.pooled(batch, cuts[i].clone(), true));
            });
            for (answer, other) in out.iter_mut().zip(parts.iter().flatten()) {
                *answer = branch.mix(*answer, *other);
            }
        }
        out
    }

    /// Runs all rows, chunk by chunk, and gathers what `take` reads from each chunk.
    fn run(&self, batch: &Batch, threads: usize, take: impl Fn(&Tape) -> Vec<f32> + Sync) -> Vec<f32> {
        let cuts = parallel::cut(batch, usize::MAX, 256);
        let mut out = Vec::new();
        let mut lanes: Vec<(Tape, Vec<f32>)> = Vec::new();
        lanes.resize_with(threads.clamp(1, cuts.len().max(1)), Default::default);
        for group in cuts.chunks(lanes.len()) {
            parallel::each(&mut lanes[..group.len()], threads, |i, (tape, taken)| {
                tape.forward(&self.plan, &self.weights, batch, group[i].clone(), None);
                *taken = take(tape);
            });
            for (_, taken) in &lanes[..group.len()] {
                out.extend_from_slice(taken);
            }
        }
        out
    }
}

/// Chunks a mini-batch is cut into at most: the grain of parallel work, whatever the threads.
const CHUNKS: usize = 8;
/// Below this many tokens a chunk is not worth its own gradient.
const LEAST_TOKENS: usize = 96;
/// Steps after which the filters' means are settled though the first pass goes on.
const MAX_COUNTED: u64 = 200;

/// What one chunk of a mini-batch is worked on with.
#[derive(Default)]
struct Lane {
    tape: Tape,
    gradients: Gradients,
    /// Pooled filter values of the chunk's rows, and the gradient of their readout.
    pooled: Vec<f32>,
    readout: Vec<f32>,
    loss: f32,
}

struct AttentionLearner {
    net: Attention,
    moments: Moments,
    token_moments: Moments,
    position_moments: Moments,
    token_gradients: RowGradients,
    position_gradients: RowGradients,
    lanes: Vec<Lane>,
    training: Training,
    task: Task,
    rate: WarmCosine,
    schedule: Schedule,
    decay: f32,
    dropout: f32,
    smoothing: f32,
    seed: u64,
    threads: usize,
}

/// A network with fresh weights, ready to learn.
pub fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    let config = spec.config;
    let plan = Plan::new(shape(spec.encoder, spec.outputs, config)?);
    let fan_in = fan_in(spec.encoder);
    let weights = Weights::new(&plan, |feature| fan_in.get(feature).copied().unwrap_or(1.0), spec.seed);
    let shape = plan.shape.clone();
    let mut branch = branch(spec.encoder, spec.outputs, config);
    if let Some(branch) = &mut branch {
        branch.weigh(spec.rows);
    }
    Ok(Box::new(AttentionLearner {
        moments: Moments::new(plan.len()),
        token_moments: Moments::new(weights.tokens.len()),
        position_moments: Moments::new(weights.positions.len()),
        token_gradients: RowGradients::new(shape.features, shape.width),
        position_gradients: RowGradients::new(shape.positions, shape.width),
        net: Attention { plan, weights, branch },
        lanes: Vec::new(),
        training: Training::default(),
        task: spec.task,
        rate: WarmCosine { peak: number(config, "learning_rate", 0.002) as f32, warm_up: 200 },
        schedule: spec.schedule(default_schedule(spec.rows)),
        decay: number(config, "weight_decay", 0.01) as f32,
        dropout: number(config, "dropout", 0.1) as f32,
        smoothing: number(config, "label_smoothing", 0.05) as f32,
        seed: spec.seed,
        threads: spec.threads.max(1),
    }))
}

/// The network saved as `tensors`.
pub fn load(
    encoder: &Encoder,
    _task: Task,
    outputs: usize,
    config: &Map<String, Value>,
    tensors: &Tensors,
) -> Result<Box<dyn Network>> {
    let plan = Plan::new(shape(encoder, outputs, config)?);
    let weights = Weights {
        dense: vec![0.0; plan.len()],
        tokens: vec![0.0; plan.shape.features * plan.shape.width],
        positions: vec![0.0; plan.shape.positions * plan.shape.width],
    };
    let mut net = Attention { plan, weights, branch: branch(encoder, outputs, config) };
    net.read(tensors)?;
    Ok(Box::new(net))
}

/// Weight of each row in the mean loss, and their sum.
pub(super) fn row_weights(targets: Targets<'_>) -> (Vec<f32>, f32) {
    let weights: Vec<f32> = match targets {
        Targets::Classes(classes, weights) => classes
            .iter()
            .map(|c| if *c == UNLABELLED { 0.0 } else { weights.map_or(1.0, |w| w[*c as usize]) })
            .collect(),
        Targets::Values(values) => values.iter().map(|v| if v.is_nan() { 0.0 } else { 1.0 }).collect(),
    };
    let sum = weights.iter().sum();
    (weights, sum)
}

/// Turns `logits` of rows `rows` into the gradient of the weighted loss; returns its share.
pub(super) fn loss_gradient(
    logits: &mut [f32],
    outputs: usize,
    rows: std::ops::Range<usize>,
    targets: Targets<'_>,
    (weights, sum): (&[f32], f32),
    smoothing: f32,
) -> f32 {
    let mut loss = 0.0;
    for (row, logits) in rows.zip(logits.chunks_exact_mut(outputs)) {
        let weight = weights[row] / sum.max(f32::MIN_POSITIVE);
        if weight == 0.0 {
            logits.fill(0.0);
            continue;
        }
        match targets {
            Targets::Classes(classes, _) => {
                let class = classes[row] as usize;
                dense::softmax(logits);
                loss -= weight * logits[class].max(1e-30).ln();
                for (i, p) in logits.iter_mut().enumerate() {
                    let goal = smoothing / outputs as f32 + if i == class { 1.0 - smoothing } else { 0.0 };
                    *p = weight * (*p - goal);
                }
            }
            Targets::Values(values) => {
                let error = logits[0] - values[row];
                loss += weight * 0.5 * error * error;
                logits[0] = weight * error;
            }
        }
    }
    loss
}

impl AttentionLearner {
    /// Gradients of the mean loss over the batch, summed over its chunks in their order into the
    /// first lane's dense part and the two tables. Blocks and filters each answer for themselves.
    fn gradients(&mut self, batch: &Batch, targets: Targets<'_>, step: u64) -> f32 {
        let cuts = parallel::cut(batch, CHUNKS, LEAST_TOKENS);
        self.lanes.resize_with(self.lanes.len().max(cuts.len()).max(1), Default::default);
        let (row_weights, sum) = row_weights(targets);
        let (plan, weights, branch) = (&self.net.plan, &self.net.weights, self.net.branch.as_ref());
        let dropout = (self.dropout > 0.0).then_some(Dropout { share: self.dropout, seed: self.seed, step });
        let outputs = plan.shape.outputs;
        let smoothing = if self.task == Task::Classification { self.smoothing } else { 0.0 };
        let settled = self.training.count == 0.0;
        for lane in &mut self.lanes {
            lane.gradients.dense.clear();
            lane.gradients.dense.resize(plan.len(), 0.0);
            lane.readout.clear();
            lane.readout.resize(branch.map_or(0, |b| b.plan.readout.len() + b.plan.bias.len()), 0.0);
            lane.loss = 0.0;
        }
        parallel::each(&mut self.lanes[..cuts.len()], self.threads, |i, lane| {
            let rows = cuts[i].clone();
            let weighted = (&row_weights[..], sum);
            lane.tape.forward(plan, weights, batch, rows.clone(), dropout);
            let mut dlogits = lane.tape.logits().to_vec();
            if let Some(branch) = branch {
                lane.pooled = branch.pooled(batch, rows.clone(), settled);
                if settled {
                    let mut other = branch.logits(&lane.pooled);
                    let mut both: Vec<f32> = dlogits.iter().zip(&other).map(|(a, b)| branch.mix(*a, *b)).collect();
                    lane.loss = loss_gradient(&mut both, outputs, rows.clone(), targets, weighted, smoothing);
                    loss_gradient(&mut other, outputs, rows.clone(), targets, weighted, smoothing);
                    branch.gradient(&lane.pooled, &other, &mut lane.readout);
                }
            }
            let loss = loss_gradient(&mut dlogits, outputs, rows, targets, weighted, smoothing);
            if branch.is_none() || !settled {
                lane.loss = loss;
            }
            lane.tape.backward(plan, weights, &dlogits, &mut lane.gradients);
            lane.tape.field_gradient(plan, batch, &mut lane.gradients);
        });
        let d = plan.shape.width;
        let mut loss = 0.0;
        for lane in &self.lanes[..cuts.len()] {
            loss += lane.loss;
            let places = lane.tape.positions().iter().zip(lane.gradients.inputs.chunks_exact(d));
            for (token, (place, dx)) in lane.tape.tokens().zip(places) {
                self.position_gradients.add(*place, 1.0, dx);
                let (indices, values) = batch.token(token);
                for (index, value) in indices.iter().zip(values) {
                    self.token_gradients.add(*index, *value, dx);
                }
            }
        }
        let (first, rest) = self.lanes.split_at_mut(1);
        for lane in rest.iter().take(cuts.len().saturating_sub(1)) {
            dense::add(&mut first[0].gradients.dense, &lane.gradients.dense);
            dense::add(&mut first[0].readout, &lane.readout);
        }
        loss
    }

    /// The filters' part of a step: levels from the first batch, means from the first pass, then
    /// gradient steps on the readout.
    fn step_branch(&mut self, parts: usize, position: Position) {
        let Some(branch) = &mut self.net.branch else { return };
        if self.training.count == 0.0 {
            branch.descend(&mut self.training, &self.lanes[0].readout, position.fraction());
            return;
        }
        if self.training.count < 0.0 {
            self.training.count = 0.0;
        }
        for lane in &self.lanes[..parts] {
            branch.count(&mut self.training, &lane.pooled);
        }
    }
}

impl Learner for AttentionLearner {
    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if let Some(branch) = &mut self.net.branch {
            if position.step == 0 {
                branch.draw(batch, self.seed);
                // Below zero: nothing is counted yet, and nothing is settled either.
                self.training.count = -1.0;
            } else if position.epoch > 0 || position.step > MAX_COUNTED {
                self.training.count = 0.0;
                self.training.sums.clear();
            }
        }
        let loss = self.gradients(batch, targets, position.step);
        self.step_branch(parallel::cut(batch, CHUNKS, LEAST_TOKENS).len(), position);
        let gradients = &self.lanes[0].gradients.dense;
        let squares =
            dense::square_sum(gradients) + self.token_gradients.square_sum() + self.position_gradients.square_sum();
        let step = constants(position.step, self.rate.rate(position.step, position.steps), clip(squares, 1.0));
        let decaying = dense::AdamStep { decay: self.decay, ..step };
        for part in &self.net.plan.parts {
            let step = if part.decays { decaying } else { step };
            let gradient = &gradients[part.range.clone()];
            self.moments.update(&mut self.net.weights.dense, part.range.clone(), gradient, step);
        }
        self.token_gradients.apply(&mut self.net.weights.tokens, &mut self.token_moments, decaying);
        self.position_gradients.apply(&mut self.net.weights.positions, &mut self.position_moments, step);
        Ok(loss)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.net.answers(batch, self.threads))
    }

    fn weights(&self) -> Result<Tensors> {
        self.net.save()
    }

    fn state(&self) -> Result<Tensors> {
        let mut out = self.net.save()?;
        for (name, moments) in self.moments() {
            out.insert(format!("adam.{name}.first"), tensor(&moments.first, &[moments.first.len()])?);
            out.insert(format!("adam.{name}.second"), tensor(&moments.second, &[moments.second.len()])?);
        }
        if self.net.branch.is_some() {
            let training = &self.training;
            // An empty tensor is not something every reader takes, so what is not there is left out.
            if !training.velocity.is_empty() {
                out.insert("filters.velocity".into(), tensor(&training.velocity, &[training.velocity.len()])?);
            }
            if !training.sums.is_empty() {
                let sums = Tensor::from_slice(&training.sums, training.sums.len(), &Device::Cpu)?;
                out.insert("filters.sums".into(), sums);
            }
            out.insert("filters.count".into(), Tensor::from_slice(&[training.count], 1, &Device::Cpu)?);
        }
        Ok(out)
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.net.read(state)?;
        for (name, moments) in [
            ("dense", &mut self.moments),
            ("tokens", &mut self.token_moments),
            ("positions", &mut self.position_moments),
        ] {
            read(state, &format!("adam.{name}.first"), &mut moments.first)?;
            read(state, &format!("adam.{name}.second"), &mut moments.second)?;
        }
        self.training = Training {
            velocity: state.get("filters.velocity").map(Tensor::to_vec1).transpose()?.unwrap_or_default(),
            sums: state.get("filters.sums").map(Tensor::to_vec1).transpose()?.unwrap_or_default(),
            count: state.get("filters.count").map(Tensor::to_vec1).transpose()?.map_or(0.0, |c| c.iter().sum()),
        };
        Ok(())
    }

    fn finish(self: Box<Self>, weights: Option<Tensors>) -> Result<Box<dyn Network>> {
        let mut net = self.net;
        if let Some(weights) = weights {
            net.read(&weights)?;
        }
        Ok(Box::new(net))
    }
}

impl AttentionLearner {
    fn moments(&self) -> [(&'static str, &Moments); 3] {
        [("dense", &self.moments), ("tokens", &self.token_moments), ("positions", &self.position_moments)]
    }
}

impl Network for Attention {
    fn family(&self) -> Family {
        Family::Attention
    }

    fn outputs(&self) -> usize {
        self.plan.shape.outputs
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.answers(batch, 1))
    }

    fn feature_width(&self) -> usize {
        self.plan.pooled()
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.run(batch, 1, |tape| tape.pooled().to_vec()))
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let mut tape = Tape::default();
        tape.forward(&self.plan, &self.weights, batch, row..row + 1, None);
        let (mut bias, mut terms, attention) = tape.terms(&self.plan, &self.weights, output);
        if let Some(branch) = &self.branch {
            let (other_bias, others) = branch.terms(batch, row, output);
            bias = branch.mix(bias, other_bias);
            for (term, other) in terms.iter_mut().zip(others) {
                *term = branch.mix(*term, other);
            }
        }
        let mut entries = Vec::new();
        for (token, term) in batch.row(row).zip(&terms) {
            let (_, values) = batch.token(token);
            // A token's term belongs to all it is made of: shares follow the size of its values.
            let sum: f32 = values.iter().map(|v| v.abs()).sum();
            match (values.len(), sum > 0.0) {
                (0, _) => bias += term,
                (_, true) => entries.extend(values.iter().map(|v| term * v.abs() / sum)),
                (n, false) => entries.extend(std::iter::repeat_n(term / n as f32, n)),
            }
        }
        let mut active_units = Vec::new();
        if self.plan.shape.layers > 0 && !terms.is_empty() {
            let hidden = tape.hidden(self.plan.shape.layers - 1);
            let mut sums = vec![0f32; self.plan.shape.hidden];
            for row in hidden.chunks_exact(self.plan.shape.hidden) {
                dense::add(&mut sums, row);
            }
            active_units =
                sums.iter().map(|s| s / terms.len() as f32).enumerate().map(|(u, s)| (u as u32, s)).collect();
            active_units.retain(|(_, s)| *s > 0.0);
            active_units.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            active_units.truncate(self.plan.shape.winners);
        }
        Ok(Explanation { bias, entries, attention, active_units })
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        let shape = &self.plan.shape;
        let (rows, d, h) = (batch.rows().max(1) as f64, shape.width as f64, shape.hidden as f64);
        let mut tape = Tape::default();
        let mut counts = vec![vec![0u64; shape.hidden]; shape.layers];
        let mut rows_active = vec![vec![0u64; shape.hidden]; shape.layers];
        let (mut dense_macs, mut effective_macs, mut top_k) = (0.0, 0.0, 0.0);
        for row in 0..batch.rows() {
            tape.forward(&self.plan, &self.weights, batch, row..row + 1, None);
            let t = batch.row(row).len() as f64;
            let entries = batch.entries(row).0.len() as f64;
            let read = (shape.reads as f64) * t * d * 2.0 + (self.plan.pooled() * shape.outputs) as f64;
            let block = t * (4.0 * d * d + 2.0 * t * d);
            dense_macs += t * shape.features as f64 * d + shape.layers as f64 * (block + t * 2.0 * d * h) + read;
            effective_macs += entries * d + shape.layers as f64 * (block + t * d * h) + read;
            top_k += shape.layers as f64 * t * h;
            if let Some(branch) = &self.branch {
                for column in &branch.columns {
                    let macs = column.bank.macs(column.series(batch, row).steps as f64);
                    dense_macs += macs;
                    effective_macs += macs;
                }
            }
            for layer in 0..shape.layers {
                let mut seen = vec![false; shape.hidden];
                for token in tape.hidden(layer).chunks_exact(shape.hidden) {
                    for (unit, value) in token.iter().enumerate() {
                        if *value > 0.0 {
                            counts[layer][unit] += 1;
                            seen[unit] = true;
                            effective_macs += d;
                        }
                    }
                }
                for (unit, seen) in seen.iter().enumerate() {
                    rows_active[layer][unit] += u64::from(*seen);
                }
            }
        }
        let tokens = batch.tokens().max(1) as f64;
        let layers = counts
            .iter()
            .zip(&rows_active)
            .enumerate()
            .map(|(layer, (counts, rows_active))| {
                // A unit's share is counted over tokens: that is where winners compete.
                let winners = counts.iter().sum::<u64>() as f64 / tokens;
                LayerActivity {
                    name: format!("blocks.{layer}"),
                    units: shape.hidden,
                    winners,
                    active_share: winners / h,
                    dead_units: counts.iter().filter(|c| **c == 0).count(),
                    duty: rows_active.iter().map(|c| *c as f32 / rows as f32).collect(),
                }
            })
            .collect();
        let weights = self.weights.dense.len() + self.weights.tokens.len() + self.weights.positions.len();
        Ok(Activity {
            layers,
            dense_macs: dense_macs / rows,
            effective_macs: effective_macs / rows,
            top_k_operations: top_k / rows,
            memory_macs: 0.0,
            bytes: 4 * weights as u64,
        })
    }

    fn save(&self) -> Result<Tensors> {
        Attention::save(self)
    }
}
