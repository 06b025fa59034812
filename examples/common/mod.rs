//! Shared by the worked examples: a server, data, and the four calls they make.
//! Everything goes over the HTTP interface, as it would from any other program.
#![allow(dead_code, reason = "each example uses its own part")]

use anyhow::{Context, Result, anyhow, bail};
use kenyon::app::{App, Running};
use kenyon::config::Config;
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server: the one `KENYON_SERVER` names, else one of its own on a free port with a temporary folder.
pub(crate) struct Kenyon {
    url: String,
    client: reqwest::Client,
    own: Option<(Running, tempfile::TempDir)>,
}

impl Kenyon {
    /// Connects, or starts.
    pub(crate) async fn connect() -> Result<Self> {
        if let Ok(url) = std::env::var("KENYON_SERVER") {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let mut headers = reqwest::header::HeaderMap::new();
            if let Ok(key) = std::env::var("KENYON_KEY") {
                headers.insert("authorization", format!("Bearer {key}").parse()?);
            }
            let client = reqwest::Client::builder().default_headers(headers).build()?;
            return Ok(Self { url: url.trim_end_matches('/').to_owned(), client, own: None });
        }
        let folder = tempfile::tempdir()?;
        let config = Config {
            listen: "127.0.0.1:0".into(),
            grpc_listen: "off".into(),
            data_dir: folder.path().into(),
            ..Config::default()
        };
        let running = App::start(config).await?;
        let url = format!("http://{}", running.addr);
        Ok(Self { url, client: reqwest::Client::new(), own: Some((running, folder)) })
    }

    /// Stops a server that was started here.
    pub(crate) async fn close(self) {
        if let Some((running, _folder)) = self.own {
            running.shutdown().await;
        }
    }

    /// One call; a problem document becomes an error with the server's detail.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.client.request(method.parse()?, format!("{}/api/v1{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request.send().await?).await
    }

    /// `PUT /datasets/{name}`.
    pub(crate) async fn upload(&self, name: &str, kind: &'static str, body: String) -> Result<Value> {
        let request = self.client.put(format!("{}/api/v1/datasets/{name}", self.url));
        answer(request.header("content-type", kind).body(body).send().await?).await
    }

    /// A file.
    pub(crate) async fn download(&self, path: &str) -> Result<Vec<u8>> {
        let response = self.client.get(format!("{}/api/v1{path}", self.url)).send().await?;
        Ok(response.error_for_status()?.bytes().await?.to_vec())
    }

    /// `POST` with a file as body.
    pub(crate) async fn send(&self, path: &str, body: Vec<u8>) -> Result<Value> {
        answer(self.client.post(format!("{}/api/v1{path}", self.url)).body(body).send().await?).await
    }

    /// `POST /models/{model}/train`, then its job until it ends.
    pub(crate) async fn train(&self, model: &str, request: Value) -> Result<Value> {
        let queued = self.call("POST", &format!("/models/{model}/train"), Some(&request)).await?;
        let path = format!("/jobs/{}", queued["id"].as_str().context("a job has an id")?);
        loop {
            let job = self.call("GET", &path, None).await?;
            match job["status"].as_str().unwrap_or_default() {
                "succeeded" => return Ok(job),
                "failed" | "canceled" => bail!("the training ended early: {}", job["error"]),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// `POST /models/{model}/evaluate`: the metrics on a dataset it was not trained on.
    pub(crate) async fn evaluate(&self, model: &str, dataset: &str) -> Result<Value> {
        self.call("POST", &format!("/models/{model}/evaluate"), Some(&json!({ "dataset": dataset }))).await
    }

    /// `POST /models/{model}/predict` with one row.
    pub(crate) async fn predict(&self, model: &str, row: Value) -> Result<Value> {
        let request = json!({ "rows": [row], "top_k": 3, "coverage": 0.9, "explain": true });
        let mut answer = self.call("POST", &format!("/models/{model}/predict"), Some(&request)).await?;
        Ok(answer["predictions"][0].take())
    }
}

async fn answer(response: reqwest::Response) -> Result<Value> {
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        return Err(anyhow!("{status}: {text}"));
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A metric of an evaluation.
pub(crate) fn metric(evaluation: &Value, name: &str) -> Result<f64> {
    evaluation["metrics"][name].as_f64().with_context(|| format!("no {name} in {evaluation}"))
}

/// The text of a data file below `KENYON_SHARED_DATA` or `../shared/data`, decompressed; or `None`,
/// with a message that names what is missing and its source.
pub(crate) fn data(file: &str, source: &str) -> Result<Option<String>> {
    let folder = std::env::var_os("KENYON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = folder.join(file);
    if !path.is_file() {
        println!("skipped: {file} is not below {}\nThe data: {source}", folder.display());
        return Ok(None);
    }
    let bytes = std::fs::read(&path)?;
    Ok(Some(if file.ends_with(".gz") { inflated(&bytes)? } else { String::from_utf8(bytes)? }))
}

/// Text that was compressed with gzip.
pub(crate) fn inflated(bytes: &[u8]) -> Result<String> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text)?;
    Ok(text)
}

/// Splits a CSV file's rows into `folds` random parts: for each, training rows and test rows.
pub(crate) fn folds(csv: &str, folds: usize) -> Vec<(String, String)> {
    let (header, body) = csv.split_once('\n').unwrap_or((csv, ""));
    let mut rows: Vec<&str> = body.lines().filter(|line| !line.is_empty()).collect();
    let mut state = 1u64;
    for last in (1..rows.len()).rev() {
        // Knuth's MMIX generator; the high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        rows.swap(last, (state >> 33) as usize % (last + 1));
    }
    let part = |fold: usize, test: bool| {
        let kept = rows.iter().enumerate().filter(|(i, _)| (i % folds == fold) == test).map(|(_, row)| *row);
        std::iter::once(header).chain(kept).collect::<Vec<_>>().join("\n")
    };
    (0..folds).map(|fold| (part(fold, false), part(fold, true))).collect()
}

/// Trains and tests on each of five parts; the mean accuracy.
pub(crate) async fn cross_validate(kenyon: &Kenyon, name: &str, csv: &str, request: &Value) -> Result<f64> {
    let mut sum = 0.0;
    let parts = folds(csv, 5);
    for (fold, (train, test)) in parts.iter().enumerate() {
        let (train_set, test_set) = (format!("{name}_train_{fold}"), format!("{name}_test_{fold}"));
        kenyon.upload(&train_set, "text/csv", train.clone()).await?;
        kenyon.upload(&test_set, "text/csv", test.clone()).await?;
        let mut request = request.clone();
        request["dataset"] = train_set.into();
        kenyon.train(name, request).await?;
        let accuracy = metric(&kenyon.evaluate(name, &test_set).await?, "accuracy")?;
        println!("  part {} of {}: {accuracy:.4}", fold + 1, parts.len());
        sum += accuracy;
    }
    Ok(sum / parts.len() as f64)
}
