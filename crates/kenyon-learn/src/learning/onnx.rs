//! A bundle's network as ONNX, so that other programs can run it.
//!
//! Input `features` is `[batch, width]`, a row in the encoder's feature space written out densely;
//! `encoder.json` stands in the model's metadata, as do the classes. k-winners are `TopK`, a
//! rectifier and `ScatterElements`. Outputs are `probabilities` `[batch, classes]` (calibrated) and
//! `label` `[batch]` (the class's position), or `value` `[batch]` in the target's own unit, as doubles.

use super::bundle::Bundle;
use crate::data::target::TargetEncoder;
use crate::models::Family;
use crate::nn::Tensors;
use crate::nn::layers::sparse_net::saved_winners;
use crate::{Error, Kind, Result};
use candle_core::Tensor;
use prost::Message;

/// The newest operator set every onnxruntime of the last years runs; nothing newer is needed.
const OPSET: i64 = 17;

/// The ONNX file of `bundle`. Families whose answer is no fixed graph over one row of features (tokens in
/// an order, codes by hashing, a memory that grows) are refused.
pub fn export(bundle: &Bundle) -> Result<Vec<u8>> {
    let tensors = bundle.network.save()?;
    let mut graph = Graph::default();
    let logits = match bundle.config.family {
        Family::SparseMlp => sparse_mlp(&mut graph, &tensors)?,
        Family::Memory if tensors.contains_key("episodes.outcomes") => {
            recall(&mut graph, &tensors, bundle.network.outputs(), bundle.classes().is_empty())?
        }
        other => {
            let detail = format!(
                "a model of family {} has no ONNX form: sparse_mlp has one, and memory without a story; export a bundle",
                other.name()
            );
            return Err(Error::new(Kind::Unprocessable, "no_onnx_form", detail));
        }
    };
    let outputs = bundle.network.outputs() as i64;
    let mut metadata = Vec::new();
    match &bundle.config.target_encoder {
        TargetEncoder::Classes(classes) => {
            graph.constant("temperature", &[], &[bundle.config.calibration.temperature]);
            graph.node("Div", &[&logits, "temperature"], &["cooled"], vec![]);
            graph.node("Softmax", &["cooled"], &["probabilities"], vec![integer("axis", -1)]);
            graph.node("ArgMax", &["probabilities"], &["label"], vec![integer("axis", -1), integer("keepdims", 0)]);
            graph.proto.output.push(value_info("probabilities", FLOAT, &[None, Some(outputs)]));
            graph.proto.output.push(value_info("label", INT64, &[None]));
            metadata.push(("classes", serde_json::to_string(classes).map_err(Error::internal)?));
        }
        TargetEncoder::Number { mean, std } => {
            graph.double("std", *std);
            graph.double("mean", *mean);
            graph.integers("last_axis", &[1], &[1]);
            graph.node("Cast", &[&logits], &["standardised"], vec![integer("to", i64::from(DOUBLE))]);
            graph.node("Mul", &["standardised", "std"], &["scaled"], vec![]);
            graph.node("Add", &["scaled", "mean"], &["shifted"], vec![]);
            graph.node("Squeeze", &["shifted", "last_axis"], &["value"], vec![]);
            graph.proto.output.push(value_info("value", DOUBLE, &[None]));
        }
    }
    let width = i64::from(bundle.encoder.width);
    graph.proto.input.push(value_info("features", FLOAT, &[None, Some(width)]));
    metadata.push(("encoder.json", serde_json::to_string(&bundle.encoder).map_err(Error::internal)?));
    let model = ModelProto {
        ir_version: 8,
        producer_name: "kenyon".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph.proto),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata.into_iter().map(|(k, value)| StringEntry { key: k.into(), value }).collect(),
    };
    Ok(model.encode_to_vec())
}

