//! A [`SparseNet`] in training: mini-batches in phases that threads share by units or by rows.
//!
//! A step goes: each hidden layer forward (threads own groups of units), its winners (threads own
//! rows), the answers, loss and gradients (rows), then from the last layer down the gradient of its
//! input and its update (units). Sums run in the order of rows and units whatever the number of
//! threads, so the weights come out bit for bit the same.

use super::infer::{Scratch, pass};
use super::layer::{Group, Tile};
use super::{Layer, Shape, SparseNet, values};
use crate::models::{Targets, UNLABELLED};
use crate::nn::Tensors;
use crate::nn::kernels::{self, Adam, Isa, LANE, Lane, Pool, Rows, TopK, Winners};
use crate::random::Random;
use crate::{Error, Result};
use candle_core::{Device, Tensor};

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

/// Largest norm with which a row enters a gradient. A row that is larger is scaled down, so that one
/// absurd row (1e30) cannot throw the weights away.
const LARGEST_ROW: f32 = 100.0;

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

/// Some rows of a mini-batch, one thread's at a time.
#[derive(Debug, Default)]
struct Part {
    first: usize,
    count: usize,
    codes: Vec<PartCode>,
    top: TopK,
    scores: Vec<f32>,
    z: Vec<f32>,
    answers: Vec<Lane>,
    /// Gradient of the answers, then what is added to the weights of the readout and the skip.
    gradients: Vec<Lane>,
    readout_steps: Vec<Lane>,
    skip_steps: Vec<Lane>,
    losses: Vec<f32>,
    /// Factor of each row's gradient at each level; see [`LARGEST_ROW`].
    factors: Vec<Vec<f32>>,
}

/// A hidden layer's winners for the rows of a part.
#[derive(Debug, Default)]
struct PartCode {
    code: super::infer::Code,
    /// `[rows, blocks + 1]`; see [`Winners`].
    starts: Vec<u32>,
    /// Gradient of each winner's pre-activation.
    deltas: Vec<f32>,
    /// What is added to each winner's bias, and times the input to its weights.
    steps: Vec<f32>,
}

/// Which inputs of a level a mini-batch touches; for Adam, whose gradients are kept only for those.
#[derive(Debug, Default)]
struct Slots {
    stamp: u64,
    seen: Vec<u64>,
    slot: Vec<u32>,
    unique: Vec<u32>,
    /// The slot of each entry; a list a part.
    entries: Vec<Vec<u32>>,
}

