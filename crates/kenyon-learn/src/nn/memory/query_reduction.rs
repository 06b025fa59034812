//! Memory over slots in their order: query reduction (Seo et al. 2017, "Query-Reduction Networks
//! for Question Answering") on slices. Each hop scans the slots; a gate computed from slot and
//! question sets how much the slot's candidate replaces the carried state, and the state at a
//! slot is the next hop's question there. All hops but the last scan in both directions.
//!
//! The last state is a weighted sum over the slots, `Σ_t z_t Π_{s>t} (1 − z_s) r_t h̃_t`, so what
//! each slot adds to an answer is exact.

use crate::nn::kernels::dense::{self, reset};
use crate::nn::kernels::gated_scan;
use crate::nn::kernels::linear::{linear, linear_input_gradient, linear_weight_gradient};
use crate::nn::kernels::reads::{add_masked, slot_sum};
use crate::nn::memory::memory_network::{PositionEncoding, Stories};
use crate::nn::parameters::Parameters;
use crate::random::Random;
use std::ops::Range;

/// Sizes of the network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryReductionShape {
    /// Words.
    pub(crate) words: usize,
    /// Numbers a slot or question is described by.
    pub(crate) width: usize,
    /// Scans over the slots.
    pub(crate) hops: usize,
    /// Latest slots that are seen.
    pub(crate) slots: usize,
    /// Classes, or 1.
    pub(crate) outputs: usize,
    /// Whether each number has its own gate instead of one a slot.
    pub(crate) wide_gates: bool,
}

impl QueryReductionShape {
    fn gates(&self) -> usize {
        if self.wide_gates { self.width } else { 1 }
    }
}

/// Where the weights of a hop lie.
#[derive(Clone, Debug, PartialEq)]
struct Hop {
    slot: Range<usize>,
    question: Range<usize>,
    bias: Range<usize>,
    update: Range<usize>,
    update_bias: Range<usize>,
    reset: Range<usize>,
    reset_bias: Range<usize>,
}

/// Names, shapes and places of all weights in one slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryReductionLayout {
    /// The sizes it follows from.
    pub(crate) shape: QueryReductionShape,
    /// All parameters.
    pub(crate) parameters: Parameters,
    words: Range<usize>,
    hops: Vec<Hop>,
    readout: Range<usize>,
    bias: Range<usize>,
}

impl QueryReductionLayout {
    /// Lays the weights out.
    pub(crate) fn new(shape: QueryReductionShape) -> Self {
        let mut p = Parameters::default();
        let (d, g) = (shape.width, shape.gates());
        let words = p.add("words", &[shape.words, d]);
        let hops = (0..shape.hops)
            .map(|i| Hop {
                slot: p.add(format!("hops.{i}.slot"), &[d, d]),
                question: p.add(format!("hops.{i}.question"), &[d, d]),
                bias: p.add(format!("hops.{i}.bias"), &[d]),
                update: p.add(format!("hops.{i}.update"), &[d, g]),
                update_bias: p.add(format!("hops.{i}.update_bias"), &[g]),
                reset: p.add(format!("hops.{i}.reset"), &[d, g]),
                reset_bias: p.add(format!("hops.{i}.reset_bias"), &[g]),
            })
            .collect();
        let readout = p.add("readout", &[d, shape.outputs]);
        let bias = p.add("bias", &[shape.outputs]);
        Self { shape, parameters: p, words, hops, readout, bias }
    }

    /// How many weights there are.
    pub(crate) fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Fresh weights.
    pub(crate) fn fresh(&self, seed: u64) -> Vec<f32> {
        let mut w = vec![0.0; self.len()];
        let mut random = Random::stream(seed, "reduction", 0);
        let d = self.shape.width as f32;
        let mut fill = |range: &Range<usize>, std: f32| {
            for w in &mut w[range.clone()] {
                *w = random.normal() * std;
            }
        };
        fill(&self.words, (1.0 / d).sqrt().max(0.1));
        for hop in &self.hops {
            fill(&hop.slot, (1.0 / d).sqrt());
            fill(&hop.question, (1.0 / d).sqrt());
            fill(&hop.update, (1.0 / d).sqrt());
            fill(&hop.reset, (1.0 / d).sqrt());
        }
        fill(&self.readout, (1.0 / d).sqrt());
        for hop in &self.hops {
            // At first gates are mostly closed.
            w[hop.update_bias.clone()].fill(-1.0);
            w[hop.reset_bias.clone()].fill(1.0);
        }
        w
    }
}

/// What one hop leaves for its backward pass, over all slots of a chunk.
#[derive(Debug, Default)]
struct HopStates {
    questions: Vec<f32>,
    matches: Vec<f32>,
    update: Vec<f32>,
    reset: Vec<f32>,
    candidate: Vec<f32>,
    forward: Vec<f32>,
    backward: Vec<f32>,
}

