//! Models that learn while they serve: observe, feedback, memory, forgetting, stream metrics.

use super::Api;
use super::body::Bounded;
use super::error::{Answer, Failure, Problem};
use super::models::idempotency;
use super::read::{BodyLimit, Json, Path, Query, Raw, body_error, json, page_limit};
use super::schemas::{
    ForgetAnswer, ForgetRequest, Label, MemoryAnswer, ObserveAnswer, ObserveLine, ObserveRequest, StreamAnswer,
};
use crate::serving::{Forgetting, MemoryPage, Sender};
use crate::store::{Begun, Caller, ModelName, Scope};
use crate::{Detail, Error, Kind, Result};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Portions of an answer in lines that wait for a slow reader.
const PARTS_WAITING: usize = 4;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(observe))
        .routes(routes!(feedback))
        .routes(routes!(memory))
        .routes(routes!(forget_entry))
        .routes(routes!(forget))
        .routes(routes!(stream))
}

/// Learns from labelled rows now: JSON (`{"rows":[…]}`), or `application/x-ndjson` of any length.
#[utoipa::path(post, path = "/api/v1/models/{name}/observe", operation_id = "observe", tag = "models",
    security(("key" = ["observe"])), params(("name" = inline(ModelName), Path),
    ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$")),
    request_body(content((ObserveRequest = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, content((ObserveAnswer = "application/json"), (ObserveLine = "application/x-ndjson"))),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "rows do not fit", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "no version is ready", body = Problem, content_type = "application/problem+json")))]
async fn observe(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<ModelName>,
    request: Request,
) -> Answer<Response> {
    let (headers, path) = (request.headers().clone(), format!("/models/{name}/observe"));
    if is_lines(&headers)? {
        let key = idempotency(&headers, &caller, &Method::POST, &path, b"")?;
        let from = Sender { key, source: caller.id().to_owned() };
        return in_lines(api, name, &headers, request.into_body(), from).await;
    }
    let bytes = api.small_body(request).await?;
    let key = idempotency(&headers, &caller, &Method::POST, &path, &bytes)?;
    let rows = json::<Rows>(&bytes)?.rows;
    let from = Sender { key, source: caller.id().to_owned() };
    Ok(axum::Json(api.streams.observe(&name, rows.get().as_bytes(), from).await?).into_response())
}

