//! The Open Inference Protocol over HTTP, with the binary tensor extension.

use super::codec;
use super::infer;
use super::outputs::{self, RequestedOutput};
use super::reader::{self, Data};
use super::schemas::{
    V2Error, V2IndexEntry, V2IndexRequest, V2InferAnswer, V2InferRequest, V2Live, V2Model, V2ModelParameters,
    V2ModelReady, V2Ready, V2Server, V2Statistics, V2VersionStatistics,
};
use super::tensor::{Tensor, Values};
use crate::http::Api;
use crate::http::context;
use crate::http::error::Answer;
use crate::http::read::Decoded;
use crate::http::schemas::Binary;
use crate::serving::{Caller, Timing, json, stats::Figures};
use crate::store::ModelName;
use crate::{Error, Result};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bytes of JSON before the raw tensors.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(v2_server))
        .routes(routes!(v2_live))
        .routes(routes!(v2_ready))
        .routes(routes!(v2_index))
        .routes(routes!(v2_all_stats))
        .routes(routes!(v2_model))
        .routes(routes!(v2_model_version))
        .routes(routes!(v2_model_ready))
        .routes(routes!(v2_model_version_ready))
        .routes(routes!(v2_stats))
        .routes(routes!(v2_version_stats))
        .routes(routes!(v2_infer))
        .routes(routes!(v2_infer_version))
}

/// Supported extensions of the protocol.
pub(super) const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "classification", "model_repository", "statistics"];

/// The server and its extensions.
#[utoipa::path(get, path = "/v2", tag = "inference", responses((status = 200, body = V2Server)))]
async fn v2_server() -> Json<V2Server> {
    Json(V2Server { name: "kenyon", version: env!("CARGO_PKG_VERSION"), extensions: EXTENSIONS })
}

/// Whether the server runs. Uses no other system, so that it answers at once whatever is unavailable.
#[utoipa::path(get, path = "/v2/health/live", tag = "health", responses((status = 200, body = V2Live)))]
async fn v2_live() -> Json<V2Live> {
    Json(V2Live { live: true })
}

/// Whether the server takes requests.
#[utoipa::path(get, path = "/v2/health/ready", tag = "health",
    responses((status = 200, body = V2Ready), (status = 503, body = V2Ready)))]
async fn v2_ready(State(api): State<Api>) -> Response {
    let ready = ready(&api).await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(V2Ready { live: true, ready })).into_response()
}

/// Whether the server takes requests.
pub(super) async fn ready(api: &Api) -> bool {
    !api.probe.draining() && api.store.ping().await.is_ok()
}

/// All models with their versions.
#[utoipa::path(post, path = "/v2/repository/index", tag = "inference", security(("key" = ["read"])),
    request_body(content = Option<V2IndexRequest>), responses((status = 200, body = Vec<V2IndexEntry>), (status = 400, body = V2Error)))]
async fn v2_index(State(api): State<Api>, Decoded(body): Decoded) -> Answer<Json<Vec<V2IndexEntry>>> {
    let filter: Option<V2IndexRequest> = match body.is_empty() {
        true => None,
        false => serde_json::from_slice(&body)
            .map_err(|e| Error::malformed("malformed_json", format!("the request cannot be read: {e}")))?,
    };
    let entries = index(&api, filter.unwrap_or_default().ready).await?.into_iter();
    let entry = |(name, version, state): (String, u64, &'static str)| V2IndexEntry {
        name,
        version: version.to_string(),
        state,
        reason: "",
    };
    Ok(Json(entries.map(entry).collect()))
}

/// Every version of every model with its state; a model without versions is left out.
pub(super) async fn index(api: &Api, only_ready: bool) -> Result<Vec<(String, u64, &'static str)>> {
    let mut out = Vec::new();
    let mut cursor = None;
    loop {
        let page = api.store.models(200, cursor.as_deref()).await?;
        for model in page.items {
            let served = [model.traffic.stable, model.traffic.canary.map(|c| c.version)];
            for version in api.store.versions(&model.name).await? {
                // Any version can be requested by number, so the others are only not in use.
                let ready = served.contains(&Some(version.version));
                if ready || !only_ready {
                    out.push((model.name.to_string(), version.version, if ready { "READY" } else { "UNAVAILABLE" }));
                }
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(out);
        }
    }
}

/// A model: its versions, inputs and outputs.
#[utoipa::path(get, path = "/v2/models/{model}", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path)), responses((status = 200, body = V2Model), (status = 404, body = V2Error)))]
async fn v2_model(State(api): State<Api>, Path(model): Path<String>) -> Answer<Json<V2Model>> {
    Ok(Json(metadata(&api, &model, None).await?.into_answer()))
}

/// A version: its inputs and outputs.
#[utoipa::path(get, path = "/v2/models/{model}/versions/{version}", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path), ("version" = String, Path)),
    responses((status = 200, body = V2Model), (status = 404, body = V2Error)))]
