//! An end-to-end memory network (Sukhbaatar et al. 2015, "End-To-End Memory Networks") on slices:
//! a question reads slots in several hops, each hop's answer adding to the question.
//!
//! Adjacent tying: table `h` embeds the keys of hop `h` and table `h + 1` its values, so a slot is
//! embedded once into `hops + 1` vectors that lie side by side, and one pass over its words makes
//! them all. The readout is a table of its own, since answers need not be words.

use crate::data::Batch;
use crate::nn::kernels::dense;
use crate::nn::kernels::reads::{add_masked, slot_sum};
use crate::nn::parameters::Parameters;
use crate::random::Random;
use std::ops::Range;

/// Rows as slots of words. Slot 0 of each row is its question, the others are in time order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stories {
    /// `[rows + 1]`, in slots.
    pub(crate) rows: Vec<u32>,
    /// `[slots + 1]`, in words.
    pub(crate) slots: Vec<u32>,
    /// Word numbers, each below the vocabulary's size.
    pub(crate) words: Vec<u32>,
    /// A value for each word.
    pub(crate) values: Vec<f32>,
    /// The batch's entry each word comes from.
    pub(crate) origin: Vec<u32>,
    /// The batch's token each slot comes from; the question may have several, then `u32::MAX`.
    pub(crate) tokens: Vec<u32>,
}

impl Stories {
    /// Rows of a batch as question and slots: tokens of the fields of `story_fields` are slots, the others the question.
    pub(crate) fn new(batch: &Batch, rows: Range<usize>, story_fields: &[bool]) -> Self {
        let mut out = Self { rows: vec![0], slots: vec![0], ..Self::default() };
        let is_story = |token: usize| {
            batch.fields.get(token).is_some_and(|field| story_fields.get(usize::from(*field)).copied().unwrap_or(false))
        };
        let push = |out: &mut Self, token: usize| {
            let entries = batch.token_offsets[token]..batch.token_offsets[token + 1];
            let (indices, values) = batch.token(token);
            out.words.extend_from_slice(indices);
            out.values.extend_from_slice(values);
            out.origin.extend(entries);
        };
        for row in rows {
            batch.row(row).filter(|token| !is_story(*token)).for_each(|token| push(&mut out, token));
            out.slots.push(out.words.len() as u32);
            out.tokens.push(u32::MAX);
            for token in batch.row(row).filter(|token| is_story(*token)) {
                push(&mut out, token);
                out.slots.push(out.words.len() as u32);
                out.tokens.push(token as u32);
            }
            out.rows.push(out.slots.len() as u32 - 1);
        }
        out
    }

    /// Words of slot `slot`.
    pub(crate) fn slot(&self, slot: usize) -> std::ops::Range<usize> {
        self.slots[slot] as usize..self.slots[slot + 1] as usize
    }
}

/// Sizes of the network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemoryNetworkShape {
    /// Words.
    pub(crate) words: usize,
    /// Numbers an embedding.
    pub(crate) width: usize,
    /// Reads.
    pub(crate) hops: usize,
    /// Latest slots that are read, each with a time embedding.
    pub(crate) slots: usize,
    /// Classes, or 1.
    pub(crate) outputs: usize,
}

impl MemoryNetworkShape {
    /// Numbers a word or slot has in all tables together.
    pub(crate) fn row(&self) -> usize {
        (self.hops + 1) * self.width
    }
}

/// Names, shapes and places of all weights in one slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemoryNetworkLayout {
    /// The sizes it follows from.
    pub(crate) shape: MemoryNetworkShape,
    /// All parameters.
    pub(crate) parameters: Parameters,
    words: Range<usize>,
    time: Range<usize>,
    readout: Range<usize>,
    bias: Range<usize>,
}

impl MemoryNetworkLayout {
    /// Lays the weights out: words and time (0 for the latest) in all tables, and the readout.
    pub(crate) fn new(shape: MemoryNetworkShape) -> Self {
        let tables = shape.hops + 1;
        let mut p = Parameters::default();
        let words = p.add("words", &[shape.words, tables, shape.width]);
        let time = p.add("time", &[shape.slots, tables, shape.width]);
        let readout = p.add("readout", &[shape.outputs, shape.width]);
        let bias = p.add("bias", &[shape.outputs]);
        Self { shape, parameters: p, words, time, readout, bias }
    }

