//! Predict: rows of a JSON request at once, or a file of any length in, and lines out.

use super::Api;
use super::blocking::blocking;
use super::error::{Answer, Problem, described};
use super::read::{Path, Query, Raw, body_error, no_query};
use super::schemas::{Binary, PredictAnswer, PredictLine, PredictRequest};
use crate::jobs::Conditional;
use crate::serving::{self, LoadedVersion};
use crate::store::{ModelName, Staged};
use crate::{Error, Result};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use kenyon_learn::data::formats::{self, RowFile};
use kenyon_learn::learning::answers::{self, EmbeddingForm, LineFormat, LineOptions, LineSource};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const QUEUE_TIME: HeaderName = HeaderName::from_static("x-queue-time");
const INFERENCE_TIME: HeaderName = HeaderName::from_static("x-inference-time");
const TOTAL_TIME: HeaderName = HeaderName::from_static("x-total-time");

/// Portions of lines that wait for a slow reader.
const PARTS_WAITING: usize = 4;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(predict))
}

/// Options of the answer to a file; a JSON request has them in its body.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LineQuery {
    /// Share of the time that `set`, or `lower` and `upper`, contain the truth; 0.9 when missing.
    #[param(exclusive_minimum = 0.0, exclusive_maximum = 1.0)]
    coverage: Option<f64>,
    /// Whether `set` may be empty; by default the likeliest class is always included.
    allow_empty: Option<bool>,
    /// `class` for sets with that coverage among the rows of each class.
    #[param(value_type = Option<Conditional>, inline)]
    conditional: Option<String>,
    /// Novelty above which the verdict on a row is `unfamiliar`; 0.99 by default.
    #[param(minimum = 0.0, maximum = 1.0)]
    novelty_level: Option<f32>,
    /// Classes listed with their probabilities; none when missing.
    #[param(minimum = 1, maximum = 1_000_000)]
    top_k: Option<usize>,
    /// Whether each answer is explained, which takes a few milliseconds a row.
    explain: Option<bool>,
    /// Adds the activity of a layer to each line (see `POST …/embed`): `dense`, or `sparse`.
    #[param(inline)]
    embedding: Option<EmbeddingForm>,
    /// The layer of that activity; the last before the readout when missing.
    layer: Option<String>,
    /// A version by number.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    version: Option<u64>,
}

/// Predicts rows.
///
/// A body of CSV, NDJSON or Parquet may have any length. The answer is line by line, as NDJSON or, where `Accept`
/// prefers `text/csv`, as CSV; a row that does not fit has a line with the reason, in its place, and the others are predicted.
/// Options of such an answer are in the query; those of a JSON request are in its body, and a query is refused there.
#[utoipa::path(post, path = "/api/v1/models/{name}/predict", operation_id = "predict", tag = "models",
    security(("key" = ["predict"])), params(("name" = inline(ModelName), Path), LineQuery),
    request_body(content((PredictRequest = "application/json"), (String = "text/csv"), (String = "application/x-ndjson"),
        (inline(Binary) = "application/vnd.apache.parquet"))),
    responses((status = 200, content((PredictAnswer = "application/json"), (PredictLine = "application/x-ndjson"),
        (String = "text/csv"))),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "rows do not fit", body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "no version is ready", body = Problem, content_type = "application/problem+json"),
    (status = 504, body = Problem, content_type = "application/problem+json")))]
async fn predict(State(api): State<Api>, Path(name): Path<ModelName>, request: Request) -> Answer<Response> {
    if is_file(request.headers()) {
        return answer_file(api, name, request).await;
    }
    no_query(request.uri(), "a JSON request has its options in the body; only files have them in the query")?;
    let Raw(body) = Raw::from_request(request, &()).await?;
    let id = super::context::request_id();
    let caller = serving::Caller { request_id: &id, deadline: None };
    let reply = api.engine.predict_json(name.as_str(), &body, caller).await?;
    let timing = reply.timing;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (QUEUE_TIME, seconds(timing.queue)),
        (INFERENCE_TIME, seconds(timing.compute)),
        (TOTAL_TIME, seconds(timing.total)),
    ];
    Ok((headers, reply.body).into_response())
}

fn seconds(duration: Duration) -> HeaderValue {
    let text = format!("{:.6}", duration.as_secs_f64());
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}

