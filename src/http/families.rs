//! The families of networks, with what can be set, as JSON Schema to draw forms from.

use super::Api;
use axum::Json;
use kenyon_learn::models::Family;
use kenyon_learn::models::settings;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(families))
}

/// Each family with its settings, defaults and limits.
#[utoipa::path(get, path = "/api/v1/families", tag = "families", security(("key" = ["read"])), responses((status = 200, body = Object)))]
async fn families() -> Json<Value> {
    let one = |family: Family| {
        json!({
            "name": family.name(),
            "description": family.purpose(),
            "schema": settings::schema(family),
        })
    };
    let items: Vec<Value> = Family::all().map(one).collect();
    Json(json!({ "items": items, "next_cursor": null }))
}