impl Slots {
    fn fill(&mut self, feeds: &[Rows<'_>], inputs: usize) {
        self.stamp += 1;
        self.seen.resize(inputs, 0);
        self.slot.resize(inputs, 0);
        self.unique.clear();
        for feed in feeds {
            for row in 0..feed.len() {
                for &index in feed.row(row).0 {
                    let seen = &mut self.seen[index as usize];
                    if *seen != self.stamp {
                        *seen = self.stamp;
                        self.unique.push(index);
                    }
                }
            }
        }
        self.unique.sort_unstable();
        for (slot, &index) in self.unique.iter().enumerate() {
            self.slot[index as usize] = slot as u32;
        }
        self.entries.resize_with(feeds.len(), Vec::new);
        for (feed, entries) in feeds.iter().zip(&mut self.entries) {
            entries.clear();
            entries.resize(feed.stored(), 0);
            for row in 0..feed.len() {
                for (slot, &index) in entries[feed.range(row)].iter_mut().zip(feed.row(row).0) {
                    *slot = self.slot[index as usize];
                }
            }
        }
    }
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
    pub fn step(&mut self, rows: &Rows<'_>, targets: Targets<'_>, step: &Step) -> Result<f32> {
        let labels = match targets {
            Targets::Classes(classes, _) => classes.len(),
            Targets::Values(values) => values.len(),
        };
        if labels != rows.len() || rows.bound() > self.net.shape.inputs {
            return Err(Error::internal("a mini-batch and its targets or network differ in size"));
        }
        if rows.is_empty() {
            return Ok(0.0);
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
        let counted = count_labels(targets);
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
        let feeds = feeds_of(level, feeds, &self.parts, &self.net);
        let (hidden, skip) = (&mut self.net.hidden, &mut self.net.skip);
        let mut groups: Vec<&mut Group> = hidden[level].groups.iter_mut().collect();
        if level == 0 {
            groups.extend(skip.iter_mut().flat_map(|skip| &mut skip.groups));
        }
        pool.each(&mut groups, |g| g.tiles.len(), |_, group| group.forward(isa, &feeds, total));
        if !self.scaled {
            let scale = self.net.hidden[level].normalise();
            if level == 0 {
                self.line_scale = scale;
            }
            self.scaled = level + 1 == self.net.hidden.len();
        }
        let layer = &self.net.hidden[level];
        let winners = annealed(self.net.shape.hidden[level], step.anneal);
        let seed = self.seed;
        let weight = |part: &Part| part.count;
        pool.each(&mut self.parts, weight, |_, part| part.compete(isa, level, layer, winners, step, seed));
    }

    /// Answers, losses and their gradients.
    fn answer(&mut self, feeds: &[Rows<'_>], targets: Targets<'_>, step: &Step) {
        let (isa, pool, net) = (self.isa, &self.pool, &mut self.net);
        let total = feeds.iter().map(Rows::len).sum::<usize>();
        if let (true, Some(skip)) = (net.hidden.is_empty(), &mut net.skip) {
            let weight = |group: &Group| group.tiles.len();
            pool.each(&mut skip.groups, weight, |_, group| group.forward(isa, feeds, total));
        }
        let net = &self.net;
        let labelled = count_labels(targets).max(1);
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
                let inputs = if level == 0 { self.net.shape.inputs } else { self.net.shape.hidden[level - 1].0 };
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
                let winners = annealed(shape.hidden[level], step.anneal) as f32 / shape.hidden[level].0 as f32;
                let blocks = layer.blocks();
                work.extend(layer.groups.iter_mut().map(|group| Work::Hidden { level, blocks, winners, group }));
            }
            if level + 1 == levels {
                let readout = net.readout.iter_mut();
                let groups = readout.flat_map(|layer| layer.groups.iter_mut());
                work.extend(groups.map(|group| Work::Readout(group)));
            }
            if level == 0 {
                let skip = net.skip.iter_mut();
                work.extend(skip.flat_map(|layer| layer.groups.iter_mut()).map(|group| Work::Skip(group)));
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
                    self.net.answers(scratch, out);
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
            let inputs = layer.inputs;
            let mut random = Random::stream(self.seed, "revive", epoch << 8 | index as u64);
            for (block, tile) in layer.tiles_mut().enumerate() {
                for lane in 0..LANE.min(units - block * LANE) {
                    if tile.wins.0[lane] == 0.0 {
                        let scale = 1.0 / (inputs as f32).sqrt();
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

    /// Everything that decides the future of this training.
    pub fn state(&self) -> Result<Tensors> {
        let device = &Device::Cpu;
        let mut tensors = self.net.save()?;
        for (name, layer) in self.net.layers() {
            if layer.tiles().all(|tile| tile.first.len() == layer.inputs) {
                let [first, second] = layer.plain_moments();
                let shape = (layer.inputs, layer.units);
                tensors.insert(format!("{name}.first"), Tensor::from_vec(first, shape, device)?);
                tensors.insert(format!("{name}.second"), Tensor::from_vec(second, shape, device)?);
            }
            for (what, lane) in LANES {
                let plain = layer.plain_lane(lane);
                tensors.insert(format!("{name}.{what}"), Tensor::from_vec(plain, layer.units, device)?);
            }
        }
        let counters = vec![u32::from(self.scaled), self.adam_steps as u32, (self.adam_steps >> 32) as u32];
        tensors.insert("counters".to_owned(), Tensor::new(counters, device)?);
        tensors.insert("line_scale".to_owned(), Tensor::new(&[self.line_scale], device)?);
        Ok(tensors)
    }

    /// Goes on from [`Self::state`]; sizes must be the same.
    pub fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.net.load(state)?;
        for (name, layer) in self.net.layers_mut() {
            if state.contains_key(&format!("{name}.first")) {
                let size = layer.inputs * layer.units;
                let first = values(state, &format!("{name}.first"), size)?;
                let second = values(state, &format!("{name}.second"), size)?;
                layer.set_plain_moments(&first, &second);
            }
            for (what, lane) in LANES_MUT {
                layer.set_plain_lane(&values(state, &format!("{name}.{what}"), layer.units)?, lane);
            }
        }
        let counters = state.get("counters").map(Tensor::to_vec1::<u32>).transpose()?;
        if let Some([scaled, low, high]) = counters.as_deref() {
            self.scaled = *scaled != 0;
            self.adam_steps = u64::from(*high) << 32 | u64::from(*low);
        }
        self.line_scale = values(state, "line_scale", 1)?[0];
        Ok(())
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// The numbers a unit has beside its weights.
const LANES: [(&str, fn(&Tile) -> &Lane); 5] = [
    ("duty", |tile| &tile.duty),
    ("boost", |tile| &tile.boost),
    ("wins", |tile| &tile.wins),
    ("bias_first", |tile| &tile.bias_moments[0]),
    ("bias_second", |tile| &tile.bias_moments[1]),
];

/// As [`LANES`], to change.
const LANES_MUT: [(&str, fn(&mut Tile) -> &mut Lane); 5] = [
    ("duty", |tile| &mut tile.duty),
    ("boost", |tile| &mut tile.boost),
    ("wins", |tile| &mut tile.wins),
    ("bias_first", |tile| &mut tile.bias_moments[0]),
    ("bias_second", |tile| &mut tile.bias_moments[1]),
];

/// Winners between all units and their number.
fn annealed((units, winners): (usize, usize), anneal: f32) -> usize {
    let share = anneal.clamp(0.0, 1.0);
    // Geometric, so that the last part, where few units take part, is not passed in a hurry.
    let ratio = (winners as f32 / units as f32).powf(share);
    ((units as f32 * ratio).round() as usize).clamp(winners.min(units), units)
}

fn count_labels(targets: Targets<'_>) -> usize {
    match targets {
        Targets::Classes(classes, _) => classes.iter().filter(|&&class| class != UNLABELLED).count(),
        Targets::Values(values) => values.iter().filter(|value| value.is_finite()).count(),
    }
}

/// What each part feeds into level `level`: the rows themselves, or the code of the layer below.
fn feeds_of<'a>(level: usize, feeds: &[Rows<'a>], parts: &'a [Part], net: &SparseNet) -> Vec<Rows<'a>> {
    parts.iter().zip(feeds).map(|(part, feed)| part.feed(level, feed, &net.shape)).collect()
}

/// A group with what is to be done to it.
enum Work<'a> {
    Hidden { level: usize, blocks: usize, winners: f32, group: &'a mut Group },
    Readout(&'a mut Group),
    Skip(&'a mut Group),
}

impl Work<'_> {
    fn weight(&self) -> usize {
        match self {
            Self::Hidden { group, .. } | Self::Readout(group) | Self::Skip(group) => group.tiles.len(),
        }
    }
}

/// What the groups of a level learn from.
struct Level<'a> {
    isa: Isa,
    feeds: Vec<Rows<'a>>,
    parts: &'a [Part],
    slots: Option<&'a Slots>,
    adam: Adam,
    rows: usize,
    boost: f32,
}

impl Level<'_> {
    /// A group of hidden layer `level` of `blocks` blocks: gradient of its input, then its update.
    fn hidden(&self, level: usize, blocks: usize, share: f32, group: &mut Group) {
        let Group { first_block, tiles, back, gradients, .. } = group;
        if level > 0 {
            back.resize_with(self.parts.len(), Vec::new);
            for (part, back) in self.parts.iter().zip(&mut *back) {
                back.clear();
                back.resize(part.codes[level - 1].code.units.len(), 0.0);
            }
        }
        for (i, tile) in tiles.iter_mut().enumerate() {
            let block = *first_block + i;
            if level > 0 {
                for ((part, feed), back) in self.parts.iter().zip(&self.feeds).zip(&mut *back) {
                    let code = &part.codes[level];
                    let winners = Winners::new(&code.starts, blocks, &code.code.units, &code.deltas);
                    kernels::back_sparse(self.isa, &tile.weights, feed, &winners, block, back);
                }
            }
            self.count(level, blocks, block, share, tile);
            let steps = |part: usize| {
                let code = &self.parts[part].codes[level];
                Winners::new(&code.starts, blocks, &code.code.units, &code.steps)
            };
            let Some(slots) = self.slots else {
                for (part, feed) in self.feeds.iter().enumerate() {
                    kernels::update(self.isa, &mut tile.weights, &mut tile.bias, feed, &steps(part), block);
                }
                continue;
            };
            let mut bias = Lane::ZERO;
            let mut mask = Lane::ZERO;
            gradients.clear();
            gradients.resize(slots.unique.len(), Lane::ZERO);
            for (part, feed) in self.feeds.iter().enumerate() {
                let winners = steps(part);
                for row in 0..feed.len() {
                    winners.block(row, block).0.iter().for_each(|&unit| mask.0[Winners::lane(unit)] = 1.0);
                }
                let rows = self.slotted(part, slots);
                kernels::update(self.isa, gradients, &mut bias, &rows, &winners, block);
            }
            self.adam(tile, slots, gradients, bias, &mask);
        }
    }

    /// A group all of whose outputs take part in every row.
    fn dense(&self, group: &mut Group, steps: impl Fn(&Part) -> &Vec<Lane>) {
        let Group { first_block, tiles, gradients, .. } = group;
        for (i, tile) in tiles.iter_mut().enumerate() {
            let block = *first_block + i;
            let mut bias = Lane::ZERO;
            if let Some(slots) = self.slots {
                gradients.clear();
                gradients.resize(slots.unique.len(), Lane::ZERO);
            }
            for (at, part) in self.parts.iter().enumerate() {
                let steps = steps(part);
                let stride = steps.len() / part.count.max(1);
                match self.slots {
                    None => {
                        let Tile { weights, bias, .. } = tile;
                        kernels::update_dense(self.isa, weights, bias, &self.feeds[at], &steps[block..], stride);
                    }
                    Some(slots) => {
                        let rows = self.slotted(at, slots);
                        kernels::update_dense(self.isa, gradients, &mut bias, &rows, &steps[block..], stride);
                    }
                }
            }
            if let Some(slots) = self.slots {
                self.adam(tile, slots, gradients, bias, &Lane([1.0; LANE]));
            }
        }
    }

    /// The rows of a part with slots in the place of inputs.
    fn slotted<'a>(&'a self, part: usize, slots: &'a Slots) -> Rows<'a> {
        match self.feeds[part].with_indices(&slots.entries[part], slots.unique.len()) {
            Some(rows) => rows,
            None => unreachable!("every entry has a slot"),
        }
    }

    fn adam(&self, tile: &mut Tile, slots: &Slots, gradients: &[Lane], bias: Lane, mask: &Lane) {
        let Tile { weights, first, second, .. } = tile;
        kernels::adam(self.isa, weights, first, second, &slots.unique, gradients, mask, &self.adam);
        let [m, v] = &mut tile.bias_moments;
        let one = std::slice::from_mut;
        let plain = Adam { decay: 0.0, ..self.adam };
        kernels::adam(self.isa, one(&mut tile.bias), one(m), one(v), &[0], &[bias], mask, &plain);
    }

    /// Counts who won, and helps those who win too rarely: `boost = exp(β (1 - duty / target))`.
    fn count(&self, level: usize, blocks: usize, block: usize, share: f32, tile: &mut Tile) {
        let mut wins = Lane::ZERO;
        for part in self.parts {
            let code = &part.codes[level];
            let winners = Winners::new(&code.starts, blocks, &code.code.units, &code.steps);
            for row in 0..part.count {
                winners.block(row, block).0.iter().for_each(|&unit| wins.0[Winners::lane(unit)] += 1.0);
            }
        }
        let rows = self.rows as f32;
        let weight = rows / (rows + 1000.0);
        for l in 0..LANE {
            tile.wins.0[l] += wins.0[l];
            tile.duty.0[l] += weight * (wins.0[l] / rows - tile.duty.0[l]);
            if self.boost > 0.0 {
                tile.boost.0[l] = (self.boost * (1.0 - tile.duty.0[l] / share)).exp();
            }
        }
    }
}

impl Group {
    /// Pre-activations of all rows, part after part.
    fn forward(&mut self, isa: Isa, feeds: &[Rows<'_>], rows: usize) {
        let stride = self.tiles.len();
        self.z.resize(rows * stride, Lane::ZERO);
        for (i, tile) in self.tiles.iter().enumerate() {
            let mut first = 0;
            for feed in feeds {
                if !feed.is_empty() {
                    kernels::forward(isa, &tile.weights, &tile.bias, feed, &mut self.z[first * stride + i..], stride);
                }
                first += feed.len();
            }
        }
    }

    /// Pre-activations of row `row`.
    fn row(&self, row: usize) -> &[Lane] {
        &self.z[row * self.tiles.len()..(row + 1) * self.tiles.len()]
    }
}

impl Layer {
    /// Scales the weights so that pre-activations of the present rows have deviation 1, and returns
    /// the factor. What √(2 / fan-in) wants to be, for the fan-in that is really active.
    fn normalise(&mut self) -> f32 {
        let (mut sum, mut squares, mut count) = (0.0f64, 0.0f64, 0usize);
        for group in &self.groups {
            for &z in Lane::flat(&group.z) {
                sum += f64::from(z);
                squares += f64::from(z) * f64::from(z);
            }
        }
        count += self.groups.iter().map(|g| g.z.len() / g.tiles.len()).max().unwrap_or(0) * self.units;
        let mean = sum / count.max(1) as f64;
        let deviation = (squares / count.max(1) as f64 - mean * mean).max(0.0).sqrt();
        let scale = if deviation.is_finite() && deviation > 1e-12 { (1.0 / deviation) as f32 } else { 1.0 };
        self.scale(scale, 0);
        for group in &mut self.groups {
            group.z.iter_mut().flat_map(|lane| &mut lane.0).for_each(|z| *z *= scale);
        }
        scale
    }
}

impl Part {
    /// What this part feeds into level `level`.
    fn feed<'a>(&'a self, level: usize, rows: &Rows<'a>, shape: &Shape) -> Rows<'a> {
        match level.checked_sub(1) {
            None => *rows,
            Some(below) => self.codes[below].code.rows(shape.hidden[below].0),
        }
    }

    /// Finds the winners of this part's rows and what they pass on.
    fn compete(&mut self, isa: Isa, level: usize, layer: &Layer, winners: usize, step: &Step, seed: u64) {
        let Self { first, count, codes, top, scores, z, .. } = self;
        let PartCode { code, starts, .. } = &mut codes[level];
        code.clear();
        starts.clear();
        let boosts: Vec<f32> = if step.boost > 0.0 { layer.plain_lane(|tile| &tile.boost) } else { Vec::new() };
        for row in *first..*first + *count {
            z.clear();
            layer.groups.iter().for_each(|group| z.extend_from_slice(Lane::flat(group.row(row))));
            z.truncate(layer.units);
            let from = code.units.len();
            if boosts.is_empty() {
                kernels::top_k(isa, z, winners, top, &mut code.units);
            } else {
                let least = z.iter().fold(f32::INFINITY, |least, &z| least.min(z));
                scores.clear();
                scores.extend(z.iter().zip(&boosts).map(|(z, boost)| (z - least) * boost));
                kernels::top_k(isa, scores, winners, top, &mut code.units);
            }
            code.values.extend(code.units[from..].iter().map(|&unit| pass(z[unit as usize])));
            if step.dropout > 0.0 {
                let mut random = Random::stream(seed ^ (level as u64) << 32, "dropout", step.number << 20 | row as u64);
                let keep = 1.0 / (1.0 - step.dropout);
                for value in &mut code.values[from..] {
                    *value = if random.uniform() < step.dropout { 0.0 } else { *value * keep };
                }
            }
            code.offsets.push(code.units.len() as u32);
            let mut at = from;
            for block in 0..=layer.blocks() {
                while at < code.units.len() && (code.units[at] as usize) < block * LANE {
                    at += 1;
                }
                starts.push(at as u32);
            }
        }
    }

    /// Answers of this part's rows, their losses, and all gradients a row alone decides.
    fn answer(&mut self, isa: Isa, net: &SparseNet, rows: &Rows<'_>, targets: Targets<'_>, step: &Step, scale: f32) {
        let outputs = net.shape.outputs;
        let blocks = outputs.div_ceil(LANE);
        self.answers.clear();
        self.answers.resize(self.count * blocks, Lane::ZERO);
        let levels = net.hidden.len();
        if let (Some(readout), true) = (&net.readout, self.count > 0) {
            let feed = self.codes[levels - 1].code.rows(readout.inputs);
            for (block, tile) in readout.tiles().enumerate() {
                kernels::forward(isa, &tile.weights, &tile.bias, &feed, &mut self.answers[block..], blocks);
            }
        }
        if let Some(skip) = &net.skip {
            for i in 0..self.count {
                let z = skip.groups.iter().flat_map(|group| group.row(self.first + i));
                for (answer, z) in self.answers[i * blocks..].iter_mut().zip(z) {
                    (0..LANE).for_each(|l| answer.0[l] += z.0[l]);
                }
            }
        }
        self.gradients.clear();
        self.gradients.resize(self.count * blocks, Lane::ZERO);
        for i in 0..self.count {
            let range = i * blocks..(i + 1) * blocks;
            let answer = &Lane::flat(&self.answers[range.clone()])[..outputs];
            let gradient = &mut self.gradients[range];
            self.losses[i] = loss(answer, targets, self.first + i, step.smoothing, gradient);
        }
        self.limit(0, isa, rows);
        for level in 1..=levels {
            let code = std::mem::take(&mut self.codes[level - 1].code);
            self.limit(level, isa, &code.rows(net.shape.hidden[level - 1].0));
            self.codes[level - 1].code = code;
        }
        let factors = &self.factors[0];
        scaled_into(&self.gradients, factors, scale, blocks, &mut self.skip_steps);
        if let Some(readout) = &net.readout {
            let width = readout.inputs;
            let last = levels - 1;
            let code = std::mem::take(&mut self.codes[last].code);
            let feed = code.rows(width);
            scaled_into(&self.gradients, &self.factors[levels], scale, blocks, &mut self.readout_steps);
            let PartCode { deltas, .. } = &mut self.codes[last];
            deltas.clear();
            deltas.resize(code.units.len(), 0.0);
            for (block, tile) in readout.tiles().enumerate() {
                kernels::back_dense(isa, &tile.weights, &feed, &self.gradients[block..], blocks, deltas);
            }
            self.codes[last].code = code;
            self.finish_deltas(last, scale, step.dropout);
        }
    }

    /// Factors that keep rows of absurd size from throwing the weights away.
    fn limit(&mut self, level: usize, isa: Isa, rows: &Rows<'_>) {
        let factors = &mut self.factors[level];
        factors.clear();
        for row in 0..rows.len() {
            let norm = norm(isa, rows.row(row).1);
            factors.push(if norm > LARGEST_ROW { LARGEST_ROW / norm } else { 1.0 });
        }
    }

    /// Gradients of winners that passed nothing on are nothing; steps follow from the rest.
    fn finish_deltas(&mut self, level: usize, scale: f32, dropout: f32) {
        let PartCode { code, deltas, steps, .. } = &mut self.codes[level];
        steps.clear();
        let keep = 1.0 / (1.0 - dropout);
        for (row, &factor) in self.factors[level].iter().enumerate() {
            for at in code.offsets[row] as usize..code.offsets[row + 1] as usize {
                deltas[at] = if code.values[at] > 0.0 { deltas[at] * keep } else { 0.0 };
                steps.push(deltas[at] * scale * factor);
            }
        }
    }

    /// Sums the groups' shares of the gradient of the code below `level`.
    fn gather(&mut self, level: usize, part: usize, layer: &Layer, scale: f32, dropout: f32) {
        let below = level - 1;
        let PartCode { code, deltas, .. } = &mut self.codes[below];
        deltas.clear();
        deltas.resize(code.units.len(), 0.0);
        for group in &layer.groups {
            for (delta, share) in deltas.iter_mut().zip(&group.back[part]) {
                *delta += share;
            }
        }
        self.finish_deltas(below, scale, dropout);
    }
}

/// The length of a row; also of one whose squares no `f32` can hold.
fn norm(isa: Isa, values: &[f32]) -> f32 {
    let squares = kernels::squared_norm(isa, values);
    if squares.is_finite() {
        return squares.sqrt();
    }
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt() as f32
}

/// `steps = gradients · factor of the row · scale`.
fn scaled_into(gradients: &[Lane], factors: &[f32], scale: f32, blocks: usize, steps: &mut Vec<Lane>) {
    steps.clear();
    for (i, gradient) in gradients.iter().enumerate() {
        let factor = factors[i / blocks] * scale;
        steps.push(Lane(gradient.0.map(|g| g * factor)));
    }
}

/// The loss of one row, and its gradient into `gradient` (zeros before).
fn loss(answer: &[f32], targets: Targets<'_>, row: usize, smoothing: f32, gradient: &mut [Lane]) -> f32 {
    let mut put = |at: usize, value: f32| gradient[at / LANE].0[at % LANE] = value;
    match targets {
        Targets::Classes(classes, weights) => {
            let class = classes[row];
            if class == UNLABELLED || class as usize >= answer.len() {
                return 0.0;
            }
            let weight = weights.map_or(1.0, |weights| weights[class as usize]);
            let most = answer.iter().fold(f32::NEG_INFINITY, |most, &a| most.max(a));
            let sum: f32 = answer.iter().map(|a| (a - most).exp()).sum();
            let wrong = smoothing / answer.len() as f32;
            for (at, a) in answer.iter().enumerate() {
                let aim = if at == class as usize { 1.0 - smoothing + wrong } else { wrong };
                put(at, weight * ((a - most).exp() / sum - aim));
            }
            weight * (sum.ln() + most - answer[class as usize]).min(1e30)
        }
        Targets::Values(values) => {
            let value = values[row];
            if !value.is_finite() {
                return 0.0;
            }
            // Huber's loss, square up to 10 deviations: beyond, one row would decide everything.
            let error = answer[0] - value;
            put(0, error.clamp(-10.0, 10.0));
            if error.abs() <= 10.0 { 0.5 * error * error } else { (10.0 * error.abs() - 50.0).min(1e30) }
        }
    }
}
