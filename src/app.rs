//! Wiring: the parts of a server, the order in which they start, and how it stops without losing
//! anything: no new connections, running requests finish, workers return their jobs, then the
//! database closes.

mod webhook;

use crate::config::Config;
use crate::http::busy_poll::BusyPoll;
use crate::http::health::Probe;
use crate::http::server::{self, Certificates};
use crate::http::{Api, Parts};
use crate::jobs::{Outcome, Runner, Trainer, Work, WorkerConfig, Workers};
use crate::serving::{Engine, Limits, Settings, StoredModels, StreamOptions, Streams, encoders};
use crate::store::{Change, JobKind, Store, StoreOptions};
use crate::{Error, Kind, Result, telemetry};
use kenyon_learn::learning::{Bundle, Monitor};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use webhook::Webhook;

/// The document of the whole HTTP interface, as a server with keys serves it.
pub fn openapi() -> serde_json::Value {
    crate::http::document(crate::oip::rest::router())
}

/// Interval of small periodic work.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// The server.
#[derive(Debug)]
pub struct App;

/// A running server; it stops on [`Running::shutdown`], not when dropped.
#[derive(Debug)]
pub struct Running {
    /// Where HTTP is served.
    pub addr: SocketAddr,
    /// Where gRPC is served, unless it is off.
    pub grpc_addr: Option<SocketAddr>,
    /// Where probes and metrics are served without keys, unless that is off.
    pub metrics_addr: Option<SocketAddr>,
    api: Api,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
}

