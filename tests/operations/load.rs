//! Load: mixed for a while, with memory, descriptors and latency recorded; and overload.
//! Two seconds by default; `KENYON_SOAK_SECONDS` sets more.

use crate::client::{Client, clouds};
use crate::support::process::{Process, kenyon};
use serde_json::json;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn seconds() -> u64 {
    std::env::var("KENYON_SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2)
}

fn p99(times: &mut [Duration]) -> f64 {
    times.sort();
    times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).map_or(0.0, |t| t.as_secs_f64() * 1e3)
}

async fn served(folder: &tempfile::TempDir, more: &[&str]) -> (Process, Client) {
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(folder.path()).args(["--workers", "1", "--job-threads", "1"]);
    let server = Process::start(command.args(["--log", "warn,kenyon::app=info"]).args(more)).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(500).as_bytes()).await;
    let request = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": 3 } });
    assert_eq!(client.train("m", &request).await["status"], "succeeded");
    (server, client)
}

fn rows(count: usize) -> Vec<u8> {
    let rows: Vec<_> = (0..count).map(|i| json!({ "x": i as f64 / 10.0, "y": 0.0, "colour": "red" })).collect();
    json!({ "rows": rows }).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_load_stays_flat() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = served(&folder, &[]).await;
    let made = json!({ "family": "hybrid", "target": "label", "features": { "x": "number", "y": "number" } });
    client.put("/api/v1/models/s", made.to_string().as_bytes()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let background = tokio::spawn({
        let (client, stop) = (client.clone(), stop.clone());
        async move {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                let label = if i % 2 == 0 { "right" } else { "left" };
                let row = json!({ "x": f64::from(i % 2 * -2 + 1), "y": f64::from(i % 7), "label": label });
                client.post("/api/v1/models/s/observe", &json!({ "rows": [row] }), None).await;
                client.get("/api/v1/models").await;
                if i % 400 == 0 {
                    let request =
                        json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": 5 } });
                    client.post("/api/v1/models/t/train", &request, None).await;
                }
                i += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let window = Duration::from_secs_f64(seconds() as f64 / 10.0);
    let mut figures = Vec::new();
    for _ in 0..10 {
        let (begun, mut times, cpu) = (Instant::now(), Vec::new(), server.cpu_seconds());
        while begun.elapsed() < window {
            let sent_at = Instant::now();
            let answer = client.once("POST", "/api/v1/models/m/predict", Some(rows(8))).await;
            assert!(matches!(answer, Some((200, _))), "{answer:?}");
            times.push(sent_at.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (count, spent) = (times.len(), server.cpu_seconds() - cpu);
        let (memory, descriptors) = (server.memory("VmRSS") / 1024, server.descriptors());
        println!(
            "{count} predictions, p99 {:.1} ms, {memory} MiB, {descriptors} descriptors, {:.0} % of a core",
            p99(&mut times),
            100.0 * spent / window.as_secs_f64()
        );
        figures.push((memory, descriptors));
    }
    stop.store(true, Ordering::Relaxed);
    background.await.unwrap();
    let (middle, end) = (figures[4], figures[9]);
    assert!(end.1 <= middle.1 + 20, "descriptors grow: {figures:?}");
    assert!(end.0 <= middle.0 + 64 + middle.0 / 5, "memory grows: {figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, client) = served(&folder, &["--max-requests", "8"]).await;
    let body = rows(200);
    let load = async |clients: usize| {
        let answers = Cell::new(0);
        let clients_running = (0..clients).map(async |_| {
            let (begun, mut accepted, mut refused) = (Instant::now(), Vec::new(), 0u64);
            while begun.elapsed() < Duration::from_secs(1) {
                let sent_at = Instant::now();
                match client.once("POST", "/api/v1/models/m/predict", Some(body.clone())).await {
                    Some((200, _)) => accepted.push(sent_at.elapsed()),
                    Some((429 | 503, _)) => {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    other => panic!("{other:?}"),
                }
                answers.set(answers.get() + 1);
            }
            (accepted, refused)
        });
        let live = async {
            // Under load: as many answers as clients.
            while answers.get() < clients {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let sent_at = Instant::now();
            assert!(matches!(client.once("GET", "/livez", None).await, Some((200, _))));
            sent_at.elapsed()
        };
        let (all, live) = futures::future::join(futures::future::join_all(clients_running), live).await;
        let mut accepted: Vec<Duration> = all.iter().flat_map(|(times, _)| times.clone()).collect();
        let refused: u64 = all.iter().map(|(_, refused)| refused).sum();
        let count = accepted.len();
        println!(
            "{clients} clients: {count} answered, p99 {:.1} ms, {refused} refused, liveness {live:.1?}",
            p99(&mut accepted)
        );
        assert!(live < Duration::from_secs(2));
        (count, refused)
    };
    assert_eq!(load(6).await.1, 0);
    let (answered, refused) = load(64).await;
    assert!(answered > 0 && refused > 0);
    let begun = Instant::now();
    while !matches!(client.once("POST", "/api/v1/models/m/predict", Some(body.clone())).await, Some((200, _))) {
        assert!(begun.elapsed() < Duration::from_secs(2), "it does not recover");
    }
}
