//! The main job: a file is uploaded, a model is trained and predicts.

use crate::server::TestServer;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn digits_are_uploaded_learned_and_read() {
    let server = TestServer::start().await;
    let uploaded = server.put("/api/v1/datasets/digits", kenyon_learn::data::bundled::DIGITS).await;
    assert_eq!(uploaded.status, 201);
    assert_eq!(uploaded.body["rows"], 1797);

    let answer =
        server.post("/api/v1/models/digits/train", json!({"dataset": "digits", "target": "target", "seed": 1}));
    let answer = answer.await;
    assert_eq!(answer.status, 202);
    let id = answer.body["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(format!("/api/v1/jobs/{id}").as_str()));

    let job = server.ended(&id).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    assert!(job["metrics"]["accuracy"].as_f64().unwrap() >= 0.95, "{job}");
    assert_eq!(job["progress"]["fraction"], 1.0);
    let curves = server.get(&format!("/api/v1/jobs/{id}/metrics")).await.ok();
    assert!(!curves["points"].as_array().unwrap().is_empty());

    let rows = server.get("/api/v1/datasets/digits/rows?limit=200").await.ok();
    let rows = rows["rows"].as_array().unwrap().clone();
    let questions: Vec<Value> = rows.iter().map(without_target).collect();
    let answer = server.post("/api/v1/models/digits/predict", json!({"rows": questions, "top_k": 3})).await;
    for header in ["x-queue-time", "x-inference-time", "x-total-time", "x-request-id"] {
        assert!(answer.header(header).is_some(), "{header}");
    }
    let answer = answer.ok();
    assert_eq!((&answer["model"], &answer["version"]), (&json!("digits"), &json!(1)));
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), rows.len());
    let right = predictions.iter().zip(&rows).filter(|(p, row)| p["label"] == row["target"]).count();
    assert!(right >= 190, "{right} of 200");
    assert_eq!(predictions[0]["probabilities"].as_object().unwrap().len(), 3);

    let model = server.get("/api/v1/models/digits").await.ok();
    assert_eq!(
        (&model["version"], &model["task"], &model["target"]),
        (&json!(1), &json!("classification"), &json!("target"))
    );
    assert_eq!(model["versions"][0]["state"], "served");
    let listed = server.get("/api/v1/models").await.ok();
    assert_eq!(listed["items"][0]["name"], "digits");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_labels_are_enough_beside_many_rows_without() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/digits", kenyon_learn::data::bundled::DIGITS).await.ok();
    let mut rows: Vec<Value> = Vec::new();
    for page in ["?limit=1000", "?limit=1000&offset=1000"] {
        let answer = server.get(&format!("/api/v1/datasets/digits/rows{page}")).await.ok();
        rows.extend(answer["rows"].as_array().unwrap().iter().cloned());
    }
    assert_eq!(rows.len(), 1797);
    // Six of each digit keep their label, one of which is held out to calibrate by.
    let mut left = std::collections::HashMap::<String, usize>::new();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let seen = left.entry(row["target"].to_string()).or_insert(0);
            *seen += 1;
            let mut row = row.clone();
            if *seen > 6 {
                row["target"] = Value::Null;
            }
            row.to_string()
        })
        .collect();
    server.put("/api/v1/datasets/few", lines.join("\n")).await.ok();
    let request = json!({"dataset": "few", "target": "target", "family": "hybrid", "seed": 1});
    let job = server.train("few", request).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let figures = server.post("/api/v1/models/few/evaluate", json!({"dataset": "digits"})).await.ok();
    assert!(figures["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{figures}");
}

fn without_target(row: &Value) -> Value {
    let mut row = row.clone();
    row.as_object_mut().unwrap().shift_remove("target");
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_served_promoted_and_rolled_back() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/clouds", crate::server::clouds(200)).await.ok();
    for version in 1..=2 {
        let job = server
            .train(
                "m",
                json!({"dataset": "clouds", "target": "label", "family": "sparse_mlp",
            "config": {"epochs": 3}}),
            )
            .await;
        assert_eq!((&job["status"], &job["version"]), (&json!("succeeded"), &json!(version)), "{job}");
    }
    let predict = || server.post("/api/v1/models/m/predict", json!({"rows": [{"x": 2.0, "y": 0.1, "colour": "red"}]}));
    assert_eq!(predict().await.ok()["version"], 2);
    server.post("/api/v1/models/m/versions/1/promote", json!({})).await.ok();
    let answer = predict().await.ok();
    assert_eq!((&answer["version"], &answer["predictions"][0]["label"]), (&json!(1), &json!("right")));
    server.post("/api/v1/models/m/rollback", json!({})).await.ok();
    assert_eq!(predict().await.ok()["version"], 2);
    let split = json!({"stable": 1, "canary": {"version": 2, "weight": 0.5}});
    let answer =
        crate::server::send(server.request(reqwest::Method::PUT, "/api/v1/models/m/traffic").json(&split)).await.ok();
    assert_eq!(answer["traffic"]["canary"]["weight"], 0.5);
    assert_eq!(
        server.post("/api/v1/models/m/versions/9/promote", json!({})).await.problem(),
        (404, "version_not_found")
    );
    let figures = server.post("/api/v1/models/m/evaluate", json!({"dataset": "clouds"})).await.ok();
    assert!(figures["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{figures}");
    assert_eq!(server.delete("/api/v1/models/m").await.status, 204);
    assert_eq!(predict().await.problem(), (404, "model_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_calls_of_the_interface_work_as_written() {
    let server = TestServer::start().await;
    let mut csv = String::from("sepal_length,sepal_width,petal_length,petal_width,species\n");
    for i in 0..90 {
        let (kind, at) = [("setosa", 1.4), ("versicolor", 4.3), ("virginica", 5.8)][i % 3];
        let wobble = (i % 7) as f64 / 20.0;
        csv +=
            &format!("{:.2},{:.2},{:.2},{:.2},{kind}\n", 5.0 + at / 4.0 + wobble, 3.4 - wobble, at + wobble, at / 3.0);
    }
    // As curl -T sends it: without a type.
    assert_eq!(server.put("/api/v1/datasets/iris", csv).await.status, 201);
    let job = server.train("iris", json!({"dataset": "iris", "target": "species"})).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let row = json!({"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2});
    let answer = server.post("/api/v1/models/iris/predict", json!({"rows": [row], "coverage": 0.9})).await.ok();
    let prediction = &answer["predictions"][0];
    assert_eq!(prediction["label"], "setosa", "{prediction}");
    let sum: f64 = prediction["probabilities"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-3, "{sum}");
    assert!(prediction["set"].as_array().unwrap().contains(&json!("setosa")), "{prediction}");
    assert!(
        prediction["novelty"].is_number()
            && prediction["abstained"].is_boolean()
            && prediction["prediction_id"].is_string()
    );
}
