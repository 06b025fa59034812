//! Models that learn while they serve: observations, memory and metrics.

use super::{Label, Row};
use crate::http::error::Problem;
use jiff::Timestamp;
use kenyon_learn::learning::stream::{ColumnChange, Consolidation};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

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

/// The rows to forget.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(examples(json!({ "where": { "customer": "4711" } })))]
pub(crate) enum ForgetRequest {
    /// Rows that match.
    Where(ForgetWhere),
    /// Rows that were learned from a key.
    ByKey(ForgetByKey),
}

/// Rows that match.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgetWhere {
    /// A value per column, at least one; a row goes when it has all of them.
    #[schema(value_type = Filter)]
    r#where: Filter,
}

/// Rows that were learned from a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgetByKey {
    /// The id of a key; one other than the caller's own needs the scope `admin`.
    by_key: String,
}

/// A value per column, at least one.
#[derive(Deserialize)]
pub(crate) struct Filter;

impl PartialSchema for Filter {
    fn schema() -> RefOr<Schema> {
        let filter = ObjectBuilder::new().schema_type(Type::Object).min_properties(Some(1));
        filter.additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
    }
}

impl ToSchema for Filter {}

/// The result of observing, once every row is durable.
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
    /// Prequential metrics.
    prequential: Prequential,
    /// Drift of the stream.
    drift: StreamDrift,
    /// The size of the memory.
    memory: MemoryFill,
}

/// A line of an answer in lines: the metrics after a portion, or the error that ended it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ObserveLine {
    /// The metrics so far.
    Figures(ObserveAnswer),
    /// The error.
    Problem(Problem),
}

/// Prequential metrics: each row is predicted before it is learned.
#[derive(Serialize, ToSchema)]
pub(crate) struct Prequential {
    /// Rows with a label.
    rows: u64,
    /// Accuracy over all rows.
    #[schema(required = false)]
    accuracy: f64,
    /// Mean absolute error over all rows.
    #[schema(required = false)]
    mae: f64,
    /// Root mean squared error over all rows.
    #[schema(required = false)]
    rmse: f64,
    /// Accuracy (or mean absolute error) over the last rows.
    window: f64,
    /// The number of these rows.
    window_rows: u64,
    /// The accuracy of predicting the last label.
    #[schema(required = false)]
    window_last_label: f64,
    /// The error of predicting the last value.
    #[schema(required = false)]
    window_last_value: f64,
    /// Accuracy of predicting the last label, over all rows.
    #[schema(required = false)]
    last_label: f64,
    /// Agreement beyond that (kappa-temporal).
    #[schema(required = false)]
    kappa_last: f64,
}

/// Drift of a stream.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamDrift {
    /// Whether a change was detected within the window.
    detected: bool,
    /// Number of changes.
    count: u64,
    /// At which rows.
    rows: Vec<u64>,
    /// Rows over which the error counts as unchanged.
    adwin_window: u64,
    /// Changes of the inputs.
    inputs: InputDrift,
    /// Columns whose distribution changed, oldest first; only where the whole stream is described.
    #[schema(required = false)]
    columns: Vec<ColumnChange>,
}

/// Changes of a stream's inputs.
#[derive(Serialize, ToSchema)]
pub(crate) struct InputDrift {
    /// Number of changes.
    count: u64,
    /// At which rows.
    rows: Vec<u64>,
}

/// The size of a memory.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryFill {
    /// Number of entries.
    entries: u64,
    /// Rows it can remember.
    capacity: u64,
}

