//! A reading memory that keeps order: query reduction (Seo et al. 2017, "Query-Reduction Networks
//! for Question Answering") on slices. Each hop walks over the slots; a gate decides from slot and
//! question how much the slot's answer replaces what was carried so far, and what is carried at a
//! slot is the next hop's question there. Hops but the last walk both ways.
//!
//! The last state is a weighted sum over the slots, `Σ_t z_t Π_{s>t} (1 − z_s) r_t h̃_t`, so what
//! each slot adds to an answer can be told exactly.

use crate::nn::kernels::dense::{self, View, product};
use crate::nn::kernels::gated_scan;
use crate::nn::kernels::reads::{add_masked, slot_sum};
use crate::nn::memory::network::{Part, Places, Stories};
use crate::random::Random;
use std::ops::Range;

/// Sizes of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Words.
    pub words: usize,
    /// Numbers a slot or question is described by.
    pub width: usize,
    /// Walks over the slots.
    pub hops: usize,
    /// Latest slots that are seen.
    pub slots: usize,
    /// Classes, or 1.
    pub outputs: usize,
    /// Whether each number has its own gate instead of one a slot.
    pub wide_gates: bool,
}

impl Shape {
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
pub struct Plan {
    /// The sizes it follows from.
    pub shape: Shape,
    /// All parts.
    pub parts: Vec<Part>,
    words: Range<usize>,
    hops: Vec<Hop>,
    readout: Range<usize>,
    bias: Range<usize>,
}

impl Plan {
    /// Lays the weights out.
    pub fn new(shape: Shape) -> Self {
        let mut parts = Vec::new();
        let mut part = |name: String, shape: Vec<usize>| Part::push(&mut parts, name, shape);
        let (d, g) = (shape.width, shape.gates());
        let words = part("words".into(), vec![shape.words, d]);
        let hops = (0..shape.hops)
            .map(|i| Hop {
                slot: part(format!("hops.{i}.slot"), vec![d, d]),
                question: part(format!("hops.{i}.question"), vec![d, d]),
                bias: part(format!("hops.{i}.bias"), vec![d]),
                update: part(format!("hops.{i}.update"), vec![d, g]),
                update_bias: part(format!("hops.{i}.update_bias"), vec![g]),
                reset: part(format!("hops.{i}.reset"), vec![d, g]),
                reset_bias: part(format!("hops.{i}.reset_bias"), vec![g]),
            })
            .collect();
        let readout = part("readout".into(), vec![d, shape.outputs]);
        let bias = part("bias".into(), vec![shape.outputs]);
        Self { shape, parts, words, hops, readout, bias }
    }

    /// How many weights there are.
    pub fn len(&self) -> usize {
        self.bias.end
    }

    /// Whether there are none; never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fresh weights.
    pub fn fresh(&self, seed: u64) -> Vec<f32> {
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
            // Slots pass unread unless something speaks for them.
            w[hop.update_bias.clone()].fill(-1.0);
            w[hop.reset_bias.clone()].fill(1.0);
        }
        w
    }
}

/// What one hop leaves for its backward pass, over all slots of a chunk.
#[derive(Debug, Default)]
struct Walked {
    questions: Vec<f32>,
    matches: Vec<f32>,
    update: Vec<f32>,
    reset: Vec<f32>,
    candidate: Vec<f32>,
    forward: Vec<f32>,
    backward: Vec<f32>,
}

/// Everything computed for a chunk of rows; reused from chunk to chunk.
#[derive(Debug, Default)]
pub struct Tape {
    rows: Range<usize>,
    /// `[rows + 1]`, in slots seen.
    offsets: Vec<usize>,
    /// Number within the stories of each slot seen.
    seen: Vec<u32>,
    slots: Vec<f32>,
    first: Vec<f32>,
    drop: Vec<f32>,
    walked: Vec<Walked>,
    last: Vec<f32>,
    logits: Vec<f32>,
}

fn reset(buffer: &mut Vec<f32>, len: usize) {
    buffer.clear();
    buffer.resize(len, 0.0);
}

fn linear(x: &[f32], w: &[f32], y: &mut [f32], (n, i, o): (usize, usize, usize), keep: bool) {
    product((n, i, o), 1.0, x, View::rows(i), w, View::rows(o), keep, y, View::rows(o));
}