async fn v2_model_version(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
) -> Answer<Json<V2Model>> {
    Ok(Json(metadata(&api, &model, parse_version(&version)?).await?.into_answer()))
}

/// A model as its metadata describe it.
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) versions: Vec<String>,
    pub(super) platform: String,
    pub(super) inputs: Vec<codec::Described>,
    pub(super) outputs: Vec<codec::Described>,
    /// The classes in the order of `probabilities`; none for regression.
    pub(super) labels: Option<Vec<Value>>,
}

impl Metadata {
    fn into_answer(self) -> V2Model {
        let Self { name, versions, platform, inputs, outputs, labels } = self;
        let parameters = labels.map(|labels| V2ModelParameters { labels });
        V2Model { name, versions, platform, inputs, outputs, parameters }
    }
}

/// A model's metadata, from the version that is named or served.
pub(super) async fn metadata(api: &Api, model: &str, version: Option<u64>) -> Result<Metadata> {
    let routed = api.engine.choose(model, version, "").await?;
    let versions = match version {
        Some(version) => vec![version],
        None => api.store.versions(&model.parse::<ModelName>()?).await?.iter().rev().map(|v| v.version).collect(),
    };
    let bundle = routed.loaded.bundle();
    Ok(Metadata {
        name: model.to_owned(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: format!("kenyon_{}", bundle.config.family.name()),
        inputs: codec::inputs(&bundle.encoder),
        outputs: outputs::describe(&bundle),
        labels: Some(bundle.classes().to_vec()).filter(|classes| !classes.is_empty()),
    })
}

/// Whether a model can answer.
#[utoipa::path(get, path = "/v2/models/{model}/ready", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path)), responses((status = 200, body = V2ModelReady), (status = 404, body = V2Error), (status = 503, body = V2Error)))]
async fn v2_model_ready(State(api): State<Api>, Path(model): Path<String>) -> Answer<Json<V2ModelReady>> {
    api.engine.choose(&model, None, "").await?;
    Ok(Json(V2ModelReady { name: model, version: None, live: true, ready: true }))
}

/// Whether a version can answer.
#[utoipa::path(get, path = "/v2/models/{model}/versions/{version}/ready", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path), ("version" = String, Path)),
    responses((status = 200, body = V2ModelReady), (status = 404, body = V2Error), (status = 503, body = V2Error)))]
async fn v2_model_version_ready(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
) -> Answer<Json<V2ModelReady>> {
    api.engine.choose(&model, parse_version(&version)?, "").await?;
    Ok(Json(V2ModelReady { name: model, version: Some(version), live: true, ready: true }))
}

/// Counts and times of a model, by version.
#[utoipa::path(get, path = "/v2/models/{model}/stats", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path)), responses((status = 200, body = V2Statistics), (status = 404, body = V2Error)))]
async fn v2_stats(State(api): State<Api>, Path(model): Path<String>) -> Answer<Json<V2Statistics>> {
    Ok(Json(counted(&statistics(&api, &model, None).await?)))
}

/// Counts and times of a version.
#[utoipa::path(get, path = "/v2/models/{model}/versions/{version}/stats", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path), ("version" = String, Path)),
    responses((status = 200, body = V2Statistics), (status = 404, body = V2Error)))]
async fn v2_version_stats(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
) -> Answer<Json<V2Statistics>> {
    Ok(Json(counted(&statistics(&api, &model, parse_version(&version)?).await?)))
}

/// Counts and times of all models.
#[utoipa::path(get, path = "/v2/models/stats", tag = "inference", security(("key" = ["read"])),
    responses((status = 200, body = V2Statistics)))]
async fn v2_all_stats(State(api): State<Api>) -> Answer<Json<V2Statistics>> {
    Ok(Json(counted(&all_statistics(&api).await?)))
}

/// Figures of a version, with the names of model and version.
pub(super) type Statistics = Vec<(String, u64, Figures)>;

/// The statistics of a model, or of one version of it.
pub(super) async fn statistics(api: &Api, model: &str, version: Option<u64>) -> Result<Statistics> {
    let figures = api.engine.figures(model);
    let known: Vec<u64> = match version {
        Some(version) => vec![api.store.version(&model.parse()?, version).await?.version],
        None => api.store.versions(&model.parse()?).await?.iter().rev().map(|v| v.version).collect(),
    };
    let of = |version: u64| figures.iter().find(|(v, _)| *v == version).map(|(_, f)| *f).unwrap_or_default();
    Ok(known.into_iter().map(|version| (model.to_owned(), version, of(version))).collect())
}

