//! The memory family: a question reads memory slots in several hops. The slots are the row's own
//! context (a column of sentences) where it has one, and otherwise remembered training rows.

mod learning;
mod onnx;
mod recipe;
mod report;

pub use learning::learner;

use super::attention::{read, tensor, whole};
use super::onnx::Graph;
use super::recipe::Rule;
use super::{Activity, Explanation, Family, FamilySpec, Learner, LearnerSpec, Network, Setting, Suitability, Task};
use crate::data::encoder::{Encoder, Layout};
use crate::data::profile::DataProfile;
use crate::data::{Batch, ColumnKind};
use crate::nn::Tensors;
use crate::nn::kernels::parallel;
use crate::nn::memory::knn_attention::{self, Episodes, Keys};
use crate::nn::memory::network::{self, Part, Places, Stories};
use crate::nn::memory::query_reduction;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};
use std::ops::Range;

/// The family's entry in the registry.
#[derive(Clone, Copy, Debug)]
pub struct Spec;

impl FamilySpec for Spec {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn purpose(&self) -> &'static str {
        "Question answering over facts, and retrieval."
    }

    fn layout(&self) -> Layout {
        Layout::Tokens
    }

    fn own_settings(&self) -> Vec<Setting> {
        settings()
    }

    fn suits(&self, data: &DataProfile) -> Option<Suitability> {
        let reason = "a list of sentences with a question: the memory network reads facts for it";
        (data.has_sentences() && data.has(ColumnKind::Text)).then(|| Suitability::new(3, reason)).flatten()
    }

    fn rules(&self) -> &'static [Rule] {
        recipe::RULES
    }

    fn search_space(&self) -> Value {
        json!({
            "width": [32, 64, 128],
            "hops": [2, 3, 4],
            "dropout": [0.0, 0.1, 0.2],
            "learning_rate": { "min": 0.0003, "max": 0.01, "log": true },
        })
    }

    fn learner(&self, spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
        learner(spec)
    }

    fn load(
        &self,
        encoder: &Encoder,
        task: Task,
        outputs: usize,
        config: &Map<String, Value>,
        tensors: &Tensors,
    ) -> Result<Box<dyn Network>> {
        load(encoder, task, outputs, config, tensors)
    }

    fn onnx(&self, graph: &mut Graph, tensors: &Tensors, outputs: usize, task: Task) -> Result<Option<String>> {
        // A network that reads a story is no fixed graph over one row.
        let recalls = tensors.contains_key("episodes.outcomes");
        recalls.then(|| onnx::recall(graph, tensors, outputs, task == Task::Regression)).transpose()
    }
}

/// What a training request may set.
pub fn settings() -> Vec<Setting> {
    vec![
        Setting::new(
            "width",
            Value::Null,
            super::Range::Integer(4, WIDEST as i64),
            "Numbers a slot or question is described by; by the number of rows if not given.",
        ).otherwise(64),
        Setting::new("hops", 3, super::Range::Integer(1, 16), "How often the question reads the slots."),
        Setting::new("slots", 256, super::Range::Integer(1, 4096), "Latest slots of a row that are seen."),
        Setting::new(
            "read",
            "ordered",
            super::Range::Choice(&["ordered", "softmax"]),
            "Whether hops walk over the slots in order, or weigh all of them at once (a classic memory network).",
        ),
        Setting::new(
            "wide_gates",
            Value::Null,
            super::Range::Boolean,
            "A gate for each number that is carried instead of one for a slot (ordered read); by the number of rows if not given.",
        ).otherwise(false),
        Setting::new(
            "episodes",
            512,
            super::Range::Integer(1, 65536),
            "Training rows remembered where rows have no slots of their own.",
        ),
        Setting::new(
            "restarts",
            Value::Null,
            super::Range::Integer(1, 16),
            "Networks begun; the one with the least training error goes on.",
        ).otherwise(1),
        Setting::new(
            "dropout",
            Value::Null,
            super::Range::Number(0.0, 0.9),
            "Share of slot numbers dropped while training; by kind of read and number of rows if not given.",
        ).otherwise(0.0),
        Setting::new(
            "time_noise",
            0.1,
            super::Range::Number(0.0, 0.9),
            "Share of gaps in time while training (softmax read).",
        ),
        Setting::new(
            "linear_start",
            true,
            super::Range::Boolean,
            "Read without softmax until validation stalls (softmax read).",
        ),
        Setting::new(
            "learning_rate",
            Value::Null,
            super::Range::Number(1e-6, 1.0),
            "Largest learning rate; by kind of read and number of rows if not given.",
        ).otherwise(0.003),
        Setting::new(
            "weight_decay",
            Value::Null,
            super::Range::Number(0.0, 10.0),
            "Decay of the weights; by the number of rows if not given.",
        ).otherwise(0.01),
    ]
}

/// The largest width there is.
const WIDEST: usize = 1024;

/// Sizes of an ordered read where the settings do not say.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    width: usize,
    wide_gates: bool,
}

