//! Datasets: uploads, and rows back as JSON.

use super::Api;
use super::blocking::blocking;
use super::error::{Answer, Problem};
use super::read::{Paging, Path, Query};
use super::schemas::{Binary, JsonRows, Row};
use super::upload::{ReadQuery, Upload};
use crate::store::{Dataset, DatasetName};
use crate::{Detail, Error, Kind, Result, jobs};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use kenyon_learn::data::formats::{Compression, DecimalMark, Format, Limits, ReadOptions};
use kenyon_learn::data::schema::{ColumnKind, Summary};
use kenyon_learn::data::{ColumnInfo, Warning};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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

/// A dataset.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Dataset, examples(json!({
    "name": "iris", "rows": 150, "bytes": 4606, "digest": "5c1e…", "revision": 1,
    "columns": [{
        "name": "sepal_length", "kind": "number", "missing": 0, "distinct": 35, "min": 4.3, "max": 7.9, "mean": 5.84,
        "examples": [5.1, 4.9, 4.7], "histogram": [["4.3", 32], ["5.2", 57], ["6.1", 61]]
    }],
    "warnings": [{
        "code": "duplicate_rows", "column": null, "detail": "1 row stands more than once", "rows": 1,
        "examples": [{ "row": 143, "value": null }]
    }],
    "read_as": { "format": "csv", "compression": "none", "delimiter": ",", "quote": "\"", "header": "present", "encoding": "utf-8" },
    "created_at": "2026-01-05T10:00:00Z", "updated_at": "2026-01-05T10:00:00Z"
})))]
struct ShownDataset {
    /// Its name.
    name: DatasetName,
    /// Whether nothing was stored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// Its rows.
    rows: u64,
    /// Bytes as stored.
    bytes: u64,
    /// SHA-256 over what is stored, hexadecimal.
    digest: String,
    /// Counts up with every change; null where nothing was stored.
    revision: Option<u64>,
    /// Its columns; in a list without histograms, examples and the members of groups.
    columns: Vec<ColumnInfo>,
    /// What was noticed and not refused.
    warnings: Vec<Warning>,
    /// How its first file was read.
    read_as: Option<ReadAs>,
    /// Its first rows; only for a single dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Row>>)]
    preview: Option<Vec<Map<String, Value>>>,
    /// When it was first made; null where nothing was stored.
    created_at: Option<Timestamp>,
    /// When it last changed; null where nothing was stored.
    updated_at: Option<Timestamp>,
}

/// How a file was read.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ReadAs {
    /// Its format.
    format: Format,
    /// How it is compressed.
    compression: Compression,
    /// What its reader used.
    #[serde(flatten)]
    options: ReadOptions,
}

/// A page of datasets.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct DatasetPage {
    /// The datasets, by name.
    items: Vec<ShownDataset>,
    /// Where the next page starts; null after the last.
    next_cursor: Option<String>,
}

/// All datasets, by name.
#[utoipa::path(get, path = "/api/v1/datasets", tag = "datasets", security(("key" = ["read"])), params(Paging),
    responses((status = 200, body = DatasetPage), (status = 400, body = Problem, content_type = "application/problem+json")))]
async fn list_datasets(State(api): State<Api>, Query(paging): Query<Paging>) -> Answer<axum::Json<DatasetPage>> {
    let cursor = paging.cursor::<DatasetName>()?;
    let page = api.store.datasets(paging.limit()?, cursor.as_ref().map(DatasetName::as_str)).await?;
    let items = page.items.iter().map(|dataset| shown(dataset).map(ShownDataset::small)).collect::<Result<_>>()?;
    Ok(axum::Json(DatasetPage { items, next_cursor: page.next_cursor }))
}

