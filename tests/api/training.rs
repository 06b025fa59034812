//! Training requests: what is refused, what is held out, which version is served afterwards, and the warnings.

use crate::server::{Answer, TestServer, clouds, send};
use reqwest::Method;
use serde_json::{Value, json};

const EPOCHS: u64 = 3;

fn request(dataset: &str, more: Value) -> Value {
    let mut request =
        json!({"dataset": dataset, "target": "label", "family": "sparse_mlp", "config": {"epochs": EPOCHS}});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

async fn train_and_wait(server: &TestServer, model: &str, request: Value) -> Value {
    server.post(&format!("/api/v1/models/{model}/train?wait=100"), request).await.ok()
}

async fn predict(server: &TestServer, model: &str, row: Value) -> Answer {
    server.post(&format!("/api/v1/models/{model}/predict"), json!({"rows": [row]})).await
}

/// Two clouds with a day, a patient and a column that is the label under other names.
fn visits(rows: usize) -> String {
    let mut csv = String::from("day,patient,x,y,diagnosis,label\n");
    for (i, line) in clouds(rows).lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let day = format!("2024-{:02}-{:02}", i * 12 / rows + 1, i % 28 + 1);
        let diagnosis = if fields[3] == "right" { "positive" } else { "negative" };
        csv += &format!("{day},p{},{},{},{diagnosis},{}\n", i % 20, fields[0], fields[1], fields[3]);
    }
    csv
}

