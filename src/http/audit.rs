//! The audit log, and its export.

use super::Api;
use super::error::{Answer, Problem};
use super::read::{Query, page_cursor, page_limit};
use crate::store::AuditEntry;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_audit))
}

/// Which entries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Entries from then on.
    since: Option<Timestamp>,
    /// Entries of a page, at most 1,000; 100 when missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before, or the id of the last entry that was read.
    #[param(pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
}

/// A page of entries.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AuditPage {
    /// The entries, the oldest first.
    items: Vec<AuditEntry>,
    /// Where the next page starts; null after the last.
    next_cursor: Option<String>,
}

/// Who changed what, when: every call that changed datasets, models, streams' memories, keys or encoders.
///
/// Rows that are observed and feedback are not entered: they are in the stream's own log. With
/// `Accept: application/x-ndjson` the entries of the page are lines.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit", tag = "keys", security(("key" = ["admin"])),
    params(AuditQuery), responses((status = 200, content((AuditPage = "application/json"), (AuditEntry = "application/x-ndjson"))),
    (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_audit(State(api): State<Api>, headers: HeaderMap, Query(query): Query<AuditQuery>) -> Answer<Response> {
    let cursor = page_cursor(query.cursor.as_deref())?;
    let since = query.since.map_or(0, Timestamp::as_millisecond);
    let page = api.store.audit_entries(since, cursor.as_ref(), page_limit(query.limit)?).await?;
    let lines =
        headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/x-ndjson"));
    if !lines {
        return Ok(axum::Json(AuditPage { items: page.items, next_cursor: page.next_cursor }).into_response());
    }
    let mut text = String::new();
    for entry in &page.items {
        text += &serde_json::to_string(entry).map_err(crate::Error::internal)?;
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}
