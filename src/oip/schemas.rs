//! Requests and answers over REST, as the protocol has it. Tensors are parsed and written by `reader` and `rest` in
//! place; their structures here only describe them.

use super::codec::Described;
use crate::http::schemas::Label;
use crate::serving::stats::Figures;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The server and its extensions.
#[derive(Serialize, ToSchema)]
pub(super) struct V2Server {
    /// `kenyon`.
    pub(super) name: &'static str,
    /// The version of the program.
    pub(super) version: &'static str,
    /// Names of the extensions of the protocol that it has.
    #[schema(value_type = Vec<String>)]
    pub(super) extensions: [&'static str; 4],
}

/// That the server runs.
#[derive(Serialize, ToSchema)]
pub(super) struct V2Live {
    /// True.
    pub(super) live: bool,
}

/// Whether the server takes requests.
#[derive(Serialize, ToSchema)]
pub(super) struct V2Ready {
    /// True.
    pub(super) live: bool,
    /// False while it starts or stops.
    pub(super) ready: bool,
}

/// That a model, or the version of it that was named, can answer.
#[derive(Serialize, ToSchema)]
pub(super) struct V2ModelReady {
    /// The model.
    pub(super) name: String,
    /// The version, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// True.
    pub(super) live: bool,
    /// True: a model that cannot answer is an error.
    pub(super) ready: bool,
}

/// Which models.
#[derive(Default, Deserialize, ToSchema)]
#[schema(examples(json!({ "ready": true })))]
pub(super) struct V2IndexRequest {
    /// Only versions that are served.
    #[serde(default)]
    pub(super) ready: bool,
}

/// A version of a model.
#[derive(Serialize, ToSchema)]
pub(super) struct V2IndexEntry {
    /// The model.
    pub(super) name: String,
    /// The version, a whole number.
    pub(super) version: String,
    /// `READY` if it is served, else `UNAVAILABLE`; it answers by its number in both states.
    pub(super) state: &'static str,
    /// Empty.
    pub(super) reason: &'static str,
}

/// A model: its versions, inputs and outputs.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "name": "iris", "versions": ["1"], "platform": "kenyon_hybrid",
    "inputs": [{ "name": "petal_length", "datatype": "FP64", "shape": [-1] }],
    "outputs": [
        { "name": "label", "datatype": "BYTES", "shape": [-1] }, { "name": "probabilities", "datatype": "FP32", "shape": [-1, 3] },
        { "name": "novelty", "datatype": "FP32", "shape": [-1] }, { "name": "verdict", "datatype": "BYTES", "shape": [-1] },
        { "name": "embedding", "datatype": "FP32", "shape": [-1, 128] }
    ],
    "parameters": { "labels": ["setosa", "versicolor", "virginica"] }
})))]
pub(super) struct V2Model {
    /// The model.
    pub(super) name: String,
    /// Its versions, or the one that was named.
    pub(super) versions: Vec<String>,
    /// `kenyon_` and the family.
    pub(super) platform: String,
    /// The tensors that it takes: one for each column.
    pub(super) inputs: Vec<Described>,
    /// The tensors that it answers: `label` and `probabilities`, or `value`, and where they are requested `novelty`, `verdict`
    /// and `embedding`.
    pub(super) outputs: Vec<Described>,
    /// What the protocol has no field for; only for classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<V2ModelParameters>,
}

/// What the protocol has no field for.
#[derive(Serialize, ToSchema)]
pub(super) struct V2ModelParameters {
    /// The classes, in the order of `probabilities`.
    #[schema(value_type = Vec<Label>)]
    pub(super) labels: Vec<Value>,
}

/// Counts and times, by version.
#[derive(Serialize, ToSchema)]
pub(super) struct V2Statistics {
    /// The versions.
    pub(super) model_stats: Vec<V2VersionStatistics>,
}

/// Counts and times of a version since the server started.
#[derive(Serialize, ToSchema)]
pub(super) struct V2VersionStatistics {
    name: String,
    version: String,
    /// Milliseconds since 1970 of the last request; 0 before the first.
    last_inference: u64,
    /// Rows.
    inference_count: u64,
    /// Forward passes.
    execution_count: u64,
    inference_stats: V2Times,
    /// Empty: batches are not counted by size.
    batch_stats: Vec<V2Time>,
}

