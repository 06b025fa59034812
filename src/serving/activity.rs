//! Work of a model's network per prediction: counted while it runs on some rows, and estimated
//! in joules. Counts and estimates are never merged into one number.

use super::energy::{self, Meter};
use crate::Result;
use kenyon_learn::data::{Batch, Task};
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::compare::sparsity::{self, Sparsity};
use kenyon_learn::models::{LayerActivity, layer_code};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Largest number of rows it is counted on.
pub const SAMPLE: usize = 256;

/// Joules of a 32-bit multiply and add, and of an add, in a 45 nm process (Horowitz, ISSCC 2014).
const MAC_JOULES: f64 = 4.6e-12;
const ADD_JOULES: f64 = 0.9e-12;
const METHOD: &str = "operations x 45 nm energy (fp32 multiply 3.7 pJ, add 0.9 pJ), without memory access";

/// The figures of `GET /{name}/activity`, from running `rows` through the network. Columns that the
/// model does not read are ignored.
pub fn report(bundle: &Bundle, version: u64, all: &[Map<String, Value>]) -> Result<Value> {
    let known = |name: &str| {
        bundle.encoder.inputs.iter().any(|input| {
            input.name == name || input.members.as_ref().is_some_and(|m| m.iter().any(|member| member == name))
        })
    };
    let inputs =
        |row: &Map<String, Value>| row.iter().filter(|(n, _)| known(n)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let rows: Vec<Map<String, Value>> = all.iter().take(SAMPLE).map(inputs).collect();
    let table = bundle.reader().from_values(&rows)?;
    let batch = bundle.encode_plain(&table)?;
    let activity = bundle.network.activity(&batch)?;
    let (classes, of_rows) = classes(bundle, all.get(..rows.len()).unwrap_or_default());
    let mut layers = Vec::with_capacity(activity.layers.len());
    for found in &activity.layers {
        let mut shown = layer(found);
        shown["sparse_coding"] = json!(sparse_coding(bundle, &batch, &found.name, of_rows.as_deref())?);
        layers.push(shown);
    }
    let measured = match Meter::find() {
        Some(meter) if batch.rows() > 0 => meter.joules(batch.rows(), || bundle.network.forward(&batch).map(drop))?,
        _ => None,
    };
    let method =
        measured.map_or_else(|| METHOD.to_owned(), |_| format!("measured: {}; estimated: {METHOD}", energy::METHOD));
    let macs = activity.effective_macs + activity.memory_macs;
    let estimated = macs * MAC_JOULES + activity.top_k_operations * ADD_JOULES;
    Ok(json!({
        "version": version,
        "rows": rows.len(),
        "layers": layers,
        "classes": classes,
        "known_ranges": KNOWN,
        "macs": {
            "dense": activity.dense_macs,
            "effective": activity.effective_macs,
            "top_k": activity.top_k_operations,
            "memory": activity.memory_macs,
        },
        "energy_joules": { "measured": measured, "estimated": estimated, "method": method },
        "bytes": activity.bytes,
    }))
}

/// A measure of sparse coding as it was found in a nervous system.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct KnownRange {
    measure: &'static str,
    low: f64,
    high: f64,
    of: &'static str,
    source: &'static str,
}

/// Ranges to compare a layer's sparse coding with.
const KNOWN: [KnownRange; 2] = [
    KnownRange {
        measure: "lifetime",
        low: 0.4,
        high: 0.6,
        of: "cells of macaque V1 during natural scenes",
        source: "Vinje and Gallant, Science 287 (2000)",
    },
    KnownRange {
        measure: "active_share",
        low: 0.06,
        high: 0.06,
        of: "Kenyon cells of a fly's mushroom body that respond to an odour, on average",
        source: "Turner, Bazhenov and Laurent, J. Neurophysiol. 99 (2008)",
    },
];

/// The classes of rows, sorted, and each row's place among them; none where the rows have no labels.
fn classes(bundle: &Bundle, rows: &[Map<String, Value>]) -> (Vec<String>, Option<Vec<usize>>) {
    let text = |row: &Map<String, Value>| match row.get(&bundle.config.target.name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let labels: Option<Vec<String>> = rows.iter().map(text).collect();
    let Some(labels) = labels.filter(|_| bundle.config.task == Task::Classification) else { return Default::default() };
    let mut names = labels.clone();
    names.sort();
    names.dedup();
    let places = labels.iter().filter_map(|label| names.binary_search(label).ok()).collect();
    (names, Some(places))
}

/// Sparse coding of a layer over the rows; none with fewer than two rows.
fn sparse_coding(bundle: &Bundle, batch: &Batch, name: &str, classes: Option<&[usize]>) -> Result<Option<Sparsity>> {
    if batch.rows() < 2 {
        return Ok(None);
    }
    let code = layer_code(&*bundle.network, batch, Some(name))?;
    if code.width == 0 {
        return Ok(None);
    }
    Ok(Some(sparsity::measure(&code.values, code.width, classes)?))
}

fn layer(layer: &LayerActivity) -> Value {
    let mut duty = layer.duty.clone();
    duty.sort_by(f32::total_cmp);
    let at = |share: f64| duty.get(((duty.len().saturating_sub(1)) as f64 * share) as usize).copied();
    json!({
        "name": layer.name,
        "units": layer.units,
        "winners": layer.winners,
        "active_share": layer.active_share,
        "dead_units": layer.dead_units,
        "duty_cycle": { "min": at(0.0), "median": at(0.5), "max": at(1.0) },
    })
}