impl App {
    /// Starts everything; when this returns, requests are answered.
    pub async fn start(config: Config) -> Result<Running> {
        config.check()?;
        // Fails where the host program has installed one, which works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        telemetry::metrics();
        let config = Arc::new(on_device(config));
        let tls = config.tls().map(|(certificate, key)| Certificates::load(certificate, key)).transpose()?;
        let webhook = Webhook::new(&config)?;
        let listener = bind(config.http_address()?).await?;
        let addr = listener.local_addr()?;
        let store = Store::open(&store_options(&config)).await?;
        encoders::provide(&store, config.job_threads());
        let engine = Engine::new(Arc::new(StoredModels(store.clone())), settings(&config));
        let streams = Streams::new(store.clone(), engine.clone(), stream_options(&config));
        let changes = tokio::spawn(engine.clone().follow(store.changes()));
        let followed = tokio::spawn(follow_streams(streams.clone(), store.changes()));
        let stop = CancellationToken::new();
        let workers = workers(&store, streams.clone(), engine.clone(), &config);
        let parts = Parts { config: config.clone(), store, engine, streams, stop: stop.clone() };
        let (api, router) = Api::new(parts, crate::oip::rest::router());
        let idle = tokio::spawn(api.streams.clone().consolidate_when_idle());
        let mut background = vec![tokio::spawn(tidy(api.clone())), changes, followed, idle];
        if let Some(webhook) = webhook {
            let (store, drifts) = (api.store.clone(), api.streams.drifts());
            background.push(tokio::spawn(webhook.clone().follow_drifts(store.clone(), drifts)));
            let owner = workers.owner().to_owned();
            background.push(tokio::spawn(webhook.follow(owner, store.clone(), store.changes())));
        }
        if let Some(tls) = tls.clone() {
            background.push(tokio::spawn(tls.watch()));
        }
        let busy_poll = BusyPoll::new(Duration::from_micros(config.busy_poll_us));
        background.push(tokio::spawn(busy_poll.clone().keep()));
        let served = server::serve(listener, router, config.clone(), tls.clone(), busy_poll.clone(), stop.clone());
        let mut tasks = vec![tokio::spawn(served)];
        if config.workers > 0 {
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move { workers.run(stop).await }));
        }
        let mut grpc_addr = None;
        if let Some(address) = config.grpc_address()? {
            let listener = bind(address).await?;
            grpc_addr = Some(listener.local_addr()?);
            let router = crate::oip::grpc::router(api.clone())?;
            tasks.push(tokio::spawn(server::serve(listener, router, config.clone(), tls, busy_poll, stop.clone())));
        }
        let metrics = serve_probes(&config, api.probe.clone(), &stop).await?;
        let metrics_addr = metrics.as_ref().map(|(addr, _)| *addr);
        tasks.extend(metrics.map(|(_, task)| task));
        Ok(Running { addr, grpc_addr, metrics_addr, api, stop, tasks, background })
    }

    /// Fills an empty data folder from a snapshot.
    pub async fn restore(config: &Config, file: &Path) -> Result<()> {
        let manifest = crate::store::snapshot::restore(file, &store_options(config)).await?;
        tracing::info!(rows = manifest.rows, objects = manifest.objects, "restored a snapshot");
        Ok(())
    }

    /// Only works on jobs, until a signal to stop; then returns them at a checkpoint.
    pub async fn work(config: Config) -> Result<()> {
        config.check()?;
        let mut signals = Signals::listen()?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        telemetry::metrics();
        let config = Config { workers: config.workers.max(1), ..on_device(config) };
        let store = Store::open(&store_options(&config)).await?;
        encoders::provide(&store, config.job_threads());
        let engine = Engine::new(Arc::new(StoredModels(store.clone())), settings(&config));
        let streams = Streams::new(store.clone(), engine.clone(), stream_options(&config));
        let stop = CancellationToken::new();
        let config = Arc::new(config);
        let probe = Probe::new(store.clone(), engine.clone());
        let metrics = serve_probes(&config, probe.clone(), &stop).await?;
        let workers = workers(&store, streams, engine, &config);
        if let Some(webhook) = Webhook::new(&config)? {
            tokio::spawn(webhook.follow(workers.owner().to_owned(), store.clone(), store.changes()));
        }
        let working = tokio::spawn({
            let stop = stop.clone();
            async move { workers.run(stop).await }
        });
        let metrics_addr = metrics.as_ref().map(|(addr, _)| tracing::field::display(*addr));
        tracing::info!(workers = config.workers, metrics = metrics_addr, "kenyon works");
        signals.next().await;
        probe.drain();
        stop.cancel();
        let _ = working.await;
        if let Some((_, task)) = metrics {
            let _ = task.await;
        }
        store.close().await;
        Ok(())
    }

    /// Starts, and serves until a signal to stop; a second signal ends it at once.
    pub async fn run(config: Config) -> Result<()> {
        let signals = Signals::listen()?;
        let running = Self::start(config).await?;
        telemetry::traces::start()?;
        let scheme = if running.api.config.tls().is_some() { "https" } else { "http" };
        let grpc = running.grpc_addr.map(tracing::field::display);
        let metrics = running.metrics_addr.map(tracing::field::display);
        tracing::info!(address = %running.addr, grpc, metrics, "kenyon serves {scheme}://{}", running.addr);
        let ended = signals.wait(running).await;
        telemetry::traces::end();
        ended
    }
}

impl Running {
    /// Stops: running requests get the drain timeout to finish.
    pub async fn shutdown(self) {
        self.api.probe.drain();
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.background.iter().for_each(JoinHandle::abort);
        self.api.store.close().await;
    }
}

/// Runs the jobs of a server: trainings by themselves, consolidations where the streams are. An
/// improved state becomes a version.
#[derive(Clone, Debug)]
struct Jobs {
    trainer: Trainer,
    streams: Streams,
    engine: Engine,
}

