//! A server under test, and helpers for its calls.

pub(crate) use crate::support::clouds;
use crate::support::process::{Process, kenyon as program};
use crate::support::{contract, postgres};
use kenyon::app::{App, Running};
use kenyon::config::{Config, LogFormat};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::time::Duration;

pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) client: Client,
    running: Option<Runs>,
    _folder: tempfile::TempDir,
}

/// In this process, or as a process of its own.
enum Runs {
    Here(Running),
    There(Process),
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The status with the problem's code: what most tests check.
    pub(crate) fn problem(&self) -> (u16, &str) {
        let kind = self.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        assert_eq!(kind, "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        assert_eq!(self.body["request_id"].as_str(), self.header("x-request-id"), "{self:?}");
        assert!(self.body["title"].is_string() && self.body["type"].is_string() && self.body["detail"].is_string());
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self.body
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server whose configuration was changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".into(),
            grpc_listen: "off".into(),
            data_dir: folder.path().join("data"),
            workers: 1,
            program: Some(env!("CARGO_BIN_EXE_kenyon").into()),
            ..Config::default()
        };
        if let Some(url) = fresh_database().await {
            config.database_url = url;
        }
        change(&mut config);
        // Set once for a process; an earlier one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (url, running) = match std::env::var_os("KENYON_TEST_BINARY") {
            Some(_) => {
                let process = Process::start(program("serve").envs(environment(&config))).unwrap();
                (process.url.clone(), Runs::There(process))
            }
            None => {
                let running = App::start(config).await.unwrap();
                (format!("http://{}", running.addr), Runs::Here(running))
            }
        };
        let client = Client::builder().timeout(Duration::from_secs(120)).build().unwrap();
        Self { url, client, running: Some(running), _folder: folder }
    }

    pub(crate) async fn stop(&mut self) {
        match self.running.take() {
            Some(Runs::Here(running)) => running.shutdown().await,
            Some(Runs::There(mut process)) => assert!(process.stop(), "{}", process.log()),
            None => {}
        }
    }

    /// The address of its gRPC interface, which the configuration must switch on.
    pub(crate) fn grpc(&self) -> String {
        match self.running.as_ref().unwrap() {
            Runs::Here(running) => format!("http://{}", running.grpc_addr.unwrap()),
            Runs::There(process) => process.grpc.clone().unwrap(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl serde::Serialize) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.request(Method::PUT, path).body(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Trains and waits; the job as it ended.
    pub(crate) async fn train(&self, model: &str, request: Value) -> Value {
        let job = self.post(&format!("/api/v1/models/{model}/train"), request).await.ok();
        self.ended(job["id"].as_str().unwrap()).await
    }

    /// Waits for the end of a job's events, which is the end of the job.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let events = self.request(Method::GET, &format!("/api/v1/jobs/{id}/events")).send().await.unwrap();
        assert_eq!(events.status(), StatusCode::OK);
        events.text().await.unwrap();
        self.get(&format!("/api/v1/jobs/{id}")).await.ok()
    }

    /// The server still answers.
    pub(crate) async fn assert_alive(&self) {
        assert_eq!(self.get("/readyz").await.status, 200);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let (Some(Runs::Here(running)), Ok(runtime)) = (self.running.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(running.shutdown());
        }
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) };
    let answer = Answer { status, headers, body };
    if method != Method::HEAD {
        contract::of_kenyon().check(&method, &path, status, answer.header("content-type"), &answer.body);
    }
    answer
}

/// A database of its own where `KENYON_TEST_DATABASE` selects Postgres: `postgres` starts a private
/// server, anything else is the address of one.
async fn fresh_database() -> Option<String> {
    let wanted = std::env::var("KENYON_TEST_DATABASE").ok()?;
    if wanted == "postgres" {
        return Some(postgres::server()?.database().await);
    }
    let name = format!("api_{}", uuid::Uuid::now_v7().simple());
    let pool = sqlx::postgres::PgPool::connect(&wanted).await.expect("KENYON_TEST_DATABASE can be reached");
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&pool).await.expect("a database can be made");
    let (base, _) = wanted.rsplit_once('/').expect("an address with a database");
    Some(format!("{base}/{name}"))
}

/// The settings as a process takes them, but for those that every test's process has in common.
fn environment(config: &Config) -> Vec<(String, String)> {
    macro_rules! variables {
        ($($name:ident),+ $(,)?) => {
            vec![$((format!("KENYON_{}", stringify!($name).to_uppercase()), config.$name.to_string())),+]
        };
    }
    assert_eq!(config.log_format, LogFormat::Auto, "the address is read from the log");
    let mut all = variables![
        grpc_listen,
        database_url,
        objects,
        workers,
        job_threads,
        insecure,
        mcp,
        cors_origins,
        max_body_bytes,
        max_upload_bytes,
        max_decompressed_bytes,
        max_columns,
        max_models,
        max_datasets,
        max_dataset_bytes,
        max_queued_jobs,
        max_requests,
        max_connections,
        rate_limit,
        rate_limit_address,
        key_rows_limit,
        request_timeout,
        client_timeout,
        drain_timeout,
        max_batch_rows,
        max_queue_rows,
        max_batch_delay_us,
        busy_poll_us,
        model_cache_bytes,
        checkpoint_seconds,
        train_memory,
        device,
        job_retention_days,
        stream_history_bytes,
        webhook_url,
        webhook_allow_private,
        log,
    ];
    all.push(("KENYON_DATA_DIR".to_owned(), config.data_dir.to_string_lossy().into_owned()));
    for (name, secret) in [("MASTER_KEY", &config.master_key), ("WEBHOOK_SECRET", &config.webhook_secret)] {
        all.push((format!("KENYON_{name}"), secret.reveal().to_owned()));
    }
    all
}
