//! The Open Inference Protocol over gRPC, with health and reflection.

use super::codec::Described;
use super::infer;
use super::outputs::RequestedOutput;
use super::proto::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::proto::model_infer_response::InferOutputTensor;
use super::proto::model_metadata_response::TensorMetadata;
use super::proto::repository_index_response::ModelIndex;
use super::proto::{
    DESCRIPTORS, InferParameter, InferStatistics, InferTensorContents, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ModelStatistics,
    ModelStatisticsRequest, ModelStatisticsResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse, StatisticDuration,
};
use super::rest::{EXTENSIONS, all_statistics, index, metadata, parse_version, ready, statistics};
use super::tensor::{Datatype, Tensor, Values};
use crate::http::Api;
use crate::serving::Caller;
use crate::store::Scope;
use crate::telemetry::traces::{self, Protocol};
use crate::{Error, Kind, Result};
use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// The services, as a router for any HTTP/2 connection.
pub(crate) fn router(api: Api) -> Result<axum::Router> {
    let limit = usize::try_from(api.config.max_body_bytes).unwrap_or(usize::MAX);
    let inference = GrpcInferenceServiceServer::new(Service { api })
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move { reporter.set_serving::<GrpcInferenceServiceServer<Service>>().await });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().map_err(Error::internal)?;
    let v1alpha = reflection().build_v1alpha().map_err(Error::internal)?;
    let routes = tonic::service::Routes::new(inference).add_service(health).add_service(v1).add_service(v1alpha);
    Ok(routes.prepare().into_axum_router().layer(axum::middleware::from_fn(traced)))
}

/// Records a span of each call, a child of the caller's, as for requests over HTTP.
async fn traced(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    let (begun, path) = (SystemTime::now(), request.uri().path().to_owned());
    let parent = request.headers().get("traceparent").and_then(|v| v.to_str().ok()).and_then(traces::parent);
    let response = next.run(request).await;
    // A call that succeeds has its status behind its answer.
    let status = response.headers().get("grpc-status").and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(0);
    // A path that no service has is the caller's text, and no route.
    let route = if status == Code::Unimplemented as u16 { "unknown" } else { path.trim_start_matches('/') };
    traces::record(traces::Answered { protocol: Protocol::Grpc, route, status, begun, parent });
    response
}

#[derive(Clone, Debug)]
struct Service {
    api: Api,
}

/// The only table from errors to gRPC.
fn code(kind: Kind) -> Code {
    match kind {
        Kind::Malformed | Kind::TooLarge | Kind::Unsupported | Kind::Unprocessable => Code::InvalidArgument,
        Kind::Unauthorized => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Overloaded | Kind::DiskFull => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Deadline => Code::DeadlineExceeded,
        Kind::Canceled => Code::Cancelled,
        Kind::Internal => Code::Internal,
    }
}

fn status(error: Error) -> Status {
    if error.kind == Kind::Internal {
        let cause = error.cause.as_deref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(code = error.code, cause, "a request failed with an internal error");
    }
    let mut detail = error.detail;
    if let Some(first) = error.details.first() {
        detail = format!("{detail}: {}", first.reason);
    }
    let mut status = Status::new(code(error.kind), detail);
    if let Some(seconds) = error.retry_after {
        status.metadata_mut().insert("retry-after", seconds.into());
    }
    status
}

impl Service {
    /// Checks the caller's key for a scope.
    async fn allow(&self, metadata: &MetadataMap, scope: Scope, model: Option<&str>) -> Result<()> {
        let caller = self.api.access.caller(secret(metadata)?).await?;
        caller.require(scope)?;
        model.map_or(Ok(()), |model| caller.require_model(model))
    }

