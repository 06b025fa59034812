//! Trainings in processes of their own: whatever ends one of those, the server answers throughout.

use crate::client::{Client, clouds};
use crate::support::process::{Process, kenyon};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A server with a served model `m` and the dataset `d`.
async fn server(folder: &Path, more: &[&str]) -> (Process, Client) {
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(folder).args(["--workers", "1", "--job-threads", "1"]).args(more);
    let server = Process::start(&mut command).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(20_000).as_bytes()).await;
    client.put("/api/v1/datasets/few", clouds(300).as_bytes()).await;
    let request = json!({ "dataset": "few", "target": "label", "family": "sparse_mlp", "config": { "epochs": 3 } });
    assert_eq!(client.train("m", &request).await["status"], "succeeded");
    (server, client)
}

/// Predictions one after the other until it is stopped: how many failed, how many there were, and the longest.
struct PredictLoad {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<Duration>>,
}

impl PredictLoad {
    fn start(client: &Client) -> Self {
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (client, stopped, counted) = (client.clone(), stop.clone(), failed.clone());
        let body = json!({ "rows": [{ "x": 1.0, "y": 0.0, "colour": "red" }] }).to_string().into_bytes();
        let task = tokio::spawn(async move {
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = client.once("POST", "/api/v1/models/m/predict", Some(body.clone())).await;
                if !matches!(answer, Some((200, _))) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                times.push(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times
        });
        Self { stop, failed, task }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.task.await.unwrap();
        times.sort();
        let p99 = times[times.len() * 99 / 100].as_secs_f64() * 1e3;
        println!("{} predictions, p99 {p99:.1} ms", times.len());
        assert_eq!(self.failed.load(Ordering::Relaxed), 0, "predictions failed");
    }
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let parent = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&id| parent(id) == Some(of)).collect()
}

/// Waits for something that is to happen.
async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The checkpoint of a job in the folder of objects.
fn checkpoint(folder: &Path, job: &str) -> Option<PathBuf> {
    let found = std::fs::read_dir(folder.join("objects/checkpoints").join(job)).ok()?;
    found.flatten().map(|entry| entry.path()).find(|path| !path.to_string_lossy().contains('#'))
}

fn long_training() -> Value {
    json!({ "dataset": "d", "target": "label", "family": "sparse_mlp",
        "config": { "epochs": 5000, "early_stopping": 0 } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_that_is_killed_goes_on_once_then_fails_and_the_server_answers_throughout() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = server(folder.path(), &["--checkpoint-seconds", "0.1"]).await;
    let load = PredictLoad::start(&client);
    let job = client.post("/api/v1/models/t/train", &long_training(), None).await;
    let id = job["id"].as_str().unwrap();
    let path = format!("/api/v1/jobs/{id}");
    for attempt in 1..=2 {
        until("the attempt runs", async || {
            let job = client.get(&path).await;
            (job["status"] == "running" && job["attempt"] == attempt).then_some(())
        })
        .await;
        // The second checkpoint is written once the first one is committed.
        let first = until("a checkpoint", async || checkpoint(folder.path(), id)).await;
        until("another one", async || checkpoint(folder.path(), id).filter(|path| *path != first)).await;
        let [child] = children(server.id())[..] else { panic!("one process trains") };
        let score = std::fs::read_to_string(format!("/proc/{child}/oom_score_adj")).unwrap();
        assert_eq!(score.trim(), "1000", "the system ends it before any other");
        Command::new("kill").args(["-KILL", &child.to_string()]).status().unwrap();
    }
    let job = client.ended(id).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("killed")), "{job}");
    assert_eq!(job["attempt"], 2);
    assert!(job["resumed_from_step"].as_u64().unwrap() > 0, "{job}");
    load.end().await;
    assert_eq!(std::fs::read_dir(folder.path().join("scratch")).unwrap().count(), 0, "nothing is left over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_that_exceeds_its_memory_is_a_failed_job_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = server(folder.path(), &["--train-memory", "80000000"]).await;
    let load = PredictLoad::start(&client);
    let request = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp",
        "config": { "hidden": [40_000], "members": 4 } });
    let job = client.train("t", &request).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("out_of_memory")), "{job}");
    assert_eq!(job["attempt"], 1, "it would take as much again");
    assert!(job["error"]["detail"].as_str().unwrap().contains("--train-memory"), "{job}");
    load.end().await;
    assert!(children(server.id()).is_empty());
}

/// The trial of a dry run is such a process, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_that_is_ended_from_outside_is_an_error_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = server(folder.path(), &["--train-memory", "150000000"]).await;
    let load = PredictLoad::start(&client);
    let dry_run = |config: Value| {
        let request = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": config,
            "dry_run": true });
        let (client, body) = (client.clone(), request.to_string().into_bytes());
        async move {
            let (status, body) = client.once("POST", "/api/v1/models/t/train", Some(body)).await.unwrap();
            (status, serde_json::from_slice::<Value>(&body).unwrap())
        }
    };
    let (status, found) = dry_run(json!({ "epochs": 5000 })).await;
    assert!(status == 200 && found["estimated_seconds"].as_f64().unwrap() > 1.0, "{status} {found}");
    let (status, refused) = dry_run(json!({ "hidden": [40_000], "members": 4 })).await;
    assert_eq!((status, &refused["code"]), (422, &json!("out_of_memory")), "{refused}");
    let waiting = tokio::spawn(dry_run(json!({ "epochs": 5000, "early_stopping": 0 })));
    let child = until("a process that tries", async || children(server.id()).first().copied()).await;
    Command::new("kill").args(["-KILL", &child.to_string()]).status().unwrap();
    let (status, refused) = waiting.await.unwrap();
    assert_eq!((status, &refused["code"]), (503, &json!("killed")), "{refused}");
    load.end().await;
    assert!(children(server.id()).is_empty());
    assert_eq!(std::fs::read_dir(folder.path().join("scratch")).unwrap().count(), 0, "nothing is left over");
}

/// More rows than are held in memory: they are learned from in blocks, and the memory there is changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_learned_from_many_rows_does_not_depend_on_the_memory_there_is() {
    let csv = clouds(210_000);
    let mut weights = Vec::new();
    for memory in ["400000000", "2000000000"] {
        let folder = tempfile::tempdir().unwrap();
        let (_server, client) = server(folder.path(), &["--train-memory", memory]).await;
        client.put("/api/v1/datasets/many", csv.as_bytes()).await;
        let request = json!({ "dataset": "many", "target": "label",
            "config": { "epochs": 1, "hidden": [16], "members": 1, "bins": 8, "batch_size": 1024 } });
        let job = client.train("t", &request).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        let events = client.bytes("GET", &format!("/api/v1/jobs/{}/events", job["id"].as_str().unwrap())).await;
        assert!(String::from_utf8_lossy(&events).contains("a sample of"), "rows are sampled");
        assert!(job["metrics"]["accuracy"].as_f64().unwrap() > 0.99, "{job}");
        weights.push(client.bytes("GET", "/api/v1/models/t/versions/1/export?format=bundle").await);
    }
    assert!(!weights[0].is_empty() && weights[0] == weights[1], "the same bits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_trains_ends_with_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, client) = server(folder.path(), &[]).await;
    client.post("/api/v1/models/t/train", &long_training(), None).await;
    let child = until("a process that trains", async || children(server.id()).first().copied()).await;
    server.kill();
    let gone = || std::fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z"));
    until("it ends, too", async || gone().then_some(())).await;
}
