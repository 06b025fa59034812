//! The encoder as ONNX operators: an input a column, each `[batch, 1]` (vectors and pictures `[batch, elements]`).
//!
//! Numbers, timestamps (Unix seconds) and booleans (1 and 0) are doubles, NaN where there is no value; categories are
//! strings in their canonical form, empty where there is none; elements of vectors are floats.

use super::columns::Fitted;
use super::pairs::{Cells, Paired};
use super::scale::{LARGEST, MOST, Scale, Scaling};
use super::{Encoder, Field};
use crate::data::kinds::canonical;
use crate::onnx::{BOOL, DOUBLE, FLOAT, Graph, Node, STRING, integer};
use indexmap::{IndexMap, IndexSet};
use serde_json::{Value, json};

/// The encoder's operators.
#[derive(Debug)]
pub(crate) struct EncoderGraph {
    /// Rows of features, `[batch, width]`.
    pub(crate) features: Node,
    /// What the inputs are, for the file's metadata: name, kind, type and shape.
    pub(crate) columns: Value,
}

impl Encoder {
    /// Adds an input for each column and the operators that encode it. An error names the first column that has no
    /// such form: text and series.
    pub(crate) fn onnx(&self, graph: &mut Graph) -> Result<EncoderGraph, String> {
        let (mut inputs, mut columns) = (IndexMap::new(), Vec::new());
        let mut free = 0;
        for (field, fitted) in self.fields.iter().zip(&self.fitted) {
            let (element, width) = match fitted {
                Fitted::Number { .. } | Fitted::Timestamp { .. } | Fitted::Boolean => (DOUBLE, 1),
                Fitted::Category { .. } => (STRING, 1),
                Fitted::Vector { width, .. } => (FLOAT, *width),
                Fitted::Text { .. }
                | Fitted::Words
                | Fitted::Patches { .. }
                | Fitted::Windows { .. }
                | Fitted::Pooled { .. }
                | Fitted::Encoded { .. } => return Err(field.name.clone()),
            };
            if field.start != free {
                return Err(field.name.clone());
            }
            free = field.start + field.width;
            inputs.insert(field.name.as_str(), graph.input(&field.name, element, &[None, Some(width as i64)]));
            columns.push(describe(field, element, width));
        }
        let mut parts = Vec::with_capacity(inputs.len());
        for (fitted, (_, input)) in self.fitted.iter().zip(&inputs) {
            match fitted {
                Fitted::Number { scale, edges, pairs } => {
                    number(graph, input, (scale, edges), &mut parts);
                    for pair in pairs {
                        let other = inputs.get(pair.with.as_str()).ok_or_else(|| pair.with.clone())?;
                        paired(graph, [input, other], pair, &mut parts);
                    }
                }
                Fitted::Timestamp { scale } => timestamp(graph, input, scale, &mut parts),
                Fitted::Boolean => boolean(graph, input, &mut parts),
                Fitted::Category { names, slots } => parts.push(category(graph, input, names, *slots)),
                Fitted::Vector { width, scaling, .. } => parts.push(vector(graph, input, *width, scaling)),
                _ => {}
            }
        }
        let features = graph.op("Concat", &parts.iter().collect::<Vec<_>>(), vec![integer("axis", 1)]);
        Ok(EncoderGraph { features, columns: columns.into() })
    }
}

fn describe(field: &Field, element: i32, width: usize) -> Value {
    let element = match element {
        DOUBLE => "double",
        STRING => "string",
        _ => "float",
    };
    json!({ "name": field.name, "kind": field.kind, "type": element, "shape": field.shape.clone().unwrap_or(vec![width]) })
}

/// Whether each element has a value, and the elements with zero where it has none.
fn known(graph: &mut Graph, value: &Node, zero: &Node) -> [Node; 2] {
    // Neither NaN nor an infinity minus itself is zero.
    let difference = graph.op("Sub", &[value, value], vec![]);
    let known = graph.op("Equal", &[&difference, zero], vec![]);
    let clean = graph.op("Where", &[&known, value, zero], vec![]);
    [known, clean]
}

fn cast(graph: &mut Graph, value: &Node, to: i32) -> Node {
    graph.op("Cast", &[value], vec![integer("to", i64::from(to))])
}

/// A double where `known`, else zero, as a float.
fn where_known(graph: &mut Graph, known: &Node, value: &Node, zero: &Node) -> Node {
    let value = graph.op("Where", &[known, value, zero], vec![]);
    cast(graph, &value, FLOAT)
}

