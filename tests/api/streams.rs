//! Models that learn while they serve.

use crate::server::{TestServer, send};
use reqwest::Method;
use serde_json::{Value, json};

fn row(i: usize) -> Value {
    let side = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    json!({"x": side * 2.0 + (i % 7) as f64 / 10.0, "y": (i % 5) as f64, "label": if side > 0.0 { "right" } else { "left" }})
}

async fn empty(server: &TestServer) {
    let request = json!({"family": "hybrid", "target": "label", "features": {"x": "number", "y": "number"}});
    let made = send(server.request(Method::PUT, "/api/v1/models/s").json(&request)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let again = send(server.request(Method::PUT, "/api/v1/models/s").json(&request)).await;
    assert_eq!(again.problem(), (409, "model_exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_an_empty_model_are_checked() {
    let server = TestServer::start().await;
    for (config, code) in [(json!({"stream_root": 1}), "unknown_field"), (json!({"units": -3}), "bad_setting")] {
        let request = json!({"target": "label", "features": {"x": "number"}, "config": config});
        let made = send(server.request(Method::PUT, "/api/v1/models/s").json(&request)).await;
        assert_eq!(made.problem().1, code, "{}", made.body);
    }
    let classes = json!({"target": "y", "task": "regression", "features": {"x": "number"}, "classes": [1, 2]});
    let made = send(server.request(Method::PUT, "/api/v1/models/s").json(&classes)).await;
    assert_eq!(made.problem(), (422, "bad_task"));
    let config = json!({"memory_per_class": 10, "recent_labels": false, "seed": 4});
    let request = json!({"target": "label", "features": {"x": "number"}, "config": config});
    let made = send(server.request(Method::PUT, "/api/v1/models/s").json(&request)).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_model_learns_row_by_row() {
    let server = TestServer::start().await;
    empty(&server).await;
    let rows: Vec<Value> = (0..200).map(row).collect();
    let answer = server.post("/api/v1/models/s/observe", json!({"rows": rows})).await.ok();
    assert_eq!((&answer["observed"], &answer["version"]), (&json!(200), &json!(1)), "{answer}");
    assert!(
        answer["prequential"].is_object()
            && answer["drift"]["detected"].is_boolean()
            && answer["memory"]["capacity"].is_number()
    );
    let predicted =
        server.post("/api/v1/models/s/predict", json!({"rows": [{"x": 2.1, "y": 1}, {"x": -1.9, "y": 1}]})).await.ok();
    let labels: Vec<&Value> = predicted["predictions"].as_array().unwrap().iter().map(|p| &p["label"]).collect();
    assert_eq!(labels, [&json!("right"), &json!("left")], "{predicted}");
    let late = json!({"prediction_id": predicted["predictions"][0]["prediction_id"], "target": "right"});
    assert_eq!(server.post("/api/v1/models/s/feedback", &late).await.ok()["observed"], 1);
    assert_eq!(
        server.post("/api/v1/models/s/feedback", json!({"prediction_id": "none", "target": "right"})).await.status,
        404
    );
    let stream = server.get("/api/v1/models/s/stream").await.ok();
    assert!(stream["history"].is_array() || stream["history"].is_object(), "{stream}");
    let activity = server.get("/api/v1/models/s/activity").await.ok();
    assert!(activity["layers"].is_array() && activity["macs"]["dense"].is_number(), "{activity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_stream_changes_no_answer() {
    let server = TestServer::start().await;
    let csv: String = (0..120).map(|i| format!("{},{},{}\n", row(i)["x"], row(i)["y"], row(i)["label"])).collect();
    server.put("/api/v1/datasets/d", format!("x,y,label\n{csv}")).await.ok();
    server.train("t", json!({"dataset": "d", "target": "label", "family": "hybrid"})).await;
    let probes = json!({"rows": [{"x": 2.1, "y": 1}, {"x": -1.9, "y": 3}, {"x": 0.4, "y": 0}]});
    let sure = async || -> Vec<f64> {
        let answer = server.post("/api/v1/models/t/predict", &probes).await.ok();
        answer["predictions"].as_array().unwrap().iter().map(|p| p["probability"].as_f64().unwrap()).collect()
    };
    let before = sure().await;
    assert_eq!(server.get("/api/v1/models/t/stream").await.ok()["observed"], 0);
    server.get("/api/v1/models/t/memory").await.ok();
    let after = sure().await;
    assert!(before.iter().zip(&after).all(|(b, a)| (b - a).abs() < 1e-4), "{before:?} became {after:?}");
    // Nor does the first row undo the training: experts that have learned nothing have hardly any weight.
    server.post("/api/v1/models/t/observe", json!({"rows": [row(0)]})).await.ok();
    let after = sure().await;
    assert!(before.iter().zip(&after).all(|(b, a)| (b - a).abs() < 0.05), "{before:?} became {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_learned_as_they_arrive_and_told_of() {
    let server = TestServer::start().await;
    empty(&server).await;
    let lines: String = (0..2500).map(|i| format!("{}\n", row(i))).collect();
    let request =
        server.request(Method::POST, "/api/v1/models/s/observe").header("content-type", "application/x-ndjson");
    let response = request.header("accept", "application/x-ndjson").body(lines.clone()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let parts: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(parts.len() >= 3, "{text}");
    assert_eq!(parts.last().unwrap()["observed"], 2500);
    let request =
        server.request(Method::POST, "/api/v1/models/s/observe").header("content-type", "application/x-ndjson");
    let bad =
        send(request.header("accept", "application/x-ndjson").body("{\"x\":1,\"y\":2,\"label\":\"left\"}\n{\"x\":\n"))
            .await;
    assert!((400..500).contains(&bad.status), "{} {}", bad.status, bad.body);
    let wrong = server.post("/api/v1/models/s/observe", json!({"rows": [{"x": 1, "z": 2}]})).await;
    assert_eq!(wrong.problem().0, 422);
    assert_eq!(
        server.post("/api/v1/models/none/observe", json!({"rows": []})).await.problem(),
        (404, "model_not_found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_after_an_answer_knows_its_rows() {
    let server = TestServer::start().await;
    empty(&server).await;
    let rows: Vec<Value> = (0..1200).map(row).collect();
    server.post("/api/v1/models/s/observe", json!({"rows": rows})).await.ok();
    for i in 0..20 {
        let class = format!("class {i}");
        let new = json!({"x": 0, "y": 0, "label": class});
        server.post("/api/v1/models/s/observe", json!({"rows": [new]})).await.ok();
        let predicted =
            server.post("/api/v1/models/s/predict", json!({"rows": [{"x": 0, "y": 0}], "top_k": 50})).await.ok();
        assert!(predicted.to_string().contains(&format!("\"{class}\"")), "{predicted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_targets_are_refused_and_nothing_of_their_body_is_learned() {
    let server = TestServer::start().await;
    let request = json!({"target": "y", "task": "regression", "features": {"a": "number"}});
    assert_eq!(send(server.request(Method::PUT, "/api/v1/models/v").json(&request)).await.status, 201);
    let rows: Vec<Value> = (0..300).map(|i| json!({"a": i % 10, "y": 10 * (i % 10)})).collect();
    server.post("/api/v1/models/v/observe", json!({"rows": rows})).await.ok();
    let rows = json!([{"a": 1, "y": 10}, {"a": 5, "y": 1e300}]);
    let refused = server.post("/api/v1/models/v/observe", json!({"rows": rows})).await;
    assert_eq!(refused.problem(), (422, "target_out_of_range"));
    assert_eq!((&refused.body["details"][0]["row"], &refused.body["details"][0]["column"]), (&json!(1), &json!("y")));
    let lines: String =
        (0..1100).map(|i| json!({"a": 1, "y": if i == 1050 { 1e39 } else { 10.0 }}).to_string() + "\n").collect();
    let request =
        server.request(Method::POST, "/api/v1/models/v/observe").header("content-type", "application/x-ndjson");
    let refused = send(request.body(lines)).await;
    assert_eq!(refused.problem(), (422, "target_out_of_range"));
    assert_eq!(refused.body["details"][0]["row"], 1050);
    // The first portion of a body of lines stands; the second, which holds the target, does not.
    assert_eq!(server.get("/api/v1/models/v/stream").await.ok()["observed"], 1300);
    let predicted = server.post("/api/v1/models/v/predict", json!({"rows": [{"a": 9}]})).await.ok();
    assert!((predicted["predictions"][0]["value"].as_f64().unwrap() - 90.0).abs() < 5.0, "{predicted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_learns_from_feedback() {
    let server = TestServer::start().await;
    let csv: String = (0..120).map(|i| format!("{},{},{}\n", row(i)["x"], row(i)["y"], row(i)["label"])).collect();
    server.put("/api/v1/datasets/d", format!("x,y,label\n{csv}")).await.ok();
    server.train("m", json!({"dataset": "d", "target": "label", "family": "sparse_mlp"})).await;
    let rows = json!({"rows": [{"x": 2.1, "y": 1}, {"x": -1.9, "y": 3}]});
    let predicted = server.post("/api/v1/models/m/predict", rows).await.ok();
    for (place, label) in [(1, "left"), (0, "right")] {
        let late = json!({"prediction_id": predicted["predictions"][place]["prediction_id"], "target": label});
        assert_eq!(server.post("/api/v1/models/m/feedback", &late).await.ok()["observed"], 1);
        assert_eq!(server.post("/api/v1/models/m/feedback", &late).await.status, 404, "a label is learned once");
    }
    let page = server.get("/api/v1/models/m/memory").await.ok();
    assert_eq!(page["items"][0]["row"], json!({"x": -1.9, "y": 3, "label": "left"}), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_never_learns_twice() {
    let server = TestServer::start().await;
    empty(&server).await;
    let rows: Vec<Value> = (0..50).map(row).collect();
    for _ in 0..3 {
        let request = server.request(Method::POST, "/api/v1/models/s/observe").header("idempotency-key", "once");
        send(request.json(&json!({"rows": rows}))).await.ok();
    }
    assert_eq!(server.get("/api/v1/models/s/stream").await.ok()["observed"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_can_be_seen_and_forgotten() {
    let server = TestServer::start().await;
    empty(&server).await;
    let rows: Vec<Value> = (0..60).map(row).collect();
    server.post("/api/v1/models/s/observe", json!({"rows": rows})).await.ok();
    let page = server.get("/api/v1/models/s/memory?limit=5&label=left").await.ok();
    let items = page["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|e| e["label"] == "left"), "{page}");
    let id = items[0]["id"].as_str().unwrap();
    assert_eq!(server.delete(&format!("/api/v1/models/s/memory/{id}")).await.status, 204);
    assert_eq!(server.delete(&format!("/api/v1/models/s/memory/{id}")).await.status, 404);
    server.post("/api/v1/models/s/forget", json!({"where": {"label": "left"}})).await.ok();
    assert_eq!(server.get("/api/v1/models/s/memory?label=left").await.ok()["items"], json!([]));
    assert_eq!(server.post("/api/v1/models/s/forget", json!({"where": {}})).await.problem().0, 400);
    let job = server.post("/api/v1/models/s/consolidate", json!({})).await;
    assert_eq!(job.status, 202, "{}", job.body);
    let job = server.ended(job.body["id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    // After rows were forgotten the state is computed again without them and takes over whatever its accuracy: a new
    // version of the same stream, with the one class that is left.
    let stream = server.get("/api/v1/models/s/stream").await.ok();
    assert_eq!((&stream["observed"], &stream["forgotten_since"]), (&json!(30), &json!(0)), "{stream}");
    assert_eq!(stream["consolidations"][0]["forgotten"], 30, "{stream}");
    let predicted = server.post("/api/v1/models/s/predict", json!({"rows": [{"x": 2.1, "y": 1}]})).await.ok();
    assert_eq!(predicted["predictions"][0]["label"], "right", "{predicted}");
    let more = server.post("/api/v1/models/s/observe", json!({"rows": [row(0)]})).await.ok();
    assert_eq!(more["prequential"]["rows"], 31, "{more}");
    let versions = server.get("/api/v1/models/s/versions").await.ok();
    let served: Vec<_> = versions["items"].as_array().unwrap().iter().filter(|v| v["state"] == "served").collect();
    assert_eq!((served.len(), &served[0]["version"]), (1, &json!(2)), "{versions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_remembered_rows_are_found() {
    let server = TestServer::start().await;
    empty(&server).await;
    let nearest = async |model: &str, k: usize| {
        let path = format!("/api/v1/models/{model}/neighbors");
        server.post(&path, json!({"rows": [{"x": 2.3, "y": 3}, {"x": -1.9, "y": 1}], "k": k})).await
    };
    assert_eq!(nearest("s", 3).await.problem(), (409, "nothing_learned"));
    let rows: Vec<Value> = (0..60).map(row).collect();
    server.post("/api/v1/models/s/observe", json!({"rows": rows})).await.ok();
    let found = nearest("s", 3).await.ok();
    for (near, label) in found["neighbors"].as_array().unwrap().iter().zip(["right", "left"]) {
        let near = near.as_array().unwrap();
        let similarity: Vec<f64> = near.iter().map(|n| n["similarity"].as_f64().unwrap()).collect();
        assert!(similarity.is_sorted_by(|a, b| a >= b) && similarity[0] > 0.9, "{found}");
        assert!(near.len() == 3 && near.iter().all(|n| n["label"] == label && n["row"]["label"] == label), "{found}");
        let page = server.get(&format!("/api/v1/models/s/memory?limit=200&label={label}")).await.ok();
        assert!(page["items"].as_array().unwrap().iter().any(|entry| entry["id"] == near[0]["id"]), "{page}");
    }
    assert_eq!(nearest("s", 0).await.problem(), (422, "bad_neighbors"));
    assert_eq!(nearest("none", 1).await.problem(), (404, "model_not_found"));
    let csv: String = (0..120).map(|i| format!("{},{},{}\n", row(i)["x"], row(i)["y"], row(i)["label"])).collect();
    server.put("/api/v1/datasets/d", format!("x,y,label\n{csv}")).await.ok();
    server.train("m", json!({"dataset": "d", "target": "label", "family": "memory"})).await;
    let stored = nearest("m", 2).await.ok();
    assert_eq!(
        (&stored["neighbors"][0][0]["label"], &stored["neighbors"][1][1]["label"]),
        (&json!("right"), &json!("left"))
    );
    assert!(stored["neighbors"][0][0]["row"]["x"].as_f64().unwrap() > 1.0, "{stored}");
    server.train("t", json!({"dataset": "d", "target": "label", "family": "sparse_mlp"})).await;
    assert_eq!(nearest("t", 2).await.problem(), (409, "no_memory"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_made_and_can_be_fetched() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", "a,b\n1,2\n").await.ok();
    let made = server.post("/api/v1/snapshots", json!({})).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(!made.body.to_string().contains('/'), "{}", made.body);
    let path = made.header("location").unwrap().to_owned();
    let file = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(file.status(), 200);
    assert!(file.bytes().await.unwrap().len() > 1000);
    assert_eq!(server.get("/api/v1/snapshots/..%2f..%2fkenyon.db").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_not_predicted_before_one_was_learned() {
    let server = TestServer::start().await;
    let model = json!({"target": "y", "task": "regression", "features": {"a": "number"}});
    assert_eq!(send(server.request(Method::PUT, "/api/v1/models/m").json(&model)).await.status, 201);
    let observed = server.post("/api/v1/models/m/observe", json!({"rows": [{"a": 1, "y": null}]})).await;
    assert_eq!(observed.status, 200, "{}", observed.body);
    let predicted = server.post("/api/v1/models/m/predict", json!({"rows": [{"a": 1}]})).await;
    assert_eq!(predicted.problem(), (409, "nothing_learned"));
    server.post("/api/v1/models/m/observe", json!({"rows": [{"a": 1, "y": 5}]})).await.ok();
    assert!(
        server.post("/api/v1/models/m/predict", json!({"rows": [{"a": 1}]})).await.ok()["predictions"][0]["value"]
            .is_f64()
    );
}
