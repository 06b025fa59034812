//! Jobs: order, events that resume, cancel, retry, idempotency.

use crate::server::{TestServer, clouds, send};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_the_whole_story_and_can_be_resumed() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    let job = server
        .train("m", json!({"dataset": "d", "target": "label", "family": "sparse_mlp", "config": {"epochs": 3}}))
        .await;
    let path = format!("/api/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let response = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let ids: Vec<u64> = text.lines().filter_map(|l| l.strip_prefix("id: ")?.parse().ok()).collect();
    assert!(ids.len() >= 3 && ids.is_sorted(), "{text}");
    for word in ["event: status", "event: metric", "\"succeeded\"", "\"running\""] {
        assert!(text.contains(word), "{word} not in {text}");
    }
    let middle = ids[ids.len() / 2];
    let rest =
        server.request(Method::GET, &path).header("last-event-id", middle).send().await.unwrap().text().await.unwrap();
    let rest: Vec<u64> = rest.lines().filter_map(|l| l.strip_prefix("id: ")?.parse().ok()).collect();
    assert_eq!(rest, ids.iter().copied().filter(|id| *id > middle).collect::<Vec<_>>());
    let end = server.request(Method::GET, &path).header("last-event-id", *ids.last().unwrap()).send().await.unwrap();
    assert_eq!(end.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_canceled_at_once_and_can_be_retried() {
    let server = TestServer::with(|c| c.workers = 0).await;
    server.put("/api/v1/datasets/d", clouds(50)).await.ok();
    let job = server.post("/api/v1/models/m/train", json!({"dataset": "d", "target": "label"})).await.ok();
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(job["status"], "queued");
    assert_eq!(server.post("/api/v1/models/m/predict", json!({"rows": [{"x": 1}]})).await.problem().0, 503);
    assert_eq!(server.delete("/api/v1/datasets/d").await.status, 204, "a job that waits reads nothing yet");
    assert_eq!(server.post(&format!("{path}/retry"), json!({})).await.problem(), (409, "job_not_retryable"));
    assert_eq!(server.post(&format!("{path}/cancel"), json!({})).await.ok()["status"], "canceled");
    assert_eq!(server.post(&format!("{path}/cancel"), json!({})).await.ok()["status"], "canceled");
    let again = server.post(&format!("{path}/retry"), json!({})).await;
    assert_eq!((again.status, &again.body["status"]), (202, &json!("queued")));
    let listed = server.get("/api/v1/jobs?status=queued&model=m&kind=train").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_never_trains_twice() {
    let server = TestServer::with(|c| c.workers = 0).await;
    server.put("/api/v1/datasets/d", clouds(50)).await.ok();
    let train = |seed: u64| {
        let request = server.request(Method::POST, "/api/v1/models/m/train").header("idempotency-key", "once");
        send(request.json(&json!({"dataset": "d", "target": "label", "seed": seed})))
    };
    let first = train(1).await.ok();
    assert_eq!(train(1).await.ok()["id"], first["id"]);
    assert_eq!(train(2).await.problem(), (422, "idempotency_mismatch"));
    assert_eq!(server.get("/api/v1/jobs").await.ok()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_but_lets_cancel() {
    let server = TestServer::with(|c| {
        c.workers = 0;
        c.max_queued_jobs = 2;
    })
    .await;
    server.put("/api/v1/datasets/d", clouds(50)).await.ok();
    let train = || server.post("/api/v1/models/m/train", json!({"dataset": "d", "target": "label"}));
    let first = train().await.ok();
    train().await.ok();
    let refused = train().await;
    assert_eq!(refused.problem(), (429, "queue_full"));
    assert!(refused.header("retry-after").is_some());
    let cancel = format!("/api/v1/jobs/{}/cancel", first["id"].as_str().unwrap());
    assert_eq!(server.post(&cancel, json!({})).await.ok()["status"], "canceled");
    train().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_canceled_within_a_second() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(5000)).await.ok();
    let request = json!({"dataset": "d", "target": "label", "family": "sparse_mlp", "config": {"epochs": 1000, "early_stopping": 1000}});
    let job = server.post("/api/v1/models/m/train", request).await.ok();
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let mut events = server.request(Method::GET, &format!("{path}/events")).send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("event: progress") && !seen.contains("event: metric") {
        seen += &String::from_utf8_lossy(&events.chunk().await.unwrap().expect("it runs"));
    }
    let requested_at = std::time::Instant::now();
    server.post(&format!("{path}/cancel"), json!({})).await.ok();
    while let Some(chunk) = events.chunk().await.unwrap() {
        seen += &String::from_utf8_lossy(&chunk);
    }
    assert!(requested_at.elapsed().as_secs_f64() < 5.0, "{:?}", requested_at.elapsed());
    assert_eq!(server.get(&path).await.ok()["status"], "canceled", "{seen}");
}