/// 1 where there is no value.
fn missing(graph: &mut Graph, known: &Node) -> Node {
    let unknown = graph.op("Not", &[known], vec![]);
    cast(graph, &unknown, FLOAT)
}

fn clip(graph: &mut Graph, value: &Node, low: f64, high: f64) -> Node {
    let (low, high) = (graph.double(low), graph.double(high));
    graph.op("Clip", &[value, &low, &high], vec![])
}

/// As [`Scale::apply`].
fn standardised(graph: &mut Graph, value: &Node, scale: &Scale) -> Node {
    let deviation = (scale.squares / scale.count.max(1.0)).sqrt();
    let value = clip(graph, value, -MOST, MOST);
    let mean = graph.double(scale.mean);
    let centred = graph.op("Sub", &[&value, &mean], vec![]);
    if deviation > 0.0 {
        let deviation = graph.double(deviation);
        let standard = graph.op("Div", &[&centred, &deviation], vec![]);
        clip(graph, &standard, -LARGEST, LARGEST)
    } else {
        clip(graph, &centred, -1.0, 1.0)
    }
}

/// As [`super::bins::push_bins`]: how full each bin is.
fn bins(graph: &mut Graph, value: &Node, edges: &[f64]) -> Option<Node> {
    let count = edges.len().checked_sub(1).filter(|count| *count > 0)? as i64;
    let low: Vec<f64> = edges[..edges.len() - 1].iter().map(|edge| edge / 2.0).collect();
    let width: Vec<f64> = edges.windows(2).map(|edge| edge[1] / 2.0 - edge[0] / 2.0).collect();
    let (low, width, two) = (graph.doubles(&[1, count], &low), graph.doubles(&[1, count], &width), graph.double(2.0));
    let half = graph.op("Div", &[value, &two], vec![]);
    let above = graph.op("Sub", &[&half, &low], vec![]);
    let share = graph.op("Div", &[&above, &width], vec![]);
    Some(clip(graph, &share, 0.0, 1.0))
}

fn number(graph: &mut Graph, input: &Node, (scale, edges): (&Scale, &[f64]), parts: &mut Vec<Node>) {
    let zero = graph.double(0.0);
    let [is_known, value] = known(graph, input, &zero);
    let standard = standardised(graph, &value, scale);
    parts.push(where_known(graph, &is_known, &standard, &zero));
    if let Some(shares) = bins(graph, &value, edges) {
        parts.push(where_known(graph, &is_known, &shares, &zero));
    }
    parts.push(missing(graph, &is_known));
}

/// As [`Paired::push`].
fn paired(graph: &mut Graph, [own, other]: [&Node; 2], pair: &Paired, parts: &mut Vec<Node>) {
    let zero = graph.double(0.0);
    let [own_known, own] = known(graph, own, &zero);
    let [other_known, other] = known(graph, other, &zero);
    let mut term = |value: &Node, (mean, factor): (f64, f64)| {
        let (mean, factor) = (graph.double(mean), graph.double(factor));
        let centred = graph.op("Sub", &[value, &mean], vec![]);
        graph.op("Mul", &[&centred, &factor], vec![])
    };
    let terms = [term(&own, pair.own), term(&other, pair.other)];
    let along = graph.op("Add", &[&terms[0], &terms[1]], vec![]);
    let both = graph.op("And", &[&own_known, &other_known], vec![]);
    if let Some(shares) = bins(graph, &along, &pair.edges) {
        parts.push(where_known(graph, &both, &shares, &zero));
    }
    if let Some(cells) = pair.cells.as_ref().filter(|cells| !cells.kept.is_empty()) {
        let chosen = cell(graph, [&own, &other], cells);
        parts.push(where_known(graph, &both, &chosen, &zero));
    }
}

