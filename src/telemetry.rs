//! Logs and metrics: formats and names. What is counted where is documented elsewhere.

pub mod traces;

use crate::config::{Config, LogFormat};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// HTTP requests by method, route and status.
pub const HTTP_REQUESTS: &str = "kenyon_http_requests_total";
/// Seconds from the head of a request to the head of its answer, by method and route.
pub const HTTP_DURATION: &str = "kenyon_http_request_duration_seconds";
/// Jobs by status.
pub const JOBS: &str = "kenyon_jobs";
/// Seconds jobs waited for a worker.
pub const JOB_QUEUE_SECONDS: &str = "kenyon_job_queue_seconds";
/// Rows learned by observe and feedback, by model.
pub const OBSERVED_ROWS: &str = "kenyon_observed_rows_total";
/// Changes detected, by model.
pub const DRIFT_DETECTED: &str = "kenyon_drift_detected_total";
/// Accuracy, or mean absolute error, of a stream's recent rows, by model.
pub const PREQUENTIAL_WINDOW: &str = "kenyon_prequential_window";
/// Always 1, with the version as a label.
pub const BUILD_INFO: &str = "kenyon_build_info";

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts logging to standard error. Only the first call of a process has an effect.
pub fn init_logs(config: &Config) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let json = match config.log_format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        layer.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
}

/// The process's metrics; the first call starts counting.
pub fn metrics() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        let seconds =
            [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
        let minutes = [0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0];
        let builder = PrometheusBuilder::new();
        // Buckets are constant and not empty, so neither call can fail; without them the exporter
        // would make summaries, which cannot be added up over replicas.
        let builder = match builder.set_buckets(&seconds) {
            Ok(builder) => builder,
            Err(_) => PrometheusBuilder::new(),
        };
        let builder = match builder.set_buckets_for_metric(Matcher::Full(JOB_QUEUE_SECONDS.into()), &minutes) {
            Ok(builder) => builder,
            Err(_) => PrometheusBuilder::new(),
        };
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Another recorder exists only where this library is embedded in a host that has one.
        let _ = metrics::set_global_recorder(recorder);
        describe();
        handle
    })
}

fn describe() {
    describe_counter!(HTTP_REQUESTS, "HTTP requests by method, route and status");
    describe_histogram!(HTTP_DURATION, Unit::Seconds, "Seconds to answer an HTTP request, by method and route");
    describe_gauge!(JOBS, "Jobs by status");
    describe_histogram!(JOB_QUEUE_SECONDS, Unit::Seconds, "Seconds jobs waited for a worker");
    describe_counter!(OBSERVED_ROWS, "Rows learned by observe and feedback");
    describe_counter!(DRIFT_DETECTED, "Times drift was noticed");
    describe_gauge!(PREQUENTIAL_WINDOW, "Accuracy, or mean absolute error, of a stream's recent rows");
    describe_gauge!(BUILD_INFO, "Always 1; the version is a label");
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Models with streams that have series of their own: those that learned first.
const NAMED_STREAMS: usize = 100;

/// The value of the label `model` for a stream's metrics. A server may have thousands of streams; those beyond the first
/// are counted together under `*`, which no model is called, so that sums over all models stay complete.
pub fn stream_label(model: &str) -> String {
    static NAMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    if named.len() < NAMED_STREAMS && !named.contains(model) {
        named.insert(model.to_owned());
    }
    if named.contains(model) { model.to_owned() } else { "*".into() }
}

/// Resident memory of this process in bytes, where the system reports it.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
