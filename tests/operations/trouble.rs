//! What a server needs goes away and comes back: disk, database, descriptors.

use crate::client::{Client, clouds};
use crate::support::postgres;
use crate::support::process::{Process, kenyon};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

fn request(epochs: u64) -> Value {
    json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": epochs, "early_stopping": 0 } })
}

fn rows() -> Vec<u8> {
    br#"{"rows":[{"x":2.0,"y":0.0,"colour":"red"}]}"#.to_vec()
}

async fn predicts(client: &Client) -> bool {
    matches!(client.once("POST", "/api/v1/models/m/predict", Some(rows())).await, Some((200, _)))
}

/// A small file system in memory; only root may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: a small file system cannot be mounted here (root may)");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_survived() {
    let Some(disk) = SmallDisk::mount("24m") else { return };
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(disk.0.path()).args(["--workers", "1"]);
    let mut server = Process::start(&mut command).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(300).as_bytes()).await;
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
    // Everything that is left, but for a little that the database needs to say so.
    let ballast = disk.0.path().join("ballast");
    fill(&ballast, Some(24 * 1024 - 4 * 1024));
    let (status, body) =
        client.once("PUT", "/api/v1/datasets/big", Some(clouds(300_000).into_bytes())).await.expect("an answer");
    assert_eq!(status, 507, "{}", String::from_utf8_lossy(&body));
    // Not a byte is left now.
    let more = disk.0.path().join("more");
    fill(&more, None);
    assert!(matches!(client.once("GET", "/livez", None).await, Some((200, _))));
    assert!(predicts(&client).await, "answering needs no disk");
    let train = serde_json::to_vec(&request(3)).unwrap();
    let refused = client.once("POST", "/api/v1/models/m/train", Some(train)).await;
    if let Some((status, body)) = &refused {
        assert!(matches!(status, 202 | 503 | 507), "{status} {}", String::from_utf8_lossy(body));
    }
    std::fs::remove_file(&ballast).unwrap();
    std::fs::remove_file(&more).unwrap();
    assert!(server.alive());
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded", "it goes on by itself");
    let names = client.get("/api/v1/datasets").await;
    assert_eq!(names["items"].as_array().unwrap().len(), 1, "what was refused has left nothing: {names}");
}

/// Writes so many KiB, or all there are.
fn fill(path: &Path, kib: Option<usize>) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for _ in 0..kib.unwrap_or(usize::MAX) {
        if file.write_all(&[0; 1024]).is_err() {
            return;
        }
    }
}

/// Stands between a server and its database, and can be cut.
async fn cable(to: String) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().to_string();
    let cut = Arc::new(AtomicBool::new(false));
    let switch = cut.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (cut, to) = (cut.clone(), to.clone());
            tokio::spawn(async move {
                if cut.load(Ordering::Acquire) {
                    return;
                }
                let Ok(mut far) = TcpStream::connect(to).await else { return };
                let severed = async {
                    while !cut.load(Ordering::Acquire) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = severed => {}
                }
            });
        }
    });
    (here, switch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_comes_back() {
    let Some(postgres) = postgres::server() else { return };
    let away = std::env::var("KENYON_OUTAGE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let database = postgres.database().await;
    let (login, name) = database.split_once('@').unwrap();
    let (address, name) = name.split_once('/').unwrap();
    let (here, cut) = cable(address.to_owned()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(folder.path()).args(["--workers", "1", "--checkpoint-seconds", "1"]);
    let mut server = Process::start(command.args(["--database-url", &format!("{login}@{here}/{name}")])).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(3000).as_bytes()).await;
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
    let job = client.post("/api/v1/models/m/train", &request(150), None).await;
    let id = job["id"].as_str().unwrap();
    // What was never asked for is loaded from the database when it is.
    assert!(predicts(&client).await);

    cut.store(true, Ordering::Release);
    let begun = Instant::now();
    let mut answers = 0;
    while begun.elapsed() < Duration::from_secs(away) {
        assert!(predicts(&client).await, "answering needs no database");
        assert!(matches!(client.once("GET", "/livez", None).await, Some((200, _))));
        answers += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, body) = client.once("GET", "/api/v1/models", None).await.expect("an answer");
    assert_eq!(status, 503, "{}", String::from_utf8_lossy(&body));
    cut.store(false, Ordering::Release);
    let back = Instant::now();
    client.get("/api/v1/models").await;
    println!(
        "database away {away} s: {answers} predictions answered; back after {:.1} s",
        back.elapsed().as_secs_f64()
    );
    let mut job = client.ended(id).await;
    if job["status"] == "failed" {
        // Cut off in the wrong moment it may fail; it says why, and is done when asked again.
        println!("the job that ran meanwhile failed: {}", job["error"]);
        client.post(&format!("/api/v1/jobs/{id}/retry"), &json!({}), None).await;
        job = client.ended(id).await;
    }
    assert_eq!(job["status"], "succeeded", "{job}");
    assert!(server.alive());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_descriptor_left_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = kenyon("serve");
    let mut server = Process::start(command.arg("--data-dir").arg(folder.path()).args(["--workers", "1"])).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(300).as_bytes()).await;
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
    let limit = server.descriptors() + 20;
    let pid = server.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:{limit}")]).status();
    if !limited.is_ok_and(|status| status.success()) {
        println!("skipped: no prlimit here");
        return;
    }
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.alive() && server.descriptors() >= limit - 2);
    drop(held);
    let begun = Instant::now();
    while !predicts(&client).await {
        assert!(begun.elapsed() < Duration::from_secs(5), "it does not recover");
    }
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
}
