//! Jobs: waiting, running and ended; their events as a stream.

use super::Api;
use super::error::{Answer, Problem};
use super::read::{Path, Query, page_cursor, page_limit};
use crate::jobs::follow;
use crate::store::{Caller, Job, JobEvent, JobFilter, JobId, JobKind, JobStatus, ModelName};
use crate::{Detail, Error, Result};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_jobs))
        .routes(routes!(get_job))
        .routes(routes!(cancel_job))
        .routes(routes!(retry_job))
        .routes(routes!(job_events))
        .routes(routes!(job_metrics))
}

/// Which jobs.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only these.
    #[param(value_type = Option<JobStatus>, inline)]
    status: Option<String>,
    /// Of this model.
    #[param(inline)]
    model: Option<ModelName>,
    /// Only of this kind.
    #[param(value_type = Option<JobKind>, inline)]
    kind: Option<String>,
    /// Entries of a page, at most 1,000; 100 when missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<JobId>, inline)]
    cursor: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
struct JobPage {
    /// The jobs, newest first; `result` has only numbers and words, `warnings` have no examples.
    items: Vec<Job>,
    /// Where the next page starts; null after the last.
    next_cursor: Option<String>,
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", security(("key" = ["read"])), params(Wanted),
    responses((status = 200, body = JobPage), (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_jobs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Answer<Json<JobPage>> {
    let limit = page_limit(wanted.limit)?;
    let cursor = page_cursor::<JobId>(wanted.cursor.as_deref())?.map(|id| id.to_string());
    let (status, kind) = (word("status", wanted.status.as_deref())?, word("kind", wanted.kind.as_deref())?);
    let filter = JobFilter { status, model: wanted.model, kind };
    let mut page = api.store.jobs(&filter, limit, cursor.as_deref()).await?;
    page.items.retain(|job| job.models().all(|model| caller.allows_model(model)));
    page.items.iter_mut().for_each(reduce);
    Ok(Json(JobPage { items: page.items, next_cursor: page.next_cursor }))
}

/// Makes of a job its form in lists: only the plain values of its result, and warnings without examples.
fn reduce(job: &mut Job) {
    if let Some(Value::Object(result)) = &mut job.result {
        result.retain(|_, value| !value.is_array() && !value.is_object());
    }
    for examples in job.warnings.iter_mut().filter_map(|warning| warning.get_mut("examples")) {
        *examples = json!([]);
    }
}

/// A word of the query, whose error names the known ones.
fn word<T: FromStr<Err = Error>>(name: &str, text: Option<&str>) -> Result<Option<T>> {
    let located = |error: Error| {
        let reason = error.detail.clone();
        error.with_details([Detail::path(name, reason)])
    };
    text.map(|text| text.parse().map_err(located)).transpose()
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", security(("key" = ["read"])), params(("id" = inline(JobId), Path)),
    responses((status = 200, body = Job), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_job(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Json<Job>> {
    Ok(Json(api.job(&caller, &id).await?))
}

/// Ends a waiting job at once, a running one within a second. One that has ended stays as it is.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", security(("key" = ["train"])),
    params(("id" = inline(JobId), Path)), responses((status = 200, body = Job),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn cancel_job(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Json<Job>> {
    let job = api.job(&caller, &id).await?;
    Ok(Json(api.store.cancel_job(job.id).await?))
}

/// Queues a failed or cancelled job again.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", security(("key" = ["train"])),
    params(("id" = inline(JobId), Path)), responses((status = 202, body = Job),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json")))]
async fn retry_job(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Response> {
    let job = api.job(&caller, &id).await?;
    Ok(queued(&api.store.retry_job(job.id).await?))
}

/// The job's events, as server-sent events, until it has ended.
///
/// Events are `status`, `progress`, `metric` and `log`. `Last-Event-ID` resumes after an event; when
/// the job has ended and nothing is left, the answer is 204, after which a browser does not reconnect.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", operation_id = "job_events", tag = "jobs",
    security(("key" = ["read"])), params(("id" = inline(JobId), Path), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 204),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn job_events(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let job = api.job(&caller, &id).await?;
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse().ok());
    if last.is_some() && job.status.is_final() && api.store.job_events(job.id, last.unwrap_or(0), 1).await?.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = follow(api.store.clone(), job.id, last.unwrap_or(0));
    // An event that cannot be read ends the stream; the client reconnects for it.
    let events =
        events.take_while(|event| futures::future::ready(event.is_ok())).map(|event| event.and_then(|e| sent(&e)));
    let events = events.take_until(api.stop.clone().cancelled_owned());
    let alive = KeepAlive::new().interval(Duration::from_secs(10));
    let streamed = Sse::new(events.map(|event| event.map_err(|e| e.detail))).keep_alive(alive);
    Ok(([("x-accel-buffering", "no")], streamed).into_response())
}

/// The curves of a job.
#[derive(Debug, Serialize, ToSchema)]
struct JobCurves {
    /// Points in the order of their steps.
    #[schema(value_type = Vec<CurvePoint>)]
    points: Vec<Value>,
}

/// A point of a job's curves: what was measured at a step.
#[derive(Serialize, ToSchema)]
struct CurvePoint {
    /// Passes that had ended.
    epoch: u64,
    /// Mini-batches that had.
    step: u64,
    /// The figures by name.
    #[serde(flatten)]
    figures: HashMap<String, Option<f64>>,
}

/// The curves so far.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/metrics", tag = "jobs", security(("key" = ["read"])),
    params(("id" = inline(JobId), Path)), responses((status = 200, body = JobCurves),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn job_metrics(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Json<JobCurves>> {
    let job = api.job(&caller, &id).await?;
    Ok(Json(JobCurves { points: api.store.job_curve(job.id).await? }))
}

fn sent(event: &JobEvent) -> Result<Event> {
    let mut data = event.data.clone();
    if let Some(object) = data.as_object_mut() {
        object.entry("at").or_insert_with(|| json!(event.at));
    }
    let text = serde_json::to_string(&data).map_err(Error::internal)?;
    Ok(Event::default().id(event.id.to_string()).event(&event.kind).data(text))
}

/// 202 with the job and where it is.
pub(crate) fn queued(job: &Job) -> Response {
    let location = [(header::LOCATION, format!("/api/v1/jobs/{}", job.id))];
    (StatusCode::ACCEPTED, location, Json(job)).into_response()
}

impl Api {
    /// The job, if the caller may read it.
    async fn job(&self, caller: &Caller, id: &str) -> Result<Job> {
        let job = self.store.job(id.parse::<JobId>()?).await?;
        caller.require_models(job.models())?;
        Ok(job)
    }
}
