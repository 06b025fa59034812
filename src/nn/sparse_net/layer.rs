//! One layer's weights, tiled by blocks of 16 units and dealt to groups that threads own.

use crate::nn::kernels::{LANE, Lane};

/// At most this many groups a layer: enough to share among the cores of a small machine, few enough
/// that summing a gradient over them costs nothing. Never depends on the number of threads.
const GROUPS: usize = 16;

/// Sixteen units: a line of weights an input, their biases, and what the optimiser remembers.
#[derive(Clone, Debug, Default)]
pub struct Tile {
    /// `[inputs]` lines.
    pub weights: Vec<Lane>,
    /// A bias a unit.
    pub bias: Lane,
    /// First moments, `[inputs]` lines; empty until Adam needs them.
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
    /// Place of the first tile in the layer.
    pub first_block: usize,
    /// The tiles.
    pub tiles: Vec<Tile>,
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
}

impl Layer {
    /// A layer of zeros.
    pub fn zeros(inputs: usize, units: usize) -> Self {
        let blocks = units.div_ceil(LANE);
        let count = blocks.clamp(1, GROUPS);
        let groups = (0..count)
            .map(|g| {
                let (from, to) = (g * blocks / count, (g + 1) * blocks / count);
                let tile = Tile { weights: vec![Lane::ZERO; inputs], boost: Lane([1.0; LANE]), ..Tile::default() };
                Group { first_block: from, tiles: vec![tile; to - from], ..Group::default() }
            })
            .collect();
        Self { inputs, units, groups }
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

    /// Adds lines of zeros for new inputs.
    pub fn grow(&mut self, inputs: usize) {
        self.inputs = inputs;
        for tile in self.tiles_mut() {
            tile.weights.resize(inputs, Lane::ZERO);
            if !tile.first.is_empty() {
                tile.first.resize(inputs, Lane::ZERO);
                tile.second.resize(inputs, Lane::ZERO);
            }
        }
    }

    /// Draws the lines from input `from` on, normal with deviation 1; units beyond the last stay 0.
    pub fn draw(&mut self, seed: u64, name: &str, from: usize) {
        let (inputs, units) = (self.inputs, self.units);
        for input in from..inputs {
            let mut random = super::line_stream(seed, name, input);
            for (block, tile) in self.tiles_mut().enumerate() {
                for lane in 0..LANE.min(units - block * LANE) {
                    tile.weights[input].0[lane] = random.normal();
                }
            }
        }
    }

    /// Multiplies all weights, not the biases, by `factor`.
    pub fn scale(&mut self, factor: f32, from: usize) {
        for tile in self.tiles_mut() {
            for line in &mut tile.weights[from..] {
                line.0.iter_mut().for_each(|w| *w *= factor);
            }
        }
    }

    /// Gives every tile moments, zero at first.
    pub fn with_moments(&mut self) {
        let inputs = self.inputs;
        for tile in self.tiles_mut() {
            tile.first.resize(inputs, Lane::ZERO);
            tile.second.resize(inputs, Lane::ZERO);
        }
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
        for (block, tile) in self.tiles().enumerate() {
            let from = block * LANE;
            let width = LANE.min(self.units - from);
            for (input, line) in lines(tile).iter().enumerate() {
                let at = input * self.units + from;
                plain[at..at + width].copy_from_slice(&line.0[..width]);
            }
        }
        plain
    }

    fn retile(&mut self, plain: &[f32], lines: impl Fn(&mut Tile) -> &mut Vec<Lane>) {
        let (inputs, units) = (self.inputs, self.units);
        for (block, tile) in self.tiles_mut().enumerate() {
            let from = block * LANE;
            let width = LANE.min(units - from);
            let lines = lines(tile);
            lines.resize(inputs, Lane::ZERO);
            for (input, line) in lines.iter_mut().enumerate() {
                let at = input * units + from;
                line.0[..width].copy_from_slice(&plain[at..at + width]);
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

    /// The weight from `input` to `unit`.
    pub fn weight(&self, input: usize, unit: usize) -> f32 {
        self.tile(unit / LANE).weights[input].0[unit % LANE]
    }

    /// The bias of `unit`.
    pub fn bias(&self, unit: usize) -> f32 {
        self.tile(unit / LANE).bias.0[unit % LANE]
    }

    /// The tile of block `block`.
    pub fn tile(&self, block: usize) -> &Tile {
        // Groups differ by one tile at most, so the right one is near.
        let guess = block * self.groups.len() / self.blocks();
        let near = self.groups[guess.saturating_sub(1)..].iter();
        let group = near.take_while(|group| group.first_block <= block).last().unwrap_or(&self.groups[0]);
        &group.tiles[block - group.first_block]
    }
}
