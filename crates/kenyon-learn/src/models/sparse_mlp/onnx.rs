//! The family's layers as ONNX operators.

use crate::models::onnx::{Graph, integer};
use crate::nn::Tensors;
use crate::nn::layers::sparse_net::saved_winners;
use crate::{Error, Result};
use candle_core::Tensor;

/// The layers of a `sparse_mlp` from saved weights; returns the name of the logits.
pub(super) fn layers(graph: &mut Graph, tensors: &Tensors) -> Result<String> {
    graph.name("SparseMlp");
    let mut row = "features".to_owned();
    if let Some(features) = tensors.get("features") {
        // A wide feature space has weights only for features that occurred.
        let lines: Vec<i64> = features.to_vec1::<u32>()?.into_iter().map(i64::from).collect();
        graph.integers("lines", &[lines.len() as i64], &lines);
        graph.node("Gather", &["features", "lines"], &["known"], vec![integer("axis", 1)]);
        row = "known".to_owned();
    }
    let mut code = row.clone();
    for (index, (winners, winner_groups)) in saved_winners(tensors).into_iter().enumerate() {
        let name = format!("hidden.{index}");
        let sum = graph.linear(&name, &code, tensors)?;
        let units = tensors.get(&format!("{name}.bias")).map_or(0, Tensor::elem_count);
        let one = graph.reshaped(&sum, units / winner_groups.max(1), winner_groups);
        let code_of_one = graph.k_winners(&name, &one, winners);
        code = graph.reshaped(&code_of_one, units, winner_groups);
    }
    let mut terms = Vec::new();
    if tensors.contains_key("readout.weight") {
        terms.push(graph.linear("readout", &code, tensors)?);
    }
    if tensors.contains_key("skip.weight") {
        terms.push(graph.linear("skip", &row, tensors)?);
    }
    match &terms[..] {
        [one] => Ok(one.clone()),
        [readout, skip] => {
            graph.node("Add", &[readout, skip], &["logits"], vec![]);
            Ok("logits".to_owned())
        }
        _ => Err(Error::internal("a network without a readout")),
    }
}
