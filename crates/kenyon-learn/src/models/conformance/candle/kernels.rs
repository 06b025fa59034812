//! Gradients of the families' kernels, which the candle forms are compared with.

use super::{Case, Numbers, flat};
use crate::data::Batch;
use crate::models::candle::{self as forms, TokenBatch};
use crate::models::{Position, Targets, Task};
use crate::nn::Tensors;
use crate::nn::layers::attention::{AttentionLayout, AttentionShape, AttentionTape, AttentionWeights, Gradients};
use crate::nn::memory::knn_attention::{KnnLayout, KnnShape, KnnTape, keys_backward};
use crate::nn::memory::memory_network::{
    MemoryNetworkLayout, MemoryNetworkShape, MemoryNetworkTape, PositionEncoding, Stories,
};
use crate::nn::memory::query_reduction::{QueryReductionLayout, QueryReductionShape, QueryReductionTape};
use crate::nn::parameters::Parameters;
use candle_core::{DType, Tensor};
use serde_json::Value;

/// Names the parts of one slice.
fn named_parts(parameters: &Parameters, values: &[f32], out: &mut Numbers) {
    out.extend(parameters.iter().map(|part| (part.name.clone(), values[part.range.clone()].to_vec())));
}

fn loaded(parameters: &Parameters, tensors: &Tensors) -> Vec<f32> {
    let mut weights = vec![0.0; parameters.len()];
    parameters.load(tensors, &mut weights).unwrap();
    weights
}

/// Gradients of `Σ answers · slopes` by the kernels of `attention`.
pub(super) fn by_attention(
    config: &forms::attention::Config,
    tensors: &Tensors,
    batch: &Batch,
    slopes: &[f32],
) -> Numbers {
    let shape = AttentionShape {
        features: config.features,
        fields: config.fields.len().max(1),
        positions: config.positions,
        width: config.width,
        heads: config.heads,
        layers: config.layers,
        hidden: config.hidden,
        winners: config.winners,
        reads: config.reads,
        outputs: config.outputs,
    };
    let (layout, d) = (AttentionLayout::new(shape), config.width);
    let dense = loaded(&layout.parameters, tensors);
    let weights = AttentionWeights { dense, tokens: flat(&tensors["tokens"]), positions: flat(&tensors["positions"]) };
    let share = config.filters.as_ref().map_or(1.0, |branch| branch.blocks_share());
    let scaled = |share: f32| -> Vec<f32> { slopes.iter().map(|slope| slope * share).collect() };
    let (mut tape, mut gradients, rows) = (AttentionTape::default(), Gradients::default(), 0..batch.rows());
    tape.forward(&layout, &weights, batch, rows.clone(), None);
    tape.backward(&layout, &weights, &scaled(share), &mut gradients);
    tape.field_gradient(&layout, batch, &mut gradients);
    let mut out = Numbers::new();
    named_parts(&layout.parameters, &gradients.dense, &mut out);
    let (mut tokens, mut positions) = (vec![0f32; weights.tokens.len()], vec![0f32; weights.positions.len()]);
    let add = |to: &mut [f32], row: usize, scale: f32, from: &[f32]| {
        to[row * d..(row + 1) * d].iter_mut().zip(from).for_each(|(to, from)| *to += scale * from);
    };
    for ((token, place), dx) in tape.tokens().zip(tape.positions()).zip(gradients.inputs.chunks_exact(d)) {
        add(&mut positions, *place as usize, 1.0, dx);
        let (indices, values) = batch.token(token);
        indices.iter().zip(values).for_each(|(&index, &value)| add(&mut tokens, index as usize, value, dx));
    }
    out.extend([("tokens".to_owned(), tokens), ("positions".to_owned(), positions)]);
    if let Some(branch) = &config.filters {
        let (features, outputs) = (branch.plan.features, branch.plan.outputs);
        let mut readout = vec![0.0; (features + 1) * outputs];
        branch.gradient(&branch.pooled(batch, rows, true), &scaled(1.0 - share), &mut readout);
        out.insert("filters.bias".into(), readout.split_off(features * outputs));
        out.insert("filters.readout".into(), readout);
    }
    out
}

