//! Datasets: formats, appends, rows back, removal.

use crate::server::{TestServer, clouds, send};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_and_encoding_gives_the_same_rows() {
    let server = TestServer::start().await;
    let csv = "a,b\n1,x\n2,y\n";
    let zstd = zstd::encode_all(csv.as_bytes(), 1).unwrap();
    let table: Vec<(&str, Option<&str>, Option<&str>, Vec<u8>)> = vec![
        ("csv", Some("text/csv"), None, csv.into()),
        ("untyped", None, None, csv.into()),
        ("form", Some("application/x-www-form-urlencoded"), None, csv.into()),
        ("tsv", Some("text/tab-separated-values"), None, csv.replace(',', "\t").into()),
        ("ndjson", Some("application/x-ndjson"), None, b"{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}\n".to_vec()),
        ("json", Some("application/json"), None, b"[{\"a\":1,\"b\":\"x\"},{\"a\":2,\"b\":\"y\"}]".to_vec()),
        ("gzip", Some("text/csv"), Some("gzip"), gzip(csv)),
        ("bare-gzip", None, None, gzip(csv)),
        ("zstd", Some("text/csv"), Some("zstd"), zstd),
        ("bom", None, None, [b"\xef\xbb\xbf", csv.as_bytes()].concat()),
    ];
    for (name, kind, encoding, body) in table {
        let mut request = server.request(Method::PUT, &format!("/api/v1/datasets/{name}")).body(body);
        request = kind.into_iter().fold(request, |r, kind| r.header("content-type", kind));
        request = encoding.into_iter().fold(request, |r, encoding| r.header("content-encoding", encoding));
        let answer = send(request).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
        let rows = server.get(&format!("/api/v1/datasets/{name}/rows")).await.ok();
        assert_eq!(rows["rows"], json!([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]), "{name}");
    }
    let listed = server.get("/api/v1/datasets?limit=4").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 4);
    let next = listed["next_cursor"].as_str().unwrap();
    let rest = server.get(&format!("/api/v1/datasets?cursor={next}")).await.ok();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (6, &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_appended_shown_and_removed() {
    let server = TestServer::start().await;
    let first = server.put("/api/v1/datasets/d", clouds(10)).await;
    assert_eq!((first.status, &first.body["revision"]), (201, &json!(1)));
    assert_eq!(server.put("/api/v1/datasets/d", clouds(20)).await.status, 200);
    let answer =
        send(server.request(Method::POST, "/api/v1/datasets/d/rows").body("x,y,colour,label\n1,2,red,left\n")).await;
    assert_eq!(answer.ok(), json!({"appended": 1, "rows": 21}));
    // All rows of a call, or none.
    let bad =
        send(server.request(Method::POST, "/api/v1/datasets/d/rows").body("x,y,colour,label\n1,2,red,left\n1,2\n"))
            .await;
    assert_eq!(bad.status, 422, "{}", bad.body);
    assert_eq!(bad.body["details"][0]["row"], 2, "{}", bad.body);
    let one = server.get("/api/v1/datasets/d").await.ok();
    assert_eq!((&one["rows"], one["preview"].as_array().unwrap().len()), (&json!(21), 10));
    let kinds: Vec<_> =
        one["columns"].as_array().unwrap().iter().map(|c| (c["name"].clone(), c["kind"].clone())).collect();
    assert_eq!(kinds[0], (json!("x"), json!("number")));
    assert_eq!(kinds[2], (json!("colour"), json!("category")));
    let window = server.get("/api/v1/datasets/d/rows?offset=20&limit=5").await.ok();
    assert_eq!(window["rows"].as_array().unwrap().len(), 1);
    assert_eq!(server.delete("/api/v1/datasets/d").await.status, 204);
    assert_eq!(server.get("/api/v1/datasets/d").await.problem(), (404, "dataset_not_found"));
    assert_eq!(server.delete("/api/v1/datasets/d").await.problem(), (404, "dataset_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_at_the_same_time_all_land() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", "a\n1\n").await.ok();
    let appends =
        (0..6).map(|i| send(server.request(Method::POST, "/api/v1/datasets/d/rows").body(format!("a\n{i}\n"))));
    for answer in futures::future::join_all(appends).await {
        answer.ok();
    }
    assert_eq!(server.get("/api/v1/datasets/d").await.ok()["rows"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_answers_as_an_upload_and_stores_nothing() {
    let server = TestServer::start().await;
    let text = ",a,y\n0,1.5,p\n1,2.5,q\n2,3.5,q\n";
    let tried = send(server.request(Method::PUT, "/api/v1/datasets/d?dry_run=true").body(text)).await;
    assert_eq!(tried.status, 200, "{}", tried.body);
    assert_eq!(server.get("/api/v1/datasets/d").await.problem(), (404, "dataset_not_found"));
    let stored = server.put("/api/v1/datasets/d", text).await;
    assert_eq!(stored.status, 201, "{}", stored.body);
    for field in ["rows", "bytes", "digest", "columns", "warnings", "read_as"] {
        assert_eq!(tried.body[field], stored.body[field], "{field}");
    }
    let codes: Vec<_> = stored.body["warnings"].as_array().unwrap().iter().map(|w| w["code"].clone()).collect();
    assert!(codes.contains(&json!("unnamed_column")) && codes.contains(&json!("identifier")), "{codes:?}");
    assert_eq!(server.get("/api/v1/datasets/d").await.ok()["warnings"], stored.body["warnings"]);
    let more = server.request(Method::POST, "/api/v1/datasets/d/rows?dry_run=true").body(",a,y\n3,4.5,p\n");
    let tried = send(more).await.ok();
    assert_eq!((&tried["appended"], &tried["rows"]), (&json!(1), &json!(4)));
    assert_eq!(server.get("/api/v1/datasets/d").await.ok()["rows"], 3);
    let bad = send(server.request(Method::PUT, "/api/v1/datasets/e?dry_run=true").body("a,b\n1,2\n3\n")).await;
    assert_eq!((bad.status, &bad.body["details"][0]["row"]), (422, &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_file_is_read_can_be_said_and_is_answered() {
    let server = TestServer::start().await;
    let rows = "5.1,3.5,Iris-setosa\n4.9,3.0,Iris-setosa\n6.3,3.3,Iris-virginica\n";
    let request = server.request(Method::PUT, "/api/v1/datasets/h").header("content-type", "text/csv; header=absent");
    let absent = send(request.body(rows)).await;
    assert_eq!((absent.status, &absent.body["rows"]), (201, &json!(3)), "{}", absent.body);
    assert_eq!(absent.body["read_as"]["header"], "absent");
    let found = server.get("/api/v1/datasets/h/rows").await.ok();
    assert_eq!(found["rows"][0], json!({"column_1": 5.1, "column_2": 3.5, "column_3": "Iris-setosa"}));
    let more = send(
        server.request(Method::POST, "/api/v1/datasets/h/rows").body("5.0,3.6,Iris-setosa\n4.7,3.2,Iris-setosa\n"),
    )
    .await;
    assert_eq!((more.status, &more.body["rows"]), (200, &json!(5)), "{}", more.body);
    let path = "/api/v1/datasets/q?delimiter=%7C&encoding=windows-1252&quote=none";
    let said = send(server.request(Method::PUT, path).body(b"name|x\nJos\xe9|1\n\"A|2\n".to_vec())).await;
    assert_eq!(said.status, 201, "{}", said.body);
    assert_eq!(said.body["read_as"]["encoding"], "windows-1252");
    let found = server.get("/api/v1/datasets/q/rows").await.ok();
    assert_eq!(found["rows"], json!([{"name": "José", "x": 1}, {"name": "\"A", "x": 2}]));
    let dates = |spelled: fn(u32) -> String| {
        let lines = (1..25).map(|day| format!("{},{}\n", spelled(day), day % 2)).collect::<String>();
        server.put("/api/v1/datasets/dates", format!("date,y\n{lines}"))
    };
    let order = |answer: &Value| answer["read_as"]["day_first"].clone();
    assert_eq!(order(&dates(|day| format!("{day:02}/03/2024")).await.body), true);
    assert_eq!(order(&server.get("/api/v1/datasets/dates").await.ok()), true);
    assert_eq!(order(&dates(|day| format!("3/{day}/2024 10:30")).await.body), false);
    assert_eq!(order(&dates(|day| format!("{day:02}.03.2024")).await.body), true);
    assert_eq!(order(&dates(|day| format!("2024-03-{day:02}")).await.body), json!(null), "needs no order");
    for (query, field) in [
        ("delimiter=ab", "delimiter"),
        ("header=maybe", "header"),
        ("quote=x", "quote"),
        ("decimal=x", "decimal"),
        ("encoding=klingon", "encoding"),
    ] {
        let refused = send(server.request(Method::PUT, &format!("/api/v1/datasets/r?{query}")).body(rows)).await;
        assert_eq!((refused.status, &refused.body["details"][0]["path"]), (400, &json!(field)), "{}", refused.body);
    }
    let refused = send(server.request(Method::PUT, "/api/v1/datasets/r?colour=red").body(rows)).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}
