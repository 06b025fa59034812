//! Models and versions in the form the interface returns.

use super::schemas::Label;
use crate::jobs::DryRun;
use crate::serving::ShadowFigures;
use crate::store::{Job, JobId, Model, ModelName, Traffic, Version, VersionState};
use jiff::Timestamp;
use kenyon_learn::data::encoder::DroppedColumn;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::{Task, Warning};
use kenyon_learn::learning::evaluate::Evaluation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A model, with metrics of the served version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub(crate) struct ShownModel {
    /// Its name.
    name: ModelName,
    /// Its family, once it is known.
    family: Option<String>,
    /// Why this family is the default for its data, where the request named none.
    family_reason: Option<String>,
    /// The task, once it is known.
    #[schema(value_type = Option<Task>)]
    task: Option<String>,
    /// The column that is predicted.
    target: String,
    /// The version that is served.
    version: Option<u64>,
    /// The columns of its rows and of its target; in a list without the members of groups.
    schema: ModelSchema,
    /// Settings in full; only for a single model, once they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HashMap<String, Value>>)]
    config: Option<Map<String, Value>>,
    /// Decisions of its training; only for a single model, once they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<Vec<String>>,
    /// Warnings of its training; in a list without examples.
    warnings: Vec<Warning>,
    /// Metrics of the served version.
    #[schema(value_type = Option<HashMap<String, Option<f64>>>)]
    metrics: Option<Value>,
    /// Bytes of the served version's files.
    bytes: Option<u64>,
    /// Sparsity of the served version.
    sparsity: Option<Sparsity>,
    /// Which versions answer.
    traffic: Traffic,
    /// When it was made.
    created_at: Timestamp,
    /// When it, its versions or its traffic last changed.
    updated_at: Timestamp,
    /// Its versions, newest first, in the form of lists; only for a single model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) versions: Option<Vec<ShownVersion>>,
    /// How the shadow compares with the answers; only for a single model that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowFigures>,
}

/// The columns of a model; all null before its first version.
#[derive(Debug, Serialize, ToSchema)]
struct ModelSchema {
    /// The columns it reads.
    features: Option<Vec<ColumnPlan>>,
    /// The column it predicts.
    target: Option<ColumnPlan>,
    /// The classes; empty for numbers.
    #[schema(value_type = Option<Vec<Label>>)]
    classes: Option<Vec<Value>>,
    /// Columns that are not inputs.
    left_out: Option<Vec<DroppedColumn>>,
}

/// Sparsity of a network.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Sparsity {
    /// Share of the units that is active.
    active_share: f64,
    /// Multiply-accumulates of the dense network of the same size.
    dense_macs: f64,
    /// Effective multiply-accumulates.
    effective_macs: f64,
    /// Bytes of its weights.
    bytes: u64,
}

/// A page of models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelPage {
    /// The models, by name.
    pub(crate) items: Vec<ShownModel>,
    /// Where the next page starts; null after the last.
    pub(crate) next_cursor: Option<String>,
}

/// A version of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version, examples(json!({
    "version": 2, "state": "served", "family": "sparse_mlp",
    "metrics": { "accuracy": 0.96, "macro_f1": 0.96, "log_loss": 0.11, "expected_calibration_error": 0.02 },
    "intervals": { "accuracy": [0.92, 0.987] }, "evaluated_on": { "rows": 150, "kind": "out_of_fold" },
    "guarantee": "cross_conformal", "bytes": 48211, "job_id": "019401f0-a3c4-7a1e-8b2c-000000000001",
    "dataset": { "name": "iris", "revision": 1, "digest": "5c1e…" }, "held_out": null, "warnings": [],
    "created_at": "2026-01-05T10:00:00Z"
})))]
pub(crate) struct ShownVersion {
    /// Its number, from 1.
    version: u64,
    /// What it is used for.
    state: VersionState,
    /// Its family.
    family: String,
    /// Its metrics.
    #[schema(value_type = HashMap<String, Option<f64>>)]
    metrics: Value,
    /// 95 % confidence intervals of metrics, lower and upper end, from resampling the rows of `evaluated_on`; only where
    /// they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    intervals: Option<BTreeMap<String, [f64; 2]>>,
    /// The rows that the metrics are measured on; only where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluated_on: Option<EvaluatedOn>,
    /// What is guaranteed of its sets and intervals; only where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    guarantee: Option<Guarantee>,
    /// Bytes of its files.
    bytes: u64,
    /// The job that made it.
    job_id: Option<JobId>,
    /// Its dataset.
    dataset: Option<LearnedFrom>,
    /// The evaluation on the rows of `evaluated_on`. Unless `detail` is requested, `classes`, `confusion`, `recall` and
    /// `calibration` are empty and `regression` is null.
    #[schema(value_type = Option<Evaluation>)]
    held_out: Option<Value>,
    /// Warnings of its training; without examples unless `detail` is requested.
    warnings: Vec<Warning>,
    /// When it was made.
    created_at: Timestamp,
}