/// One dataset with its schema, statistics and first rows.
#[utoipa::path(get, path = "/api/v1/datasets/{name}", tag = "datasets", security(("key" = ["read"])),
    params(("name" = inline(DatasetName), Path)), responses((status = 200, body = ShownDataset),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_dataset(State(api): State<Api>, Path(name): Path<DatasetName>) -> Answer<axum::Json<ShownDataset>> {
    let dataset = api.store.dataset(&name).await?;
    let preview = Some(rows(&api, &dataset, 0, PREVIEW).await?);
    Ok(axum::Json(ShownDataset { preview, ..shown(&dataset)? }))
}

/// Creates the dataset from a file, or replaces it.
///
/// The format comes from `Content-Type`, else from the content. gzip and zstd are decoded. With `dry_run` the
/// answer is the same (200), and nothing is stored.
#[utoipa::path(put, path = "/api/v1/datasets/{name}", operation_id = "put_dataset", tag = "datasets",
    security(("key" = ["datasets"])), params(("name" = inline(DatasetName), Path), ReadQuery),
    request_body(content((String = "text/csv", example = json!("x,y,label\n1,2,left\n3,4,right\n")),
        (String = "text/tab-separated-values"), (String = "application/x-ndjson"),
        (inline(JsonRows) = "application/json", example = json!([{ "x": 1, "y": 2, "label": "left" }])),
        (inline(Binary) = "application/vnd.apache.parquet"), (inline(Binary) = "application/octet-stream"))),
    responses((status = 201, description = "new", body = ShownDataset),
    (status = 200, description = "replaced, or what storing it would answer", body = ShownDataset),
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
        api.check_dataset_quota(&name).await?;
    }
    let upload = Upload::take(&api, &headers, &query, body, None).await?;
    if dry_run {
        return Ok(axum::Json(tried(&name, upload, api.file_limits()).await?).into_response());
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
    #[schema(required = false)]
    warnings: Vec<Warning>,
}

/// Appends the rows of a file, all or none. With `dry_run` the answer is the same, and nothing is stored.
#[utoipa::path(post, path = "/api/v1/datasets/{name}/rows", operation_id = "append_rows", tag = "datasets",
    security(("key" = ["datasets"])), params(("name" = inline(DatasetName), Path), ReadQuery),
    request_body(content((String = "text/csv", example = json!("x,y,label\n5,6,left\n")),
        (String = "text/tab-separated-values"), (String = "application/x-ndjson"),
        (inline(JsonRows) = "application/json", example = json!([{ "x": 5, "y": 6, "label": "left" }])),
        (inline(Binary) = "application/vnd.apache.parquet"), (inline(Binary) = "application/octet-stream"))),
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
    let mut known = api.store.dataset(&name).await?;
    api.check_bytes_quota().await?;
    let mut upload = Upload::take(&api, &headers, &query, body, Some(summary_of(&known)?)).await?;
    if query.dry_run.unwrap_or(false) {
        let (appended, warnings) = (upload.part.rows, upload.summary.warnings);
        return Ok(axum::Json(Appended { appended, rows: known.rows + appended, warnings }));
    }
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
    #[param(minimum = 0, maximum = 9.0e18)]
    offset: u64,
    /// Rows to show, at most 10,000; 100 when missing.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// Rows of a dataset.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(examples(json!({ "rows": [{ "x": 1, "y": 2, "label": "left" }], "offset": 0, "total": 150 })))]
struct DatasetRows {
    /// The requested rows, as far as they exist.
    #[schema(value_type = Vec<Row>)]
    rows: Vec<Map<String, Value>>,
    /// Rows before them.
    offset: u64,
    /// Rows of the dataset.
    total: u64,
}

/// Rows as JSON.
#[utoipa::path(get, path = "/api/v1/datasets/{name}/rows", tag = "datasets", security(("key" = ["read"])),
    params(("name" = inline(DatasetName), Path), Window), responses((status = 200, body = DatasetRows),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_rows(
    State(api): State<Api>,
    Path(name): Path<DatasetName>,
    Query(window): Query<Window>,
) -> Answer<axum::Json<DatasetRows>> {
    let limit = super::read::within("limit", window.limit.unwrap_or(100), 1, MAX_ROWS)?;
    let dataset = api.store.dataset(&name).await?;
    if i64::try_from(window.offset).is_err() {
        let reason = "is larger than any dataset";
        return Err(Error::malformed("invalid_request", format!("offset {reason}"))
            .with_details([Detail::path("offset", reason)])
            .into());
    }
    let rows = rows(&api, &dataset, window.offset, limit).await?;
    Ok(axum::Json(DatasetRows { rows, offset: window.offset, total: dataset.rows }))
}

/// Removes it.
#[utoipa::path(delete, path = "/api/v1/datasets/{name}", tag = "datasets", security(("key" = ["datasets"])),
    params(("name" = inline(DatasetName), Path)), responses((status = 204),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "a job reads it", body = Problem, content_type = "application/problem+json")))]
