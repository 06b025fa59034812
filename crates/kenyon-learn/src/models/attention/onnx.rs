//! The family's networks as ONNX operators: over columns of a table, a token a column, and over series by filters alone.

mod filters;

use crate::Result;
use crate::data::encoder::Field;
use crate::models::onnx::{k_winners, linear, reshape, tensor};
use crate::nn::Tensors;
use crate::nn::kernels::dense::EPSILON;
use crate::nn::layers::attention::AttentionShape;
use crate::onnx::{Graph, Node, integer, list};
pub(super) use filters::network as series_network;

/// The network from saved weights over rows of features, of which each of the `fields` is one token; returns the logits.
pub(super) fn network(
    graph: &mut Graph,
    features: &Node,
    fields: &[Field],
    shape: &AttentionShape,
    tensors: &Tensors,
) -> Result<Node> {
    graph.name("AttentionNet");
    let width = shape.width as i64;
    let mut x = embed(graph, features, fields, tensors)?;
    for layer in 0..shape.layers {
        x = block(graph, &x, fields.len() as i64, &format!("blocks.{layer}"), shape, tensors)?;
    }
    let normed = rms_norm(graph, &x, "norm", tensors)?;
    // Soft reads over the tokens, and the largest value of each unit.
    let queries = tensor(graph, "read.queries", tensors, 2)?;
    let queries = graph.op("Transpose", &[&queries], vec![]);
    let scale = graph.floats(&[], &[1.0 / (shape.width as f32).sqrt()]);
    let scores = graph.op("MatMul", &[&normed, &queries], vec![]);
    let scores = graph.op("Mul", &[&scores, &scale], vec![]);
    let weights = graph.op("Softmax", &[&scores], vec![integer("axis", 1)]);
    let weights = graph.op("Transpose", &[&weights], vec![list("perm", &[0, 2, 1])]);
    let soft = graph.op("MatMul", &[&weights, &normed], vec![]);
    let soft = reshape(graph, &soft, &[-1, shape.reads as i64 * width]);
    let largest = graph.op("ReduceMax", &[&normed], vec![list("axes", &[1]), integer("keepdims", 0)]);
    let pooled = graph.op("Concat", &[&soft, &largest], vec![integer("axis", 1)]);
    linear(graph, "read", &pooled, tensors)
}

/// The tokens, `[batch, fields, width]`: the sum of a field's active inputs, its own vector and the first position's.
fn embed(graph: &mut Graph, features: &Node, fields: &[Field], tensors: &Tensors) -> Result<Node> {
    let inputs = tensor(graph, "tokens", tensors, 2)?;
    let own = tensor(graph, "fields", tensors, 2)?;
    let positions = tensor(graph, "positions", tensors, 2)?;
    let first = graph.integers(&[1], &[0]);
    let position = graph.op("Gather", &[&positions, &first], vec![integer("axis", 0)]);
    let middle = graph.integers(&[1], &[1]);
    let mut tokens = Vec::with_capacity(fields.len());
    for (number, field) in fields.iter().enumerate() {
        let (from, to) = (i64::from(field.start), i64::from(field.start + field.width));
        let entries = slice(graph, features, 1, from, to);
        let vectors = slice(graph, &inputs, 0, from, to);
        let sum = graph.op("MatMul", &[&entries, &vectors], vec![]);
        let number = graph.integers(&[1], &[number as i64]);
        let own = graph.op("Gather", &[&own, &number], vec![integer("axis", 0)]);
        let sum = graph.op("Add", &[&sum, &own], vec![]);
        let sum = graph.op("Add", &[&sum, &position], vec![]);
        tokens.push(graph.op("Unsqueeze", &[&sum, &middle], vec![]));
    }
    Ok(graph.op("Concat", &tokens.iter().collect::<Vec<_>>(), vec![integer("axis", 1)]))
}

