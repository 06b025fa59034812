//! Work of a model's network per prediction: counted while it runs on some rows, and estimated
//! in joules. Counts and estimates are never merged into one number.

use super::energy::{self, Meter};
use crate::Result;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::models::LayerActivity;
use serde_json::{Map, Value, json};

/// Largest number of rows it is counted on.
pub const SAMPLE: usize = 256;

/// Joules of a 32-bit multiply and add, and of an add, in a 45 nm process (Horowitz, ISSCC 2014).
const MAC_JOULES: f64 = 4.6e-12;
const ADD_JOULES: f64 = 0.9e-12;
const METHOD: &str = "operations x 45 nm energy (fp32 multiply 3.7 pJ, add 0.9 pJ), without memory access";

/// The figures of `GET /{name}/activity`, from running `rows` through the network. Columns that the
/// model does not read are ignored.
pub fn report(bundle: &Bundle, version: u64, rows: &[Map<String, Value>]) -> Result<Value> {
    let known = |name: &str| {
        bundle.encoder.inputs.iter().any(|input| {
            input.name == name || input.members.as_ref().is_some_and(|m| m.iter().any(|member| member == name))
        })
    };
    let inputs =
        |row: &Map<String, Value>| row.iter().filter(|(n, _)| known(n)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let rows: Vec<Map<String, Value>> = rows.iter().take(SAMPLE).map(inputs).collect();
    let table = bundle.reader().from_values(&rows)?;
    let batch = bundle.encode(&table)?;
    let activity = bundle.network.activity(&batch)?;
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
        "layers": activity.layers.iter().map(layer).collect::<Vec<_>>(),
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
