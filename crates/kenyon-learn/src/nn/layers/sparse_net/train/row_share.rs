//! Some rows of a mini-batch, one thread's at a time: their winners, answers, losses and gradients.

use super::step::{Labels, NO_LABEL, Step};
use crate::nn::kernels::{self, BinSums, InputIndex, Isa, LANE, Lane, NarrowedRows, SparseRows, TopK};
use crate::nn::layers::sparse_net::forward::{Code, pass};
use crate::nn::layers::sparse_net::layer::{Group, Layer};
use crate::nn::layers::sparse_net::net::SparseNet;
use crate::nn::layers::sparse_net::shape::SparseNetShape;
use crate::random::Random;

/// Largest norm with which a row enters a gradient. A row that is larger is scaled down, so that one
/// extreme row (1e30) cannot destroy the weights.
const LARGEST_ROW: f32 = 100.0;

/// Some rows of a mini-batch, one thread's at a time.
#[derive(Debug, Default)]
pub(super) struct RowShare {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) codes: Vec<ShareCode>,
    /// The rows narrowed to the inputs of each group of a level, where groups do not have all inputs.
    pub(super) narrowed: Vec<NarrowedRows>,
    top: TopK,
    scores: Vec<f32>,
    z: Vec<f32>,
    answers: Vec<Lane>,
    /// Gradient of the answers, then what is added to the weights of the readout and the skip.
    gradients: Vec<Lane>,
    pub(super) readout_steps: Vec<Lane>,
    pub(super) skip_steps: Vec<Lane>,
    pub(super) losses: Vec<f32>,
    /// Factor of each row's gradient at each level; see [`LARGEST_ROW`].
    pub(super) factors: Vec<Vec<f32>>,
}

/// A hidden layer's winners for the rows of a share.
#[derive(Debug, Default)]
pub(super) struct ShareCode {
    pub(super) code: Code,
    /// `[rows, blocks + 1]`; see [`Winners`].
    pub(super) starts: Vec<u32>,
    /// Rows that each unit won, a block each.
    pub(super) wins: Vec<Lane>,
    /// Gradient of each winner's pre-activation.
    pub(super) deltas: Vec<f32>,
    /// What is added to each winner's bias, and times the input to its weights.
    pub(super) steps: Vec<f32>,
}

impl RowShare {
    /// The input of level `level`: the rows themselves, or the code of the layer below.
    pub(super) fn row_in<'a>(&'a self, level: usize, rows: &SparseRows<'a>, shape: &SparseNetShape) -> SparseRows<'a> {
        match level.checked_sub(1) {
            None => *rows,
            Some(below) => self.codes[below].code.rows(shape.hidden[below].units),
        }
    }

    /// The rows `row_in` narrowed to the inputs of group `group` of level `level`.
    pub(super) fn view<'a>(&'a self, level: usize, group: &Group, row_in: &SparseRows<'a>) -> SparseRows<'a> {
        if group.field.is_some() { self.narrowed[level].rows(group.number) } else { *row_in }
    }

    /// Narrows the input of level `level`, whose layer has `input_index`.
    pub(super) fn narrow(
        &mut self,
        level: usize,
        input_index: &InputIndex,
        rows: &SparseRows<'_>,
        shape: &SparseNetShape,
    ) {
        let mut narrowed = std::mem::take(&mut self.narrowed[level]);
        input_index.narrow(&self.row_in(level, rows, shape), level > 0, &mut narrowed);
        self.narrowed[level] = narrowed;
    }

