//! One layer's weights, tiled by blocks of 16 units and dealt to groups that threads own.

use super::slots::Slots;
use crate::nn::kernels::{Field, LANE, Lane, Viewers};

/// At most this many groups a layer: enough to share among the cores of a small machine, few enough
/// that summing a gradient over them costs nothing. Never depends on the number of threads.
const GROUPS: usize = 16;

/// Sixteen units: a line of weights an input, their biases, and what the optimiser remembers.
#[derive(Clone, Debug, Default)]
pub struct Tile {
    /// A line for each input that is seen.
    pub weights: Vec<Lane>,
    /// A bias a unit.
    pub bias: Lane,
    /// First moments, as the weights; empty until Adam needs them.
    pub first: Vec<Lane>,
    /// Second moments, as `first`.
    pub second: Vec<Lane>,
    /// Moments of the bias.
    pub bias_moments: [Lane; 2],
    /// Share of rows each unit wins, lately.
    pub duty: Lane,
    /// What a unit's score is multiplied with.
    pub boost: Lane,
    /// Rows each unit won since the epoch began.
    pub wins: Lane,
}

/// Tiles that one thread works on at a time, with their buffers.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Place of the group in the layer.
    pub number: usize,
    /// Place of the first tile in the layer.
    pub first_block: usize,
    /// What its units see; none for all inputs.
    pub field: Option<Field>,
    /// The tiles.
    pub tiles: Vec<Tile>,
    /// What a mini-batch touches of what is seen.
    pub slots: Slots,
    /// Pre-activations, `[rows, tiles]`.
    pub z: Vec<Lane>,
    /// This group's share of the gradient of its input, an entry each; a list a row part.
    pub back: Vec<Vec<f32>>,
    /// Gradient lines of one tile.
    pub gradients: Vec<Lane>,
}

/// A layer `[inputs] -> [units]`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Width of what it reads.
    pub inputs: usize,
    /// Units it has.
    pub units: usize,
    /// Its tiles, in order.
    pub groups: Vec<Group>,
    /// Who sees which input; none where all see all.
    pub viewers: Option<Viewers>,
}

impl Layer {
    /// A layer of zeros.
    pub fn zeros(inputs: usize, units: usize) -> Self {
        let count = units.div_ceil(LANE).clamp(1, GROUPS);
        Self::of_groups(inputs, units, vec![None; count])
    }

    /// A layer of zeros with a group a field, at most one a block.
    pub fn seeing(inputs: usize, units: usize, fields: Vec<Field>) -> Self {
        Self::of_groups(inputs, units, fields.into_iter().map(Some).collect())
    }

    fn of_groups(inputs: usize, units: usize, fields: Vec<Option<Field>>) -> Self {
        let (blocks, count) = (units.div_ceil(LANE), fields.len());
        let group = |(g, field): (usize, Option<Field>)| {
            let (from, to) = (g * blocks / count, (g + 1) * blocks / count);
            let lines = field.as_ref().map_or(inputs, |field| field.seen().len());
            let tile = Tile { weights: vec![Lane::ZERO; lines], boost: Lane([1.0; LANE]), ..Tile::default() };
            Group { number: g, first_block: from, field, tiles: vec![tile; to - from], ..Group::default() }
        };
        let groups = fields.into_iter().enumerate().map(group).collect();
        let mut layer = Self { inputs, units, groups, viewers: None };
        layer.meet_viewers();
        layer
    }

    fn meet_viewers(&mut self) {
        let narrow = self.groups.iter().any(|group| group.field.is_some());
        self.viewers = narrow.then(|| Viewers::new(self.inputs, self.groups.iter().filter_map(|g| g.field.as_ref())));
    }