fn linear_weight(x: &[f32], dy: &[f32], dw: &mut [f32], (n, i, o): (usize, usize, usize)) {
    product((i, n, o), 1.0, x, View::transposed(i), dy, View::rows(o), true, dw, View::rows(o));
}

fn linear_input(dy: &[f32], w: &[f32], dx: &mut [f32], (n, i, o): (usize, usize, usize), keep: bool) {
    product((n, o, i), 1.0, dy, View::rows(o), w, View::transposed(o), keep, dx, View::rows(i));
}

impl Tape {
    /// The answers of the chunk's rows, `[rows, outputs]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The states that the readout sees, `[rows, width]`.
    pub fn states(&self) -> &[f32] {
        &self.last
    }

    /// What hop `hop` carries at the end of the chunk's only row, `[width]`.
    pub fn carried(&self, hop: usize) -> &[f32] {
        let forward = &self.walked[hop].forward;
        &forward[forward.len() - self.last.len()..]
    }

    /// Embeds questions and slots. A row without slots reads its own question once.
    fn embed(&mut self, plan: &Plan, places: &Places, w: &[f32], stories: &Stories) {
        let d = plan.shape.width;
        self.offsets.clear();
        self.offsets.push(0);
        self.seen.clear();
        for row in self.rows.clone() {
            let (start, end) = (stories.rows[row] as usize, stories.rows[row + 1] as usize);
            let first = if end == start + 1 { start } else { (start + 1).max(end.saturating_sub(plan.shape.slots)) };
            self.seen.extend((first..end).map(|s| s as u32));
            self.offsets.push(self.seen.len());
        }
        reset(&mut self.slots, self.seen.len() * d);
        for (slot, out) in self.seen.iter().zip(self.slots.chunks_exact_mut(d)) {
            embed_slot(plan, places, w, stories, *slot as usize, out);
        }
        reset(&mut self.first, self.rows.len() * d);
        for (row, out) in self.rows.clone().zip(self.first.chunks_exact_mut(d)) {
            embed_slot(plan, places, w, stories, stories.rows[row] as usize, out);
        }
    }

    /// Answers rows `rows`; `dropout` is the share of slot numbers dropped and their generator.
    pub fn forward(
        &mut self,
        plan: &Plan,
        places: &Places,
        w: &[f32],
        stories: &Stories,
        rows: Range<usize>,
        dropout: Option<(f32, &mut Random)>,
    ) {
        let (shape, d, g) = (&plan.shape, plan.shape.width, plan.shape.gates());
        self.rows = rows;
        self.embed(plan, places, w, stories);
        let (n, rows) = (self.seen.len(), self.rows.len());
        self.drop.clear();
        if let Some((share, random)) = dropout {
            let scale = 1.0 / (1.0 - share);
            self.drop.extend((0..n * d).map(|_| if random.uniform() < share { 0.0 } else { scale }));
            dense::multiply(&mut self.slots, &self.drop);
        }
        self.walked.resize_with(shape.hops, Walked::default);
        for k in 0..shape.hops {
            let (before, after) = self.walked.split_at_mut(k);
            let (hop, walked) = (&plan.hops[k], &mut after[0]);
            reset(&mut walked.questions, n * d);
            match before.last() {
                None => {
                    for row in 0..rows {
                        for at in self.offsets[row]..self.offsets[row + 1] {
                            walked.questions[at * d..(at + 1) * d].copy_from_slice(&self.first[row * d..(row + 1) * d]);
                        }
                    }
                }
                Some(previous) => {
                    walked.questions.copy_from_slice(&previous.forward);
                    dense::add(&mut walked.questions, &previous.backward);
                }
            }
            walked.matches.clone_from(&self.slots);
            dense::multiply(&mut walked.matches, &walked.questions);
            for (gate, weight, bias) in
                [(&mut walked.update, &hop.update, &hop.update_bias), (&mut walked.reset, &hop.reset, &hop.reset_bias)]
            {
                reset(gate, n * g);
                linear(&walked.matches, &w[weight.clone()], gate, (n, d, g), false);
                dense::add_bias(gate, &w[bias.clone()]);
                gated_scan::sigmoid(gate);
            }
            reset(&mut walked.candidate, n * d);
            linear(&self.slots, &w[hop.slot.clone()], &mut walked.candidate, (n, d, d), false);
            linear(&walked.questions, &w[hop.question.clone()], &mut walked.candidate, (n, d, d), true);
            dense::add_bias(&mut walked.candidate, &w[hop.bias.clone()]);
            gated_scan::tanh(&mut walked.candidate);
            reset(&mut walked.forward, n * d);
            reset(&mut walked.backward, n * d);
            for row in 0..rows {
                let at = self.offsets[row]..self.offsets[row + 1];
                let (values, gates) = (at.start * d..at.end * d, at.start * g..at.end * g);
                let (z, r) = (&walked.update[gates.clone()], &walked.reset[gates]);
                let h = &walked.candidate[values.clone()];
                gated_scan::walk(z, r, h, &mut walked.forward[values.clone()], d, false);
                if k + 1 < shape.hops {
                    gated_scan::walk(z, r, h, &mut walked.backward[values], d, true);
                }
            }
        }
        reset(&mut self.last, rows * d);
        for row in 0..rows {
            let at = self.offsets[row + 1] - 1;
            let from = self.walked.last().map_or(&self.slots, |walked| &walked.forward);
            self.last[row * d..(row + 1) * d].copy_from_slice(&from[at * d..(at + 1) * d]);
        }
        reset(&mut self.logits, rows * shape.outputs);
        linear(&self.last, &w[plan.readout.clone()], &mut self.logits, (rows, d, shape.outputs), false);
        dense::add_bias(&mut self.logits, &w[plan.bias.clone()]);
    }

