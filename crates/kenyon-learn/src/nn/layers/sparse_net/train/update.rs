//! What threads do to the groups of units they own: forward, gradient of the input, update.

use super::part::Part;
use crate::nn::kernels::{self, Adam, Isa, LANE, Lane, Rows, Winners};
use crate::nn::layers::sparse_net::Layer;
use crate::nn::layers::sparse_net::layer::{Group, Tile};
use crate::nn::layers::sparse_net::slots::Slots;

/// A group with what is to be done to it.
pub(super) enum Work<'a> {
    Hidden { level: usize, blocks: usize, winners: f32, group: &'a mut Group },
    Readout(&'a mut Group),
    Skip(&'a mut Group),
}

impl Work<'_> {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Hidden { group, .. } | Self::Readout(group) | Self::Skip(group) => group.tiles.len(),
        }
    }
}

/// What the groups of a level learn from.
pub(super) struct Level<'a> {
    pub(super) isa: Isa,
    pub(super) feeds: Vec<Rows<'a>>,
    pub(super) parts: &'a [Part],
    pub(super) slots: Option<&'a Slots>,
    pub(super) adam: Adam,
    pub(super) rows: usize,
    pub(super) boost: f32,
}

/// Groups of more lines than this (a sixteenth of 4 MB) are asked for ahead of their use. Measured with two
/// megabytes of second cache: an epoch of two layers of 2,048 units takes 2.2 s instead of 3.1; with one of
/// 1,024, whose weights nearly fit, 0.62 instead of 0.52.
const AHEAD_FROM: usize = 4096;

/// The lines of `next`, one of so many tiles of a group, where it pays to ask for them ahead.
fn ahead(next: Option<&Tile>, tiles: usize) -> &[Lane] {
    next.map(|tile| &tile.weights[..]).filter(|lines| lines.len() * tiles > AHEAD_FROM).unwrap_or_default()
}

/// The part of `next` that is asked for beside the rows of `part`.
fn beside<'a>(next: &'a [Lane], part: &Part, rows: usize) -> &'a [Lane] {
    &next[part.first * next.len() / rows..(part.first + part.count) * next.len() / rows]
}

impl Level<'_> {
    /// A group of hidden layer `level` of `blocks` blocks: gradient of its input, then its update.
    pub(super) fn hidden(&self, level: usize, blocks: usize, share: f32, group: &mut Group) {
        let views = self.parts.iter().zip(&self.feeds).map(|(part, feed)| part.view(level, group, feed));
        let feeds: Vec<Rows<'_>> = views.collect();
        let Group { first_block, field, tiles, back, gradients, slots: own, .. } = group;
        let slots = match (self.slots, &field) {
            (Some(_), Some(field)) => {
                own.fill(&feeds, field.seen().len());
                Some(&*own)
            }
            (shared, _) => shared,
        };
        if level > 0 {
            back.resize_with(feeds.len(), Vec::new);
            for (feed, back) in feeds.iter().zip(&mut *back) {
                back.clear();
                back.resize(feed.stored(), 0.0);
            }
        }
        for i in 0..tiles.len() {
            let (until, after) = tiles.split_at_mut(i + 1);
            let tile = &mut until[i];
            let next = ahead(after.first(), i + 1 + after.len());
            let block = *first_block + i;
            if level > 0 {
                for ((part, feed), back) in self.parts.iter().zip(&feeds).zip(&mut *back) {
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
            let Some(slots) = slots else {
                for (part, feed) in feeds.iter().enumerate() {
                    let next = beside(next, &self.parts[part], self.rows);
                    kernels::update(self.isa, &mut tile.weights, &mut tile.bias, feed, &steps(part), block, next);
                }
                continue;
            };
            let mut bias = Lane::ZERO;
            let mut mask = Lane::ZERO;
            gradients.clear();
            gradients.resize(slots.unique().len(), Lane::ZERO);
            for (part, feed) in feeds.iter().enumerate() {
                let winners = steps(part);
                for row in 0..feed.len() {
                    winners.block(row, block).0.iter().for_each(|&unit| mask.0[Winners::lane(unit)] = 1.0);
                }
                kernels::update(self.isa, gradients, &mut bias, &slots.rows(part, feed), &winners, block, &[]);
            }
            self.adam(tile, slots, gradients, bias, &mask);
        }
    }

    /// A group all of whose outputs take part in every row.
    pub(super) fn dense(&self, group: &mut Group, steps: impl Fn(&Part) -> &Vec<Lane>) {
        let Group { first_block, tiles, gradients, .. } = group;
        for (i, tile) in tiles.iter_mut().enumerate() {
            let block = *first_block + i;
            let mut bias = Lane::ZERO;
            if let Some(slots) = self.slots {
                gradients.clear();
                gradients.resize(slots.unique().len(), Lane::ZERO);
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
                        let rows = slots.rows(at, &self.feeds[at]);
                        kernels::update_dense(self.isa, gradients, &mut bias, &rows, &steps[block..], stride);
                    }
                }
            }
            if let Some(slots) = self.slots {
                self.adam(tile, slots, gradients, bias, &Lane([1.0; LANE]));
            }
        }
    }

    fn adam(&self, tile: &mut Tile, slots: &Slots, gradients: &[Lane], bias: Lane, mask: &Lane) {
        let Tile { weights, first, second, .. } = tile;
        kernels::adam(self.isa, weights, first, second, slots.unique(), gradients, mask, &self.adam);
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
    pub(super) fn forward(&mut self, isa: Isa, feeds: &[Rows<'_>], rows: usize) {
        let stride = self.tiles.len();
        self.z.resize(rows * stride, Lane::ZERO);
        for (i, tile) in self.tiles.iter().enumerate() {
            let next = ahead(self.tiles.get(i + 1), stride);
            let mut first = 0;
            for feed in feeds {
                let (z, end) = (&mut self.z[first * stride + i..], first + feed.len());
                let next = &next[first * next.len() / rows..end * next.len() / rows];
                if !feed.is_empty() {
                    kernels::forward(isa, &tile.weights, &tile.bias, feed, z, stride, next);
                }
                first = end;
            }
        }
    }

    /// Pre-activations of row `row`.
    pub(super) fn row(&self, row: usize) -> &[Lane] {
        &self.z[row * self.tiles.len()..(row + 1) * self.tiles.len()]
    }
}

impl Layer {
    /// Scales the weights so that pre-activations of the present rows have deviation 1, and returns
    /// the factor. What √(2 / fan-in) wants to be, for the fan-in that is really active.
    pub(super) fn normalise(&mut self) -> f32 {
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
