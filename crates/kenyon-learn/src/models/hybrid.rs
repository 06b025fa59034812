//! `hybrid`: local groups of k-winners, learned without labels, give a sparse code; a streaming
//! discriminant reads it out. One pass over the data, no gradient, and no forgetting when
//! classes come one after the other. The episodic memory is in `learning::stream`,
//! which continues from the network trained here.

mod folds;
mod learner;
mod onnx;
mod recipe;
mod settings;
mod tensors;
mod untrained;

pub(crate) use learner::learner;

use self::folds::FOLDS;
use self::tensors::{load_groups, load_sums, save_filters, save_readout, save_sums};
use self::untrained::UntrainedHybrid;
use super::candle::{HybridConfig, TokenConfig};
use super::family::Rule;
use super::fold_readouts::{each_by_its_fold, load_fold_readouts, save_fold_readouts};
use super::tensors::{bad, get};
use super::{
    Activity, Explanation, Family, FamilySpec, LayerActivity, Learner, LearnerSpec, Network, RECALLED, Recalled,
    RecalledRow, SavedNetwork, Setting, Suitability, Task,
};
use crate::Result;
use crate::data::Batch;
use crate::data::deform::Picture;
use crate::data::encoder::{Encoder, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::profile::DataProfile;
use crate::data::schema::ColumnKind;
use crate::nn::Tensors;
use crate::nn::layers::local_groups::{CodeSegment, Columns, Hashed, LocalGroups, PatchShape, Patches};
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::Sums;
use crate::onnx::{Graph, Node};
use serde_json::{Map, Value, json};

/// Patches the filters learn from.
const PLASTIC_PATCHES: usize = 60_000;
/// A vector shorter than this is read as columns of a table.
const SHORTEST_SERIES: usize = 24;

/// The family's entry in the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec;

impl FamilySpec for Spec {
    fn name(&self) -> &'static str {
        "hybrid"
    }

    fn purpose(&self) -> &'static str {
        "Learning from a stream, new classes, few labels, images in one pass."
    }

    fn layout(&self, _inputs: &[ColumnPlan]) -> Layout {
        Layout::Bag
    }

    fn own_settings(&self) -> Vec<Setting> {
        settings::settings()
    }

    fn suits(&self, data: &DataProfile) -> Option<Suitability> {
        let reason = "local groups of k-winners learn it in one pass and continue from a stream";
        (data.task == Task::Classification && data.has_picture())
            .then(|| Suitability::new(2, format!("an image and {} rows: {reason}", data.rows)))
            .flatten()
    }

    fn rules(&self) -> &'static [Rule] {
        recipe::RULES
    }

    fn cross_fits(&self, config: &Map<String, Value>) -> Option<usize> {
        cross_fits(config)
    }

    fn makes_passes(&self, config: &Map<String, Value>) -> bool {
        config.get("epochs").and_then(Value::as_u64).is_some_and(|epochs| epochs > 1)
    }

    fn search_space(&self) -> Value {
        json!({ "units": [64, 128, 192], "winners": [3, 6, 12], "pool": [2, 3, 4] })
    }

    fn learner(&self, spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
        learner(spec)
    }

    fn load(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
        load(saved)
    }

    fn candle(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn TokenConfig>> {
        Ok(Box::new(candle_config(saved)?))
    }

    fn has_onnx(&self) -> bool {
        true
    }

    fn learns_unlabelled(&self) -> bool {
        true
    }

    fn starts_empty(&self) -> bool {
        true
    }
}

/// See [`FamilySpec::cross_fits`].
fn cross_fits(config: &Map<String, Value>) -> Option<usize> {
    config.get("cross_fit").and_then(Value::as_bool).unwrap_or(false).then_some(FOLDS)
}

/// A segment of the code before its filters are learned.
#[derive(Clone, Debug)]
enum SegmentPlan {
    Patches(PatchShape),
    Ready(CodeSegment),
}

impl SegmentPlan {
    /// The picture that it reads, if that is one.
    fn picture(&self) -> Option<Picture> {
        match self {
            Self::Patches(shape) if shape.image[0] > 1 => Some(Picture { start: shape.start, shape: shape.image }),
            _ => None,
        }
    }

