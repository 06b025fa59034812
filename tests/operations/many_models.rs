//! Many models in one server: they are loaded as they are requested, within the bound on their memory, and a start does not take long
//! because there are many.

use crate::client::{Client, clouds};
use crate::support::process::{Process, kenyon};
use serde_json::json;
use std::time::{Duration, Instant};

const MODELS: usize = 300;
/// About a third of what they take.
const CACHE_BYTES: u64 = 48 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn name(number: usize) -> String {
    format!("device-{number:03}")
}

/// Predicts a row with each model.
async fn predict_all(client: &Client) {
    let row = json!({ "rows": [{ "x": 1.0, "y": 0.0, "colour": "red" }] }).to_string().into_bytes();
    for number in 0..MODELS {
        let path = format!("/api/v1/models/{}/predict", name(number));
        let answer = client.once("POST", &path, Some(row.clone())).await;
        assert!(matches!(answer, Some((200, _))), "{number}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_that_do_not_fit_are_loaded_again_and_the_bound_counts_what_they_take() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let (mut command, cache) = (kenyon("serve"), CACHE_BYTES.to_string());
        command.arg("--data-dir").arg(folder.path()).args(["--workers", "1", "--job-threads", "1"]);
        Process::start(command.args(["--max-models", "1000", "--model-cache-bytes", &cache])).unwrap()
    };
    let mut server = start();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(500).as_bytes()).await;
    let request = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp",
        "config": { "epochs": 1, "hidden": [1024], "members": 1 } });
    assert_eq!(client.train("origin", &request).await["status"], "succeeded");
    let bundle = client.bytes("GET", "/api/v1/models/origin/versions/1/export?format=bundle").await;
    for number in 0..MODELS {
        let path = format!("/api/v1/models/{}/import", name(number));
        let answer = client.once("POST", &path, Some(bundle.clone())).await;
        assert!(matches!(answer, Some((200..=299, _))), "{answer:?}");
    }
    server.kill();
    server = start();
    client.moved(&server.url);
    // Pages of the program itself are not counted: they are read as they are first used.
    let before = server.memory("RssAnon") * 1024;
    predict_all(&client).await;
    let grown = (server.memory("RssAnon") * 1024).saturating_sub(before);
    println!("a bundle of {} kB; {MODELS} models: {} MiB more", bundle.len() / 1000, grown >> 20);
    // Buffers of the connection, the database's cache and the allocator's free pages come on top; all models together
    // take three and a half times the bound.
    assert!(grown < 2 * CACHE_BYTES, "{} MiB", grown >> 20);
    // A thread a model would take more than the model.
    let until = Instant::now() + PATIENCE;
    while threads(&server) > 40 {
        assert!(Instant::now() < until, "{} threads stay", threads(&server));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    predict_all(&client).await;
}

fn threads(server: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap().count()
}