    /// Fresh weights, normal with deviation 0.1.
    pub(crate) fn fresh(&self, seed: u64) -> Vec<f32> {
        let mut w = Random::stream(seed, "memory", 0).normals(self.parameters.len(), 0.1);
        w[self.bias.clone()].fill(0.0);
        w
    }
}

/// Weights of word positions within a slot (the paper's position encoding), for all tables.
#[derive(Clone, Debug)]
pub(crate) struct PositionEncoding {
    row: usize,
    /// For each slot length: `[length, row]`.
    lengths: Vec<Vec<f32>>,
}

/// Slots longer than this share the weights of their last position.
const LONGEST: usize = 32;

impl PositionEncoding {
    /// The weights for `tables` tables of `width` side by side.
    pub(crate) fn new(width: usize, tables: usize) -> Self {
        let (d, row) = (width, width * tables);
        let lengths = (0..=LONGEST)
            .map(|length| {
                let mut out = Vec::with_capacity(length * row);
                for j in 1..=length {
                    for i in 0..row {
                        let (k, j, n) = ((i % d + 1) as f32 / d as f32, j as f32, length as f32);
                        out.push((1.0 - j / n) - k * (1.0 - 2.0 * j / n));
                    }
                }
                out
            })
            .collect();
        Self { row, lengths }
    }

    /// The weights of word `j` of a slot of `length` words.
    pub(crate) fn of(&self, length: usize, j: usize) -> &[f32] {
        let length = length.min(LONGEST);
        let j = j.min(length - 1);
        &self.lengths[length][j * self.row..(j + 1) * self.row]
    }
}

/// What one row's forward pass leaves for its backward pass; reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct MemoryNetworkTape {
    /// Question and slots in all tables, `[1 + slots seen, row]`.
    embedded: Vec<f32>,
    /// Time index of each slot seen.
    times: Vec<u32>,
    /// First slot seen (older ones are left out), as a slot number of the stories.
    first: usize,
    /// The state before each hop and after the last, `[hops + 1, width]`.
    states: Vec<f32>,
    /// Weight of each slot in each hop, `[hops, slots seen]`.
    reads: Vec<f32>,
    logits: Vec<f32>,
    gradient: Vec<f32>,
    scores: Vec<f32>,
    state_gradient: Vec<f32>,
}

impl MemoryNetworkTape {
    /// The answers.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The state, the input of the readout.
    pub(crate) fn state(&self, layout: &MemoryNetworkLayout) -> &[f32] {
        &self.states[layout.shape.hops * layout.shape.width..]
    }

    /// Slots seen: numbers within the stories.
    pub(crate) fn seen(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.times.len()
    }

    /// Weights of hop `hop` over the slots seen.
    pub(crate) fn reads(&self, hop: usize) -> &[f32] {
        let seen = self.times.len();
        &self.reads[hop * seen..(hop + 1) * seen]
    }

    /// Answers row `row`. `linear` leaves the softmax of the reads out; `gaps` draws gaps in time.
    #[expect(clippy::too_many_arguments, reason = "the row, what it is answered with, and two switches of training")]
    pub(crate) fn forward(
        &mut self,
        layout: &MemoryNetworkLayout,
        encoding: &PositionEncoding,
        w: &[f32],
        stories: &Stories,
        row: usize,
        linear: bool,
        gaps: Option<(f32, &mut Random)>,
    ) {
        let (shape, d, size) = (&layout.shape, layout.shape.width, layout.shape.row());
        let slots = stories.rows[row] as usize..stories.rows[row + 1] as usize;
        self.number(&slots, shape.slots, gaps);
        self.embed(layout, encoding, w, stories, slots.start);
        let seen = self.times.len();
        self.states.clear();
        self.states.extend_from_slice(&self.embedded[..d]);
        self.reads.clear();
        self.reads.resize(shape.hops * seen, 0.0);
        self.states.resize((shape.hops + 1) * d, 0.0);
        for hop in 0..shape.hops {
            let (before, after) = self.states.split_at_mut((hop + 1) * d);
            let (state, next) = (&before[hop * d..], &mut after[..d]);
            next.copy_from_slice(state);
            let reads = &mut self.reads[hop * seen..(hop + 1) * seen];
            let slots = &self.embedded[size..];
            hop_scores(slots, size, hop * d, state, reads);
            if !linear && seen > 0 {
                dense::softmax_rows(reads, seen);
            }
            hop_read(slots, size, (hop + 1) * d, reads, next);
        }
        self.logits.clear();
        self.logits.extend_from_slice(&w[layout.bias.clone()]);
        let last = &self.states[shape.hops * d..];
        for (logit, readout) in self.logits.iter_mut().zip(w[layout.readout.clone()].chunks_exact(d)) {
            *logit += dense::dot(readout, last);
        }
    }

