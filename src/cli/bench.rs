//! `kenyon bench`: how fast a served model answers, measured from outside.

use super::client::Client;
use super::remote::Context;
use super::{files, show};
use anyhow::bail;
use clap::Args;
use reqwest::Method;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments of `kenyon bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// A model of the server.
    model: String,
    /// File with rows to predict, repeated as needed.
    file: PathBuf,
    /// Concurrent requests.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Rows per request.
    #[arg(long, default_value_t = 1)]
    rows: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// Different requests that are prepared before measuring.
const REQUESTS: usize = 256;

impl Bench {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let client = Client::new(&at.connection)?;
        let model = client.json(Method::GET, &format!("/api/v1/models/{}", self.model), None).await?;
        let rows = files::PlannedRows::open(&self.file, files::plans(&model, false)?)?;
        let mut rows = rows.in_chunks(self.rows);
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        while bodies.len() < REQUESTS
            && let Some(chunk) = rows.next()?
        {
            bodies.push(serde_json::to_vec(&json!({"rows": chunk}))?);
        }
        if bodies.is_empty() {
            bail!("{} has no rows", self.file.display());
        }
        let bodies = Arc::new(bodies);
        let path: Arc<str> = format!("/api/v1/models/{}/predict", self.model).into();
        let end = Instant::now() + Duration::from_secs_f64(self.seconds.clamp(0.1, 3600.0));
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for first in 0..self.connections.clamp(1, 4096) {
            tasks.spawn(send_requests(client.clone(), path.clone(), bodies.clone(), first, end));
        }
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        let seconds = started.elapsed().as_secs_f64();
        times.sort_unstable();
        let at_share = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let figures = json!({
            "requests_per_second": times.len() as f64 / seconds,
            "rows_per_second": times.len() as f64 * self.rows as f64 / seconds,
            "p50_ms": at_share(0.5), "p99_ms": at_share(0.99), "max_ms": at_share(1.0),
            "requests": times.len(), "connections": self.connections,
        });
        show::answer(&figures, at.json);
        Ok(())
    }
}

/// Sends requests until the end; returns the duration of each.
async fn send_requests(
    client: Client,
    path: Arc<str>,
    bodies: Arc<Vec<Vec<u8>>>,
    first: usize,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut next = first * 7;
    while Instant::now() < end {
        let body = bodies[next % bodies.len()].clone();
        next += 1;
        let request = client.request(Method::POST, &path).header("content-type", "application/json").body(body);
        let started = Instant::now();
        client.checked(request).await?.bytes().await?;
        times.push(started.elapsed());
    }
    Ok(times)
}
