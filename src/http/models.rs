//! Models: training, prediction, versions.

use super::Api;
use super::error::{Answer, Problem};
use super::jobs::queued;
use super::model_answers::{EvaluateAnswer, ModelPage, ShownModel, ShownVersion, TrainAnswer, VersionPage};
use super::read::{self, Json, Paging, Path, Query, Raw};
use super::schemas::Activity;
use crate::jobs::{DryRun, TrainRequest, Trainer};
use crate::serving::MemoryPage;
use crate::store::{Caller, DatasetName, IdempotencyKey, Job, JobStatus, Model, ModelName, Traffic};
use crate::{Detail, Error, Kind, Result};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_models))
        .routes(routes!(get_model, delete_model))
        .routes(routes!(train))
        .routes(routes!(evaluate))
        .routes(routes!(activity))
        .routes(routes!(versions))
        .routes(routes!(promote))
        .routes(routes!(rollback))
        .routes(routes!(traffic))
        .routes(routes!(consolidate))
}

/// All models, by name.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", security(("key" = ["read"])), params(Paging),
    responses((status = 200, body = ModelPage), (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_models(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(paging): Query<Paging>,
) -> Answer<axum::Json<ModelPage>> {
    let cursor = paging.cursor::<ModelName>()?;
    let page = api.store.models(paging.limit()?, cursor.as_ref().map(ModelName::as_str)).await?;
    let served = api.store.served_versions(&page.items).await?;
    let allowed = page.items.iter().filter(|m| caller.allows_model(m.name.as_str()));
    let items = allowed.map(|model| ShownModel::new(model, served.get(&model.name)).small()).collect();
    Ok(axum::Json(ModelPage { items, next_cursor: page.next_cursor }))
}

/// One model with its schema, versions, figures, size and sparsity.
#[utoipa::path(get, path = "/api/v1/models/{name}", tag = "models", security(("key" = ["read"])),
    params(("name" = inline(ModelName), Path)), responses((status = 200, body = ShownModel),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_model(State(api): State<Api>, Path(name): Path<ModelName>) -> Answer<axum::Json<ShownModel>> {
    let model = api.store.model(&name).await?;
    let versions = api.store.versions(&name).await?;
    let served = versions.iter().find(|v| Some(v.version) == model.traffic.stable);
    let shadow = api.engine.shadow_figures(name.as_str());
    let mut shown = ShownModel::new(&model, served);
    shown.versions = Some(versions.iter().map(|version| ShownVersion::from(version).small()).collect());
    shown.shadow = shadow;
    Ok(axum::Json(shown))
}

/// Removes the model with its versions and its stream.
#[utoipa::path(delete, path = "/api/v1/models/{name}", tag = "models", security(("key" = ["train"])),
    params(("name" = inline(ModelName), Path)), responses((status = 204),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn delete_model(State(api): State<Api>, Path(name): Path<ModelName>) -> Answer<StatusCode> {
    api.store.delete_model(&name).await?;
    // The model is deleted even if the refresh fails.
    let _ = api.engine.refresh(name.as_str()).await;
    Ok(StatusCode::NO_CONTENT)
}

/// How long to wait for a job.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wait {
    /// Seconds to wait for the job's end; no longer than a request may take.
    #[param(minimum = 0, maximum = 86400)]
    wait: Option<f64>,
}

/// Queues a training: makes the model at the first call, its next version later.
///
/// The version is served as soon as the job is seen as succeeded, unless `served` of the job is false, with the
/// reason next to it. Where several replicas share a database, the others serve it within the time of a notification.
#[utoipa::path(post, path = "/api/v1/models/{name}/train", tag = "models", security(("key" = ["train"])),
    params(("name" = inline(ModelName), Path), Wait, ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$")),
    request_body = TrainRequest,
    responses((status = 200, description = "the job has ended, or what a dry run found", body = TrainAnswer),
    (status = 202, body = Job), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "the served version needs other rows", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json")))]
async fn train(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<ModelName>,
    Query(query): Query<Wait>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<Response> {
    let request: TrainRequest = read::json(&body)?;
    let wait = query.seconds()?;
    if request.dry_run {
        return Ok(axum::Json(TrainAnswer::DryRun(api.dry_run(&name, &request).await?)).into_response());
    }
    api.check_quota(&name).await?;
    let key = idempotency(&headers, &caller, &Method::POST, &format!("/models/{name}/train"), &body)?;
    let (job, _) = api.queue.train(&name, &request, key.as_ref()).await?;
    if wait.is_zero() {
        return Ok(queued(&job));
    }
    match tokio::time::timeout(wait.min(api.patience()), api.queue.wait(job.id)).await {
        Ok(ended) => Ok(axum::Json(TrainAnswer::Job(ended?)).into_response()),
        // As it is by now, which is not as it was queued.
        Err(_) => Ok(queued(&api.store.job(job.id).await?)),
    }
}

/// A dataset to evaluate on.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "dataset": "iris" })))]
struct EvaluateRequest {
    /// Its name.
    dataset: DatasetName,
}

/// Metrics of the served version on a dataset that has its columns and its target.
///
/// It is the version that is served when the request arrives. Where it was trained with a `weight` column that the dataset has too,
/// rows count by it, as in the version's own metrics.
#[utoipa::path(post, path = "/api/v1/models/{name}/evaluate", operation_id = "evaluate", tag = "models",
    security(("key" = ["predict"])), params(("name" = inline(ModelName), Path)), request_body = EvaluateRequest,
    responses((status = 200, body = EvaluateAnswer), (status = 202, description = "takes long: look at the job", body = Job),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn evaluate(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Json(request): Json<EvaluateRequest>,
) -> Answer<Response> {
    let (job, _) = api.queue.evaluate(&name, &request.dataset, None).await?;
    let Ok(job) = tokio::time::timeout(api.patience(), api.queue.wait(job.id)).await else {
        return Ok(queued(&job));
    };
    let job = job?;
    match (job.status, job.result) {
        (JobStatus::Succeeded, Some(result)) => Ok(axum::Json(result).into_response()),
        _ => Err(Error::unprocessable("evaluation_failed", reason(job.error.as_ref())).into()),
    }
}

/// What of the versions.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VersionQuery {
    /// Whether `held_out` has classes, confusion, recall, calibration and residuals, and `warnings` have examples.
    detail: Option<bool>,
    /// Taken as other lists take it; the page has all versions.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// There is none but the empty one.
    #[param(max_length = 0)]
    cursor: Option<String>,
}

/// Versions, newest first.
#[utoipa::path(get, path = "/api/v1/models/{name}/versions", tag = "models", security(("key" = ["read"])),
    params(("name" = inline(ModelName), Path), VersionQuery), responses((status = 200, body = VersionPage),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn versions(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Query(query): Query<VersionQuery>,
) -> Answer<axum::Json<VersionPage>> {
    read::one_page(query.limit, query.cursor.as_deref())?;
    let mut items: Vec<ShownVersion> = api.store.versions(&name).await?.iter().map(ShownVersion::from).collect();
    if !query.detail.unwrap_or(false) {
        items = items.into_iter().map(ShownVersion::small).collect();
    }
    Ok(axum::Json(VersionPage { items, next_cursor: None }))
}

/// Serves this version.
#[utoipa::path(post, path = "/api/v1/models/{name}/versions/{version}/promote", tag = "models", security(("key" = ["train"])),
    params(("name" = inline(ModelName), Path), ("version" = u64, Path)), responses((status = 200, body = ShownModel),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn promote(
    State(api): State<Api>,
    Path((name, version)): Path<(ModelName, u64)>,
) -> Answer<axum::Json<ShownModel>> {
    let model = api.store.promote(&name, version).await?;
    api.switched(&model).await
}

/// Serves the version that was served before.
#[utoipa::path(post, path = "/api/v1/models/{name}/rollback", tag = "models", security(("key" = ["train"])),
    params(("name" = inline(ModelName), Path)), responses((status = 200, body = ShownModel),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "no earlier version", body = Problem, content_type = "application/problem+json")))]
async fn rollback(State(api): State<Api>, Path(name): Path<ModelName>) -> Answer<axum::Json<ShownModel>> {
    let model = api.store.rollback(&name).await?;
    api.switched(&model).await
}

/// Splits the requests between versions.
#[utoipa::path(put, path = "/api/v1/models/{name}/traffic", tag = "models", security(("key" = ["train"])),
    params(("name" = inline(ModelName), Path)), request_body = Traffic,
    responses((status = 200, body = ShownModel), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn traffic(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Json(traffic): Json<Traffic>,
) -> Answer<axum::Json<ShownModel>> {
    let model = api.store.set_traffic(&name, &traffic).await?;
    api.switched(&model).await
}

/// Queues a consolidation of what was observed.
#[utoipa::path(post, path = "/api/v1/models/{name}/consolidate", tag = "models", security(("key" = ["train"])),
    params(("name" = inline(ModelName), Path), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$")),
    responses((status = 202, body = Job), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn consolidate(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<ModelName>,
    headers: HeaderMap,
) -> Answer<Response> {
    let key = idempotency(&headers, &caller, &Method::POST, &format!("/models/{name}/consolidate"), b"")?;
    let (job, _) = api.queue.consolidate(&name, json!({}), key.as_ref()).await?;
    Ok(queued(&job))
}

/// Active share of the network, and the cost of a prediction.
#[utoipa::path(get, path = "/api/v1/models/{name}/activity", operation_id = "activity", tag = "models",
    security(("key" = ["read"])), params(("name" = inline(ModelName), Path)), responses((status = 200, body = Activity),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn activity(State(api): State<Api>, Path(name): Path<ModelName>) -> Answer<axum::Json<Value>> {
    let id = super::context::request_id();
    let chosen = api.engine.choose(name.as_str(), None, &id).await?;
    let rows = api.sample(&name).await?;
    let (bundle, version) = (chosen.loaded.bundle(), chosen.loaded.version);
    let value = super::blocking::blocking(move || crate::serving::activity::report(&bundle, version, &rows)).await?;
    Ok(axum::Json(value))
}

/// The request's `Idempotency-Key`, made unique by sender and path.
pub(crate) fn idempotency(
    headers: &HeaderMap,
    caller: &Caller,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<Option<IdempotencyKey>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|k| (1..=255).contains(&k.len()));
    let key =
        key.ok_or_else(|| Error::malformed("invalid_idempotency_key", "an Idempotency-Key is 1 to 255 characters"))?;
    Ok(Some(IdempotencyKey::new(format!("{} {method} {path}", caller.id()), key, body)))
}

fn reason(error: Option<&Value>) -> String {
    let detail = error.and_then(|e| e["detail"].as_str());
    detail.unwrap_or("the evaluation did not end well").to_owned()
}

impl Wait {
    fn seconds(&self) -> Result<Duration> {
        let wait = self.wait.unwrap_or(0.0);
        if !(0.0..=86_400.0).contains(&wait) {
            return Err(Error::malformed("invalid_wait", "wait is a number of seconds from 0 to 86400")
                .with_details([Detail::path("wait", "must lie between 0 and 86400")]));
        }
        Ok(Duration::from_secs_f64(wait))
    }
}

impl Api {
    /// How long a request may wait for a job.
    fn patience(&self) -> Duration {
        self.config.request_timeout().mul_f64(0.9)
    }

    /// What a training would do.
    async fn dry_run(&self, model: &ModelName, request: &TrainRequest) -> Result<DryRun> {
        self.queue.dry_run(model, request, &Trainer::new(&self.config), self.config.job_threads()).await
    }

    /// The answer to a change of versions: this process serves the new version before it answers.
    async fn switched(&self, model: &Model) -> Answer<axum::Json<ShownModel>> {
        self.engine.refresh(model.name.as_str()).await?;
        let served = match model.traffic.stable {
            Some(version) => Some(self.store.version(&model.name, version).await?),
            None => None,
        };
        Ok(axum::Json(ShownModel::new(model, served.as_ref())))
    }

    /// Example rows for the model: the first of its training dataset, or of its memory.
    async fn sample(&self, name: &ModelName) -> Result<Vec<Map<String, Value>>> {
        let model = self.store.model(name).await?;
        let info = match model.traffic.stable {
            Some(version) => self.store.version(name, version).await?.info,
            None => model.info,
        };
        let dataset = info["dataset"]["name"].as_str().and_then(|n| n.parse().ok());
        if let Some(dataset) = dataset
            && let Ok(dataset) = self.store.dataset(&dataset).await
        {
            return super::datasets::rows(self, &dataset, 0, crate::serving::activity::SAMPLE).await;
        }
        let page = MemoryPage { limit: crate::serving::activity::SAMPLE, ..MemoryPage::default() };
        let remembered = self.streams.memory(name, &page).await.unwrap_or_else(|_| json!({ "items": [] }));
        let items = remembered["items"].as_array().into_iter().flatten();
        Ok(items.filter_map(|item| item["row"].as_object().cloned()).collect())
    }

    /// 507 `too_many_models` when another model would be one too many.
    pub(crate) async fn check_quota(&self, name: &ModelName) -> Result<()> {
        if self.store.counts().await?.models < self.config.max_models || self.store.model(name).await.is_ok() {
            return Ok(());
        }
        let detail = format!("this server keeps at most {} models", self.config.max_models);
        Err(Error::new(Kind::DiskFull, "too_many_models", detail))
    }
}
