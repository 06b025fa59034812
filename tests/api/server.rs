//! A server to test, and short words for talking to it.

use kenyon::app::{App, Running};
use kenyon::config::Config;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::time::Duration;

pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) client: Client,
    running: Option<Running>,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The status with the problem's code: what most tests look at.
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
            ..Config::default()
        };
        if let Some(url) = fresh_database().await {
            config.database_url = url;
        }
        change(&mut config);
        let running = App::start(config).await.unwrap();
        let client = Client::builder().timeout(Duration::from_secs(120)).build().unwrap();
        Self { url: format!("http://{}", running.addr), client, running: Some(running), _folder: folder }
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
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

    /// The server still does what it is there for.
    pub(crate) async fn assert_alive(&self) {
        assert_eq!(self.get("/readyz").await.status, 200);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let (Some(running), Ok(runtime)) = (self.running.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(running.shutdown());
        }
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) };
    Answer { status, headers, body }
}

/// A database of its own on the Postgres server that the environment names.
async fn fresh_database() -> Option<String> {
    let server = std::env::var("KENYON_TEST_DATABASE_URL").ok()?;
    let name = format!("api_{}", uuid::Uuid::now_v7().simple());
    let pool = sqlx::postgres::PgPool::connect(&server).await.expect("KENYON_TEST_DATABASE_URL can be reached");
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&pool).await.expect("a database can be made");
    let (base, _) = server.rsplit_once('/').expect("an address with a database");
    Some(format!("{base}/{name}"))
}

/// A small table that can be learned: two clouds of points and a column without information.
pub(crate) fn clouds(rows: usize) -> String {
    let mut csv = String::from("x,y,colour,label\n");
    for i in 0..rows {
        let side = if i % 2 == 0 { 1.0 } else { -1.0 };
        let noise = |k: usize| ((i * k) % 17) as f64 / 17.0 - 0.5;
        let colour = ["red", "green", "blue"][i % 3];
        let label = if side > 0.0 { "right" } else { "left" };
        csv += &format!("{:.3},{:.3},{colour},{label}\n", side * 2.0 + noise(7), noise(11));
    }
    csv
}