/// The statistics of every model.
pub(super) async fn all_statistics(api: &Api) -> Result<Statistics> {
    let mut names: Vec<String> = index(api, false).await?.into_iter().map(|(name, ..)| name).collect();
    names.dedup();
    let mut all = Vec::new();
    for name in names {
        all.extend(statistics(api, &name, None).await?);
    }
    Ok(all)
}

fn counted(statistics: &Statistics) -> V2Statistics {
    let one = |(name, version, figures): &(String, u64, Figures)| V2VersionStatistics::new(name, *version, figures);
    V2Statistics { model_stats: statistics.iter().map(one).collect() }
}

/// Infers with the version that is served.
#[utoipa::path(post, path = "/v2/models/{model}/infer", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path), ("Inference-Header-Content-Length" = Option<u64>, Header, description = "Bytes of JSON before raw tensors.", minimum = 1)),
    request_body(content((V2InferRequest = "application/json"), (inline(Binary) = "application/octet-stream"))),
    responses((status = 200, content((V2InferAnswer = "application/json"), (inline(Binary) = "application/octet-stream"))), (status = 400, body = V2Error), (status = 404, body = V2Error), (status = 422, body = V2Error),
    (status = 429, body = V2Error), (status = 503, body = V2Error)))]
async fn v2_infer(
    State(api): State<Api>,
    Path(model): Path<String>,
    headers: HeaderMap,
    Decoded(body): Decoded,
) -> Answer<Response> {
    answer(&api, &model, None, &headers, &body).await
}

/// Infers with a version by number.
#[utoipa::path(post, path = "/v2/models/{model}/versions/{version}/infer", tag = "inference", security(("key" = ["predict"])),
    params(("model" = inline(ModelName), Path), ("version" = String, Path), ("Inference-Header-Content-Length" = Option<u64>, Header, description = "Bytes of JSON before raw tensors.", minimum = 1)),
    request_body(content((V2InferRequest = "application/json"), (inline(Binary) = "application/octet-stream"))),
    responses((status = 200, content((V2InferAnswer = "application/json"), (inline(Binary) = "application/octet-stream"))), (status = 400, body = V2Error), (status = 404, body = V2Error), (status = 422, body = V2Error),
    (status = 429, body = V2Error), (status = 503, body = V2Error)))]
async fn v2_infer_version(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    Decoded(body): Decoded,
) -> Answer<Response> {
    answer(&api, &model, parse_version(&version)?, &headers, &body).await
}

/// A version in a path or message; an empty one is the served version.
pub(super) fn parse_version(version: &str) -> Result<Option<u64>> {
    if version.is_empty() {
        return Ok(None);
    }
    let unknown = || Error::not_found("version_not_found", "versions are whole numbers");
    version.parse().map(Some).map_err(|_| unknown())
}

async fn answer(api: &Api, model: &str, version: Option<u64>, headers: &HeaderMap, body: &[u8]) -> Answer<Response> {
    let request_id = context::request_id();
    let caller = Caller { request_id: &request_id, deadline: None };
    let routed = api.engine.choose(model, version, &request_id).await?;
    let (text, raw) = split(headers, body)?;
    let parsed = reader::parse(text)?;
    let inputs = tensors(parsed.inputs, raw)?;
    let requested = |w: &reader::Wanted<'_>| RequestedOutput {
        name: w.name.to_string(),
        classes: w.classes,
        layer: w.layer.as_ref().map(ToString::to_string),
    };
    let requested = parsed.outputs.iter().map(requested).collect();
    let (answer, outputs) = infer::run(&api.engine, &routed, inputs, requested, caller).await?;
    let binary = |at: usize| parsed.outputs.get(at).and_then(|w| w.binary).unwrap_or(parsed.binary_output);
    let binary: Vec<bool> = (0..outputs.len()).map(binary).collect();
    let (version, timing) = (answer.loaded.version, answer.timing);
    if outputs.iter().map(|tensor| tensor.values.len()).sum::<usize>() <= infer::LARGE {
        return Ok(render(model, version, parsed.id.as_deref(), &outputs, &binary, timing));
    }
    let (model, id) = (model.to_owned(), parsed.id.map(Cow::into_owned));
    let work = move || render(&model, version, id.as_deref(), &outputs, &binary, timing);
    Ok(tokio::task::spawn_blocking(work).await.map_err(Error::internal)?)
}

