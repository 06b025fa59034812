//! Inference: rows through all layers, one after the other.

use super::layer::Layer;
use super::net::SparseNet;
use super::shape::{Hidden, SparseNetShape};
use crate::nn::kernels::{self, Isa, LANE, Lane, NarrowedRows, SparseRows, TopK};

/// The winners of some rows and their outputs, in compressed form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    /// `[rows + 1]`.
    pub(crate) offsets: Vec<u32>,
    /// Winning units, ascending in each row.
    pub(crate) units: Vec<u32>,
    /// Output of each winner, at least 0.
    pub(crate) values: Vec<f32>,
}

impl Code {
    /// Empties it, keeping the allocations.
    pub(crate) fn clear(&mut self) {
        self.offsets.clear();
        self.offsets.push(0);
        self.units.clear();
        self.values.clear();
    }

    /// As rows of a layer of `units` units.
    pub(crate) fn rows(&self, units: usize) -> SparseRows<'_> {
        match SparseRows::new(&self.offsets, &self.units, &self.values, units) {
            Some(rows) => rows,
            None => unreachable!("winners are units of their layer"),
        }
    }
}

/// Buffers of an inference, kept from call to call.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Pre-activations of the current layer, `[rows, blocks]`.
    z: Vec<Lane>,
    view: InputView,
    top: TopK,
    /// A code a hidden layer.
    pub(crate) codes: Vec<Code>,
    /// `[rows, output blocks]`.
    pub(crate) answers: Vec<Lane>,
}

impl Scratch {
    /// Appends the outputs of the last inference to `out`, `[rows, outputs]`.
    pub(crate) fn append_answers(&self, outputs: usize, out: &mut Vec<f32>) {
        for row in self.answers.chunks_exact(outputs.div_ceil(LANE).max(1)) {
            out.extend_from_slice(&Lane::flat(row)[..outputs]);
        }
    }
}

/// The inputs of some units, and their pre-activations.
#[derive(Clone, Debug, Default)]
pub(super) struct InputView {
    pub(super) narrowed: NarrowedRows,
    pub(super) z: Vec<[Lane; 2]>,
}

/// A hidden layer, independent of the layout of its weights.
pub(super) trait HiddenWeights {
    /// Width of what it reads.
    fn inputs(&self) -> usize;

    /// Pre-activations of all rows; returns how many lanes each row has.
    fn pre_activations(&self, isa: Isa, rows: &SparseRows<'_>, view: &mut InputView, z: &mut Vec<Lane>) -> usize;
}

impl HiddenWeights for Layer {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn pre_activations(&self, isa: Isa, rows: &SparseRows<'_>, view: &mut InputView, z: &mut Vec<Lane>) -> usize {
        let blocks = self.blocks();
        z.clear();
        z.resize(rows.len() * blocks, Lane::ZERO);
        if rows.is_empty() {
            return blocks;
        }
        if let Some(input_index) = &self.input_index {
            input_index.narrow(rows, false, &mut view.narrowed);
        }
        for group in &self.groups {
            let rows = if self.input_index.is_some() { view.narrowed.rows(group.number) } else { *rows };
            for (block, unit_block) in (group.first_block..).zip(&group.unit_blocks) {
                kernels::forward(isa, &unit_block.weights, &unit_block.bias, &rows, &mut z[block..], blocks, &[]);
            }
        }
        blocks
    }
}

impl SparseNet {
    /// Runs `rows` and leaves the codes and outputs in `scratch`. Does not allocate once it has run
    /// as many rows before.
    pub(crate) fn infer(&self, isa: Isa, rows: &SparseRows<'_>, scratch: &mut Scratch) {
        run(&self.shape, &self.hidden, self.readout.as_ref(), self.skip.as_ref(), isa, rows, scratch);
    }
}

/// Rows through all layers.
pub(super) fn run(
    shape: &SparseNetShape,
    hidden: &[impl HiddenWeights],
    readout: Option<&Layer>,
    skip: Option<&Layer>,
    isa: Isa,
    rows: &SparseRows<'_>,
    scratch: &mut Scratch,
) {
    let Scratch { z, view, top, codes, answers } = scratch;
    codes.resize_with(hidden.len(), Code::default);
    for (index, layer) in hidden.iter().enumerate() {
        let Hidden { units, winners, winner_groups, .. } = shape.hidden[index];
        let (before, after) = codes.split_at_mut(index);
        let lanes = match before.last() {
            None => layer.pre_activations(isa, rows, view, z),
            Some(code) => layer.pre_activations(isa, &code.rows(layer.inputs()), view, z),
        };
        let code = &mut after[0];
        code.clear();
        for row in z.chunks_exact(lanes) {
            let z = &Lane::flat(row)[..units];
            for (group, z) in z.chunks_exact(units / winner_groups).enumerate() {
                let from = code.units.len();
                kernels::top_k(isa, z, winners, top, &mut code.units);
                code.values.extend(code.units[from..].iter().map(|&unit| pass(z[unit as usize])));
                let first = (group * (units / winner_groups)) as u32;
                code.units[from..].iter_mut().for_each(|unit| *unit += first);
            }
            code.offsets.push(code.units.len() as u32);
        }
    }
    match (readout, codes.last()) {
        (Some(readout), Some(code)) => {
            readout.pre_activations(isa, &code.rows(readout.inputs), view, answers);
        }
        _ => {
            answers.clear();
            answers.resize(rows.len() * shape.outputs.div_ceil(LANE), Lane::ZERO);
        }
    }
    if let Some(skip) = skip {
        skip.pre_activations(isa, rows, view, z);
        for (answer, z) in answers.iter_mut().zip(z.iter()) {
            for l in 0..LANE {
                answer.0[l] += z.0[l];
            }
        }
    }
}

/// The output of a winner: its pre-activation where positive, and never more than is safe to compute with.
#[inline(always)]
pub(super) fn pass(z: f32) -> f32 {
    if z > 0.0 { z.min(1e30) } else { 0.0 }
}
