//! A [`SparseNet`] in training, a mini-batch at a time.

use super::row_share::{RowShare, ShareCode};
use super::step::{Labels, Optimiser, Step};
use super::update::{Level, Work};
use crate::nn::kernels::{BinSums, Isa, LANE, NarrowedRows, SparseRows, ThreadPool};
use crate::nn::layers::sparse_net::forward::Scratch;
use crate::nn::layers::sparse_net::layer::Group;
use crate::nn::layers::sparse_net::net::SparseNet;
use crate::nn::layers::sparse_net::shape::{Hidden, SparseNetShape};
use crate::nn::layers::sparse_net::slots::Slots;
use crate::random::Random;
use crate::{Error, Result};

/// A network with the state of its training.
#[derive(Debug)]
pub(crate) struct Trainer {
    /// The weights.
    pub(crate) net: SparseNet,
    pub(crate) seed: u64,
    pub(super) isa: Isa,
    pub(super) pool: ThreadPool,
    pub(super) parts: Vec<RowShare>,
    pub(super) slots: Vec<Slots>,
    /// The sums of the layers that read the row.
    pub(super) sums: BinSums,
    /// Whether hidden weights have been scaled to the data.
    pub(super) scaled: bool,
    /// The factor of new lines of the first layer.
    pub(super) line_scale: f32,
    pub(crate) adam_steps: u64,
}

impl Trainer {
    /// A training of fresh weights.
    pub(crate) fn new(shape: SparseNetShape, seed: u64, threads: usize) -> Self {
        Self::of(SparseNet::new(shape, seed), seed, threads)
    }

    /// A training that continues with `net`.
    pub(crate) fn of(net: SparseNet, seed: u64, threads: usize) -> Self {
        let levels = net.hidden.len() + 1;
        let mut slots = Vec::new();
        slots.resize_with(levels, Slots::default);
        Self {
            sums: net.shape.sums(),
            net,
            seed,
            isa: Isa::best(),
            pool: ThreadPool::new(threads),
            parts: Vec::new(),
            slots,
            scaled: false,
            line_scale: 1.0,
            adam_steps: 0,
        }
    }

    /// Adds weights for rows of `inputs` entries.
    pub(crate) fn grow(&mut self, inputs: usize) {
        let before = self.net.shape.inputs;
        if inputs <= before {
            return;
        }
        self.net.grow(inputs, self.seed);
        if let Some(first) = self.net.hidden.first_mut() {
            first.scale(self.line_scale, before);
        }
    }

    /// Learns from one mini-batch; returns its mean loss before the step.
    pub(crate) fn step(&mut self, rows: &SparseRows<'_>, targets: Labels<'_>, step: &Step) -> Result<f32> {
        if targets.rows() != rows.len() || rows.bound() > self.net.shape.inputs + self.sums.count() {
            return Err(Error::internal("a mini-batch and its targets or network differ in size"));
        }
        if rows.is_empty() {
            return Ok(0.0);
        }
        if !self.scaled && !self.net.hidden.is_empty() {
            self.net.assign_receptive_fields(&usage(rows, self.net.shape.inputs));
        }
        self.deal(rows, step);
        let rows_in: Vec<SparseRows<'_>> = self.parts.iter().map(|part| rows.slice(part.first, part.count)).collect();
        for level in 0..self.net.hidden.len() {
            self.forward(level, &rows_in, step);
        }
        self.answer(&rows_in, targets, step);
        self.learn(&rows_in, rows.len(), step);
        if step.optimiser == Optimiser::Adam {
            self.adam_steps += 1;
        }
        let losses = self.parts.iter().flat_map(|part| &part.losses[..part.count]);
        let counted = targets.known();
        Ok((losses.map(|&loss| f64::from(loss)).sum::<f64>() / counted.max(1) as f64) as f32)
    }

    /// Deals the rows to parts, one a thread.
    fn deal(&mut self, rows: &SparseRows<'_>, step: &Step) {
        let parts = self.pool.threads().min(rows.len());
        self.parts.resize_with(parts, RowShare::default);
        let levels = self.net.hidden.len();
        for (i, part) in self.parts.iter_mut().enumerate() {
            part.first = i * rows.len() / parts;
            part.count = (i + 1) * rows.len() / parts - part.first;
            part.codes.resize_with(levels, ShareCode::default);
            part.narrowed.resize_with(levels, NarrowedRows::default);
            part.factors.resize_with(levels + 1, Vec::new);
            part.losses.resize(part.count, 0.0);
        }
        if step.optimiser == Optimiser::Adam {
            self.net.layers_mut().for_each(|(_, layer)| layer.with_moments());
        }
    }

