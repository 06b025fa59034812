//! What the algorithms of the family share: the trait they implement, and a trained network of any of them.

use crate::Result;
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::models::autograd::Rule;
use crate::models::candle::memory::Config;
use crate::models::{Activity, Explanation, Family, Network, Position, Recalled, Targets};
use crate::nn::Tensors;
use crate::nn::adam::{WarmCosine, clip, constants};
use crate::nn::kernels::{AdamStep, parallel};
use crate::nn::parameters::Parameters;
use crate::onnx::{Graph, Node};
use crate::random::Random;
use std::ops::Range;

/// A way to answer rows from slots or stored rows, with its gradient. Its parameters are one slice, `weights`.
pub(super) trait Algorithm: Send + Sync + 'static {
    /// What is computed once for all rows from the weights.
    type Prepared: Send + Sync;

    /// The parameters.
    fn parameters(&self) -> &Parameters;

    /// Fresh weights.
    fn fresh(&self, seed: u64) -> Vec<f32>;

    /// Width of the states.
    fn width(&self) -> usize;

    /// Classes, or 1 for a number.
    fn outputs(&self) -> usize;

    /// What is computed once for all rows.
    fn prepare(&self, weights: &[f32]) -> Self::Prepared;

    /// Appends answers `[rows, outputs]` and states `[rows, width]` of some rows.
    fn run(
        &self,
        known: (&[f32], &Self::Prepared),
        batch: &Batch,
        rows: Range<usize>,
        answers: &mut Vec<f32>,
        states: &mut Vec<f32>,
    );

    /// Terms of one answer.
    fn explain(
        &self,
        known: (&[f32], &Self::Prepared),
        batch: &Batch,
        row: usize,
        output: usize,
        out: &mut Explanation,
    );

    /// As [`Network::nearest`].
    fn nearest(&self, _known: (&[f32], &Self::Prepared), _batch: &Batch, _k: usize) -> Option<Vec<Vec<Recalled>>> {
        None
    }

    /// Work and states while `batch` is answered.
    fn count(&self, known: (&[f32], &Self::Prepared), batch: &Batch, out: &mut Activity);

    /// As [`Network::layer`].
    fn layer(&self, _known: (&[f32], &Self::Prepared), _batch: &Batch, _name: &str) -> Option<Vec<f32>> {
        None
    }

    /// Adds what is saved besides the weights.
    fn save(&self, _out: &mut Tensors) -> Result<()> {
        Ok(())
    }

    /// As [`Network::onnx`], from all that is saved; networks that read a story are not a fixed graph over one row.
    fn onnx(&self, _graph: &mut Graph, _features: &Node, _tensors: &Tensors) -> Result<Option<Node>> {
        Ok(None)
    }

    /// Restores what [`Algorithm::save`] added.
    fn load(&mut self, _tensors: &Tensors) -> Result<()> {
        Ok(())
    }

    /// Before a step: stores rows of the first pass, where rows are stored.
    fn remember(&mut self, _batch: &Batch, _targets: Targets<'_>) {}

    /// How many numbers the gradient of what is prepared has.
    fn prepared_len(&self) -> usize {
        0
    }

    /// Adds the gradient of the loss of `chunk` to `gradient`, and that of what is prepared to `prepared_gradient`;
    /// returns the loss.
    fn gradient(
        &self,
        known: (&[f32], &Self::Prepared),
        chunk: &Chunk<'_>,
        random: Random,
        gradient: &mut [f32],
        prepared_gradient: &mut [f32],
    ) -> f32;

    /// Adds the gradient of the weights that follows from that of what is prepared.
    fn prepared_backward(&self, _prepared: &Self::Prepared, _prepared_gradient: &[f32], _gradient: &mut [f32]) {}

    /// The rule of a step by a gradient with this sum of squares: AdamW with clipped gradients unless an algorithm
    /// overrides it.
    fn rule(&self, step: &MemoryStep, squares: f64) -> Rule {
        let rate = step.rate.rate(step.position.step, step.position.steps);
        Rule::Adam(AdamStep { decay: step.decay, ..constants(step.position.step, rate, clip(squares, 5.0)) })
    }

    /// Its candle form.
    fn candle(&self) -> Config;

    /// Called at the end of a pass with its validation loss. Whether later losses are not comparable with earlier ones.
    fn end_epoch(&mut self, _position: Position, _validation_loss: f32) -> bool {
        false
    }

    /// Adds what a checkpoint needs besides [`Algorithm::save`].
    fn save_training(&self, _out: &mut Tensors) -> Result<()> {
        Ok(())
    }

    /// Restores what [`Algorithm::save_training`] added.
    fn restore_training(&mut self, _state: &Tensors) -> Result<()> {
        Ok(())
    }
}

