//! The families of networks, with what can be set, as JSON Schema to draw forms from.

use super::Api;
use axum::Json;
use kenyon_learn::learning::settings;
use kenyon_learn::models::Family;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(families))
}

/// Each family with its settings, defaults and limits.
#[utoipa::path(get, path = "/api/v1/families", tag = "families", security(("key" = ["read"])), responses((status = 200, body = Object)))]
async fn families() -> Json<Value> {
    let items = Family::ALL.map(|family| {
        json!({
            "name": family.name(),
            "description": purpose(family),
            "schema": settings::schema(family),
        })
    });
    Json(json!({ "items": items, "next_cursor": null }))
}

fn purpose(family: Family) -> &'static str {
    match family {
        Family::SparseMlp => "Tables, vectors and bags of words; the fastest.",
        Family::Attention => "Sequences, text, images as patches, tables with interactions.",
        Family::Memory => "Question answering over facts, and retrieval.",
        Family::Hybrid => "Learning from a stream, new classes, few labels.",
    }
}