    /// Width of its share of the code.
    fn width(&self) -> usize {
        match self {
            Self::Patches(shape) => shape.width(),
            Self::Ready(part) => part.width(),
        }
    }
}

/// A code whose filters are not learned yet, or are learned from `rows`; for models that learn
/// from a stream alone.
pub(crate) fn groups(
    encoder: &Encoder,
    config: &Map<String, Value>,
    seed: u64,
    rows: &Batch,
    plastic: bool,
) -> LocalGroups {
    let patches = if plastic { PLASTIC_PATCHES } else { 0 };
    let parts = plan(encoder, config, seed).into_iter().map(|plan| match plan {
        SegmentPlan::Patches(shape) => CodeSegment::Patches(Patches::learn(shape, rows, patches, seed)),
        SegmentPlan::Ready(part) => part,
    });
    LocalGroups { parts: parts.collect() }
}

/// Which parts the fields of the encoder get. A pure function, so that a loaded model has the same.
fn plan(encoder: &Encoder, config: &Map<String, Value>, seed: u64) -> Vec<SegmentPlan> {
    let whole = |name: &str| config.get(name).and_then(Value::as_u64).map(|v| v as usize);
    let (units, winners) = (whole("units").unwrap_or(128), whole("winners").unwrap_or(6));
    let pool = whole("pool").unwrap_or(4);
    let mut plans = Vec::new();
    let mut columns: Vec<Vec<u32>> = Vec::new();
    for field in &encoder.fields {
        let (start, width) = (field.start as usize, field.width as usize);
        let listed = matches!(field.kind, ColumnKind::Vector | ColumnKind::Image);
        let cells = field.shape.as_ref().map_or(width, |s| s.iter().product::<usize>()).min(width);
        if listed && cells >= SHORTEST_SERIES {
            let image = match field.shape.as_deref() {
                Some([h, w]) if *h > 1 && h * w <= width => [*h, *w, 1],
                Some([h, w, c]) if h * w * c <= width => [*h, *w, *c],
                _ => [1, width, 1],
            };
            let flat = image[0] == 1;
            let small = image[0].max(image[1]) < 16;
            let patch = whole("patch").unwrap_or(if flat {
                9
            } else if small {
                3
            } else {
                5
            });
            let patch = [patch.min(image[0]), patch.min(image[1])];
            let side = if flat { image[1].div_ceil(400) } else { image[0].max(image[1]).div_ceil(40) };
            let stride = whole("stride").unwrap_or(side).max(1);
            let mut shape =
                PatchShape { start, image, patch, stride, pool: [1, 1], units, winners: winners.min(units) };
            let places = shape.places();
            shape.pool = if flat { [1, (pool * pool).min(places[1])] } else { places.map(|p| pool.min(p)) };
            plans.push(SegmentPlan::Patches(shape));
        } else if width > 512 {
            let units = (units * 16).min(width.next_power_of_two());
            let seed = seed ^ start as u64;
            plans.push(SegmentPlan::Ready(CodeSegment::Hashed(Hashed {
                start,
                inputs: width,
                units,
                spread: 2,
                seed,
            })));
        } else {
            columns.push((field.start..field.start + field.width).collect());
        }
    }
    if !columns.is_empty() {
        let alone = plans.is_empty();
        let groups = whole("groups").unwrap_or(if alone { 16 } else { 0 });
        plans.push(SegmentPlan::Ready(CodeSegment::Columns(Columns::random(&columns, groups, 32, 4, seed))));
    }
    plans
}

/// A trained `hybrid`.
#[derive(Debug)]
pub(crate) struct Hybrid {
    groups: LocalGroups,
    readout: Readout,
    /// Readouts that each leave a part of the rows out; empty unless it was cross-fitted.
    folds: Vec<Readout>,
    sums: Option<Sums>,
    seed: u64,
}

