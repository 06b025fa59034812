//! A model with stored training rows as ONNX operators.

use crate::nn::Tensors;
use crate::onnx::{Graph, Node, integer, list};
use crate::{Error, Result};
use candle_core::{Tensor, WithDType};

/// A `memory` with stored training rows: the row's embedding compared with theirs by cosine, a softmax, and
/// their outcomes added to a linear readout (see [`crate::nn::memory::knn_attention`]). Returns the logits.
pub(super) fn recall(
    graph: &mut Graph,
    row: &Node,
    tensors: &Tensors,
    outputs: usize,
    regression: bool,
) -> Result<Node> {
    graph.name("Recall");
    let floats = |name: &str| values::<f32>(tensors, name);
    let width = tensor(tensors, "features")?.dims().last().copied().unwrap_or(0);
    let table = floats("features")?;
    let Stored { count, keys, votes } = Stored::of(tensors, &table, width, outputs, regression)?;
    let readout = floats("readout")?;
    let columns = (0..width).flat_map(|i| (0..outputs).map(move |o| (o, i))).map(|(o, i)| readout[o * width + i]);
    let columns: Vec<f32> = columns.collect();
    let (wide, outs) = (width as i64, outputs as i64);
    let embedding = graph.floats(&[(table.len() / width.max(1)) as i64, wide], &table);
    let readout = graph.floats(&[wide, outs], &columns);
    let bias = graph.floats(&[outs], &floats("bias")?);
    let description = graph.op("MatMul", &[row, &embedding], vec![]);
    let read = graph.op("MatMul", &[&description, &readout], vec![]);
    let linear = graph.op("Add", &[&read, &bias], vec![]);
    if count == 0 {
        return Ok(linear);
    }
    let keys = graph.floats(&[wide, count as i64], &keys);
    let votes = graph.floats(&[count as i64, outs], &votes);
    let trust = graph.floats(&[], &floats("trust")?);
    let sharpness = graph.floats(&[], &floats("sharpness")?);
    let least = graph.floats(&[], &[1e-6]);
    let norm = graph.op("ReduceL2", &[&description], vec![list("axes", &[1]), integer("keepdims", 1)]);
    let length = graph.op("Max", &[&norm, &least], vec![]);
    let unit = graph.op("Div", &[&description, &length], vec![]);
    let similarity = graph.op("MatMul", &[&unit, &keys], vec![]);
    let sharp = graph.op("Mul", &[&similarity, &sharpness], vec![]);
    let weights = graph.op("Softmax", &[&sharp], vec![integer("axis", -1)]);
    let recalled = graph.op("MatMul", &[&weights, &votes], vec![]);
    let trusted = graph.op("Mul", &[&recalled, &trust], vec![]);
    Ok(graph.op("Add", &[&linear, &trusted], vec![]))
}

/// The stored rows as the operators read them.
struct Stored {
    count: usize,
    /// Columns of unit length, `[width, episodes]`.
    keys: Vec<f32>,
    /// `[episodes, outputs]`.
    votes: Vec<f32>,
}

impl Stored {
    /// Embeds the rows by `table`, `[features, width]`.
    fn of(tensors: &Tensors, table: &[f32], width: usize, outputs: usize, regression: bool) -> Result<Self> {
        let outcomes = values::<f32>(tensors, "episodes.outcomes")?;
        let (offsets, indices) =
            (values::<u32>(tensors, "episodes.offsets")?, values::<u32>(tensors, "episodes.indices")?);
        let weights = values::<f32>(tensors, "episodes.values")?;
        let count = outcomes.len();
        let (mut keys, mut votes) = (vec![0.0f32; width * count], vec![0.0f32; count * outputs]);
        for (episode, (at, outcome)) in offsets.windows(2).zip(&outcomes).enumerate() {
            let mut key = vec![0.0f32; width];
            for entry in at[0] as usize..at[1] as usize {
                let line = &table[indices[entry] as usize * width..][..width];
                key.iter_mut().zip(line).for_each(|(k, weight)| *k += weights[entry] * weight);
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
        Ok(Self { count, keys, votes })
    }
}

fn tensor<'t>(tensors: &'t Tensors, name: &str) -> Result<&'t Tensor> {
    tensors.get(name).ok_or_else(|| Error::internal(format!("{name} is missing")))
}

fn values<T: WithDType>(tensors: &Tensors, name: &str) -> Result<Vec<T>> {
    Ok(tensor(tensors, name)?.flatten_all()?.to_vec1::<T>()?)
}