/// Those of a network that is not trained yet, and of reads that are not ordered.
const SMALL: Sizes = Sizes { width: 64, wide_gates: false };

/// What kind of slots and reads, with its sizes.
#[derive(Clone, Debug)]
enum Kind {
    Ordered(query_reduction::Plan, Places),
    Softmax(network::Plan, Places),
    Recall(knn_attention::Plan),
}

/// The network: kind, weights and what they are read with.
#[derive(Clone, Debug)]
struct Memory {
    kind: Kind,
    weights: Vec<f32>,
    /// Whether softmax reads go without their softmax still (linear start).
    linear: bool,
    /// Fields whose tokens are slots.
    story: Vec<bool>,
    episodes: Episodes,
    /// Episodes' descriptions under the present weights, for answering.
    keys: Keys,
}

impl Memory {
    /// Without weights; an ordered read has `sizes` where `config` does not say.
    fn new(encoder: &Encoder, task: Task, outputs: usize, config: &Map<String, Value>, sizes: Sizes) -> Self {
        let is_story = |name: &str| {
            let plan = encoder.inputs.iter().find(|plan| plan.name == name);
            plan.is_some_and(|plan| plan.kind == ColumnKind::Sequence && plan.channels == Some(0))
        };
        let story: Vec<bool> = encoder.fields.iter().map(|field| is_story(&field.name)).collect();
        let width = |default| whole(config, "width", default).max(1);
        let words = encoder.width as usize;
        let (hops, slots) = (whole(config, "hops", 3).max(1), whole(config, "slots", 256).max(1));
        let kind = if !story.contains(&true) {
            let regression = task == Task::Regression;
            Kind::Recall(knn_attention::Plan::new(knn_attention::Shape {
                features: words,
                width: width(SMALL.width),
                outputs,
                regression,
            }))
        } else if config.get("read").and_then(Value::as_str) == Some("softmax") {
            let width = width(SMALL.width);
            let shape = network::Shape { words, width, hops, slots, outputs };
            Kind::Softmax(network::Plan::new(shape), Places::new(width, hops + 1))
        } else {
            let width = width(sizes.width);
            let wide_gates = config.get("wide_gates").and_then(Value::as_bool).unwrap_or(sizes.wide_gates);
            let shape = query_reduction::Shape { words, width, hops, slots, outputs, wide_gates };
            Kind::Ordered(query_reduction::Plan::new(shape), Places::new(width, 1))
        };
        Self { kind, weights: Vec::new(), linear: false, story, episodes: Episodes::default(), keys: Keys::default() }
    }

    fn parts(&self) -> &[Part] {
        match &self.kind {
            Kind::Ordered(plan, _) => &plan.parts,
            Kind::Softmax(plan, _) => &plan.parts,
            Kind::Recall(plan) => &plan.parts,
        }
    }

    fn fresh(&self, seed: u64) -> Vec<f32> {
        match &self.kind {
            Kind::Ordered(plan, _) => plan.fresh(seed),
            Kind::Softmax(plan, _) => plan.fresh(seed),
            Kind::Recall(plan) => plan.fresh(seed),
        }
    }

    fn outputs(&self) -> usize {
        match &self.kind {
            Kind::Ordered(plan, _) => plan.shape.outputs,
            Kind::Softmax(plan, _) => plan.shape.outputs,
            Kind::Recall(plan) => plan.shape.outputs,
        }
    }

    fn width(&self) -> usize {
        match &self.kind {
            Kind::Ordered(plan, _) => plan.shape.width,
            Kind::Softmax(plan, _) => plan.shape.width,
            Kind::Recall(plan) => plan.shape.width,
        }
    }

