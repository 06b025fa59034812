//! Probes and metrics: liveness, readiness, counters. They are part of the interface, and alone, without keys and
//! TLS, what the metrics address serves.

use super::error::{self, Answer, Problem};
use crate::serving::Engine;
use crate::store::Store;
use crate::{Error, Kind, telemetry};
use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the probes of a process check.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    store: Store,
    engine: Engine,
    draining: Arc<AtomicBool>,
}

pub(crate) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Probe: FromRef<S>,
{
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
async fn readyz(State(probe): State<Probe>) -> Answer<axum::Json<Health>> {
    probe.ready().await?;
    Ok(Health::new("ready"))
}

/// Whether database and object store answer.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn healthz(State(probe): State<Probe>) -> Answer<axum::Json<Health>> {
    probe.ready().await?;
    probe
        .store
        .objects()
        .check()
        .await
        .map_err(|cause| unavailable("objects_unavailable", "the object store does not answer", cause))?;
    Ok(Health::new("healthy"))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health", security(("key" = ["read"])),
    responses((status = 200, content_type = "text/plain", body = String)))]
async fn prometheus(State(probe): State<Probe>) -> Response {
    let metrics = telemetry::metrics();
    metrics.run_upkeep();
    let mut text = metrics.render();
    probe.engine.write_metrics(&mut text);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

impl Probe {
    /// The probes of a process that has this store and this engine.
    pub(crate) fn new(store: Store, engine: Engine) -> Self {
        Self { store, engine, draining: Arc::default() }
    }

    /// Probes and metrics alone, for an address of their own: without keys, so that a scraper and a probe need none.
    pub(crate) fn router(self) -> Router {
        let (router, _) = router::<Self>().split_for_parts();
        router.layer(CatchPanicLayer::custom(error::panicked)).with_state(self)
    }

    /// From now on the process is not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process stops.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// 503 while starting or draining, or when the database does not answer.
    pub(crate) async fn ready(&self) -> Answer<()> {
        if self.draining() {
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
