//! API keys: made and shown once, listed, revoked.

use super::Api;
use super::error::{Answer, Problem};
use super::read::{Json, OnePage, Path, Query};
use crate::store::{ApiKey, ModelName, NewKey, Scope};
use crate::{Detail, Error, Result};
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_keys, create_key)).routes(routes!(delete_key))
}

/// A key to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "name": "shop", "scopes": ["predict", "observe"], "models": ["iris"], "expires_at": "2030-01-01T00:00:00Z"
})))]
struct KeyRequest {
    /// Its name.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it allows: `predict`, `observe`, `train`, `datasets`, `read`, or `admin` for everything.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// Names of models it is for; `*`, as when missing, is all.
    models: Option<Vec<String>>,
    /// When it ends.
    expires_at: Option<Timestamp>,
}

/// A key in the answer to its creation; the secret is not shown again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MadeKey)]
struct Made {
    /// The secret.
    key: String,
    /// Everything else about it.
    #[serde(flatten)]
    about: ApiKey,
}

/// All keys.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct KeyPage {
    /// The keys, without their secrets.
    items: Vec<ApiKey>,
    /// Always null: all keys are listed.
    next_cursor: Option<String>,
}

/// All keys, without their secrets.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", security(("key" = ["admin"])), params(OnePage),
    responses((status = 200, body = KeyPage),
    (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_keys(State(api): State<Api>, Query(page): Query<OnePage>) -> Answer<axum::Json<KeyPage>> {
    page.check()?;
    Ok(axum::Json(KeyPage { items: api.store.keys().await?, next_cursor: None }))
}

/// Makes a key. Only this answer has its secret.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", security(("key" = ["admin"])), request_body = KeyRequest,
    responses((status = 201, body = Made), (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn create_key(State(api): State<Api>, Json(request): Json<KeyRequest>) -> Answer<(StatusCode, axum::Json<Made>)> {
    let (about, key) = api.store.create_key(&checked(request)?).await?;
    Ok((StatusCode::CREATED, axum::Json(Made { key, about })))
}

/// Revokes a key at once, on all replicas.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys", security(("key" = ["admin"])), params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn delete_key(State(api): State<Api>, Path(id): Path<String>) -> Answer<StatusCode> {
    api.store.delete_key(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked(request: KeyRequest) -> Result<NewKey> {
    let wrong = |path: &str, reason: &str| {
        Error::unprocessable("invalid_key", format!("{path}: {reason}")).with_details([Detail::path(path, reason)])
    };
    if request.name.trim().is_empty() || request.name.len() > 100 || request.name.chars().any(char::is_control) {
        return Err(wrong("name", "1 to 100 printable characters"));
    }
    if request.scopes.is_empty() {
        return Err(wrong("scopes", "a key needs at least one scope"));
    }
    let models = request.models.unwrap_or_else(|| vec!["*".to_owned()]);
    if models.is_empty() || models.iter().any(|m| m != "*" && m.parse::<ModelName>().is_err()) {
        return Err(wrong("models", "names of models, or *"));
    }
    if request.expires_at.is_some_and(|at| at <= Timestamp::now()) {
        return Err(wrong("expires_at", "is in the past"));
    }
    Ok(NewKey { name: request.name, scopes: request.scopes, models, expires_at: request.expires_at })
}