    /// What each group sees; nothing where all see all.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.groups.iter().filter_map(|group| group.field.as_ref())
    }

    /// Blocks of 16 units; the last may be part empty.
    pub fn blocks(&self) -> usize {
        self.units.div_ceil(LANE)
    }

    /// All tiles in order.
    pub fn tiles(&self) -> impl Iterator<Item = &Tile> {
        self.groups.iter().flat_map(|group| &group.tiles)
    }

    /// All tiles in order, to change.
    pub fn tiles_mut(&mut self) -> impl Iterator<Item = &mut Tile> {
        self.groups.iter_mut().flat_map(|group| &mut group.tiles)
    }

    /// Adds lines of zeros for new inputs, which units that see a part do not see.
    pub fn grow(&mut self, inputs: usize) {
        self.inputs = inputs;
        for group in &mut self.groups {
            if let Some(field) = &mut group.field {
                *field = Field::new(inputs, |input| field.line(input).is_some());
                continue;
            }
            for tile in &mut group.tiles {
                tile.weights.resize(inputs, Lane::ZERO);
                if !tile.first.is_empty() {
                    tile.first.resize(inputs, Lane::ZERO);
                    tile.second.resize(inputs, Lane::ZERO);
                }
            }
        }
        self.meet_viewers();
    }

    /// Draws the lines from input `from` on, normal with deviation 1; units beyond the last stay 0.
    pub fn draw(&mut self, seed: u64, name: &str, from: usize) {
        let (inputs, units) = (self.inputs, self.units);
        for input in from..inputs {
            let mut random = super::line_stream(seed, name, input);
            for group in &mut self.groups {
                let line = group.line(input);
                for (i, tile) in group.tiles.iter_mut().enumerate() {
                    for lane in 0..LANE.min(units - (group.first_block + i) * LANE) {
                        let weight = random.normal();
                        if let Some(line) = line {
                            tile.weights[line].0[lane] = weight;
                        }
                    }
                }
            }
        }
    }

    /// Multiplies the weights of each input by its factor.
    pub fn strengthen(&mut self, factors: &[f32]) {
        for group in &mut self.groups {
            for (input, &factor) in factors.iter().enumerate() {
                let Some(line) = group.line(input) else { continue };
                for tile in &mut group.tiles {
                    tile.weights[line].0.iter_mut().for_each(|w| *w *= factor);
                }
            }
        }
    }

    /// Multiplies the weights of line `from` on, not the biases, by `factor`.
    pub fn scale(&mut self, factor: f32, from: usize) {
        for tile in self.tiles_mut() {
            for line in tile.weights.iter_mut().skip(from) {
                line.0.iter_mut().for_each(|w| *w *= factor);
            }
        }
    }

    /// Gives every tile moments, zero at first.
    pub fn with_moments(&mut self) {
        for tile in self.tiles_mut() {
            tile.first.resize(tile.weights.len(), Lane::ZERO);
            tile.second.resize(tile.weights.len(), Lane::ZERO);
        }
    }

    /// Whether the optimiser remembers anything.
    pub fn has_moments(&self) -> bool {
        self.tiles().all(|tile| tile.first.len() == tile.weights.len())
    }

    /// The weights as `[inputs, units]`, row-major.
    pub fn plain(&self) -> Vec<f32> {
        self.untile(|tile| &tile.weights)
    }

    /// First and second moments as [`Self::plain`].
    pub fn plain_moments(&self) -> [Vec<f32>; 2] {
        [self.untile(|tile| &tile.first), self.untile(|tile| &tile.second)]
    }

    fn untile(&self, lines: impl Fn(&Tile) -> &[Lane]) -> Vec<f32> {
        let mut plain = vec![0.0; self.inputs * self.units];
        for group in &self.groups {
            for (block, tile) in (group.first_block..).zip(&group.tiles) {
                let from = block * LANE;
                let width = LANE.min(self.units - from);
                for (i, line) in lines(tile).iter().enumerate() {
                    let at = group.input(i) * self.units + from;
                    plain[at..at + width].copy_from_slice(&line.0[..width]);
                }
            }
        }
        plain
    }

    fn retile(&mut self, plain: &[f32], lines: impl Fn(&mut Tile) -> &mut Vec<Lane>) {
        let units = self.units;
        for group in &mut self.groups {
            let inputs: Vec<usize> = (0..group.lines(self.inputs)).map(|line| group.input(line)).collect();
            for (block, tile) in (group.first_block..).zip(&mut group.tiles) {
                let from = block * LANE;
                let width = LANE.min(units - from);
                let lines = lines(tile);
                lines.resize(inputs.len(), Lane::ZERO);
                for (line, input) in lines.iter_mut().zip(&inputs) {
                    let at = input * units + from;
                    line.0[..width].copy_from_slice(&plain[at..at + width]);
                }
            }
        }
    }

    /// Takes over weights as [`Self::plain`] gives them.
    pub fn set_plain(&mut self, plain: &[f32]) {
        self.retile(plain, |tile| &mut tile.weights);
    }

    /// Takes over moments as [`Self::plain_moments`] gives them.
    pub fn set_plain_moments(&mut self, first: &[f32], second: &[f32]) {
        self.retile(first, |tile| &mut tile.first);
        self.retile(second, |tile| &mut tile.second);
    }

    /// One number a unit, from each tile's lane.
    pub fn plain_lane(&self, lane: impl Fn(&Tile) -> &Lane) -> Vec<f32> {
        self.tiles().flat_map(|tile| lane(tile).0).take(self.units).collect()
    }

    /// Takes over one number a unit.
    pub fn set_plain_lane(&mut self, plain: &[f32], lane: impl Fn(&mut Tile) -> &mut Lane) {
        for (tile, values) in self.tiles_mut().zip(plain.chunks(LANE)) {
            lane(tile).0[..values.len()].copy_from_slice(values);
        }
    }

    /// The biases, `[units]`.
    pub fn plain_bias(&self) -> Vec<f32> {
        self.plain_lane(|tile| &tile.bias)
    }

    /// Takes over biases.
    pub fn set_plain_bias(&mut self, plain: &[f32]) {
        self.set_plain_lane(plain, |tile| &mut tile.bias);
    }

    /// The weight from `input` to `unit`; 0 where it is not seen.
    pub fn weight(&self, input: usize, unit: usize) -> f32 {
        let (group, tile) = self.at(unit / LANE);
        group.line(input).map_or(0.0, |line| tile.weights[line].0[unit % LANE])
    }

    /// The bias of `unit`.
    pub fn bias(&self, unit: usize) -> f32 {
        self.at(unit / LANE).1.bias.0[unit % LANE]
    }

    /// The tile of block `block`, and its group.
    fn at(&self, block: usize) -> (&Group, &Tile) {
        // Groups differ by one tile at most, so the right one is near.
        let guess = block * self.groups.len() / self.blocks();
        let near = self.groups[guess.saturating_sub(1)..].iter();
        let group = near.take_while(|group| group.first_block <= block).last().unwrap_or(&self.groups[0]);
        (group, &group.tiles[block - group.first_block])
    }
}

impl Group {
    /// The line of `input`, if it is seen.
    fn line(&self, input: usize) -> Option<usize> {
        self.field.as_ref().map_or(Some(input), |field| field.line(input))
    }

    /// The input that line `line` belongs to.
    fn input(&self, line: usize) -> usize {
        self.field.as_ref().map_or(line, |field| field.seen()[line] as usize)
    }

    /// How many lines its tiles have, of `inputs` inputs.
    fn lines(&self, inputs: usize) -> usize {
        self.field.as_ref().map_or(inputs, |field| field.seen().len())
    }
}