/// 1 at the position of the cell that a row lies in, zero elsewhere; `[batch, kept]` doubles.
fn cell(graph: &mut Graph, [own, other]: [&Node; 2], cells: &Cells) -> Node {
    let mut bin = |value: &Node, edges: &[f64]| {
        let edges = graph.doubles(&[1, edges.len() as i64], edges);
        let below = graph.op("Less", &[value, &edges], vec![]);
        let reached = graph.op("Not", &[&below], vec![]);
        let reached = cast(graph, &reached, DOUBLE);
        let axis = graph.integers(&[1], &[1]);
        graph.op("ReduceSum", &[&reached, &axis], vec![])
    };
    let [own, other] = [bin(own, &cells.own), bin(other, &cells.other)];
    let width = graph.double((cells.other.len() + 1) as f64);
    let row = graph.op("Mul", &[&own, &width], vec![]);
    let at = graph.op("Add", &[&row, &other], vec![]);
    let kept: Vec<f64> = cells.kept.iter().map(|&cell| f64::from(cell)).collect();
    let kept = graph.doubles(&[1, kept.len() as i64], &kept);
    let chosen = graph.op("Equal", &[&at, &kept], vec![]);
    cast(graph, &chosen, DOUBLE)
}

fn timestamp(graph: &mut Graph, input: &Node, scale: &Scale, parts: &mut Vec<Node>) {
    let zero = graph.double(0.0);
    let [is_known, value] = known(graph, input, &zero);
    let standard = standardised(graph, &value, scale);
    parts.push(where_known(graph, &is_known, &standard, &zero));
    for period in super::columns::PERIODS {
        let (period, turn) = (graph.double(period), graph.double(std::f64::consts::TAU));
        let turns = graph.op("Div", &[&value, &period], vec![]);
        let angle = graph.op("Mul", &[&turns, &turn], vec![]);
        // The cosine is the sine a quarter further: not every runtime has one of doubles.
        let quarter = graph.double(std::f64::consts::FRAC_PI_2);
        let further = graph.op("Add", &[&angle, &quarter], vec![]);
        for angle in [angle, further] {
            let sine = graph.op("Sin", &[&angle], vec![]);
            parts.push(where_known(graph, &is_known, &sine, &zero));
        }
    }
    parts.push(missing(graph, &is_known));
}

fn boolean(graph: &mut Graph, input: &Node, parts: &mut Vec<Node>) {
    let (zero, one, less) = (graph.double(0.0), graph.double(1.0), graph.double(-1.0));
    let [is_known, value] = known(graph, input, &zero);
    let is_true = cast(graph, &value, BOOL);
    let sign = graph.op("Where", &[&is_true, &one, &less], vec![]);
    parts.push(where_known(graph, &is_known, &sign, &zero));
    parts.push(missing(graph, &is_known));
}

fn category(graph: &mut Graph, input: &Node, names: &IndexSet<String>, slots: usize) -> Node {
    let mut positions = Vec::with_capacity(names.len() + 1);
    for (position, name) in names.iter().enumerate() {
        positions.push((name.clone(), position as i64));
        // How other programs write the same value.
        let mut capital = name.clone();
        capital.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
        for other in [format!("{name}.0"), capital, name.to_uppercase()] {
            if other != *name && canonical(&other) == name.as_str() && !positions.iter().any(|(n, _)| *n == other) {
                positions.push((other, position as i64));
            }
        }
    }
    if !names.contains("") {
        positions.push((String::new(), slots as i64 + 1));
    }
    let position = graph.position(input, &positions, slots as i64);
    let width = slots as i64 + 2;
    let (depth, values) = (graph.integers(&[], &[width]), graph.floats(&[2], &[0.0, 1.0]));
    let chosen = graph.op("OneHot", &[&position, &depth, &values], vec![integer("axis", -1)]);
    let shape = graph.integers(&[2], &[-1, width]);
    graph.op("Reshape", &[&chosen, &shape], vec![])
}

fn vector(graph: &mut Graph, input: &Node, width: usize, scaling: &Scaling) -> Node {
    let zero = graph.floats(&[], &[0.0]);
    let most = LARGEST as f32;
    let (low, high) = (graph.floats(&[], &[-most]), graph.floats(&[], &[most]));
    let scaled = match scaling {
        Scaling::Largest(peak) => {
            let factor = graph.floats(&[], &[if peak.value > 0.0 { 1.0 / peak.value } else { 1.0 }]);
            graph.op("Mul", &[input, &factor], vec![])
        }
        Scaling::Standard { mean, inverse, .. } => {
            let dims = [1, width as i64];
            let (mean, inverse) = (graph.floats(&dims, mean), graph.floats(&dims, inverse));
            let centred = graph.op("Sub", &[input, &mean], vec![]);
            graph.op("Mul", &[&centred, &inverse], vec![])
        }
    };
    let [_, clean] = known(graph, &scaled, &zero);
    graph.op("Clip", &[&clean, &low, &high], vec![])
}