    /// Which of a row's slots are seen, at most `most`, and their times, which run backwards from the latest slot; in
    /// training time skips a step now and then.
    fn number(&mut self, slots: &std::ops::Range<usize>, most: usize, mut gaps: Option<(f32, &mut Random)>) {
        self.times.clear();
        let mut time = 0u32;
        for _ in slots.start + 1..slots.end {
            if let Some((share, random)) = &mut gaps
                && random.uniform() < *share
            {
                time += 1;
            }
            if time as usize >= most {
                break;
            }
            self.times.push(time);
            time += 1;
        }
        self.times.reverse();
        self.first = slots.end - self.times.len();
    }

    /// The vectors of the question, which is slot `question`, and of the slots seen.
    fn embed(
        &mut self,
        layout: &MemoryNetworkLayout,
        encoding: &PositionEncoding,
        w: &[f32],
        stories: &Stories,
        question: usize,
    ) {
        let size = layout.shape.row();
        self.embedded.clear();
        self.embedded.resize((1 + self.times.len()) * size, 0.0);
        for (at, out) in self.embedded.chunks_exact_mut(size).enumerate() {
            let slot = if at == 0 { question } else { self.first + at - 1 };
            let words = stories.slot(slot);
            let length = words.len();
            if at > 0 {
                let time = layout.time.start + self.times[at - 1] as usize * size;
                out.copy_from_slice(&w[time..time + size]);
            }
            for (j, word) in words.enumerate() {
                let id = layout.words.start + stories.words[word] as usize * size;
                slot_sum(out, &w[id..id + size], encoding.of(length, j), stories.values[word]);
            }
        }
    }

    /// Adds the gradients for `dlogits` to `out`; `linear` as in the forward pass.
    #[expect(clippy::too_many_arguments, reason = "as the forward pass, and where gradients go")]
    pub(crate) fn backward(
        &mut self,
        layout: &MemoryNetworkLayout,
        encoding: &PositionEncoding,
        w: &[f32],
        stories: &Stories,
        row: usize,
        linear: bool,
        dlogits: &[f32],
        out: &mut [f32],
    ) {
        let (shape, d, size, seen) = (&layout.shape, layout.shape.width, layout.shape.row(), self.times.len());
        dense::add(&mut out[layout.bias.clone()], dlogits);
        let last = &self.states[shape.hops * d..];
        let du = &mut self.state_gradient;
        du.clear();
        du.resize(d, 0.0);
        for (output, g) in dlogits.iter().enumerate() {
            let at = layout.readout.start + output * d;
            dense::add_scaled(du, *g, &w[at..at + d]);
            dense::add_scaled(&mut out[at..at + d], *g, last);
        }
        self.gradient.clear();
        self.gradient.resize((1 + seen) * size, 0.0);
        for hop in (0..shape.hops).rev() {
            let reads = &self.reads[hop * seen..(hop + 1) * seen];
            let (slots, gradient) = (&self.embedded[size..], &mut self.gradient[size..]);
            self.scores.clear();
            self.scores.resize(seen, 0.0);
            hop_read_backward(slots, gradient, size, (hop + 1) * d, reads, du, &mut self.scores);
            if !linear && seen > 0 {
                dense::softmax_rows_backward(reads, &mut self.scores, seen, 1.0);
            }
            let state = &self.states[hop * d..(hop + 1) * d];
            hop_scores_backward(slots, gradient, size, hop * d, state, &self.scores, du);
        }
        dense::add(&mut self.gradient[..d], du);
        let question = stories.rows[row] as usize;
        for (at, gradient) in self.gradient.chunks_exact(size).enumerate() {
            let slot = if at == 0 { question } else { self.first + at - 1 };
            let words = stories.slot(slot);
            let length = words.len();
            if at > 0 {
                let time = layout.time.start + self.times[at - 1] as usize * size;
                dense::add(&mut out[time..time + size], gradient);
            }
            for (j, word) in words.enumerate() {
                let id = layout.words.start + stories.words[word] as usize * size;
                add_masked(&mut out[id..id + size], gradient, encoding.of(length, j), stories.values[word]);
            }
        }
    }

