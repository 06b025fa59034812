//! Graphs of ONNX operators: what the exported forms of the encoder and of the families are made of.

mod proto;

use prost::Message;
pub(crate) use proto::{AttributeProto, BOOL, DOUBLE, FLOAT, INT64, STRING};
use proto::{
    Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringEntry, TensorProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};

/// The newest operator set that all recent versions of onnxruntime run; nothing newer is needed.
const OPSET: i64 = 17;

/// Tables of names are operators of another set.
const ML: (&str, i64) = ("ai.onnx.ml", 3);

/// A graph under construction.
#[derive(Debug, Default)]
pub struct Graph {
    proto: GraphProto,
    values: usize,
}

/// A tensor of the graph: an input, a constant or what an operator gives.
#[derive(Clone, Debug)]
pub struct Node(String);

impl Graph {
    /// Names the graph.
    pub(crate) fn name(&mut self, name: &str) {
        name.clone_into(&mut self.proto.name);
    }

    /// Declares an input; the first dimension without a size is the batch, another one the steps of a series.
    pub(crate) fn input(&mut self, name: &str, elem_type: i32, dims: &[Option<i64>]) -> Node {
        self.proto.input.push(value_info(name, elem_type, dims));
        Node(name.to_owned())
    }

    /// Declares `value` as an output. Where an input has the same name, `_` is put after it.
    pub(crate) fn output(&mut self, name: &str, value: &Node, elem_type: i32, dims: &[Option<i64>]) {
        let mut name = name.to_owned();
        while self.is_input(&name) {
            name.push('_');
        }
        self.proto.output.push(value_info(&name, elem_type, dims));
        self.push("Identity", "", &[value], vec![name], vec![]);
    }