/// Learns lines as they arrive, and reports progress where requested.
async fn in_lines(api: Api, name: ModelName, headers: &HeaderMap, body: Body, from: Sender) -> Answer<Response> {
    let body = Box::pin(body.into_data_stream().map_err(|error| body_error(&error)));
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !accept.contains("ndjson") {
        let answer = api.streams.observe_lines(&name, body, from, |_| Box::pin(std::future::ready(Ok(())))).await?;
        return Ok(axum::Json(answer).into_response());
    }
    let (sender, mut receiver) = mpsc::channel::<Result<Value>>(PARTS_WAITING);
    let id = super::context::request_id();
    tokio::spawn(async move {
        let parts = sender.clone();
        let send = move |value: &Value| -> BoxFuture<'static, Result<()>> {
            let (parts, value) = (parts.clone(), value.clone());
            let gone = |_| Error::new(Kind::Canceled, "client_gone", "the client has disconnected");
            Box::pin(async move { parts.send(Ok(value)).await.map_err(gone) })
        };
        let last = api.streams.observe_lines(&name, body, from, send).await;
        // A disconnected client needs no answer.
        let _ = sender.send(last).await;
    });
    // A failure before the first line of the answer still has a status of its own.
    let first = receiver.recv().await.ok_or_else(|| Error::internal("the observation ended without an answer"))??;
    let rest = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let lines = futures::stream::iter([Ok(first)]).chain(rest).map(move |part| {
        let value = part.unwrap_or_else(|error| super::error::described(error, &id));
        Ok::<_, std::convert::Infallible>(Bytes::from(format!("{value}\n")))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    rows: Box<RawValue>,
}

/// The label of an earlier prediction.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedbackRequest, examples(json!({ "prediction_id": "019401f0a3c47a1e8b2c000000000001", "target": "setosa" })))]
struct Feedback {
    /// The id from the answer of `predict`.
    prediction_id: String,
    /// The true label.
    #[schema(value_type = Label)]
    target: Value,
}

/// Learns the late label of a prediction.
#[utoipa::path(post, path = "/api/v1/models/{name}/feedback", operation_id = "feedback", tag = "models",
    security(("key" = ["observe"])), params(("name" = inline(ModelName), Path),
    ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$")), request_body = Feedback,
    responses((status = 200, body = ObserveAnswer),
    (status = 404, description = "the prediction is not known any more", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn feedback(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<ModelName>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<axum::Json<Value>> {
    let feedback: Feedback = json(&body)?;
    let key = idempotency(&headers, &caller, &Method::POST, &format!("/models/{name}/feedback"), &body)?;
    // On a task of its own: it is not cut short between learning and keeping the answer when the client goes.
    let from = Sender { key, source: caller.id().to_owned() };
    let learned = tokio::spawn(async move { api.feedback(&name, &feedback, from).await });
    Ok(axum::Json(learned.await.map_err(Error::internal)??))
}

/// A page of a memory.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MemoryQuery {
    /// Entries of a page, at most 1,000; 100 when missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    cursor: Option<String>,
    /// Only entries of this class.
    label: Option<String>,
}

/// Entries of the memory, oldest first.
#[utoipa::path(get, path = "/api/v1/models/{name}/memory", operation_id = "memory", tag = "models",
    security(("key" = ["read"])), params(("name" = inline(ModelName), Path), MemoryQuery), responses((status = 200, body = MemoryAnswer),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn memory(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Query(query): Query<MemoryQuery>,
) -> Answer<axum::Json<Value>> {
    let after = query.cursor.as_deref().map(|c| {
        c.parse().map_err(|_| {
            Error::malformed("invalid_cursor", "that cursor was not given by this list")
                .with_details([Detail::path("cursor", "was not given by this list")])
        })
    });
    let page = MemoryPage { limit: page_limit(query.limit)?, after: after.transpose()?, label: query.label };
    Ok(axum::Json(api.streams.memory(&name, &page).await?))
}

/// Forgets one entry.
#[utoipa::path(delete, path = "/api/v1/models/{name}/memory/{id}", operation_id = "forget_entry", tag = "models",
    security(("key" = ["observe"])), params(("name" = inline(ModelName), Path), ("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn forget_entry(State(api): State<Api>, Path((name, id)): Path<(ModelName, String)>) -> Answer<StatusCode> {
    let missing = || Error::not_found("entry_not_found", "the memory has no entry with this id");
    api.streams.forget(&name, Forgetting::Entry(id.parse().map_err(|_| missing())?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The rows to forget: exactly one of the two fields of [`ForgetRequest`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    #[serde(rename = "where", default)]
    filter: Option<Map<String, Value>>,
    #[serde(default)]
    by_key: Option<String>,
}

/// Forgets every row that matches, or that was learned from a key.
///
/// The rows leave the log and the memory at once. The next consolidation, which is queued within a minute, computes the
/// model's state again from the log without them: it is then that of a model that never received them. `statement` states
/// this in words, and what is not covered.
#[utoipa::path(post, path = "/api/v1/models/{name}/forget", operation_id = "forget", tag = "models",
    security(("key" = ["observe"])), params(("name" = inline(ModelName), Path)), request_body = ForgetRequest,
    responses((status = 200, body = ForgetAnswer), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "the model has no such column", body = Problem, content_type = "application/problem+json")))]
async fn forget(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<ModelName>,
    Json(forget): Json<Forget>,
) -> Answer<axum::Json<Value>> {
    let what = forget.what()?;
    if let Forgetting::Key(key) = &what
        && key != caller.id()
    {
        caller.require(Scope::Admin)?;
    }
    Ok(axum::Json(api.streams.forget(&name, what).await?))
}

impl Forget {
    fn what(self) -> Result<Forgetting> {
        match (self.filter, self.by_key) {
            (Some(filter), None) => Ok(Forgetting::Where(filter)),
            (None, Some(key)) => Ok(Forgetting::Key(key)),
            _ => Err(Error::malformed("empty_filter", "name the rows by either `where` or `by_key`")
                .with_details([Detail::path("where", "is needed where `by_key` is missing, and not beside it")])),
        }
    }
}

/// Prequential figures, drift, consolidations.
#[utoipa::path(get, path = "/api/v1/models/{name}/stream", operation_id = "stream", tag = "models",
    security(("key" = ["read"])), params(("name" = inline(ModelName), Path)), responses((status = 200, body = StreamAnswer),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn stream(State(api): State<Api>, Path(name): Path<ModelName>) -> Answer<axum::Json<Value>> {
    Ok(axum::Json(api.streams.stream(&name).await?))
}

/// Whether the body is lines of JSON.
fn is_lines(headers: &HeaderMap) -> Result<bool> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let lines = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
    let ndjson = lines.iter().any(|l| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(l));
    let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|e| e.as_bytes() != b"identity");
    if ndjson && encoded {
        let detail = "lines of JSON are learned as they arrive, and are taken as they are";
        return Err(Error::new(Kind::Unsupported, "unsupported_encoding", detail));
    }
    Ok(ndjson)
}

impl Api {
    /// Learns a late label; a key that was answered before gets the same answer.
    async fn feedback(&self, name: &ModelName, feedback: &Feedback, from: Sender) -> Result<Value> {
        let learn = || self.streams.feedback(name, &feedback.prediction_id, &feedback.target, &from.source);
        let Some(key) = from.key.clone() else { return learn().await };
        if let Begun::Replay(answer) = self.store.begin_idempotent(&key).await? {
            return serde_json::from_slice(&answer.body).map_err(Error::internal);
        }
        match learn().await {
            Ok(value) => {
                self.store.finish_idempotent(&key, 200, value.to_string().into_bytes()).await?;
                Ok(value)
            }
            Err(error) => {
                self.store.abandon_idempotent(&key).await?;
                Err(error)
            }
        }
    }

    /// The body of a route without a limit, where it must fit in memory.
    async fn small_body(&self, request: Request) -> std::result::Result<Bytes, Failure> {
        let limit = self.config.max_body_bytes;
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(BodyLimit(limit));
        let body = Body::new(Bounded::new(body, limit, self.config.client_timeout()));
        let Raw(bytes) = Raw::from_request(Request::from_parts(parts, body), &()).await?;
        Ok(bytes)
    }
}
