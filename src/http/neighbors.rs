//! The remembered rows that are most similar to some rows.

use super::Api;
use super::blocking::blocking;
use super::error::{Answer, Problem};
use super::read::{Json, Path};
use super::schemas::Recalled;
use crate::serving::reasons::Memory;
use crate::store::ModelName;
use crate::{Detail, Error, Kind};
use axum::extract::State;
use kenyon_learn::learning::bundle::Bundle;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Rows of one request.
const MAX_ROWS: usize = 1024;
/// Neighbours of a row.
const MAX_NEIGHBORS: usize = 100;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(find_neighbors))
}

/// Rows to look up.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "rows": [{ "x": 1.5 }], "k": 5 })))]
struct FindNeighbors {
    /// The rows, as for a prediction, 1024 at most.
    #[schema(value_type = Vec<HashMap<String, Value>>, max_items = 1024)]
    rows: Vec<Map<String, Value>>,
    /// How many neighbours of each.
    #[serde(default = "five")]
    #[schema(minimum = 1, maximum = 100, default = 5)]
    k: usize,
}

fn five() -> usize {
    5
}

/// The neighbours of some rows.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = NeighborsAnswer)]
struct Neighbors {
    /// The model.
    model: ModelName,
    /// Its version.
    version: u64,
    /// For each row, in their order, the remembered rows that are most similar to it, the most similar first.
    #[schema(value_type = Vec<Vec<Recalled>>)]
    neighbors: Vec<Vec<Memory>>,
}

/// The nearest remembered rows: those that a stream keeps in its memory, or those that a `memory` model of a table stores.
#[utoipa::path(post, path = "/api/v1/models/{name}/neighbors", operation_id = "find_neighbors", tag = "models",
    security(("key" = ["predict"])), params(("name" = inline(ModelName), Path)), request_body = FindNeighbors,
    responses((status = 200, body = Neighbors),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "the model remembers no rows", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "too many rows", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "rows that do not fit", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn find_neighbors(
    State(api): State<Api>,
    Path(name): Path<ModelName>,
    Json(request): Json<FindNeighbors>,
) -> Answer<axum::Json<Neighbors>> {
    let chosen = api.engine.choose(name.as_str(), None, &super::context::request_id()).await?;
    let (bundle, version) = (chosen.loaded.bundle(), chosen.loaded.version);
    let neighbors = blocking(move || nearest(&bundle, &request)).await?;
    Ok(axum::Json(Neighbors { model: name, version, neighbors }))
}

fn nearest(bundle: &Bundle, request: &FindNeighbors) -> crate::Result<Vec<Vec<Memory>>> {
    let refused = |kind, code, field, detail: String| {
        Err(Error::new(kind, code, detail.clone()).with_details([Detail::path(field, detail)]))
    };
    if request.rows.len() > MAX_ROWS {
        return refused(Kind::TooLarge, "too_many_rows", "rows", format!("at most {MAX_ROWS} rows a call"));
    }
    if !(1..=MAX_NEIGHBORS).contains(&request.k) {
        return refused(Kind::Unprocessable, "bad_neighbors", "k", format!("k is 1 to {MAX_NEIGHBORS}"));
    }
    let batch = bundle.encode_plain(&bundle.reader().from_values(&request.rows)?)?;
    let Some(found) = bundle.network.nearest(&batch, request.k)? else {
        let detail = "the model remembers no rows: observe rows, or train the family `memory` on a table";
        return Err(Error::conflict("no_memory", detail));
    };
    let shown = |recalled| Memory::new(recalled, &bundle.encoder, &bundle.config.target_encoder);
    Ok(found.iter().map(|row| row.iter().map(shown).collect()).collect())
}
