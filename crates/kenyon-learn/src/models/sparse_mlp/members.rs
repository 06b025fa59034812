//! Members of an ensemble one by one: in training each with rows of its own, and after it each with its own answers,
//! although all were merged into one network.

use super::vocabulary::{Entries, Vocabulary};
use crate::data::Batch;
use crate::models::Targets;
use crate::nn::Tensors;
use crate::nn::kernels::SparseRows;
use crate::nn::layers::sparse_net::train::Labels;
use crate::nn::layers::sparse_net::{Hidden, InferenceNet, SparseNetShape, hidden_name};
use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// What is kept of the direct paths of the members, which are averaged when they are merged: `[members, outputs]`, the
/// sum of a member's biases behind the hidden layers, and `[members * inputs, outputs]`.
const BIAS: &str = "members.bias";
const SKIP: &str = "members.skip";

/// The rows of a mini-batch that one member learns.
#[derive(Clone, Debug, Default)]
pub(super) struct Portion {
    batch: Batch,
    rows: Vec<usize>,
    entries: Entries,
    classes: Vec<u32>,
    values: Vec<f32>,
    weights: Option<Vec<f32>>,
}

impl Portion {
    /// Takes the rows of `batch` for which `learns` holds, with their targets.
    pub(super) fn fill(&mut self, batch: &Batch, targets: Targets<'_>, learns: impl Fn(usize) -> bool) {
        self.rows.clear();
        self.rows.extend((0..batch.rows()).filter(|&row| learns(row)));
        self.batch.select_into(batch, &self.rows);
        self.classes.clear();
        self.values.clear();
        let weights = match targets {
            Targets::Classes(classes, weights) => {
                self.classes.extend(self.rows.iter().map(|&row| classes[row]));
                weights
            }
            Targets::Values(values, weights) => {
                self.values.extend(self.rows.iter().map(|&row| values[row]));
                weights
            }
        };
        self.weights = weights.map(|weights| self.rows.iter().map(|&row| weights[row]).collect());
    }

    /// The rows and what they should be answered with.
    pub(super) fn learned(&mut self, vocabulary: &Vocabulary) -> Result<(SparseRows<'_>, Labels<'_>)> {
        let weights = self.weights.as_deref();
        let labels = if self.classes.is_empty() {
            Labels::Values(&self.values, weights)
        } else {
            Labels::Classes(&self.classes, weights)
        };
        Ok((vocabulary.translate(&self.batch, &mut self.entries)?, labels))
    }
}

/// Adds to `merged` what is lost when `members` of `shape` are merged.
pub(super) fn keep_direct_paths(shape: &SparseNetShape, members: &[Tensors], merged: &mut Tensors) -> Result<()> {
    let outputs = shape.outputs;
    let mut biases = Vec::with_capacity(members.len() * outputs);
    for own in members {
        let mut bias = vec![0.0; outputs];
        for name in ["readout.bias", "skip.bias"] {
            if own.contains_key(name) {
                bias.iter_mut().zip(numbers(own, name, outputs)?).for_each(|(sum, bias)| *sum += bias);
            }
        }
        biases.extend(bias);
    }
    merged.insert(BIAS.to_owned(), Tensor::from_vec(biases, (members.len(), outputs), &Device::Cpu)?);
    if shape.skip || shape.hidden.is_empty() {
        let each = members.iter().map(|own| numbers(own, "skip.weight", shape.inputs * outputs));
        let weights = each.collect::<Result<Vec<_>>>()?.concat();
        let weights = Tensor::from_vec(weights, (members.len() * shape.inputs, outputs), &Device::Cpu)?;
        merged.insert(SKIP.to_owned(), weights);
    }
    Ok(())
}

/// What [`keep_direct_paths`] added to `tensors`.
pub(super) fn direct_paths(tensors: &Tensors) -> Tensors {
    [BIAS, SKIP].iter().filter_map(|&name| Some((name.to_owned(), tensors.get(name)?.clone()))).collect()
}

