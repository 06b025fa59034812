//! Comparisons of representations with each other and with neural recordings.

use super::Api;
use super::error::{Answer, Problem};
use super::jobs::queued;
use super::models::idempotency;
use super::read::{Path, Query, Raw, json, page_cursor, page_limit};
use crate::jobs::{CompareRequest, Findings, ListedRdm};
use crate::store::{Caller, Job, JobFilter, JobId, JobKind, JobStatus};
use crate::{Error, Result};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use kenyon_learn::learning::compare::{Comparison, Distance};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_comparisons, make_comparison))
        .routes(routes!(get_comparison, delete_comparison))
}

/// A comparison in a list.
#[derive(Debug, Serialize, ToSchema)]
struct ListedComparison {
    /// Its id, also that of its job.
    id: JobId,
    /// The state of its job.
    status: JobStatus,
    /// Names of the systems.
    systems: Vec<String>,
    /// How dissimilarities are measured, where the request sets it.
    #[schema(required)]
    distance: Option<Distance>,
    /// How matrices are compared.
    compare: Comparison,
    /// The system that the others are to explain.
    #[schema(required)]
    reference: Option<String>,
    /// When it was submitted.
    created_at: Timestamp,
    /// When it ended.
    #[schema(required)]
    finished_at: Option<Timestamp>,
}

/// A page of comparisons.
#[derive(Debug, Serialize, ToSchema)]
struct ComparisonPage {
    /// The comparisons, newest first.
    items: Vec<ListedComparison>,
    /// Where the next page starts; null after the last.
    next_cursor: Option<String>,
}

/// A comparison; what it found is empty until its job has succeeded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Comparison)]
struct ComparisonAnswer {
    /// Its id, also that of its job.
    id: JobId,
    /// The state of its job.
    status: JobStatus,
    /// What ended the job, where it failed.
    #[schema(value_type = Option<HashMap<String, Value>>, required)]
    error: Option<Value>,
    /// The request.
    request: CompareRequest,
    /// When it was submitted.
    created_at: Timestamp,
    /// When it ended.
    #[schema(required)]
    finished_at: Option<Timestamp>,
    #[serde(flatten)]
    found: Findings,
}

/// The same with its matrices, which are sent one by one.
#[derive(Serialize, ToSchema)]
#[schema(as = ComparisonWithRdms)]
struct WholeComparison {
    #[serde(flatten)]
    comparison: ComparisonAnswer,
    /// The matrices: of each system, the mean over its subjects, then of each subject.
    rdms: Vec<ListedRdm>,
}

/// Which comparisons.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listed {
    /// Entries of a page, at most 1,000; 100 when missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<JobId>, inline)]
    cursor: Option<String>,
}

/// What of a comparison.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Shown {
    /// Whether with the matrices; they are sent when missing.
    rdms: Option<bool>,
}

/// Comparisons, newest first.
#[utoipa::path(get, path = "/api/v1/comparisons", tag = "comparisons", security(("key" = ["read"])), params(Listed),
    responses((status = 200, body = ComparisonPage), (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_comparisons(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(listed): Query<Listed>,
) -> Answer<Json<ComparisonPage>> {
    let limit = page_limit(listed.limit)?;
    let cursor = page_cursor::<JobId>(listed.cursor.as_deref())?.map(|id| id.to_string());
    let filter = JobFilter { kind: Some(JobKind::Compare), ..JobFilter::default() };
    let page = api.store.jobs(&filter, limit, cursor.as_deref()).await?;
    let allowed = page.items.iter().filter(|job| job.models().all(|model| caller.allows_model(model)));
    let items = allowed.map(ListedComparison::new).collect::<Result<_>>()?;
    Ok(Json(ComparisonPage { items, next_cursor: page.next_cursor }))
}

/// Queues a comparison of representations; its id is that of the job.
#[utoipa::path(post, path = "/api/v1/comparisons", operation_id = "make_comparison", tag = "comparisons",
    security(("key" = ["train"])),
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$")), request_body = CompareRequest,
    responses((status = 202, body = Job), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "a model has no version", body = Problem, content_type = "application/problem+json")))]
