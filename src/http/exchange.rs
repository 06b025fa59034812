//! Export and import of models.

use super::Api;
use super::error::{Answer, Problem};
use super::model_answers::ImportAnswer;
use super::read::{Decoded, Path, Query};
use super::schemas::Binary;
use crate::serving::transfer::{self, ExportOptions, Format};
use crate::store::ModelName;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kenyon_learn::learning::onnx::Inputs;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(export_version)).routes(routes!(import_model))
}

/// The export format.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Form {
    /// `bundle` (a tar archive, to be imported again), `safetensors` (the weights alone) or `onnx`.
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = "^(bundle|safetensors|onnx)$")]
    format: Format,
    /// What an `onnx` file takes: `columns` (the values of a row) or `features` (what the encoder makes of them).
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = "^(columns|features)$")]
    inputs: Inputs,
    /// Whether a bundle contains the pretrained encoders that the version reads columns with; `true` when missing.
    encoder: Option<bool>,
}

/// Exports a version.
#[utoipa::path(get, path = "/api/v1/models/{name}/versions/{version}/export", operation_id = "export_version", tag = "models",
    security(("key" = ["read"])), params(("name" = inline(ModelName), Path), ("version" = u64, Path), Form),
    responses((status = 200, description = "the file",
        content((inline(Binary) = "application/octet-stream"), (inline(Binary) = "application/x-tar"))),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "the family or a column has no ONNX form", body = Problem, content_type = "application/problem+json")))]
async fn export_version(
    State(api): State<Api>,
    Path((name, version)): Path<(ModelName, u64)>,
    Query(form): Query<Form>,
) -> Answer<Response> {
    let Form { format, inputs, encoder } = form;
    let options = ExportOptions { format, inputs, encoders: encoder.unwrap_or(true) };
    let file = transfer::export(&api.store, &name, version, options).await?;
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", file.name))
        .unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(file.content_type)),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, file.bytes).into_response())
}

/// Imports an exported bundle, as a new model or as the next version of one, and serves it. Encoders in it are added where the server
/// does not have them.
#[utoipa::path(post, path = "/api/v1/models/{name}/import", operation_id = "import_model", tag = "models",
    security(("key" = ["train"])), params(("name" = inline(ModelName), Path)),
    request_body(content = inline(Binary), content_type = "application/octet-stream"),
    responses((status = 201, body = ImportAnswer),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "the model predicts another column, or an encoder is missing", body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "the archive is no bundle", body = Problem, content_type = "application/problem+json")))]
async fn import_model(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Decoded(archive): Decoded,
) -> Answer<Response> {
    api.check_quota(&name).await?;
    let version = transfer::import(&api.store, &name, archive, api.config.job_threads()).await?;
    api.engine.refresh(name.as_str()).await?;
    let (family, metrics) = (version.family, version.metrics);
    let imported = ImportAnswer { model: name, version: version.version, family, metrics };
    Ok((StatusCode::CREATED, axum::Json(imported)).into_response())
}