    /// The file, with `metadata` as (key, text).
    pub(crate) fn into_bytes(self, metadata: Vec<(&str, String)>) -> Vec<u8> {
        let version = |(domain, version): (&str, i64)| OperatorSetIdProto { domain: domain.into(), version };
        let model = ModelProto {
            ir_version: 8,
            producer_name: "kenyon".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.proto),
            opset_import: vec![version(("", OPSET)), version(ML)],
            metadata_props: metadata.into_iter().map(|(k, value)| StringEntry { key: k.into(), value }).collect(),
        };
        model.encode_to_vec()
    }

    /// What an operator gives.
    pub(crate) fn op(&mut self, op: &str, inputs: &[&Node], attributes: Vec<AttributeProto>) -> Node {
        let out = self.fresh();
        self.push(op, "", inputs, vec![out.0.clone()], attributes);
        out
    }

    /// The position of each string in `names`; `default` for others.
    pub(crate) fn position(&mut self, strings: &Node, names: &[(String, i64)], default: i64) -> Node {
        let out = self.fresh();
        let keys = names.iter().map(|(name, _)| name.clone().into_bytes()).collect();
        let positions = names.iter().map(|(_, position)| *position).collect();
        let attributes = vec![
            AttributeProto { name: "keys_strings".into(), strings: keys, r#type: 8, ..AttributeProto::default() },
            AttributeProto { name: "values_int64s".into(), ints: positions, r#type: 7, ..AttributeProto::default() },
            integer("default_int64", default),
        ];
        self.push("LabelEncoder", ML.0, &[strings], vec![out.0.clone()], attributes);
        out
    }

    /// The `k` largest of each row of a matrix, and their columns.
    pub(crate) fn top_k(&mut self, rows: &Node, k: usize) -> [Node; 2] {
        let count = self.integers(&[1], &[k as i64]);
        let out = [self.fresh(), self.fresh()];
        let attributes = vec![integer("axis", 1), integer("largest", 1), integer("sorted", 0)];
        self.push("TopK", "", &[rows, &count], out.iter().map(|value| value.0.clone()).collect(), attributes);
        out
    }

    /// A constant of floats.
    pub(crate) fn floats(&mut self, dims: &[i64], values: &[f32]) -> Node {
        self.constant(dims, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect(), vec![])
    }

    /// A constant of numbers of double precision.
    pub(crate) fn doubles(&mut self, dims: &[i64], values: &[f64]) -> Node {
        self.constant(dims, DOUBLE, values.iter().flat_map(|v| v.to_le_bytes()).collect(), vec![])
    }

    /// One number of double precision.
    pub(crate) fn double(&mut self, value: f64) -> Node {
        self.doubles(&[], &[value])
    }

    /// A constant of whole numbers.
    pub(crate) fn integers(&mut self, dims: &[i64], values: &[i64]) -> Node {
        self.constant(dims, INT64, values.iter().flat_map(|v| v.to_le_bytes()).collect(), vec![])
    }

    /// A list of strings.
    pub(crate) fn strings(&mut self, values: Vec<String>) -> Node {
        let dims = [values.len() as i64];
        self.constant(&dims, STRING, vec![], values.into_iter().map(String::into_bytes).collect())
    }

    /// A list of truth values.
    pub(crate) fn booleans(&mut self, values: &[bool]) -> Node {
        self.constant(&[values.len() as i64], BOOL, values.iter().map(|v| u8::from(*v)).collect(), vec![])
    }

    fn constant(&mut self, dims: &[i64], data_type: i32, raw_data: Vec<u8>, string_data: Vec<Vec<u8>>) -> Node {
        let value = self.fresh();
        let name = value.0.clone();
        self.proto.initializer.push(TensorProto { dims: dims.to_vec(), data_type, name, raw_data, string_data });
        value
    }

    /// A value with a name that no input has; inputs, which have the names of columns, are declared first.
    fn fresh(&mut self) -> Node {
        loop {
            self.values += 1;
            let name = format!("/{}", self.values);
            if !self.is_input(&name) {
                return Node(name);
            }
        }
    }

    fn is_input(&self, name: &str) -> bool {
        self.proto.input.iter().any(|input| input.name == name)
    }

    fn push(&mut self, op: &str, domain: &str, inputs: &[&Node], output: Vec<String>, attribute: Vec<AttributeProto>) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            name: output.first().cloned().unwrap_or_default(),
            output,
            op_type: op.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
    }
}

/// An attribute that is a whole number.
pub(crate) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, r#type: 2, ..AttributeProto::default() }
}

/// An attribute that is a list of whole numbers.
pub(crate) fn list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values.to_vec(), r#type: 7, ..AttributeProto::default() }
}

/// A named tensor of the graph's interface. Of two series each has its own number of steps.
fn value_info(name: &str, elem_type: i32, dims: &[Option<i64>]) -> ValueInfoProto {
    let free = |at: usize| if at == 0 { "batch".to_owned() } else { format!("steps of {name}") };
    let dim = |(at, size): (usize, &Option<i64>)| Dimension {
        value: Some(size.map_or_else(|| DimensionValue::Param(free(at)), DimensionValue::Value)),
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().enumerate().map(dim).collect() });
    let r#type = Some(TypeProto { tensor_type: Some(TensorType { elem_type, shape }) });
    ValueInfoProto { name: name.into(), r#type }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_are_no_others() {
        let mut graph = Graph::default();
        let [first, second] = ["/1", "label"].map(|column| graph.input(column, FLOAT, &[None, Some(1)]));
        let sum = graph.op("Add", &[&first, &second], vec![]);
        graph.output("label", &sum, FLOAT, &[None, Some(1)]);
        let mut names: Vec<&str> = graph.proto.input.iter().map(|input| input.name.as_str()).collect();
        names.extend(graph.proto.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
        assert_eq!(names, ["/1", "label", "/2", "label_"]);
        assert_eq!(graph.proto.output[0].name, "label_");
        assert_eq!(graph.proto.node[0].input, ["/1", "label"]);
    }
}