/// Gradients of `Σ answers · slopes` by the kernels of `memory`, rows being left out of their own answers.
pub(super) fn by_memory(config: &forms::memory::Config, tensors: &Tensors, batch: &Batch, slopes: &[f32]) -> Numbers {
    let (mut out, rows) = (Numbers::new(), 0..batch.rows());
    match config {
        forms::memory::Config::Ordered { sizes, wide_gates } => {
            let forms::memory::StoryConfig { words, width, hops, slots, outputs, ref story_fields } = *sizes;
            let shape = QueryReductionShape { words, width, hops, slots, outputs, wide_gates: *wide_gates };
            let (layout, encoding) = (QueryReductionLayout::new(shape), PositionEncoding::new(width, 1));
            let (weights, mut tape) = (loaded(&layout.parameters, tensors), QueryReductionTape::default());
            let (stories, mut gradient) = (Stories::new(batch, rows.clone(), story_fields), vec![0.0; weights.len()]);
            tape.forward(&layout, &encoding, &weights, &stories, rows, None);
            tape.backward(&layout, &encoding, &weights, &stories, slopes, &mut gradient);
            named_parts(&layout.parameters, &gradient, &mut out);
        }
        forms::memory::Config::Softmax { sizes, linear } => {
            let forms::memory::StoryConfig { words, width, hops, slots, outputs, ref story_fields } = *sizes;
            let layout = MemoryNetworkLayout::new(MemoryNetworkShape { words, width, hops, slots, outputs });
            let (weights, encoding) = (loaded(&layout.parameters, tensors), PositionEncoding::new(width, hops + 1));
            let (stories, mut gradient) = (Stories::new(batch, rows.clone(), story_fields), vec![0.0; weights.len()]);
            let mut tape = MemoryNetworkTape::default();
            for (row, slopes) in rows.zip(slopes.chunks_exact(outputs)) {
                tape.forward(&layout, &encoding, &weights, &stories, row, *linear, None);
                tape.backward(&layout, &encoding, &weights, &stories, row, *linear, slopes, &mut gradient);
            }
            named_parts(&layout.parameters, &gradient, &mut out);
        }
        forms::memory::Config::Rows(sizes) => {
            let forms::memory::RecallConfig { features, width, outputs, regression, ref episodes } = *sizes;
            let layout = KnnLayout::new(KnnShape { features, width, outputs, regression });
            let weights = loaded(&layout.parameters, tensors);
            let keys = layout.keys(&weights, episodes);
            let (mut gradient, mut dkeys) = (vec![0.0; weights.len()], vec![0.0; episodes.len() * width]);
            let mut tape = KnnTape::default();
            for (row, slopes) in rows.zip(slopes.chunks_exact(outputs)) {
                let entries = batch.entries(row);
                tape.forward(&layout, &weights, episodes, &keys, entries, true);
                tape.backward(&layout, &weights, episodes, &keys, entries, slopes, &mut gradient, &mut dkeys);
            }
            keys_backward(&layout, episodes, &keys, &dkeys, &mut gradient);
            named_parts(&layout.parameters, &gradient, &mut out);
        }
    }
    out
}

/// Gradients of the summed loss by the kernels of `sparse_mlp`: what a step at rate 1 without noise takes off.
pub(super) fn by_sparse_mlp(case: &mut Case, state: &Tensors) -> Numbers {
    let (requested, config) = (case.requested.clone(), case.config.clone());
    for (name, value) in [
        ("optimizer", Value::from("sgd")),
        ("learning_rate", 1.0.into()),
        ("dropout", 0.0.into()),
        ("boost", 0.0.into()),
        ("label_smoothing", 0.0.into()),
        ("anneal", 0.0.into()),
    ] {
        case.set(name, value);
    }
    let mut learner = case.learner(1, 1);
    learner.restore(state).unwrap();
    let before = learner.weights().unwrap();
    let targets = match case.task {
        Task::Classification => Targets::Classes(&case.classes, None),
        Task::Regression => Targets::Values(&case.values, None),
    };
    learner.step(&case.batch, targets, Position { epoch: 0, epochs: 1, step: 0, steps: 1 }).unwrap();
    let after = learner.weights().unwrap();
    (case.requested, case.config) = (requested, config);
    let learned = before.iter().filter(|(_, tensor)| tensor.dtype() == DType::F32);
    let taken = |(name, old): (&String, &Tensor)| (name.clone(), flat(&(old - &after[name]).unwrap()));
    learned.map(taken).collect()
}

/// Gradients of `Σ answers · slopes` for a linear readout, written out: `hybrid` has no backward pass.
pub(super) fn by_readout(config: &forms::HybridConfig, tokens: &TokenBatch, slopes: &[f32]) -> Numbers {
    let (width, outputs) = (config.groups.width(), config.outputs);
    let code = config.groups.code(tokens.batch(), 1);
    let (mut weights, mut bias) = (vec![0f32; outputs * width], vec![0f32; outputs]);
    for (code, slopes) in code.chunks_exact(width).zip(slopes.chunks_exact(outputs)) {
        for (output, slope) in slopes.iter().enumerate() {
            bias[output] += slope;
            weights[output * width..(output + 1) * width].iter_mut().zip(code).for_each(|(w, c)| *w += slope * c);
        }
    }
    [("readout.weights".into(), weights), ("readout.bias".into(), bias)].into()
}
