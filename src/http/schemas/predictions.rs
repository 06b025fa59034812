//! Predict: requests and answers.

use super::{Label, Row};
use crate::http::error::Problem;
use crate::jobs::Conditional;
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
    /// Number of listed labels, most likely first.
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<usize>,
    /// Coverage of `set` and `interval`.
    #[schema(exclusive_minimum = 0.0, exclusive_maximum = 1.0)]
    coverage: Option<f64>,
    /// Whether `set` may be empty; by default the likeliest class is always included.
    allow_empty: Option<bool>,
    /// `class` for sets with that coverage among the rows of each class.
    conditional: Option<Conditional>,
    /// Novelty above which an answer abstains; 0.99 by default.
    #[schema(minimum = 0.0, maximum = 1.0)]
    novelty_level: Option<f32>,
    /// Which explanations are requested.
    explain: Option<Explain>,
    /// A version by number.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    version: Option<u64>,
}

/// Explanations: none, the network's own, or those and the effect of leaving out each attended token.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Explain {
    /// Whether to add the network's own.
    Whether(bool),
    /// More than those.
    How(ExplainHow),
}

/// A kind of explanation.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExplainHow {
    /// Also the effect of leaving out each attended token.
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
    /// The id for `feedback`.
    prediction_id: String,
    /// The class that is named: the likeliest, but for models of the objective `balanced`.
    #[schema(required = false)]
    label: Label,
    /// Its probability.
    #[schema(required = false)]
    probability: f64,
    /// Probabilities by class, the likeliest first.
    #[schema(required = false)]
    probabilities: HashMap<String, f64>,
    /// Classes that contain the truth with the requested coverage; only where a coverage was given.
    #[schema(required = false)]
    set: Vec<Label>,
    /// The number predicted.
    #[schema(required = false)]
    value: f64,
    /// Bounds that contain the truth with the requested coverage; only where one was given; null where too few rows were
    /// held out for it.
    interval: Option<[f64; 2]>,
    /// How unlike the training data the row is.
    novelty: f64,
    /// Whether novelty is above the level.
    abstained: bool,
    /// A summary in one word.
    #[schema(required = false)]
    verdict: Verdict,
    /// The explanation, where requested.
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
    /// The class that is named, or the number predicted.
    predicted: Label,
    /// Its probability.
    #[schema(required = false)]
    probability: f64,
    /// Classes that contain the truth with the requested coverage.
    #[schema(required = false)]
    set: Vec<Label>,
    /// Probabilities by class, the likeliest first; only where requested.
    #[schema(required = false)]
    probabilities: HashMap<String, f64>,
    /// The lower bound at the requested coverage; null where too few rows were held out for it.
    lower: Option<f64>,
    /// The largest.
    upper: Option<f64>,
    /// How unlike the training data the row is.
    novelty: f64,
    /// The above in one word.
    verdict: Verdict,
    /// The activity of a layer, where requested.
    #[schema(required = false)]
    embedding: Code,
    /// The explanation, where requested; without maps of lists, and null for a model without a background sample.
    #[schema(required = false)]
    explanation: Option<Explanation>,
}

/// The code of one row.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Code {
    /// The value of every unit.
    Dense(Vec<f32>),
    /// The units that are not zero.
    Sparse {
        /// Their numbers, ascending.
        indices: Vec<usize>,
        /// Their values.
        values: Vec<f32>,
    },
}

/// A row that does not fit.
#[derive(Serialize, ToSchema)]
pub(crate) struct LineFault {
    /// Its number, from 0.
    row: u64,
    /// Why.
    error: String,
}

/// A summary of an answer in one word.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The class that is named is the only one in the set, or the interval is narrow.
    Sure,
    /// The set has other classes, or none, or the interval is wide.
    Unsure,
    /// The row is unlike the training data.
    Unfamiliar,
}

/// An explanation of one answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// The output without contributions.
    #[schema(required = false)]
    bias: f64,
    /// The mean output over a sample of training rows.
    #[schema(required = false)]
    baseline: f64,
    /// The output of this row.
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
    /// For families with attention, a weight a token; they sum to 1.
    #[schema(required = false)]
    attention: Vec<Attended>,
    /// For families with a memory: the retrieved entries.
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
    /// Its index among the row's tokens.
    token: u64,
    /// Its share.
    weight: f64,
    /// How much lower the output is without it, where requested.
    left_out: Option<f64>,
    /// The same.
    leave_one_out: Option<f64>,
}

/// A retrieved entry.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recalled {
    /// Its number in the memory, or that of its class.
    id: String,
    /// Its class or value.
    label: Value,
    /// Cosine of its key and the row's.
    similarity: f64,
    /// The stored row, as far as it was kept.
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
