//! Two versions of a model on the same rows.

use super::Api;
use super::blocking::blocking;
use super::error::{Answer, Problem};
use super::read::{Path, Query};
use crate::jobs;
use crate::store::{Dataset, DatasetName, ModelName};
use crate::{Detail, Error, Result};
use axum::Json;
use axum::extract::State;
use kenyon_learn::data::plan::{read_head, spelled_as};
use kenyon_learn::learning::Bundle;
use kenyon_learn::learning::paired::{self, EvaluatedRows, Paired};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Rows that are compared: the first of the dataset.
const ROWS: u64 = 200_000;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(compare_versions))
}

/// What to compare.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Compared {
    /// Two versions by number, such as `3,4`.
    #[param(pattern = "^[0-9]{1,9},[0-9]{1,9}$")]
    versions: String,
    /// A dataset with the model's columns and its target; of a large one the first 200,000 rows.
    #[param(inline)]
    dataset: DatasetName,
}

/// How two versions compare.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = VersionComparison, examples(json!({
    "versions": [3, 4], "rows": 150,
    "metrics": { "accuracy": { "a": 0.94, "b": 0.96, "difference": 0.02, "interval": [-0.01, 0.05] } },
    "disagree": [{ "row": 70, "a": "virginica", "b": "versicolor", "truth": "versicolor" }]
})))]
struct Comparison {
    /// The versions: `a`, then `b`.
    versions: [u64; 2],
    /// The versions that have learned from most of these rows, so that their figures are too good: trained on this dataset without
    /// members that left rows out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    learned_from: Vec<u64>,
    /// What was found.
    #[serde(flatten)]
    found: Paired,
}

/// Compares two versions on the same rows, each figure with bounds of the difference. Rows that a cross-fitted version was
/// trained on are answered by the members that have left them out; other versions have learned from most of theirs. Where both were
/// trained with the same `weight` column and the dataset has it, rows count by it.
#[utoipa::path(get, path = "/api/v1/models/{name}/compare", tag = "models", security(("key" = ["predict"])),
    params(("name" = inline(ModelName), Path), Compared), responses((status = 200, body = Comparison),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "the dataset does not fit", body = Problem, content_type = "application/problem+json")))]
async fn compare_versions(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Query(compared): Query<Compared>,
) -> Answer<Json<Comparison>> {
    let versions = compared.versions()?;
    let dataset = api.store.dataset(&compared.dataset).await?;
    let (mut bundles, mut learned_from) = (Vec::with_capacity(2), Vec::new());
    for version in versions {
        let chosen = api.engine.choose(name.as_str(), Some(version), "").await?;
        let info = api.store.version(&name, version).await?.info;
        let learned = info["dataset"]["digest"] == dataset.digest.as_str();
        let bundle = chosen.loaded.bundle();
        if learned && bundle.config.folds.is_empty() {
            learned_from.push(version);
        }
        bundles.push((bundle, learned));
    }
    let weight = paired::common_weight(&bundles[0].0, &bundles[1].0).map(str::to_owned);
    let mut evaluated = Vec::with_capacity(2);
    for (bundle, learned) in bundles {
        evaluated.push(evaluate(&api, bundle, &dataset, learned, weight.clone()).await?);
    }
    let found = blocking(move || Ok::<_, Error>(paired::compare(&evaluated[0], &evaluated[1]))).await?;
    if found.rows == 0 {
        let detail = "no row of the dataset has a target that both versions predict";
        return Err(Error::unprocessable("too_few_rows", detail).into());
    }
    Ok(Json(Comparison { versions, learned_from, found }))
}

async fn evaluate(
    api: &Api,
    bundle: Arc<Bundle>,
    dataset: &Dataset,
    learned: bool,
    weight: Option<String>,
) -> Result<EvaluatedRows> {
    let (parts, limits) = (jobs::local_parts(&api.store, dataset).await?, api.file_limits());
    let summary = jobs::summary(&dataset.columns)?;
    let plans = jobs::evaluation_columns(&bundle.config.target, &bundle.encoder.inputs, weight.as_deref(), &summary)?;
    let plans = spelled_as(&plans, &summary.columns);
    blocking(move || {
        let (table, _) = read_head(&parts, &[], &plans, &limits, ROWS)?;
        paired::evaluate(&bundle, &table, learned, weight.as_deref())
    })
    .await
}

impl Compared {
    fn versions(&self) -> Result<[u64; 2]> {
        let bad = || {
            let reason = "names two versions, such as 3,4";
            Error::malformed("invalid_request", format!("versions {reason}"))
                .with_details([Detail::path("versions", reason)])
        };
        let (a, b) = self.versions.split_once(',').ok_or_else(bad)?;
        let number = |text: &str| text.trim().parse().map_err(|_| bad());
        Ok([number(a)?, number(b)?])
    }
}
