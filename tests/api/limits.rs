//! Limits: rates, counts, sizes; and a shutdown that loses nothing.

use crate::server::{TestServer, clouds};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = "PUT /api/v1/datasets/slow HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nExpect: 100-continue\r\n\
        Content-Length: 12\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n", "the body is being read");
    let rest = tokio::spawn(async move {
        stream.write_all(b"a,b\n").await.unwrap();
        while TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        stream.write_all(b"1,2\n3,4\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    server.stop().await;
    let answer = rest.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "an upload under way was cut off: {answer}");
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
