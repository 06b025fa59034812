//! The inner code of a model's network for some rows, for other programs: a vector index, a plot.

use super::Api;
use super::blocking::blocking;
use super::error::{Answer, Problem};
use super::read::{Json, Path};
use super::schemas::Code;
use crate::store::ModelName;
use crate::{Detail, Error, Kind};
use axum::extract::State;
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::models::{LayerCode, layer_code};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Rows of one request, also over the inference protocol.
pub(crate) const MAX_ROWS: usize = 4096;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(embed_rows))
}

/// Rows to encode.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "rows": [{ "x": 1.5 }], "sparse": true })))]
struct EmbedRows {
    /// The rows, as for a prediction, 4096 at most.
    #[schema(value_type = Vec<HashMap<String, Value>>, max_items = 4096)]
    rows: Vec<Map<String, Value>>,
    /// A layer of `/activity`, or `features` for the whole input of the readout; the last layer when missing.
    layer: Option<String>,
    /// Whether only the units that are not zero are listed.
    #[serde(default)]
    sparse: bool,
}

/// The codes of some rows.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ModelEmbeddings)]
struct Codes {
    /// The model.
    model: ModelName,
    /// Its version.
    version: u64,
    /// The layer.
    layer: String,
    /// How many units it has.
    width: usize,
    /// A code for each row, in their order.
    embeddings: Vec<Code>,
}

/// The activity of a layer, by default the last before the readout, for each row: similar rows have similar codes.
#[utoipa::path(post, path = "/api/v1/models/{name}/embed", operation_id = "embed_rows", tag = "models",
    security(("key" = ["predict"])), params(("name" = inline(ModelName), Path)), request_body = EmbedRows,
    responses((status = 200, body = Codes),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "too many rows", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "rows that do not fit, or another layer", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn embed_rows(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Json(request): Json<EmbedRows>,
) -> Answer<axum::Json<Codes>> {
    let chosen = api.engine.choose(name.as_str(), None, &super::context::request_id()).await?;
    let (bundle, version) = (chosen.loaded.bundle(), chosen.loaded.version);
    let (layer, width, embeddings) = blocking(move || codes(&bundle, &request)).await?;
    Ok(axum::Json(Codes { model: name, version, layer, width, embeddings }))
}

fn codes(bundle: &Bundle, request: &EmbedRows) -> crate::Result<(String, usize, Vec<Code>)> {
    if request.rows.len() > MAX_ROWS {
        let detail = format!("at most {MAX_ROWS} rows a call");
        let error = Error::new(Kind::TooLarge, "too_many_rows", detail.clone());
        return Err(error.with_details([Detail::path("rows", detail)]));
    }
    let batch = bundle.encode_plain(&bundle.reader().from_values(&request.rows)?)?;
    let LayerCode { layer, width, values } = layer_code(&*bundle.network, &batch, request.layer.as_deref())?;
    let code = |row: &[f32]| match request.sparse {
        false => Code::Dense(row.to_vec()),
        true => {
            let active = row.iter().copied().enumerate().filter(|(_, value)| *value != 0.0);
            let (indices, values) = active.unzip();
            Code::Sparse { indices, values }
        }
    };
    Ok((layer, width, values.chunks_exact(width.max(1)).map(code).collect()))
}
