//! Snapshots: a consistent copy of everything in one file, made while serving.

use super::Api;
use super::error::{Answer, Problem};
use super::read::Path;
use super::schemas::Binary;
use crate::{Error, Result};
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(make_snapshot)).routes(routes!(get_snapshot))
}

/// A snapshot that was made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Snapshot)]
struct MadeSnapshot {
    /// Name of its file.
    name: String,
    /// Bytes of the objects in it.
    bytes: u64,
    /// Rows of the database in it.
    rows: u64,
    /// Objects in it.
    objects: u64,
    /// When it was made.
    created_at: Timestamp,
}

/// Makes a snapshot in the server's data folder, under `snapshots`; `kenyon serve --restore FILE`
/// starts from it.
#[utoipa::path(post, path = "/api/v1/snapshots", operation_id = "make_snapshot", tag = "system",
    security(("key" = ["admin"])), responses((status = 201, body = MadeSnapshot),
    (status = 507, body = Problem, content_type = "application/problem+json")))]
async fn make_snapshot(State(api): State<Api>) -> Answer<Response> {
    let name = format!("kenyon-{}.tar", Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ"));
    let path = folder(&api).await?.join(&name);
    let manifest = api.store.write_snapshot(&path).await?;
    let location = [(header::LOCATION, format!("/api/v1/snapshots/{name}"))];
    let (bytes, rows, objects, created_at) = (manifest.bytes, manifest.rows, manifest.objects, manifest.created_at);
    let made = MadeSnapshot { name, bytes, rows, objects, created_at };
    Ok((StatusCode::CREATED, location, axum::Json(made)).into_response())
}

/// A snapshot as a file.
#[utoipa::path(get, path = "/api/v1/snapshots/{name}", operation_id = "get_snapshot", tag = "system",
    security(("key" = ["admin"])), params(("name" = String, Path)),
    responses((status = 200, content_type = "application/x-tar", body = inline(Binary)),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_snapshot(State(api): State<Api>, Path(name): Path<String>) -> Answer<Response> {
    let missing = || Error::not_found("snapshot_not_found", "there is no such snapshot");
    // Only names that this server gives, so that a name cannot contain a path.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let stem = name.strip_suffix(".tar").filter(|s| s.starts_with("kenyon-") && s.bytes().all(plain));
    let path = folder(&api).await?.join(format!("{}.tar", stem.ok_or_else(missing)?));
    let file = tokio::fs::File::open(path).await.map_err(|_| missing())?;
    let kind = [(header::CONTENT_TYPE, "application/x-tar")];
    Ok((kind, Body::from_stream(ReaderStream::new(file))).into_response())
}

async fn folder(api: &Api) -> Result<PathBuf> {
    let folder = api.store.data_dir().join("snapshots");
    tokio::fs::create_dir_all(&folder).await?;
    Ok(folder)
}