fn codes(value: &Value) -> Vec<&str> {
    value["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predict_after_the_end_of_a_job_is_answered_by_its_version() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    for seed in 0..8 {
        let job = train_and_wait(&server, "m", request("d", json!({"seed": seed}))).await;
        assert_eq!((&job["status"], &job["served"]), (&json!("succeeded"), &json!(true)), "{job}");
        let answer = predict(&server, "m", json!({"x": 2.0, "y": 0.0, "colour": "red"})).await.ok();
        assert_eq!(answer["version"], job["version"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_made_again_never_answers_as_the_one_before() {
    let server = TestServer::start().await;
    for turn in 0..10 {
        let classes = [format!("a{turn}"), format!("b{turn}")];
        let empty = json!({"target": "y", "task": "classification", "features": {"x": "number"}, "classes": classes});
        assert_eq!(server.put("/api/v1/models/m", empty.to_string()).await.status, 201);
        let rows: Vec<Value> = (0..10).map(|k| json!({"x": k % 2, "y": classes[k % 2]})).collect();
        server.post("/api/v1/models/m/observe", json!({"rows": rows})).await.ok();
        let answer = predict(&server, "m", json!({"x": 1})).await.ok();
        let mut named: Vec<&String> = answer["predictions"][0]["probabilities"].as_object().unwrap().keys().collect();
        named.sort();
        assert_eq!(named, [&classes[0], &classes[1]]);
        assert_eq!(server.delete("/api/v1/models/m").await.status, 204);
        assert_eq!(predict(&server, "m", json!({"x": 1})).await.problem(), (404, "model_not_found"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_promoted_is_ready_and_says_why() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    train_and_wait(&server, "m", request("d", json!({}))).await;
    let job = train_and_wait(&server, "m", request("d", json!({"promote": false}))).await;
    assert_eq!((&job["version"], &job["served"]), (&json!(2), &json!(false)));
    assert!(job["served_reason"].as_str().unwrap().contains("promote"), "{job}");
    let versions = server.get("/api/v1/models/m/versions").await.ok();
    assert_eq!((&versions["items"][0]["state"], &versions["items"][1]["state"]), (&json!("ready"), &json!("served")));
    let row = json!({"x": 2.0, "y": 0.0, "colour": "red"});
    assert_eq!(predict(&server, "m", row.clone()).await.ok()["version"], 1);
    server.post("/api/v1/models/m/versions/2/promote", json!({})).await.ok();
    assert_eq!(predict(&server, "m", row).await.ok()["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_schema_needs_a_word() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    let renamed = clouds(200).replace("x,y,colour", "x,z,colour");
    server.put("/api/v1/datasets/renamed", renamed).await.ok();
    train_and_wait(&server, "m", request("d", json!({}))).await;
    let train = "/api/v1/models/m/train";
    let refused = server.post(train, request("renamed", json!({}))).await;
    assert_eq!(refused.problem(), (409, "schema_change"));
    assert!(refused.body["detail"].as_str().unwrap().contains("'y' is missing"), "{}", refused.body);
    // A dry run is refused as the training would be.
    let dry = |more: Value| server.post(train, request("renamed", more));
    let tried = dry(json!({"dry_run": true})).await;
    assert_eq!((tried.problem(), &tried.body["details"]), ((409, "schema_change"), &refused.body["details"]));
    assert!(dry(json!({"dry_run": true, "schema_change": true})).await.ok()["columns"].is_array());
    let other_target = json!({"dataset": "d", "target": "colour"});
    assert_eq!(server.post(train, other_target).await.problem(), (409, "schema_change"));
    let job = train_and_wait(&server, "m", request("renamed", json!({"schema_change": true}))).await;
    assert_eq!(job["served"], true, "{job}");
    // What is found only while training leaves the version ready: `z` has a single value.
    let constant: String = clouds(200)
        .replace("x,y,colour", "x,z,colour")
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split(',').collect();
            fields[1] = if fields[1] == "z" { "z" } else { "1.5" };
            fields.join(",") + "\n"
        })
        .collect();
    server.put("/api/v1/datasets/constant", constant).await.ok();
    let job = train_and_wait(&server, "m", request("constant", json!({}))).await;
    assert_eq!((&job["status"], &job["served"]), (&json!("succeeded"), &json!(false)), "{job}");
    assert!(job["served_reason"].as_str().unwrap().contains("'z' is no longer used"), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_held_out_by_time_by_group_and_by_dataset() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", visits(400)).await.ok();
    server.put("/api/v1/datasets/later", visits(60)).await.ok();
    server.put("/api/v1/datasets/clouds", clouds(60)).await.ok();
    for (validation, low, high) in [
        (json!({"by": "time", "column": "day", "share": 0.25}), 90, 105),
        (json!({"by": "group", "column": "patient", "share": 0.25}), 80, 120),
        (json!({"dataset": "later"}), 60, 60),
    ] {
        let job = train_and_wait(&server, "m", request("d", json!({"validation": validation}))).await;
        assert_eq!(job["status"], "succeeded", "{validation}: {job}");
        let versions = server.get("/api/v1/models/m/versions").await.ok();
        let held = versions["items"][0]["held_out"]["rows"].as_u64().unwrap();
        assert!((low..=high).contains(&held), "{validation}: {held}");
        server.delete("/api/v1/models/m").await;
    }
    let train = "/api/v1/models/m/train";
    for (validation, status, code) in [
        (json!({"by": "time", "column": "patient"}), 422, "bad_validation"),
        (json!({"by": "group", "column": "none"}), 422, "bad_validation"),
        (json!({"by": "group", "column": "label"}), 422, "bad_validation"),
        (json!({"by": "time", "column": "day", "share": 1.5}), 422, "invalid_training"),
        (json!({"dataset": "d"}), 422, "invalid_training"),
        (json!({"dataset": "clouds"}), 422, "invalid_training"),
        (json!({"dataset": "missing"}), 404, "dataset_not_found"),
        (json!({"by": "week", "column": "day"}), 400, "invalid_request"),
    ] {
        let refused = server.post(train, request("d", json!({"validation": validation}))).await;
        assert_eq!(refused.problem(), (status, code), "{validation}: {}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_weigh_as_requested() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    for weights in [json!("balanced"), json!({"left": 3.0})] {
        let job = train_and_wait(&server, "m", request("d", json!({"class_weights": weights}))).await;
        assert_eq!(job["status"], "succeeded", "{job}");
    }
    let refused = server.post("/api/v1/models/m/train", request("d", json!({"class_weights": {"up": 3.0}}))).await;
    assert_eq!(refused.problem(), (422, "bad_class_weights"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_weigh_as_their_column_says() {
    let server = TestServer::start().await;
    // At the same place the label is left in two rows of three, and right in those that weigh more.
    let mut csv = String::from("x,y,w,label\n");
    for i in 0..600 {
        let (weight, label) = if i % 3 == 0 { (10.0, "right") } else { (0.5, "left") };
        csv += &format!("{},{},{weight},{label}\n", i % 7, i % 5);
    }
    server.put("/api/v1/datasets/d", csv).await.ok();
    let row = json!({"x": 1, "y": 1});
    for (more, named) in [(json!({"features": {"w": "ignore"}}), "left"), (json!({"weight": "w"}), "right")] {
        let job = train_and_wait(&server, "m", request("d", more)).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        let answer = predict(&server, "m", row.clone()).await.ok();
        assert_eq!(answer["predictions"][0]["label"], named, "{answer}");
        assert!(job["metrics"]["accuracy"].as_f64().unwrap() > 0.6, "{job}");
    }
    let train = |more: Value| server.post("/api/v1/models/m/train", request("d", more));
    for weight in ["label", "none"] {
        assert_eq!(train(json!({"weight": weight})).await.problem(), (422, "bad_weight"));
    }
    let hybrid = json!({"dataset": "d", "target": "label", "family": "hybrid", "weight": "w"});
    let job = train_and_wait(&server, "h", hybrid).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("weights_unsupported")));
}

/// Rows of which two of three are left, and those that are right weigh twenty times as much; with `weigh` the column is there.
fn weighted(rows: usize, weigh: bool) -> String {
    let mut csv = String::from(if weigh { "x,y,w,label\n" } else { "x,y,label\n" });
    for i in 0..rows {
        let (weight, label) = if i.is_multiple_of(3) { ("10.0,", "right") } else { ("0.5,", "left") };
        csv += &format!("{},{},{}{label}\n", i % 7, i % 5, if weigh { weight } else { "" });
    }
    csv
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_a_weighted_training_are_weighted_everywhere() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", weighted(600, true)).await.ok();
    server.put("/api/v1/datasets/later", weighted(90, true)).await.ok();
    server.put("/api/v1/datasets/plain", weighted(90, false)).await.ok();
    let by = |more: Value| {
        let mut all = json!({"weight": "w", "validation": {"dataset": "later"}, "promote": false});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request("d", all)
    };
    let unweighted = json!({"validation": {"dataset": "later"}, "features": {"w": "ignore"}, "promote": false});
    for request in [by(json!({"promote": true})), by(json!({"seed": 1})), request("d", unweighted)] {
        assert_eq!(train_and_wait(&server, "m", request).await["status"], "succeeded");
    }
    let versions = server.get("/api/v1/models/m/versions?detail=true").await.ok()["items"].clone();
    let (first, last) = (&versions[2], &versions[0]);
    let held = &first["held_out"];
    assert_eq!((&held["weight"], &held["rows"], &first["evaluated_on"]["rows"]), (&json!("w"), &json!(90), &json!(90)));
    assert!(last["held_out"]["weight"].is_null(), "{last}");
    let counted = |found: &Value| -> u64 {
        let cells = found["confusion"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        cells.map(|cell| cell.as_u64().unwrap()).sum()
    };
    assert_eq!(counted(held), 90, "{held}");

    let evaluated = async |dataset: &str| server.post("/api/v1/models/m/evaluate", json!({"dataset": dataset})).await;
    let accuracy = |metrics: &Value| metrics["accuracy"].as_f64().unwrap();
    let (here, plain) = (evaluated("later").await.ok(), evaluated("plain").await.ok());
    assert_eq!((&here["weight"], &here["rows"], counted(&here)), (&json!("w"), &json!(90), 90), "{here}");
    assert!((accuracy(&here["metrics"]) - accuracy(&first["metrics"])).abs() < 1e-6, "{here} {first}");
    assert!(accuracy(&here["metrics"]) > 0.6 && accuracy(&plain["metrics"]) < 0.5, "{here} {plain}");
    assert!(plain["weight"].is_null(), "{plain}");

    let compare = async |versions: &str| {
        server.get(&format!("/api/v1/models/m/compare?versions={versions}&dataset=later")).await.ok()
    };
    let both = compare("1,2").await;
    assert_eq!((&both["weight"], &both["rows"]), (&json!("w"), &json!(90)), "{both}");
    let a = both["metrics"]["accuracy"]["a"].as_f64().unwrap();
    assert!((a - accuracy(&first["metrics"])).abs() < 1e-6, "{both} {first}");
    // With one that knows no weights every row counts once.
    let mixed = compare("1,3").await;
    assert!(mixed["weight"].is_null() && mixed["metrics"]["accuracy"]["a"].as_f64().unwrap() < 0.5, "{mixed}");

    for (name, of) in [("negative", "-10.0"), ("without", ""), ("words", "ten")] {
        server.put(&format!("/api/v1/datasets/{name}"), weighted(90, true).replace("10.0", of)).await.ok();
        assert_eq!(evaluated(name).await.problem(), (422, "bad_weight"), "{name}");
        let compared = server.get(&format!("/api/v1/models/m/compare?versions=1,2&dataset={name}")).await;
        assert_eq!(compared.problem(), (422, "bad_weight"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_that_cannot_be_made_is_refused_at_once_and_others_show_their_version() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    for promote in [true, false] {
        train_and_wait(&server, "m", request("d", json!({"promote": promote}))).await;
    }
    let evaluate = |dataset: &str| server.post("/api/v1/models/m/evaluate", json!({"dataset": dataset}));
    server.put("/api/v1/datasets/bare", "x,y,colour\n1,2,red\n").await.ok();
    server.put("/api/v1/datasets/other", "x,colour,label\n1,red,left\n2,blue,right\n").await.ok();
    for (dataset, column) in [("bare", "label"), ("other", "y")] {
        let refused = evaluate(dataset).await;
        assert_eq!(refused.problem(), (422, "unknown_column"), "{dataset}");
        assert!(refused.body["detail"].as_str().unwrap().contains(&format!("'{column}'")), "{}", refused.body);
        assert_eq!(refused.body["details"][0]["column"], column, "{}", refused.body);
        let compared = server.get(&format!("/api/v1/models/m/compare?versions=1,2&dataset={dataset}")).await;
        assert_eq!((compared.problem(), &compared.body["detail"]), ((422, "unknown_column"), &refused.body["detail"]));
    }
    assert_eq!(evaluate("none").await.problem(), (404, "dataset_not_found"));
    assert_eq!(server.get("/api/v1/jobs?kind=evaluate").await.ok()["items"], json!([]));
    assert_eq!(evaluate("d").await.ok()["version"], 1);
    let job = server.get("/api/v1/jobs?kind=evaluate").await.ok()["items"][0].take();
    assert_eq!((&job["version"], &job["result"]["version"]), (&json!(1), &json!(1)), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_a_training_would_do_and_leaves_nothing() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", visits(400)).await.ok();
    let dry = json!({"dataset": "d", "target": "label", "dry_run": true, "features": {"day": "ignore"}});
    let plan = server.post("/api/v1/models/m/train", dry).await.ok();
    assert_eq!(plan["task"], "classification");
    for text in ["task_reason", "family", "reason"] {
        assert!(!plan[text].as_str().unwrap().is_empty(), "{text}: {plan}");
    }
    let columns = plan["columns"].as_array().unwrap();
    let used = |name: &str| columns.iter().find(|c| c["name"] == name).unwrap()["used"].as_bool().unwrap();
    assert!(used("x") && used("diagnosis") && !used("day") && !used("label"), "{plan}");
    let rows = plan["split"]["training"].as_u64().unwrap() + plan["split"]["validation"].as_u64().unwrap();
    assert_eq!(rows, 400);
    assert!(plan["estimated_seconds"].as_f64().unwrap() > 0.0 && plan["estimated_bytes"].as_u64().unwrap() > 10_000);
    assert!(codes(&plan).contains(&"leaks_target"), "{plan}");
    assert_eq!(server.get("/api/v1/models/m").await.status, 404);
    assert_eq!(server.get("/api/v1/jobs").await.ok()["items"], json!([]));
    let job = train_and_wait(&server, "m", request("d", json!({}))).await;
    let version = &server.get("/api/v1/models/m/versions").await.ok()["items"][0];
    assert!(codes(&job).contains(&"leaks_target") && codes(version) == codes(&job), "{job}");
}

#[cfg(not(feature = "cuda"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_there_is_a_warning_of_the_job_and_the_version() {
    let server = TestServer::with(|c| c.device = kenyon_learn::device::DeviceName::Cuda(0)).await;
    assert_eq!(server.get("/api/v1/system").await.ok()["device"], "cuda:0");
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    let plan = server.post("/api/v1/models/m/train", request("d", json!({"dry_run": true}))).await.ok();
    assert_eq!(plan["device"], "cpu", "{plan}");
    let job = train_and_wait(&server, "m", request("d", json!({}))).await;
    assert_eq!((&job["status"], &job["progress"]["device"]), (&json!("succeeded"), &json!("cpu")), "{job}");
    let version = &server.get("/api/v1/models/m/versions").await.ok()["items"][0];
    assert!(codes(&job).contains(&"device_fallback") && codes(version).contains(&"device_fallback"), "{job}");
    // A request for the kernels gets them; candle trains on the CPU as well.
    for (engine, warned) in [("kernels", false), ("candle", true)] {
        let job = train_and_wait(&server, "m", request("d", json!({"config": {"engine": engine, "epochs": 2}}))).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        assert_eq!(codes(&job).contains(&"device_fallback"), warned, "{engine}: {job}");
    }
    let refused = request("d", json!({"family": "hybrid", "config": {"engine": "candle"}}));
    let job = train_and_wait(&server, "h", refused).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("bad_setting")), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_job_ends_with_it_or_with_202() {
    let server = TestServer::with(|c| c.workers = 0).await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    let train =
        async |wait: &str| server.post(&format!("/api/v1/models/m/train?{wait}"), request("d", json!({}))).await;
    assert_eq!(train("wait=0.05").await.status, 202);
    assert_eq!(train("wait=-1").await.problem(), (400, "invalid_wait"));
    assert_eq!(train("waiting=1").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_reproducible_version_fails_the_job() {
    let server = TestServer::start().await;
    let mut csv = String::from("a,b,label\n");
    for i in 0..300 {
        let a = if i % 50 == 3 { "1.7976931348623157e308".to_owned() } else { format!("{:.3}", f64::from(i % 100)) };
        csv += &format!("{a},{},{}\n", i % 7, if i % 100 > 50 { "hi" } else { "lo" });
    }
    server.put("/api/v1/datasets/d", csv).await.ok();
    let job = train_and_wait(&server, "m", request("d", json!({}))).await;
    // Either the cells are read for what they are, or the job reports what went wrong; never a version that cannot answer.
    if job["status"] == "succeeded" {
        assert_eq!(predict(&server, "m", json!({"a": 90, "b": 1})).await.status, 200);
    } else {
        assert!(job["error"]["detail"].is_string(), "{job}");
        assert_eq!(predict(&server, "m", json!({"a": 90, "b": 1})).await.status, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_label_with_a_fraction_needs_a_task() {
    let server = TestServer::start().await;
    let empty = |task: Option<&str>| {
        let mut empty = json!({"target": "y", "features": {"x": "number"}});
        if let Some(task) = task {
            empty["task"] = task.into();
        }
        empty.to_string()
    };
    server.put("/api/v1/models/m", empty(None)).await.ok();
    let observe = |y: Value| server.post("/api/v1/models/m/observe", json!({"rows": [{"x": 1, "y": y}]}));
    assert_eq!(observe(json!(1.5)).await.problem(), (422, "task_needed"));
    assert_eq!(observe(json!("red")).await.status, 200);
    server.put("/api/v1/models/n", empty(Some("regression"))).await.ok();
    let observed = server.post("/api/v1/models/n/observe", json!({"rows": [{"x": 1, "y": 1.5}]})).await;
    assert_eq!(observed.status, 200, "{}", observed.body);
    let forget = |filter: Value| server.post("/api/v1/models/m/forget", json!({"where": filter}));
    assert_eq!(forget(json!({"z": 1})).await.problem(), (422, "unknown_column"));
    assert_eq!(forget(json!({"x": 1})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_inference_protocol_can_say_that_a_value_is_missing() {
    let server = TestServer::start().await;
    let mut csv = String::from("a,c,f,label\n");
    for i in 0..300 {
        let (colour, truth) = (["r", "g", "b"][i % 3], i % 2 == 0);
        csv += &format!("{:.3},{colour},{truth},{}\n", i as f64 / 300.0, if i < 150 { "lo" } else { "hi" });
    }
    server.put("/api/v1/datasets/d", csv).await.ok();
    train_and_wait(&server, "m", request("d", json!({}))).await;
    let tensor = |name: &str, datatype: &str, data: Value| json!({"name": name, "shape": [data.as_array().unwrap().len()], "datatype": datatype, "data": data});
    let all = |a: Value, c: Value, f: Value| {
        vec![tensor("a", "FP64", json!([a])), tensor("c", "BYTES", json!([c])), tensor("f", "BOOL", json!([f]))]
    };
    let infer = |inputs: Vec<Value>| server.post("/v2/models/m/infer", json!({"inputs": inputs}));
    let full = all(json!(0.9), json!("r"), json!(true));
    assert_eq!(infer(full.clone()).await.status, 200);
    for missing in [
        all(Value::Null, json!("r"), json!(true)),
        all(json!(0.9), Value::Null, json!(true)),
        all(json!(0.9), json!("r"), Value::Null),
        full[..2].to_vec(),
        vec![tensor("a", "FP64", json!([])), tensor("c", "BYTES", json!([])), tensor("f", "BOOL", json!([]))],
    ] {
        let answer = infer(missing.clone()).await;
        assert_eq!(answer.status, 200, "{missing:?}: {}", answer.body);
    }
    for wrong in [
        [full.clone(), vec![full[0].clone()]].concat(),
        vec![full[0].clone(), full[1].clone(), tensor("f", "INT64", json!([7]))],
        vec![tensor("a", "FP64", json!([1e300 * 10.0])), full[1].clone(), tensor("f", "BOOL", json!([7]))],
        vec![],
    ] {
        let answer = infer(wrong.clone()).await;
        assert!((400..500).contains(&answer.status), "{wrong:?}: {}", answer.body);
    }
    let metadata = server.get("/v2/models/m").await.ok();
    assert_eq!(metadata["parameters"]["labels"], json!(["hi", "lo"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objective_decides_which_class_is_named_and_nothing_else() {
    let server = TestServer::start().await;
    // One row in eight of those with a large x is rare: never the more probable class.
    let row = |i: usize| {
        let rare = i % 100 >= 75 && i / 100 == 0;
        format!("{},{},{}\n", i % 100, i * 37 % 101, if rare { "rare" } else { "common" })
    };
    let csv = String::from("x,z,label\n") + &(0..800).map(row).collect::<String>();
    server.put("/api/v1/datasets/d", csv).await.ok();
    let mut probabilities = Vec::new();
    for (model, objective, named) in [("plain", "accuracy", "common"), ("even", "balanced", "rare")] {
        let settings = json!({"objective": objective, "config": {"epochs": 20}});
        let job = train_and_wait(&server, model, request("d", settings)).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        let never = codes(&job).contains(&"class_never_predicted");
        assert_eq!(never, objective == "accuracy", "{job}");
        let version = &server.get(&format!("/api/v1/models/{model}/versions")).await.ok()["items"][0];
        let figure = |name: &str| version["metrics"][name].as_f64().unwrap();
        assert!(figure("average_precision") > 0.0 && version["held_out"]["rows"] == 800, "{version}");
        let balanced = figure("balanced_accuracy");
        assert!(if objective == "balanced" { balanced > 0.7 } else { balanced < 0.6 }, "{balanced}");
        let answer = &predict(&server, model, json!({"x": 90, "z": 50})).await.ok()["predictions"][0];
        assert_eq!(answer["label"], named, "{answer}");
        assert_eq!(answer["probability"], answer["probabilities"][named]);
        probabilities.push(answer["probabilities"].clone());
        // The set is made around the likeliest class, which is not the one that `balanced` names.
        let path = format!("/api/v1/models/{model}/predict");
        let asked = json!({"rows": [{"x": 90, "z": 50}], "coverage": 0.5, "novelty_level": 1.0, "explain": true});
        let answer = &server.post(&path, asked).await.ok()["predictions"][0];
        let verdict = json!(if named == "common" { "sure" } else { "unsure" });
        assert_eq!((&answer["set"], &answer["verdict"]), (&json!(["common"]), &verdict), "{answer}");
        let output = answer["explanation"]["output"].as_f64().unwrap();
        assert_eq!(output > 0.0, named == "common", "the explanation is of the class that is named: {answer}");
        let lines = server.request(Method::POST, &format!("{path}?coverage=0.5&novelty_level=1"));
        let line = send(lines.header("content-type", "text/csv").body("x,z\n90,50\n")).await.ok();
        assert_eq!((&line["predicted"], &line["verdict"]), (&json!(named), &verdict), "{line}");
        let tensor = |name: &str, value: f64| json!({"name": name, "datatype": "FP64", "shape": [1], "data": [value]});
        let infer = json!({"inputs": [tensor("x", 90.0), tensor("z", 50.0)], "outputs": [{"name": "label"}]});
        let output = server.post(&format!("/v2/models/{model}/infer"), infer).await.ok();
        assert_eq!(output["outputs"][0]["data"], json!([named]), "{output}");
    }
    assert_eq!(probabilities[0], probabilities[1]);
    let train = "/api/v1/models/m/train";
    let wrong = server.post(train, request("d", json!({"objective": "fair"}))).await;
    assert_eq!(wrong.problem(), (400, "invalid_request"));
    let number = json!({"dataset": "d", "target": "x", "task": "regression", "objective": "balanced"});
    assert_eq!(server.post(train, number).await.problem(), (422, "invalid_training"));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_tables_are_cross_fitted_and_every_row_is_evaluated() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(80)).await.ok();
    let dry = server.post("/api/v1/models/m/train", request("d", json!({"dry_run": true}))).await.ok();
    assert_eq!(dry["split"], json!({"by": "folds", "folds": 8, "column": null, "training": 70, "validation": 10}));
    for (more, rows) in [(json!({}), 80), (json!({"validation": 0.25}), 20)] {
        let job = train_and_wait(&server, "m", request("d", more)).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        let version = &server.get("/api/v1/models/m/versions").await.ok()["items"][0];
        assert_eq!(version["held_out"]["rows"], rows, "{version}");
    }
    server.put("/api/v1/datasets/one", "x,label\n1,a\n2,b\n3,c\n").await.ok();
    let job = train_and_wait(&server, "few", request("one", json!({}))).await;
    assert!(job["status"] == "succeeded" && codes(&job).contains(&"uncalibrated"), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_family_would_take_is_refused_at_once() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(60)).await.ok();
    let request = |more: Value| {
        let mut request = json!({"dataset": "d", "target": "label"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    for (config, code) in [(json!({"epochs": 0}), "bad_setting"), (json!({"epocs": 3}), "unknown_field")] {
        let refused = server.post("/api/v1/models/m/train", request(json!({"config": config}))).await;
        assert_eq!(refused.problem().1, code, "{}", refused.body);
    }
    let refused = server.post("/api/v1/models/m/train", request(json!({"features": {"x": "numbr"}}))).await;
    assert!(
        refused.status == 400 && refused.body["detail"].as_str().unwrap().contains("a kind such as"),
        "{}",
        refused.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_holds_its_value_and_rows_without_a_target_are_reported() {
    let server = TestServer::start().await;
    let csv = (0..300).fold("x,y\n".to_owned(), |csv, i| {
        let y = if i == 77 { "1e12".to_owned() } else { format!("{}", i % 10) };
        csv + &format!("{}.5,{}\n", i % 10, if i % 50 == 3 { "NA".to_owned() } else { y })
    });
    server.put("/api/v1/datasets/d", csv).await.ok();
    let request = json!({"dataset": "d", "target": "y", "task": "regression", "config": {"epochs": 5}});
    let job = server.train("m", request).await;
    let warning = job["warnings"].as_array().unwrap().iter().find(|w| w["code"] == "missing_words").cloned();
    assert_eq!(warning.unwrap()["rows"], 6, "{job}");
    let rows: Vec<Value> = (0..10).map(|i| json!({"x": f64::from(i) + 0.5})).collect();
    let answers = server.post("/api/v1/models/m/predict", json!({"rows": rows, "coverage": 0.9})).await.ok();
    for answer in answers["predictions"].as_array().unwrap() {
        let [low, value, high] = [&answer["interval"][0], &answer["value"], &answer["interval"][1]].map(|v| v.as_f64());
        assert!(low <= value && value <= high, "{answer}");
    }
}
