//! The code of local groups and its readout as ONNX operators.

use crate::models::onnx::{k_winners, reshape};
use crate::nn::layers::local_groups::{CodeSegment, Columns, Hashed, LocalGroups, Patches};
use crate::nn::readouts::Readout;
use crate::onnx::{FLOAT, Graph, Node, integer, list};

/// A projection with more weights is not written out.
const LARGEST_PROJECTION: usize = 1 << 24;

/// The network over rows of features; returns the logits, or none where a text is hashed into too many features.
pub(super) fn network(graph: &mut Graph, features: &Node, groups: &LocalGroups, readout: &Readout) -> Option<Node> {
    graph.name("Hybrid");
    let mut code = Vec::with_capacity(groups.parts.len());
    for segment in &groups.parts {
        code.push(match segment {
            CodeSegment::Patches(patches) => patch_code(graph, features, patches),
            CodeSegment::Columns(columns) => column_code(graph, features, columns),
            CodeSegment::Hashed(hashed) if hashed.inputs * hashed.units > LARGEST_PROJECTION => return None,
            CodeSegment::Hashed(hashed) => hashed_code(graph, features, hashed),
        });
    }
    let code = graph.op("Concat", &code.iter().collect::<Vec<_>>(), vec![integer("axis", 1)]);
    let outputs = readout.bias.len() as i64;
    let weights = graph.floats(&[outputs, readout.width as i64], &readout.weights);
    let weights = graph.op("Transpose", &[&weights], vec![]);
    let bias = graph.floats(&[outputs], &readout.bias);
    let product = graph.op("MatMul", &[&code, &weights], vec![]);
    Some(graph.op("Add", &[&product, &bias], vec![]))
}

/// Some of the features, by index.
fn gather(graph: &mut Graph, features: &Node, indices: impl Iterator<Item = i64>) -> Node {
    let indices: Vec<i64> = indices.collect();
    let indices = graph.integers(&[indices.len() as i64], &indices);
    graph.op("Gather", &[features, &indices], vec![integer("axis", 1)])
}

fn clip(graph: &mut Graph, value: &Node, low: f32, high: f32) -> Node {
    let (low, high) = (graph.floats(&[], &[low]), graph.floats(&[], &[high]));
    graph.op("Clip", &[value, &low, &high], vec![])
}

/// Divided by the root of `squares`; zero where that is zero.
fn normalised(graph: &mut Graph, value: &Node, squares: &Node) -> Node {
    let least = graph.floats(&[], &[f32::MIN_POSITIVE]);
    let squares = graph.op("Max", &[squares, &least], vec![]);
    let length = graph.op("Sqrt", &[&squares], vec![]);
    graph.op("Div", &[value, &length], vec![])
}