impl HopStates {
    /// Gates and candidates from the slots and the questions, and what is carried forward and, if `both`, backward.
    fn scan(
        &mut self,
        shape: &QueryReductionShape,
        hop: &Hop,
        w: &[f32],
        slots: &[f32],
        offsets: &[usize],
        both: bool,
    ) {
        let (d, g) = (shape.width, shape.gates());
        let n = slots.len() / d;
        self.matches.clear();
        self.matches.extend_from_slice(slots);
        dense::multiply(&mut self.matches, &self.questions);
        for (gate, weight, bias) in
            [(&mut self.update, &hop.update, &hop.update_bias), (&mut self.reset, &hop.reset, &hop.reset_bias)]
        {
            reset(gate, n * g);
            linear(&self.matches, &w[weight.clone()], gate, (n, d, g), false);
            dense::add_bias(gate, &w[bias.clone()]);
            gated_scan::sigmoid(gate);
        }
        reset(&mut self.candidate, n * d);
        linear(slots, &w[hop.slot.clone()], &mut self.candidate, (n, d, d), false);
        linear(&self.questions, &w[hop.question.clone()], &mut self.candidate, (n, d, d), true);
        dense::add_bias(&mut self.candidate, &w[hop.bias.clone()]);
        gated_scan::tanh(&mut self.candidate);
        reset(&mut self.forward, n * d);
        reset(&mut self.backward, n * d);
        for row in offsets.windows(2) {
            let (values, gates) = (row[0] * d..row[1] * d, row[0] * g..row[1] * g);
            let (z, r) = (&self.update[gates.clone()], &self.reset[gates]);
            let h = &self.candidate[values.clone()];
            gated_scan::scan(z, r, h, &mut self.forward[values.clone()], d, false);
            if both {
                gated_scan::scan(z, r, h, &mut self.backward[values], d, true);
            }
        }
    }

    /// Backward of the scans: from the gradients of what is carried forward and backward to those of gates and
    /// candidates, which are added to.
    fn scan_backward(
        &self,
        shape: &QueryReductionShape,
        offsets: &[usize],
        (dforward, mut dbackward): (&mut [f32], Option<&mut [f32]>),
        (dz, dr, dh): (&mut [f32], &mut [f32], &mut [f32]),
    ) {
        let (d, g) = (shape.width, shape.gates());
        for row in offsets.windows(2) {
            let (values, gates) = (row[0] * d..row[1] * d, row[0] * g..row[1] * g);
            let known = gated_scan::ScanInputs {
                z: &self.update[gates.clone()],
                r: &self.reset[gates.clone()],
                h: &self.candidate[values.clone()],
                width: d,
            };
            let (dz, dr, dh) = (&mut dz[gates.clone()], &mut dr[gates], &mut dh[values.clone()]);
            let out = &self.forward[values.clone()];
            gated_scan::scan_backward(known, out, &mut dforward[values.clone()], dz, dr, dh, false);
            if let Some(dbackward) = dbackward.as_deref_mut() {
                let out = &self.backward[values.clone()];
                gated_scan::scan_backward(known, out, &mut dbackward[values], dz, dr, dh, true);
            }
        }
    }
}

/// Everything computed for a chunk of rows; reused from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct QueryReductionTape {
    rows: Range<usize>,
    /// `[rows + 1]`, in slots seen.
    offsets: Vec<usize>,
    /// Number within the stories of each slot seen.
    seen: Vec<u32>,
    slots: Vec<f32>,
    first: Vec<f32>,
    drop: Vec<f32>,
    states: Vec<HopStates>,
    last: Vec<f32>,
    logits: Vec<f32>,
}

impl QueryReductionTape {
    /// The answers of the chunk's rows, `[rows, outputs]`.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The states, the input of the readout, `[rows, width]`.
    pub(crate) fn states(&self) -> &[f32] {
        &self.last
    }

    /// The state of hop `hop` at the end of the chunk's only row, `[width]`.
    pub(crate) fn carried(&self, hop: usize) -> &[f32] {
        let forward = &self.states[hop].forward;
        &forward[forward.len() - self.last.len()..]
    }

    /// Embeds questions and slots. A row without slots reads its own question once.
    fn embed(&mut self, layout: &QueryReductionLayout, encoding: &PositionEncoding, w: &[f32], stories: &Stories) {
        let d = layout.shape.width;
        self.offsets.clear();
        self.offsets.push(0);
        self.seen.clear();
        for row in self.rows.clone() {
            let (start, end) = (stories.rows[row] as usize, stories.rows[row + 1] as usize);
            let first = if end == start + 1 { start } else { (start + 1).max(end.saturating_sub(layout.shape.slots)) };
            self.seen.extend((first..end).map(|s| s as u32));
            self.offsets.push(self.seen.len());
        }
        reset(&mut self.slots, self.seen.len() * d);
        for (slot, out) in self.seen.iter().zip(self.slots.chunks_exact_mut(d)) {
            embed_slot(layout, encoding, w, stories, *slot as usize, out);
        }
        reset(&mut self.first, self.rows.len() * d);
        for (row, out) in self.rows.clone().zip(self.first.chunks_exact_mut(d)) {
            embed_slot(layout, encoding, w, stories, stories.rows[row] as usize, out);
        }
    }

