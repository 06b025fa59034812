//! One layer's weights, tiled by blocks of 16 units and dealt to groups that threads own.

use super::slots::Slots;
use crate::nn::kernels::{self, BinSums, InputIndex, InputSet, LANE, Lane};
use crate::random::Random;

/// At most this many groups a layer: enough to share among the cores of a small machine, few enough
/// that summing a gradient over them costs nothing. Never depends on the number of threads.
const GROUPS: usize = 16;

/// Sixteen units: a line of weights an input, their biases, and the optimiser's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnitBlock {
    /// A line for each input that is seen, then the layer's sums.
    pub(crate) weights: Vec<Lane>,
    /// A bias a unit.
    pub(crate) bias: Lane,
    /// First moments, as the weights without sums; empty until Adam needs them.
    pub(crate) first: Vec<Lane>,
    /// Second moments, as `first`.
    pub(crate) second: Vec<Lane>,
    /// Moments of the bias.
    pub(crate) bias_moments: [Lane; 2],
    /// Recent share of rows each unit wins.
    pub(crate) duty: Lane,
    /// The factor of a unit's score.
    pub(crate) boost: Lane,
    /// Rows each unit won since the epoch began.
    pub(crate) wins: Lane,
}

/// Blocks that one thread works on at a time, with their buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Index of the group in the layer.
    pub(crate) number: usize,
    /// Index of the first block in the layer.
    pub(crate) first_block: usize,
    /// The inputs of its units; none for all inputs.
    pub(crate) field: Option<InputSet>,
    /// The blocks.
    pub(crate) unit_blocks: Vec<UnitBlock>,
    /// The inputs that a mini-batch touches.
    pub(crate) slots: Slots,
    /// Pre-activations, `[rows, unit_blocks]`.
    pub(crate) z: Vec<Lane>,
    /// This group's share of the gradient of its input, an entry each; a list a share of rows.
    pub(crate) back: Vec<Vec<f32>>,
    /// Gradient lines of one block.
    pub(crate) gradients: Vec<Lane>,
}

/// A layer `[inputs] -> [units]`.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Width of what it reads.
    pub(crate) inputs: usize,
    /// Units it has.
    pub(crate) units: usize,
    /// Its blocks, in order.
    pub(crate) groups: Vec<Group>,
    /// Which groups have an input; none where all have all.
    pub(crate) input_index: Option<InputIndex>,
    /// Lines that are sums of others, where its inputs are bins of numbers.
    pub(crate) sums: BinSums,
}

impl Layer {
    /// A layer of zeros.
    pub(crate) fn zeros(inputs: usize, units: usize) -> Self {
        let count = units.div_ceil(LANE).clamp(1, GROUPS);
        Self::of_groups(inputs, units, vec![None; count])
    }

    /// A layer of zeros with these sums.
    pub(crate) fn summing(inputs: usize, units: usize, sums: BinSums) -> Self {
        let mut layer = Self::zeros(inputs, units);
        layer.sums = sums;
        layer.sum_bins();
        layer
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let lines = |block: &UnitBlock| block.weights.len() + block.first.len() + block.second.len();
        self.unit_blocks().map(|block| size_of::<UnitBlock>() + size_of::<Lane>() * lines(block)).sum()
    }

    /// Computes the sums from the weights.
    pub(crate) fn sum_bins(&mut self) {
        if self.sums.is_empty() {
            return;
        }
        let (lines, sums) = (self.inputs + self.sums.count(), std::mem::take(&mut self.sums));
        for unit_block in self.unit_blocks_mut() {
            unit_block.weights.resize(lines, Lane::ZERO);
            kernels::sum_bins(&mut unit_block.weights, sums.runs());
        }
        self.sums = sums;
    }

    /// A layer of zeros with a group a field, at most one a block.
    pub(crate) fn seeing(inputs: usize, units: usize, fields: Vec<InputSet>) -> Self {
        Self::of_groups(inputs, units, fields.into_iter().map(Some).collect())
    }

    fn of_groups(inputs: usize, units: usize, fields: Vec<Option<InputSet>>) -> Self {
        let (blocks, count) = (units.div_ceil(LANE), fields.len());
        let group = |(g, field): (usize, Option<InputSet>)| {
            let (from, to) = (g * blocks / count, (g + 1) * blocks / count);
            let lines = field.as_ref().map_or(inputs, |field| field.seen().len());
            let unit_block =
                UnitBlock { weights: vec![Lane::ZERO; lines], boost: Lane([1.0; LANE]), ..UnitBlock::default() };
            Group { number: g, first_block: from, field, unit_blocks: vec![unit_block; to - from], ..Group::default() }
        };
        let groups = fields.into_iter().enumerate().map(group).collect();
        let mut layer = Self { inputs, units, groups, input_index: None, sums: BinSums::default() };
        layer.index_inputs();
        layer
    }

