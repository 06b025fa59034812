//! Training of the family: mini-batches in chunks, several restarts until the best is known.

mod autograd;

use super::algorithm::{Algorithm, Chunk, MemoryNet, MemoryStep};
use crate::data::Batch;
use crate::models::attention::row_weights;
use crate::models::autograd::{AutogradLearner, Rule};
use crate::models::{Learner, Network, Next, Position, Schedule, Targets};
use crate::nn::Tensors;
use crate::nn::adam::{Moments, WarmCosine};
use crate::nn::kernels::{dense, parallel};
use crate::nn::parameters::{read_into, tensor};
use crate::random::Random;
use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// Largest number of chunks of a mini-batch, independent of the threads.
const CHUNKS: usize = 4;

/// How a network is trained.
pub(super) struct MemoryTraining {
    /// Passes and mini-batches.
    pub(super) schedule: Schedule,
    /// Number of restarts.
    pub(super) restarts: usize,
    /// The learning rate's schedule.
    pub(super) rate: WarmCosine,
    /// Weight decay.
    pub(super) decay: f32,
    /// Dropout rate: of slot numbers, or of time steps.
    pub(super) noise: f32,
    /// Seed of everything random.
    pub(super) seed: u64,
    /// Threads at most.
    pub(super) threads: usize,
}

/// One network in training: one of several restarts.
struct Candidate {
    weights: Vec<f32>,
    moments: Moments,
    loss: f64,
}

/// Gradients and loss of one chunk.
#[derive(Default)]
struct ChunkGradient {
    gradient: Vec<f32>,
    prepared: Vec<f32>,
    loss: f32,
}

/// A network of the family in training.
pub(super) struct MemoryLearner<A: Algorithm> {
    net: MemoryNet<A>,
    candidates: Vec<Candidate>,
    chunks: Vec<ChunkGradient>,
    training: MemoryTraining,
}

impl<A: Algorithm> MemoryLearner<A> {
    /// With fresh weights.
    pub(super) fn new(algorithm: A, training: MemoryTraining) -> Self {
        let candidates: Vec<Candidate> = (0..training.restarts.max(1))
            .map(|restart| {
                let weights = algorithm.fresh(training.seed.wrapping_add(restart as u64 * 1_000_003));
                Candidate { moments: Moments::new(weights.len()), weights, loss: 0.0 }
            })
            .collect();
        let net = MemoryNet::new(algorithm, candidates[0].weights.clone());
        Self { net, candidates, chunks: Vec::new(), training }
    }

    /// Gradient of the mean loss under `self.net.weights`, in the first chunk; returns the loss.
    fn gradient(&mut self, batch: &Batch, targets: Targets<'_>, step: u64) -> f32 {
        let cuts = parallel::cut(batch, CHUNKS, 48);
        self.chunks.resize_with(self.chunks.len().max(cuts.len()).max(1), Default::default);
        let (row_weights, sum) = row_weights(targets);
        let MemoryNet { algorithm, weights, .. } = &self.net;
        let chunks = &mut self.chunks[..cuts.len().max(1)];
        for chunk in chunks.iter_mut() {
            dense::reset(&mut chunk.gradient, weights.len());
            dense::reset(&mut chunk.prepared, algorithm.prepared_len());
            chunk.loss = 0.0;
        }
        let prepared = algorithm.prepare(weights);
        let (seed, noise) = (self.training.seed, self.training.noise);
        parallel::each(&mut chunks[..cuts.len()], self.training.threads, |i, out| {
            let random = Random::stream(seed, "memory.noise", step.wrapping_mul(64) + i as u64);
            let chunk = Chunk { batch, rows: cuts[i].clone(), targets, weights: (&row_weights, sum), noise };
            let known = (&weights[..], &prepared);
            out.loss = algorithm.gradient(known, &chunk, random, &mut out.gradient, &mut out.prepared);
        });
        let (first, rest) = chunks.split_at_mut(1);
        let first = &mut first[0];
        for other in rest.iter() {
            dense::add(&mut first.gradient, &other.gradient);
            dense::add(&mut first.prepared, &other.prepared);
            first.loss += other.loss;
        }
        algorithm.prepared_backward(&prepared, &first.prepared, &mut first.gradient);
        first.loss
    }
}

impl<A: Algorithm> Learner for MemoryLearner<A> {
    fn schedule(&self) -> Schedule {
        self.training.schedule
    }

    fn step(&mut self, batch: &Batch, targets: Targets<'_>, position: Position) -> Result<f32> {
        if position.epoch == 0 {
            self.net.algorithm.remember(batch, targets);
        }
        let step = MemoryStep { rows: batch.rows(), rate: self.training.rate, decay: self.training.decay, position };
        let mut candidates = std::mem::take(&mut self.candidates);
        let mut first = 0.0;
        for (i, candidate) in candidates.iter_mut().enumerate().rev() {
            std::mem::swap(&mut self.net.weights, &mut candidate.weights);
            let loss = self.gradient(batch, targets, position.step);
            let MemoryNet { algorithm, weights, .. } = &mut self.net;
            let gradient = &self.chunks[0].gradient;
            match algorithm.rule(&step, dense::square_sum(gradient)) {
                Rule::Adam(step) => candidate.moments.update(weights, 0..gradient.len(), gradient, step),
                Rule::Plain(rate) => dense::subtract_scaled(weights, rate, gradient),
            }
            candidate.loss += f64::from(loss);
            if i == 0 {
                first = loss;
                // The first candidate's weights are used until another is better.
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
        Ok(self.net.run(batch, self.training.threads).0)
    }

    fn autograd(&mut self) -> Result<&mut dyn AutogradLearner, &'static str> {
        Ok(self)
    }

    fn end_epoch(&mut self, position: Position, _train_loss: f32, validation_loss: f32) -> Result<Next> {
        let mut next = Next::Go;
        if self.net.algorithm.end_epoch(position, validation_loss) {
            next = Next::Restart;
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
        self.net.algorithm.save_training(&mut out)?;
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
            read_into(state, &format!("candidates.{i}.weights"), &mut candidate.weights)?;
            read_into(state, &format!("candidates.{i}.first"), &mut candidate.moments.first)?;
            read_into(state, &format!("candidates.{i}.second"), &mut candidate.moments.second)?;
            candidates.push(candidate);
        }
        if candidates.is_empty() {
            return Err(Error::unprocessable("bad_weights", "the checkpoint has no network"));
        }
        self.candidates = candidates;
        self.net.algorithm.restore_training(state)
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
