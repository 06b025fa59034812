//! The trained network: outputs, codes, explanations and activity.

use super::members::{direct_paths, taken_apart};
use super::onnx::layers;
use super::vocabulary::{Entries, Vocabulary};
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::models::members::each_by_its_member;
use crate::models::{Activity, Explanation, Family, LayerActivity, Network};
use crate::nn::Tensors;
use crate::nn::kernels::{Isa, SparseRows};
use crate::nn::layers::sparse_net::{Code, InferenceNet, Scratch, hidden_name, save_winners};
use crate::onnx::{Graph, Node};
use crate::{Error, Result};
use std::cell::RefCell;
use std::sync::OnceLock;

/// Rows that run through the network at once: their pre-activations stay in the second cache.
const CHUNK: usize = 64;

/// A trained `sparse_mlp`.
#[derive(Debug)]
pub(super) struct SparseMlp {
    net: InferenceNet,
    vocabulary: Vocabulary,
    isa: Isa,
    /// What is kept of the members' direct paths, where they can answer singly.
    direct: Tensors,
    /// The members, once they were requested.
    members: OnceLock<Vec<InferenceNet>>,
}

thread_local! {
    /// Buffers are kept by the thread, so that predicting a row allocates nothing but the answer.
    static SCRATCH: RefCell<(Entries, Scratch)> = RefCell::default();
}

impl SparseMlp {
    /// From its parts; `tensors` are what it was loaded from.
    pub(super) fn new(net: InferenceNet, vocabulary: Vocabulary, tensors: &Tensors) -> Self {
        Self { net, vocabulary, isa: Isa::best(), direct: direct_paths(tensors), members: OnceLock::new() }
    }

    /// The members one by one.
    fn members(&self) -> Result<&[InferenceNet]> {
        if let Some(members) = self.members.get() {
            return Ok(members);
        }
        let members = taken_apart(&self.net.shape, &self.net.save()?, &self.direct)?;
        Ok(self.members.get_or_init(|| members))
    }

