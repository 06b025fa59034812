//! Importance of a model's features.

use super::Api;
use super::error::{Answer, Problem};
use super::read::{Path, Query};
use crate::Error;
use crate::store::ModelName;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(importance))
}

/// Which version.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfVersion {
    /// A version of the model; the served one when missing.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    version: Option<u64>,
}

/// The importance of a version's features.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ImportanceAnswer {
    /// The version.
    version: u64,
    #[serde(flatten)]
    importance: FeatureImportance,
}

/// The increase of the loss when a column has the values of other rows, feature by feature.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct FeatureImportance {
    /// The metric: `log_loss`, or `mae` in the target's unit.
    metric: String,
    /// Held-out rows it was measured on.
    rows: usize,
    /// The most important first.
    features: Vec<ImportantFeature>,
}

/// One feature.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ImportantFeature {
    /// The column.
    name: String,
    /// How much the metric rises when the column has the values of other rows.
    importance: f64,
    /// Its 95 % confidence interval.
    interval: [f64; 2],
}

/// How much each feature matters, measured on held-out rows when the version was trained (permutation importance).
#[utoipa::path(get, path = "/api/v1/models/{name}/importance", operation_id = "importance", tag = "models",
    security(("key" = ["read"])), params(("name" = inline(ModelName), Path), OfVersion), responses((status = 200, body = ImportanceAnswer),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "the version has none", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn importance(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Query(query): Query<OfVersion>,
) -> Answer<axum::Json<ImportanceAnswer>> {
    let chosen = api.engine.choose(name.as_str(), query.version, &super::context::request_id()).await?;
    let bundle = chosen.loaded.bundle();
    let Some(found) = &bundle.config.importance else {
        let detail = "importance is measured when a version is trained: this one was trained before it was, or has \
            learned by observing alone";
        return Err(Error::conflict("no_importance", detail).into());
    };
    let feature = |one: &kenyon_learn::learning::importance::Feature| ImportantFeature {
        name: one.name.clone(),
        importance: one.importance,
        interval: one.interval,
    };
    let features = found.features.iter().map(feature).collect();
    let importance = FeatureImportance { metric: found.metric.clone(), rows: found.rows, features };
    Ok(axum::Json(ImportanceAnswer { version: chosen.loaded.version, importance }))
}