    /// Adds the gradients for `dlogits` to `out`.
    pub fn backward(
        &mut self,
        plan: &Plan,
        places: &Places,
        w: &[f32],
        stories: &Stories,
        dlogits: &[f32],
        out: &mut [f32],
    ) {
        let (shape, d, g) = (&plan.shape, plan.shape.width, plan.shape.gates());
        let (n, rows) = (self.seen.len(), self.rows.len());
        dense::sum_rows(dlogits, &mut out[plan.bias.clone()]);
        linear_weight(&self.last, dlogits, &mut out[plan.readout.clone()], (rows, d, shape.outputs));
        let mut dlast = vec![0.0; rows * d];
        linear_input(dlogits, &w[plan.readout.clone()], &mut dlast, (rows, d, shape.outputs), false);
        let (mut dforward, mut dbackward) = (vec![0.0; n * d], vec![0.0; n * d]);
        for row in 0..rows {
            let at = self.offsets[row + 1] - 1;
            dforward[at * d..(at + 1) * d].copy_from_slice(&dlast[row * d..(row + 1) * d]);
        }
        let mut dslots = vec![0.0; n * d];
        let mut dmatches = vec![0.0; n * d];
        let (mut dz, mut dr, mut dh) = (vec![0.0; n * g], vec![0.0; n * g], vec![0.0; n * d]);
        for (k, (hop, walked)) in plan.hops.iter().zip(&self.walked).enumerate().rev() {
            dz.fill(0.0);
            dr.fill(0.0);
            dh.fill(0.0);
            for row in 0..rows {
                let at = self.offsets[row]..self.offsets[row + 1];
                let (values, gates) = (at.start * d..at.end * d, at.start * g..at.end * g);
                let known = gated_scan::Walk {
                    z: &walked.update[gates.clone()],
                    r: &walked.reset[gates.clone()],
                    h: &walked.candidate[values.clone()],
                    width: d,
                };
                let (dz, dr, dh) = (&mut dz[gates.clone()], &mut dr[gates], &mut dh[values.clone()]);
                gated_scan::walk_backward(
                    known,
                    &walked.forward[values.clone()],
                    &mut dforward[values.clone()],
                    dz,
                    dr,
                    dh,
                    false,
                );
                if k + 1 < shape.hops {
                    gated_scan::walk_backward(
                        known,
                        &walked.backward[values.clone()],
                        &mut dbackward[values],
                        dz,
                        dr,
                        dh,
                        true,
                    );
                }
            }
            gated_scan::tanh_backward(&mut dh, &walked.candidate);
            dense::sum_rows(&dh, &mut out[hop.bias.clone()]);
            linear_weight(&self.slots, &dh, &mut out[hop.slot.clone()], (n, d, d));
            linear_weight(&walked.questions, &dh, &mut out[hop.question.clone()], (n, d, d));
            linear_input(&dh, &w[hop.slot.clone()], &mut dslots, (n, d, d), true);
            let dquestions = &mut dforward;
            linear_input(&dh, &w[hop.question.clone()], dquestions, (n, d, d), false);
            dmatches.fill(0.0);
            for (gradient, gate, weight, bias) in [
                (&mut dz, &walked.update, &hop.update, &hop.update_bias),
                (&mut dr, &walked.reset, &hop.reset, &hop.reset_bias),
            ] {
                gated_scan::sigmoid_backward(gradient, gate);
                dense::sum_rows(gradient, &mut out[bias.clone()]);
                linear_weight(&walked.matches, gradient, &mut out[weight.clone()], (n, d, g));
                linear_input(gradient, &w[weight.clone()], &mut dmatches, (n, d, g), true);
            }
            gated_scan::match_backward(&dmatches, &self.slots, &walked.questions, &mut dslots, dquestions);
            dbackward.copy_from_slice(dquestions);
        }
        // The first hop's question is the same at every slot.
        let mut dfirst = vec![0.0; rows * d];
        for row in 0..rows {
            let at = self.offsets[row]..self.offsets[row + 1];
            dense::sum_rows(&dforward[at.start * d..at.end * d], &mut dfirst[row * d..(row + 1) * d]);
        }
        if !self.drop.is_empty() {
            dense::multiply(&mut dslots, &self.drop);
        }
        let out = &mut out[plan.words.clone()];
        for (slot, gradient) in self.seen.iter().zip(dslots.chunks_exact(d)) {
            embed_backward(places, stories, *slot as usize, gradient, out);
        }
        for (row, gradient) in self.rows.clone().zip(dfirst.chunks_exact(d)) {
            embed_backward(places, stories, stories.rows[row] as usize, gradient, out);
        }
    }