/// Metrics of a stream over all rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamAnswer {
    /// The model.
    model: String,
    /// The version that learns.
    version: u64,
    /// Number of rows.
    observed: u64,
    /// Those with a label.
    labelled: u64,
    /// Those without.
    unlabelled: u64,
    /// Prequential metrics.
    prequential: Prequential,
    /// Drift of the stream.
    drift: StreamDrift,
    /// Points of a curve of the window's figure.
    history: Vec<StreamPoint>,
    /// How well rows are answered 0, 10, 100 and 1,000 rows after the last one learned: where labels come late, or rows are
    /// predicted far ahead.
    horizon: Vec<StreamHorizon>,
    /// Rows and recall by class.
    classes: HashMap<String, ClassRecall>,
    /// The size of the memory.
    memory: MemoryFill,
    /// The consolidations.
    consolidations: Vec<Consolidation>,
    /// Rows that were forgotten since the last of them.
    forgotten_since: u64,
    /// Rows that were held back, where the setting `quarantine` is on.
    quarantine: StreamQuarantine,
    /// How many rows it learned from each key, the largest numbers first.
    keys: Vec<KeyShare>,
}

/// Rows of a stream that were held back: novel, and their labels contradict their neighbours.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamQuarantine {
    /// Their number.
    rows: u64,
    /// The newest 20.
    newest: Vec<QuarantinedRow>,
}

/// A row that was held back.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantinedRow {
    /// Its number among all rows.
    at: u64,
    /// The id of the key that sent it; null without keys.
    key: Option<String>,
    /// The row.
    row: Option<HashMap<String, serde_json::Value>>,
}

/// What a key has contributed to a stream.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyShare {
    /// The key's id; null for rows without a key, `*` for keys beyond the first 200.
    key: Option<String>,
    /// Its rows.
    rows: u64,
    /// Those with a label.
    labelled: u64,
    /// Those that were held back.
    quarantined: u64,
    /// Its share of all rows.
    share: f64,
    /// How often its labels were as predicted before they were learned; low where it contradicts the others.
    #[schema(required = false)]
    accuracy: Option<f64>,
    /// How far its labels were from the predictions.
    #[schema(required = false)]
    mae: Option<f64>,
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
    /// When that row was observed.
    at: Option<Timestamp>,
    /// How often sets or intervals of coverage 0.9 held the truth, over the rows before.
    coverage: Option<f64>,
    /// Entries in memory.
    memory: Option<u64>,
}

/// Answers given some rows after the last one learned.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamHorizon {
    /// Rows since the last one learned.
    rows_since: u64,
    /// Rows that were answered so: all at 0, a sample at the others.
    rows: u64,
    /// Their accuracy; null before there are rows.
    #[schema(required = false)]
    accuracy: Option<f64>,
    /// Their mean absolute error; null before there are rows.
    #[schema(required = false)]
    mae: Option<f64>,
    /// How often sets or intervals of coverage 0.9 held the truth; at 0 as those of answers to whole calls of `observe`,
    /// over the newest 500.
    coverage: Option<f64>,
}

/// The recall of a class.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClassRecall {
    /// Its rows.
    rows: u64,
    /// Its recall.
    recall: f64,
}

/// A page of a memory.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryAnswer {
    /// Entries, oldest first.
    items: Vec<MemoryEntry>,
    /// Where the next page starts; null after the last.
    next_cursor: Option<String>,
    /// Number of entries.
    entries: u64,
    /// Rows it can remember.
    capacity: u64,
}

/// An entry of the memory.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryEntry {
    /// Its number.
    id: String,
    /// Its merges and correct retrievals.
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

/// The result of forgetting.
#[derive(Serialize, ToSchema)]
pub(crate) struct ForgetAnswer {
    /// Entries removed.
    forgotten: u64,
    /// Entries left.
    entries: u64,
    /// When the experts no longer contain what was learned from them: `next_consolidation`.
    retrained_at: String,
    /// Rows removed from the log.
    rows: u64,
    /// Recent predictions removed, whose rows were kept for `feedback`: those of calls with a row that matched.
    recent_predictions: u64,
    /// Whether the state after that consolidation is that of a model that never received the rows.
    exact: bool,
    /// How far the log reaches back.
    log: LogReach,
    /// All this in words, and what is not covered.
    statement: String,
}

/// How far a stream's log reaches back.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogReach {
    /// Whether it holds every row that was learned and may be concerned.
    complete: bool,
    /// Rows learned before it begins that may be concerned.
    rows_before: u64,
    /// When its first row was observed; null where it has none.
    since: Option<Timestamp>,
}
