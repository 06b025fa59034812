//! A bundle's model as ONNX, so that other programs can run it.
//!
//! By columns, inputs are the values of a row as it was before the encoder, one input a column; by features, the one
//! input `features` `[batch, width]` is a row of the encoder's feature space written out densely. `encoder.json` is in
//! the file's metadata, as are `columns` and `classes`. k-winners are `TopK`, a rectifier and `ScatterElements`.
//! Outputs are `probabilities` `[batch, classes]` (calibrated) and `label` `[batch]` (the class itself), or `value`
//! `[batch]` in the target's own unit, as doubles.

use super::bundle::Bundle;
use crate::data::encoder::Layout;
use crate::data::encoder::onnx::{Encoded, NoForm};
use crate::data::target::TargetEncoder;
use crate::models::Family;
use crate::models::onnx::no_form;
use crate::onnx::{BOOL, DOUBLE, FLOAT, Graph, INT64, Node, STRING, integer};
use crate::{Detail, Error, Result};
use serde_json::Value;

/// What the exported graph takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inputs {
    /// The columns of a row.
    #[default]
    Columns,
    /// A row of features, as the encoder gives it.
    Features,
}

/// The ONNX file of `bundle`.
///
/// # Errors
/// 422 `no_onnx_form` for families whose output is not a fixed graph over one row of features (tokens in an order,
/// codes by hashing, a memory that grows), and for columns of text, and of pictures in patches, where `inputs` are columns.
pub fn export(bundle: &Bundle, inputs: Inputs) -> Result<Vec<u8>> {
    let mut graph = Graph::default();
    let mut metadata = vec![("encoder.json", serde_json::to_string(&bundle.encoder).map_err(Error::internal)?)];
    let encoded = match inputs {
        Inputs::Features => {
            Encoded::Features(graph.input("features", FLOAT, &[None, Some(i64::from(bundle.encoder.width))]))
        }
        Inputs::Columns => {
            let encoder = bundle.encoder.onnx(&mut graph).map_err(|NoForm { column, reason }| {
                // Tokens in an order are no row of features.
                let instead = match bundle.encoder.layout {
                    Layout::Bag => "export with inputs=features, or a bundle",
                    Layout::Tokens => "export a bundle",
                };
                let detail = format!("column '{column}' has no ONNX form: {reason}; {instead}");
                no_form(detail).with_details([Detail::column(column, reason)])
            })?;
            metadata.push(("columns", encoder.columns.to_string()));
            encoder.encoded
        }
    };
    let logits = match &encoded {
        Encoded::Features(features) => bundle.network.onnx(&mut graph, features, &bundle.encoder)?,
        Encoded::Series(series) => bundle.network.onnx_of_series(&mut graph, series)?,
    };
    let Some(logits) = logits else {
        let with: Vec<&str> = Family::all().filter(|family| family.has_onnx()).map(|family| family.name()).collect();
        let (name, with) = (bundle.config.family.name(), with.join(", "));
        return Err(no_form(format!(
            "this model of family {name} has no ONNX form over {} (over columns of a table, {with} have one); export a bundle",
            if inputs == Inputs::Features { "features" } else { "its columns" },
        )));
    };
    match &bundle.config.target_encoder {
        TargetEncoder::Classes(classes) => {
            let temperature = graph.floats(&[], &[bundle.config.calibration.temperature]);
            let scaled = graph.op("Div", &[&logits, &temperature], vec![]);
            let probabilities = graph.op("Softmax", &[&scaled], vec![integer("axis", -1)]);
            let mut decided = probabilities.clone();
            if !bundle.config.decision.is_empty() {
                let factors = graph.floats(&[classes.len() as i64], &bundle.config.decision);
                decided = graph.op("Mul", &[&probabilities, &factors], vec![]);
            }
            let class = graph.op("ArgMax", &[&decided], vec![integer("axis", -1), integer("keepdims", 0)]);
            let (labels, element) = labels(&mut graph, classes);
            let label = graph.op("Gather", &[&labels, &class], vec![]);
            graph.output("probabilities", &probabilities, FLOAT, &[None, Some(bundle.network.outputs() as i64)]);
            graph.output("label", &label, element, &[None]);
            metadata.push(("classes", serde_json::to_string(classes).map_err(Error::internal)?));
        }
        TargetEncoder::Number { mean, std } => {
            let (std, mean, last) = (graph.double(*std), graph.double(*mean), graph.integers(&[1], &[1]));
            let standardised = graph.op("Cast", &[&logits], vec![integer("to", i64::from(DOUBLE))]);
            let scaled = graph.op("Mul", &[&standardised, &std], vec![]);
            let shifted = graph.op("Add", &[&scaled, &mean], vec![]);
            let value = graph.op("Squeeze", &[&shifted, &last], vec![]);
            graph.output("value", &value, DOUBLE, &[None]);
        }
    }
    Ok(graph.into_bytes(metadata))
}

/// The classes as a list in their own type, strings where they have several, and that type.
fn labels(graph: &mut Graph, classes: &[Value]) -> (Node, i32) {
    let whole: Option<Vec<i64>> = classes.iter().map(Value::as_i64).collect();
    let truths: Option<Vec<bool>> = classes.iter().map(Value::as_bool).collect();
    let numbers: Option<Vec<f64>> = classes.iter().map(Value::as_f64).collect();
    if let Some(whole) = whole {
        (graph.integers(&[whole.len() as i64], &whole), INT64)
    } else if let Some(truths) = truths {
        (graph.booleans(&truths), BOOL)
    } else if let Some(numbers) = numbers {
        (graph.doubles(&[numbers.len() as i64], &numbers), DOUBLE)
    } else {
        let text = |class: &Value| class.as_str().map_or_else(|| class.to_string(), str::to_owned);
        (graph.strings(classes.iter().map(text).collect()), STRING)
    }
}
