//! Datasets: uploads, and rows back as JSON.

use super::Api;
use super::blocking::blocking;
use super::error::{Answer, Problem};
use super::read::{Paging, Path, Query};
use super::upload::{ReadQuery, Upload};
use crate::store::{Dataset, DatasetName};
use crate::{Detail, Error, Kind, Result, jobs};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kenyon_learn::data::Warning;
use kenyon_learn::data::formats::Limits;
use kenyon_learn::data::schema::Summary;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Rows shown with a dataset.
const PREVIEW: usize = 10;
/// Rows of one call at most.
const MAX_ROWS: usize = 10_000;
/// Tries of an append while others append at the same time.
const TRIES: usize = 8;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_datasets))
        .routes(routes!(get_dataset, put_dataset, delete_dataset))
        .routes(routes!(get_rows, append_rows))
}

/// All datasets, by name.
#[utoipa::path(get, path = "/api/v1/datasets", tag = "datasets", security(("key" = ["read"])), params(Paging),
    responses((status = 200, body = Object), (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_datasets(State(api): State<Api>, Query(paging): Query<Paging>) -> Answer<axum::Json<Value>> {
    let page = api.store.datasets(paging.limit()?, paging.cursor()?).await?;
    let items: Vec<Value> = page.items.iter().map(shown).collect::<Result<_>>()?;
    Ok(axum::Json(json!({ "items": items, "next_cursor": page.next_cursor })))
}

/// One dataset with its schema, statistics and first rows.
#[utoipa::path(get, path = "/api/v1/datasets/{name}", tag = "datasets", security(("key" = ["read"])),
    params(("name" = String, Path)), responses((status = 200, body = Object),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_dataset(State(api): State<Api>, Path(name): Path<DatasetName>) -> Answer<axum::Json<Value>> {
    let dataset = api.store.dataset(&name).await?;
    let mut value = shown(&dataset)?;
    value["preview"] = rows(&api, &dataset, 0, PREVIEW).await?;
    Ok(axum::Json(value))
}

/// Creates the dataset from a file, or replaces it.
///
/// The format comes from `Content-Type`, else from the content. gzip and zstd are decoded. With `dry_run` the
/// answer is the same (200), and nothing is stored.
#[utoipa::path(put, path = "/api/v1/datasets/{name}", operation_id = "put_dataset", tag = "datasets",
    security(("key" = ["datasets"])), params(("name" = String, Path), ReadQuery),
    request_body(content((String = "text/csv"), (String = "text/tab-separated-values"), (String = "application/x-ndjson"),
        (Value = "application/json"), (String = "application/vnd.apache.parquet"), (String = "application/octet-stream"))),
    responses((status = 201, description = "new", body = Object), (status = 200, description = "replaced", body = Object),
    (status = 422, description = "the data does not fit", body = Problem, content_type = "application/problem+json")))]
async fn put_dataset(
    State(api): State<Api>,
    Path(name): Path<DatasetName>,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let dry_run = query.dry_run.unwrap_or(false);
    if !dry_run {
        api.room_for_dataset(&name).await?;
    }
    let upload = Upload::take(&api, &headers, &query, body, None).await?;
    if dry_run {
        return Ok(axum::Json(tried(&name, &upload, &api.file_limits()).await?).into_response());
    }
    let Upload { part, summary, .. } = upload;
    let columns = serde_json::to_value(&summary).map_err(Error::internal)?;
    let (dataset, new) = api.store.put_dataset(&name, vec![part], &columns).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/api/v1/datasets/{name}"))];
    Ok((status, location, axum::Json(shown(&dataset)?)).into_response())
}

/// Rows that were appended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Appended {
    /// Rows of this call.
    appended: u64,
    /// Rows now.
    rows: u64,
    /// Warnings about the dataset with its new rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    warnings: Vec<Warning>,
}

/// Appends the rows of a file, all or none.
#[utoipa::path(post, path = "/api/v1/datasets/{name}/rows", operation_id = "append_rows", tag = "datasets",
    security(("key" = ["datasets"])), params(("name" = String, Path), ReadQuery),
    request_body(content((String = "text/csv"), (String = "text/tab-separated-values"), (String = "application/x-ndjson"),
        (Value = "application/json"), (String = "application/vnd.apache.parquet"), (String = "application/octet-stream"))),
    responses((status = 200, body = Appended),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "the data does not fit", body = Problem, content_type = "application/problem+json")))]
