//! Objects on a real S3 server: `moto_server` (PyPI `moto[server]`), from `KENYON_TEST_S3` or the path.

use crate::client::{Client, clouds};
use crate::support::process::{Process, kenyon};
use crate::trouble::cable;
use serde_json::json;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

struct S3 {
    child: Child,
    url: String,
}

impl S3 {
    /// A fresh server with one bucket; none (with the reason printed) where there is no program.
    async fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let named = std::env::var_os("KENYON_TEST_S3").map(PathBuf::from);
        let found = std::env::split_paths(&path).map(|folder| folder.join("moto_server"));
        let Some(program) = named.into_iter().chain(found).find(|file| file.exists()) else {
            crate::support::skip::skip(
                "no moto_server in PATH and none in KENYON_TEST_S3 (pip install 'moto[server]')",
            );
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        // Polls until it is up.
        Client::new(&server.url).bytes("PUT", "/kenyon").await;
        Some(server)
    }

    fn serve(&self, folder: &tempfile::TempDir) -> Process {
        Self::serve_at(&self.url, folder)
    }

    fn serve_at(url: &str, folder: &tempfile::TempDir) -> Process {
        let mut command = kenyon("serve");
        command.arg("--data-dir").arg(folder.path()).args(["--objects", "s3://kenyon/here/it/is", "--workers", "1"]);
        command.env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        Process::start(&mut command).unwrap()
    }

    async fn listed(&self) -> String {
        String::from_utf8(Client::new(&self.url).bytes("GET", "/kenyon?list-type=2").await).unwrap()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_kept_on_s3() {
    let Some(s3) = S3::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut server = s3.serve(&folder);
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/small", clouds(300).as_bytes()).await;
    // Large enough for an upload of several parts.
    let large = client.put("/api/v1/datasets/large", clouds(600_000).as_bytes()).await;
    assert_eq!(large["rows"], 600_000);
    let appended = client.post_bytes("/api/v1/datasets/small/rows", clouds(100).as_bytes()).await;
    assert_eq!(appended["rows"], 400);
    let request = json!({ "dataset": "small", "target": "label", "family": "sparse_mlp", "config": { "epochs": 5 } });
    let job = client.train("m", &request).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let rows = json!({ "rows": [{ "x": 2.0, "y": 0.0, "colour": "red" }] });
    assert_eq!(client.post("/api/v1/models/m/predict", &rows, None).await["predictions"][0]["label"], "right");
    let listed = s3.listed().await;
    for kind in ["here/it/is/datasets/", "here/it/is/models/m/"] {
        assert!(listed.contains(kind), "no {kind} in {listed}");
    }
    assert!(!listed.contains("checkpoints/"), "{listed}");

    // Killed, and without what it had cached: the objects are all that is needed.
    server.kill();
    let _ = std::fs::remove_dir_all(folder.path().join("cache"));
    let server = s3.serve(&folder);
    client.moved(&server.url);
    assert_eq!(client.post("/api/v1/models/m/predict", &rows, None).await["predictions"][0]["label"], "right");
    assert_eq!(client.get("/api/v1/datasets/small/rows?offset=399&limit=5").await["rows"].as_array().unwrap().len(), 1);
    client.post("/api/v1/snapshots", &json!({}), None).await;
    client.bytes("DELETE", "/api/v1/datasets/large").await;
    assert_eq!(s3.listed().await.matches("/datasets/").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_store_that_goes_away_comes_back() {
    let Some(s3) = S3::start().await else { return };
    let (here, cut) = cable(s3.url.trim_start_matches("http://").to_owned()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut server = S3::serve_at(&format!("http://{here}"), &folder);
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(300).as_bytes()).await;
    let request = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": 3 } });
    assert_eq!(client.train("m", &request).await["status"], "succeeded");
    let rows = json!({ "rows": [{ "x": 2.0, "y": 0.0, "colour": "red" }] });
    client.post("/api/v1/models/m/predict", &rows, None).await;

    cut.store(true, Ordering::Release);
    let (status, body) =
        client.once("PUT", "/api/v1/datasets/e", Some(clouds(300).into_bytes())).await.expect("an answer");
    let body = String::from_utf8_lossy(&body);
    assert!(status == 503 && body.contains("objects_unavailable"), "{status} {body}");
    client.post("/api/v1/models/m/predict", &rows, None).await;
    let job = client.post("/api/v1/models/m/train", &request, None).await;
    cut.store(false, Ordering::Release);
    assert_eq!(client.ended(job["id"].as_str().unwrap()).await["status"], "succeeded");
    client.put("/api/v1/datasets/e", clouds(300).as_bytes()).await;
    assert_eq!(client.get("/api/v1/datasets").await["items"].as_array().unwrap().len(), 2);
    assert!(server.alive());
}
