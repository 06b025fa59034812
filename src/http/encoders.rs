//! Pretrained encoders: added from an archive of their folder, listed, removed, and used to embed inputs.

use super::Api;
use super::error::{Answer, Problem};
use super::jobs::queued;
use super::models::idempotency;
use super::read::{Json, OnePage, Path, Query, Raw, body_error, json};
use super::schemas::Binary;
use crate::jobs::DistillRequest;
use crate::serving::encoders;
use crate::store::{Caller, EncoderName, Job, Page, StoredEncoder};
use crate::{Detail, Error, Result};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures::TryStreamExt;
use jiff::Timestamp;
use kenyon_learn::encoders::EncoderInfo;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Texts of one request.
const MAX_INPUTS: usize = 1024;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_encoders))
        .routes(routes!(get_encoder, put_encoder, delete_encoder))
        .routes(routes!(embed_inputs))
        .routes(routes!(distill_encoder))
}

/// An encoder.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Encoder)]
struct EncoderAnswer {
    /// Its name.
    name: EncoderName,
    #[serde(flatten)]
    about: EncoderInfo,
    /// Sentences a second, measured here when it was added.
    rows_per_second: f64,
    /// When it was added.
    created_at: Timestamp,
}

/// Encoders by name.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct EncoderPage {
    /// All of them.
    items: Vec<EncoderAnswer>,
    /// Always null: all encoders are listed.
    next_cursor: Option<String>,
}

/// Texts to encode.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "inputs": ["where is my card?"] })))]
struct EmbedRequest {
    /// The texts, 1024 at most.
    #[schema(min_items = 1, max_items = 1024)]
    inputs: Vec<String>,
}

/// The vectors of some texts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = EncoderEmbeddings)]
struct Embeddings {
    /// The encoder.
    encoder: EncoderName,
    /// Length of a vector.
    width: usize,
    /// A vector for each text, in their order.
    embeddings: Vec<Vec<f32>>,
}

/// All encoders.
#[utoipa::path(get, path = "/api/v1/encoders", tag = "encoders", security(("key" = ["read"])), params(OnePage),
    responses((status = 200, body = EncoderPage),
    (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_encoders(State(api): State<Api>, Query(page): Query<OnePage>) -> Answer<axum::Json<EncoderPage>> {
    page.check()?;
    let Page { items, next_cursor } = api.store.encoders().await?;
    let items = items.into_iter().map(shown).collect::<Result<_>>()?;
    Ok(axum::Json(EncoderPage { items, next_cursor }))
}

/// One encoder.
#[utoipa::path(get, path = "/api/v1/encoders/{name}", tag = "encoders", security(("key" = ["read"])),
    params(("name" = inline(EncoderName), Path)), responses((status = 200, body = EncoderAnswer),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_encoder(State(api): State<Api>, Path(name): Path<EncoderName>) -> Answer<axum::Json<EncoderAnswer>> {
    Ok(axum::Json(shown(api.store.encoder(&name).await?)?))
}

/// Adds an encoder from a tar or zip archive of its folder as published. The same folder again is no error.
#[utoipa::path(put, path = "/api/v1/encoders/{name}", operation_id = "put_encoder", tag = "encoders",
    security(("key" = ["train"])), params(("name" = inline(EncoderName), Path)),
    request_body(content((inline(Binary) = "application/x-tar"), (inline(Binary) = "application/zip"))),
    responses((status = 201, body = EncoderAnswer), (status = 200, description = "it is there", body = EncoderAnswer),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "another encoder has the name", body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "the folder is refused", body = Problem, content_type = "application/problem+json")))]
async fn put_encoder(
    State(api): State<Api>,
    Path(name): Path<EncoderName>,
    body: Body,
) -> Answer<(StatusCode, axum::Json<EncoderAnswer>)> {
    let stream = body.into_data_stream().map_err(|error| body_error(&error));
    // Removed again when it goes out of scope: the store keeps the files themselves.
    let archive = api.store.stage(stream, api.config.max_upload_bytes).await?;
    let path = archive.path().to_owned();
    let (stored, new) = encoders::add(&api.store, &name, path, api.config.job_threads()).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, axum::Json(shown(stored)?)))
}

/// Removes an encoder that no model uses.
#[utoipa::path(delete, path = "/api/v1/encoders/{name}", tag = "encoders", security(("key" = ["train"])),
    params(("name" = inline(EncoderName), Path)), responses((status = 204),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "a model uses it", body = Problem, content_type = "application/problem+json")))]
async fn delete_encoder(State(api): State<Api>, Path(name): Path<EncoderName>) -> Answer<StatusCode> {
    api.store.delete_encoder(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The vectors of some texts.
#[utoipa::path(post, path = "/api/v1/encoders/{name}/embed", operation_id = "embed_inputs", tag = "encoders",
    security(("key" = ["predict"])), params(("name" = inline(EncoderName), Path)), request_body = EmbedRequest,
    responses((status = 200, body = Embeddings),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "no texts, or too many", body = Problem, content_type = "application/problem+json")))]
async fn embed_inputs(
    State(api): State<Api>,
    Path(name): Path<EncoderName>,
    Json(request): Json<EmbedRequest>,
) -> Answer<axum::Json<Embeddings>> {
    if !(1..=MAX_INPUTS).contains(&request.inputs.len()) {
        let detail = format!("inputs: 1 to {MAX_INPUTS} texts");
        let error = Error::unprocessable("bad_inputs", detail.clone());
        return Err(error.with_details([Detail::path("inputs", detail)]).into());
    }
    let (width, vectors) = encoders::embed(&api.store, &name, request.inputs, api.config.job_threads()).await?;
    let embeddings = vectors.chunks_exact(width).map(<[f32]>::to_vec).collect();
    Ok(axum::Json(Embeddings { encoder: name, width, embeddings }))
}

/// Queues a job that makes a static encoder, one vector a token, from a transformer and the texts of a dataset.
///
/// It becomes an encoder like one that was added; the job's metrics state how near its vectors are to the transformer's.
#[utoipa::path(post, path = "/api/v1/encoders/{name}/distill", operation_id = "distill", tag = "encoders",
    security(("key" = ["train"])), params(("name" = inline(EncoderName), Path),
    ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$")), request_body = DistillRequest,
    responses((status = 202, body = Job), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "an encoder has the new name", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "no transformer, or no texts", body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json")))]
async fn distill_encoder(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<EncoderName>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<Response> {
    let request: DistillRequest = json(&body)?;
    let key = idempotency(&headers, &caller, &Method::POST, &format!("/encoders/{name}/distill"), &body)?;
    let (job, _) = api.queue.distill(&name, request, key.as_ref()).await?;
    Ok(queued(&job))
}

fn shown(stored: StoredEncoder) -> Result<EncoderAnswer> {
    let rows_per_second = stored.info["rows_per_second"].as_f64().unwrap_or_default();
    let about = serde_json::from_value(stored.info).map_err(Error::internal)?;
    Ok(EncoderAnswer { name: stored.name, about, rows_per_second, created_at: stored.created_at })
}
