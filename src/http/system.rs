//! The server itself: version, load, settings that matter to clients.

use super::Api;
use super::error::Answer;
use crate::telemetry;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(system))
}

/// The server and its state.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct System {
    /// Name of the program.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// Cores it may use.
    cores: usize,
    /// The device that trainings run on: `cpu`, `cuda:N` or `metal`. Where it is not there they run on the CPU, with the
    /// warning `device_fallback`.
    device: String,
    /// `sqlite` or `postgres`.
    database: &'static str,
    /// Jobs it trains at the same time.
    workers: usize,
    /// Jobs that wait.
    queue_depth: u64,
    /// Seconds since it started.
    uptime: f64,
    /// Memory.
    memory: Memory,
    /// Whether requests need a key.
    keys_required: bool,
}

/// Memory of the process.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Memory {
    /// Resident bytes, where the system reports them.
    resident_bytes: Option<u64>,
}

/// The server and its state.
#[utoipa::path(get, path = "/api/v1/system", tag = "system", security(("key" = ["read"])), responses((status = 200, body = System)))]
async fn system(State(api): State<Api>) -> Answer<Json<System>> {
    Ok(Json(System {
        name: "kenyon",
        version: env!("CARGO_PKG_VERSION"),
        cores: crate::config::cores(),
        device: api.config.device.to_string(),
        database: api.store.backend(),
        workers: api.config.workers,
        queue_depth: api.store.queue_depth().await?,
        uptime: api.started.elapsed().as_secs_f64(),
        memory: Memory { resident_bytes: telemetry::resident_bytes() },
        keys_required: api.access.closed(),
    }))
}
