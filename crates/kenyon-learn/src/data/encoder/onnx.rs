//! The encoder as ONNX operators: an input a column, each `[batch, 1]` (vectors and pictures `[batch, elements]`).
//!
//! Numbers, timestamps (Unix seconds) and booleans (1 and 0) are doubles, NaN where there is no value; categories are
//! strings in their canonical form, empty where there is none; elements of vectors and steps of series are floats.

mod series;

use super::columns::Fitted;
use super::pairs::{Cells, Paired};
use super::scale::{LARGEST, MOST, Scale, Scaling};
use super::{Encoder, Field};
use crate::data::kinds::canonical;
use crate::onnx::{BOOL, DOUBLE, FLOAT, Graph, Node, STRING, integer};
use indexmap::{IndexMap, IndexSet};
use serde_json::{Value, json};
pub(crate) use series::{SeriesGraph, positions};

/// The encoder's operators.
#[derive(Debug)]
pub(crate) struct EncoderGraph {
    /// What the network reads.
    pub(crate) encoded: Encoded,
    /// What the inputs are, for the file's metadata: name, kind, type and shape, and the data's own columns where several are
    /// read as one.
    pub(crate) columns: Value,
}

/// Encoded rows.
#[derive(Debug)]
pub(crate) enum Encoded {
    /// Rows of features, `[batch, width]`.
    Features(Node),
    /// The series columns step by step, where there are any that are cut into window tokens.
    Series(Vec<SeriesGraph>),
}

/// A column without an ONNX form.
#[derive(Debug)]
pub(crate) struct NoForm {
    /// Its name.
    pub(crate) column: String,
    /// Why it has none.
    pub(crate) reason: &'static str,
}

impl Encoder {
    /// Adds an input for each column and the operators that encode it.
    ///
    /// # Errors
    /// The first column that has no such form.
    pub(crate) fn onnx(&self, graph: &mut Graph) -> Result<EncoderGraph, NoForm> {
        let (mut inputs, mut columns) = (IndexMap::new(), Vec::new());
        let mut free = 0;
        for (field, fitted) in self.fields.iter().zip(&self.fitted) {
            let refused = |reason| NoForm { column: field.name.clone(), reason };
            let (element, dims) = input_of(fitted).map_err(refused)?;
            if field.start != free {
                return Err(refused("its features are not behind those of the column before"));
            }
            free = field.start + field.width;
            let batch = std::iter::once(None).chain(dims.iter().copied()).collect::<Vec<_>>();
            inputs.insert(field.name.as_str(), graph.input(&field.name, element, &batch));
            columns.push(self.describe(field, element, &dims));
        }
        let (mut parts, mut series) = (Vec::with_capacity(inputs.len()), Vec::new());
        for (index, (fitted, (_, input))) in self.fitted.iter().zip(&inputs).enumerate() {
            match fitted {
                Fitted::Number { scale, edges, pairs } => {
                    number(graph, input, (scale, edges), &mut parts);
                    for pair in pairs {
                        let missing = || NoForm { column: pair.with.clone(), reason: "it is not an input" };
                        let other = inputs.get(pair.with.as_str()).ok_or_else(missing)?;
                        paired(graph, [input, other], pair, &mut parts);
                    }
                }
                Fitted::Timestamp { scale } => timestamp(graph, input, scale, &mut parts),
                Fitted::Boolean => boolean(graph, input, &mut parts),
                Fitted::Category { names, slots } => parts.push(category(graph, input, names, *slots)),
                Fitted::Vector { width, scaling, .. } => parts.push(vector(graph, input, *width, scaling)),
                Fitted::Pooled { pooled } => parts.extend(series::statistics(graph, input, pooled)),
                Fitted::Windows { windows } => series.push(series::steps(graph, input, index, windows)),
                _ => {}
            }
        }
        let encoded = if series.is_empty() {
            Encoded::Features(graph.op("Concat", &parts.iter().collect::<Vec<_>>(), vec![integer("axis", 1)]))
        } else {
            Encoded::Series(series)
        };
        Ok(EncoderGraph { encoded, columns: columns.into() })
    }

