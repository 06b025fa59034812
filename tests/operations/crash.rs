//! Processes that are killed at random moments while they take in and train real models: every job
//! succeeds exactly once, with the weights of an uninterrupted run, and nothing is left over.
//!
//! A few kills by default; `KENYON_CRASH_KILLS`, `KENYON_CRASH_JOBS` and `KENYON_CRASH_SEED` set more.

use crate::client::Client;
use crate::support::postgres;
use crate::support::process::{Process, kenyon};
use crate::support::random::Random;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Jobs of one model wait for one another; with several models the workers run jobs in parallel.
const MODELS: usize = 10;
const CANCER: &[u8] = include_bytes!("../../crates/kenyon-learn/src/data/bundled/breast_cancer.csv");
const DIGITS: &[u8] = include_bytes!("../../crates/kenyon-learn/src/data/bundled/digits_8x8.csv.gz");

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// The `i`th training: families and data take turns.
fn training(i: usize) -> Value {
    let mut request = match i % 5 {
        0 => json!({ "dataset": "digits", "target": "target", "family": "sparse_mlp",
            "config": { "epochs": 30, "early_stopping": 0, "hidden": [256] } }),
        1 => json!({ "dataset": "cancer", "target": "target", "family": "sparse_mlp",
            "config": { "epochs": 150, "early_stopping": 0, "hidden": [64, 32] } }),
        2 => json!({ "dataset": "cancer", "target": "target", "family": "attention",
            "config": { "epochs": 2, "early_stopping": 0 } }),
        3 => json!({ "dataset": "cancer", "target": "target", "family": "hybrid" }),
        _ => json!({ "dataset": "cancer", "target": "target", "family": "sparse_mlp",
            "search": { "trials": 6 }, "config": { "epochs": 8, "early_stopping": 0 } }),
    };
    request["seed"] = i.into();
    request
}

fn model(i: usize) -> String {
    format!("m{}", i % MODELS)
}

/// The processes, and how each is started again.
struct Cluster {
    folder: tempfile::TempDir,
    database: Option<String>,
    running: Vec<Process>,
    client: Client,
}

impl Cluster {
    /// One server that also trains; on Postgres one that only serves, and three workers.
    async fn start(database: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self { folder, database, running: Vec::new(), client: Client::new("") };
        let count = if cluster.database.is_some() { 4 } else { 1 };
        for i in 0..count {
            let process = cluster.spawn(i);
            cluster.running.push(process);
        }
        cluster.client.put("/api/v1/datasets/digits", DIGITS).await;
        cluster.client.put("/api/v1/datasets/cancer", CANCER).await;
        cluster
    }

    fn spawn(&self, i: usize) -> Process {
        let mut command = kenyon(if i == 0 { "serve" } else { "worker" });
        command.arg("--data-dir").arg(self.folder.path()).args(["--checkpoint-seconds", "1"]);
        command.args(["--max-queued-jobs", "1000", "--job-threads", "1"]);
        if let Some(url) = &self.database {
            command.args(["--database-url", url, "--workers", if i == 0 { "0" } else { "1" }]);
        } else {
            command.args(["--workers", "2"]);
        }
        let process = Process::start(&mut command).unwrap();
        if i == 0 {
            self.client.moved(&process.url);
        }
        process
    }

    fn kill(&mut self, i: usize) {
        self.running[i].kill();
        self.running[i] = self.spawn(i);
    }

    async fn submit(client: Client, jobs: usize, pause: Duration) -> Vec<String> {
        let mut ids = Vec::new();
        for i in 0..jobs {
            let path = format!("/api/v1/models/{}/train", model(i));
            let job = client.post(&path, &training(i), Some(&format!("job-{i}"))).await;
            ids.push(job["id"].as_str().unwrap().to_owned());
            tokio::time::sleep(pause).await;
        }
        ids
    }

    async fn unfinished(&self) -> usize {
        let mut left = 0;
        for status in ["queued", "running"] {
            let page = self.client.get(&format!("/api/v1/jobs?limit=1000&status={status}")).await;
            left += page["items"].as_array().unwrap().len();
        }
        left
    }

    /// The files of every version, by model and version.
    async fn weights(&self) -> BTreeMap<(String, u64), Vec<u8>> {
        let mut found = BTreeMap::new();
        for i in 0..MODELS {
            let versions = format!("/api/v1/models/{}/versions", model(i));
            let Some((200, body)) = self.client.once("GET", &versions, None).await else { continue };
            let body: Value = serde_json::from_slice(&body).unwrap();
            for version in body["items"].as_array().unwrap() {
                let number = version["version"].as_u64().unwrap();
                let file = self.client.bytes("GET", &format!("{versions}/{number}/export?format=bundle")).await;
                found.insert((model(i), number), file);
            }
        }
        found
    }