    /// Hidden layer `level` forward, and its winners.
    fn forward(&mut self, level: usize, rows_in: &[SparseRows<'_>], step: &Step) {
        let (isa, pool) = (self.isa, &self.pool);
        let total = self.parts.iter().map(|part| part.count).sum();
        if let Some(input_index) = &self.net.hidden[level].input_index {
            let shape = &self.net.shape;
            pool.each(
                &mut self.parts,
                |part| part.count,
                |i, part| part.narrow(level, input_index, &rows_in[i], shape),
            );
        }
        let (rows_in, parts) = (inputs_of(level, rows_in, &self.parts, &self.net), &self.parts);
        let (hidden, skip) = (&mut self.net.hidden, &mut self.net.skip);
        let mut groups: Vec<&mut Group> = hidden[level].groups.iter_mut().collect();
        if level == 0 {
            groups.extend(skip.iter_mut().flat_map(|skip| &mut skip.groups));
        }
        let weight = |group: &&mut Group| group.unit_blocks.len();
        pool.each(&mut groups, weight, |_, group| {
            let views: Vec<SparseRows<'_>> =
                parts.iter().zip(&rows_in).map(|(part, row_in)| part.view(level, group, row_in)).collect();
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
        let weight = |part: &RowShare| part.count;
        pool.each(&mut self.parts, weight, |_, part| part.compete(isa, level, layer, winners, step, seed));
    }

    /// Outputs, losses and their gradients.
    fn answer(&mut self, rows_in: &[SparseRows<'_>], targets: Labels<'_>, step: &Step) {
        let (isa, pool, net) = (self.isa, &self.pool, &mut self.net);
        let total = rows_in.iter().map(SparseRows::len).sum::<usize>();
        if let (true, Some(skip)) = (net.hidden.is_empty(), &mut net.skip) {
            let weight = |group: &Group| group.unit_blocks.len();
            pool.each(&mut skip.groups, weight, |_, group| group.forward(isa, rows_in, total));
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
                part.answer(isa, net, &rows_in[i], targets, step, scale);
            },
        );
    }

    /// Gradients downwards, and the update of every layer.
    fn learn(&mut self, rows_in: &[SparseRows<'_>], rows: usize, step: &Step) {
        let levels = self.net.hidden.len();
        let is_adam = step.optimiser == Optimiser::Adam;
        // Gradients of sums are spread before they are applied, so that these are gathered in any case.
        let summing = !self.sums.is_empty();
        let gathers = |level: usize| is_adam || (level == 0 && summing);
        (0..=levels).filter(|&level| gathers(level)).for_each(|level| self.fill_slots(level, rows_in));
        let (isa, pool) = (self.isa, &self.pool);
        let adam = step.adam(self.adam_steps);
        for level in (0..levels.max(1)).rev() {
            let parts = &self.parts;
            let net = &mut self.net;
            let shape = &net.shape;
            let at = |level: usize| Level {
                isa,
                rows_in: parts.iter().zip(rows_in).map(|(part, row_in)| part.row_in(level, row_in, shape)).collect(),
                parts,
                slots: gathers(level).then(|| &self.slots[level]),
                adam: is_adam.then_some(adam),
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

    /// Finds where the gradients of a level are gathered.
    fn fill_slots(&mut self, level: usize, rows_in: &[SparseRows<'_>]) {
        let rows_in = inputs_of(level, rows_in, &self.parts, &self.net);
        match level.checked_sub(1) {
            None => self.slots[0].fill(&rows_in, self.net.shape.inputs, &self.sums),
            Some(below) => self.slots[level].fill(&rows_in, self.net.shape.hidden[below].units, &BinSums::default()),
        }
    }

    /// The current outputs, `[rows, outputs]`.
    pub(crate) fn infer(&self, rows: &SparseRows<'_>) -> Vec<f32> {
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

    /// Called at the end of a pass over the data: units that never won in it are reinitialised. Returns how many.
    pub(crate) fn revive(&mut self, epoch: u64) -> usize {
        let mut revived = 0;
        for (index, layer) in self.net.hidden.iter_mut().enumerate() {
            let (units, sums) = (layer.units, layer.sums.count());
            let mut random = Random::stream(self.seed, "revive", epoch << 8 | index as u64);
            for (block, unit_block) in layer.unit_blocks_mut().enumerate() {
                for lane in 0..LANE.min(units - block * LANE) {
                    if unit_block.wins.0[lane] == 0.0 {
                        let lines = unit_block.weights.len() - sums;
                        let scale = 1.0 / (lines as f32).sqrt();
                        let own = unit_block.weights[..lines].iter_mut();
                        own.for_each(|line| line.0[lane] = random.normal() * scale);
                        unit_block.bias.0[lane] = 0.0;
                        revived += 1;
                    }
                    unit_block.wins.0[lane] = 0.0;
                }
            }
            layer.sum_bins();
        }
        revived
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// The share of `rows` in which each of `inputs` inputs is active.
fn usage(rows: &SparseRows<'_>, inputs: usize) -> Vec<f32> {
    let mut usage = vec![0.0; inputs];
    for row in 0..rows.len() {
        let (indices, values) = rows.row(row);
        for (&index, _) in indices.iter().zip(values).filter(|(_, value)| **value != 0.0) {
            // Sums come after the inputs and are of no receptive field.
            if let Some(usage) = usage.get_mut(index as usize) {
                *usage += 1.0 / rows.len() as f32;
            }
        }
    }
    usage
}

/// Winners between all units and their number.
pub(crate) fn annealed(&Hidden { units, winners, .. }: &Hidden, anneal: f32) -> usize {
    let share = anneal.clamp(0.0, 1.0);
    // Geometric, so that much of the time is spent where few units win.
    let ratio = (winners as f32 / units as f32).powf(share);
    ((units as f32 * ratio).round() as usize).clamp(winners.min(units), units)
}

/// The input of level `level` for each share of rows.
fn inputs_of<'a>(
    level: usize,
    rows_in: &[SparseRows<'a>],
    parts: &'a [RowShare],
    net: &SparseNet,
) -> Vec<SparseRows<'a>> {
    parts.iter().zip(rows_in).map(|(part, row_in)| part.row_in(level, row_in, &net.shape)).collect()
}
