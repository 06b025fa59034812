//! Limits: rates, counts, sizes; and a shutdown that loses nothing.

use crate::server::{TestServer, clouds, send};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_asks_too_often_waits() {
    let server = TestServer::with(|c| c.rate_limit_address = 5).await;
    let mut refused = None;
    for _ in 0..20 {
        let answer = server.get("/api/v1/models").await;
        if answer.status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("20 requests at once are more than 5 a second");
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.get("/livez").await.status, 200, "liveness ignores load");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_model_or_dataset_too_many() {
    let server = TestServer::with(|c| {
        c.max_datasets = 1;
        c.max_models = 1;
        c.workers = 0;
    })
    .await;
    server.put("/api/v1/datasets/a", clouds(30)).await.ok();
    assert_eq!(server.put("/api/v1/datasets/b", clouds(30)).await.problem(), (507, "too_many_datasets"));
    assert_eq!(server.put("/api/v1/datasets/a", clouds(40)).await.status, 200);
    for (model, status) in [("a", 202), ("b", 507), ("a", 202)] {
        let path = format!("/api/v1/models/{model}/train");
        let answer = server.post(&path, json!({"dataset": "a", "target": "label"})).await;
        assert_eq!(answer.status, status, "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_all_datasets_are_bounded() {
    let server = TestServer::with(|c| c.max_dataset_bytes = 100).await;
    server.put("/api/v1/datasets/a", clouds(30)).await.ok();
    assert_eq!(server.put("/api/v1/datasets/b", clouds(30)).await.problem(), (507, "quota_reached"));
    assert_eq!(server.delete("/api/v1/datasets/a").await.status, 204);
    server.put("/api/v1/datasets/b", clouds(30)).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_before_the_end_is_answered() {
    let mut server = TestServer::start().await;
    let pieces = async_stream(server.url.clone());
    let upload = tokio::spawn(send(server.request(Method::PUT, "/api/v1/datasets/slow").body(pieces)));
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    server.stop().await;
    assert_eq!(upload.await.unwrap().status, 201, "an upload under way was cut off");
}

/// A body whose second half comes a little later.
fn async_stream(_url: String) -> reqwest::Body {
    let pieces = futures::stream::unfold(0, |i| async move {
        if i == 10 {
            return None;
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        let piece = if i == 0 { "a,b\n".to_owned() } else { format!("{i},{i}\n") };
        Some((Ok::<_, std::io::Error>(piece), i + 1))
    });
    reqwest::Body::wrap_stream(pieces)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_with_a_certificate_and_refuses_a_wrong_one() {
    let error = kenyon::app::App::start(kenyon::config::Config {
        listen: "127.0.0.1:0".into(),
        grpc_listen: "off".into(),
        tls_cert: "no-such-file.pem".into(),
        tls_key: "no-such-key.pem".into(),
        ..kenyon::config::Config::default()
    })
    .await;
    assert_eq!(error.map(|_| ()).unwrap_err().code, "bad_configuration");
}
