//! What is stored beside the metrics of a version: the held-out rows, what holds of its sets, how sparse its network is.

use crate::{Error, Result};
use kenyon_learn::data::Table;
use kenyon_learn::learning::bundle::{Bundle, BundleConfig};
use kenyon_learn::learning::evaluate::Evaluation;
use kenyon_learn::learning::fit::Fitted;
use serde_json::{Value, json};

/// Rows on which a new model's activity is counted.
const SAMPLE: usize = 256;

/// Largest number of classes whose confusion matrix is stored with a version.
const MAX_CONFUSION: usize = 40;

/// The held-out rows in detail, without the confusion of very many classes.
pub(super) fn held_out(found: &Evaluation) -> Result<Value> {
    let mut value = serde_json::to_value(found).map_err(Error::internal)?;
    if found.classes.len() > MAX_CONFUSION {
        value["confusion"] = json!([]);
    }
    Ok(value)
}

/// The rows that the metrics are of.
pub(super) fn evaluated_on(fitted: &Fitted) -> Value {
    let kind = if fitted.bundle.config.folds.is_empty() { "held_out" } else { "out_of_fold" };
    json!({ "rows": fitted.held_out.rows, "kind": kind })
}

/// What holds of the sets and intervals: each held-out row is new to the whole network, or to a member only.
pub(super) fn guarantee(config: &BundleConfig) -> &'static str {
    match (config.calibration.rows, config.folds.is_empty()) {
        (0, _) => "none",
        (_, true) => "split_conformal",
        (_, false) => "cross_conformal",
    }
}

/// Sparsity of the network, counted on some of its rows.
pub(super) fn activity(bundle: &Bundle, table: &Table) -> Result<Value> {
    let rows: Vec<usize> = (0..table.rows.min(SAMPLE)).collect();
    let batch = bundle.encode_plain(&table.select(&rows))?;
    let activity = bundle.network.activity(&batch)?;
    let (winners, units) = activity.layers.iter().fold((0.0, 0), |(w, u), layer| (w + layer.winners, u + layer.units));
    Ok(json!({
        "active_share": if units == 0 { 1.0 } else { winners / units as f64 },
        "dense_macs": activity.dense_macs,
        "effective_macs": activity.effective_macs,
        "bytes": activity.bytes,
    }))
}
