//! A [`SparseNet`] in training: mini-batches in phases that threads share by units or by rows.
//!
//! A step goes: each hidden layer forward (threads own groups of units), its winners (threads own
//! rows), the answers, loss and gradients (rows), then from the last layer down the gradient of its
//! input and its update (units). Sums run in the order of rows and units whatever the number of
//! threads, so the weights come out bit for bit the same.

mod part;
mod state;
mod update;

use super::infer::Scratch;
use super::layer::Group;
use super::slots::Slots;
use super::{Hidden, Shape, SparseNet};
use crate::nn::kernels::{Adam, Isa, LANE, Narrowed, Pool, Rows};
use crate::random::Random;
use crate::{Error, Result};
use part::{Part, PartCode};
use update::{Level, Work};

/// What the rows of a mini-batch should have been answered with.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// Class ids, or [`NO_LABEL`]; with a weight per row, if any.
    Classes(&'a [u32], Option<&'a [f32]>),
    /// Standardised values, NaN where there is none; with a weight per row, if any.
    Values(&'a [f32], Option<&'a [f32]>),
}

/// The class id of a row that teaches nothing.
pub const NO_LABEL: u32 = u32::MAX;

impl Labels<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Classes(classes, _) => classes.len(),
            Self::Values(values, _) => values.len(),
        }
    }

    /// Rows that teach something.
    fn known(&self) -> usize {
        match self {
            Self::Classes(classes, _) => classes.iter().filter(|&&class| class != NO_LABEL).count(),
            Self::Values(values, _) => values.iter().filter(|value| value.is_finite()).count(),
        }
    }
}

/// How weights follow gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// `w -= rate · Σ gradient` over the rows of the mini-batch; touches only active input × winner.
    Sgd,
    /// Adam on the same weights only, by the mean gradient.
    Adam,
}

/// What one step is to do; the same for the whole training or annealed by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// How weights follow gradients.
    pub optimiser: Optimiser,
    /// Learning rate now.
    pub rate: f32,
    /// Weight decay, decoupled; Adam only.
    pub decay: f32,
    /// Chance that a winner passes nothing on in this step.
    pub dropout: f32,
    /// How much a unit that wins too rarely is helped; 0 for not at all.
    pub boost: f32,
    /// Share of all probability that is given to the wrong classes.
    pub smoothing: f32,
    /// Winners are this share of the way from all units (0) to their number (1).
    pub anneal: f32,
    /// Number of this step, from 0.
    pub number: u64,
}

/// A network with what its training needs.
#[derive(Debug)]
pub struct Trainer {
    /// The weights.
    pub net: SparseNet,
    seed: u64,
    isa: Isa,
    pool: Pool,
    parts: Vec<Part>,
    slots: Vec<Slots>,
    /// Whether hidden weights have been scaled to the data.
    scaled: bool,
    /// What new lines of the first layer are multiplied with.
    line_scale: f32,
    adam_steps: u64,
}

impl Trainer {
    /// A training of fresh weights.
    pub fn new(shape: Shape, seed: u64, threads: usize) -> Self {
        Self::of(SparseNet::new(shape, seed), seed, threads)
    }

    /// A training that goes on with `net`.
    pub fn of(net: SparseNet, seed: u64, threads: usize) -> Self {
        let levels = net.hidden.len() + 1;
        let mut slots = Vec::new();
        slots.resize_with(levels, Slots::default);
        Self {
            net,
            seed,
            isa: Isa::best(),
            pool: Pool::new(threads),
            parts: Vec::new(),
            slots,
            scaled: false,
            line_scale: 1.0,
            adam_steps: 0,
        }
    }

    /// Uses another instruction set than the best.
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// Makes room for rows of `inputs` entries.
    pub fn grow(&mut self, inputs: usize) {
        let before = self.net.shape.inputs;
        self.net.grow(inputs, self.seed);
        if let Some(first) = self.net.hidden.first_mut() {
            first.scale(self.line_scale, before.min(inputs));
        }
    }

    /// Learns from one mini-batch; returns its mean loss before the step.
    pub fn step(&mut self, rows: &Rows<'_>, targets: Labels<'_>, step: &Step) -> Result<f32> {
        if targets.rows() != rows.len() || rows.bound() > self.net.shape.inputs {
            return Err(Error::internal("a mini-batch and its targets or network differ in size"));
        }
        if rows.is_empty() {
            return Ok(0.0);
        }
        if !self.scaled && !self.net.hidden.is_empty() {
            self.net.look(&usage(rows, self.net.shape.inputs));
        }
        self.deal(rows, step);
        let feeds: Vec<Rows<'_>> = self.parts.iter().map(|part| rows.slice(part.first, part.count)).collect();
        for level in 0..self.net.hidden.len() {
            self.forward(level, &feeds, step);
        }
        self.answer(&feeds, targets, step);
        self.learn(&feeds, rows.len(), step);
        if step.optimiser == Optimiser::Adam {
            self.adam_steps += 1;
        }
        let losses = self.parts.iter().flat_map(|part| &part.losses[..part.count]);
        let counted = targets.known();
        Ok((losses.map(|&loss| f64::from(loss)).sum::<f64>() / counted.max(1) as f64) as f32)
    }

