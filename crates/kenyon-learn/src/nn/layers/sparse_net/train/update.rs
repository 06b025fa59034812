//! Work of threads on the groups of units they own: forward, gradient of the input, update.

use super::row_share::RowShare;
use crate::nn::kernels::{self, AdamStep, BinSums, Isa, LANE, Lane, SparseRows, Winners};
use crate::nn::layers::sparse_net::layer::{Group, Layer, UnitBlock};
use crate::nn::layers::sparse_net::slots::Slots;

/// Weight of a mini-batch of `rows` rows in the running share of rows that a unit wins.
pub(crate) fn weight_of_rows(rows: f32) -> f32 {
    rows / (rows + 1000.0)
}

/// The factor of the score of a unit that wins a share `duty` of the rows where `share` is meant.
pub(crate) fn boosted_by(strength: f32, duty: f32, share: f32) -> f32 {
    (strength * (1.0 - duty / share)).exp()
}

/// A group with its task.
pub(super) enum Work<'a> {
    Hidden { level: usize, blocks: usize, winners: f32, group: &'a mut Group },
    Readout(&'a mut Group),
    Skip(&'a mut Group),
}

impl Work<'_> {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Hidden { group, .. } | Self::Readout(group) | Self::Skip(group) => group.unit_blocks.len(),
        }
    }
}

/// The inputs and gradients for the groups of a level.
pub(super) struct Level<'a> {
    pub(super) isa: Isa,
    pub(super) rows_in: Vec<SparseRows<'a>>,
    pub(super) parts: &'a [RowShare],
    /// Where gradients are gathered before they are applied: always with Adam.
    pub(super) slots: Option<&'a Slots>,
    /// None for plain gradient steps.
    pub(super) adam: Option<AdamStep>,
    pub(super) rows: usize,
    pub(super) boost: f32,
}

/// Groups of more lines than this (a sixteenth of 4 MB) are prefetched; the measurement is in
/// `benches/README.md`, "Prefetching".
const PREFETCH_FROM: usize = 4096;

/// The lines of `next`, one of `unit_blocks` blocks of a group, where prefetching them is faster.
fn prefetched(next: Option<&UnitBlock>, unit_blocks: usize) -> &[Lane] {
    next.map(|unit_block| &unit_block.weights[..])
        .filter(|lines| lines.len() * unit_blocks > PREFETCH_FROM)
        .unwrap_or_default()
}

/// The share of `next` that is prefetched while the rows of `part` are processed.
fn prefetch_share<'a>(next: &'a [Lane], part: &RowShare, rows: usize) -> &'a [Lane] {
    &next[part.first * next.len() / rows..(part.first + part.count) * next.len() / rows]
}

