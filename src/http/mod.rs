//! HTTP: each resource is a file with its `router()`; `error` holds the only table of statuses.
//! Handlers parse, call one method, render. What a route needs (a scope, a limit) is in its
//! OpenAPI description and is enforced by `middleware` from there.

mod audit;
mod batch;
mod blocking;
mod body;
pub(crate) mod busy_poll;
mod compare;
mod comparisons;
pub(crate) mod context;
mod datasets;
mod description;
pub(crate) mod embed;
mod empty_models;
mod encoders;
pub(crate) mod error;
mod exchange;
mod families;
pub(crate) mod health;
mod importance;
mod jobs;
mod keys;
mod mcp;
mod middleware;
mod model_answers;
mod models;
mod neighbors;
mod pages;
mod predict;
pub(crate) mod read;
mod routes;
pub(crate) mod schemas;
pub(crate) mod server;
mod snapshots;
mod streams;
mod system;
mod upload;

use crate::config::Config;
use crate::jobs::Queue;
use crate::serving::{Engine, Streams};
use crate::store::Store;
use crate::store::access::Access;
use crate::telemetry;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::{Extension, Router};
use bytes::Bytes;
use health::Probe;
use routes::{Class, Routes};
use serde_json::Value;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{License, OpenApi};
use utoipa_axum::router::OpenApiRouter;

/// The state of handlers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<ApiState>);

/// The shared part of [`Api`].
#[derive(Debug)]
pub struct ApiState {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) streams: Streams,
    pub(crate) access: Access,
    pub(crate) queue: Queue,
    pub(crate) limits: middleware::Limits,
    pub(crate) routes: Routes,
    pub(crate) document: Bytes,
    pub(crate) probe: Probe,
    /// Ends streams that have no end of their own.
    pub(crate) stop: CancellationToken,
    pub(crate) started: Instant,
    pub(crate) loopback_only: bool,
    /// Files that are answered at the same time; others wait, so that single rows find a core.
    pub(crate) files_answered: Arc<Semaphore>,
}

impl Deref for Api {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.0
    }
}

impl FromRef<Api> for Probe {
    fn from_ref(api: &Api) -> Self {
        api.probe.clone()
    }
}

/// The parts of the interface.
#[derive(Debug)]
pub struct Parts {
    /// Settings.
    pub config: Arc<Config>,
    /// The store.
    pub store: Store,
    /// Predicting.
    pub engine: Engine,
    /// Observing.
    pub streams: Streams,
    /// Ends streams that have no end of their own.
    pub stop: CancellationToken,
}

impl Api {
    /// The interface over these parts, with the routes of further `protocols`, and the router to serve.
    pub fn new(parts: Parts, protocols: OpenApiRouter<Self>) -> (Self, Router) {
        let (router, document) = described(protocols);
        let access = Access::new(parts.store.clone(), parts.config.master_key());
        let open = parts.config.http_address().is_ok_and(|a| a.ip().is_loopback());
        let api = Self(Arc::new(ApiState {
            limits: middleware::Limits::new(&parts.config),
            routes: Routes::new(&document),
            document: served(&document, !access.closed()),
            probe: Probe::new(parts.store.clone(), parts.engine.clone()),
            started: Instant::now(),
            files_answered: Arc::new(Semaphore::new((crate::config::cores() / 2).max(1))),
            loopback_only: open && !access.closed() && !parts.config.insecure,
            access,
            queue: Queue::new(parts.store.clone(), parts.config.max_queued_jobs),
            config: parts.config,
            store: parts.store,
            engine: parts.engine,
            streams: parts.streams,
            stop: parts.stop,
        }));
        let router = router
            .fallback(pages::fallback)
            .method_not_allowed_fallback(error::method_not_allowed)
            // The outermost first. One layer of several parts: each layer of its own is an allocation for
            // the service and one for its future, a request.
            .layer((
                CompressionLayer::new(),
                axum::middleware::from_fn_with_state(api.clone(), middleware::guard),
                DefaultBodyLimit::disable(),
                CatchPanicLayer::custom(error::panicked),
            ))
            .with_state(api.clone());
        let router = match api.config.mcp {
            true => router.clone().layer(Extension(mcp::Service::new(&api, router, &completed(&document, false)))),
            false => router,
        };
        let router = match cors(&api.config.cors_origins) {
            Some(cors) => router.layer(cors),
            None => router,
        };
        (api, router)
    }

    /// Bytes a body of this kind of route may have.
    pub(crate) fn limit_of(&self, class: Class) -> u64 {
        match class {
            Class::Upload => self.config.max_upload_bytes,
            Class::Stream => u64::MAX,
            Class::Plain | Class::Hot | Class::Health => self.config.max_body_bytes,
        }
    }

    /// Periodic work: removes idle clients, counts jobs.
    pub async fn tidy(&self) {
        self.limits.forget();
        telemetry::metrics().run_upkeep();
        if let Ok(counts) = self.store.counts().await {
            let names = ["queued", "running", "succeeded", "failed", "canceled"];
            for (status, count) in names.into_iter().zip(counts.jobs) {
                metrics::gauge!(telemetry::JOBS, "status" => status).set(count as f64);
            }
        }
    }
}

/// The document as it is served.
fn served(document: &OpenApi, open: bool) -> Bytes {
    serde_json::to_vec(&completed(document, open)).unwrap_or_default().into()
}

fn completed(document: &OpenApi, open: bool) -> Value {
    description::complete(serde_json::to_value(document).unwrap_or_default(), open)
}

/// All routes with their description.
fn described(protocols: OpenApiRouter<Api>) -> (Router<Api>, OpenApi) {
    let mut document = OpenApi::default();
    document.info.title = "Kenyon".into();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".into());
    document.info.license = Some(license);
    document.info.description = Some("A learning server: rows go in, trained models answer.".into());
    let router = OpenApiRouter::with_openapi(document)
        .merge(pages::router())
        .merge(health::router())
        .merge(system::router())
        .merge(families::router())
        .merge(datasets::router())
        .merge(importance::router())
        .merge(models::router())
        .merge(predict::router())
        .merge(audit::router())
        .merge(batch::router())
        .merge(compare::router())
        .merge(comparisons::router())
        .merge(empty_models::router())
        .merge(streams::router())
        .merge(snapshots::router())
        .merge(exchange::router())
        .merge(encoders::router())
        .merge(embed::router())
        .merge(neighbors::router())
        .merge(jobs::router())
        .merge(keys::router())
        .merge(mcp::router())
        .merge(protocols);
    let (router, mut document) = router.split_for_parts();
    let mut key = Http::new(HttpAuthScheme::Bearer);
    key.description = Some("A key, or the master key. Which scopes it needs stands with each call.".into());
    let header = ApiKeyValue::with_description("X-API-Key", "The same key in a header of its own.");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    components.add_security_scheme("header", SecurityScheme::ApiKey(ApiKey::Header(header)));
    (router, document)
}

/// The document alone, with that of further `protocols`, as a server with keys serves it.
pub fn document(protocols: OpenApiRouter<Api>) -> Value {
    completed(&described(protocols).1, false)
}

fn cors(origins: &str) -> Option<CorsLayer> {
    let allowed = match origins.trim() {
        "" => return None,
        "*" => AllowOrigin::any(),
        list => AllowOrigin::list(list.split(',').filter_map(|o| o.trim().parse().ok())),
    };
    let layer = CorsLayer::new().allow_origin(allowed).allow_methods(tower_http::cors::Any);
    Some(layer.allow_headers(tower_http::cors::Any).expose_headers([middleware::REQUEST_ID]))
}