    /// Finds the winners of these rows and their outputs.
    pub(super) fn compete(&mut self, isa: Isa, level: usize, layer: &Layer, winners: usize, step: &Step, seed: u64) {
        let Self { first, count, codes, top, scores, z, .. } = self;
        let ShareCode { code, starts, wins, .. } = &mut codes[level];
        code.clear();
        starts.clear();
        wins.clear();
        wins.resize(layer.blocks(), Lane::ZERO);
        let boosts: Vec<f32> =
            if step.boost > 0.0 { layer.plain_lane(|unit_block| &unit_block.boost) } else { Vec::new() };
        for row in *first..*first + *count {
            z.clear();
            layer.groups.iter().for_each(|group| z.extend_from_slice(Lane::flat(group.row(row))));
            z.truncate(layer.units);
            let from = code.units.len();
            if boosts.is_empty() {
                kernels::top_k(isa, z, winners, top, &mut code.units);
            } else {
                scores.resize(z.len(), 0.0);
                kernels::boosted(z, &boosts, scores);
                kernels::top_k(isa, scores, winners, top, &mut code.units);
            }
            code.values.extend(code.units[from..].iter().map(|&unit| pass(z[unit as usize])));
            code.units[from..].iter().for_each(|&unit| wins[unit as usize / LANE].0[unit as usize % LANE] += 1.0);
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

    /// Outputs of these rows, their losses, and all gradients that depend on a row alone.
    pub(super) fn answer(
        &mut self,
        isa: Isa,
        net: &SparseNet,
        rows: &SparseRows<'_>,
        targets: Labels<'_>,
        step: &Step,
        scale: f32,
    ) {
        let outputs = net.shape.outputs;
        let blocks = outputs.div_ceil(LANE);
        let levels = net.hidden.len();
        self.read_out(isa, net, blocks);
        self.gradients.clear();
        self.gradients.resize(self.count * blocks, Lane::ZERO);
        for i in 0..self.count {
            let range = i * blocks..(i + 1) * blocks;
            let answer = &Lane::flat(&self.answers[range.clone()])[..outputs];
            let gradient = &mut self.gradients[range];
            let put = |at: usize, value: f32| gradient[at / LANE].0[at % LANE] = value;
            self.losses[i] = loss(answer, targets, self.first + i, step.smoothing, put);
        }
        self.limit(0, isa, rows, &net.shape.sums());
        for level in 1..=levels {
            let code = std::mem::take(&mut self.codes[level - 1].code);
            self.limit(level, isa, &code.rows(net.shape.hidden[level - 1].units), &BinSums::default());
            self.codes[level - 1].code = code;
        }
        let factors = &self.factors[0];
        scaled_into(&self.gradients, factors, scale, blocks, &mut self.skip_steps);
        if let Some(readout) = &net.readout {
            let width = readout.inputs;
            let last = levels - 1;
            let code = std::mem::take(&mut self.codes[last].code);
            let row_in = code.rows(width);
            scaled_into(&self.gradients, &self.factors[levels], scale, blocks, &mut self.readout_steps);
            let ShareCode { deltas, .. } = &mut self.codes[last];
            deltas.clear();
            deltas.resize(code.units.len(), 0.0);
            for (block, unit_block) in readout.unit_blocks().enumerate() {
                kernels::back_dense(isa, &unit_block.weights, &row_in, &self.gradients[block..], blocks, deltas);
            }
            self.codes[last].code = code;
            self.finish_deltas(last, scale, step.dropout);
        }
    }

    /// Outputs of these rows, in `blocks` lanes each.
    fn read_out(&mut self, isa: Isa, net: &SparseNet, blocks: usize) {
        self.answers.clear();
        self.answers.resize(self.count * blocks, Lane::ZERO);
        if let (Some(readout), true) = (&net.readout, self.count > 0) {
            let row_in = self.codes[net.hidden.len() - 1].code.rows(readout.inputs);
            for (block, unit_block) in readout.unit_blocks().enumerate() {
                kernels::forward(
                    isa,
                    &unit_block.weights,
                    &unit_block.bias,
                    &row_in,
                    &mut self.answers[block..],
                    blocks,
                    &[],
                );
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
    }

    /// Factors that keep rows of extreme size from destroying the weights.
    fn limit(&mut self, level: usize, isa: Isa, rows: &SparseRows<'_>, sums: &BinSums) {
        let factors = &mut self.factors[level];
        factors.clear();
        for row in 0..rows.len() {
            let (indices, values) = rows.row(row);
            let mut norm = norm(isa, values);
            if !sums.is_empty() {
                // A sum represents as many full bins as are in it.
                let full: u32 = indices.iter().map(|&index| sums.summed(index) - 1).sum();
                norm = norm.hypot((full as f32).sqrt());
            }
            factors.push(if norm > LARGEST_ROW { LARGEST_ROW / norm } else { 1.0 });
        }
    }

    /// Gradients of winners with output zero are zero; steps follow from the rest.
    fn finish_deltas(&mut self, level: usize, scale: f32, dropout: f32) {
        let ShareCode { code, deltas, steps, .. } = &mut self.codes[level];
        steps.clear();
        steps.resize(deltas.len(), 0.0);
        let keep = 1.0 / (1.0 - dropout);
        for (row, &factor) in self.factors[level].iter().enumerate() {
            let of_row = code.offsets[row] as usize..code.offsets[row + 1] as usize;
            let winners = deltas[of_row.clone()].iter_mut().zip(&mut steps[of_row.clone()]).zip(&code.values[of_row]);
            for ((delta, step), &value) in winners {
                *delta = if value > 0.0 { *delta * keep } else { 0.0 };
                *step = *delta * scale * factor;
            }
        }
    }

    /// Sums the groups' shares of the gradient of the code below `level`.
    pub(super) fn gather(&mut self, level: usize, part: usize, layer: &Layer, scale: f32, dropout: f32) {
        let below = level - 1;
        let ShareCode { code, deltas, .. } = &mut self.codes[below];
        deltas.clear();
        deltas.resize(code.units.len(), 0.0);
        for group in &layer.groups {
            match &group.field {
                None => deltas.iter_mut().zip(&group.back[part]).for_each(|(delta, share)| *delta += share),
                Some(_) => {
                    let shares = self.narrowed[level].origins(group.number).iter().zip(&group.back[part]);
                    shares.for_each(|(&origin, share)| deltas[origin as usize] += share);
                }
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

/// The loss of one row, and its gradient to `put`, which is not called for what is 0.
pub(crate) fn loss(
    answer: &[f32],
    targets: Labels<'_>,
    row: usize,
    smoothing: f32,
    mut put: impl FnMut(usize, f32),
) -> f32 {
    match targets {
        Labels::Classes(classes, weights) => {
            let class = classes[row];
            if class == NO_LABEL || class as usize >= answer.len() {
                return 0.0;
            }
            let weight = weights.map_or(1.0, |weights| weights[row]);
            let most = answer.iter().fold(f32::NEG_INFINITY, |most, &a| most.max(a));
            let sum: f32 = answer.iter().map(|a| (a - most).exp()).sum();
            let wrong = smoothing / answer.len() as f32;
            for (at, a) in answer.iter().enumerate() {
                let aim = if at == class as usize { 1.0 - smoothing + wrong } else { wrong };
                put(at, weight * ((a - most).exp() / sum - aim));
            }
            weight * (sum.ln() + most - answer[class as usize]).min(1e30)
        }
        Labels::Values(values, weights) => {
            let value = values[row];
            if !value.is_finite() {
                return 0.0;
            }
            // Huber's loss, square up to 10 deviations: beyond, one row would dominate.
            let weight = weights.map_or(1.0, |weights| weights[row]);
            let error = answer[0] - value;
            put(0, weight * error.clamp(-10.0, 10.0));
            weight * if error.abs() <= 10.0 { 0.5 * error * error } else { (10.0 * error.abs() - 50.0).min(1e30) }
        }
    }
}