impl Level<'_> {
    /// A group of hidden layer `level` of `blocks` blocks: gradient of its input, then its update.
    pub(super) fn hidden(&self, level: usize, blocks: usize, share: f32, group: &mut Group) {
        let views = self.parts.iter().zip(&self.rows_in).map(|(part, row_in)| part.view(level, group, row_in));
        let rows_in: Vec<SparseRows<'_>> = views.collect();
        let Group { first_block, field, unit_blocks, back, gradients, slots: own, .. } = group;
        let slots = match (self.slots, &field) {
            (Some(_), Some(field)) => {
                own.fill(&rows_in, field.seen().len(), &BinSums::default());
                Some(&*own)
            }
            (shared, _) => shared,
        };
        if level > 0 {
            back.resize_with(rows_in.len(), Vec::new);
            for (row_in, back) in rows_in.iter().zip(&mut *back) {
                back.clear();
                back.resize(row_in.stored(), 0.0);
            }
        }
        let in_slots: Vec<SparseRows<'_>> = match slots {
            Some(slots) => rows_in.iter().enumerate().map(|(part, row_in)| slots.rows(part, row_in)).collect(),
            None => Vec::new(),
        };
        for i in 0..unit_blocks.len() {
            let (until, after) = unit_blocks.split_at_mut(i + 1);
            let unit_block = &mut until[i];
            let next = prefetched(after.first(), i + 1 + after.len());
            let block = *first_block + i;
            if level > 0 {
                for ((part, row_in), back) in self.parts.iter().zip(&rows_in).zip(&mut *back) {
                    let code = &part.codes[level];
                    let winners = Winners::new(&code.starts, blocks, &code.code.units, &code.deltas);
                    kernels::back_sparse(self.isa, &unit_block.weights, row_in, &winners, block, back);
                }
            }
            let wins = self.count(level, block, share, unit_block);
            let steps = |part: usize| {
                let code = &self.parts[part].codes[level];
                Winners::new(&code.starts, blocks, &code.code.units, &code.steps)
            };
            let Some(slots) = slots else {
                let UnitBlock { weights, bias, .. } = unit_block;
                for (part, row_in) in rows_in.iter().enumerate() {
                    let next = prefetch_share(next, &self.parts[part], self.rows);
                    kernels::update(self.isa, weights, bias, row_in, &steps(part), block, next);
                }
                continue;
            };
            let mut bias = Lane::ZERO;
            gradients.clear();
            gradients.resize(slots.count(), Lane::ZERO);
            for (part, row_in) in in_slots.iter().enumerate() {
                kernels::update(self.isa, gradients, &mut bias, row_in, &steps(part), block, &[]);
            }
            // Only units that won a row move.
            self.apply(unit_block, slots, gradients, bias, &wins);
        }
    }

    /// A group all of whose outputs are active in every row.
    pub(super) fn dense(&self, group: &mut Group, steps: impl Fn(&RowShare) -> &Vec<Lane>) {
        let Group { first_block, unit_blocks, gradients, .. } = group;
        for (i, unit_block) in unit_blocks.iter_mut().enumerate() {
            let block = *first_block + i;
            let mut bias = Lane::ZERO;
            if let Some(slots) = self.slots {
                gradients.clear();
                gradients.resize(slots.count(), Lane::ZERO);
            }
            for (at, part) in self.parts.iter().enumerate() {
                let steps = steps(part);
                let stride = steps.len() / part.count.max(1);
                match self.slots {
                    None => {
                        let UnitBlock { weights, bias, .. } = unit_block;
                        kernels::update_dense(self.isa, weights, bias, &self.rows_in[at], &steps[block..], stride);
                    }
                    Some(slots) => {
                        let rows = slots.rows(at, &self.rows_in[at]);
                        kernels::update_dense(self.isa, gradients, &mut bias, &rows, &steps[block..], stride);
                    }
                }
            }
            if let Some(slots) = self.slots {
                self.apply(unit_block, slots, gradients, bias, &Lane([1.0; LANE]));
            }
        }
    }

    /// One step on a block by the gradients gathered.
    fn apply(&self, unit_block: &mut UnitBlock, slots: &Slots, gradients: &mut [Lane], bias: Lane, mask: &Lane) {
        let UnitBlock { weights, first, second, bias: biases, bias_moments, .. } = unit_block;
        let mut step = |weights: &mut [Lane], gradients: &[Lane], ids: &[u32]| match &self.adam {
            Some(adam) => kernels::adam_lanes(self.isa, weights, first, second, ids, gradients, mask, adam),
            None => kernels::add_lines(weights, ids, gradients),
        };
        let unique = slots.unique();
        let mut done = 0;
        // Number by number, so that its lines are in the first cache through all three passes over them.
        for (run, touched) in slots.runs().iter().zip(slots.touched()) {
            let to = (run.first + run.bins) as usize;
            kernels::spread_bins(gradients, std::slice::from_ref(run));
            step(weights, &gradients[done..to], &unique[done..to]);
            kernels::sum_bins(weights, std::slice::from_ref(touched));
            done = to;
        }
        step(weights, &gradients[done..], &unique[done..]);
        let one = std::slice::from_mut;
        match &self.adam {
            Some(adam) => {
                let [m, v] = bias_moments;
                let plain = AdamStep { decay: 0.0, ..*adam };
                kernels::adam_lanes(self.isa, one(biases), one(m), one(v), &[0], &[bias], mask, &plain);
            }
            None => kernels::add_lines(one(biases), &[0], &[bias]),
        }
    }

    /// The rows that each unit won. Boosts units that win too rarely: `boost = exp(β (1 - duty / target))`.
    fn count(&self, level: usize, block: usize, share: f32, unit_block: &mut UnitBlock) -> Lane {
        let mut wins = Lane::ZERO;
        for part in self.parts {
            let own = &part.codes[level].wins[block];
            (0..LANE).for_each(|l| wins.0[l] += own.0[l]);
        }
        let rows = self.rows as f32;
        let weight = weight_of_rows(rows);
        for l in 0..LANE {
            unit_block.wins.0[l] += wins.0[l];
            unit_block.duty.0[l] += weight * (wins.0[l] / rows - unit_block.duty.0[l]);
            if self.boost > 0.0 {
                unit_block.boost.0[l] = boosted_by(self.boost, unit_block.duty.0[l], share);
            }
        }
        wins
    }
}

impl Group {
    /// Pre-activations of all rows, share after share.
    pub(super) fn forward(&mut self, isa: Isa, rows_in: &[SparseRows<'_>], rows: usize) {
        let stride = self.unit_blocks.len();
        self.z.resize(rows * stride, Lane::ZERO);
        for (i, unit_block) in self.unit_blocks.iter().enumerate() {
            let next = prefetched(self.unit_blocks.get(i + 1), stride);
            let mut first = 0;
            for row_in in rows_in {
                let (z, end) = (&mut self.z[first * stride + i..], first + row_in.len());
                let next = &next[first * next.len() / rows..end * next.len() / rows];
                if !row_in.is_empty() {
                    kernels::forward(isa, &unit_block.weights, &unit_block.bias, row_in, z, stride, next);
                }
                first = end;
            }
        }
    }

    /// Pre-activations of row `row`.
    pub(super) fn row(&self, row: usize) -> &[Lane] {
        &self.z[row * self.unit_blocks.len()..(row + 1) * self.unit_blocks.len()]
    }
}

impl Layer {
    /// Scales the weights so that pre-activations of the current rows have deviation 1, and returns
    /// the factor. This is √(2 / fan-in) for the fan-in that is really active.
    pub(super) fn normalise(&mut self) -> f32 {
        let (mut sum, mut squares, mut count) = (0.0f64, 0.0f64, 0usize);
        for group in &self.groups {
            for &z in Lane::flat(&group.z) {
                sum += f64::from(z);
                squares += f64::from(z) * f64::from(z);
            }
        }
        count += self.groups.iter().map(|g| g.z.len() / g.unit_blocks.len()).max().unwrap_or(0) * self.units;
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