/// The layers of a `sparse_mlp` from its saved weights; returns the name of the logits.
fn sparse_mlp(graph: &mut Graph, tensors: &Tensors) -> Result<String> {
    "SparseMlp".clone_into(&mut graph.proto.name);
    let mut row = "features".to_owned();
    if let Some(features) = tensors.get("features") {
        // A wide feature space has weights for those that occurred only.
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

/// A `memory` that recalls training rows: the row's description against theirs by cosine, a softmax, and
/// their outcomes beside a linear readout (see `nn::recall`). Returns the name of the logits.
fn recall(graph: &mut Graph, tensors: &Tensors, outputs: usize, regression: bool) -> Result<String> {
    "Recall".clone_into(&mut graph.proto.name);
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
    // Keys stand as columns, `[width, episodes]`, votes as `[episodes, outputs]`.
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

/// A graph under construction.
#[derive(Default)]
struct Graph {
    proto: GraphProto,
}

impl Graph {
    fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        self.proto.node.push(NodeProto {
            input: names(inputs),
            output: names(outputs),
            name: outputs.first().copied().unwrap_or_default().to_owned(),
            op_type: op.to_owned(),
            attribute,
        });
    }

    fn constant(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.proto.initializer.push(TensorProto { dims: dims.to_vec(), data_type: FLOAT, name: name.into(), raw_data });
    }

    /// One number of double precision.
    fn double(&mut self, name: &str, value: f64) {
        let raw_data = value.to_le_bytes().to_vec();
        self.proto.initializer.push(TensorProto { dims: vec![], data_type: DOUBLE, name: name.into(), raw_data });
    }

    fn integers(&mut self, name: &str, dims: &[i64], values: &[i64]) {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.proto.initializer.push(TensorProto { dims: dims.to_vec(), data_type: INT64, name: name.into(), raw_data });
    }

    /// `input · weight + bias`; the weight is `[inputs, units]`.
    fn linear(&mut self, name: &str, input: &str, tensors: &Tensors) -> Result<String> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.tensor(&weight, tensors, 2)?;
        self.tensor(&bias, tensors, 1)?;
        let (product, sum) = (format!("{name}.product"), format!("{name}.sum"));
        self.node("MatMul", &[input, &weight], &[&product], vec![]);
        self.node("Add", &[&product, &bias], &[&sum], vec![]);
        Ok(sum)
    }

    fn tensor(&mut self, name: &str, tensors: &Tensors, dims: usize) -> Result<()> {
        let tensor: &Tensor = tensors.get(name).ok_or_else(|| Error::internal(format!("{name} is missing")))?;
        if tensor.dims().len() != dims {
            return Err(Error::internal(format!("{name} has shape {:?}", tensor.dims())));
        }
        let shape: Vec<i64> = tensor.dims().iter().map(|&d| d as i64).collect();
        self.constant(name, &shape, &tensor.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    /// Rows of `width` numbers; as they are where there is one contest.
    fn reshaped(&mut self, rows: &str, width: usize, winner_groups: usize) -> String {
        if winner_groups == 1 {
            return rows.to_owned();
        }
        let (shape, out) = (format!("{rows}.shape"), format!("{rows}.rows"));
        self.integers(&shape, &[2], &[-1, width as i64]);
        self.node("Reshape", &[rows, &shape], &[&out], vec![]);
        out
    }

    /// The `k` largest of each row, rectified, in their places; zero elsewhere.
    fn k_winners(&mut self, name: &str, sum: &str, k: usize) -> String {
        let at = |part: &str| format!("{name}.{part}");
        let (count, values, places, positive, shape, zeros, code) =
            (at("k"), at("values"), at("places"), at("positive"), at("shape"), at("zeros"), at("code"));
        self.integers(&count, &[1], &[k as i64]);
        let attributes = vec![integer("axis", 1), integer("largest", 1), integer("sorted", 0)];
        self.node("TopK", &[sum, &count], &[&values, &places], attributes);
        self.node("Relu", &[&values], &[&positive], vec![]);
        self.node("Shape", &[sum], &[&shape], vec![]);
        self.node("ConstantOfShape", &[&shape], &[&zeros], vec![]);
        self.node("ScatterElements", &[&zeros, &places, &positive], &[&code], vec![integer("axis", 1)]);
        code
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, ints: Vec::new(), r#type: 2 }
}

fn list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), i: 0, ints: values.to_vec(), r#type: 7 }
}

/// A named tensor of the graph's face; dimensions without a size are the batch.
fn value_info(name: &str, elem_type: i32, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = |size: &Option<i64>| Dimension {
        value: Some(size.map_or_else(|| DimensionValue::Param("batch".into()), DimensionValue::Value)),
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let r#type = Some(TypeProto { tensor_type: Some(TensorType { elem_type, shape }) });
    ValueInfoProto { name: name.into(), r#type }
}

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const DOUBLE: i32 = 11;

// The part of onnx.proto that is written here; field numbers are ONNX's own.

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StringEntry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(oneof = "DimensionValue", tags = "1, 2")]
    value: Option<DimensionValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum DimensionValue {
    #[prost(int64, tag = "1")]
    Value(i64),
    #[prost(string, tag = "2")]
    Param(String),
}
