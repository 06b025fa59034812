//! A client that retries while the server is unavailable.

pub(crate) use crate::support::clouds;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long it retries before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Has the current address of the server; cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: Arc<Mutex<String>>,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        // An earlier call has set the TLS provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { http, url: Arc::new(Mutex::new(url.to_owned())) }
    }

    /// The server has another address now.
    pub(crate) fn moved(&self, url: &str) {
        *self.url.lock().unwrap() = url.to_owned();
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url.lock().unwrap())
    }

    /// One try.
    pub(crate) async fn once(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Option<(u16, Vec<u8>)> {
        self.keyed(method, path, body, None).await
    }

    /// One try with more headers.
    pub(crate) async fn with_headers(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, String)],
    ) -> Option<(u16, Vec<u8>)> {
        let mut request = self.http.request(method.parse().unwrap(), self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.bytes().await.ok()?.to_vec()))
    }

    async fn keyed(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        key: Option<&str>,
    ) -> Option<(u16, Vec<u8>)> {
        let mut request = self.http.request(method.parse().unwrap(), self.url(path));
        if let Some(body) = body {
            if body.first() == Some(&b'{') {
                request = request.header("content-type", "application/json");
            }
            request = request.body(body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.bytes().await.ok()?.to_vec()))
    }

    /// Retries until the answer is not a temporary failure.
    #[track_caller]
    pub(crate) fn bytes(&self, method: &str, path: &str) -> impl Future<Output = Vec<u8>> {
        let (client, method, path) = (self.clone(), method.to_owned(), path.to_owned());
        async move { client.send_until_answered(&method, &path, None, None).await }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_slice(&self.send_until_answered("GET", path, None, None).await).unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &[u8]) -> Value {
        serde_json::from_slice(&self.send_until_answered("PUT", path, Some(body), None).await).unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Value {
        let body = serde_json::to_vec(body).unwrap();
        serde_json::from_slice(&self.send_until_answered("POST", path, Some(&body), key).await).unwrap()
    }

    pub(crate) async fn post_bytes(&self, path: &str, body: &[u8]) -> Value {
        serde_json::from_slice(&self.send_until_answered("POST", path, Some(body), None).await).unwrap()
    }

    /// Trains and waits; the job as it ended.
    pub(crate) async fn train(&self, model: &str, request: &Value) -> Value {
        let job = self.post(&format!("/api/v1/models/{model}/train"), request, None).await;
        self.ended(job["id"].as_str().unwrap()).await
    }

    /// Waits for the end of a job.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        loop {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await;
            if !["queued", "running"].contains(&job["status"].as_str().unwrap()) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn send_until_answered(&self, method: &str, path: &str, body: Option<&[u8]>, key: Option<&str>) -> Vec<u8> {
        let begun = Instant::now();
        loop {
            let last = self.keyed(method, path, body.map(<[u8]>::to_vec), key).await;
            match last {
                Some((200..300, bytes)) => return bytes,
                // No server, one that is starting, or the first try with this key was cut off and may still run.
                None | Some((409 | 429 | 503, _)) if begun.elapsed() < PATIENCE => {}
                Some((status, bytes)) => panic!("{method} {path}: {status} {}", String::from_utf8_lossy(&bytes)),
                None => panic!("{method} {path}: no answer"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