    /// What each word adds to answer `output`, and what time adds: `(bias, per word seen with its
    /// origin)`. The reads being given, the answer is linear in the embeddings, so the terms add up.
    pub(crate) fn terms(
        &self,
        layout: &MemoryNetworkLayout,
        encoding: &PositionEncoding,
        w: &[f32],
        stories: &Stories,
        row: usize,
        output: usize,
    ) -> (f32, Vec<(u32, f32)>) {
        let (shape, d, size) = (&layout.shape, layout.shape.width, layout.shape.row());
        let readout = &w[layout.readout.start + output * d..layout.readout.start + (output + 1) * d];
        let mut bias = w[layout.bias.start + output];
        let mut out = Vec::new();
        let question = stories.rows[row] as usize;
        let term = |word: usize, table: usize, place: &[f32]| {
            let at = layout.words.start + stories.words[word] as usize * size + table * d;
            let sum: f32 = (0..d).map(|i| w[at + i] * place[table * d + i] * readout[i]).sum();
            sum * stories.values[word]
        };
        let words = stories.slot(question);
        let length = words.len();
        for (j, word) in words.enumerate() {
            out.push((stories.origin[word], term(word, 0, encoding.of(length, j))));
        }
        for (i, slot) in self.seen().enumerate() {
            let words = stories.slot(slot);
            let length = words.len();
            let mut time = 0.0;
            for hop in 0..shape.hops {
                let at = layout.time.start + self.times[i] as usize * size + (hop + 1) * d;
                time += self.reads(hop)[i] * dense::dot(&w[at..at + d], readout);
            }
            if length == 0 {
                bias += time;
            }
            for (j, word) in words.enumerate() {
                let place = encoding.of(length, j);
                let sum: f32 = (0..shape.hops).map(|hop| self.reads(hop)[i] * term(word, hop + 1, place)).sum();
                out.push((stories.origin[word], sum + time / length as f32));
            }
        }
        (bias, out)
    }
}

/// `reads[i] = slot_i[at..] · state`.
fn hop_scores(slots: &[f32], size: usize, at: usize, state: &[f32], reads: &mut [f32]) {
    for (read, slot) in reads.iter_mut().zip(slots.chunks_exact(size)) {
        *read = dense::dot(&slot[at..at + state.len()], state);
    }
}

/// `next += Σ reads[i] slot_i[at..]`.
fn hop_read(slots: &[f32], size: usize, at: usize, reads: &[f32], next: &mut [f32]) {
    for (read, slot) in reads.iter().zip(slots.chunks_exact(size)) {
        dense::add_scaled(next, *read, &slot[at..at + next.len()]);
    }
}

fn hop_read_backward(
    slots: &[f32],
    gradient: &mut [f32],
    size: usize,
    at: usize,
    reads: &[f32],
    du: &[f32],
    dreads: &mut [f32],
) {
    let d = du.len();
    for (((read, dread), slot), gradient) in
        reads.iter().zip(dreads).zip(slots.chunks_exact(size)).zip(gradient.chunks_exact_mut(size))
    {
        *dread = dense::dot(&slot[at..at + d], du);
        dense::add_scaled(&mut gradient[at..at + d], *read, du);
    }
}

fn hop_scores_backward(
    slots: &[f32],
    gradient: &mut [f32],
    size: usize,
    at: usize,
    state: &[f32],
    dscores: &[f32],
    du: &mut [f32],
) {
    let d = state.len();
    for ((dscore, slot), gradient) in dscores.iter().zip(slots.chunks_exact(size)).zip(gradient.chunks_exact_mut(size))
    {
        dense::add_scaled(&mut gradient[at..at + d], *dscore, state);
        dense::add_scaled(du, *dscore, &slot[at..at + d]);
    }
}
