//! Predict: what is asked and what is answered.

use super::{Label, Row};
use crate::http::error::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Rows to answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "rows": [{ "sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2 }],
    "top_k": 3, "coverage": 0.9, "explain": true
})))]
pub(crate) struct PredictRequest {
    /// Objects with the model's features.
    rows: Vec<Row>,
    /// Labels listed, most likely first.
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<usize>,
    /// Share of the time that `set` and `interval` are to hold the truth.
    #[schema(exclusive_minimum = 0.0, exclusive_maximum = 1.0)]
    coverage: Option<f64>,
    /// Whether `set` may be empty; by default the likeliest class is always in.
    allow_empty: Option<bool>,
    /// `class` for sets with that coverage among the rows of each class.
    conditional: Option<Conditional>,
    /// Novelty beyond which an answer abstains; 0.99 by default.
    #[schema(minimum = 0.0, maximum = 1.0)]
    novelty_level: Option<f32>,
    /// Which explanations are requested.
    explain: Option<Explain>,
    /// A version by number.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    version: Option<u64>,
}

/// Reasons: none, the network's own, or those and what each attended token changes when it is left out.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Explain {
    /// Whether the network's own are wanted.
    Whether(bool),
    /// More than those.
    How(ExplainHow),
}

/// What the coverage of sets holds for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Conditional {
    /// The rows of each class by themselves.
    Class,
}

/// A way to explain.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExplainHow {
    /// What each attended token changes when it is left out, as well.
    LeaveOneOut,
}

/// Answers, a row each.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "model": "iris", "version": 2,
    "predictions": [{
        "prediction_id": "019401f0a3c47a1e8b2c000000000001", "label": "setosa", "probability": 0.98,
        "probabilities": { "setosa": 0.98, "virginica": 0.015, "versicolor": 0.005 }, "set": ["setosa"],
        "novelty": 0.03, "abstained": false, "verdict": "sure"
    }]
})))]
pub(crate) struct PredictAnswer {
    /// The model.
    model: String,
    /// The version that answered.
    version: u64,
    /// In the order of the rows.
    predictions: Vec<Prediction>,
}

/// The answer to a row: a label with its probability, or a value.
#[derive(Serialize, ToSchema)]
pub(crate) struct Prediction {
    /// To be named when the truth is known (`feedback`).
    prediction_id: String,
    /// The likeliest class.
    #[schema(required = false)]
    label: Label,
    /// Its probability.
    #[schema(required = false)]
    probability: f64,
    /// Probabilities by class, the likeliest first.
    #[schema(required = false)]
    probabilities: HashMap<String, f64>,
    /// Where a coverage was asked for: classes that hold the truth at least that often.
    #[schema(required = false)]
    set: Vec<Label>,
    /// The number predicted.
    #[schema(required = false)]
    value: f64,
    /// Where a coverage was asked for: bounds that hold the truth at least that often; null where too few rows were
    /// held out to promise it.
    interval: Option<[f64; 2]>,
    /// How unlike the training data the row is.
    novelty: f64,
    /// Whether it is unlike anything seen.
    abstained: bool,
    /// The above in one word.
    #[schema(required = false)]
    verdict: Verdict,
    /// Why, where it was asked for.
    #[schema(required = false)]
    explanation: Explanation,
}

/// A line of an answer in lines: that of a row, why a row was not answered, or why the answer ends early.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PredictLine {
    /// The answer to a row.
    Answer(LineAnswer),
    /// A row that does not fit.
    Fault(LineFault),
    /// Why the answer ends early.
    Problem(Problem),
}

/// The answer to a row in a line.
#[derive(Serialize, ToSchema)]
pub(crate) struct LineAnswer {
    /// The likeliest class, or the number predicted.
    predicted: Label,
    /// Its probability.
    #[schema(required = false)]
    probability: f64,
    /// Classes that hold the truth as often as the coverage says.
    #[schema(required = false)]
    set: Vec<Label>,
    /// Probabilities by class, the likeliest first, where they were asked for.
    #[schema(required = false)]
    probabilities: HashMap<String, f64>,
    /// The least number, as often as the coverage says; null where too few rows were held out to promise it.
    lower: Option<f64>,
    /// The largest.
    upper: Option<f64>,
    /// How unlike the training data the row is.
    novelty: f64,
    /// The above in one word.
    verdict: Verdict,
}

/// A row that does not fit.
#[derive(Serialize, ToSchema)]
pub(crate) struct LineFault {
    /// Its number, from 0.
    row: u64,
    /// Why.
    error: String,
}

/// An answer in one word.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// One class, or a narrow interval.
    Sure,
    /// More than one class in the set, or a wide interval.
    Unsure,
    /// The row is unlike anything seen.
    Unfamiliar,
}

/// Why a row was answered as it was.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// Output without the contributions.
    #[schema(required = false)]
    bias: f64,
    /// Output of the mean over training rows.
    #[schema(required = false)]
    baseline: f64,
    /// Output of this row.
    #[schema(required = false)]
    output: f64,
    /// Unit of outputs and weights: `log-odds`, or the target.
    #[schema(required = false)]
    unit: String,
    /// Contributions, the largest first.
    features: Vec<Contribution>,
    /// Sum of the contributions that are not listed.
    #[schema(required = false)]
    other: f64,
    /// For families that attend, a weight a token; they sum to 1.
    #[schema(required = false)]
    attention: Vec<Attended>,
    /// For families that remember: what was recalled.
    #[schema(required = false)]
    memories: Vec<Recalled>,
    /// Units that were active, strongest first.
    #[schema(required = false)]
    active_units: Vec<ActiveUnit>,
}

/// A feature's contribution.
#[derive(Serialize, ToSchema)]
pub(crate) struct Contribution {
    /// The column, an element of it, or a word of it.
    name: String,
    /// What it adds.
    weight: f64,
    /// Its value in this row.
    value: Option<Value>,
    /// Of a word: where it begins in the text.
    start: Option<u64>,
    /// Of a word: where it ends.
    end: Option<u64>,
    /// Of an image or series: the contributions of its parts.
    map: Option<Vec<Vec<f64>>>,
}

/// A token's share of the attention.
#[derive(Serialize, ToSchema)]
pub(crate) struct Attended {
    /// The column it comes from.
    name: String,
    /// Its place among the row's tokens.
    token: u64,
    /// Its share.
    weight: f64,
    /// How much lower the output is without it, where that was asked for.
    left_out: Option<f64>,
    /// The same.
    leave_one_out: Option<f64>,
}

/// Something that was recalled.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recalled {
    /// Its number in the memory, or that of its class.
    id: String,
    /// Its class or value.
    label: Value,
    /// Cosine of its key and the row's.
    similarity: f64,
    /// The remembered row, as far as it was kept.
    row: Option<HashMap<String, Value>>,
}

/// An active unit.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActiveUnit {
    /// Its number.
    unit: u64,
    /// Its activation.
    activation: f64,
}