/// The networks that were merged into the one of `shape` with the weights `merged`; none where nothing was kept of
/// their direct paths.
pub(super) fn taken_apart(shape: &SparseNetShape, merged: &Tensors, direct: &Tensors) -> Result<Vec<InferenceNet>> {
    let count = direct.get(BIAS).map_or(0, |bias| bias.dims().first().copied().unwrap_or(0));
    let whole = |layer: &Hidden| layer.winner_groups.is_multiple_of(count) && layer.units.is_multiple_of(count);
    if count == 0 || !shape.hidden.iter().all(whole) {
        return Err(Error::internal("this network has no members that answer singly"));
    }
    let part = |layer: &Hidden| Hidden {
        units: layer.units / count,
        winner_groups: layer.winner_groups / count,
        ..layer.clone()
    };
    let own = SparseNetShape { hidden: shape.hidden.iter().map(part).collect(), ..shape.clone() };
    (0..count)
        .map(|member| InferenceNet::load(own.clone(), &weights_of(member, count, &own, merged, direct)?))
        .collect()
}

/// The weights of member `member` of `count`, each of the shape `own`.
fn weights_of(
    member: usize,
    count: usize,
    own: &SparseNetShape,
    merged: &Tensors,
    direct: &Tensors,
) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    let mut put = |name: String, values: Vec<f32>, dims: &[usize]| -> Result<()> {
        tensors.insert(name, Tensor::from_vec(values, dims, &Device::Cpu)?);
        Ok(())
    };
    let mut inputs = own.inputs;
    for (level, &Hidden { units, .. }) in own.hidden.iter().enumerate() {
        let name = hidden_name(level);
        // Inputs of the first layer are shared, above it each member has its own.
        let (rows, first) = if level == 0 { (inputs, 0) } else { (inputs * count, inputs * member) };
        let all = numbers(merged, &format!("{name}.weight"), rows * units * count)?;
        let lines = all.chunks_exact(units * count).skip(first).take(inputs);
        let weights = lines.flat_map(|line| &line[member * units..(member + 1) * units]).copied().collect();
        put(format!("{name}.weight"), weights, &[inputs, units])?;
        let bias = numbers(merged, &format!("{name}.bias"), units * count)?;
        put(format!("{name}.bias"), bias[member * units..(member + 1) * units].to_vec(), &[units])?;
        inputs = units;
    }
    let outputs = own.outputs;
    let bias = numbers(direct, BIAS, count * outputs)?[member * outputs..(member + 1) * outputs].to_vec();
    if own.skip || own.hidden.is_empty() {
        let width = own.inputs * outputs;
        let skip = numbers(direct, SKIP, width * count)?;
        put("skip.weight".into(), skip[member * width..(member + 1) * width].to_vec(), &[own.inputs, outputs])?;
    }
    if own.hidden.is_empty() {
        put("skip.bias".into(), bias, &[outputs])?;
        return Ok(tensors);
    }
    let readout = numbers(merged, "readout.weight", inputs * count * outputs)?;
    let readout = readout.chunks_exact(inputs * outputs).nth(member).unwrap_or_default();
    put("readout.weight".into(), readout.iter().map(|weight| weight * count as f32).collect(), &[inputs, outputs])?;
    put("readout.bias".into(), bias, &[outputs])?;
    if own.skip {
        put("skip.bias".into(), vec![0.0; outputs], &[outputs])?;
    }
    Ok(tensors)
}

/// The numbers of tensor `name`, which must be `length` long.
fn numbers(tensors: &Tensors, name: &str, length: usize) -> Result<Vec<f32>> {
    let broken = || Error::internal(format!("saved weights: {name} is missing or has another size"));
    let values = tensors.get(name).ok_or_else(broken)?.flatten_all()?.to_vec1::<f32>()?;
    if values.len() == length { Ok(values) } else { Err(broken()) }
}
