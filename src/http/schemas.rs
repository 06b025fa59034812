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
    /// Which rows are held out. When missing, small tables are cross-fitted: each row is judged by a member that has
    /// not learned it. Else a share is chosen from the number of rows.
    validation: Option<HeldOutRows>,
    /// Column with the weight of each row, in loss, calibration and figures; it is not learned from.
    weight: Option<String>,
    /// How much each class weighs: `balanced`, or a weight by the name of a class.
    class_weights: Option<ClassWeighting>,
    /// Which class is named: the most probable one, or the one that is most probable for its share of the rows.
    /// Probabilities are the same under each.
    objective: Option<ObjectiveName>,
    /// Whether the version is to be served once it is there; otherwise it is `ready`.
    #[schema(value_type = bool, default = true, required = false)]
    promote: Option<bool>,
    /// Only says what the training would do: 200, no job.
    #[schema(value_type = bool, default = false, required = false)]
    dry_run: Option<bool>,
    /// Allows another target or task than that of the served version, and inputs of it that are gone or of another kind.
    #[schema(value_type = bool, default = false, required = false)]
    schema_change: Option<bool>,
    /// Tries several configurations and trains the best in full.
    search: Option<Search>,
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

/// Which class is named.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ObjectiveName {
    Accuracy,
    Balanced,
}

/// Which rows are held out.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum HeldOutRows {
    /// A share of the rows, of every class alike.
    Share(f64),
    By(HeldOutBy),
    Dataset(HeldOutDataset),
}

/// The newest rows by a column, or whole groups of rows with the same value in it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldOutBy {
    by: DivideRowsBy,
    column: String,
    /// Share of the rows; 0.2 when missing.
    #[schema(exclusive_minimum = 0.0, maximum = 0.9)]
    share: Option<f64>,
}

/// How a column divides the rows.
#[derive(Deserialize, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum DivideRowsBy {
    Time,
    Group,
}

/// All rows of another dataset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldOutDataset {
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    dataset: String,
}

/// How much each class weighs in the loss.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ClassWeighting {
    /// By the inverse of its share.
    Word(ClassWeightingWord),
    /// By the name of the class; 1 where one is not named.
    Each(HashMap<String, f64>),
}

/// By the inverse of each class's share.
#[derive(Deserialize, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ClassWeightingWord {
    Balanced,
}

/// A search for settings.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    /// Configurations to try.
    #[schema(minimum = 1, maximum = 1000, default = 20, value_type = usize, required = false)]
    trials: Option<usize>,
    /// By setting: a list of values, or `{"min","max","log"}`; what suits the family when missing.
    #[schema(value_type = Object, required = false)]
    space: Option<Value>,
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
