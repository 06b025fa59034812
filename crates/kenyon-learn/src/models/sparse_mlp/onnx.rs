//! The family's layers as ONNX operators.

use crate::models::onnx::{k_winners, linear, reshape};
use crate::nn::Tensors;
use crate::nn::layers::sparse_net::saved_winners;
use crate::onnx::{Graph, Node, integer};
use crate::{Error, Result};
use candle_core::Tensor;

/// The layers of a `sparse_mlp` from saved weights, over rows of features; returns the logits.
pub(super) fn layers(graph: &mut Graph, features: &Node, tensors: &Tensors) -> Result<Node> {
    graph.name("SparseMlp");
    let mut row = features.clone();
    if let Some(known) = tensors.get("features") {
        // A wide feature space has weights only for features that occurred.
        let known: Vec<i64> = known.to_vec1::<u32>()?.into_iter().map(i64::from).collect();
        let known = graph.integers(&[known.len() as i64], &known);
        row = graph.op("Gather", &[features, &known], vec![integer("axis", 1)]);
    }
    let mut code = row.clone();
    for (index, (winners, winner_groups)) in saved_winners(tensors).into_iter().enumerate() {
        let name = format!("hidden.{index}");
        let units = tensors.get(&format!("{name}.bias")).map_or(0, Tensor::elem_count);
        let sum = linear(graph, &name, &code, tensors)?;
        code = if winner_groups == 1 {
            k_winners(graph, &sum, winners)
        } else {
            let groups = reshape(graph, &sum, &[-1, (units / winner_groups.max(1)) as i64]);
            let codes = k_winners(graph, &groups, winners);
            reshape(graph, &codes, &[-1, units as i64])
        };
    }
    let mut terms = Vec::new();
    for (name, input) in [("readout", &code), ("skip", &row)] {
        if tensors.contains_key(&format!("{name}.weight")) {
            terms.push(linear(graph, name, input, tensors)?);
        }
    }
    match &terms[..] {
        [one] => Ok(one.clone()),
        [readout, skip] => Ok(graph.op("Add", &[readout, skip], vec![])),
        _ => Err(Error::internal("a network without a readout")),
    }
}