    async fn infer(&self, request: Request<ModelInferRequest>) -> Result<ModelInferResponse> {
        let deadline = deadline(request.metadata());
        let request_id = request.metadata().get("x-request-id").and_then(|v| v.to_str().ok()).map(str::to_owned);
        self.allow(request.metadata(), Scope::Predict, Some(&request.get_ref().model_name)).await?;
        let request = request.into_inner();
        let request_id = request_id.unwrap_or_else(|| request.id.clone());
        let version = parse_version(&request.model_version)?;
        // Without an id of its own, a request gets a random side of a canary split.
        let drawn = if request_id.is_empty() { uuid::Uuid::new_v4().to_string() } else { request_id };
        let routed = self.api.engine.choose(&request.model_name, version, &drawn).await?;
        let raw = !request.raw_input_contents.is_empty();
        let inputs = tensors(request.inputs, &request.raw_input_contents)?;
        let requested = |output: InferRequestedOutputTensor| RequestedOutput {
            classes: classes(&output.parameters),
            layer: layer(&output.parameters),
            name: output.name,
        };
        let requested = request.outputs.into_iter().map(requested).collect();
        let caller = Caller { request_id: &drawn, deadline };
        let (answer, outputs) = infer::run(&self.api.engine, &routed, inputs, requested, caller).await?;
        let mut response = ModelInferResponse {
            model_name: request.model_name,
            model_version: answer.loaded.version.to_string(),
            id: request.id,
            ..ModelInferResponse::default()
        };
        for tensor in outputs {
            // A request with raw bytes is answered with raw bytes.
            let contents = (!raw).then(|| contents(&tensor));
            if raw {
                let mut bytes = Vec::with_capacity(tensor.values.raw_len(tensor.datatype));
                tensor.values.write_raw(tensor.datatype, &mut bytes);
                response.raw_output_contents.push(bytes.into());
            }
            response.outputs.push(InferOutputTensor {
                name: tensor.name,
                datatype: tensor.datatype.name().to_owned(),
                shape: tensor.shape.iter().map(|&d| d as i64).collect(),
                contents,
                ..InferOutputTensor::default()
            });
        }
        Ok(response)
    }
}

/// The key, from either header, as over HTTP.
fn secret(metadata: &MetadataMap) -> Result<Option<&str>> {
    let unreadable = || Error::new(Kind::Unauthorized, "invalid_key", "the key cannot be read");
    if let Some(key) = metadata.get("x-api-key") {
        return key.to_str().map(Some).map_err(|_| unreadable());
    }
    let Some(value) = metadata.get("authorization") else { return Ok(None) };
    let bearer = value.to_str().ok().and_then(|v| v.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    bearer.map(|(_, key)| Some(key.trim())).ok_or_else(unreadable)
}

/// The caller's deadline, from `grpc-timeout`: digits and a unit.
fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    let time = match unit {
        "H" => Duration::from_secs(count.checked_mul(3600)?),
        "M" => Duration::from_secs(count.checked_mul(60)?),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Instant::now().checked_add(time)
}

fn layer(parameters: &HashMap<String, InferParameter>) -> Option<String> {
    match parameters.get("layer")?.parameter_choice.as_ref()? {
        ParameterChoice::StringParam(name) => Some(name.clone()),
        _ => None,
    }
}

fn classes(parameters: &HashMap<String, InferParameter>) -> Option<usize> {
    match parameters.get("classification")?.parameter_choice.as_ref()? {
        ParameterChoice::Int64Param(count) => usize::try_from(*count).ok().filter(|&c| c > 0),
        _ => None,
    }
}

fn tensors(inputs: Vec<InferInputTensor>, raw: &[Bytes]) -> Result<Vec<Tensor>> {
    let bad = |detail: &str| Error::malformed("invalid_tensor", detail);
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(bad("there must be as many raw contents as inputs"));
    }
    let mut tensors = Vec::with_capacity(inputs.len());
    for (at, input) in inputs.into_iter().enumerate() {
        let datatype = Datatype::parse(&input.datatype)?;
        let dim = |d: &i64| usize::try_from(*d).map_err(|_| bad("a shape must not be negative"));
        let shape = input.shape.iter().map(dim).collect::<Result<_>>()?;
        let values = match raw.get(at) {
            Some(raw) => Values::from_raw(datatype, raw)?,
            None => typed(datatype, input.contents.unwrap_or_default())?,
        };
        tensors.push(Tensor::new(input.name, datatype, shape, values)?);
    }
    Ok(tensors)
}

/// The field of the contents that belongs to the datatype.
fn typed(datatype: Datatype, contents: InferTensorContents) -> Result<Values> {
    let bad = |detail: &str| Error::malformed("invalid_tensor", detail);
    let fits = |v: i64| match datatype.range() {
        Some((low, high)) if v < low || v > high => Err(bad("a value is outside of its datatype's range")),
        _ => Ok(v),
    };
    Ok(match datatype {
        Datatype::Bool => Values::Bool(contents.bool_contents),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => {
            Values::Int(contents.uint_contents.into_iter().map(|v| fits(v.into())).collect::<Result<_>>()?)
        }
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => {
            Values::Int(contents.int_contents.into_iter().map(|v| fits(v.into())).collect::<Result<_>>()?)
        }
        Datatype::Int64 => Values::Int(contents.int64_contents),
        Datatype::Uint64 => Values::Uint(contents.uint64_contents),
        Datatype::Fp32 => Values::F32(contents.fp32_contents),
        Datatype::Fp64 => Values::F64(contents.fp64_contents),
        Datatype::Fp16 | Datatype::Bf16 => return Err(bad("FP16 and BF16 are sent as raw contents")),
        Datatype::Bytes => {
            let text = |b: Vec<u8>| {
                String::from_utf8(b).map(String::into_boxed_str).map_err(|_| bad("a BYTES element is not UTF-8"))
            };
            Values::Text(contents.bytes_contents.into_iter().map(text).collect::<Result<_>>()?)
        }
    })
}

