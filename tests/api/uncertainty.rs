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

async fn explained(server: &TestServer, model: &str, rows: Value) -> Vec<Value> {
    let body = json!({"rows": rows, "explain": true});
    let answer = server.post(&format!("/api/v1/models/{model}/predict"), body).await.ok();
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
        let answers = explained(&server, family, json!([near, far, one_far])).await;
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
    let body = |how: Value| json!({"rows": [{"x": 2.1, "y": 1, "z": 1}], "explain": how});
    let answer = server.post("/api/v1/models/attention/predict", body("leave_one_out".into())).await.ok();
    let tokens = answer["predictions"][0]["explanation"]["attention"].as_array().unwrap();
    let left_out = |name: &str| -> f64 {
        tokens.iter().filter(|t| t["name"] == name).map(|t| t["left_out"].as_f64().unwrap()).sum()
    };
    let others = left_out("y").abs().max(left_out("z").abs());
    assert!(left_out("x") > 0.5 && left_out("x") > 2.0 * others, "x alone determines the label: {tokens:?}");
    let plain = server.post("/api/v1/models/attention/predict", body(true.into())).await.ok();
    assert!(plain["predictions"][0]["explanation"]["attention"][0].get("left_out").is_none(), "{plain}");
    let wrong = server.post("/api/v1/models/attention/predict", body("why".into())).await;
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
    let answers = explained(&server, "s", json!([{"x": 2.1, "y": 1, "z": 1}, {"x": 1e4, "y": 1e4, "z": 1e4}])).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_in_one_word_how_far_to_trust_it() {
    let server = TestServer::start().await;
    let lines: String = (0..400).map(|i| format!("{}\n", row(i))).collect();
    server.put("/api/v1/datasets/d", lines).await.ok();
    train(&server, "sparse_mlp").await;
    let near = json!({"x": 2.1, "y": 1, "z": 1});
    let far = json!({"x": 2.1, "y": 1e4, "z": 1});
    let predict = async |more: Value| -> Vec<Value> {
        let mut request = json!({"rows": [near, far]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = server.post("/api/v1/models/sparse_mlp/predict", request).await.ok();
        answer["predictions"].as_array().unwrap().clone()
    };
    let plain = predict(json!({})).await;
    assert_eq!((&plain[0]["verdict"], &plain[1]["verdict"]), (&json!("sure"), &json!("unfamiliar")), "{plain:?}");
    assert!(plain.iter().all(|p| p.get("set").is_none()), "sets are for requests with a coverage: {plain:?}");
    // Nearly certain coverage needs both classes, and the level is the caller's.
    let wary = predict(json!({"coverage": 0.999, "novelty_level": 1.0})).await;
    assert!(wary.iter().all(|p| p["verdict"] == "unsure" && p["abstained"] == false), "{wary:?}");
    let strict = predict(json!({"novelty_level": 0.0})).await;
    assert!(strict[1]["abstained"] == true, "{strict:?}");
    for how in [json!({"coverage": 0.05}), json!({"coverage": 0.05, "conditional": "class"})] {
        let sets = predict(how).await;
        assert!(sets.iter().all(|p| p["set"].as_array().unwrap().contains(&p["label"])), "{sets:?}");
    }
    let empty = predict(json!({"coverage": 0.01, "allow_empty": true})).await;
    assert!(empty[0]["set"].as_array().unwrap().len() <= 1, "{empty:?}");
    let path = "/api/v1/models/sparse_mlp/predict";
    for (wrong, named) in [
        (json!({"rows": [], "novelty_level": 2}), "novelty_level"),
        (json!({"rows": [], "conditional": "row"}), "conditional"),
    ] {
        let refused = server.post(path, wrong).await;
        assert!(refused.status == 400 && refused.body.to_string().contains(named), "{}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_are_differences_that_sum_and_importance_agrees() {
    let server = TestServer::start().await;
    let lines: String = (0..400).map(|i| format!("{}\n", row(i))).collect();
    server.put("/api/v1/datasets/d", lines).await.ok();
    train(&server, "sparse_mlp").await;
    let answers = explained(&server, "sparse_mlp", json!([{"x": 2.1, "y": 1, "z": 1}])).await;
    let explanation = &answers[0]["explanation"];
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(explanation["unit"], "log-odds");
    let features = explanation["features"].as_array().unwrap();
    let sum: f64 = features.iter().map(|f| number(&f["weight"])).sum();
    let difference = number(&explanation["output"]) - number(&explanation["baseline"]);
    assert!((sum - difference).abs() < 1e-4, "{explanation}");
    assert_eq!((&features[0]["name"], &features[0]["value"]), (&json!("x"), &json!(2.1)), "{explanation}");
    let odds = number(&answers[0]["probability"]) / (1.0 - number(&answers[0]["probability"]));
    assert!((odds.ln() - number(&explanation["output"])).abs() < 0.1 * odds.ln(), "{answers:?}");
    let importance = server.get("/api/v1/models/sparse_mlp/importance").await.ok();
    let first = &importance["features"][0];
    assert!(importance["metric"] == "log_loss" && number(&importance["rows"]) >= 50.0, "{importance}");
    assert!(first["name"] == "x" && number(&first["interval"][0]) > 0.1, "{importance}");
    // Of any version, not only of the one that serves.
    assert_eq!(server.get("/api/v1/models/sparse_mlp/importance?version=1").await.ok(), importance);
    assert_eq!(server.get("/api/v1/models/sparse_mlp/importance?version=9").await.status, 404);
    assert_eq!(server.get("/api/v1/models/nobody/importance").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_in_another_language_and_empty_ones_are_unfamiliar_and_words_explain() {
    let server = TestServer::start().await;
    let (who, what) = (["my sister", "the driver", "a friend", "our teacher"], ["dinner", "the film", "a trip"]);
    let text = |i: usize| {
        let tone = if i.is_multiple_of(2) { "enjoyed" } else { "hated" };
        format!("{} really {tone} {} on {}", who[i / 2 % 4], what[i / 8 % 3], ["monday", "friday"][i / 24 % 2])
    };
    let lines: String = (0..600)
        .map(|i| format!("{}\n", json!({"text": text(i), "label": if i % 2 == 0 { "good" } else { "bad" }})))
        .collect();
    server.put("/api/v1/datasets/t", lines).await.ok();
    let request = json!({"dataset": "t", "target": "label", "features": {"text": "text"}, "config": {"epochs": 4}});
    let done = server.train("t", request).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    let texts = ["the driver really hated dinner on friday", "ma sœur n'a pas aimé le dîner", "我姐姐不喜欢晚餐", ""];
    let rows: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
    let answers = explained(&server, "t", rows.into()).await;
    let verdicts: Vec<&Value> = answers.iter().map(|a| &a["verdict"]).collect();
    assert_eq!(verdicts, ["sure", "unfamiliar", "unfamiliar", "unfamiliar"], "{answers:?}");
    let first = &answers[0]["explanation"]["features"][0];
    let (start, end) = (first["start"].as_u64().unwrap() as usize, first["end"].as_u64().unwrap() as usize);
    assert!(first["value"] == "hated" && &texts[0][start..end] == "hated", "{first}");
}
