//! Models that learn while they serve: what is observed, remembered and measured.

use super::{Label, Row};
use crate::http::error::Problem;
use kenyon_learn::learning::stream::Consolidation;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::ToSchema;

/// Rows to learn from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "rows": [{ "sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2, "species": "setosa" }]
})))]
pub(crate) struct ObserveRequest {
    /// Objects with the model's features and its target.
    rows: Vec<Row>,
}

/// What was learned, once every row is durable.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "observed": 1, "version": 2,
    "prequential": {
        "rows": 150, "accuracy": 0.94, "window": 0.96, "window_rows": 150, "window_last_label": 0.33,
        "last_label": 0.33, "kappa_last": 0.91
    },
    "drift": { "detected": false, "count": 0, "rows": [], "adwin_window": 150, "inputs": { "count": 0, "rows": [] } },
    "memory": { "entries": 120, "capacity": 3000 }
})))]
pub(crate) struct ObserveAnswer {
    /// Rows of this call.
    observed: u64,
    /// The version that learned them.
    version: u64,
    /// How good the answers before learning were.
    prequential: Prequential,
    /// Whether the stream has changed.
    drift: StreamDrift,
    /// How full the memory is.
    memory: MemoryFill,
}

/// A line of an answer in lines: the figures after a portion, or why it ended early.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ObserveLine {
    /// The figures so far.
    Figures(ObserveAnswer),
    /// Why it ended.
    Problem(Problem),
}

/// Each row is answered before it is learned: figures of those answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Prequential {
    /// Rows with a label.
    rows: u64,
    /// Share that was answered right, over the whole life.
    #[schema(required = false)]
    accuracy: f64,
    /// Mean absolute error, over the whole life.
    #[schema(required = false)]
    mae: f64,
    /// Root of the mean squared error, over the whole life.
    #[schema(required = false)]
    rmse: f64,
    /// Accuracy (or mean absolute error) over the last rows.
    window: f64,
    /// How many rows that are.
    window_rows: u64,
    /// The same of always answering with the last label.
    #[schema(required = false)]
    window_last_label: f64,
    /// The same of always answering with the last value.
    #[schema(required = false)]
    window_last_value: f64,
    /// Accuracy of always answering with the last label, over the whole life.
    #[schema(required = false)]
    last_label: f64,
    /// Agreement beyond that (kappa-temporal).
    #[schema(required = false)]
    kappa_last: f64,
}

/// Whether a stream has changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamDrift {
    /// Whether it has, of late.
    detected: bool,
    /// How often.
    count: u64,
    /// At which rows.
    rows: Vec<u64>,
    /// Rows over which the error counts as unchanged.
    adwin_window: u64,
    /// Changes of the inputs.
    inputs: InputDrift,
}

/// Changes of a stream's inputs.
#[derive(Serialize, ToSchema)]
pub(crate) struct InputDrift {
    /// How many.
    count: u64,
    /// At which rows.
    rows: Vec<u64>,
}

/// How full a memory is.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryFill {
    /// Rows it remembers.
    entries: u64,
    /// Rows it can remember.
    capacity: u64,
}

/// Figures of a stream over its whole life.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamAnswer {
    /// The model.
    model: String,
    /// The version that learns.
    version: u64,
    /// Rows seen.
    observed: u64,
    /// Those with a label.
    labelled: u64,
    /// Those without.
    unlabelled: u64,
    /// How good the answers before learning were.
    prequential: Prequential,
    /// Whether it has changed.
    drift: StreamDrift,
    /// Points of a curve of the window's figure.
    history: Vec<StreamPoint>,
    /// Rows and recall by class.
    classes: HashMap<String, ClassRecall>,
    /// How full the memory is.
    memory: MemoryFill,
    /// What consolidations came to.
    consolidations: Vec<Consolidation>,
    /// Rows that were forgotten since the last of them.
    forgotten_since: u64,
}

/// A point of the window's curve.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamPoint {
    /// Rows by then.
    row: u64,
    /// Accuracy of the window.
    #[schema(required = false)]
    accuracy: f64,
    /// Mean absolute error of the window.
    #[schema(required = false)]
    mae: f64,
}

/// How well a class is recognised.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClassRecall {
    /// Its rows.
    rows: u64,
    /// Share of them that was answered right.
    recall: f64,
}

/// A page of a memory.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryAnswer {
    /// Remembered rows, oldest first.
    items: Vec<MemoryEntry>,
    /// Where the next page starts; null after the last.
    next_cursor: Option<String>,
    /// Rows it remembers.
    entries: u64,
    /// Rows it can remember.
    capacity: u64,
}

/// A remembered row.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryEntry {
    /// Its number.
    id: String,
    /// How often it was recalled.
    uses: u64,
    /// The row, as far as it was kept.
    row: Option<HashMap<String, serde_json::Value>>,
    /// Its class.
    #[schema(required = false)]
    label: Label,
    /// Its value.
    #[schema(required = false)]
    value: f64,
}

/// What was forgotten.
#[derive(Serialize, ToSchema)]
pub(crate) struct ForgetAnswer {
    /// Entries that are gone.
    forgotten: u64,
    /// Entries that are left.
    entries: u64,
    /// When what was learned from them is gone from the weights, too: `next_consolidation`.
    retrained_at: String,
}
