//! A bundle's network as ONNX, so that other programs can run it.
//!
//! Input `features` is `[batch, width]`, a row in the encoder's feature space written out densely;
//! `encoder.json` stands in the model's metadata, as do the classes. k-winners are `TopK`, a
//! rectifier and `ScatterElements`. Outputs are `probabilities` `[batch, classes]` (calibrated) and
//! `label` `[batch]` (the class's position), or `value` `[batch]` in the target's own unit.

use super::bundle::Bundle;
use crate::data::target::TargetEncoder;
use crate::models::Family;
use crate::nn::Tensors;
use crate::{Error, Kind, Result};
use candle_core::Tensor;
use prost::Message;

/// The newest operator set every onnxruntime of the last years runs; nothing newer is needed.
const OPSET: i64 = 17;

/// The ONNX file of `bundle`. Families whose answer is not a fixed graph of matrix products
/// (recall from a memory that grows) are refused.
pub fn export(bundle: &Bundle) -> Result<Vec<u8>> {
    if bundle.config.family != Family::SparseMlp {
        let detail = format!("models of family {} have no ONNX form; export a bundle", bundle.config.family.name());
        return Err(Error::new(Kind::Unprocessable, "no_onnx_form", detail));
    }
    let tensors = bundle.network.save()?;
    let mut graph = Graph::default();
    let logits = sparse_mlp(&mut graph, &tensors)?;
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
            graph.constant("std", &[], &[*std as f32]);
            graph.constant("mean", &[], &[*mean as f32]);
            graph.integers("last_axis", &[1], &[1]);
            graph.node("Mul", &[&logits, "std"], &["scaled"], vec![]);
            graph.node("Add", &["scaled", "mean"], &["shifted"], vec![]);
            graph.node("Squeeze", &["shifted", "last_axis"], &["value"], vec![]);
            graph.proto.output.push(value_info("value", FLOAT, &[None]));
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
    let winners = match tensors.get("winners") {
        Some(winners) => winners.to_vec1::<u32>()?,
        None => Vec::new(),
    };
    let mut code = row.clone();
    for (index, &k) in winners.iter().enumerate() {
        let name = format!("hidden.{index}");
        let sum = graph.linear(&name, &code, tensors)?;
        code = graph.k_winners(&name, &sum, k);
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

    /// The `k` largest of each row, rectified, in their places; zero elsewhere.
    fn k_winners(&mut self, name: &str, sum: &str, k: u32) -> String {
        let at = |part: &str| format!("{name}.{part}");
        let (count, values, places, positive, shape, zeros, code) =
            (at("k"), at("values"), at("places"), at("positive"), at("shape"), at("zeros"), at("code"));
        self.integers(&count, &[1], &[i64::from(k)]);
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
    AttributeProto { name: name.into(), i: value, r#type: 2 }
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
