//! The families of networks, with what can be set, as JSON Schema to draw forms from.

use super::Api;
use super::error::{Answer, Problem};
use super::read::{OnePage, Query};
use axum::Json;
use kenyon_learn::models::Family;
use kenyon_learn::models::settings;
use serde::Serialize;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(families))
}

/// A family of networks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = FamilySettings)]
struct ShownFamily {
    /// Its name.
    #[schema(value_type = Family)]
    name: &'static str,
    /// What it is for.
    description: &'static str,
    /// Its settings with defaults and limits, as JSON Schema.
    #[schema(value_type = HashMap<String, Value>)]
    schema: Value,
}

/// All families.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct FamilyPage {
    /// The families.
    items: Vec<ShownFamily>,
    /// Always null: all families are listed.
    next_cursor: Option<String>,
}

/// Each family with its settings, defaults and limits.
#[utoipa::path(get, path = "/api/v1/families", tag = "families", security(("key" = ["read"])), params(OnePage),
    responses((status = 200, body = FamilyPage),
    (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn families(Query(page): Query<OnePage>) -> Answer<Json<FamilyPage>> {
    page.check()?;
    let one = |family: Family| {
        let (name, description, schema) = (family.name(), family.purpose(), settings::schema(family));
        ShownFamily { name, description, schema }
    };
    Ok(Json(FamilyPage { items: Family::all().map(one).collect(), next_cursor: None }))
}