/// Reads a network; tensors are untrusted.
pub(crate) fn load(saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
    let SavedNetwork { encoder, outputs, config, tensors, .. } = *saved;
    if config.get("stream").and_then(Value::as_bool) == Some(true) && !tensors.contains_key("seed") {
        return Ok(Box::new(UntrainedHybrid { outputs }));
    }
    let seed: Vec<u8> = get(tensors, "seed")?;
    let seed = u64::from_le_bytes(seed.try_into().map_err(|_| bad("seed"))?);
    let groups = load_groups(&plan(encoder, config, seed), tensors)?;
    let weights: Vec<f32> = get(tensors, "readout.weights")?;
    let bias: Vec<f32> = get(tensors, "readout.bias")?;
    let width = groups.width();
    if bias.len() != outputs || weights.len() != outputs * width {
        return Err(bad("readout"));
    }
    let sums = load_sums(tensors)?;
    if sums.as_ref().is_some_and(|s| s.width() != width) {
        return Err(bad("sums"));
    }
    let folds = load_fold_readouts(tensors, width, outputs)?;
    Ok(Box::new(Hybrid { groups, readout: Readout { width, weights, bias }, folds, sums, seed }))
}

/// See [`FamilySpec::candle`].
fn candle_config(saved: &SavedNetwork<'_>) -> Result<HybridConfig> {
    let SavedNetwork { encoder, outputs, config, tensors, .. } = *saved;
    let seed: Vec<u8> = get(tensors, "seed")?;
    let seed = u64::from_le_bytes(seed.try_into().map_err(|_| bad("seed"))?);
    Ok(HybridConfig { groups: load_groups(&plan(encoder, config, seed), tensors)?, outputs })
}

fn length(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(|x| x * x).sum::<f64>().sqrt().max(1e-12)
}

impl Hybrid {
    /// The classes whose mean code is nearest: the training rows themselves are not stored.
    fn prototypes(&self, code: &[f32]) -> Vec<Recalled> {
        let Some(sums) = self.sums.as_ref().filter(|sums| sums.counts().len() > 1) else { return Vec::new() };
        let own = length(code.iter().map(|&c| f64::from(c)));
        let classes = (0..sums.counts().len()).filter(|&class| sums.counts()[class] > 0.0);
        let mut found: Vec<Recalled> = classes
            .map(|class| {
                let mean = sums.mean(class);
                let product: f64 = mean.iter().zip(code).map(|(m, &c)| m * f64::from(c)).sum();
                let similarity = (product / own / length(mean.iter().copied())) as f32;
                Recalled { id: class as u64, outcome: class as f32, similarity, row: RecalledRow::None }
            })
            .collect();
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        found.truncate(RECALLED);
        found
    }
}

/// Name of a part's code as a layer.
fn part_name(kind: &str, number: usize) -> String {
    format!("{kind}_{number}")
}

impl Network for Hybrid {
    fn family(&self) -> Family {
        Family::new(&Spec)
    }