async fn make_comparison(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<Response> {
    let request: CompareRequest = json(&body)?;
    caller.require_models(
        request.systems.iter().filter_map(|system| system.model.as_ref()).map(|model| model.as_str()),
    )?;
    let key = idempotency(&headers, &caller, &Method::POST, "/comparisons", &body)?;
    let (job, _) = api.queue.compare(request, key.as_ref()).await?;
    Ok(queued(&job))
}

/// A comparison: what it found, and its matrices.
#[utoipa::path(get, path = "/api/v1/comparisons/{id}", operation_id = "get_comparison", tag = "comparisons",
    security(("key" = ["read"])), params(("id" = inline(JobId), Path), Shown),
    responses((status = 200, body = WholeComparison), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_comparison(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Answer<Response> {
    let job = api.comparison(&caller, &id).await?;
    let (found, segments) = api.findings(&job).await?;
    let mut head = serde_json::to_string(&ComparisonAnswer::new(&job, found)?).map_err(Error::internal)?;
    head.pop();
    head.push_str(",\"rdms\":[");
    let last = if shown.rdms == Some(false) { 1 } else { segments.max(1) };
    let matrices = futures::stream::iter(1..last).then(move |segment| {
        let (store, id) = (api.store.clone(), job.id);
        async move {
            let bytes = store.output(id, segment).await?;
            Ok::<_, Error>(if segment == 1 { bytes } else { [&b","[..], &bytes].concat().into() })
        }
    });
    let ends = |text: String| futures::stream::iter([Ok(Bytes::from(text))]);
    let whole = ends(head).chain(matrices).chain(ends("]}".to_owned()));
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(whole)).into_response())
}

/// Removes a comparison that has ended.
#[utoipa::path(delete, path = "/api/v1/comparisons/{id}", operation_id = "delete_comparison", tag = "comparisons",
    security(("key" = ["train"])), params(("id" = inline(JobId), Path)), responses((status = 204),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "its job has not ended", body = Problem, content_type = "application/problem+json")))]
async fn delete_comparison(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let job = api.comparison(&caller, &id).await?;
    api.store.delete_comparison(job.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    /// The job of a comparison that the caller may read; 404 `comparison_not_found`.
    async fn comparison(&self, caller: &Caller, id: &str) -> Result<Job> {
        let missing = || Error::not_found("comparison_not_found", "there is no such comparison");
        let id = id.parse::<JobId>().map_err(|_| missing())?;
        let job =
            self.store.job(id).await.map_err(|error| if error.code == "job_not_found" { missing() } else { error })?;
        if job.kind != JobKind::Compare {
            return Err(missing());
        }
        caller.require_models(job.models())?;
        Ok(job)
    }

    /// What a comparison found, and how many segments its output has; nothing before it has succeeded.
    async fn findings(&self, job: &Job) -> Result<(Findings, u64)> {
        let Some(result) = job.result.as_ref().filter(|_| job.status == JobStatus::Succeeded) else {
            return Ok((Findings::default(), 0));
        };
        let found = serde_json::from_slice(&self.store.output(job.id, 0).await?).map_err(Error::internal)?;
        Ok((found, result["segments"].as_u64().unwrap_or(0)))
    }
}

fn request(job: &Job) -> Result<CompareRequest> {
    serde_json::from_value(job.spec.clone()).map_err(Error::internal)
}

impl ListedComparison {
    fn new(job: &Job) -> Result<Self> {
        let request = request(job)?;
        Ok(Self {
            id: job.id,
            status: job.status,
            systems: request.systems.into_iter().map(|system| system.name).collect(),
            distance: request.distance,
            compare: request.compare,
            reference: request.reference,
            created_at: job.created_at,
            finished_at: job.finished_at,
        })
    }
}

impl ComparisonAnswer {
    fn new(job: &Job, found: Findings) -> Result<Self> {
        Ok(Self {
            id: job.id,
            status: job.status,
            error: job.error.clone(),
            request: request(job)?,
            created_at: job.created_at,
            finished_at: job.finished_at,
            found,
        })
    }
}