    /// Answers rows `rows`; `dropout` is the share of slot numbers dropped and their generator.
    pub(crate) fn forward(
        &mut self,
        layout: &QueryReductionLayout,
        encoding: &PositionEncoding,
        w: &[f32],
        stories: &Stories,
        rows: Range<usize>,
        dropout: Option<(f32, &mut Random)>,
    ) {
        let (shape, d) = (&layout.shape, layout.shape.width);
        self.rows = rows;
        self.embed(layout, encoding, w, stories);
        let (n, rows) = (self.seen.len(), self.rows.len());
        self.drop.clear();
        if let Some((share, random)) = dropout {
            let scale = 1.0 / (1.0 - share);
            self.drop.extend((0..n * d).map(|_| if random.uniform() < share { 0.0 } else { scale }));
            dense::multiply(&mut self.slots, &self.drop);
        }
        self.states.resize_with(shape.hops, HopStates::default);
        for k in 0..shape.hops {
            let (before, after) = self.states.split_at_mut(k);
            let (hop, states) = (&layout.hops[k], &mut after[0]);
            reset(&mut states.questions, n * d);
            match before.last() {
                None => {
                    for row in 0..rows {
                        for at in self.offsets[row]..self.offsets[row + 1] {
                            states.questions[at * d..(at + 1) * d].copy_from_slice(&self.first[row * d..(row + 1) * d]);
                        }
                    }
                }
                Some(previous) => {
                    states.questions.copy_from_slice(&previous.forward);
                    dense::add(&mut states.questions, &previous.backward);
                }
            }
            states.scan(shape, hop, w, &self.slots, &self.offsets, k + 1 < shape.hops);
        }
        reset(&mut self.last, rows * d);
        for row in 0..rows {
            let at = self.offsets[row + 1] - 1;
            let from = self.states.last().map_or(&self.slots, |states| &states.forward);
            self.last[row * d..(row + 1) * d].copy_from_slice(&from[at * d..(at + 1) * d]);
        }
        reset(&mut self.logits, rows * shape.outputs);
        linear(&self.last, &w[layout.readout.clone()], &mut self.logits, (rows, d, shape.outputs), false);
        dense::add_bias(&mut self.logits, &w[layout.bias.clone()]);
    }

    /// Adds the gradients for `dlogits` to `out`.
    pub(crate) fn backward(
        &mut self,
        layout: &QueryReductionLayout,
        encoding: &PositionEncoding,
        w: &[f32],
        stories: &Stories,
        dlogits: &[f32],
        out: &mut [f32],
    ) {
        let (shape, d, g) = (&layout.shape, layout.shape.width, layout.shape.gates());
        let (n, rows) = (self.seen.len(), self.rows.len());
        dense::sum_rows(dlogits, &mut out[layout.bias.clone()]);
        linear_weight_gradient(&self.last, dlogits, &mut out[layout.readout.clone()], (rows, d, shape.outputs));
        let mut dlast = vec![0.0; rows * d];
        linear_input_gradient(dlogits, &w[layout.readout.clone()], &mut dlast, (rows, d, shape.outputs), false);
        let (mut dforward, mut dbackward) = (vec![0.0; n * d], vec![0.0; n * d]);
        for row in 0..rows {
            let at = self.offsets[row + 1] - 1;
            dforward[at * d..(at + 1) * d].copy_from_slice(&dlast[row * d..(row + 1) * d]);
        }
        let mut dslots = vec![0.0; n * d];
        let mut dmatches = vec![0.0; n * d];
        let (mut dz, mut dr, mut dh) = (vec![0.0; n * g], vec![0.0; n * g], vec![0.0; n * d]);
        for (k, (hop, states)) in layout.hops.iter().zip(&self.states).enumerate().rev() {
            dz.fill(0.0);
            dr.fill(0.0);
            dh.fill(0.0);
            let carried = (&mut dforward[..], (k + 1 < shape.hops).then_some(&mut dbackward[..]));
            states.scan_backward(shape, &self.offsets, carried, (&mut dz[..], &mut dr[..], &mut dh[..]));
            gated_scan::tanh_backward(&mut dh, &states.candidate);
            dense::sum_rows(&dh, &mut out[hop.bias.clone()]);
            linear_weight_gradient(&self.slots, &dh, &mut out[hop.slot.clone()], (n, d, d));
            linear_weight_gradient(&states.questions, &dh, &mut out[hop.question.clone()], (n, d, d));
            linear_input_gradient(&dh, &w[hop.slot.clone()], &mut dslots, (n, d, d), true);
            let dquestions = &mut dforward;
            linear_input_gradient(&dh, &w[hop.question.clone()], dquestions, (n, d, d), false);
            dmatches.fill(0.0);
            for (gradient, gate, weight, bias) in [
                (&mut dz, &states.update, &hop.update, &hop.update_bias),
                (&mut dr, &states.reset, &hop.reset, &hop.reset_bias),
            ] {
                gated_scan::sigmoid_backward(gradient, gate);
                dense::sum_rows(gradient, &mut out[bias.clone()]);
                linear_weight_gradient(&states.matches, gradient, &mut out[weight.clone()], (n, d, g));
                linear_input_gradient(gradient, &w[weight.clone()], &mut dmatches, (n, d, g), true);
            }
            gated_scan::match_backward(&dmatches, &self.slots, &states.questions, &mut dslots, dquestions);
            dbackward.copy_from_slice(dquestions);
        }
        if !self.drop.is_empty() {
            dense::multiply(&mut dslots, &self.drop);
        }
        self.words_backward(layout, encoding, stories, (&dslots, &dforward), out);
    }