async fn delete_dataset(State(api): State<Api>, Path(name): Path<DatasetName>) -> Answer<StatusCode> {
    api.store.delete_dataset(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn summary_of(dataset: &Dataset) -> Result<Summary> {
    Summary::deserialize(&dataset.columns).map_err(Error::internal)
}

/// Rows `offset..offset + limit`, with the columns of the files.
pub(crate) async fn rows(api: &Api, dataset: &Dataset, offset: u64, limit: usize) -> Result<Vec<Map<String, Value>>> {
    let parts = jobs::local_parts(&api.store, dataset).await?;
    let (summary, limits) = (summary_of(dataset)?, api.file_limits());
    blocking(move || kenyon_learn::data::plan::read_rows(&parts, &summary.columns, offset, limit, &limits)).await
}

/// A dataset in the form the interface returns, without how it is stored.
fn shown(dataset: &Dataset) -> Result<ShownDataset> {
    let Summary { columns, warnings, .. } = summary_of(dataset)?;
    let first = dataset.parts.first();
    let read_as = first.map(|part| ReadAs::new(&part.format, &part.compression, &part.read_as, &columns));
    Ok(ShownDataset {
        name: dataset.name.clone(),
        dry_run: false,
        rows: dataset.rows,
        bytes: dataset.bytes,
        digest: dataset.digest.clone(),
        revision: Some(dataset.revision),
        columns,
        warnings,
        read_as: read_as.transpose()?,
        preview: None,
        created_at: Some(dataset.created_at),
        updated_at: Some(dataset.updated_at),
    })
}

/// What storing an upload would answer.
async fn tried(name: &DatasetName, upload: Upload, limits: Limits) -> Result<ShownDataset> {
    let Upload { part, file, summary, .. } = upload;
    let columns = summary.columns.clone();
    let preview = blocking(move || kenyon_learn::data::plan::read_rows(&[file], &columns, 0, PREVIEW, &limits)).await?;
    let read_as = ReadAs::new(&part.format, &part.compression, &part.read_as, &summary.columns)?;
    Ok(ShownDataset {
        name: name.clone(),
        dry_run: true,
        rows: part.rows,
        bytes: part.file.bytes(),
        digest: part.file.digest().to_owned(),
        revision: None,
        columns: summary.columns,
        warnings: summary.warnings,
        read_as: Some(read_as),
        preview: Some(preview),
        created_at: None,
        updated_at: None,
    })
}

impl ReadAs {
    /// From what is stored with a part (parts of 0.1 have no options) and, where the caller left it to the columns, what
    /// they have in common.
    fn new(format: &str, compression: &str, options: &Value, columns: &[ColumnInfo]) -> Result<Self> {
        let mut options: ReadOptions = Option::deserialize(options).map_err(Error::internal)?.unwrap_or_default();
        let spellings = |kind| columns.iter().filter(move |c| kind == c.kind).filter_map(|c| c.spelling.as_ref());
        if options.decimal.is_none() && spellings(ColumnKind::Number).next().is_some() {
            let comma = spellings(ColumnKind::Number).any(|spelling| spelling.decimal_comma);
            options.decimal = Some(if comma { DecimalMark::Comma } else { DecimalMark::Point });
        }
        if options.missing.is_none() {
            let mut words: Vec<String> = columns.iter().flat_map(|c| c.words.iter().map(|(w, _)| w.clone())).collect();
            words.sort_unstable();
            words.dedup();
            options.missing = (!words.is_empty()).then_some(words);
        }
        options.day_first = options.day_first.or_else(|| order_of_dates(columns));
        Ok(Self {
            format: Format::deserialize(&Value::from(format)).map_err(Error::internal)?,
            compression: Compression::deserialize(&Value::from(compression)).map_err(Error::internal)?,
            options,
        })
    }
}

/// Whether the day comes first in the dates of a file; none where no date needs it, or columns differ.
fn order_of_dates(columns: &[ColumnInfo]) -> Option<bool> {
    let dates = columns.iter().filter(|c| c.kind == ColumnKind::Timestamp);
    let ordered = dates.filter(|c| c.examples.iter().filter_map(Value::as_str).any(needs_an_order));
    let mut orders = ordered.filter_map(|c| c.spelling.as_ref()).map(|spelling| spelling.day_first);
    let first = orders.next()?;
    orders.all(|order| order == first).then_some(first)
}

/// Whether a date is written as `3/4/2024`, with other separators or more behind it, and not with the year first.
fn needs_an_order(date: &str) -> bool {
    let mut numbers = date.split(['/', '-', '.']);
    let mut is_short = || numbers.next().is_some_and(|n| n.len() <= 2 && n.parse::<u8>().is_ok());
    is_short() && is_short()
}

impl ShownDataset {
    /// The form in lists: without histograms and other long fields.
    fn small(mut self) -> Self {
        for column in &mut self.columns {
            (column.histogram, column.examples, column.words) = (Vec::new(), Vec::new(), Vec::new());
            column.members = None;
        }
        for warning in &mut self.warnings {
            warning.examples.clear();
        }
        self
    }
}

impl Api {
    /// Bounds on files.
    pub(crate) fn file_limits(&self) -> Limits {
        Limits { decompressed: self.config.max_decompressed_bytes, columns: self.config.max_columns }
    }

    /// 507 `quota_reached` when another dataset would be one too many.
    async fn check_dataset_quota(&self, name: &DatasetName) -> Result<()> {
        self.check_bytes_quota().await?;
        let full = self.store.counts().await?.datasets >= self.config.max_datasets;
        if full && self.store.dataset(name).await.is_err() {
            let detail = format!("this server keeps at most {} datasets", self.config.max_datasets);
            return Err(Error::new(Kind::DiskFull, "too_many_datasets", detail));
        }
        Ok(())
    }

    async fn check_bytes_quota(&self) -> Result<()> {
        let limit = self.config.max_dataset_bytes;
        if limit > 0 && self.store.counts().await?.dataset_bytes >= limit {
            let detail = format!("the datasets of this server may take {limit} bytes, and do");
            return Err(Error::new(Kind::DiskFull, "quota_reached", detail));
        }
        Ok(())
    }
}