    fn describe(&self, field: &Field, element: i32, dims: &[Option<i64>]) -> Value {
        let element = match element {
            DOUBLE => "double",
            STRING => "string",
            _ => "float",
        };
        let shape = match &field.shape {
            Some(shape) => json!(shape),
            None => dims.iter().map(|size| size.unwrap_or(-1)).collect(),
        };
        let mut column = json!({ "name": field.name, "kind": field.kind, "type": element, "shape": shape });
        let plan = self.inputs.iter().find(|plan| plan.name == field.name);
        if let Some(members) = plan.and_then(|plan| plan.members.as_ref()) {
            column["members"] = json!(members);
        }
        column
    }
}

/// The type of a column's input and its size after the batch (`None` for the steps of a series), or why it has none.
fn input_of(fitted: &Fitted) -> Result<(i32, Vec<Option<i64>>), &'static str> {
    let steps = |channels: usize| match channels {
        1 => vec![None],
        channels => vec![None, Some(channels as i64)],
    };
    Ok(match fitted {
        Fitted::Number { .. } | Fitted::Timestamp { .. } | Fitted::Boolean => (DOUBLE, vec![Some(1)]),
        Fitted::Category { .. } => (STRING, vec![Some(1)]),
        Fitted::Vector { width, .. } => (FLOAT, vec![Some(*width as i64)]),
        Fitted::Windows { windows } => (FLOAT, steps(windows.cut().0)),
        Fitted::Pooled { pooled } => (FLOAT, steps(pooled.channels())),
        Fitted::Text { .. } | Fitted::Words => {
            return Err("the words and n-grams of a text are hashed, and ONNX has no operator for that");
        }
        Fitted::Encoded { .. } => return Err("a pretrained encoder reads it, which is not part of the model"),
        Fitted::Patches { .. } => return Err("pictures are read as tokens, a patch each"),
    })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::encoder::Layout;
    use crate::data::plan::ColumnPlan;
    use crate::data::{Column, ColumnKind, Table};

    fn encoder(name: &str, column: Column, plan: ColumnPlan, layout: Layout) -> Encoder {
        let table = Table { rows: 4, columns: vec![(name.into(), column)] };
        Encoder::fit(&table, &[0, 1, 2, 3], &[plan], layout).unwrap()
    }

    #[test]
    fn a_series_is_an_input_of_any_length() {
        let series = |channels| Column::Series {
            channels,
            offsets: vec![0, 3, 5, 9, 12],
            values: (0..12 * channels).map(|i| (i % 5) as f32).collect(),
        };
        for layout in [Layout::Bag, Layout::Tokens] {
            for (channels, shape) in [(1, json!([-1])), (2, json!([-1, 2]))] {
                let plan = ColumnPlan {
                    channels: Some(channels),
                    members: (channels == 1).then(|| vec!["s0".into(), "s1".into()]),
                    ..ColumnPlan::new("s", ColumnKind::Sequence)
                };
                let made = encoder("s", series(channels), plan, layout).onnx(&mut Graph::default()).unwrap();
                assert_eq!(made.columns[0]["shape"], shape, "{layout:?}");
                assert_eq!(made.columns[0]["type"], "float");
                assert_eq!(made.columns[0]["members"].is_array(), channels == 1);
                assert_eq!(matches!(made.encoded, Encoded::Series(_)), layout == Layout::Tokens);
            }
        }
    }

    #[test]
    fn a_column_without_a_form_is_named_with_the_reason() {
        let texts = ["a word", "two words", "a third", "more of them"].map(|text| Some(text.into()));
        for layout in [Layout::Bag, Layout::Tokens] {
            let plan = ColumnPlan::new("note", ColumnKind::Text);
            let encoder = encoder("note", Column::Text(texts.to_vec()), plan, layout);
            let refused = encoder.onnx(&mut Graph::default()).unwrap_err();
            assert_eq!(refused.column, "note");
            assert!(refused.reason.contains("hashed"), "{}", refused.reason);
        }
    }
}