    /// Runs all rows, some at a time, and passes each portion (first row, rows, scratch) to `take`.
    fn run(&self, batch: &Batch, take: impl FnMut(usize, &SparseRows<'_>, &Scratch)) -> Result<()> {
        self.run_net(&self.net, batch, take)
    }

    fn run_net(
        &self,
        net: &InferenceNet,
        batch: &Batch,
        mut take: impl FnMut(usize, &SparseRows<'_>, &Scratch),
    ) -> Result<()> {
        SCRATCH.with_borrow_mut(|(entries, scratch)| {
            let rows = self.vocabulary.translate(batch, entries)?;
            for first in (0..rows.len()).step_by(CHUNK) {
                let portion = rows.slice(first, CHUNK.min(rows.len() - first));
                net.infer(self.isa, &portion, scratch);
                take(first, &portion, scratch);
            }
            Ok(())
        })
    }
}

impl Network for SparseMlp {
    fn family(&self) -> Family {
        Family::new(&super::Spec)
    }

    fn outputs(&self) -> usize {
        self.net.shape.outputs
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        let mut out = Vec::with_capacity(batch.rows() * self.outputs());
        self.run(batch, |_, _, scratch| scratch.append_answers(self.outputs(), &mut out))?;
        Ok(out)
    }

    fn reads_compact(&self) -> bool {
        true
    }

    fn forward_members(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        let nets = self.members()?;
        each_by_its_member(batch, members, nets.len(), |member, rows| {
            let mut out = Vec::with_capacity(rows.rows() * self.outputs());
            self.run_net(&nets[member], rows, |_, _, scratch| scratch.append_answers(self.outputs(), &mut out))?;
            Ok(out)
        })
    }

    fn feature_width(&self) -> usize {
        self.net.shape.hidden.last().map_or(self.outputs(), |layer| layer.units)
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        let width = self.feature_width();
        let mut out = Vec::with_capacity(batch.rows() * width);
        self.run(batch, |_, _, scratch| self.append_codes(scratch, &mut out))?;
        Ok(out)
    }

    fn forward_with_features(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut answers = Vec::with_capacity(batch.rows() * self.outputs());
        let mut codes = Vec::with_capacity(batch.rows() * self.feature_width());
        self.run(batch, |_, _, scratch| {
            scratch.append_answers(self.outputs(), &mut answers);
            self.append_codes(scratch, &mut codes);
        })?;
        Ok((answers, codes))
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        if row >= batch.rows() || output >= self.outputs() {
            return Err(Error::internal("an explanation of a row or answer that is not there"));
        }
        let one = batch.select(&[row]);
        let plain = one.expanded();
        let mut entries = Entries::default();
        let rows = self.vocabulary.translate(&plain, &mut entries)?;
        let mut explanation = Explanation::default();
        self.run(&one, |_, _, scratch| explanation = self.decompose(&rows, scratch, output))?;
        // Entries without a weight row have no effect; one that represents many has the sum of theirs.
        let mut terms = std::mem::take(&mut explanation.entries).into_iter();
        let known = self.vocabulary.known(&plain, 0).into_iter();
        let mut terms = known.map(|known| if known { terms.next().unwrap_or(0.0) } else { 0.0 });
        let (indices, values) = one.entries(0);
        let stands_for = indices.iter().zip(values).map(|(&index, &value)| one.plain(index, value).count());
        explanation.entries = stands_for.map(|count| terms.by_ref().take(count).sum()).collect();
        Ok(explanation)
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        let rows = batch.rows().max(1) as f64;
        let mut counts: Vec<Vec<u32>> = self.net.shape.hidden.iter().map(|layer| vec![0; layer.units]).collect();
        let mut effective = 0usize;
        self.run(batch, |_, portion, scratch| {
            let entries = (0..portion.len()).flat_map(|row| {
                let (indices, values) = portion.row(row);
                indices.iter().zip(values)
            });
            let mut active: Vec<u32> = entries.filter(|(_, value)| **value != 0.0).map(|(&index, _)| index).collect();
            effective += active.len() * self.net.skip.as_ref().map_or(0, |skip| skip.units);
            for ((layer, code), counts) in self.net.hidden.iter().zip(&scratch.codes).zip(&mut counts) {
                effective += active.iter().map(|&input| layer.fan_out(input as usize)).sum::<usize>();
                let passed = code.units.iter().zip(&code.values).filter(|(_, value)| **value > 0.0);
                active = passed.map(|(&unit, _)| unit).collect();
                active.iter().for_each(|&unit| counts[unit as usize] += 1);
            }
            effective += active.len() * self.net.readout.as_ref().map_or(0, |readout| readout.units);
        })?;
        let layers = counts.into_iter().enumerate().map(|(index, counts)| {
            let units = counts.len();
            let winners = counts.iter().map(|&count| f64::from(count)).sum::<f64>() / rows;
            LayerActivity {
                name: hidden_name(index),
                units,
                winners,
                active_share: winners / units as f64,
                dead_units: counts.iter().filter(|&&count| count == 0).count(),
                duty: counts.iter().map(|&count| (f64::from(count) / rows) as f32).collect(),
            }
        });
        Ok(Activity {
            layers: layers.collect(),
            dense_macs: self.net.dense_macs(),
            effective_macs: effective as f64 / rows,
            // One comparison a unit; packing and bisection after it are a fraction of that.
            top_k_operations: self
                .net
                .shape
                .hidden
                .iter()
                .map(|layer| (layer.units + 12 * layer.winners * layer.winner_groups) as f64)
                .sum(),
            memory_macs: 0.0,
            bytes: self.net.bytes(),
        })
    }

    fn layer(&self, batch: &Batch, name: &str) -> Result<Option<Vec<f32>>> {
        let levels = self.net.shape.hidden.len();
        let Some(level) = (0..levels).find(|&level| hidden_name(level) == name) else { return Ok(None) };
        let width = self.net.shape.hidden[level].units;
        let mut out = Vec::with_capacity(batch.rows() * width);
        self.run(batch, |_, _, scratch| append_code(&scratch.codes[level], width, &mut out))?;
        Ok(Some(out))
    }

    fn save(&self) -> Result<Tensors> {
        let mut tensors = self.net.save()?;
        save_winners(&self.net.shape, &mut tensors)?;
        self.vocabulary.save(&mut tensors)?;
        tensors.extend(self.direct.clone());
        Ok(tensors)
    }

    fn bytes(&self) -> u64 {
        // The members that answer singly are made for explanations of held-out rows alone.
        let direct: usize = self.direct.values().map(|tensor| 4 * tensor.elem_count()).sum();
        self.net.memory() + self.vocabulary.bytes() + direct as u64
    }

    fn onnx(&self, graph: &mut Graph, features: &Node, _encoder: &Encoder) -> Result<Option<Node>> {
        layers(graph, features, &self.save()?).map(Some)
    }
}

/// Appends the outputs of a layer of `width` units, `[rows, width]`.
fn append_code(code: &Code, width: usize, out: &mut Vec<f32>) {
    let code = code.rows(width);
    for row in 0..code.len() {
        let from = out.len();
        out.resize(from + width, 0.0);
        let (units, values) = code.row(row);
        units.iter().zip(values).for_each(|(&unit, &value)| out[from + unit as usize] = value);
    }
}

impl SparseMlp {
    /// Appends the last layer's codes of an inference, `[rows, feature_width]`; the answers where there is no layer.
    fn append_codes(&self, scratch: &Scratch, out: &mut Vec<f32>) {
        match scratch.codes.last() {
            Some(code) => append_code(code, self.feature_width(), out),
            None => scratch.append_answers(self.outputs(), out),
        }
    }

    /// Decomposes an output, exactly: on the units that are active the network is linear, so the
    /// answer is a bias plus, for each entry, its value times the weight along all active paths.
    fn decompose(&self, rows: &SparseRows<'_>, scratch: &Scratch, output: usize) -> Explanation {
        let (indices, values) = rows.row(0);
        let net = &self.net;
        let mut explanation = Explanation { entries: vec![0.0; indices.len()], ..Explanation::default() };
        if let Some(skip) = &net.skip {
            explanation.bias += skip.bias(output);
            for ((term, &index), &value) in explanation.entries.iter_mut().zip(indices).zip(values) {
                *term += value * skip.weight(index as usize, output);
            }
        }
        let (Some(readout), Some(last)) = (&net.readout, scratch.codes.last()) else { return explanation };
        explanation.bias += readout.bias(output);
        let active = |code: &crate::nn::layers::sparse_net::Code| -> Vec<(u32, f32)> {
            code.units.iter().copied().zip(code.values.iter().copied()).filter(|&(_, value)| value > 0.0).collect()
        };
        explanation.active_units = active(last);
        explanation.active_units.sort_by(|a, b| b.1.total_cmp(&a.1));
        // The derivative of the output by each active unit's pre-activation, from the last layer down.
        let mut above: Vec<(u32, f32)> =
            active(last).iter().map(|&(unit, _)| (unit, readout.weight(unit as usize, output))).collect();
        for (index, layer) in net.hidden.iter().enumerate().rev() {
            explanation.bias += above.iter().map(|&(unit, slope)| slope * layer.bias(unit as usize)).sum::<f32>();
            let reach = |input: u32| -> f32 {
                above.iter().map(|&(unit, slope)| slope * layer.weight(input as usize, unit as usize)).sum()
            };
            if index > 0 {
                above = active(&scratch.codes[index - 1]).iter().map(|&(unit, _)| (unit, reach(unit))).collect();
                continue;
            }
            for ((term, &input), &value) in explanation.entries.iter_mut().zip(indices).zip(values) {
                *term += value * reach(input);
            }
        }
        explanation
    }
}
