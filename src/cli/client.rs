//! A client of the HTTP interface, as the commands need it.

use super::Connection;
use super::show::{self, Bar};
use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;

const DEFAULT: &str = "http://127.0.0.1:8080";

/// How often an empty line is sent where a pipe has nothing: a server gives up a sender that is silent for long.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A server and a key.
#[derive(Clone, Debug)]
pub(super) struct Client {
    base: String,
    key: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// A client; no request is sent yet.
    pub(super) fn new(connection: &Connection) -> anyhow::Result<Self> {
        // Fails where one is installed already, which works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = connection.server.clone().unwrap_or_else(|| DEFAULT.into());
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        let mut http = reqwest::Client::builder().user_agent(concat!("kenyon/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &connection.cacert {
            let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            for certificate in reqwest::Certificate::from_pem_bundle(&pem).context("--cacert")? {
                http = http.add_root_certificate(certificate);
            }
        }
        let http = http.build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), key: connection.key.clone(), http })
    }

    /// The client, or none where no address was given and no server answers at the default one.
    pub(super) async fn if_running(connection: &Connection) -> anyhow::Result<Option<Self>> {
        let client = Self::new(connection)?;
        if connection.server.is_some() {
            return Ok(Some(client));
        }
        let probe = client.http.get(format!("{}/livez", client.base)).timeout(Duration::from_millis(500));
        Ok(probe.send().await.is_ok_and(|answer| answer.status().is_success()).then_some(client))
    }

    /// The server's address.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// A request with the key.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends and reads a JSON answer; a problem document becomes an error.
    pub(super) async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.checked(request).await?;
        let bytes = answer.bytes().await?;
        if bytes.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) }
    }

    /// Sends; an error answer becomes an error.
    pub(super) async fn checked(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = request.send().await.with_context(|| format!("no answer from {}", self.base))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let problem: Value = answer.json().await.unwrap_or_default();
        let text = problem_text(&problem).unwrap_or_else(|| status.to_string());
        Err(show::Refused { text, problem }.into())
    }

    /// Sends a file as a request's body, unchanged, with a progress bar.
    pub(super) async fn send_file(&self, method: Method, path: &str, file: &Path, json: bool) -> anyhow::Result<Value> {
        let opened = tokio::fs::File::open(file).await.with_context(|| format!("cannot open {}", file.display()))?;
        let size = opened.metadata().await?.len();
        let bar = Bar::bytes(size, json);
        let sent = bar.clone();
        let stream = tokio_util::io::ReaderStream::with_capacity(opened, 1 << 16).inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                sent.add(chunk.len() as u64);
            }
        });
        let mut request =
            self.request(method, path).body(reqwest::Body::wrap_stream(stream)).header("content-length", size);
        if file.extension().is_some_and(|e| e == "tsv") {
            request = request.header("content-type", "text/tab-separated-values");
        }
        let answer = self.checked(request).await?.json().await?;
        bar.finish();
        Ok(answer)
    }

    /// Follows a job to its end with a progress bar; returns the finished job.
    pub(super) async fn follow(&self, id: &str, json: bool) -> anyhow::Result<Value> {
        let bar = Bar::job(json);
        let path = format!("/api/v1/jobs/{id}");
        let answer = self.checked(self.request(Method::GET, &format!("{path}/events"))).await?;
        let mut chunks = answer.bytes_stream();
        let mut text = String::new();
        while let Some(chunk) = chunks.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk?));
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                show_event(&event, &bar);
            }
        }
        bar.finish();
        // The stream ends with the job, or with the connection: the job's status distinguishes the two.
        loop {
            let job = self.json(Method::GET, &path, None).await?;
            match job["status"].as_str() {
                Some("succeeded") => return Ok(job),
                Some("failed" | "canceled") => {
                    let reason = job["error"]["detail"].as_str().or(job["error"].as_str()).unwrap_or("no reason given");
                    bail!("the job {}: {reason}", job["status"].as_str().unwrap_or("failed"))
                }
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }
}

fn show_event(event: &str, bar: &Bar) {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let data: Value = field("data:").and_then(|d| serde_json::from_str(d).ok()).unwrap_or_default();
    match field("event:") {
        Some("progress") => bar.progress(data.get("progress").unwrap_or(&data)),
        Some("log") => {
            if let Some(line) = data["message"].as_str().or(data["line"].as_str()) {
                bar.log(line);
            }
        }
        _ => {}
    }
}

/// A problem document with its details, in lines.
fn problem_text(problem: &Value) -> Option<String> {
    let mut text = problem["detail"].as_str().or(problem["title"].as_str())?.to_owned();
    if let Some(code) = problem["code"].as_str() {
        text.push_str(&format!(" ({code})"));
    }
    for detail in problem["details"].as_array().into_iter().flatten() {
        let mut place = Vec::new();
        for key in ["path", "row", "column"] {
            match &detail[key] {
                Value::Null => {}
                Value::String(s) => place.push(format!("{key} {s}")),
                other => place.push(format!("{key} {other}")),
            }
        }
        text.push_str(&format!("\n  {}: {}", place.join(", "), detail["reason"].as_str().unwrap_or_default()));
    }
    Some(text)
}

/// Reads a file, or lines of the standard input for `-`.
pub(super) async fn read_input(path: &Path) -> anyhow::Result<reqwest::Body> {
    let path = if path.as_os_str() == "-" { Path::new("/dev/stdin") } else { path };
    let mut file = tokio::fs::File::open(path).await.with_context(|| format!("cannot open {}", path.display()))?;
    let about = file.metadata().await?;
    // The length of a pipe is 0, whatever comes out of it.
    if !about.is_file() {
        return Ok(reqwest::Body::wrap_stream(lines_of(file)));
    }
    if about.len() < 1 << 16 {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await?;
        return Ok(bytes.into());
    }
    Ok(reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::with_capacity(file, 1 << 16)))
}

/// Whole lines of a pipe as they come out of it.
fn lines_of(pipe: tokio::fs::File) -> impl Stream<Item = std::io::Result<Bytes>> {
    futures::stream::try_unfold(Some((pipe, BytesMut::new())), |open| async move {
        let Some((mut pipe, mut waiting)) = open else { return Ok(None) };
        loop {
            waiting.reserve(1 << 16);
            // A read that is given up goes on, and the next one has what it found.
            let Ok(read) = tokio::time::timeout(KEEP_ALIVE, pipe.read_buf(&mut waiting)).await else {
                return Ok(Some((Bytes::from_static(b"\n"), Some((pipe, waiting)))));
            };
            if read? == 0 {
                return Ok((!waiting.is_empty()).then(|| (waiting.freeze(), None)));
            }
            if let Some(end) = waiting.iter().rposition(|&byte| byte == b'\n') {
                return Ok(Some((waiting.split_to(end + 1).freeze(), Some((pipe, waiting)))));
            }
        }
    })
}
