//! The OpenAPI document and the router are one.

use crate::server::{TestServer, send};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// Every call that the interface promises.
const PROMISED: &str = "
    GET /  GET /docs  GET /openapi.json  GET /livez  GET /readyz  GET /healthz  GET /metrics  GET /api/v1/system
    GET /api/v1/datasets  GET /api/v1/datasets/{name}  PUT /api/v1/datasets/{name}  DELETE /api/v1/datasets/{name}
    POST /api/v1/datasets/{name}/rows  GET /api/v1/datasets/{name}/rows
    GET /api/v1/models  GET /api/v1/models/{name}  DELETE /api/v1/models/{name}  PUT /api/v1/models/{name}
    POST /api/v1/models/{name}/train  POST /api/v1/models/{name}/predict  POST /api/v1/models/{name}/observe
    POST /api/v1/models/{name}/feedback  POST /api/v1/models/{name}/evaluate  GET /api/v1/models/{name}/memory
    DELETE /api/v1/models/{name}/memory/{id}  POST /api/v1/models/{name}/forget  GET /api/v1/models/{name}/activity
    GET /api/v1/models/{name}/stream  POST /api/v1/models/{name}/consolidate  GET /api/v1/models/{name}/versions
    POST /api/v1/models/{name}/versions/{version}/promote  POST /api/v1/models/{name}/rollback
    PUT /api/v1/models/{name}/traffic  GET /api/v1/models/{name}/versions/{version}/export
    POST /api/v1/models/{name}/import  GET /api/v1/families
    GET /api/v1/jobs  GET /api/v1/jobs/{id}  POST /api/v1/jobs/{id}/cancel  POST /api/v1/jobs/{id}/retry
    GET /api/v1/jobs/{id}/events  GET /api/v1/jobs/{id}/metrics
    GET /api/v1/keys  POST /api/v1/keys  DELETE /api/v1/keys/{id}  POST /api/v1/snapshots";

fn described(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promised_call_is_described_and_every_described_call_is_there() {
    let server = TestServer::start().await;
    let answer = server.get("/openapi.json").await;
    let document = answer.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let described = described(&document);
    let words: Vec<&str> = PROMISED.split_whitespace().collect();
    for call in words.chunks(2).map(|c| c.join(" ")) {
        assert!(described.contains(&call), "{call} is not described");
    }
    for call in &described {
        let (method, path) = call.split_once(' ').unwrap();
        let path = path.replace("{name}", "none").replace("{model}", "none").replace("{version}", "1");
        let path = path.replace("{id}", "018f0000-0000-7000-8000-000000000000").replace("{file}", "none");
        let answer = send(server.request(Method::from_bytes(method.as_bytes()).unwrap(), &path)).await;
        assert_ne!(answer.status, 405, "{call}");
        assert_ne!(answer.body["code"], "route_not_found", "{call}",);
    }
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_hold_no_nulls() {
    let server = TestServer::start().await;
    let document = server.get("/openapi.json").await.ok();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let nulls: Vec<_> = operation.as_object().unwrap().iter().filter(|(_, value)| value.is_null()).collect();
            assert!(nulls.is_empty(), "{method} {path}: {nulls:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_closed_in_themselves() {
    let document = serde_json::to_value(kenyon::app::openapi()).unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let name = reference.split('"').next().unwrap();
        let pointer = name.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{name} is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_figures_are_there() {
    let server = TestServer::start().await;
    let page = server.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    let docs = server.get("/docs/").await;
    assert!([200, 404].contains(&docs.status));
    let docs = server.get("/docs").await;
    assert_eq!(docs.status, 200, "the client followed to the page");
    let metrics = server.get("/metrics").await;
    let text = metrics.body.as_str().unwrap().to_owned();
    for name in ["kenyon_http_requests_total", "kenyon_http_request_duration_seconds_bucket", "kenyon_build_info"] {
        assert!(text.contains(name), "{name}");
    }
    let system = server.get("/api/v1/system").await.ok();
    assert!(system["version"].is_string() && system["cores"].is_number() && system["queue_depth"] == 0, "{system}");
    assert_eq!(server.get("/api/v1/families").await.ok()["items"].as_array().unwrap().len(), 4);
    let gzipped = send(server.request(Method::GET, "/openapi.json").header("accept-encoding", "gzip")).await;
    assert_eq!(gzipped.header("content-encoding"), Some("gzip"));
}