/// The rows that metrics are measured on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct EvaluatedOn {
    /// Their number.
    rows: u64,
    /// How they were kept from what is evaluated.
    kind: EvaluatedKind,
}

/// How rows were kept from the networks that are evaluated on them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EvaluatedKind {
    /// Cross-fitted: every row is answered by the members of the ensemble that did not learn it.
    OutOfFold,
    /// Set aside: no row has trained a member, chosen an epoch or calibrated the answer to itself.
    HeldOut,
}

/// How often prediction sets and intervals contain the truth, on rows exchangeable with those they were calibrated on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Guarantee {
    /// At least as often as the requested coverage, on average over rows: calibrated on rows that no network learned.
    SplitConformal,
    /// About as often as the requested coverage: cross-fitted, calibrated on rows of which each is new to some networks.
    CrossConformal,
    /// Nothing: there were no rows to calibrate on.
    #[serde(rename = "none")]
    Uncalibrated,
}

/// The dataset of a version, at the time of its training.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LearnedFrom {
    /// Its name.
    pub(crate) name: String,
    /// Its revision.
    revision: u64,
    /// Its digest.
    digest: String,
}

/// The versions of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionPage {
    /// The versions, newest first.
    pub(crate) items: Vec<ShownVersion>,
    /// Always null: all versions are listed.
    pub(crate) next_cursor: Option<String>,
}

/// The answer to a training request: the ended job, or the result of a dry run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "made once a request")]
pub(crate) enum TrainAnswer {
    /// The ended job.
    Job(Job),
    /// What the training would do.
    DryRun(DryRun),
}

/// Metrics of a version on a dataset.
#[derive(Serialize, ToSchema)]
pub(crate) struct EvaluateAnswer {
    /// The evaluated version.
    version: u64,
    /// The metrics.
    #[serde(flatten)]
    figures: Evaluation,
    /// Cells that did not fit and count as missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<Warning>,
}

/// An imported version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportAnswer {
    /// The model.
    pub(crate) model: ModelName,
    /// The version it became.
    pub(crate) version: u64,
    /// Its family.
    pub(crate) family: String,
    /// Its metrics.
    #[schema(value_type = HashMap<String, Option<f64>>)]
    pub(crate) metrics: Value,
}

impl ShownModel {
    /// A model with the metrics of the served version.
    pub(crate) fn new(model: &Model, served: Option<&Version>) -> Self {
        let info = served.map_or(&model.info, |v| &v.info);
        Self {
            name: model.name.clone(),
            family: model.family.clone(),
            family_reason: part(info, "family_reason"),
            task: model.task.clone(),
            target: model.target.clone(),
            version: model.traffic.stable,
            schema: ModelSchema {
                features: part(info, "features"),
                target: part(info, "target"),
                classes: part(info, "classes"),
                left_out: part(info, "left_out"),
            },
            config: part(info, "config"),
            notes: part(info, "notes"),
            warnings: part(info, "warnings").unwrap_or_default(),
            metrics: served.map(|v| v.metrics.clone()),
            bytes: served.map(|v| v.bytes),
            sparsity: part(info, "sparsity"),
            traffic: model.traffic.clone(),
            created_at: model.created_at,
            updated_at: model.updated_at,
            versions: None,
            shadow: None,
        }
    }

    /// The form in lists: without members of groups, settings, decisions and examples.
    pub(crate) fn small(mut self) -> Self {
        for column in self.schema.features.iter_mut().flatten().chain(&mut self.schema.target) {
            column.members = None;
        }
        (self.config, self.notes) = (None, None);
        remove_examples(&mut self.warnings);
        self
    }
}

impl ShownVersion {
    /// The form in lists: without what grows with the classes or the rows.
    pub(crate) fn small(mut self) -> Self {
        for (name, value) in self.held_out.iter_mut().filter_map(Value::as_object_mut).flatten() {
            match name.as_str() {
                "classes" | "confusion" | "recall" | "calibration" => *value = json!([]),
                "regression" => *value = Value::Null,
                _ => {}
            }
        }
        remove_examples(&mut self.warnings);
        self
    }
}

impl From<&Version> for ShownVersion {
    fn from(version: &Version) -> Self {
        let info = &version.info;
        Self {
            version: version.version,
            state: version.state,
            family: version.family.clone(),
            metrics: version.metrics.clone(),
            intervals: part(info, "intervals"),
            evaluated_on: part(info, "evaluated_on"),
            guarantee: part(info, "guarantee"),
            bytes: version.bytes,
            job_id: version.job_id,
            dataset: part(info, "dataset"),
            held_out: part(info, "held_out"),
            warnings: part(info, "warnings").unwrap_or_default(),
            created_at: version.created_at,
        }
    }
}

fn remove_examples(warnings: &mut [Warning]) {
    for warning in warnings {
        warning.examples.clear();
    }
}

/// A field of a version's stored data; none where it is missing, or in an earlier form.
fn part<T: DeserializeOwned>(info: &Value, name: &str) -> Option<T> {
    info.get(name).and_then(|value| Option::<T>::deserialize(value).ok().flatten())
}