/// Some rows of a mini-batch with their targets.
pub(super) struct Chunk<'a> {
    /// The mini-batch.
    pub(super) batch: &'a Batch,
    /// The rows.
    pub(super) rows: Range<usize>,
    /// Targets of the whole mini-batch.
    pub(super) targets: Targets<'a>,
    /// Weight of each row of the mini-batch in the loss, and their sum.
    pub(super) weights: (&'a [f32], f32),
    /// Dropout rate.
    pub(super) noise: f32,
}

/// The inputs of a step of the weights.
pub(super) struct MemoryStep {
    /// Rows of the mini-batch.
    pub(super) rows: usize,
    /// The learning rate's schedule.
    pub(super) rate: WarmCosine,
    /// Weight decay.
    pub(super) decay: f32,
    /// The position in the training.
    pub(super) position: Position,
}

/// A network of one algorithm.
pub(super) struct MemoryNet<A: Algorithm> {
    /// The algorithm with what it stores.
    pub(super) algorithm: A,
    /// Its weights.
    pub(super) weights: Vec<f32>,
    prepared: A::Prepared,
}

impl<A: Algorithm> MemoryNet<A> {
    /// With these weights.
    pub(super) fn new(algorithm: A, weights: Vec<f32>) -> Self {
        let prepared = algorithm.prepare(&weights);
        Self { algorithm, weights, prepared }
    }

    /// The network saved as `tensors`.
    pub(super) fn loaded(algorithm: A, tensors: &Tensors) -> Result<Self> {
        let weights = vec![0.0; algorithm.parameters().len()];
        let mut net = Self::new(algorithm, weights);
        net.load(tensors)?;
        Ok(net)
    }

    /// Restores what [`Network::save`] returned.
    pub(super) fn load(&mut self, tensors: &Tensors) -> Result<()> {
        self.algorithm.parameters().load(tensors, &mut self.weights)?;
        self.algorithm.load(tensors)?;
        self.refresh();
        Ok(())
    }

    /// Computes prepared state again after the weights changed.
    pub(super) fn refresh(&mut self) {
        self.prepared = self.algorithm.prepare(&self.weights);
    }

    fn known(&self) -> (&[f32], &A::Prepared) {
        (&self.weights, &self.prepared)
    }

    /// Answers and states of all rows, `[rows, outputs]` and `[rows, width]`.
    pub(super) fn run(&self, batch: &Batch, threads: usize) -> (Vec<f32>, Vec<f32>) {
        let cuts = parallel::cut(batch, usize::MAX, 256);
        let mut chunks: Vec<(Vec<f32>, Vec<f32>)> = vec![Default::default(); cuts.len()];
        parallel::each(&mut chunks, threads, |i, (answers, states)| {
            self.algorithm.run(self.known(), batch, cuts[i].clone(), answers, states);
        });
        let mut out = (Vec::new(), Vec::new());
        for (answers, states) in chunks {
            out.0.extend(answers);
            out.1.extend(states);
        }
        out
    }
}

impl<A: Algorithm> Network for MemoryNet<A> {
    fn family(&self) -> Family {
        Family::new(&super::Spec)
    }

    fn outputs(&self) -> usize {
        self.algorithm.outputs()
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.run(batch, 1).0)
    }

    fn feature_width(&self) -> usize {
        self.algorithm.width()
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.run(batch, 1).1)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let mut out = Explanation { entries: vec![0.0; batch.entries(row).0.len()], ..Explanation::default() };
        self.algorithm.explain(self.known(), batch, row, output, &mut out);
        let total: f32 = out.attention.iter().sum();
        if total > 0.0 {
            out.attention.iter_mut().for_each(|weight| *weight /= total);
        }
        Ok(out)
    }

    fn nearest(&self, batch: &Batch, k: usize) -> Result<Option<Vec<Vec<Recalled>>>> {
        Ok(self.algorithm.nearest(self.known(), batch, k))
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        let mut out = Activity { bytes: 4 * self.weights.len() as u64, ..Activity::default() };
        self.algorithm.count(self.known(), batch, &mut out);
        Ok(out)
    }

    fn layer(&self, batch: &Batch, name: &str) -> Result<Option<Vec<f32>>> {
        Ok(self.algorithm.layer(self.known(), batch, name))
    }

    fn save(&self) -> Result<Tensors> {
        let mut out = Tensors::new();
        self.algorithm.parameters().save(&self.weights, &mut out)?;
        self.algorithm.save(&mut out)?;
        Ok(out)
    }

    fn onnx(&self, graph: &mut Graph, features: &Node, _encoder: &Encoder) -> Result<Option<Node>> {
        self.algorithm.onnx(graph, features, &self.save()?)
    }
}