    fn index_inputs(&mut self) {
        let narrow = self.groups.iter().any(|group| group.field.is_some());
        self.input_index =
            narrow.then(|| InputIndex::new(self.inputs, self.groups.iter().filter_map(|g| g.field.as_ref())));
    }

    /// The inputs of each group; nothing where all have all.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &InputSet> {
        self.groups.iter().filter_map(|group| group.field.as_ref())
    }

    /// Blocks of 16 units; the last may be partly empty.
    pub(crate) fn blocks(&self) -> usize {
        self.units.div_ceil(LANE)
    }

    /// All blocks in order.
    pub(crate) fn unit_blocks(&self) -> impl Iterator<Item = &UnitBlock> {
        self.groups.iter().flat_map(|group| &group.unit_blocks)
    }

    /// All blocks in order, to change.
    pub(crate) fn unit_blocks_mut(&mut self) -> impl Iterator<Item = &mut UnitBlock> {
        self.groups.iter_mut().flat_map(|group| &mut group.unit_blocks)
    }

    /// Adds lines of zeros for new inputs, which units with a set of inputs do not have. A layer with sums has all
    /// inputs from the beginning.
    pub(crate) fn grow(&mut self, inputs: usize) {
        debug_assert!(self.sums.is_empty());
        self.inputs = inputs;
        for group in &mut self.groups {
            if let Some(field) = &mut group.field {
                *field = InputSet::new(inputs, |input| field.line(input).is_some());
                continue;
            }
            for unit_block in &mut group.unit_blocks {
                unit_block.weights.resize(inputs, Lane::ZERO);
                if !unit_block.first.is_empty() {
                    unit_block.first.resize(inputs, Lane::ZERO);
                    unit_block.second.resize(inputs, Lane::ZERO);
                }
            }
        }
        self.index_inputs();
    }

    /// Draws the lines from input `from` on, normal with deviation 1; units beyond the last stay 0.
    pub(crate) fn draw(&mut self, seed: u64, name: &str, from: usize) {
        let (inputs, units) = (self.inputs, self.units);
        for input in from..inputs {
            let mut random = Random::stream(seed, name, input as u64);
            for group in &mut self.groups {
                let line = group.line(input);
                for (i, unit_block) in group.unit_blocks.iter_mut().enumerate() {
                    for lane in 0..LANE.min(units - (group.first_block + i) * LANE) {
                        let weight = random.normal();
                        if let Some(line) = line {
                            unit_block.weights[line].0[lane] = weight;
                        }
                    }
                }
            }
        }
        self.sum_bins();
    }

    /// Multiplies the weights of each input by its factor.
    pub(crate) fn scale_inputs(&mut self, factors: &[f32]) {
        for group in &mut self.groups {
            for (input, &factor) in factors.iter().enumerate() {
                let Some(line) = group.line(input) else { continue };
                for unit_block in &mut group.unit_blocks {
                    unit_block.weights[line].0.iter_mut().for_each(|w| *w *= factor);
                }
            }
        }
    }

    /// Multiplies the weights of line `from` on, not the biases, by `factor`.
    pub(crate) fn scale(&mut self, factor: f32, from: usize) {
        for unit_block in self.unit_blocks_mut() {
            for line in unit_block.weights.iter_mut().skip(from) {
                line.0.iter_mut().for_each(|w| *w *= factor);
            }
        }
        self.sum_bins();
    }

    /// Creates moments for every block, zero at first.
    pub(crate) fn with_moments(&mut self) {
        let sums = self.sums.count();
        for unit_block in self.unit_blocks_mut() {
            unit_block.first.resize(unit_block.weights.len() - sums, Lane::ZERO);
            unit_block.second.resize(unit_block.weights.len() - sums, Lane::ZERO);
        }
    }

    /// Whether the optimiser has state.
    pub(crate) fn has_moments(&self) -> bool {
        self.unit_blocks().all(|unit_block| unit_block.first.len() + self.sums.count() == unit_block.weights.len())
    }

    /// The weights as `[inputs, units]`, row-major.
    pub(crate) fn plain(&self) -> Vec<f32> {
        self.read_plain(|unit_block| &unit_block.weights)
    }

    /// First and second moments as [`Self::plain`].
    pub(crate) fn plain_moments(&self) -> [Vec<f32>; 2] {
        [self.read_plain(|unit_block| &unit_block.first), self.read_plain(|unit_block| &unit_block.second)]
    }

    fn read_plain(&self, lines: impl Fn(&UnitBlock) -> &[Lane]) -> Vec<f32> {
        let mut plain = vec![0.0; self.inputs * self.units];
        for group in &self.groups {
            for (block, unit_block) in (group.first_block..).zip(&group.unit_blocks) {
                let from = block * LANE;
                let width = LANE.min(self.units - from);
                for (i, line) in lines(unit_block).iter().take(group.lines(self.inputs)).enumerate() {
                    let at = group.input(i) * self.units + from;
                    plain[at..at + width].copy_from_slice(&line.0[..width]);
                }
            }
        }
        plain
    }

    fn write_plain(&mut self, plain: &[f32], lines: impl Fn(&mut UnitBlock) -> &mut Vec<Lane>) {
        let units = self.units;
        for group in &mut self.groups {
            let inputs: Vec<usize> = (0..group.lines(self.inputs)).map(|line| group.input(line)).collect();
            for (block, unit_block) in (group.first_block..).zip(&mut group.unit_blocks) {
                let from = block * LANE;
                let width = LANE.min(units - from);
                let lines = lines(unit_block);
                lines.resize(inputs.len(), Lane::ZERO);
                for (line, input) in lines.iter_mut().zip(&inputs) {
                    let at = input * units + from;
                    line.0[..width].copy_from_slice(&plain[at..at + width]);
                }
            }
        }
    }

    /// Restores weights in the form of [`Self::plain`].
    pub(crate) fn set_plain(&mut self, plain: &[f32]) {
        self.write_plain(plain, |unit_block| &mut unit_block.weights);
        self.sum_bins();
    }

    /// Restores moments in the form of [`Self::plain_moments`].
    pub(crate) fn set_plain_moments(&mut self, first: &[f32], second: &[f32]) {
        self.write_plain(first, |unit_block| &mut unit_block.first);
        self.write_plain(second, |unit_block| &mut unit_block.second);
    }

    /// One number a unit, from each block's lane.
    pub(crate) fn plain_lane(&self, lane: impl Fn(&UnitBlock) -> &Lane) -> Vec<f32> {
        self.unit_blocks().flat_map(|unit_block| lane(unit_block).0).take(self.units).collect()
    }

    /// Restores one number a unit.
    pub(crate) fn set_plain_lane(&mut self, plain: &[f32], lane: impl Fn(&mut UnitBlock) -> &mut Lane) {
        for (unit_block, values) in self.unit_blocks_mut().zip(plain.chunks(LANE)) {
            lane(unit_block).0[..values.len()].copy_from_slice(values);
        }
    }

    /// The biases, `[units]`.
    pub(crate) fn plain_bias(&self) -> Vec<f32> {
        self.plain_lane(|unit_block| &unit_block.bias)
    }

    /// Restores biases.
    pub(crate) fn set_plain_bias(&mut self, plain: &[f32]) {
        self.set_plain_lane(plain, |unit_block| &mut unit_block.bias);
    }

    /// The weight from `input` to `unit`; 0 where it is not an input of the unit.
    pub(crate) fn weight(&self, input: usize, unit: usize) -> f32 {
        let (group, unit_block) = self.at(unit / LANE);
        group.line(input).map_or(0.0, |line| unit_block.weights[line].0[unit % LANE])
    }

    /// The bias of `unit`.
    pub(crate) fn bias(&self, unit: usize) -> f32 {
        self.at(unit / LANE).1.bias.0[unit % LANE]
    }

    /// The block of block `block`, and its group.
    fn at(&self, block: usize) -> (&Group, &UnitBlock) {
        // Groups differ by one block at most, so the right one is near.
        let estimate = block * self.groups.len() / self.blocks();
        let near = self.groups[estimate.saturating_sub(1)..].iter();
        let group = near.take_while(|group| group.first_block <= block).last().unwrap_or(&self.groups[0]);
        (group, &group.unit_blocks[block - group.first_block])
    }
}

impl Group {
    /// The line of `input`, if it is an input of the group.
    fn line(&self, input: usize) -> Option<usize> {
        self.field.as_ref().map_or(Some(input), |field| field.line(input))
    }

    /// The input that line `line` belongs to.
    fn input(&self, line: usize) -> usize {
        self.field.as_ref().map_or(line, |field| field.seen()[line] as usize)
    }

    /// How many lines its blocks have, of `inputs` inputs.
    fn lines(&self, inputs: usize) -> usize {
        self.field.as_ref().map_or(inputs, |field| field.seen().len())
    }
}
