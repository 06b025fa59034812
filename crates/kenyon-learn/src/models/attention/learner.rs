//! Training of the attention family: mini-batches in chunks, each with its own tape and gradients.

mod autograd;

use super::{Attention, Sizes, branch, cross_fits, each_part, fan_in, number, shape};
use crate::Result;
use crate::data::Batch;
use crate::models::autograd::AutogradLearner;
use crate::models::tensors::{get, put};
use crate::models::{
    Learner, LearnerSpec, MemberLearner, Network, Next, Position, Schedule, Targets, Task, UNLABELLED,
};
use crate::nn::Tensors;
use crate::nn::adam::{Moments, RowGradients, WarmCosine, clip, constants};
use crate::nn::kernels::parallel;
use crate::nn::kernels::{AdamStep, dense};
use crate::nn::layers::attention::{AttentionLayout, AttentionTape, AttentionWeights, Dropout, Gradients};
use crate::nn::layers::filter_branch::{FilterBranch, FilterTraining};
use crate::nn::layers::filters::FilterBank;
use crate::nn::parameters::{read_into, tensor};
use crate::nn::readouts::ridge::RidgeRows;
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::ops::Range;

/// Chunks a mini-batch is cut into at most: the grain of parallel work, whatever the threads.
const CHUNKS: usize = 8;
/// Below this many tokens a chunk is not worth its own gradient.
const LEAST_TOKENS: usize = 96;
/// Steps after which the filters' means are fixed even if the first pass continues.
const MAX_COUNTED: u64 = 200;

/// The schedule without settings.
const SCHEDULE: Schedule = Schedule { epochs: 12, batch_size: 64, patience: 4 };

/// Names in a checkpoint of the statistics of the first pass.
const SEEN: [&str; 3] = ["filters.seen.rows", "filters.seen.weights", "filters.seen.due"];

/// Buffers for one chunk of a mini-batch.
#[derive(Default)]
struct Lane {
    tape: AttentionTape,
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
    training: FilterTraining,
    /// Whether the filters' readout is solved for once all rows have been seen.
    solves: bool,
    /// Readouts that leave a part of the rows out.
    folds: usize,
    /// Rows there will be, as far as is known.
    rows: usize,
    task: Task,
    rate: WarmCosine,
    schedule: Schedule,
    decay: f32,
    dropout: f32,
    smoothing: f32,
    seed: u64,
    threads: usize,
}

/// A network with fresh weights, ready to train.
pub(crate) fn learner(spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
    let config = spec.config;
    let plan = AttentionLayout::new(shape(spec.encoder, spec.outputs, config, Sizes::NEW)?);
    let fan_in = fan_in(spec.encoder);
    let weights = AttentionWeights::new(&plan, |feature| fan_in.get(feature).copied().unwrap_or(1.0), spec.seed);
    let shape = plan.shape.clone();
    let mut branch = branch(spec.encoder, spec.outputs, config, FilterBank::new);
    if let Some(branch) = &mut branch {
        branch.weigh(number(config, "blocks_share", 0.5) as f32);
    }
    Ok(Box::new(AttentionLearner {
        moments: Moments::new(plan.len()),
        token_moments: Moments::new(weights.tokens.len()),
        position_moments: Moments::new(weights.positions.len()),
        token_gradients: RowGradients::new(shape.features, shape.width),
        position_gradients: RowGradients::new(shape.positions, shape.width),
        net: Attention { plan, weights, branch },
        lanes: Vec::new(),
        training: FilterTraining::default(),
        solves: config.get("filter_readout").and_then(Value::as_str) == Some("ridge"),
        folds: cross_fits(config).unwrap_or(0),
        rows: spec.rows,
        task: spec.task,
        rate: WarmCosine { peak: number(config, "learning_rate", 0.002) as f32, warm_up: 200 },
        schedule: spec.schedule(SCHEDULE),
        decay: number(config, "weight_decay", 0.01) as f32,
        dropout: number(config, "dropout", 0.1) as f32,
        smoothing: number(config, "label_smoothing", 0.05) as f32,
        seed: spec.seed,
        threads: spec.threads.max(1),
    }))
}

/// Weight of each row in the mean loss, and their sum.
pub(in crate::models) fn row_weights(targets: Targets<'_>) -> (Vec<f32>, f32) {
    let weights: Vec<f32> = match targets {
        Targets::Classes(classes, weights) => classes
            .iter()
            .enumerate()
            .map(|(row, c)| if *c == UNLABELLED { 0.0 } else { weights.map_or(1.0, |w| w[row]) })
            .collect(),
        Targets::Values(values, weights) => {
            let weight = |(row, v): (usize, &f32)| if v.is_nan() { 0.0 } else { weights.map_or(1.0, |w| w[row]) };
            values.iter().enumerate().map(weight).collect()
        }
    };
    let sum = weights.iter().sum();
    (weights, sum)
}

