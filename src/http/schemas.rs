//! Requests whose types belong to other rooms, described for the interface's document.
#![expect(dead_code, reason = "descriptions only: the types they describe are parsed elsewhere")]

use kenyon_learn::models::Family;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A training to queue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "TrainRequest")]
pub(crate) struct Train {
    /// Dataset to learn from.
    #[schema(example = "iris", pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    dataset: String,
    /// Column to predict.
    #[schema(example = "species")]
    target: String,
    /// Chosen from the data when missing.
    family: Option<FamilyName>,
    /// Inferred from the target when missing.
    task: Option<TaskName>,
    /// How columns are to be read: a kind, `ignore`, or a group.
    #[schema(value_type = HashMap<String, Value>, required = false)]
    features: Option<HashMap<String, Value>>,
    /// Share of the rows held out.
    #[schema(exclusive_minimum = 0.0, maximum = 0.9)]
    validation: Option<f64>,
    /// Everything random follows from it.
    #[schema(minimum = 0, value_type = u64, required = false)]
    seed: Option<u64>,
    /// Higher runs first.
    #[schema(value_type = i64, required = false)]
    priority: Option<i64>,
    /// Settings of the family, see `/api/v1/families`.
    #[schema(value_type = Object, required = false)]
    config: Option<Value>,
}

/// A family's name.
#[derive(Deserialize)]
pub(crate) struct FamilyName(String);

impl PartialSchema for FamilyName {
    fn schema() -> RefOr<Schema> {
        let names = Family::all().map(|family| family.name());
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A family's name."))
            .enum_values(Some(names))
            .into()
    }
}

impl ToSchema for FamilyName {}

/// A kind of answer.
#[derive(Deserialize, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum TaskName {
    Classification,
    Regression,
}

/// What a key is good for.
#[derive(Deserialize, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ScopeName {
    Predict,
    Observe,
    Train,
    Datasets,
    Admin,
    Read,
}

/// Reasons: none, the network's own, or those and what each attended token changes when it is left out.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Explain {
    Whether(bool),
    How(ExplainHow),
}

/// A way to explain.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExplainHow {
    LeaveOneOut,
}

/// Rows to answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "PredictRequest")]
pub(crate) struct Predict {
    /// Objects with the model's features.
    #[schema(value_type = Vec<Object>, example = json!([{"sepal_length": 5.1, "sepal_width": 3.5}]))]
    rows: Vec<Value>,
    /// Labels listed, most likely first.
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<usize>,
    /// Share of the time that `set` and `interval` are to hold the truth.
    #[schema(exclusive_minimum = 0.0, exclusive_maximum = 1.0)]
    coverage: Option<f64>,
    /// Which reasons are wanted.
    explain: Option<Explain>,
    /// A version by number.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    version: Option<u64>,
}

/// Which versions answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "Traffic")]
pub(crate) struct TrafficSplit {
    /// The version that is served.
    #[schema(minimum = 1)]
    stable: Option<u64>,
    /// A version that gets a share of the requests.
    canary: Option<CanaryShare>,
    /// A version that answers beside, unseen, to be compared.
    #[schema(minimum = 1)]
    shadow: Option<u64>,
}

/// A version that gets a share of the requests.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CanaryShare {
    /// Which.
    #[schema(minimum = 1)]
    version: u64,
    /// Share of the requests.
    #[schema(minimum = 0.0, maximum = 1.0)]
    weight: f64,
}

/// Rows to learn from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "ObserveRequest")]
pub(crate) struct Observe {
    /// Objects with the model's features and its target.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Value>,
}
