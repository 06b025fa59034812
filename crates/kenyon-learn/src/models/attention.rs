//! The attention family: tokens attend to each other, and the answer is a weighted sum over them.

mod learner;
mod onnx;
mod recipe;
mod settings;

pub(crate) use learner::learner;
pub(super) use learner::{loss_gradient, row_weights};
pub(crate) use settings::settings;

use super::candle::{TokenConfig, attention as form};
use super::family::Rule;
use super::fold_readouts::{each_by_its_fold, load_fold_readouts, save_fold_readouts};
use super::onnx::no_form;
use super::{
    Activity, Explanation, Family, FamilySpec, LayerActivity, Learner, LearnerSpec, Network, SavedNetwork, Setting,
    Suitability,
};
use crate::Result;
use crate::data::encoder::onnx::SeriesGraph;
use crate::data::encoder::{Encoder, Field, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::profile::DataProfile;
use crate::data::{Batch, ColumnKind};
use crate::nn::Tensors;
use crate::nn::kernels::dense;
use crate::nn::kernels::parallel;
use crate::nn::layers::attention::{AttentionLayout, AttentionTape, AttentionWeights};
use crate::nn::layers::filter_branch::{FilterBranch, SeriesColumn};
use crate::nn::layers::filters::FilterBank;
use crate::nn::layers::series_features::SeriesFeatures;
use crate::nn::parameters::{read_into, tensor};
use crate::onnx::{Graph, Node};
use serde_json::{Map, Value, json};
use settings::{FILTERS, Sizes, shape};
use std::ops::Range;

/// Parts of the rows that are left out in turn where readouts are cross-fitted.
const FOLDS: usize = 5;

/// The family's entry in the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec;

impl FamilySpec for Spec {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn purpose(&self) -> &'static str {
        "Sequences, text, images as patches, tables with interactions."
    }

    fn layout(&self, _inputs: &[ColumnPlan]) -> Layout {
        Layout::Tokens
    }

    fn own_settings(&self) -> Vec<Setting> {
        settings()
    }

    fn suits(&self, data: &DataProfile) -> Option<Suitability> {
        let reason = "a sequence of varying length: attention reads its steps in order";
        data.has(ColumnKind::Sequence).then(|| Suitability::new(2, reason)).flatten()
    }

    fn rules(&self) -> &'static [Rule] {
        recipe::RULES
    }

    fn search_space(&self) -> Value {
        json!({
            "width": [32, 64, 128],
            "layers": [0, 1, 2],
            "dropout": [0.0, 0.1, 0.3],
            "learning_rate": { "min": 0.0003, "max": 0.01, "log": true },
        })
    }

    fn cross_fits(&self, config: &Map<String, Value>) -> Option<usize> {
        cross_fits(config)
    }

    fn candle(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn TokenConfig>> {
        Ok(Box::new(candle_config(saved)?))
    }

    fn has_onnx(&self) -> bool {
        true
    }

    fn learner(&self, spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>> {
        learner(spec)
    }

    fn load(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
        load(saved)
    }
}

/// A setting as a number; `default` where it is missing or of another kind.
pub(super) fn number(config: &Map<String, Value>, name: &str, default: f64) -> f64 {
    config.get(name).and_then(Value::as_f64).unwrap_or(default)
}

pub(super) fn whole(config: &Map<String, Value>, name: &str, default: usize) -> usize {
    config.get(name).and_then(Value::as_u64).map_or(default, |v| v as usize)
}

/// Approximate number of entries in a token of each feature's column.
fn fan_in(encoder: &Encoder) -> Vec<f32> {
    let mut out = vec![1.0; encoder.width as usize];
    for field in &encoder.fields {
        let entries = match field.kind {
            ColumnKind::Sequence => field.width.min(64) as f32,
            ColumnKind::Vector | ColumnKind::Image => field.width.min(16) as f32,
            ColumnKind::Text => 2.0,
            _ => 1.0,
        };
        let end = (field.start + field.width).min(encoder.width) as usize;
        out[(field.start as usize).min(end)..end].fill(entries);
    }
    out
}

/// The network: sizes and weights, and the filters where there are series.
#[derive(Debug)]
struct Attention {
    plan: AttentionLayout,
    weights: AttentionWeights,
    branch: Option<FilterBranch>,
}

/// Filters for the series columns, if there are any and `filters` are wanted.
fn branch(encoder: &Encoder, outputs: usize, config: &Map<String, Value>, banks: NewBank) -> Option<FilterBranch> {
    let (wanted, all) = (whole(config, "filters", FILTERS), has_all_features(config));
    let cuts: Vec<_> = (0..encoder.fields.len()).filter_map(|f| Some((f, encoder.windows(f)?))).collect();
    if wanted == 0 || cuts.is_empty() {
        return None;
    }
    // The filters are the same for every seed: fixed parts need not differ.
    let column = |(field, (channels, _, stride)): &(usize, (usize, usize, usize))| SeriesColumn {
        field: *field as u16,
        start: encoder.fields[*field].start,
        stride: *stride,
        bank: match wanted / cuts.len() {
            wanted if all => SeriesFeatures::all(*channels, *stride, wanted, *field as u64),
            wanted => SeriesFeatures::filters(banks(*channels, *stride, wanted, *field as u64)),
        },
    };
    Some(FilterBranch::new(cuts.iter().map(column).collect(), outputs))
}

/// Whether series are read by more than filters over their values.
fn has_all_features(config: &Map<String, Value>) -> bool {
    config.get("series_features").and_then(Value::as_str) == Some("all")
}

/// See [`FamilySpec::cross_fits`]. Members are readouts that are solved for; blocks would be trained by all rows.
fn cross_fits(config: &Map<String, Value>) -> Option<usize> {
    let solved = config.get("filter_readout").and_then(Value::as_str) == Some("ridge");
    let cross_fit = config.get("cross_fit").and_then(Value::as_bool).unwrap_or(false);
    (cross_fit && solved && number(config, "blocks_share", 0.5) == 0.0).then_some(FOLDS)
}

/// What makes the filters of a series column.
type NewBank = fn(usize, usize, usize, u64) -> FilterBank;

impl Attention {
    fn save(&self) -> Result<Tensors> {
        let (shape, mut out) = (&self.plan.shape, Tensors::new());
        self.plan.parameters.save(&self.weights.dense, &mut out)?;
        if let Some(branch) = &self.branch {
            branch.plan.parameters.save(&branch.numbers, &mut out)?;
            save_fold_readouts(&branch.folds, &mut out)?;
        }
        out.insert("tokens".into(), tensor(&self.weights.tokens, &[shape.features, shape.width])?);
        out.insert("positions".into(), tensor(&self.weights.positions, &[shape.positions, shape.width])?);
        Ok(out)
    }

    fn read(&mut self, tensors: &Tensors) -> Result<()> {
        self.plan.parameters.load(tensors, &mut self.weights.dense)?;
        if let Some(branch) = &mut self.branch {
            branch.plan.parameters.load(tensors, &mut branch.numbers)?;
            branch.folds = load_fold_readouts(tensors, branch.plan.features, branch.plan.outputs)?;
        }
        read_into(tensors, "tokens", &mut self.weights.tokens)?;
        read_into(tensors, "positions", &mut self.weights.positions)
    }

    /// The outputs: those of the blocks, mixed with those of the filters if there are any.
    fn answers(&self, batch: &Batch, threads: usize) -> Vec<f32> {
        let blocks = || self.run(batch, threads, |tape| tape.logits().to_vec());
        let Some(branch) = &self.branch else { return blocks() };
        let filters = each_part(batch, threads, |rows| branch.logits(&branch.pooled(batch, rows, true)));
        if branch.answers_alone() {
            return filters;
        }
        blocks().into_iter().zip(filters).map(|(blocks, filters)| branch.mix(blocks, filters)).collect()
    }

    /// As [`Network::forward_members`].
    fn answers_of_members(&self, batch: &Batch, members: &[u8], threads: usize) -> Result<Vec<f32>> {
        let Some(branch) = &self.branch else { return each_by_its_fold(&[], &[], members) };
        let pooled = each_part(batch, threads, |rows| branch.pooled(batch, rows, true));
        each_by_its_fold(&branch.folds, &pooled, members)
    }

    /// Runs all rows, chunk by chunk, and gathers what `take` reads from each chunk.
    fn run(&self, batch: &Batch, threads: usize, take: impl Fn(&AttentionTape) -> Vec<f32> + Sync) -> Vec<f32> {
        let cuts = parallel::cut(batch, usize::MAX, 256);
        let mut out = Vec::new();
        let mut lanes: Vec<(AttentionTape, Vec<f32>)> = Vec::new();
        lanes.resize_with(threads.clamp(1, cuts.len().max(1)), Default::default);
        for group in cuts.chunks(lanes.len()) {
            parallel::each(&mut lanes[..group.len()], threads, |i, (tape, taken)| {
                tape.forward(&self.plan, &self.weights, batch, group[i].clone(), None);
                *taken = take(tape);
            });
            for (_, taken) in &lanes[..group.len()] {
                out.extend_from_slice(taken);
            }
        }
        out
    }
}

/// What `of` returns for the rows of `batch`, part by part.
fn each_part(batch: &Batch, threads: usize, of: impl Fn(Range<usize>) -> Vec<f32> + Sync) -> Vec<f32> {
    let cuts = parallel::cut(batch, usize::MAX, 256);
    let mut parts: Vec<Vec<f32>> = vec![Vec::new(); cuts.len()];
    parallel::each(&mut parts, threads, |i, part| *part = of(cuts[i].clone()));
    parts.concat()
}

/// The filters that were saved in `tensors`.
fn saved_branch(
    encoder: &Encoder,
    outputs: usize,
    config: &Map<String, Value>,
    tensors: &Tensors,
) -> Option<FilterBranch> {
    let of = |banks| branch(encoder, outputs, config, banks);
    let fits =
        |branch: &FilterBranch| tensors.get("filters.levels").is_some_and(|t| t.elem_count() == branch.plan.features);
    // Models of short series from before the third dilation was added have fewer filters.
    of(FilterBank::new).map(|new| if fits(&new) { new } else { of(FilterBank::narrow).unwrap_or(new) })
}

/// See [`FamilySpec::candle`].
fn candle_config(saved: &SavedNetwork<'_>) -> Result<form::Config> {
    let SavedNetwork { encoder, outputs, config, tensors, .. } = *saved;
    let shape = shape(encoder, outputs, config, Sizes::saved(tensors))?;
    let mut filters = saved_branch(encoder, outputs, config, tensors);
    if let Some(branch) = &mut filters {
        branch.plan.parameters.load(tensors, &mut branch.numbers)?;
    }
    let range = |field: &Field| field.start as usize..(field.start + field.width) as usize;
    Ok(form::Config {
        features: shape.features,
        fields: encoder.fields.iter().map(range).collect(),
        positions: shape.positions,
        width: shape.width,
        heads: shape.heads,
        layers: shape.layers,
        hidden: shape.hidden,
        winners: shape.winners,
        reads: shape.reads,
        outputs: shape.outputs,
        filters,
    })
}

/// The network saved as `tensors`.
pub(crate) fn load(saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>> {
    let SavedNetwork { encoder, outputs, config, tensors, .. } = *saved;
    let plan = AttentionLayout::new(shape(encoder, outputs, config, Sizes::saved(tensors))?);
    let weights = AttentionWeights {
        dense: vec![0.0; plan.len()],
        tokens: vec![0.0; plan.shape.features * plan.shape.width],
        positions: vec![0.0; plan.shape.positions * plan.shape.width],
    };
    let mut net = Attention { plan, weights, branch: saved_branch(encoder, outputs, config, tensors) };
    net.read(tensors)?;
    Ok(Box::new(net))
}

impl Network for Attention {
    fn family(&self) -> Family {
        Family::new(&Spec)
    }

    fn outputs(&self) -> usize {
        self.plan.shape.outputs
    }

    fn forward(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.answers(batch, 1))
    }

    fn feature_width(&self) -> usize {
        match &self.branch {
            Some(branch) if branch.answers_alone() => branch.projected_width(),
            _ => self.plan.pooled(),
        }
    }

    fn features(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(match &self.branch {
            Some(branch) if branch.answers_alone() => branch.projected(&branch.pooled(batch, 0..batch.rows(), true)),
            _ => self.run(batch, 1, |tape| tape.pooled().to_vec()),
        })
    }

    fn forward_members(&self, batch: &Batch, members: &[u8]) -> Result<Vec<f32>> {
        self.answers_of_members(batch, members, 1)
    }

    fn explain(&self, batch: &Batch, row: usize, output: usize) -> Result<Explanation> {
        let mut tape = AttentionTape::default();
        tape.forward(&self.plan, &self.weights, batch, row..row + 1, None);
        let (mut bias, mut terms, mut attention) = tape.terms(&self.plan, &self.weights, output);
        if let Some(branch) = &self.branch {
            // Blocks without a share in the answer were not trained either.
            attention.retain(|_| !branch.answers_alone());
            let (other_bias, others) = branch.terms(batch, row, output);
            bias = branch.mix(bias, other_bias);
            for (term, other) in terms.iter_mut().zip(others) {
                *term = branch.mix(*term, other);
            }
        }
        let mut entries = Vec::new();
        for (token, term) in batch.row(row).zip(&terms) {
            let (_, values) = batch.token(token);
            // A token's term is divided among all its entries in proportion to the size of their values.
            let sum: f32 = values.iter().map(|v| v.abs()).sum();
            match (values.len(), sum > 0.0) {
                (0, _) => bias += term,
                (_, true) => entries.extend(values.iter().map(|v| term * v.abs() / sum)),
                (n, false) => entries.extend(std::iter::repeat_n(term / n as f32, n)),
            }
        }
        let mut active_units = Vec::new();
        if self.plan.shape.layers > 0 && !terms.is_empty() {
            let hidden = tape.hidden(self.plan.shape.layers - 1);
            let mut sums = vec![0f32; self.plan.shape.hidden];
            for row in hidden.chunks_exact(self.plan.shape.hidden) {
                dense::add(&mut sums, row);
            }
            active_units =
                sums.iter().map(|s| s / terms.len() as f32).enumerate().map(|(u, s)| (u as u32, s)).collect();
            active_units.retain(|(_, s)| *s > 0.0);
            active_units.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            active_units.truncate(self.plan.shape.winners);
        }
        Ok(Explanation { bias, entries, attention, active_units, ..Explanation::default() })
    }

    fn activity(&self, batch: &Batch) -> Result<Activity> {
        let shape = &self.plan.shape;
        let (rows, d, h) = (batch.rows().max(1) as f64, shape.width as f64, shape.hidden as f64);
        let mut tape = AttentionTape::default();
        let mut counts = vec![vec![0u64; shape.hidden]; shape.layers];
        let mut rows_active = vec![vec![0u64; shape.hidden]; shape.layers];
        let (mut dense_macs, mut effective_macs, mut top_k) = (0.0, 0.0, 0.0);
        for row in 0..batch.rows() {
            tape.forward(&self.plan, &self.weights, batch, row..row + 1, None);
            let t = batch.row(row).len() as f64;
            let entries = batch.entries(row).0.len() as f64;
            let read = (shape.reads as f64) * t * d * 2.0 + (self.plan.pooled() * shape.outputs) as f64;
            let block = t * (4.0 * d * d + 2.0 * t * d);
            dense_macs += t * shape.features as f64 * d + shape.layers as f64 * (block + t * 2.0 * d * h) + read;
            effective_macs += entries * d + shape.layers as f64 * (block + t * d * h) + read;
            top_k += shape.layers as f64 * t * h;
            if let Some(branch) = &self.branch {
                for column in &branch.columns {
                    let macs = column.bank.macs(column.series(batch, row).steps as f64);
                    dense_macs += macs;
                    effective_macs += macs;
                }
            }
            for layer in 0..shape.layers {
                let mut seen = vec![false; shape.hidden];
                for token in tape.hidden(layer).chunks_exact(shape.hidden) {
                    for (unit, value) in token.iter().enumerate() {
                        if *value > 0.0 {
                            counts[layer][unit] += 1;
                            seen[unit] = true;
                            effective_macs += d;
                        }
                    }
                }
                for (unit, seen) in seen.iter().enumerate() {
                    rows_active[layer][unit] += u64::from(*seen);
                }
            }
        }
        let tokens = batch.tokens().max(1) as f64;
        let layers = layer_activities(&counts, &rows_active, (tokens, rows));
        let weights = self.weights.dense.len() + self.weights.tokens.len() + self.weights.positions.len();
        Ok(Activity {
            layers,
            dense_macs: dense_macs / rows,
            effective_macs: effective_macs / rows,
            top_k_operations: top_k / rows,
            memory_macs: 0.0,
            bytes: 4 * weights as u64,
        })
    }

    /// Mean over a row's tokens of the winners' activity: rows of any length get a code of the same width.
    fn layer(&self, batch: &Batch, name: &str) -> Result<Option<Vec<f32>>> {
        let (layers, hidden) = (self.plan.shape.layers, self.plan.shape.hidden);
        let Some(level) = (0..layers).find(|level| format!("blocks.{level}") == name) else { return Ok(None) };
        let mut tape = AttentionTape::default();
        let mut out = vec![0.0; batch.rows() * hidden];
        for (row, code) in out.chunks_exact_mut(hidden).enumerate() {
            tape.forward(&self.plan, &self.weights, batch, row..row + 1, None);
            let tokens = batch.row(row).len().max(1) as f32;
            tape.hidden(level).chunks_exact(hidden).for_each(|token| dense::add(code, token));
            code.iter_mut().for_each(|sum| *sum /= tokens);
        }
        Ok(Some(out))
    }

    fn save(&self) -> Result<Tensors> {
        Attention::save(self)
    }

    fn onnx(&self, graph: &mut Graph, features: &Node, encoder: &Encoder) -> Result<Option<Node>> {
        let a_token_each = self.branch.is_none() && encoder.has_a_token_a_field();
        let network = || onnx::network(graph, features, &encoder.fields, &self.plan.shape, &self.save()?);
        a_token_each.then(network).transpose()
    }

    fn onnx_of_series(&self, graph: &mut Graph, series: &[SeriesGraph]) -> Result<Option<Node>> {
        match self.branch.as_ref().filter(|branch| branch.answers_alone()) {
            Some(branch) => onnx::series_network(graph, branch, series).map(Some),
            None => Err(no_form(
                "attention blocks read the windows of its series, whose number varies from row to row, and have no ONNX \
                 form; train with a `blocks_share` of 0, or export a bundle",
            )),
        }
    }
}

/// The activity of each layer, from how often each unit was active in a token and in how many rows, `[layers][units]`.
fn layer_activities(counts: &[Vec<u64>], rows_active: &[Vec<u64>], (tokens, rows): (f64, f64)) -> Vec<LayerActivity> {
    let activity = |(layer, (counts, rows_active)): (usize, (&Vec<u64>, &Vec<u64>))| {
        // A unit's share is counted over tokens: that is where winners compete.
        let winners = counts.iter().sum::<u64>() as f64 / tokens;
        LayerActivity {
            name: format!("blocks.{layer}"),
            units: counts.len(),
            winners,
            active_share: winners / counts.len() as f64,
            dead_units: counts.iter().filter(|c| **c == 0).count(),
            duty: rows_active.iter().map(|c| *c as f32 / rows as f32).collect(),
        }
    };
    counts.iter().zip(rows_active).enumerate().map(activity).collect()
}