    fn outputs(&self) -> usize {
        self.readout.bias.len()
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.readout.forward(&self.groups.code(batch, 1)))
    }

    fn feature_width(&self) -> usize {
        self.groups.width()
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.groups.code(batch, 1))
    }

    fn forward_with_features(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>)> {
        let codes = self.groups.code(batch, 1);
        Ok((self.readout.forward(&codes), codes))
    }

    fn forward_members(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        each_by_its_fold(&self.folds, &self.groups.code(batch, 1), members)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let mut explanation = explain_by_steps(batch, row, output, self.outputs(), |kept| self.forward(kept))?;
        let code = self.groups.code(&batch.select(&[row]), 1);
        explanation.active_units = strongest_units(&code);
        explanation.memories = self.prototypes(&code);
        Ok(explanation)
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        let (rows, width, outputs) = (batch.rows().max(1) as f64, self.groups.width(), self.outputs());
        let codes = self.groups.code(batch, 1);
        let mut out = Activity::default();
        let mut first = 0;
        for (number, part) in self.groups.parts.iter().enumerate() {
            let units = part.width();
            let mut duty = vec![0.0f32; units];
            for code in codes.chunks_exact(width) {
                duty.iter_mut().zip(&code[first..first + units]).for_each(|(d, v)| *d += f32::from(*v != 0.0));
            }
            let winners: f64 = duty.iter().map(|d| f64::from(*d)).sum::<f64>() / rows;
            duty.iter_mut().for_each(|d| *d /= rows as f32);
            let (kind, dense, effective, comparisons) = self.groups.work(number, batch);
            out.dense_macs += dense / rows + (units * outputs) as f64;
            out.effective_macs += effective / rows + winners * outputs as f64;
            out.top_k_operations += comparisons / rows;
            out.layers.push(LayerActivity {
                name: part_name(kind, number),
                units,
                winners,
                active_share: winners / units.max(1) as f64,
                dead_units: duty.iter().filter(|d| **d == 0.0).count(),
                duty,
            });
            first += units;
        }
        out.bytes = ((self.readout.weights.len() + self.readout.bias.len()) * 4 + self.groups.weights() * 4) as u64;
        Ok(out)
    }

    fn layer(&self, batch: &Batch, name: &str) -> Result<Option<Vec<f32>>> {
        let mut first = 0;
        for (number, part) in self.groups.parts.iter().enumerate() {
            let units = part.width();
            if part_name(self.groups.work(number, batch).0, number) == name {
                let codes = self.groups.code(batch, 1);
                let own = codes.chunks_exact(self.groups.width()).flat_map(|code| &code[first..first + units]);
                return Ok(Some(own.copied().collect()));
            }
            first += units;
        }
        Ok(None)
    }

    fn save(&self) -> Result<Tensors> {
        let mut out = save_readout(&self.readout, self.seed)?;
        save_fold_readouts(&self.folds, &mut out)?;
        save_filters(&self.groups, &mut out)?;
        if let Some(sums) = &self.sums {
            save_sums(sums, &mut out)?;
        }
        Ok(out)
    }

    fn onnx(&self, graph: &mut Graph, features: &Node, _encoder: &Encoder) -> Result<Option<Node>> {
        Ok(onnx::network(graph, features, &self.groups, &self.readout))
    }

    fn sums(&self) -> Option<&Sums> {
        self.sums.as_ref()
    }
}

/// Terms that add up to an answer whatever `forward` does with its entries.
pub(crate) fn explain_by_steps(
    batch: &Batch,
    row: usize,
    output: usize,
    outputs: usize,
    forward: impl Fn(&Batch) -> Result<Vec<f32>>,
) -> Result<Explanation> {
    let (indices, values) = batch.entries(row);
    // Entries are put back one block after the other, once in order and once in reverse: the
    // steps add up to the answer whatever the code does (Shapley values from two orders).
    let block = indices.len().div_ceil(64).max(1);
    let blocks = indices.len().div_ceil(block);
    let mut kept = Batch { bins: batch.bins.clone(), ..Batch::new() };
    for first in (0..=blocks).chain((0..=blocks).rev()) {
        let backwards = kept.rows() > blocks;
        let range = if backwards { first * block..indices.len() } else { 0..(first * block).min(indices.len()) };
        for at in range.start.min(indices.len())..range.end {
            kept.push_entry(indices[at], values[at]);
        }
        kept.end_bag();
    }
    let answers: Vec<f32> = forward(&kept)?.chunks_exact(outputs.max(1)).map(|a| a[output]).collect();
    let mut entries = vec![0.0; indices.len()];
    for b in 0..blocks {
        let range = b * block..((b + 1) * block).min(indices.len());
        let forwards = answers[b + 1] - answers[b];
        let last = 2 * blocks + 1;
        // Row `blocks + 1 + i` keeps the entries from block `blocks - i` on.
        let backwards = answers[last - b] - answers[last - b - 1];
        let sum: f32 = values[range.clone()].iter().map(|v| v.abs()).sum();
        for at in range.clone() {
            let share = if sum > 0.0 { values[at].abs() / sum } else { 1.0 / range.len() as f32 };
            entries[at] = share * 0.5 * (forwards + backwards);
        }
    }
    Ok(Explanation { bias: answers[0], entries, ..Explanation::default() })
}

/// The active units of one code, strongest first, at most 64.
pub(crate) fn strongest_units(code: &[f32]) -> Vec<(u32, f32)> {
    let mut active: Vec<(u32, f32)> =
        code.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(u, v)| (u as u32, *v)).collect();
    active.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    active.truncate(64);
    active
}