    /// Adds the gradients of the slots and of the first hop's question to those of the words.
    fn words_backward(
        &self,
        layout: &QueryReductionLayout,
        encoding: &PositionEncoding,
        stories: &Stories,
        (dslots, dforward): (&[f32], &[f32]),
        out: &mut [f32],
    ) {
        let (rows, d) = (self.rows.len(), layout.shape.width);
        // The first hop's question is the same at every slot.
        let mut dfirst = vec![0.0; rows * d];
        for row in 0..rows {
            let at = self.offsets[row]..self.offsets[row + 1];
            dense::sum_rows(&dforward[at.start * d..at.end * d], &mut dfirst[row * d..(row + 1) * d]);
        }
        let out = &mut out[layout.words.clone()];
        for (slot, gradient) in self.seen.iter().zip(dslots.chunks_exact(d)) {
            embed_backward(encoding, stories, *slot as usize, gradient, out);
        }
        for (row, gradient) in self.rows.clone().zip(dfirst.chunks_exact(d)) {
            embed_backward(encoding, stories, stories.rows[row] as usize, gradient, out);
        }
    }

    /// For the chunk's only row: the bias of answer `output`, and for each slot seen its number
    /// within the stories, what it adds, and its mean weight. The rest is carried by nothing.
    pub(crate) fn terms(&self, layout: &QueryReductionLayout, w: &[f32], output: usize) -> (f32, Vec<(u32, f32, f32)>) {
        let (shape, d, g) = (&layout.shape, layout.shape.width, layout.shape.gates());
        let column = |i: usize| w[layout.readout.start + i * shape.outputs + output];
        let mut left = vec![1f32; d];
        let mut out = Vec::with_capacity(self.seen.len());
        for (at, slot) in self.seen.iter().enumerate().rev() {
            let (mut term, mut weight) = (0.0, 0.0);
            for (i, left) in left.iter_mut().enumerate() {
                match self.states.last() {
                    Some(states) => {
                        let gate = at * g + if g == 1 { 0 } else { i };
                        let share = states.update[gate] * *left;
                        term += share * states.reset[gate] * states.candidate[at * d + i] * column(i);
                        weight += share / d as f32;
                        *left *= 1.0 - states.update[gate];
                    }
                    None if at + 1 == self.seen.len() => term += self.slots[at * d + i] * column(i),
                    None => {}
                }
            }
            out.push((*slot, term, weight));
        }
        out.reverse();
        (w[layout.bias.start + output], out)
    }
}

fn embed_slot(
    layout: &QueryReductionLayout,
    encoding: &PositionEncoding,
    w: &[f32],
    stories: &Stories,
    slot: usize,
    out: &mut [f32],
) {
    let d = layout.shape.width;
    let words = stories.slot(slot);
    let length = words.len();
    for (j, word) in words.enumerate() {
        let id = layout.words.start + stories.words[word] as usize * d;
        slot_sum(out, &w[id..id + d], encoding.of(length, j), stories.values[word]);
    }
}

fn embed_backward(encoding: &PositionEncoding, stories: &Stories, slot: usize, gradient: &[f32], out: &mut [f32]) {
    let d = gradient.len();
    let words = stories.slot(slot);
    let length = words.len();
    for (j, word) in words.enumerate() {
        let id = stories.words[word] as usize * d;
        add_masked(&mut out[id..id + d], gradient, encoding.of(length, j), stories.values[word]);
    }
}
