//! A bundle's network as ONNX, so that other programs can run it.
//!
//! Input `features` is `[batch, width]`, a row in the encoder's feature space written out densely;
//! `encoder.json` is in the model's metadata, as are the classes. k-winners are `TopK`, a
//! rectifier and `ScatterElements`. Outputs are `probabilities` `[batch, classes]` (calibrated) and
//! `label` `[batch]` (the index of the class), or `value` `[batch]` in the target's own unit, as doubles.

use super::bundle::Bundle;
use crate::data::target::TargetEncoder;
use crate::models::Family;
use crate::models::onnx::{DOUBLE, FLOAT, Graph, INT64, integer};
use crate::{Error, Kind, Result};

/// The ONNX file of `bundle`. Families whose output is not a fixed graph over one row of features (tokens in
/// an order, codes by hashing, a memory that grows) are refused.
pub fn export(bundle: &Bundle) -> Result<Vec<u8>> {
    let tensors = bundle.network.save()?;
    let mut graph = Graph::default();
    let family = bundle.config.family;
    let Some(logits) = family.onnx(&mut graph, &tensors, bundle.network.outputs(), bundle.config.task)? else {
        let with: Vec<&str> = Family::all().filter(|family| family.has_onnx()).map(|family| family.name()).collect();
        let (name, with) = (family.name(), with.join(" and "));
        let detail = format!("this model of family {name} has no ONNX form ({with} have one); export a bundle");
        return Err(Error::new(Kind::Unprocessable, "no_onnx_form", detail));
    };
    let outputs = bundle.network.outputs() as i64;
    let mut metadata = Vec::new();
    match &bundle.config.target_encoder {
        TargetEncoder::Classes(classes) => {
            graph.constant("temperature", &[], &[bundle.config.calibration.temperature]);
            graph.node("Div", &[&logits, "temperature"], &["cooled"], vec![]);
            graph.node("Softmax", &["cooled"], &["probabilities"], vec![integer("axis", -1)]);
            graph.node("ArgMax", &["probabilities"], &["label"], vec![integer("axis", -1), integer("keepdims", 0)]);
            graph.output("probabilities", FLOAT, &[None, Some(outputs)]);
            graph.output("label", INT64, &[None]);
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
            graph.output("value", DOUBLE, &[None]);
        }
    }
    let width = i64::from(bundle.encoder.width);
    graph.input("features", FLOAT, &[None, Some(width)]);
    metadata.push(("encoder.json", serde_json::to_string(&bundle.encoder).map_err(Error::internal)?));
    Ok(graph.into_bytes(metadata))
}
