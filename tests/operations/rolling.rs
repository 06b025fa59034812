//! Two servers on one Postgres behind a proxy, replaced one after the other while clients send requests: no
//! request fails.

use crate::client::{Client, clouds};
use crate::support::postgres;
use crate::support::process::{Process, kenyon};
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A typical operator's configuration: checks readiness, sends a request elsewhere when a server closed.
fn configuration(front: u16, servers: [u16; 2]) -> String {
    format!(
        "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         frontend f\n bind 127.0.0.1:{front}\n default_backend b\n\
         backend b\n balance roundrobin\n option httpchk GET /readyz\n option redispatch 1\n retries 5\n\
         \x20retry-on conn-failure empty-response 503\n\
         \x20server a 127.0.0.1:{} check inter 200ms fall 1 rise 1\n server b 127.0.0.1:{} check inter 200ms fall 1 rise 1\n",
        servers[0], servers[1]
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_replaced_without_a_failed_request() {
    let Some(postgres) = postgres::server() else { return };
    let found = ["/usr/sbin/haproxy", "/usr/bin/haproxy"].into_iter().find(|p| std::path::Path::new(p).exists());
    let Some(haproxy) = found else {
        crate::support::skip::skip("no haproxy here");
        return;
    };
    let database = postgres.database().await;
    let folder = tempfile::tempdir().unwrap();
    let start = |port: u16| {
        let mut command = kenyon("serve");
        command.arg("--data-dir").arg(folder.path());
        command.args(["--database-url", &database, "--workers", "1"]);
        Process::start_at(&mut command, port).unwrap()
    };
    let ports = [free_port(), free_port()];
    let mut servers = ports.map(start);
    let front = free_port();
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, configuration(front, ports)).unwrap();
    let mut proxy = Command::new(haproxy);
    proxy.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let _proxy = Proxy(proxy.spawn().unwrap());
    let client = Client::new(&format!("http://127.0.0.1:{front}"));
    client.put("/api/v1/datasets/d", clouds(300).as_bytes()).await;
    let request = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": 3 } });
    assert_eq!(client.train("m", &request).await["status"], "succeeded");

    let (stop, answered, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let predicting: Vec<_> = (0..4)
        .map(|i| {
            let (client, stop, answered, failed) = (client.clone(), stop.clone(), answered.clone(), failed.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let body = br#"{"rows":[{"x":2.0,"y":0.0,"colour":"red"}]}"#.to_vec();
                    let answer = match i {
                        0 => client.once("GET", "/api/v1/models", None).await,
                        _ => client.once("POST", "/api/v1/models/m/predict", Some(body)).await,
                    };
                    match answer {
                        Some((200, _)) => answered.fetch_add(1, Ordering::Relaxed),
                        other => {
                            println!("{:?}", other.map(|(s, b)| (s, String::from_utf8_lossy(&b).into_owned())));
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    // Each time both servers have answered for a while.
    let more_answers = async || {
        let (before, begun) = (answered.load(Ordering::Relaxed), Instant::now());
        while answered.load(Ordering::Relaxed) < before + 100 {
            assert!(begun.elapsed() < Duration::from_secs(60), "too few answers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for _ in 0..2 {
        for i in 0..2 {
            more_answers().await;
            assert!(servers[i].stop(), "{}", servers[i].log());
            servers[i] = start(ports[i]);
        }
    }
    more_answers().await;
    stop.store(true, Ordering::Relaxed);
    futures::future::join_all(predicting).await;
    let (answered, failed) = (answered.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("rolling restart, four restarts behind haproxy: {answered} answered, {failed} failed");
    assert_eq!(failed, 0);
}
