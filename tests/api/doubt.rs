//! Uncertainty of answers: novelty of unfamiliar inputs, and retrieved memories.

use crate::server::{TestServer, send};
use reqwest::Method;
use serde_json::{Value, json};

fn row(i: usize) -> Value {
    let side = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    json!({"x": side * 2.0 + (i % 7) as f64 / 10.0, "y": (i % 5) as f64, "z": (i % 11) as f64 - 5.0,
           "label": if side > 0.0 { "right" } else { "left" }})
}

async fn train(server: &TestServer, family: &str) {
    let request = json!({"dataset": "d", "target": "label", "family": family, "config": {"epochs": 4}});
    let done = server.train(family, request).await;
    assert_eq!(done["status"], "succeeded", "{done}");
}

async fn ask(server: &TestServer, model: &str, rows: Value) -> Vec<Value> {
    let asked = json!({"rows": rows, "explain": true});
    let answer = server.post(&format!("/api/v1/models/{model}/predict"), asked).await.ok();
    answer["predictions"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_far_beyond_the_training_rows_are_novel_to_every_family() {
    let server = TestServer::start().await;
    let lines: String = (0..200).map(|i| format!("{}\n", row(i))).collect();
    server.put("/api/v1/datasets/d", lines).await.ok();
    for family in ["sparse_mlp", "attention", "memory", "hybrid"] {
        train(&server, family).await;
        let near = json!({"x": 2.1, "y": 1, "z": 1});
        let far = json!({"x": 1e4, "y": 1e4, "z": 1e4});
        let one_far = json!({"x": 2.1, "y": 1, "z": -1e4});
        let answers = ask(&server, family, json!([near, far, one_far])).await;
        let novelty: Vec<f64> = answers.iter().map(|a| a["novelty"].as_f64().unwrap()).collect();
        assert!(novelty[0] < 0.9 && novelty[1] > 0.98 && novelty[2] > 0.98, "{family}: {novelty:?}");
        assert!(answers[1]["abstained"] == true && answers[2]["abstained"] == true, "{family}: {answers:?}");
        let memories = answers[0]["explanation"]["memories"].as_array().unwrap();
        match family {
            "memory" => {
                let nearest = &memories[0];
                assert!(nearest["similarity"].as_f64().unwrap() > 0.9 && nearest["label"] == "right", "{memories:?}");
                assert!((nearest["row"]["x"].as_f64().unwrap() - 2.1).abs() < 1.0, "{memories:?}");
            }
            // A class's mean is all that is kept of the rows.
            "hybrid" => assert!(memories.len() == 2 && memories[0]["row"].is_null(), "{memories:?}"),
            _ => assert!(memories.is_empty(), "{family} does not remember: {memories:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_changes_when_it_is_left_out_is_said_on_request() {
    let server = TestServer::start().await;
    let lines: String = (0..200).map(|i| format!("{}\n", row(i))).collect();
    server.put("/api/v1/datasets/d", lines).await.ok();
    train(&server, "attention").await;
    let asked = |how: Value| json!({"rows": [{"x": 2.1, "y": 1, "z": 1}], "explain": how});
    let answer = server.post("/api/v1/models/attention/predict", asked("leave_one_out".into())).await.ok();
    let tokens = answer["predictions"][0]["explanation"]["attention"].as_array().unwrap();
    let left_out = |name: &str| -> f64 {
        tokens.iter().filter(|t| t["name"] == name).map(|t| t["left_out"].as_f64().unwrap()).sum()
    };
    let others = left_out("y").abs().max(left_out("z").abs());
    assert!(left_out("x") > 0.5 && left_out("x") > 2.0 * others, "x alone tells the label: {tokens:?}");
    let plain = server.post("/api/v1/models/attention/predict", asked(true.into())).await.ok();
    assert!(plain["predictions"][0]["explanation"]["attention"][0].get("left_out").is_none(), "{plain}");
    let wrong = server.post("/api/v1/models/attention/predict", asked("why".into())).await;
    assert!(wrong.status == 400 && wrong.body.to_string().contains("leave_one_out"), "{}", wrong.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_lists_the_observed_rows_it_recalls() {
    let server = TestServer::start().await;
    let empty = json!({"family": "hybrid", "target": "label",
                       "features": {"x": "number", "y": "number", "z": "number"}});
    assert_eq!(send(server.request(Method::PUT, "/api/v1/models/s").json(&empty)).await.status, 201);
    let rows: Vec<Value> = (0..120).map(row).collect();
    server.post("/api/v1/models/s/observe", json!({"rows": rows})).await.ok();
    let answers = ask(&server, "s", json!([{"x": 2.1, "y": 1, "z": 1}, {"x": 1e4, "y": 1e4, "z": 1e4}])).await;
    let memories = answers[0]["explanation"]["memories"].as_array().unwrap();
    assert!((1..=5).contains(&memories.len()), "{memories:?}");
    assert!(memories[0]["row"]["x"].is_number() && memories[0]["label"] == memories[0]["row"]["label"], "{memories:?}");
    let similarities: Vec<f64> = memories.iter().map(|m| m["similarity"].as_f64().unwrap()).collect();
    assert!(similarities.is_sorted_by(|a, b| a >= b), "{similarities:?}");
    assert!(answers[1]["novelty"].as_f64().unwrap() > 0.98, "{answers:?}");
    // Retrieved entries are those of the memory's list.
    let listed = server.get("/api/v1/models/s/memory?limit=200").await.ok();
    let known = |id: &Value| listed["items"].as_array().unwrap().iter().any(|item| item["id"] == *id);
    assert!(memories.iter().all(|memory| known(&memory["id"])), "{listed}");
}