    /// For the chunk's only row: the bias of answer `output`, and for each slot seen its number
    /// within the stories, what it adds, and its mean weight. The rest is carried by nothing.
    pub fn terms(&self, plan: &Plan, w: &[f32], output: usize) -> (f32, Vec<(u32, f32, f32)>) {
        let (shape, d, g) = (&plan.shape, plan.shape.width, plan.shape.gates());
        let column = |i: usize| w[plan.readout.start + i * shape.outputs + output];
        let mut left = vec![1f32; d];
        let mut out = Vec::with_capacity(self.seen.len());
        for (at, slot) in self.seen.iter().enumerate().rev() {
            let (mut term, mut weight) = (0.0, 0.0);
            for (i, left) in left.iter_mut().enumerate() {
                match self.walked.last() {
                    Some(walked) => {
                        let gate = at * g + if g == 1 { 0 } else { i };
                        let share = walked.update[gate] * *left;
                        term += share * walked.reset[gate] * walked.candidate[at * d + i] * column(i);
                        weight += share / d as f32;
                        *left *= 1.0 - walked.update[gate];
                    }
                    None if at + 1 == self.seen.len() => term += self.slots[at * d + i] * column(i),
                    None => {}
                }
            }
            out.push((*slot, term, weight));
        }
        out.reverse();
        (w[plan.bias.start + output], out)
    }
}

fn embed_slot(plan: &Plan, places: &Places, w: &[f32], stories: &Stories, slot: usize, out: &mut [f32]) {
    let d = plan.shape.width;
    let words = stories.slot(slot);
    let length = words.len();
    for (j, word) in words.enumerate() {
        let id = plan.words.start + stories.words[word] as usize * d;
        slot_sum(out, &w[id..id + d], places.of(length, j), stories.values[word]);
    }
}

fn embed_backward(places: &Places, stories: &Stories, slot: usize, gradient: &[f32], out: &mut [f32]) {
    let d = gradient.len();
    let words = stories.slot(slot);
    let length = words.len();
    for (j, word) in words.enumerate() {
        let id = stories.words[word] as usize * d;
        add_masked(&mut out[id..id + d], gradient, places.of(length, j), stories.values[word]);
    }
}