/// Turns `logits` of rows `rows` into the gradient of the weighted loss; returns its share.
pub(in crate::models) fn loss_gradient(
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
            Targets::Values(values, _) => {
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
    /// first lane's dense part and the two tables. Blocks and filters have a loss each.
    fn gradients(&mut self, batch: &Batch, targets: Targets<'_>, step: u64) -> f32 {
        let cuts = parallel::cut(batch, CHUNKS, LEAST_TOKENS);
        self.lanes.resize_with(self.lanes.len().max(cuts.len()).max(1), Default::default);
        let (row_weights, sum) = row_weights(targets);
        let (plan, weights, branch) = (&self.net.plan, &self.net.weights, self.net.branch.as_ref());
        let dropout = (self.dropout > 0.0).then_some(Dropout { share: self.dropout, seed: self.seed, step });
        let outputs = plan.shape.outputs;
        let smoothing = if self.task == Task::Classification { self.smoothing } else { 0.0 };
        let settled = self.training.count == 0.0;
        // A readout that was solved for is not trained; the reported loss is that of the blocks alone.
        let branch = branch.filter(|_| !(settled && self.solves));
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

    /// The step of the filters: levels from the first batch, means from the first pass, then
    /// gradient steps on the readout unless it has been solved for.
    fn step_branch(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) {
        let Some(branch) = &mut self.net.branch else { return };
        if self.training.count == 0.0 {
            if !self.solves {
                branch.descend(&mut self.training, &self.lanes[0].readout, position.fraction());
            }
            return;
        }
        if self.training.count < 0.0 {
            self.training.count = 0.0;
        }
        for (lane, rows) in self.lanes.iter().zip(parallel::cut(batch, CHUNKS, LEAST_TOKENS)) {
            branch.count(&mut self.training, &lane.pooled);
            if self.solves {
                remember(&mut self.training.seen, (&lane.pooled, rows), targets, &[]);
            }
        }
    }

    /// The step where the filters answer alone: rows that are in `folds`, or in none where that is empty, are read and kept
    /// for the readout.
    fn gather(&mut self, batch: &Batch, targets: Targets<'_>, folds: &[u8], position: Position) {
        let Some(branch) = self.net.branch.as_mut().filter(|_| position.epoch == 0) else { return };
        if position.step == 0 {
            branch.draw(batch, self.seed);
            self.training.count = 0.0;
        }
        let pooled = each_part(batch, self.threads, |rows| branch.pooled(batch, rows, false));
        branch.count(&mut self.training, &pooled);
        remember(&mut self.training.seen, (&pooled, 0..batch.rows()), targets, folds);
        if (position.step + 1) * position.epochs as u64 == position.steps {
            branch.solve(std::mem::take(&mut self.training.seen), self.folds, self.threads);
        }
    }

    fn answers_alone(&self) -> bool {
        self.solves && self.net.branch.as_ref().is_some_and(FilterBranch::answers_alone)
    }
}

/// Keeps the rows `rows` of a mini-batch, of which `pooled` are the features, and that weigh anything.
fn remember(seen: &mut RidgeRows, (pooled, rows): (&[f32], Range<usize>), targets: Targets<'_>, folds: &[u8]) {
    let ((row_weights, _), width) = (row_weights(targets), pooled.len() / rows.len().max(1));
    for (row, pooled) in rows.zip(pooled.chunks_exact(width.max(1))).filter(|(row, _)| row_weights[*row] > 0.0) {
        seen.rows.extend_from_slice(pooled);
        seen.weights.push(row_weights[row]);
        seen.folds.extend(folds.get(row));
        seen.targets.push(match targets {
            Targets::Classes(classes, _) => classes[row] as f32,
            Targets::Values(values, _) => values[row],
        });
    }
}

impl Learner for AttentionLearner {
    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if self.answers_alone() {
            self.gather(batch, targets, &[], position);
            return Ok(0.0);
        }
        if let Some(branch) = &mut self.net.branch {
            if position.step == 0 {
                branch.draw(batch, self.seed);
                // Below zero: nothing is counted yet, and nothing is fixed either.
                self.training.count = -1.0;
            } else if position.epoch > 0 || (position.step > MAX_COUNTED && !self.solves) {
                self.training.count = 0.0;
                self.training.sums.clear();
            }
        }
        let loss = self.gradients(batch, targets, position.step);
        self.step_branch(batch, targets, position);
        let gradients = &self.lanes[0].gradients.dense;
        let squares =
            dense::square_sum(gradients) + self.token_gradients.square_sum() + self.position_gradients.square_sum();
        let step = constants(position.step, self.rate.rate(position.step, position.steps), clip(squares, 1.0));
        let decaying = AdamStep { decay: self.decay, ..step };
        for part in self.net.plan.parameters.iter() {
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

    fn autograd(&mut self) -> Result<&mut dyn AutogradLearner, &'static str> {
        match self.net.branch {
            Some(_) => Err("series are read by fixed filters, which run on the CPU"),
            None => Ok(self),
        }
    }

    fn members(&mut self) -> Option<&mut dyn MemberLearner> {
        if self.folds > 1 && self.answers_alone() { Some(self) } else { None }
    }

    fn end_epoch(&mut self, _position: Position, _train_loss: f32, _validation_loss: f32) -> Result<Next> {
        if self.answers_alone() {
            return Ok(Next::Stop);
        }
        let seen = std::mem::take(&mut self.training.seen);
        match &mut self.net.branch {
            Some(branch) if !seen.targets.is_empty() => {
                branch.solve(seen, 0, self.threads);
                Ok(Next::Restart)
            }
            _ => Ok(Next::Go),
        }
    }

    fn training_bytes(&self) -> u64 {
        let features = self.net.branch.as_ref().map_or(0, |branch| branch.plan.features * usize::from(self.solves));
        // The rows and those of a fold, the products of all pairs with a factor and a copy, the readouts and their files.
        let solved = 8 * self.rows * features + 32 * self.rows * self.rows * usize::from(features > 0);
        let weights = features * self.net.plan.shape.outputs * (self.folds + 1);
        let others = self.net.plan.len() + self.net.weights.tokens.len() + self.net.weights.positions.len();
        (solved + 16 * weights + 8 * 3 * 4 * others) as u64
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
            // Some readers do not accept an empty tensor, so it is left out.
            if !training.velocity.is_empty() {
                out.insert("filters.velocity".into(), tensor(&training.velocity, &[training.velocity.len()])?);
            }
            if !training.sums.is_empty() {
                let sums = Tensor::from_slice(&training.sums, training.sums.len(), &Device::Cpu)?;
                out.insert("filters.sums".into(), sums);
            }
            out.insert("filters.count".into(), Tensor::from_slice(&[training.count], 1, &Device::Cpu)?);
            let RidgeRows { rows, weights, targets, folds } = &training.seen;
            put(&mut out, "filters.seen.folds", folds)?;
            for (name, values) in
                SEEN.into_iter().zip([rows, weights, targets]).filter(|(_, values)| !values.is_empty())
            {
                out.insert(name.into(), tensor(values, &[values.len()])?);
            }
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
            read_into(state, &format!("adam.{name}.first"), &mut moments.first)?;
            read_into(state, &format!("adam.{name}.second"), &mut moments.second)?;
        }
        self.training = FilterTraining {
            velocity: state.get("filters.velocity").map(Tensor::to_vec1).transpose()?.unwrap_or_default(),
            sums: state.get("filters.sums").map(Tensor::to_vec1).transpose()?.unwrap_or_default(),
            count: state.get("filters.count").map(Tensor::to_vec1).transpose()?.map_or(0.0, |c| c.iter().sum()),
            seen: RidgeRows::default(),
        };
        let seen = &mut self.training.seen;
        seen.folds = get(state, "filters.seen.folds")?;
        for (name, values) in SEEN.into_iter().zip([&mut seen.rows, &mut seen.weights, &mut seen.targets]) {
            *values = state.get(name).map(Tensor::to_vec1).transpose()?.unwrap_or_default();
        }
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

impl MemberLearner for AttentionLearner {
    fn count(&self) -> usize {
        self.folds
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, excluded: &[u64], position: Position) -> Result<f32> {
        let folds: Vec<u8> = excluded.iter().map(|excluded| excluded.trailing_zeros() as u8).collect();
        self.gather(batch, targets, &folds, position);
        Ok(0.0)
    }

    fn forward(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        self.net.answers_of_members(batch, members, self.threads)
    }

    fn weights(&self, _member: usize) -> Result<Tensors> {
        self.net.save()
    }
}

impl AttentionLearner {
    fn moments(&self) -> [(&'static str, &Moments); 3] {
        [("dense", &self.moments), ("tokens", &self.token_moments), ("positions", &self.position_moments)]
    }
}