    /// Rows of a batch as question and slots.
    fn stories(&self, batch: &Batch, rows: Range<usize>) -> Stories {
        let mut out = Stories { rows: vec![0], slots: vec![0], ..Stories::default() };
        let is_story = |token: usize| {
            batch.fields.get(token).is_some_and(|field| self.story.get(usize::from(*field)).copied().unwrap_or(false))
        };
        let push = |out: &mut Stories, token: usize| {
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

    /// Answers and states of rows, `[rows, outputs]` and `[rows, width]`.
    fn run(&self, batch: &Batch, threads: usize) -> (Vec<f32>, Vec<f32>) {
        let cuts = parallel::cut(batch, usize::MAX, 256);
        let mut parts: Vec<(Vec<f32>, Vec<f32>)> = vec![Default::default(); cuts.len()];
        parallel::each(&mut parts, threads, |i, (logits, states)| {
            let rows = cuts[i].clone();
            match &self.kind {
                Kind::Ordered(plan, places) => {
                    let stories = self.stories(batch, rows.clone());
                    let mut tape = query_reduction::Tape::default();
                    tape.forward(plan, places, &self.weights, &stories, 0..rows.len(), None);
                    logits.extend_from_slice(tape.logits());
                    states.extend_from_slice(tape.states());
                }
                Kind::Softmax(plan, places) => {
                    let stories = self.stories(batch, rows.clone());
                    let mut tape = network::Tape::default();
                    for row in 0..rows.len() {
                        tape.forward(plan, places, &self.weights, &stories, row, self.linear, None);
                        logits.extend_from_slice(tape.logits());
                        states.extend_from_slice(tape.state(plan));
                    }
                }
                Kind::Recall(plan) => {
                    let mut tape = knn_attention::Tape::default();
                    for row in rows {
                        tape.forward(plan, &self.weights, &self.episodes, &self.keys, batch.entries(row), false);
                        logits.extend_from_slice(tape.logits());
                        states.extend_from_slice(tape.description());
                    }
                }
            }
        });
        let mut out = (Vec::new(), Vec::new());
        for (logits, states) in parts {
            out.0.extend(logits);
            out.1.extend(states);
        }
        out
    }

    /// Describes the episodes anew after the weights changed.
    fn refresh(&mut self) {
        if let Kind::Recall(plan) = &self.kind {
            self.keys = plan.keys(&self.weights, &self.episodes);
        }
    }

    fn save(&self) -> Result<Tensors> {
        let mut out = Tensors::new();
        for part in self.parts() {
            out.insert(part.name.clone(), tensor(&self.weights[part.range.clone()], &part.shape)?);
        }
        out.insert("linear".into(), tensor(&[f32::from(u8::from(self.linear))], &[1])?);
        if let Kind::Recall(_) = self.kind {
            let (e, cpu) = (&self.episodes, &Device::Cpu);
            out.insert("episodes.offsets".into(), Tensor::from_slice(&e.offsets, e.offsets.len(), cpu)?);
            out.insert("episodes.indices".into(), Tensor::from_slice(&e.indices, e.indices.len(), cpu)?);
            out.insert("episodes.values".into(), tensor(&e.values, &[e.values.len()])?);
            out.insert("episodes.outcomes".into(), tensor(&e.outcomes, &[e.outcomes.len()])?);
        }
        Ok(out)
    }

    fn load(&mut self, tensors: &Tensors) -> Result<()> {
        let parts = self.parts().to_vec();
        self.weights.resize(parts.last().map_or(0, |p| p.range.end), 0.0);
        for part in &parts {
            read(tensors, &part.name, &mut self.weights[part.range.clone()])?;
        }
        let mut linear = [0.0];
        read(tensors, "linear", &mut linear)?;
        self.linear = linear[0] != 0.0;
        if let Kind::Recall(plan) = &self.kind {
            self.episodes = episodes(tensors, &plan.shape)?;
        }
        self.refresh();
        Ok(())
    }
}

/// The stored rows in `tensors`, which may come from a stranger.
fn episodes(tensors: &Tensors, shape: &knn_attention::Shape) -> Result<Episodes> {
    let broken = || Error::unprocessable("bad_weights", "the stored episodes do not fit together");
    let get = |name: &str| tensors.get(name).ok_or_else(broken);
    let offsets: Vec<u32> = get("episodes.offsets")?.to_vec1()?;
    let indices: Vec<u32> = get("episodes.indices")?.to_vec1()?;
    let values: Vec<f32> = get("episodes.values")?.to_vec1()?;
    let outcomes: Vec<f32> = get("episodes.outcomes")?.to_vec1()?;
    let whole = indices.len() == values.len()
        && offsets.len() == outcomes.len() + usize::from(!outcomes.is_empty())
        && offsets.windows(2).all(|o| o[0] <= o[1])
        && offsets.last().is_none_or(|last| *last as usize <= indices.len())
        && indices.iter().all(|i| (*i as usize) < shape.features);
    if !whole {
        return Err(broken());
    }
    let mut out = Episodes::default();
    for (at, outcome) in offsets.windows(2).zip(&outcomes) {
        let range = at[0] as usize..at[1] as usize;
        out.push(&indices[range.clone()], &values[range], *outcome);
    }
    Ok(out)
}

/// The network saved as `tensors`.
pub fn load(
    encoder: &Encoder,
    task: Task,
    outputs: usize,
    config: &Map<String, Value>,
    tensors: &Tensors,
) -> Result<Box<dyn Network>> {
    let sizes = match tensors.get("hops.0.update").map(Tensor::dims) {
        Some(&[width @ 1..=WIDEST, gates]) => Sizes { width, wide_gates: gates > 1 },
        _ => SMALL,
    };
    let mut net = Memory::new(encoder, task, outputs, config, sizes);
    net.load(tensors)?;
    Ok(Box::new(net))
}

impl Network for Memory {
    fn family(&self) -> Family {
        Family::new(&Spec)
    }

    fn outputs(&self) -> usize {
        Memory::outputs(self)
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.run(batch, 1).0)
    }

    fn feature_width(&self) -> usize {
        self.width()
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.run(batch, 1).1)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        Ok(self.explanation(batch, row, output))
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        Ok(self.counted(batch))
    }

    fn save(&self) -> Result<Tensors> {
        Memory::save(self)
    }
}
