//! Webhooks for ended jobs and changed streams: signed, and sent again
//! after a failure.

use crate::client::{Client, clouds};
use crate::support::process::{Process, kenyon};
use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The head and the body of the next request, answered with `status`.
async fn receive(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let accepted = tokio::time::timeout(Duration::from_secs(60), listener.accept()).await;
    let (mut stream, _) = accepted.expect("nothing is reported").unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        bytes.extend(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length: usize =
            head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().trim().parse().unwrap();
        if bytes.len() >= end + 4 + length {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_job_is_told_signed_and_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(folder.path()).args(["--workers", "1", "--webhook-secret", "shared"]);
    command.args([
        "--webhook-url",
        &format!("http://{}/hook", listener.local_addr().unwrap()),
        "--webhook-allow-private",
    ]);
    let server = Process::start(&mut command).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(100).as_bytes()).await;
    let request = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": 1 } });
    let job = client.post("/api/v1/models/m/train", &request, None).await;
    let refused = receive(&listener, "500 No").await;
    let (head, body) = receive(&listener, "200 OK").await;
    assert_eq!(refused.1, body, "the same again");
    let reported: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&reported["event"], &reported["job"]["id"]), (&json!("job.succeeded"), &job["id"]));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"shared").unwrap();
    mac.update(&body);
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert!(head.contains(&format!("x-kenyon-signature: sha256={hex}")), "{head}");
    // The receiver recognises the second try by its id.
    let id = header(&head, "webhook-id");
    assert_eq!(id, header(&refused.0, "webhook-id"));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"shared").unwrap();
    mac.update(format!("{id}.{}.", header(&head, "webhook-timestamp")).as_bytes());
    mac.update(&body);
    let expected = format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header(&head, "webhook-signature"), expected.to_lowercase(), "heads are read in lower case");
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_a_stream_is_told_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(folder.path()).args(["--workers", "0", "--webhook-allow-private"]);
    command.args(["--webhook-url", &format!("http://{}/hook", listener.local_addr().unwrap())]);
    let server = Process::start(&mut command).unwrap();
    let client = Client::new(&server.url);
    let empty = json!({ "family": "hybrid", "target": "label", "features": { "x": "number" } });
    client.put("/api/v1/models/s", empty.to_string().as_bytes()).await;
    // Every value moves by fifty: the distribution has changed, and the model is wrong for a while.
    let rows = |range: std::ops::Range<usize>, moved: f64| -> Value {
        let one = |i: usize| {
            let right = ((i * 2_654_435_761) >> 9) & 1 == 1;
            json!({ "x": if right { 2.0 } else { -2.0 } + (i % 7) as f64 / 10.0 + moved,
                "label": if right { "right" } else { "left" } })
        };
        json!({ "rows": range.map(one).collect::<Vec<_>>() })
    };
    client.post("/api/v1/models/s/observe", &rows(0..2000, 0.0), None).await;
    client.post("/api/v1/models/s/observe", &rows(2000..2500, 50.0), None).await;
    let listed = client.get("/api/v1/models/s/stream").await["drift"].take();
    let mut expected = Vec::new();
    for (of, rows) in [("error", &listed["rows"]), ("inputs", &listed["inputs"]["rows"])] {
        let rows = rows.as_array().unwrap();
        assert!(rows.iter().all(|row| (2000..=2500).contains(&row.as_u64().unwrap())), "{listed}");
        expected.extend(rows.iter().map(|row| (of.to_owned(), row.as_u64().unwrap())));
    }
    assert!(!expected.is_empty(), "{listed}");
    let mut reported = Vec::new();
    for _ in &expected {
        let (_, body) = receive(&listener, "200 OK").await;
        let event: Value = serde_json::from_slice(&body).unwrap();
        let drift = &event["drift"];
        assert_eq!((&event["event"], &drift["model"], &drift["version"]), (&json!("drift"), &json!("s"), &json!(1)));
        reported.push((drift["in"].as_str().unwrap().to_owned(), drift["row"].as_u64().unwrap()));
    }
    reported.sort();
    assert_eq!(reported, expected);
}
