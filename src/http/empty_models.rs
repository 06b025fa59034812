//! Models that start empty and learn only by observing.

use super::Api;
use super::error::{Answer, Problem};
use super::model_answers::ShownModel;
use super::read::{Json, Path};
use super::schemas::Label;
use crate::serving::EmptyModel;
use crate::store::ModelName;
use crate::{Detail, Error, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kenyon_learn::data::Task;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::{ColumnKind, ColumnsPattern, FeatureSpec, Features};
use kenyon_learn::data::vectors::ColumnEncoder;
use kenyon_learn::models::Family;
use kenyon_learn::models::settings;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(put_model))
}

/// A model that learns only by observing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmptyModel, examples(json!({
    "family": "hybrid", "target": "species", "task": "classification",
    "features": { "sepal_length": "number", "sepal_width": "number" }, "classes": ["setosa", "versicolor"]
})))]
struct Empty {
    /// `hybrid`, the family that learns row by row.
    #[serde(default)]
    #[schema(pattern = "^hybrid$")]
    family: Option<String>,
    /// Column to predict.
    #[schema(min_length = 1)]
    target: String,
    /// `classification` or `regression`; without it classification, unless the first label is no whole number: that
    /// is refused (`task_needed`).
    #[serde(default)]
    task: Option<Task>,
    /// A kind per column, or a group of columns.
    #[schema(value_type = HashMap<String, FeatureSpec>)]
    features: Features,
    /// Settings; `seed` among them.
    #[serde(default)]
    config: StreamSettings,
    /// Classes in addition to those that are observed.
    #[serde(default)]
    #[schema(value_type = Vec<Label>)]
    classes: Vec<Value>,
}

/// Settings of the family, and a seed.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct StreamSettings(Map<String, Value>);

impl PartialSchema for StreamSettings {
    /// That of the family's settings, each of which may be null.
    fn schema() -> RefOr<Schema> {
        let mut schema = settings::schema(Family::of_streams());
        schema["properties"]["seed"] =
            json!({ "type": "integer", "minimum": 0, "description": "Everything random follows from it." });
        for (_, property) in schema["properties"].as_object_mut().into_iter().flatten() {
            settings::allow_null(property);
        }
        let described = json!({
            "type": "object", "description": "Settings of the family, and a seed; null is as if missing.",
            "properties": schema["properties"], "additionalProperties": false,
        });
        serde_json::from_value::<Schema>(described).unwrap_or_default().into()
    }
}

impl ToSchema for StreamSettings {}

