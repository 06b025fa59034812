//! Probes and metrics: liveness, readiness, counters.

use super::Api;
use super::error::{Answer, Problem};
use crate::{Error, Kind, telemetry};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::atomic::Ordering;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(healthz))
        .routes(routes!(prometheus))
}

/// The state of the server.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Health {
    /// `live`, `ready` or `healthy`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

impl Health {
    fn new(status: &'static str) -> axum::Json<Self> {
        axum::Json(Self { status, version: env!("CARGO_PKG_VERSION") })
    }
}

/// Liveness: whether the process runs. Ignores load and every other system.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Health)))]
async fn livez() -> axum::Json<Health> {
    Health::new("live")
}

/// Whether requests should be sent here: not while starting, draining, or without the database.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn readyz(State(api): State<Api>) -> Answer<axum::Json<Health>> {
    api.ready().await?;
    Ok(Health::new("ready"))
}

/// Whether database and object store answer.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn healthz(State(api): State<Api>) -> Answer<axum::Json<Health>> {
    api.ready().await?;
    api.store
        .objects()
        .check()
        .await
        .map_err(|cause| unavailable("objects_unavailable", "the object store does not answer", cause))?;
    Ok(Health::new("healthy"))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health", security(("key" = ["read"])),
    responses((status = 200, content_type = "text/plain", body = String)))]
async fn prometheus(State(api): State<Api>) -> Response {
    let metrics = telemetry::metrics();
    metrics.run_upkeep();
    let mut text = metrics.render();
    api.engine.write_metrics(&mut text);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

impl Api {
    /// 503 while starting or draining, or when the database does not answer.
    pub(crate) async fn ready(&self) -> Answer<()> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Unavailable, "draining", "the server is stopping").into());
        }
        let ping = tokio::time::timeout(std::time::Duration::from_secs(2), self.store.ping()).await;
        let answered = ping.map_err(|_| Error::internal("no answer in 2 s")).and_then(|r| r);
        answered.map_err(|cause| unavailable("database_unavailable", "the database does not answer", cause).into())
    }
}

fn unavailable(code: &'static str, detail: &str, cause: Error) -> Error {
    let mut error = Error::new(Kind::Unavailable, code, detail).with_retry_after(1);
    error.cause = Some(cause.into());
    error
}