impl Runner for Jobs {
    fn run(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        let outcome = if work.job.kind == JobKind::Consolidate {
            let done = work.wait(self.streams.consolidate(work.job.model()?))?;
            match done.version {
                Some(version) => Outcome::Version(version),
                None => Outcome::Result { metrics: done.result["prequential"].clone(), result: done.result },
            }
        } else {
            self.trainer.run(work, monitor)?
        };
        if let (Outcome::Version(new), Some(version)) = (&outcome, work.job.version) {
            // A published version can be loaded, and where the model is in use it is loaded already.
            let file = |name: &str| new.files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &bytes[..]);
            let bundle = Bundle::load(file)?;
            if new.withheld.is_none() {
                self.engine.prepare(work.job.model()?.as_str(), work.model_id, version, bundle);
            }
        }
        Ok(outcome)
    }
}

/// The settings with the name of the device that trainings run on. One that is not there is no reason not to serve: each
/// training then runs on the CPU and logs it.
fn on_device(config: Config) -> Config {
    let device = config.device.resolved();
    match device.open() {
        Ok(_) => tracing::info!(%device, "trainings run on this device"),
        Err(reason) => tracing::warn!(reason, "trainings run on the CPU"),
    }
    Config { device, ..config }
}

fn workers(store: &Store, streams: Streams, engine: Engine, config: &Config) -> Workers {
    let runner = Jobs { trainer: Trainer::new(config), streams, engine };
    Workers::new(store.clone(), Arc::new(runner), worker_config(config))
}

/// Opens the streams, then applies what other replicas learn.
async fn follow_streams(streams: Streams, changes: broadcast::Receiver<Change>) {
    if let Err(error) = streams.start().await {
        tracing::error!(%error, cause = ?error.cause, "the streams could not be opened");
    }
    streams.follow(changes).await;
}

async fn tidy(api: Api) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        api.tidy().await;
    }
}

/// Serves probes and metrics at the metrics address, until `stop`; none where it is off.
async fn serve_probes(
    config: &Arc<Config>,
    probe: Probe,
    stop: &CancellationToken,
) -> Result<Option<(SocketAddr, JoinHandle<()>)>> {
    let Some(address) = config.metrics_address()? else { return Ok(None) };
    let listener = bind(address).await?;
    let addr = listener.local_addr()?;
    // A scrape is rare: no thread polls for the next one.
    let busy_poll = BusyPoll::new(Duration::ZERO);
    let served = server::serve(listener, probe.router(), config.clone(), None, busy_poll, stop.clone());
    Ok(Some((addr, tokio::spawn(served))))
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|cause| {
        let detail = format!("the address {address} cannot be listened on: {cause}");
        Error::new(Kind::Unavailable, "address_unavailable", detail)
    })
}

fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        data_dir: config.data_dir.clone(),
        database_url: config.database_url().map(Into::into),
        objects_url: config.objects().map(Into::into),
    }
}

fn worker_config(config: &Config) -> WorkerConfig {
    WorkerConfig {
        workers: config.workers,
        threads: config.job_threads(),
        checkpoint_every: Duration::from_secs_f64(config.checkpoint_seconds),
        retention: Duration::from_secs_f64(config.job_retention_days * 86_400.0),
        ..WorkerConfig::default()
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        limits: Limits {
            max_batch_rows: config.max_batch_rows,
            max_queue_rows: config.max_queue_rows,
            max_batch_delay: Duration::from_micros(config.max_batch_delay_us),
            ..Limits::default()
        },
        cache_bytes: config.model_cache_bytes,
        deadline: config.request_timeout(),
        ..Settings::default()
    }
}

fn stream_options(config: &Config) -> StreamOptions {
    StreamOptions {
        threads: config.job_threads(),
        history_bytes: config.stream_history_bytes,
        key_rows_limit: config.key_rows_limit,
    }
}

/// The signals that stop the process.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Installed at the start, so that a signal during it is not lost.
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn wait(mut self, running: Running) -> Result<()> {
        self.next().await;
        tracing::info!("stopping: running requests finish");
        tokio::select! {
            () = running.shutdown() => Ok(()),
            () = self.next() => Err(Error::new(Kind::Canceled, "stopped", "stopped by a second signal")),
        }
    }
}