/// Patches, centred and scaled; the winners of each, pooled over cells; the root, of length 1.
fn patch_code(graph: &mut Graph, features: &Node, patches: &Patches) -> Node {
    let shape = &patches.shape;
    let ([height, width, channels], [high, wide]) = (shape.image, shape.patch);
    let [down, across] = shape.places();
    let (inputs, units, places) = (shape.inputs(), shape.units, down * across);
    let element = |y: usize, x: usize, c: usize| (shape.start + (y * width + x) * channels + c) as i64;
    debug_assert!(high <= height && wide <= width);
    let cut = (0..places).flat_map(|place| {
        let (top, left) = (place / across * shape.stride, place % across * shape.stride);
        (0..inputs).map(move |i| element(top + i / (wide * channels), left + i / channels % wide, i % channels))
    });
    let patch = gather(graph, features, cut);
    let patch = reshape(graph, &patch, &[-1, inputs as i64]);
    let over = || vec![list("axes", &[1]), integer("keepdims", 1)];
    let mean = graph.op("ReduceMean", &[&patch], over());
    let centred = graph.op("Sub", &[&patch, &mean], vec![]);
    let squares = graph.op("Mul", &[&centred, &centred], vec![]);
    let variance = graph.op("ReduceMean", &[&squares], over());
    let floor = graph.floats(&[], &[patches.floor]);
    let lifted = graph.op("Add", &[&variance, &floor], vec![]);
    let scaled = normalised(graph, &centred, &lifted);
    // Uniform patches have no winners.
    let uniform = graph.floats(&[], &[patches.floor * 1e-3]);
    let varied = graph.op("Greater", &[&variance, &uniform], vec![]);
    let varied = graph.op("Cast", &[&varied], vec![integer("to", i64::from(FLOAT))]);
    let filters = graph.floats(&[inputs as i64, units as i64], &patches.filters);
    let scores = graph.op("MatMul", &[&scaled, &filters], vec![]);
    let winners = k_winners(graph, &scores, shape.winners);
    let winners = graph.op("Mul", &[&winners, &varied], vec![]);
    let winners = reshape(graph, &winners, &[-1, places as i64, units as i64]);
    let cells = shape.pool[0] * shape.pool[1];
    let mut pool = vec![0.0f32; cells * places];
    for place in 0..places {
        let (y, x) = (place / across, place % across);
        let cell = (y * shape.pool[0] / down) * shape.pool[1] + x * shape.pool[1] / across;
        pool[cell * places + place] = 1.0;
    }
    let pool = graph.floats(&[cells as i64, places as i64], &pool);
    let pooled = graph.op("MatMul", &[&pool, &winners], vec![]);
    let pooled = reshape(graph, &pooled, &[-1, shape.width() as i64]);
    let axis = second_axis(graph);
    let sum = graph.op("ReduceSum", &[&pooled, &axis], vec![integer("keepdims", 1)]);
    let root = graph.op("Sqrt", &[&pooled], vec![]);
    normalised(graph, &root, &sum)
}

/// The columns themselves, then the winners of each group.
fn column_code(graph: &mut Graph, features: &Node, columns: &Columns) -> Node {
    let raw = gather(graph, features, columns.raw.iter().map(|&index| i64::from(index)));
    let raw = clip(graph, &raw, -8.0, 8.0);
    let scale = graph.floats(&[], &[columns.scale]);
    let units = columns.units as i64;
    let mut parts = vec![raw.clone()];
    for (inputs, weights) in columns.inputs.iter().zip(&columns.weights) {
        let (rows, bias) = weights.split_at(inputs.len() * columns.units);
        let seen = gather(graph, &raw, inputs.iter().map(|&at| i64::from(at)));
        let rows = graph.floats(&[inputs.len() as i64, units], rows);
        let bias = graph.floats(&[units], bias);
        let product = graph.op("MatMul", &[&seen, &rows], vec![]);
        let scores = graph.op("Add", &[&product, &bias], vec![]);
        let winners = k_winners(graph, &scores, columns.winners.min(columns.units));
        let winners = clip(graph, &winners, 0.0, 8.0);
        parts.push(graph.op("Mul", &[&winners, &scale], vec![]));
    }
    graph.op("Concat", &parts.iter().collect::<Vec<_>>(), vec![integer("axis", 1)])
}

/// A sparse random projection, of length 1.
fn hashed_code(graph: &mut Graph, features: &Node, hashed: &Hashed) -> Node {
    let rows = gather(graph, features, (hashed.start..hashed.start + hashed.inputs).map(|index| index as i64));
    let mut projection = vec![0.0f32; hashed.inputs * hashed.units];
    for index in 0..hashed.inputs {
        for (unit, sign) in hashed.places(index) {
            projection[index * hashed.units + unit] += sign;
        }
    }
    let projection = graph.floats(&[hashed.inputs as i64, hashed.units as i64], &projection);
    let projected = graph.op("MatMul", &[&rows, &projection], vec![]);
    let squares = graph.op("Mul", &[&rows, &rows], vec![]);
    let axis = second_axis(graph);
    let sum = graph.op("ReduceSum", &[&squares, &axis], vec![integer("keepdims", 1)]);
    let spread = graph.floats(&[], &[hashed.spread as f32]);
    let length = graph.op("Mul", &[&sum, &spread], vec![]);
    normalised(graph, &projected, &length)
}

/// The second axis, for sums.
fn second_axis(graph: &mut Graph) -> Node {
    graph.integers(&[1], &[1])
}