/// Whether the body is a file of rows, by its type.
pub(crate) fn is_file(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    if kind.as_bytes().starts_with(b"application/json") {
        return false;
    }
    let format = kind.to_str().ok().and_then(|kind| formats::Format::from_content_type(kind).ok());
    format.flatten().is_some_and(|format| format != formats::Format::Json)
}

/// Stores the body first: a reader of the answer that is slow must not hold up a sender that waits for it, and
/// Parquet is read from its end.
async fn answer_file(api: Api, name: ModelName, request: Request) -> Answer<Response> {
    let (mut head, body) = request.into_parts();
    let Query(query) = Query::<LineQuery>::from_request_parts(&mut head, &()).await?;
    let options = query.options(&head.headers)?;
    let (kind, encoding) = (text(&head.headers, header::CONTENT_TYPE), text(&head.headers, header::CONTENT_ENCODING));
    let id = super::context::request_id();
    let chosen = api.engine.choose(name.as_str(), query.version, &id).await?;
    let body = body.into_data_stream().map_err(|error| body_error(&error));
    let staged = api.store.stage(body, api.config.max_upload_bytes).await?;
    let path = staged.path().to_owned();
    let part = blocking(move || formats::detect(&path, kind.as_deref(), encoding.as_deref())).await?;
    let permit = api.files_answered.clone().acquire_owned().await.map_err(Error::internal)?;
    let format = options.format;
    let work =
        FileWork { loaded: chosen.loaded, part, options, limits: api.file_limits(), _staged: staged, _permit: permit };
    let (sender, mut receiver) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || work.run(&sender));
    // A failure before the first line still has a status of its own.
    let first = receiver.recv().await.ok_or_else(|| Error::unprocessable("no_rows", "the file holds no rows"))??;
    let rest = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let lines = futures::stream::iter([Ok(first)]).chain(rest).map(move |part| ended(part, format, &id));
    let kind = match format {
        LineFormat::Ndjson => "application/x-ndjson",
        LineFormat::Csv => "text/csv; charset=utf-8",
    };
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response())
}

/// A failure behind the first line: a last line has the error, or a CSV answer ends early, which its reader detects.
fn ended(part: Result<Bytes>, format: LineFormat, id: &str) -> std::result::Result<Bytes, std::io::Error> {
    part.or_else(|error| {
        let problem = described(error, id);
        match format {
            LineFormat::Ndjson => Ok(Bytes::from(format!("{problem}\n"))),
            LineFormat::Csv => Err(std::io::Error::other(problem["detail"].to_string())),
        }
    })
}

/// A file to answer, with what must stay until that is done.
struct FileWork {
    loaded: Arc<LoadedVersion>,
    part: RowFile,
    options: LineOptions,
    limits: formats::Limits,
    _staged: Staged,
    _permit: OwnedSemaphorePermit,
}

impl FileWork {
    fn run(self, sender: &mpsc::Sender<Result<Bytes>>) {
        let bundle = self.loaded.bundle();
        let (part, limits) = (&self.part, self.limits);
        let source = LineSource {
            part,
            reader: bundle.reader(),
            columns: None,
            skip: 0,
            first: 0,
            header: true,
            limits,
            threads: 1,
        };
        let outcome = answers::answer_file(&bundle, &source, &self.options, &mut |lines| {
            // The client has disconnected: there is nothing more to do.
            Ok(sender.blocking_send(Ok(lines.bytes.into())).is_ok())
        });
        if let Err(error) = outcome {
            let _ = sender.blocking_send(Err(error.into()));
        }
    }
}

impl LineQuery {
    fn options(&self, headers: &HeaderMap) -> Result<LineOptions> {
        let accept = text(headers, header::ACCEPT).unwrap_or_default();
        let place = |kind: &str| accept.find(kind).unwrap_or(usize::MAX);
        let csv = place("text/csv") < place("ndjson").min(place("json"));
        let options = LineOptions {
            format: if csv { LineFormat::Csv } else { LineFormat::Ndjson },
            coverage: self.coverage,
            allow_empty: self.allow_empty.unwrap_or_default(),
            conditional: self.conditional.clone(),
            novelty_level: self.novelty_level,
            top_k: self.top_k,
            explain: self.explain.unwrap_or_default(),
            embedding: self.embedding,
            layer: self.layer.clone(),
        };
        options.check()?;
        Ok(options)
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
