//! Resources that fail and come back: disk, database, descriptors.

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

/// A small file system; only root may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// In memory.
    fn mount(size: &str) -> Option<Self> {
        Self::of(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    /// In a file, which is created if missing: a disk that can fail.
    fn mount_file(file: &Path) -> Option<Self> {
        if !file.exists() {
            std::fs::File::create(file).unwrap().set_len(64 << 20).unwrap();
            let made = Command::new("mkfs.ext4").arg("-q").arg(file).status();
            if !made.is_ok_and(|status| status.success()) {
                crate::support::skip::skip("no mkfs.ext4 here");
                return None;
            }
        }
        Self::of(&["-t", "ext4", "-o", "loop", file.to_str().unwrap()])
    }

    fn of(what: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(what).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        crate::support::skip::skip("a small file system cannot be mounted here (root may)");
        None
    }

    fn serve(&self) -> Process {
        let mut command = kenyon("serve");
        command.arg("--data-dir").arg(self.0.path().join("data")).args(["--workers", "1"]);
        Process::start(&mut command).unwrap()
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
    let mut server = disk.serve();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(300).as_bytes()).await;
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
    // All free space, except a little that the database needs to report the error.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_is_said_and_survived() {
    let files = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount_file(&files.path().join("disk")) else { return };
    let mut server = disk.serve();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(300).as_bytes()).await;
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
    let observe = br#"{"rows":[{"x":2.0,"y":0.0,"colour":"red","label":"right"}]}"#;
    assert_eq!(client.once("POST", "/api/v1/models/m/observe", Some(observe.to_vec())).await.unwrap().0, 200);
    // The kernel does the same when a disk reports errors.
    let failed = Command::new("mount").args(["-o", "remount,abort"]).arg(disk.0.path()).status();
    assert!(failed.is_ok_and(|status| status.success()));
    for (method, path, body) in [
        ("PUT", "/api/v1/datasets/more", clouds(3000).into_bytes()),
        ("POST", "/api/v1/models/m/observe", observe.to_vec()),
        ("POST", "/api/v1/models/m/train", serde_json::to_vec(&request(3)).unwrap()),
    ] {
        // An answer that comes before the whole body was sent can be lost with the connection.
        let mut answer = None;
        for _ in 0..5 {
            answer = client.once(method, path, Some(body.clone())).await;
            if answer.is_some() {
                break;
            }
        }
        let (status, body) = answer.expect("an answer");
        let body = String::from_utf8_lossy(&body);
        assert!(status == 503 && body.contains("\"storage_"), "{method} {path}: {status} {body}");
    }
    assert!(predicts(&client).await, "answering needs no disk");
    assert!(matches!(client.once("GET", "/livez", None).await, Some((200, _))));
    server.kill();
    drop(disk);
    let Some(disk) = SmallDisk::mount_file(&files.path().join("disk")) else { panic!("the disk is gone") };
    let server = disk.serve();
    client.moved(&server.url);
    assert_eq!(client.get("/api/v1/models/m/stream").await["observed"], 1, "what was acknowledged is there");
    assert_eq!(client.get("/api/v1/datasets").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_back_stops_nothing() {
    let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
        .map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"));
    let Some(library) = library.iter().find(|file| file.exists()) else {
        crate::support::skip::skip("no libfaketime here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(folder.path().join("data")).args(["--workers", "1"]);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut server = Process::start(&mut command).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(3000).as_bytes()).await;
    let first = client.train("m", &request(3)).await;
    assert_eq!(first["status"], "succeeded");
    let running = client.post("/api/v1/models/m/train", &request(100), None).await;
    let waiting = client.post("/api/v1/models/m/train", &request(3), None).await;
    std::fs::write(&clock, "-2h").unwrap();
    let later = client.post("/api/v1/models/m/train", &request(3), None).await;
    let hour = |job: &Value| job["created_at"].as_str().unwrap()[..13].to_owned();
    assert_ne!(hour(&later), hour(&waiting), "the clock was not turned back");
    for job in [&running, &waiting, &later] {
        let ended = client.ended(job["id"].as_str().unwrap()).await;
        assert_eq!((&ended["status"], &ended["attempt"]), (&json!("succeeded"), &json!(1)), "{ended}");
    }
    assert!(predicts(&client).await && server.alive());
    let observe = json!({ "rows": [{ "x": 2.0, "y": 0.0, "colour": "red", "label": "right" }] });
    client.post("/api/v1/models/m/observe", &observe, None).await;
    assert_eq!(client.get("/api/v1/models/m/stream").await["observed"], 1);
    let versions = client.get("/api/v1/models/m/versions").await;
    assert_eq!(versions["items"].as_array().unwrap().len(), 4, "{versions}");
    assert!(server.stop(), "{}", server.log());
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

/// A proxy between a server and its database that can be cut.
pub(crate) async fn cable(to: String) -> (String, Arc<AtomicBool>) {
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
    // A version that was never requested is loaded from the database when it is.
    assert!(predicts(&client).await);

    cut.store(true, Ordering::Release);
    let begun = Instant::now();
    let mut answers = 0;
    // How long the database is away is what is tested.
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
        // Cut off at the wrong moment it may fail; it gives the reason, and succeeds when retried.
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
        crate::support::skip::skip("no prlimit here");
        return;
    }
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    let begun = Instant::now();
    while server.descriptors() < limit - 2 {
        assert!(begun.elapsed() < Duration::from_secs(5), "{} of {limit} descriptors", server.descriptors());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.alive());
    drop(held);
    let begun = Instant::now();
    while !predicts(&client).await {
        assert!(begun.elapsed() < Duration::from_secs(5), "it does not recover");
    }
    assert_eq!(client.train("m", &request(3)).await["status"], "succeeded");
}
