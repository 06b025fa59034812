//! Layers of networks as ONNX operators.

use crate::nn::Tensors;
use crate::onnx::{Graph, Node, integer};
use crate::{Error, Kind, Result};
use candle_core::Tensor;

/// 422 `no_onnx_form`.
pub(crate) fn no_form(detail: impl Into<String>) -> Error {
    Error::new(Kind::Unprocessable, "no_onnx_form", detail)
}

/// A saved tensor of `dims` dimensions.
pub(super) fn tensor(graph: &mut Graph, name: &str, tensors: &Tensors, dims: usize) -> Result<Node> {
    let tensor: &Tensor = tensors.get(name).ok_or_else(|| Error::internal(format!("{name} is missing")))?;
    if tensor.dims().len() != dims {
        return Err(Error::internal(format!("{name} has shape {:?}", tensor.dims())));
    }
    let shape: Vec<i64> = tensor.dims().iter().map(|&d| d as i64).collect();
    Ok(graph.floats(&shape, &tensor.flatten_all()?.to_vec1::<f32>()?))
}

/// `rows · weight + bias` of the layer saved as `name`; the weight is `[inputs, units]`.
pub(super) fn linear(graph: &mut Graph, name: &str, rows: &Node, tensors: &Tensors) -> Result<Node> {
    let weight = tensor(graph, &format!("{name}.weight"), tensors, 2)?;
    let bias = tensor(graph, &format!("{name}.bias"), tensors, 1)?;
    let product = graph.op("MatMul", &[rows, &weight], vec![]);
    Ok(graph.op("Add", &[&product, &bias], vec![]))
}

/// The same numbers in another shape; −1 is what is left.
pub(super) fn reshape(graph: &mut Graph, value: &Node, shape: &[i64]) -> Node {
    let shape = graph.integers(&[shape.len() as i64], shape);
    graph.op("Reshape", &[value, &shape], vec![])
}

/// The `k` largest of each row of a matrix, rectified, in their columns; zero elsewhere.
pub(super) fn k_winners(graph: &mut Graph, rows: &Node, k: usize) -> Node {
    let [values, columns] = graph.top_k(rows, k);
    let positive = graph.op("Relu", &[&values], vec![]);
    let shape = graph.op("Shape", &[rows], vec![]);
    let zeros = graph.op("ConstantOfShape", &[&shape], vec![]);
    graph.op("ScatterElements", &[&zeros, &columns, &positive], vec![integer("axis", 1)])
}
