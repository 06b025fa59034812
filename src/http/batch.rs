//! Whole datasets answered by a job, and the file that comes of it.

use super::Api;
use super::error::{Answer, Problem};
use super::jobs::queued;
use super::models::idempotency;
use super::read::{Path, Raw, json};
use super::schemas::Binary;
use crate::jobs::BatchRequest;
use crate::store::{Caller, Job, JobId, JobKind, JobStatus, ModelName};
use crate::{Error, Kind};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(predict_batch)).routes(routes!(job_output))
}

/// Queues a job that answers a whole dataset.
///
/// Its output, `GET /api/v1/jobs/{id}/output`, has the columns of the dataset and those of an answer in lines; a name
/// that the dataset has already gets an underscore.
#[utoipa::path(post, path = "/api/v1/models/{name}/predict/batch", operation_id = "predict_batch", tag = "models",
    security(("key" = ["predict"])), params(("name" = inline(ModelName), Path),
    ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$")), request_body = BatchRequest,
    responses((status = 202, body = Job), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "no version is ready", body = Problem, content_type = "application/problem+json")))]
async fn predict_batch(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<ModelName>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<Response> {
    let request: BatchRequest = json(&body)?;
    let key = idempotency(&headers, &caller, &Method::POST, &format!("/models/{name}/predict/batch"), &body)?;
    let (job, _) = api.queue.predict(&name, request, key.as_ref()).await?;
    Ok(queued(&job))
}

/// The file that a job of the kind `predict` wrote.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/output", operation_id = "job_output", tag = "jobs",
    security(("key" = ["read"])), params(("id" = inline(JobId), Path)),
    responses((status = 200, description = "the file", content((String = "text/csv"), (String = "application/x-ndjson"),
    (inline(Binary) = "application/vnd.apache.parquet"))),
    (status = 404, description = "the job has no output, or none any more", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "the job has not succeeded", body = Problem, content_type = "application/problem+json")))]
async fn job_output(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Response> {
    let job = api.store.job(id.parse::<JobId>()?).await?;
    caller.require_models(job.models())?;
    if job.kind != JobKind::Predict {
        return Err(Error::not_found("output_not_found", "only jobs of the kind predict have an output").into());
    }
    let result = match (job.status, &job.result) {
        (JobStatus::Succeeded, Some(result)) => result,
        _ => return Err(Error::new(Kind::Conflict, "output_not_ready", "the job has not succeeded").into()),
    };
    let from = result["first_segment"].as_u64().unwrap_or(0);
    let segments = result["segments"].as_u64().unwrap_or(0);
    let kind = match result["format"].as_str() {
        Some("csv") => "text/csv; charset=utf-8",
        Some("parquet") => "application/vnd.apache.parquet",
        _ => "application/x-ndjson",
    };
    // The first is read before the status is sent: what is not there is 404.
    let first = if segments > from { Some(api.store.output(job.id, from).await?) } else { None };
    let rest = futures::stream::iter(from + 1..segments).then(move |segment| {
        let store = api.store.clone();
        async move { store.output(job.id, segment).await }
    });
    let whole = futures::stream::iter(first.map(Ok)).chain(rest);
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(whole)).into_response())
}