    /// Deals the rows to parts, one a thread.
    fn deal(&mut self, rows: &Rows<'_>, step: &Step) {
        let parts = self.pool.threads().min(rows.len());
        self.parts.resize_with(parts, Part::default);
        let levels = self.net.hidden.len();
        for (i, part) in self.parts.iter_mut().enumerate() {
            part.first = i * rows.len() / parts;
            part.count = (i + 1) * rows.len() / parts - part.first;
            part.codes.resize_with(levels, PartCode::default);
            part.narrowed.resize_with(levels, Narrowed::default);
            part.factors.resize_with(levels + 1, Vec::new);
            part.losses.resize(part.count, 0.0);
        }
        if step.optimiser == Optimiser::Adam {
            self.net.layers_mut().for_each(|(_, layer)| layer.with_moments());
        }
    }

    /// Hidden layer `level` forward, and its winners.
    fn forward(&mut self, level: usize, feeds: &[Rows<'_>], step: &Step) {
        let (isa, pool) = (self.isa, &self.pool);
        let total = self.parts.iter().map(|part| part.count).sum();
        if let Some(viewers) = &self.net.hidden[level].viewers {
            let shape = &self.net.shape;
            pool.each(&mut self.parts, |part| part.count, |i, part| part.narrow(level, viewers, &feeds[i], shape));
        }
        let (feeds, parts) = (feeds_of(level, feeds, &self.parts, &self.net), &self.parts);
        let (hidden, skip) = (&mut self.net.hidden, &mut self.net.skip);
        let mut groups: Vec<&mut Group> = hidden[level].groups.iter_mut().collect();
        if level == 0 {
            groups.extend(skip.iter_mut().flat_map(|skip| &mut skip.groups));
        }
        let weight = |group: &&mut Group| group.tiles.len();
        pool.each(&mut groups, weight, |_, group| {
            let views: Vec<Rows<'_>> =
                parts.iter().zip(&feeds).map(|(part, feed)| part.view(level, group, feed)).collect();
            group.forward(isa, &views, total);
        });
        if !self.scaled {
            let scale = self.net.hidden[level].normalise();
            if level == 0 {
                self.line_scale = scale;
            }
            self.scaled = level + 1 == self.net.hidden.len();
        }
        let layer = &self.net.hidden[level];
        let winners = annealed(&self.net.shape.hidden[level], step.anneal);
        let seed = self.seed;
        let weight = |part: &Part| part.count;
        pool.each(&mut self.parts, weight, |_, part| part.compete(isa, level, layer, winners, step, seed));
    }

    /// Answers, losses and their gradients.
    fn answer(&mut self, feeds: &[Rows<'_>], targets: Labels<'_>, step: &Step) {
        let (isa, pool, net) = (self.isa, &self.pool, &mut self.net);
        let total = feeds.iter().map(Rows::len).sum::<usize>();
        if let (true, Some(skip)) = (net.hidden.is_empty(), &mut net.skip) {
            let weight = |group: &Group| group.tiles.len();
            pool.each(&mut skip.groups, weight, |_, group| group.forward(isa, feeds, total));
        }
        let net = &self.net;
        let labelled = targets.known().max(1);
        let scale = match step.optimiser {
            Optimiser::Sgd => -step.rate,
            Optimiser::Adam => 1.0 / labelled as f32,
        };
        pool.each(
            &mut self.parts,
            |part| part.count,
            |i, part| {
                part.answer(isa, net, &feeds[i], targets, step, scale);
            },
        );
    }

    /// Gradients downwards, and the update of every layer.
    fn learn(&mut self, feeds: &[Rows<'_>], rows: usize, step: &Step) {
        let levels = self.net.hidden.len();
        if step.optimiser == Optimiser::Adam {
            for level in 0..=levels {
                let feeds = feeds_of(level, feeds, &self.parts, &self.net);
                let inputs = if level == 0 { self.net.shape.inputs } else { self.net.shape.hidden[level - 1].units };
                self.slots[level].fill(&feeds, inputs);
            }
        }
        let (isa, pool) = (self.isa, &self.pool);
        let t = (self.adam_steps + 1) as f64;
        let adam = Adam {
            rate: step.rate,
            beta1: 0.9,
            beta2: 0.999,
            correction1: (1.0 / (1.0 - 0.9f64.powf(t))) as f32,
            correction2: (1.0 / (1.0 - 0.999f64.powf(t))) as f32,
            epsilon: 1e-8,
            decay: step.decay,
        };
        for level in (0..levels.max(1)).rev() {
            let parts = &self.parts;
            let net = &mut self.net;
            let shape = &net.shape;
            let at = |level: usize| Level {
                isa,
                feeds: parts.iter().zip(feeds).map(|(part, feed)| part.feed(level, feed, shape)).collect(),
                parts,
                slots: (step.optimiser == Optimiser::Adam).then(|| &self.slots[level]),
                adam,
                rows,
                boost: step.boost,
            };
            let (here, top, bottom) = (at(level), at(levels), at(0));
            let mut work: Vec<Work<'_>> = Vec::new();
            if let Some(layer) = net.hidden.get_mut(level) {
                let size = &shape.hidden[level];
                let winners = annealed(size, step.anneal) as f32 / size.units as f32;
                let blocks = layer.blocks();
                work.extend(layer.groups.iter_mut().map(|group| Work::Hidden { level, blocks, winners, group }));
            }
            if level + 1 == levels {
                let readout = net.readout.iter_mut();
                let groups = readout.flat_map(|layer| layer.groups.iter_mut());
                work.extend(groups.map(Work::Readout));
            }
            if level == 0 {
                let skip = net.skip.iter_mut();
                work.extend(skip.flat_map(|layer| layer.groups.iter_mut()).map(Work::Skip));
            }
            pool.each(&mut work, Work::weight, |_, work| match work {
                Work::Hidden { level, blocks, winners, group } => here.hidden(*level, *blocks, *winners, group),
                Work::Readout(group) => top.dense(group, |part| &part.readout_steps),
                Work::Skip(group) => bottom.dense(group, |part| &part.skip_steps),
            });
            if level > 0 {
                let layer = &self.net.hidden[level];
                let scale = if step.optimiser == Optimiser::Sgd { -step.rate } else { 1.0 / rows as f32 };
                pool.each(
                    &mut self.parts,
                    |part| part.count,
                    |i, part| {
                        part.gather(level, i, layer, scale, step.dropout);
                    },
                );
            }
        }
    }

    /// The answers as they stand, `[rows, outputs]`.
    pub fn infer(&self, rows: &Rows<'_>) -> Vec<f32> {
        const CHUNK: usize = 64;
        let mut chunks: Vec<(usize, Vec<f32>)> =
            (0..rows.len()).step_by(CHUNK).map(|first| (first, Vec::new())).collect();
        self.pool.each(
            &mut chunks,
            |_| 1,
            |_, (first, out)| {
                SCRATCH.with_borrow_mut(|scratch| {
                    self.net.infer(self.isa, &rows.slice(*first, CHUNK.min(rows.len() - *first)), scratch);
                    scratch.append_answers(self.net.shape.outputs, out);
                });
            },
        );
        chunks.into_iter().flat_map(|(_, out)| out).collect()
    }

    /// A pass over the data has ended: units that won nothing in it are drawn anew. Returns how many.
    pub fn revive(&mut self, epoch: u64) -> usize {
        let mut revived = 0;
        for (index, layer) in self.net.hidden.iter_mut().enumerate() {
            let units = layer.units;
            let mut random = Random::stream(self.seed, "revive", epoch << 8 | index as u64);
            for (block, tile) in layer.tiles_mut().enumerate() {
                for lane in 0..LANE.min(units - block * LANE) {
                    if tile.wins.0[lane] == 0.0 {
                        let scale = 1.0 / (tile.weights.len() as f32).sqrt();
                        tile.weights.iter_mut().for_each(|line| line.0[lane] = random.normal() * scale);
                        tile.bias.0[lane] = 0.0;
                        revived += 1;
                    }
                    tile.wins.0[lane] = 0.0;
                }
            }
        }
        revived
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// The share of `rows` in which each of `inputs` inputs is active.
fn usage(rows: &Rows<'_>, inputs: usize) -> Vec<f32> {
    let mut usage = vec![0.0; inputs];
    for row in 0..rows.len() {
        let (indices, values) = rows.row(row);
        for (&index, _) in indices.iter().zip(values).filter(|(_, value)| **value != 0.0) {
            usage[index as usize] += 1.0 / rows.len() as f32;
        }
    }
    usage
}

/// Winners between all units and their number.
fn annealed(&Hidden { units, winners, .. }: &Hidden, anneal: f32) -> usize {
    let share = anneal.clamp(0.0, 1.0);
    // Geometric, so that the last part, where few units take part, is not passed in a hurry.
    let ratio = (winners as f32 / units as f32).powf(share);
    ((units as f32 * ratio).round() as usize).clamp(winners.min(units), units)
}

/// What each part feeds into level `level`: the rows themselves, or the code of the layer below.
fn feeds_of<'a>(level: usize, feeds: &[Rows<'a>], parts: &'a [Part], net: &SparseNet) -> Vec<Rows<'a>> {
    parts.iter().zip(feeds).map(|(part, feed)| part.feed(level, feed, &net.shape)).collect()
}
