//! Graphs of ONNX operators: the parts of families' exported form.

use crate::nn::Tensors;
use crate::{Error, Result};
use candle_core::Tensor;
use prost::Message;

/// The newest operator set that all recent versions of onnxruntime run; nothing newer is needed.
const OPSET: i64 = 17;

/// A graph under construction.
#[derive(Debug, Default)]
pub struct Graph {
    proto: GraphProto,
}

impl Graph {
    /// Names the graph.
    pub(crate) fn name(&mut self, name: &str) {
        name.clone_into(&mut self.proto.name);
    }

    /// Declares an input; dimensions without a size are the batch.
    pub(crate) fn input(&mut self, name: &str, elem_type: i32, dims: &[Option<i64>]) {
        self.proto.input.push(value_info(name, elem_type, dims));
    }

    /// Declares an output; dimensions without a size are the batch.
    pub(crate) fn output(&mut self, name: &str, elem_type: i32, dims: &[Option<i64>]) {
        self.proto.output.push(value_info(name, elem_type, dims));
    }

    /// The file, with `metadata` as (key, text).
    pub(crate) fn into_bytes(self, metadata: Vec<(&str, String)>) -> Vec<u8> {
        let model = ModelProto {
            ir_version: 8,
            producer_name: "kenyon".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.proto),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            metadata_props: metadata.into_iter().map(|(k, value)| StringEntry { key: k.into(), value }).collect(),
        };
        model.encode_to_vec()
    }

    /// Adds an operator.
    pub(crate) fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        self.proto.node.push(NodeProto {
            input: names(inputs),
            output: names(outputs),
            name: outputs.first().copied().unwrap_or_default().to_owned(),
            op_type: op.to_owned(),
            attribute,
        });
    }

    /// Adds a constant of floats.
    pub(crate) fn constant(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.proto.initializer.push(TensorProto { dims: dims.to_vec(), data_type: FLOAT, name: name.into(), raw_data });
    }

    /// Adds one number of double precision.
    pub(crate) fn double(&mut self, name: &str, value: f64) {
        let raw_data = value.to_le_bytes().to_vec();
        self.proto.initializer.push(TensorProto { dims: vec![], data_type: DOUBLE, name: name.into(), raw_data });
    }

    /// Adds a constant of integers.
    pub(crate) fn integers(&mut self, name: &str, dims: &[i64], values: &[i64]) {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.proto.initializer.push(TensorProto { dims: dims.to_vec(), data_type: INT64, name: name.into(), raw_data });
    }

    /// `input · weight + bias`; the weight is `[inputs, units]`.
    pub(crate) fn linear(&mut self, name: &str, input: &str, tensors: &Tensors) -> Result<String> {
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

    /// Rows of `width` numbers; unchanged where there is one winner group.
    pub(crate) fn reshaped(&mut self, rows: &str, width: usize, winner_groups: usize) -> String {
        if winner_groups == 1 {
            return rows.to_owned();
        }
        let (shape, out) = (format!("{rows}.shape"), format!("{rows}.rows"));
        self.integers(&shape, &[2], &[-1, width as i64]);
        self.node("Reshape", &[rows, &shape], &[&out], vec![]);
        out
    }

    /// The `k` largest of each row, rectified, at their positions; zero elsewhere.
    pub(crate) fn k_winners(&mut self, name: &str, sum: &str, k: usize) -> String {
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

pub(crate) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, ints: Vec::new(), r#type: 2 }
}

pub(crate) fn list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), i: 0, ints: values.to_vec(), r#type: 7 }
}

/// A named tensor of the graph's interface; dimensions without a size are the batch.
fn value_info(name: &str, elem_type: i32, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = |size: &Option<i64>| Dimension {
        value: Some(size.map_or_else(|| DimensionValue::Param("batch".into()), DimensionValue::Value)),
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let r#type = Some(TypeProto { tensor_type: Some(TensorType { elem_type, shape }) });
    ValueInfoProto { name: name.into(), r#type }
}

pub(crate) const FLOAT: i32 = 1;
pub(crate) const INT64: i32 = 7;
pub(crate) const DOUBLE: i32 = 11;

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
pub(crate) struct AttributeProto {
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