/// Makes an empty model that learns only by observing.
#[utoipa::path(put, path = "/api/v1/models/{name}", operation_id = "put_model", tag = "models",
    security(("key" = ["train"])), params(("name" = inline(ModelName), Path)), request_body = Empty,
    responses((status = 201, body = ShownModel), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "there is one", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn put_model(State(api): State<Api>, Path(name): Path<ModelName>, Json(empty): Json<Empty>) -> Answer<Response> {
    api.check_quota(&name).await?;
    let model = api.streams.create(planned(name, empty)?).await?;
    Ok((StatusCode::CREATED, axum::Json(ShownModel::new(&model, None))).into_response())
}

impl StreamSettings {
    /// The settings of the family, checked, and the seed.
    fn checked(self) -> Result<(Map<String, Value>, u64)> {
        let mut own = self.0.clone();
        let seed = match own.shift_remove("seed").unwrap_or_default() {
            Value::Null => 0,
            seed => seed.as_u64().ok_or_else(|| {
                let reason = "seed must be a whole number from 0 on";
                Error::unprocessable("bad_setting", reason).with_details([Detail::path("config.seed", reason)])
            })?,
        };
        settings::complete(Family::of_streams(), &own)?;
        Ok((self.0, seed))
    }
}

/// The request with its columns parsed.
fn planned(name: ModelName, empty: Empty) -> Result<EmptyModel> {
    let starting = Family::of_streams();
    if let Some(family) = empty.family.as_deref().filter(|name| *name != starting.name()) {
        let detail = format!("{family} learns from datasets: only {} starts empty", starting.name());
        return Err(Error::unprocessable("family_learns_by_training", detail)
            .with_details([Detail::path("family", format!("must be {}", starting.name()))]));
    }
    let (config, seed) = empty.config.checked()?;
    let mut inputs = Vec::new();
    for (column, spec) in &empty.features {
        inputs.extend(input(column, spec)?);
    }
    if inputs.is_empty() {
        return Err(Error::unprocessable("no_features", "name at least one feature")
            .with_details([Detail::path("features", "must name at least one")]));
    }
    if inputs.iter().any(|i| i.name == empty.target) {
        return Err(Error::unprocessable("target_is_feature", "the target must not be a feature, too")
            .with_details([Detail::path("target", "is a feature, too")]));
    }
    let task_assumed = empty.task.is_none() && empty.classes.is_empty();
    let task = empty.task.unwrap_or(Task::Classification);
    if task == Task::Regression && !empty.classes.is_empty() {
        let reason = "a model of numbers has no classes";
        return Err(Error::unprocessable("bad_task", reason).with_details([Detail::path("classes", reason)]));
    }
    let numbers = !empty.classes.is_empty() && empty.classes.iter().all(Value::is_number);
    let truths = !empty.classes.is_empty() && empty.classes.iter().all(Value::is_boolean);
    let kind = match task {
        Task::Regression => ColumnKind::Number,
        Task::Classification if numbers => ColumnKind::Number,
        Task::Classification if truths => ColumnKind::Boolean,
        Task::Classification => ColumnKind::Category,
    };
    let target = ColumnPlan::target(empty.target, kind, task);
    Ok(EmptyModel { name, task, task_assumed, inputs, target, classes: empty.classes, config, seed })
}

fn input(name: &str, spec: &FeatureSpec) -> Result<Option<ColumnPlan>> {
    let bad = |reason: &str| {
        Error::unprocessable("invalid_feature", format!("{name}: {reason}"))
            .with_details([Detail::path(format!("features.{name}"), reason)])
    };
    let (kind, group) = match spec {
        FeatureSpec::Kind(kind) => (*kind, None),
        FeatureSpec::Group(group) => (group.kind, Some(group)),
    };
    let Some(kind) = kind.kind() else { return Ok(None) };
    let shape = group.and_then(|g| g.shape.clone());
    let elements = |s: &Vec<usize>| s.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    let size = shape.as_ref().map(|s| elements(s).filter(|n| (1..=1 << 20).contains(n)));
    if size == Some(None) {
        return Err(bad("the shape must have sizes above 0 and at most 1,048,576 elements"));
    }
    let size = size.flatten();
    let channels = group.and_then(|g| g.channels);
    if channels.is_some_and(|channels| !(1..=4096).contains(&channels)) {
        return Err(bad("there must be 1 to 4,096 channels"));
    }
    let members = match group.and_then(|g| g.columns.as_ref()) {
        None => None,
        Some(ColumnsPattern::Names(names)) => Some(names.clone()),
        Some(ColumnsPattern::Pattern(pattern)) => {
            let stem = pattern.strip_suffix('*').ok_or_else(|| bad("a pattern ends with *"))?;
            let size = size.ok_or_else(|| bad("a pattern needs a shape, because an empty model has no data"))?;
            Some((0..size).map(|i| format!("{stem}{i}")).collect())
        }
    };
    let shape = shape.or_else(|| members.as_ref().map(|m: &Vec<String>| vec![m.len()]));
    let encoder = group.and_then(|g| g.encoder.as_deref());
    if encoder.is_some() && !matches!(kind, ColumnKind::Text | ColumnKind::Image) {
        return Err(bad("an encoder reads a text or an image"));
    }
    // Its digest is found when the model is made.
    let encoder = encoder.map(|encoder| ColumnEncoder::new(encoder, ""));
    Ok(Some(ColumnPlan { members, shape, channels, encoder, ..ColumnPlan::new(name, kind) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_settings_of_an_empty_model_are_described_one_by_one() {
        let schema = serde_json::to_value(StreamSettings::schema()).unwrap();
        let described = schema["properties"].as_object().unwrap();
        for setting in Family::of_streams().settings() {
            let types = &described[setting.name]["type"];
            assert!(types.as_array().is_some_and(|types| types.len() == 2 && types[1] == "null"), "{}", setting.name);
        }
        assert_eq!(described.len(), Family::of_streams().settings().len() + 1, "and the seed");
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn what_is_not_described_is_refused() {
        let refused =
            |config: Value| serde_json::from_value::<StreamSettings>(config).unwrap().checked().unwrap_err().code;
        assert_eq!(refused(json!({ "colour": 3 })), "unknown_field");
        assert_eq!(refused(json!({ "seed": "seven" })), "bad_setting");
        assert_eq!(refused(json!({ "seed": -1 })), "bad_setting");
        let (config, seed) =
            StreamSettings(json!({ "seed": 7, "pool": null }).as_object().unwrap().clone()).checked().unwrap();
        assert_eq!((config["seed"].as_u64(), seed), (Some(7), 7));
    }
}