/// The parts of the time that requests took.
#[derive(Serialize, ToSchema)]
struct V2Times {
    success: V2Time,
    fail: V2Time,
    queue: V2Time,
    compute_input: V2Time,
    compute_infer: V2Time,
    compute_output: V2Time,
}

/// A number of requests, and how long they took together.
#[derive(Serialize, ToSchema)]
struct V2Time {
    /// Requests.
    count: u64,
    /// Nanoseconds.
    ns: u64,
}

impl V2VersionStatistics {
    pub(super) fn new(name: &str, version: u64, figures: &Figures) -> Self {
        let time = |count, ns| V2Time { count, ns };
        let success = figures.success;
        Self {
            name: name.to_owned(),
            version: version.to_string(),
            last_inference: figures.last_ms,
            inference_count: figures.rows,
            execution_count: figures.passes,
            inference_stats: V2Times {
                success: time(success, figures.success_ns),
                fail: time(figures.fail, 0),
                queue: time(success, figures.queue_ns),
                compute_input: time(success, figures.input_ns),
                compute_infer: time(success, figures.compute_ns),
                compute_output: time(success, 0),
            },
            batch_stats: Vec::new(),
        }
    }
}

/// An inference request. With `Inference-Header-Content-Length` raw tensors may follow the JSON.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `reader` parses it")]
#[schema(examples(json!({
    "inputs": [{ "name": "petal_length", "datatype": "FP64", "shape": [2], "data": [1.4, 4.7] }], "outputs": [{ "name": "label" }]
})))]
pub(super) struct V2InferRequest {
    /// Comes back in the answer.
    id: Option<String>,
    parameters: Option<V2InferParameters>,
    /// One tensor for each column, or one named `input` with all.
    inputs: Vec<V2Input>,
    /// The tensors to answer; `label` and `probabilities`, or `value`, when missing.
    outputs: Option<Vec<V2WantedOutput>>,
}

/// How outputs are sent that do not set it themselves.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `reader` parses it")]
struct V2InferParameters {
    /// Raw, after the JSON.
    binary_data_output: Option<bool>,
}

/// A tensor of a request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `reader` parses it")]
struct V2Input {
    /// The column.
    name: String,
    /// `FP64`, `INT64`, `BYTES`, `BOOL`, …
    datatype: String,
    /// Rows first.
    shape: Vec<u64>,
    parameters: Option<V2RawSize>,
    /// The elements, flat or nested; null is a missing value. Without it they follow the JSON.
    #[schema(nullable = false)]
    data: Option<Vec<Value>>,
}

/// Where the elements of a tensor are that are not in the JSON.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `reader` parses it and `rest` writes it")]
struct V2RawSize {
    /// Its bytes after the JSON.
    binary_data_size: Option<u64>,
}

/// A tensor to answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `reader` parses it")]
struct V2WantedOutput {
    /// Its name, one of those in the model's metadata.
    name: String,
    parameters: Option<V2OutputParameters>,
}

/// How an output is sent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `reader` parses it")]
struct V2OutputParameters {
    /// Raw, after the JSON.
    binary_data: Option<bool>,
    /// This many classes, as `probability:index:label`, in place of all probabilities.
    classification: Option<u64>,
    /// Of `embedding`: a layer of `/activity`, or `features`; the last layer when missing.
    layer: Option<String>,
}

/// An inference answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `rest` writes it")]
#[schema(examples(json!({
    "model_name": "iris", "model_version": "1",
    "outputs": [{ "name": "label", "datatype": "BYTES", "shape": [2], "data": ["setosa", "versicolor"] }]
})))]
pub(super) struct V2InferAnswer {
    /// The model.
    model_name: String,
    /// The version that answered.
    model_version: String,
    /// That of the request.
    #[schema(nullable = false)]
    id: Option<String>,
    /// The tensors.
    outputs: Vec<V2Output>,
}

/// A tensor of an answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `rest` writes it")]
struct V2Output {
    /// `label`, `probabilities`, `value`, `novelty`, `verdict` or `embedding`.
    name: String,
    /// As in requests.
    datatype: String,
    /// Rows first.
    shape: Vec<u64>,
    #[schema(nullable = false)]
    parameters: Option<V2RawSize>,
    /// The elements, flat; missing where they follow the JSON.
    #[schema(value_type = Vec<Label>, required = false)]
    data: Vec<Value>,
}

/// An error, in the form of the protocol.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description only: `http::error` writes it")]
pub(super) struct V2Error {
    /// What is wrong.
    error: String,
}
