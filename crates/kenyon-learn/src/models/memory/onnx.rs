//! A model with stored training rows as ONNX operators.

use crate::models::onnx::{Graph, integer, list};
use crate::nn::Tensors;
use crate::{Error, Result};

/// A `memory` with stored training rows: the row's embedding compared with theirs by cosine, a softmax, and
/// their outcomes added to a linear readout (see [`crate::nn::memory::knn_attention`]). Returns the name of the logits.
pub(super) fn recall(graph: &mut Graph, tensors: &Tensors, outputs: usize, regression: bool) -> Result<String> {
    graph.name("Recall");
    let missing = |name: &str| Error::internal(format!("{name} is missing"));
    let floats = |name: &str| -> Result<Vec<f32>> {
        Ok(tensors.get(name).ok_or_else(|| missing(name))?.flatten_all()?.to_vec1::<f32>()?)
    };
    let whole = |name: &str| -> Result<Vec<u32>> {
        Ok(tensors.get(name).ok_or_else(|| missing(name))?.flatten_all()?.to_vec1::<u32>()?)
    };
    let width = tensors.get("features").ok_or_else(|| missing("features"))?.dims().last().copied().unwrap_or(0);
    let (table, outcomes) = (floats("features")?, floats("episodes.outcomes")?);
    let (offsets, indices, values) =
        (whole("episodes.offsets")?, whole("episodes.indices")?, floats("episodes.values")?);
    let count = outcomes.len();
    // Keys are columns, `[width, episodes]`, votes `[episodes, outputs]`.
    let (mut keys, mut votes) = (vec![0.0f32; width * count], vec![0.0f32; count * outputs]);
    for (episode, (at, outcome)) in offsets.windows(2).zip(&outcomes).enumerate() {
        let mut key = vec![0.0f32; width];
        for entry in at[0] as usize..at[1] as usize {
            let line = &table[indices[entry] as usize * width..][..width];
            key.iter_mut().zip(line).for_each(|(k, weight)| *k += values[entry] * weight);
        }
        let length = key.iter().map(|k| k * k).sum::<f32>().sqrt().max(1e-6);
        key.iter().enumerate().for_each(|(i, k)| keys[i * count + episode] = k / length);
        let own = &mut votes[episode * outputs..(episode + 1) * outputs];
        if regression {
            own[0] = *outcome;
        } else if let Some(vote) = own.get_mut(*outcome as usize) {
            *vote = 1.0;
        }
    }
    let readout = floats("readout")?;
    let columns = (0..width).flat_map(|i| (0..outputs).map(move |o| (o, i))).map(|(o, i)| readout[o * width + i]);
    let columns: Vec<f32> = columns.collect();
    let (wide, outs) = (width as i64, outputs as i64);
    graph.constant("embedding", &[(table.len() / width.max(1)) as i64, wide], &table);
    graph.constant("readout", &[wide, outs], &columns);
    graph.constant("bias", &[outs], &floats("bias")?);
    graph.node("MatMul", &["features", "embedding"], &["description"], vec![]);
    graph.node("MatMul", &["description", "readout"], &["read"], vec![]);
    graph.node("Add", &["read", "bias"], &["linear"], vec![]);
    if count == 0 {
        return Ok("linear".to_owned());
    }
    graph.constant("keys", &[wide, count as i64], &keys);
    graph.constant("votes", &[count as i64, outs], &votes);
    graph.constant("trust", &[], &floats("trust")?);
    graph.constant("sharpness", &[], &floats("sharpness")?);
    graph.constant("least", &[], &[1e-6]);
    graph.node("ReduceL2", &["description"], &["norm"], vec![list("axes", &[1]), integer("keepdims", 1)]);
    graph.node("Max", &["norm", "least"], &["length"], vec![]);
    graph.node("Div", &["description", "length"], &["unit"], vec![]);
    graph.node("MatMul", &["unit", "keys"], &["similarity"], vec![]);
    graph.node("Mul", &["similarity", "sharpness"], &["sharp"], vec![]);
    graph.node("Softmax", &["sharp"], &["weights"], vec![integer("axis", -1)]);
    graph.node("MatMul", &["weights", "votes"], &["recalled"], vec![]);
    graph.node("Mul", &["recalled", "trust"], &["trusted"], vec![]);
    graph.node("Add", &["linear", "trusted"], &["logits"], vec![]);
    Ok("logits".to_owned())
}