/// The JSON and the raw tensors after it.
fn split<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
    let Some(length) = headers.get(HEADER_LENGTH) else { return Ok((body, &[])) };
    let bad = || Error::malformed("invalid_header", "Inference-Header-Content-Length does not fit the body");
    let length: usize = length.to_str().ok().and_then(|l| l.trim().parse().ok()).ok_or_else(bad)?;
    body.split_at_checked(length).ok_or_else(bad)
}

fn tensors(inputs: Vec<reader::Input<'_>>, mut raw: &[u8]) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::with_capacity(inputs.len());
    for input in inputs {
        let (values, missing) = match input.data {
            Data::Here(values) => (values, input.missing),
            Data::Binary(size) => {
                let cut = raw.split_at_checked(size);
                let (own, rest) = cut.ok_or_else(|| {
                    Error::malformed("invalid_tensor", "the raw tensors are shorter than the inputs require")
                })?;
                raw = rest;
                (Values::from_raw(input.datatype, own)?, Vec::new())
            }
        };
        tensors.push(Tensor::new(input.name.into_owned(), input.datatype, input.shape, values)?.without(missing));
    }
    if raw.is_empty() {
        return Ok(tensors);
    }
    Err(Error::malformed("invalid_tensor", "the raw tensors are longer than the inputs require"))
}

/// The response: JSON, followed by the outputs that are sent raw.
fn render(
    model: &str,
    version: u64,
    id: Option<&str>,
    outputs: &[Tensor],
    binary: &[bool],
    timing: Timing,
) -> Response {
    let raw_bytes: usize =
        outputs.iter().zip(binary).filter(|(_, b)| **b).map(|(o, _)| o.values.raw_len(o.datatype)).sum();
    let elements: usize = outputs.iter().map(|o| o.values.len()).sum();
    let mut out = Vec::with_capacity(256 + raw_bytes + elements * 14);
    json::raw(&mut out, "{\"model_name\":\"");
    json::raw(&mut out, model);
    json::raw(&mut out, "\",\"model_version\":\"");
    json::value(&mut out, &version);
    out.push(b'"');
    if let Some(id) = id {
        json::raw(&mut out, ",\"id\":");
        json::value(&mut out, id);
    }
    json::raw(&mut out, ",\"outputs\":");
    json::list(&mut out, outputs.iter().zip(binary), |out, (tensor, &binary)| {
        json::raw(out, "{\"name\":\"");
        json::raw(out, &tensor.name);
        json::raw(out, "\",\"datatype\":\"");
        json::raw(out, tensor.datatype.name());
        json::raw(out, "\",\"shape\":");
        json::value(out, &tensor.shape);
        if binary {
            json::raw(out, ",\"parameters\":{\"binary_data_size\":");
            json::value(out, &tensor.values.raw_len(tensor.datatype));
            out.push(b'}');
        } else {
            json::raw(out, ",\"data\":");
            write_values(out, &tensor.values);
        }
        out.push(b'}');
    });
    out.push(b'}');
    let header_length = out.len();
    let any_binary = binary.contains(&true);
    for (tensor, _) in outputs.iter().zip(binary).filter(|(_, binary)| **binary) {
        tensor.values.write_raw(tensor.datatype, &mut out);
    }
    let mut response = Response::new(out.into());
    let headers = response.headers_mut();
    let content_type = if any_binary { "application/octet-stream" } else { "application/json" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if any_binary {
        headers.insert(HEADER_LENGTH, HeaderValue::from(header_length));
    }
    for (name, time) in
        [("x-queue-time", timing.queue), ("x-inference-time", timing.compute), ("x-total-time", timing.total)]
    {
        headers.insert(HeaderName::from_static(name), seconds(time));
    }
    response
}

fn write_values(out: &mut Vec<u8>, values: &Values) {
    match values {
        Values::Bool(v) => json::value(out, v),
        Values::Int(v) => json::value(out, v),
        Values::Uint(v) => json::value(out, v),
        Values::F32(v) => json::value(out, v),
        Values::F64(v) => json::value(out, v),
        Values::Text(v) => json::value(out, v),
    }
}

/// Seconds with microseconds, as a header.
fn seconds(time: Duration) -> HeaderValue {
    let micros = time.as_micros();
    let mut text = *b"0000000000.000000";
    let mut rest = micros;
    for place in text.iter_mut().rev().filter(|b| **b != b'.') {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let start = text.iter().position(|&b| b != b'0').unwrap_or(0).min(9);
    HeaderValue::from_bytes(&text[start..]).unwrap_or_else(|_| HeaderValue::from_static("0"))
}
