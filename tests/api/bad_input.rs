//! Bad input: each case has its status and code, nothing is stored, and the server continues to serve.

use crate::server::{TestServer, clouds, send};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_cannot_be_read() {
    let server = TestServer::start().await;
    let wide = (0..10_001).map(|i| format!("c{i}x")).collect::<Vec<_>>().join(",");
    let parquet = b"PAR1 this was a parquet file once".to_vec();
    let cases: Vec<(&str, &str, Vec<u8>, u16)> = vec![
        ("empty", "text/csv", b"".to_vec(), 422),
        ("empty, no type", "", b"".to_vec(), 422),
        ("header only", "text/csv", b"a,b\n".to_vec(), 422),
        ("ragged", "text/csv", b"a,b\n1,2\n3\n".to_vec(), 422),
        ("open quote", "text/csv", b"a,b\n1,\"2\n3,4\n".to_vec(), 422),
        ("not UTF-8", "text/csv", b"a,b\n1,\xff \xc3\xa9\xc3\xa9\xc3\xa9\n".to_vec(), 422),
        ("too many columns", "text/csv", format!("{wide}\n").into_bytes(), 422),
        ("cut parquet", "application/vnd.apache.parquet", parquet, 422),
        ("broken ndjson", "application/x-ndjson", b"{\"a\":1}\n{\"a\":\n".to_vec(), 422),
        ("NaN in JSON", "application/json", b"[{\"a\":NaN}]".to_vec(), 422),
        ("not rows", "application/json", b"[1,2]".to_vec(), 422),
        ("not gzip", "application/gzip", b"\x1f\x8bnot really".to_vec(), 422),
        ("a picture", "image/png", b"\x89PNG".to_vec(), 415),
    ];
    for (what, kind, body, status) in cases {
        let mut request = server.request(Method::PUT, "/api/v1/datasets/bad").body(body);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let answer = send(request).await;
        answer.problem();
        assert!(
            answer.status == status || (status == 422 && answer.status == 400),
            "{what}: {} {}",
            answer.status,
            answer.body
        );
        assert_eq!(server.get("/api/v1/datasets/bad").await.status, 404, "{what} was stored");
    }
    let answer = server.put("/api/v1/datasets/bad", "a,b\n1,2\n2,Infinity\n3,4\n").await;
    // A number that is not finite counts as missing, and the answer gives its place.
    let warning = &answer.body["warnings"][0];
    assert_eq!((&warning["code"], &warning["column"]), (&json!("mixed_kind"), &json!("b")), "{}", answer.body);
    assert_eq!(warning["examples"][0], json!({"row": 2, "value": "Infinity"}), "{}", answer.body);
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoding_that_is_unknown_or_a_bomb() {
    let server = TestServer::with(|c| c.max_decompressed_bytes = 1 << 20).await;
    let put = |encoding: &str, body: Vec<u8>| {
        send(server.request(Method::PUT, "/api/v1/datasets/bomb").header("content-encoding", encoding).body(body))
    };
    assert_eq!(put("br", b"a\n1\n".to_vec()).await.problem(), (415, "unsupported_encoding"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"a,b\n").unwrap();
    for _ in 0..1000 {
        encoder.write_all(&b"1,2\n".repeat(4096)).unwrap();
    }
    let answer = put("gzip", encoder.finish().unwrap()).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert_eq!(server.get("/api/v1/datasets/bomb").await.status, 404);
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trainings_that_cannot_be() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(60)).await.ok();
    server.put("/api/v1/datasets/constant", "a,t\n1,x\n2,x\n3,x\n4,x\n").await.ok();
    let cases = [
        (json!({"dataset": "none", "target": "label"}), 404, "dataset_not_found"),
        (json!({"dataset": "d", "target": "none"}), 422, ""),
        (json!({"dataset": "d"}), 400, "missing_field"),
        (json!({"dataset": "d", "target": "label", "familly": "hybrid"}), 400, "unknown_field"),
        (json!({"dataset": "d", "target": "label", "family": "none"}), 400, "invalid_request"),
        (json!({"dataset": "d", "target": "label", "validation": 1.5}), 422, ""),
        (json!({"dataset": "d", "target": "label", "seed": -1}), 400, "invalid_request"),
        (json!({"dataset": "../d", "target": "label"}), 400, "invalid_request"),
        (json!({"dataset": "d", "target": "label", "features": {"nothing": "number"}}), 422, ""),
        (json!({"dataset": "d", "target": "label", "features": {"x": "nonsense"}}), 400, ""),
        (json!([]), 400, "invalid_request"),
    ];
    for (request, status, code) in cases {
        let answer = server.post("/api/v1/models/m/train", &request).await;
        let problem = answer.problem();
        assert_eq!(problem.0, status, "{request}: {}", answer.body);
        assert!(code.is_empty() || problem.1 == code, "{request}: {}", answer.body);
        assert_eq!(server.get("/api/v1/models/m").await.status, 404, "{request} left a model");
    }
    let answer = server.post("/api/v1/models/m/train", json!({"dataset": "d", "target": "label", "familly": 1})).await;
    assert_eq!(answer.body["details"][0]["path"], "familly");
    let answer = server.post("/api/v1/models/m/train", json!({"dataset": "constant", "target": "t"})).await;
    assert_eq!(answer.problem(), (422, "target_constant"));
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(120)).await.ok();
    let training = json!({"dataset": "d", "target": "label", "family": "sparse_mlp", "config": {"epochs": 2}});
    let job = server.train("m", training).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let good = json!({"x": 1.0, "y": 0.0, "colour": "red"});
    let with = |name: &str, value: Value| {
        let mut row = good.clone();
        row[name] = value;
        row
    };
    for row in [with("extra", json!(1)), with("x", json!("much")), with("x", json!({"deep": [1]}))] {
        let answer = server.post("/api/v1/models/m/predict", json!({"rows": [good, row]})).await;
        assert_eq!(answer.status, 422, "{row}: {}", answer.body);
        assert_eq!(answer.body["details"][0]["row"], 1, "{row}: {}", answer.body);
    }
    for row in [with("x", json!(null)), json!({}), with("colour", json!("never seen"))] {
        let answer = server.post("/api/v1/models/m/predict", json!({"rows": [row]})).await;
        assert!(answer.status == 200 || answer.status == 422, "{row}: {}", answer.body);
    }
    let bodies = [
        ("", 400, "malformed_json"),
        ("{", 400, "malformed_json"),
        ("{}", 400, ""),
        (r#"{"rows":[[1]]}"#, 400, ""),
        (r#"{"rows":[1]}"#, 400, ""),
        (r#"{"rows":{}}"#, 400, ""),
        (r#"{"rows":[{"x":NaN}]}"#, 400, ""),
        (r#"{"rows":[{"x":1e999}]}"#, 0, ""),
        (r#"{"rows":[{"x":1}],"topk":3}"#, 400, ""),
        (r#"{"rows":[{"x":1}],"coverage":2}"#, 0, ""),
        (r#"{"rows":[{"x":1}],"version":77}"#, 404, "version_not_found"),
    ];
    for (body, status, code) in bodies {
        let request =
            server.request(Method::POST, "/api/v1/models/m/predict").header("content-type", "application/json");
        let answer = send(request.body(body)).await;
        let problem = answer.problem();
        let expected = if status == 0 { problem.0 == 400 || problem.0 == 422 } else { problem.0 == status };
        assert!(expected && (code.is_empty() || problem.1 == code), "{body}: {}", answer.body);
    }
    // Options in the query are for files: beside JSON they are refused, not ignored.
    for (query, field) in [("version=1", "version"), ("top_k=2&coverage=0.9", "top_k"), ("depth=2", "depth")] {
        let answer = server.post(&format!("/api/v1/models/m/predict?{query}"), json!({"rows": [good]})).await;
        assert_eq!(answer.problem(), (400, "unknown_field"), "{query}: {}", answer.body);
        assert_eq!(answer.body["details"][0]["path"], field, "{query}: {}", answer.body);
        assert!(answer.body["detail"].to_string().contains("in the body"), "{query}: {}", answer.body);
    }
    for (call, rows) in [("embed", 4097), ("neighbors", 1025)] {
        let answer = server.post(&format!("/api/v1/models/m/{call}"), json!({"rows": vec![&good; rows]})).await;
        assert_eq!(answer.problem(), (413, "too_many_rows"), "{call}: {}", answer.body);
    }
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_that_name() {
    let server = TestServer::start().await;
    let rows = json!({"rows": [{"a": 1}]});
    assert_eq!(server.post("/api/v1/models/none/predict", &rows).await.problem(), (404, "model_not_found"));
    assert_eq!(server.get("/api/v1/models/none").await.problem(), (404, "model_not_found"));
    assert_eq!(server.get("/api/v1/models/none/versions").await.problem(), (404, "model_not_found"));
    assert_eq!(server.delete("/api/v1/models/none").await.problem(), (404, "model_not_found"));
    assert_eq!(server.get("/api/v1/datasets/none").await.problem(), (404, "dataset_not_found"));
    assert_eq!(server.get("/api/v1/datasets/none/rows").await.problem(), (404, "dataset_not_found"));
    for id in ["none", "018f0000-0000-7000-8000-000000000000"] {
        assert_eq!(server.get(&format!("/api/v1/jobs/{id}")).await.problem(), (404, "job_not_found"));
        assert_eq!(server.get(&format!("/api/v1/jobs/{id}/events")).await.problem(), (404, "job_not_found"));
        let cancel = server.post(&format!("/api/v1/jobs/{id}/cancel"), json!({})).await;
        assert_eq!(cancel.problem(), (404, "job_not_found"));
    }
    assert_eq!(server.get("/api/v1/nothing").await.problem(), (404, "route_not_found"));
    assert_eq!(server.post("/nothing", json!({})).await.problem(), (404, "route_not_found"));
    assert_eq!(server.delete("/api/v1/system").await.problem(), (405, "method_not_allowed"));
    assert_eq!(server.get("/api/v1/models/m/predict").await.problem(), (405, "method_not_allowed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_queries_that_are_none() {
    let server = TestServer::start().await;
    let long = "a".repeat(64);
    for name in ["Iris", "a b", "a%20b", "..%2f..%2fetc", "%2e%2e", "-a", "_a", "a.b", "%00", "ä", long.as_str()] {
        let answer = server.put(&format!("/api/v1/datasets/{name}"), "a\n1\n").await;
        assert!([400, 404].contains(&answer.status), "{name}: {} {}", answer.status, answer.body);
        answer.problem();
        let answer = server.post(&format!("/api/v1/models/{name}/train"), json!({"dataset": "d", "target": "t"})).await;
        assert!([400, 404].contains(&answer.status), "{name}: {}", answer.body);
    }
    assert_eq!(server.get("/api/v1/datasets").await.ok()["items"], json!([]));
    for query in ["limit=0", "limit=1001", "limit=x", "limit=-1", "cursor=%00", "nothing=1"] {
        let answer = server.get(&format!("/api/v1/datasets?{query}")).await;
        assert_eq!(answer.problem().0, 400, "{query}");
        let answer = server.get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!(answer.problem().0, 400, "{query}");
    }
    for (query, code, path) in [
        ("status=gone", "unknown_status", "status"),
        ("kind=training", "unknown_kind", "kind"),
        ("status=queued&kind=", "unknown_kind", "kind"),
    ] {
        let answer = server.get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!(answer.problem(), (400, code), "{query}");
        assert_eq!(answer.body["details"][0]["path"], path, "{query}: {}", answer.body);
    }
    let text = server.get("/api/v1/jobs?kind=training").await.body["detail"].to_string();
    assert!(text.contains("distill"), "the known words are named: {text}");
    // Lists of one page.
    for list in ["keys", "encoders", "families", "models/none/versions"] {
        for (query, code) in
            [("limit=0", "invalid_request"), ("limit=5&cursor=x", "invalid_cursor"), ("nothing=1", "unknown_field")]
        {
            let answer = server.get(&format!("/api/v1/{list}?{query}")).await;
            assert_eq!(answer.problem(), (400, code), "{list}?{query}: {}", answer.body);
        }
    }
    server.get("/api/v1/encoders?limit=1000&cursor=").await.ok();
    // What has no parameters takes none.
    for path in ["models/none", "datasets/none", "models/none/activity", "system"] {
        let answer = server.get(&format!("/api/v1/{path}?detail=true")).await;
        assert_eq!(answer.problem(), (400, "unknown_field"), "{path}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit() {
    let server = TestServer::with(|c| {
        c.max_body_bytes = 1000;
        c.max_upload_bytes = 2000;
    })
    .await;
    let long = "x".repeat(100_000);
    let answer = server.post("/api/v1/models/m/predict", json!({"rows": [{"a": long}]})).await;
    assert_eq!(answer.problem(), (413, "body_too_large"));
    let answer = server.put("/api/v1/datasets/d", format!("a\n{long}\n")).await;
    assert_eq!(answer.problem(), (413, "body_too_large"));
    // Without a Content-Length.
    let pieces = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b'1'; 1000])));
    let answer = send(server.request(Method::PUT, "/api/v1/datasets/d").body(reqwest::Body::wrap_stream(pieces))).await;
    assert_eq!(answer.problem(), (413, "body_too_large"));
    assert_eq!(server.get("/api/v1/datasets/d").await.status, 404);
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_or_falls_silent() {
    let server = TestServer::with(|c| c.client_timeout = 0.3).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let head = "PUT /api/v1/datasets/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\na,b\n1,2\n";
    let mut gone = tokio::net::TcpStream::connect(&address).await.unwrap();
    gone.write_all(head.as_bytes()).await.unwrap();
    drop(gone);
    let mut silent = tokio::net::TcpStream::connect(&address).await.unwrap();
    silent.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("client_too_slow"), "{answer}");
    // A head that never ends is cut off.
    let mut loris = tokio::net::TcpStream::connect(&address).await.unwrap();
    loris.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut loris, &mut answer).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    assert_eq!(server.get("/api/v1/datasets/half").await.status, 404);
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_bodies_of_another_form() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(100)).await.ok();
    let train =
        json!({"dataset": "d", "target": "label", "family": "sparse_mlp", "priority": 2.0, "config": {"epochs": 2}});
    assert_eq!(server.train("m", train).await["priority"], 2, "1.0 is 1 in JSON");
    let rows = json!([{"x": 2.0, "y": 0.0, "colour": "red"}]);
    server.post("/api/v1/models/m/predict", json!({"rows": rows, "version": 1.0, "top_k": 1.0})).await.ok();
    server.post("/api/v1/models/m/predict", json!({"top_k": 1.0, "rows": rows})).await.ok();
    let vast = json!({"family": "hybrid", "target": "t", "features": {"v": {"kind": "vector", "shape": [1u64 << 40, 1u64 << 40]}}});
    let vast = send(server.request(Method::PUT, "/api/v1/models/v").json(&vast)).await;
    assert_eq!(vast.problem(), (422, "invalid_feature"));
    let half = server.post("/api/v1/models/m/predict", json!({"rows": rows, "version": 1.5})).await;
    assert_eq!(half.problem(), (400, "invalid_request"));
    let list = send(server.request(Method::PUT, "/api/v1/models/m/traffic").json(&json!([1, null]))).await;
    assert_eq!(list.problem(), (400, "invalid_request"), "fields in their order are no object");
}