fn contents(tensor: &Tensor) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match &tensor.values {
        Values::Bool(v) => contents.bool_contents.clone_from(v),
        Values::Int(v) => contents.int64_contents.clone_from(v),
        Values::Uint(v) => contents.uint64_contents.clone_from(v),
        Values::F32(v) => contents.fp32_contents.clone_from(v),
        Values::F64(v) => contents.fp64_contents.clone_from(v),
        Values::Text(v) => contents.bytes_contents = v.iter().map(|t| t.as_bytes().to_vec()).collect(),
    }
    contents
}

/// A parameter that holds a list as JSON.
fn text(list: &[Value]) -> InferParameter {
    let parameter_choice = serde_json::to_string(list).ok().map(ParameterChoice::StringParam);
    InferParameter { parameter_choice }
}

fn described(tensors: Vec<Described>) -> Vec<TensorMetadata> {
    let one = |t: Described| TensorMetadata { name: t.name, datatype: t.datatype.to_owned(), shape: t.shape };
    tensors.into_iter().map(one).collect()
}

type Answered<T> = std::result::Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answered<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answered<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: ready(&self.api).await }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answered<ModelReadyResponse> {
        let name = &request.get_ref().name;
        self.allow(request.metadata(), Scope::Predict, Some(name)).await.map_err(status)?;
        let version = parse_version(&request.get_ref().version).map_err(status)?;
        match self.api.engine.choose(name, version, "").await {
            Ok(_) => Ok(Response::new(ModelReadyResponse { ready: true })),
            Err(error) if error.kind == Kind::Unavailable => Ok(Response::new(ModelReadyResponse { ready: false })),
            Err(error) => Err(status(error)),
        }
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answered<ServerMetadataResponse> {
        Ok(Response::new(ServerMetadataResponse {
            name: "kenyon".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answered<ModelMetadataResponse> {
        let name = &request.get_ref().name;
        self.allow(request.metadata(), Scope::Predict, Some(name)).await.map_err(status)?;
        let version = parse_version(&request.get_ref().version).map_err(status)?;
        let metadata = metadata(&self.api, name, version).await.map_err(status)?;
        Ok(Response::new(ModelMetadataResponse {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform,
            inputs: described(metadata.inputs),
            outputs: described(metadata.outputs),
            parameters: metadata.labels.into_iter().map(|labels| ("labels".to_owned(), text(&labels))).collect(),
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answered<ModelInferResponse> {
        self.infer(request).await.map(Response::new).map_err(status)
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Answered<ModelStatisticsResponse> {
        let name = &request.get_ref().name;
        let all = name.is_empty();
        let (scope, model) = if all { (Scope::Read, None) } else { (Scope::Predict, Some(name.as_str())) };
        self.allow(request.metadata(), scope, model).await.map_err(status)?;
        let version = parse_version(&request.get_ref().version).map_err(status)?;
        let found = if all { all_statistics(&self.api).await } else { statistics(&self.api, name, version).await };
        let part = |count, ns| Some(StatisticDuration { count, ns });
        let one = |(name, version, f): (String, u64, crate::serving::stats::Figures)| ModelStatistics {
            name,
            version: version.to_string(),
            last_inference: f.last_ms,
            inference_count: f.rows,
            execution_count: f.passes,
            inference_stats: Some(InferStatistics {
                success: part(f.success, f.success_ns),
                fail: part(f.fail, 0),
                queue: part(f.success, f.queue_ns),
                compute_input: part(f.success, f.input_ns),
                compute_infer: part(f.success, f.compute_ns),
                compute_output: part(f.success, 0),
            }),
        };
        let model_stats = found.map_err(status)?.into_iter().map(one).collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(&self, request: Request<RepositoryIndexRequest>) -> Answered<RepositoryIndexResponse> {
        self.allow(request.metadata(), Scope::Read, None).await.map_err(status)?;
        let entries = index(&self.api, request.get_ref().ready).await.map_err(status)?;
        let entry = |(name, version, state): (String, u64, &str)| ModelIndex {
            name,
            version: version.to_string(),
            state: state.to_owned(),
            reason: String::new(),
        };
        Ok(Response::new(RepositoryIndexResponse { models: entries.into_iter().map(entry).collect() }))
    }
}