async fn append_rows(
    State(api): State<Api>,
    Path(name): Path<DatasetName>,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Answer<axum::Json<Appended>> {
    if query.dry_run.is_some() {
        let reason = "is for `PUT` only";
        return Err(Error::malformed("invalid_request", format!("dry_run {reason}"))
            .with_details([Detail::path("dry_run", reason)])
            .into());
    }
    let mut known = api.store.dataset(&name).await?;
    api.room_for_bytes().await?;
    let mut upload = Upload::take(&api, &headers, &query, body, Some(summary_of(&known)?)).await?;
    for _ in 0..TRIES {
        let columns = serde_json::to_value(&upload.summary).map_err(Error::internal)?;
        match api.store.try_append_dataset(&name, known.revision, &mut upload.part, &columns).await {
            Ok(dataset) => {
                let (appended, warnings) = (upload.part.rows, upload.summary.warnings);
                return Ok(axum::Json(Appended { appended, rows: dataset.rows, warnings }));
            }
            Err(error) if error.code == "dataset_changed" => {
                known = api.store.dataset(&name).await?;
                upload = upload.read(Some(summary_of(&known)?), api.file_limits()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict("dataset_changed", "the dataset keeps changing; try again").into())
}

/// Which rows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Window {
    /// Rows to skip.
    #[serde(default)]
    offset: u64,
    /// Rows to show, at most 10,000; 100 when missing.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// Rows as JSON.
#[utoipa::path(get, path = "/api/v1/datasets/{name}/rows", tag = "datasets", security(("key" = ["read"])),
    params(("name" = String, Path), Window), responses((status = 200, body = Object),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_rows(
    State(api): State<Api>,
    Path(name): Path<DatasetName>,
    Query(window): Query<Window>,
) -> Answer<axum::Json<Value>> {
    let limit = super::read::within("limit", window.limit.unwrap_or(100), 1, MAX_ROWS)?;
    let dataset = api.store.dataset(&name).await?;
    if i64::try_from(window.offset).is_err() {
        let reason = "is larger than any dataset";
        return Err(Error::malformed("invalid_request", format!("offset {reason}"))
            .with_details([Detail::path("offset", reason)])
            .into());
    }
    let rows = rows(&api, &dataset, window.offset, limit).await?;
    Ok(axum::Json(json!({ "rows": rows, "offset": window.offset, "total": dataset.rows })))
}

/// Removes it.
#[utoipa::path(delete, path = "/api/v1/datasets/{name}", tag = "datasets", security(("key" = ["datasets"])),
    params(("name" = String, Path)), responses((status = 204),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "a job reads it", body = Problem, content_type = "application/problem+json")))]
async fn delete_dataset(State(api): State<Api>, Path(name): Path<DatasetName>) -> Answer<StatusCode> {
    api.store.delete_dataset(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn summary_of(dataset: &Dataset) -> Result<Summary> {
    Summary::deserialize(&dataset.columns).map_err(Error::internal)
}

pub(crate) async fn rows(api: &Api, dataset: &Dataset, offset: u64, limit: usize) -> Result<Value> {
    let parts = jobs::local_parts(&api.store, dataset).await?;
    let (summary, limits) = (summary_of(dataset)?, api.file_limits());
    let rows =
        blocking(move || kenyon_learn::data::plan::read_rows(&parts, &summary.columns, offset, limit, &limits)).await?;
    serde_json::to_value(rows).map_err(Error::internal)
}

/// A dataset in the form the interface returns, without how it is stored.
fn shown(dataset: &Dataset) -> Result<Value> {
    let summary = summary_of(dataset)?;
    let read_as = dataset.parts.first().map(|part| read_as(&part.format, &part.compression, &part.read_as));
    Ok(json!({
        "name": dataset.name,
        "rows": dataset.rows,
        "bytes": dataset.bytes,
        "digest": dataset.digest,
        "revision": dataset.revision,
        "columns": summary.columns,
        "warnings": summary.warnings,
        "read_as": read_as,
        "created_at": dataset.created_at,
        "updated_at": dataset.updated_at,
    }))
}

/// How a file was read: its format and compression, and what its reader used.
fn read_as(format: &str, compression: &str, options: &Value) -> Value {
    let mut shown = json!({ "format": format, "compression": compression });
    if let (Some(shown), Some(options)) = (shown.as_object_mut(), options.as_object()) {
        shown.extend(options.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    shown
}

/// What storing an upload would answer.
async fn tried(name: &DatasetName, upload: &Upload, limits: &Limits) -> Result<Value> {
    let (part, summary) = (&upload.part, &upload.summary);
    let (file, columns, limits) = (upload.file.clone(), summary.columns.clone(), *limits);
    let preview = blocking(move || kenyon_learn::data::plan::read_rows(&[file], &columns, 0, PREVIEW, &limits)).await?;
    Ok(json!({
        "name": name,
        "dry_run": true,
        "rows": part.rows,
        "bytes": part.file.bytes(),
        "digest": part.file.digest(),
        "revision": null,
        "columns": summary.columns,
        "warnings": summary.warnings,
        "read_as": read_as(&part.format, &part.compression, &part.read_as),
        "preview": preview,
        "created_at": null,
        "updated_at": null,
    }))
}

impl Api {
    /// Bounds on files.
    pub(crate) fn file_limits(&self) -> Limits {
        Limits { decompressed: self.config.max_decompressed_bytes, columns: self.config.max_columns }
    }

    /// 507 `quota_reached` when another dataset would be one too many.
    async fn room_for_dataset(&self, name: &DatasetName) -> Result<()> {
        self.room_for_bytes().await?;
        let full = self.store.counts().await?.datasets >= self.config.max_datasets;
        if full && self.store.dataset(name).await.is_err() {
            let detail = format!("this server keeps at most {} datasets", self.config.max_datasets);
            return Err(Error::new(Kind::DiskFull, "too_many_datasets", detail));
        }
        Ok(())
    }

    async fn room_for_bytes(&self) -> Result<()> {
        let limit = self.config.max_dataset_bytes;
        if limit > 0 && self.store.counts().await?.dataset_bytes >= limit {
            let detail = format!("the datasets of this server may take {limit} bytes, and do");
            return Err(Error::new(Kind::DiskFull, "quota_reached", detail));
        }
        Ok(())
    }
}