/// One attention block, as [`crate::nn::layers::attention`] has it.
fn block(
    graph: &mut Graph,
    x: &Node,
    tokens: i64,
    name: &str,
    shape: &AttentionShape,
    tensors: &Tensors,
) -> Result<Node> {
    let (width, heads) = (shape.width as i64, shape.heads as i64);
    let size = width / heads;
    let normed = rms_norm(graph, x, &format!("{name}.norm1"), tensors)?;
    let qkv = tensor(graph, &format!("{name}.qkv"), tensors, 2)?;
    let qkv = graph.op("MatMul", &[&normed, &qkv], vec![]);
    let mut head = |part: i64, order: [i64; 4]| {
        let part = slice(graph, &qkv, 2, part * width, (part + 1) * width);
        let part = reshape(graph, &part, &[-1, tokens, heads, size]);
        graph.op("Transpose", &[&part], vec![list("perm", &order)])
    };
    let (query, key, value) = (head(0, [0, 2, 1, 3]), head(1, [0, 2, 3, 1]), head(2, [0, 2, 1, 3]));
    let scale = graph.floats(&[], &[1.0 / (size as f32).sqrt()]);
    let scores = graph.op("MatMul", &[&query, &key], vec![]);
    let scores = graph.op("Mul", &[&scores, &scale], vec![]);
    let weights = graph.op("Softmax", &[&scores], vec![integer("axis", -1)]);
    let mixed = graph.op("MatMul", &[&weights, &value], vec![]);
    let mixed = graph.op("Transpose", &[&mixed], vec![list("perm", &[0, 2, 1, 3])]);
    let mixed = reshape(graph, &mixed, &[-1, tokens, width]);
    let out = tensor(graph, &format!("{name}.out"), tensors, 2)?;
    let attended = graph.op("MatMul", &[&mixed, &out], vec![]);
    let x = graph.op("Add", &[x, &attended], vec![]);

    let normed = rms_norm(graph, &x, &format!("{name}.norm2"), tensors)?;
    let up = affine(graph, &normed, (&format!("{name}.up"), &format!("{name}.up_bias")), tensors)?;
    let up = reshape(graph, &up, &[-1, shape.hidden as i64]);
    let hidden = k_winners(graph, &up, shape.winners.min(shape.hidden));
    let down = affine(graph, &hidden, (&format!("{name}.down"), &format!("{name}.down_bias")), tensors)?;
    let down = reshape(graph, &down, &[-1, tokens, width]);
    Ok(graph.op("Add", &[&x, &down], vec![]))
}

fn affine(graph: &mut Graph, rows: &Node, (weight, bias): (&str, &str), tensors: &Tensors) -> Result<Node> {
    let (weight, bias) = (tensor(graph, weight, tensors, 2)?, tensor(graph, bias, tensors, 1)?);
    let product = graph.op("MatMul", &[rows, &weight], vec![]);
    Ok(graph.op("Add", &[&product, &bias], vec![]))
}

/// Each token divided by its root mean square (Zhang & Sennrich 2019).
fn rms_norm(graph: &mut Graph, x: &Node, gain: &str, tensors: &Tensors) -> Result<Node> {
    let gain = tensor(graph, gain, tensors, 1)?;
    let least = graph.floats(&[], &[EPSILON]);
    let squares = graph.op("Mul", &[x, x], vec![]);
    let mean = graph.op("ReduceMean", &[&squares], vec![list("axes", &[-1]), integer("keepdims", 1)]);
    let mean = graph.op("Add", &[&mean, &least], vec![]);
    let root = graph.op("Sqrt", &[&mean], vec![]);
    let unit = graph.op("Div", &[x, &root], vec![]);
    Ok(graph.op("Mul", &[&unit, &gain], vec![]))
}

/// The part `from..to` of an axis.
fn slice(graph: &mut Graph, value: &Node, axis: i64, from: i64, to: i64) -> Node {
    let [from, to, axis] = [from, to, axis].map(|at| graph.integers(&[1], &[at]));
    graph.op("Slice", &[value, &from, &to, &axis], vec![])
}