    /// Stops everything regularly, starts it once more so that it can clean up, stops it again.
    fn end(mut self) -> tempfile::TempDir {
        for process in self.running.iter_mut().rev() {
            assert!(process.stop(), "{}", process.log());
        }
        assert!(self.spawn(0).stop());
        self.folder
    }
}

/// The expected files of a data folder: the database, its lock, parts of datasets, and
/// three files a version.
fn assert_nothing_left(folder: &Path, versions: usize) {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let of = |start: &str| files.iter().filter(|f| f.starts_with(start)).count();
    let leftovers: Vec<&String> = files
        .iter()
        .filter(|f| !f.starts_with("objects/datasets/") && !f.starts_with("objects/models/"))
        .filter(|f| !["lock", "kenyon.db", "kenyon.db-wal", "kenyon.db-shm"].contains(&f.as_str()))
        .collect();
    assert!(leftovers.is_empty(), "left over: {leftovers:?}");
    assert_eq!((of("objects/datasets/"), of("objects/models/")), (2, 3 * versions), "{files:#?}");
}

/// The weights of the same jobs without kills.
async fn undisturbed(jobs: usize) -> BTreeMap<(String, u64), Vec<u8>> {
    let cluster = Cluster::start(None).await;
    Cluster::submit(cluster.client.clone(), jobs, Duration::ZERO).await;
    while cluster.unfinished().await > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let weights = cluster.weights().await;
    cluster.end();
    weights
}

async fn survives(name: &str, database: Option<String>) {
    let kills = number("KENYON_CRASH_KILLS", 4);
    let jobs = number("KENYON_CRASH_JOBS", 5);
    let mut random = Random(number("KENYON_CRASH_SEED", 1) as u64);
    let begun = Instant::now();
    let reference = undisturbed(jobs).await;
    // On a busy machine a job needs longer, and a job that is never left alone for so long makes no progress.
    let slowness = (begun.elapsed().as_secs_f64() / jobs as f64).clamp(1.0, 8.0);

    let begun = Instant::now();
    let mut cluster = Cluster::start(database).await;
    let submitted = Arc::new(AtomicBool::new(false));
    let submitting = tokio::spawn({
        let (client, submitted) = (cluster.client.clone(), submitted.clone());
        // Spread over the kills, so that requests are cut off, too.
        let pause = Duration::from_millis((1000 * kills / jobs) as u64);
        async move {
            let ids = Cluster::submit(client, jobs, pause).await;
            submitted.store(true, Ordering::Release);
            ids
        }
    });
    let mut killed = 0;
    while killed < kills || !submitted.load(Ordering::Acquire) || cluster.unfinished().await > 0 {
        // A kill comes at a random time, whatever the processes do then.
        tokio::time::sleep(Duration::from_millis(500 + random.below(3500) as u64).mul_f64(slowness)).await;
        if killed < kills || name == "SQLite" {
            let victim = random.below(cluster.running.len());
            cluster.kill(victim);
            killed += 1;
        }
        assert!(begun.elapsed() < Duration::from_secs(120 + 10 * kills as u64).mul_f64(slowness), "no progress");
    }
    let mut ids = submitting.await.unwrap();

    let all = cluster.client.get("/api/v1/jobs?limit=1000").await;
    let all = all["items"].as_array().unwrap();
    let mut listed: Vec<String> = all.iter().map(|j| j["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    listed.sort();
    assert_eq!(ids, listed, "what was acknowledged is there, once");
    let mut attempts = 0;
    for job in all {
        assert_eq!(job["status"], "succeeded", "{job}");
        attempts += job["attempt"].as_u64().unwrap();
    }
    let weights = cluster.weights().await;
    assert_eq!(weights.len(), jobs, "a version a job");
    assert!(weights.keys().eq(reference.keys()));
    let other: Vec<_> = weights.iter().filter(|(key, file)| reference[*key] != **file).map(|(key, _)| key).collect();
    assert!(other.is_empty(), "other weights than undisturbed: {other:?}");
    let folder = cluster.end();
    assert_nothing_left(folder.path(), jobs);
    println!(
        "{name}: {jobs} jobs, {killed} kills, {attempts} attempts, {:.0} s; all succeeded once, {} files equal bit for bit, nothing left",
        begun.elapsed().as_secs_f64(),
        3 * jobs
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_on_sqlite() {
    survives("SQLite", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_on_postgres_with_three_workers() {
    let Some(server) = postgres::server() else { return };
    survives("Postgres", Some(server.database().await)).await;
}
