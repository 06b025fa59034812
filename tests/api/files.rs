//! Files of any length in, lines out: streamed predictions, batches, versions compared.

use crate::server::{TestServer, clouds, send};
use crate::support::process::{Process, kenyon};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A server with a dataset and a model of it.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/clouds", clouds(300)).await.ok();
    let request = json!({"dataset": "clouds", "target": "label", "family": "sparse_mlp", "config": {"epochs": 5}});
    assert_eq!(server.train("m", request).await["status"], "succeeded");
    server
}

async fn predict(server: &TestServer, query: &str, kind: &str, accept: &str, body: impl Into<reqwest::Body>) -> String {
    let request = server.request(Method::POST, &format!("/api/v1/models/m/predict{query}"));
    let answer = send(request.header("content-type", kind).header("accept", accept).body(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // A single line of JSON is read as such.
    answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_answered_line_by_line_and_a_row_that_does_not_fit_says_why() {
    let server = server().await;
    let mut csv = String::from("x,y,colour,extra\n");
    for i in 0..3000 {
        let x = if i == 1500 { "far".to_owned() } else { format!("{}", if i % 2 == 0 { 2.0 } else { -2.0 }) };
        csv += &format!("{x},0.1,red,{i}\n");
    }
    let answer = lines(&predict(&server, "?coverage=0.8&top_k=2", "text/csv", "*/*", csv.clone()).await);
    assert_eq!(answer.len(), 3000);
    for (i, line) in answer.iter().enumerate() {
        if i == 1500 {
            assert_eq!(line["row"], 1500, "{line}");
            assert!(line["error"].as_str().unwrap().contains("far"), "{line}");
        } else {
            assert_eq!(line["predicted"], if i % 2 == 0 { "right" } else { "left" }, "{i}: {line}");
            assert!(line["set"].is_array() && line["verdict"].is_string(), "{line}");
            assert_eq!(line["probabilities"].as_object().unwrap().len(), 2, "{line}");
        }
    }
    // The same as one row of a JSON request.
    let row = json!({"rows": [{"x": 2.0, "y": 0.1, "colour": "red"}]});
    let single = server.post("/api/v1/models/m/predict", row).await.ok();
    let apart = single["predictions"][0]["probability"].as_f64().unwrap() - answer[0]["probability"].as_f64().unwrap();
    assert!(apart.abs() < 1e-6, "{apart}");
    let table = predict(&server, "", "text/csv", "text/csv", csv).await;
    let table: Vec<&str> = table.lines().collect();
    assert_eq!((table.len(), table[0]), (3001, "predicted,probability,set,novelty,verdict,error"));
    assert!(table[1].starts_with("right,") && table[1501].contains("x: expected a number"), "{}", table[1501]);
    let explained =
        predict(&server, "?explain=true", "text/csv", "*/*", "x,y,colour\n2,0.1,red\nfar,0,red\n-2,0,blue\n").await;
    let explained = lines(&explained);
    assert_eq!((explained.len(), explained[1]["row"].as_u64()), (3, Some(1)));
    for line in [&explained[0], &explained[2]] {
        let reasons = &line["explanation"];
        let sum: f64 = reasons["features"].as_array().unwrap().iter().map(|f| f["weight"].as_f64().unwrap()).sum();
        let difference = reasons["output"].as_f64().unwrap() - reasons["baseline"].as_f64().unwrap();
        assert!((sum - difference).abs() < 1e-4 && difference.abs() > 0.1, "{line}");
        assert_eq!(reasons["features"][0]["name"], "x", "{line}");
    }
    let ndjson = "{\"x\":2,\"y\":0,\"colour\":\"red\"}\n{\"x\":\"\",\"y\":0}\n";
    let answer = lines(&predict(&server, "", "application/x-ndjson", "application/json", ndjson).await);
    assert_eq!((answer.len(), &answer[0]["predicted"]), (2, &json!("right")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_answered_has_a_status() {
    let server = server().await;
    let refused = |query: &'static str, kind: &'static str, body: &'static str| {
        let request = server.request(Method::POST, &format!("/api/v1/models/{query}"));
        send(request.header("content-type", kind).body(body))
    };
    let none = refused("none/predict", "text/csv", "x,y\n1,2\n").await;
    assert_eq!(none.problem(), (404, "model_not_found"));
    let version = refused("m/predict?version=9", "text/csv", "x,y\n1,2\n").await;
    assert_eq!(version.problem(), (404, "version_not_found"));
    let other = refused("m/predict", "text/csv", "a,b\n1,2\n").await;
    assert_eq!(other.problem(), (422, "unknown_column"));
    let ragged = refused("m/predict", "text/csv", "x,y,colour\n1,2,red\n1\n").await;
    assert_eq!(ragged.problem(), (422, "ragged_rows"));
    let coverage = refused("m/predict?coverage=2", "text/csv", "x,y\n1,2\n").await;
    assert_eq!(coverage.problem(), (400, "invalid_coverage"));
    let unknown = refused("m/predict?depth=2", "text/csv", "x,y\n1,2\n").await;
    assert_eq!(unknown.problem(), (400, "unknown_field"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_is_answered_by_a_job_whose_output_has_its_columns() {
    let server = server().await;
    server
        .put("/api/v1/datasets/more", "x,y,colour,predicted\n2,0,red,no\n-2,0,\"a, b\",no\nword,0,red,no\n")
        .await
        .ok();
    let more = "x,y,colour,predicted\n-2,1,blue,no\n";
    send(server.request(Method::POST, "/api/v1/datasets/more/rows").body(more)).await.ok();
    let request = json!({"dataset": "more", "format": "csv", "into": "answered"});
    let key = || server.request(Method::POST, "/api/v1/models/m/predict/batch").header("idempotency-key", "k");
    let queued = send(key().json(&request)).await;
    assert_eq!((queued.status, &queued.body["kind"]), (202, &json!("predict")), "{}", queued.body);
    assert_eq!(send(key().json(&request)).await.ok()["id"], queued.body["id"]);
    let id = queued.body["id"].as_str().unwrap().to_owned();
    let job = server.ended(&id).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    assert_eq!((&job["result"]["rows"], &job["result"]["failed"]), (&json!(4), &json!(1)), "{job}");
    let output = server.get(&format!("/api/v1/jobs/{id}/output")).await.ok();
    let lines: Vec<&str> = output.as_str().unwrap().lines().collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(lines[0], "x,y,colour,predicted,predicted_,probability,set,novelty,verdict,error");
    assert!(lines[1].starts_with("2,0,red,no,right,") && lines[2].starts_with("-2,0,\"a, b\",no,left,"), "{lines:?}");
    assert!(lines[3].starts_with("word,0,red,no,,") && lines[3].contains("x: "), "{lines:?}");
    assert!(lines[4].starts_with("-2,1,blue,no,left,"), "{lines:?}");
    assert_eq!(server.get("/api/v1/datasets/answered").await.ok()["rows"], 4);
    let request = json!({"dataset": "more", "format": "parquet", "into": "typed"});
    let queued = server.post("/api/v1/models/m/predict/batch", &request).await;
    let id = queued.body["id"].as_str().unwrap().to_owned();
    assert_eq!(server.ended(&id).await["status"], "succeeded");
    let output = server.request(Method::GET, &format!("/api/v1/jobs/{id}/output")).send().await.unwrap();
    assert_eq!(output.headers()["content-type"], "application/vnd.apache.parquet");
    let bytes = output.bytes().await.unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    send(server.request(Method::PUT, "/api/v1/datasets/again").body(bytes)).await.ok();
    let again = server.get("/api/v1/datasets/again/rows").await.ok();
    let typed = server.get("/api/v1/datasets/typed/rows").await.ok();
    for (a, b) in again["rows"].as_array().unwrap().iter().zip(typed["rows"].as_array().unwrap()) {
        // What a line of JSON lacks is null in Parquet.
        assert!(a.as_object().unwrap().iter().all(|(name, value)| *value == b[name]), "{a} {b}");
    }
    assert_eq!((&again["rows"][0]["y"], &again["rows"][1]["predicted_"]), (&json!(0), &json!("left")), "{again}");
    let trained = server.get("/api/v1/jobs?kind=train").await.ok()["items"][0]["id"].clone();
    let none = server.get(&format!("/api/v1/jobs/{}/output", trained.as_str().unwrap())).await;
    assert_eq!(none.problem(), (404, "output_not_found"));
    for (request, status) in [
        (json!({"dataset": "none", "format": "csv"}), 404),
        (json!({"dataset": "more", "format": "xls"}), 400),
        (json!({"dataset": "more", "format": "csv", "version": 7}), 404),
        (json!({"dataset": "more", "format": "csv", "into": "more"}), 422),
    ] {
        assert_eq!(server.post("/api/v1/models/m/predict/batch", &request).await.status, status, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_have_the_options_of_a_json_request_and_the_code_of_a_layer() {
    let server = server().await;
    let csv = "x,y,colour\n2,0.1,red\nfar,0,red\n-2,0,blue\n0,0,red\n";
    let rows = json!([{"x": 2, "y": 0.1, "colour": "red"}, {"x": -2, "y": 0, "colour": "blue"}, {"x": 0, "y": 0, "colour": "red"}]);
    let query = "?coverage=0.3&allow_empty=true&conditional=class&novelty_level=0&embedding=dense";
    let answer = lines(&predict(&server, query, "text/csv", "*/*", csv).await);
    let fitting: Vec<&Value> = answer.iter().filter(|line| line["error"].is_null()).collect();
    assert_eq!((answer.len(), fitting.len()), (4, 3), "{answer:?}");
    let request = json!({
        "rows": rows, "coverage": 0.3, "allow_empty": true, "conditional": "class", "novelty_level": 0.0
    });
    let expected = server.post("/api/v1/models/m/predict", &request).await.ok();
    let codes = server.post("/api/v1/models/m/embed", json!({"rows": rows})).await.ok();
    for (i, line) in fitting.iter().enumerate() {
        let single = &expected["predictions"][i];
        assert_eq!((&line["set"], &line["verdict"]), (&single["set"], &single["verdict"]), "{i}");
        assert_eq!(line["embedding"], codes["embeddings"][i], "{i}");
    }
    assert!(fitting.iter().any(|line| line["verdict"] == "unfamiliar"), "{answer:?}");
    let sparse = lines(&predict(&server, "?embedding=sparse&layer=features", "text/csv", "*/*", csv).await);
    let request = json!({"rows": rows, "sparse": true, "layer": "features"});
    let codes = server.post("/api/v1/models/m/embed", request).await.ok();
    assert_eq!((&sparse[0]["embedding"], &sparse[1]["embedding"]), (&codes["embeddings"][0], &Value::Null));
    for (query, problem) in [
        ("novelty_level=2", (400, "invalid_novelty_level")),
        ("conditional=row", (400, "invalid_conditional")),
        ("layer=hidden.0", (422, "contradictory_request")),
        ("embedding=dense&layer=hidden.9", (422, "unknown_layer")),
    ] {
        let request = server.request(Method::POST, &format!("/api/v1/models/m/predict?{query}"));
        assert_eq!(send(request.header("content-type", "text/csv").body(csv)).await.problem(), problem, "{query}");
    }
    server.put("/api/v1/datasets/more", csv).await.ok();
    let request =
        json!({"dataset": "more", "format": "parquet", "embedding": "dense", "novelty_level": 0.0, "into": "codes"});
    let job = ended(&server, &request).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let kept = server.get("/api/v1/datasets/codes/rows").await.ok();
    let numbers = |row: &Value| row["embedding"].as_array().unwrap().iter().map(Value::as_f64).collect::<Vec<_>>();
    assert_eq!(numbers(&kept["rows"][0]), numbers(&answer[0]), "{kept}");
    assert_eq!(kept["rows"][0]["verdict"], answer[0]["verdict"], "{kept}");
    let wrong = json!({"dataset": "more", "format": "csv", "layer": "features"});
    let refused = server.post("/api/v1/models/m/predict/batch", &wrong).await;
    assert_eq!(refused.problem(), (422, "contradictory_request"));
}

/// The job of a batch when it has ended.
async fn ended(server: &TestServer, request: &Value) -> Value {
    let queued = server.post("/api/v1/models/m/predict/batch", request).await.ok();
    server.ended(queued["id"].as_str().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn candle_answers_a_dataset_as_the_kernels_do_where_the_family_has_a_use_for_it() {
    let server = server().await;
    let rows = async |engine: &str| {
        let into = format!("by-{engine}");
        let request = json!({"dataset": "clouds", "format": "ndjson", "engine": engine, "into": into});
        let job = ended(&server, &request).await;
        assert_eq!((&job["status"], &job["result"]["device"]), (&json!("succeeded"), &json!("cpu")), "{job}");
        assert_eq!(job["warnings"], json!([]), "{job}");
        server.get(&format!("/api/v1/datasets/{into}/rows?limit=300")).await.ok()["rows"].clone()
    };
    let (kernels, candle) = (rows("kernels").await, rows("candle").await);
    for (a, b) in kernels.as_array().unwrap().iter().zip(candle.as_array().unwrap()) {
        let apart = a["probability"].as_f64().unwrap() - b["probability"].as_f64().unwrap();
        assert!(a["predicted"] == b["predicted"] && apart.abs() < 1e-3, "{a} {b}");
    }
    let hybrid = json!({"dataset": "clouds", "target": "label", "family": "hybrid"});
    assert_eq!(server.train("m", hybrid).await["status"], "succeeded");
    let job = ended(&server, &json!({"dataset": "clouds", "format": "csv", "engine": "candle"})).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("bad_setting")), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_on_the_same_rows() {
    let server = server().await;
    let request = json!({"dataset": "clouds", "target": "label", "family": "memory", "config": {"epochs": 1}});
    assert_eq!(server.train("m", request).await["status"], "succeeded");
    let found = server.get("/api/v1/models/m/compare?versions=1,2&dataset=clouds").await.ok();
    assert_eq!((&found["versions"], &found["rows"]), (&json!([1, 2]), &json!(300)), "{found}");
    assert_eq!(found["learned_from"], json!([2]), "the first is cross-fitted");
    let accuracy = &found["metrics"]["accuracy"];
    let number = |name: &str| accuracy[name].as_f64().unwrap();
    assert!((number("b") - number("a") - number("difference")).abs() < 1e-9, "{accuracy}");
    assert!(accuracy["interval"][0].as_f64().unwrap() <= number("difference"), "{accuracy}");
    // On its own rows the first, cross-fitted, answers as it did when it was measured: by members that have not learned them.
    let versions = server.get("/api/v1/models/m/versions").await.ok()["items"].clone();
    let [second, first] = [0, 1].map(|at| versions[at].clone());
    assert_eq!(accuracy["a"], first["metrics"]["accuracy"], "{first}");
    assert_eq!(first["evaluated_on"], json!({"rows": 300, "kind": "out_of_fold"}), "{first}");
    assert_eq!(second["evaluated_on"]["kind"], "held_out", "{second}");
    assert!(
        second["evaluated_on"]["rows"].as_u64().unwrap() < 60,
        "a third of the held-out rows chose the pass: {second}"
    );
    assert_eq!((&first["guarantee"], &second["guarantee"]), (&json!("cross_conformal"), &json!("split_conformal")));
    let interval = &first["intervals"]["accuracy"];
    let ends = [0, 1].map(|at| interval[at].as_f64().unwrap());
    assert!(ends[0] < number("a") && number("a") <= ends[1], "{first}");
    server.put("/api/v1/datasets/bare", "x,y,colour\n1,2,red\n".to_owned()).await.ok();
    let refused = server.get("/api/v1/models/m/compare?versions=1,2&dataset=bare").await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    for (query, status) in
        [("versions=1&dataset=clouds", 400), ("versions=1,9&dataset=clouds", 404), ("versions=1,2", 400)]
    {
        assert_eq!(server.get(&format!("/api/v1/models/m/compare?{query}")).await.status, status, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_came_late_is_learned_once() {
    let server = TestServer::start().await;
    let model = json!({"target": "c", "features": {"x": "number"}, "classes": ["p", "q"]});
    send(server.request(Method::PUT, "/api/v1/models/s").json(&model)).await.ok();
    server.post("/api/v1/models/s/observe", json!({"rows": [{"x": 1, "c": "p"}, {"x": -1, "c": "q"}]})).await.ok();
    let answer = server.post("/api/v1/models/s/predict", json!({"rows": [{"x": 2}]})).await.ok();
    let label = json!({"prediction_id": answer["predictions"][0]["prediction_id"], "target": "p"});
    let feedback = |label: &Value| {
        let request = server.request(Method::POST, "/api/v1/models/s/feedback").header("idempotency-key", "late");
        send(request.json(label))
    };
    let first = feedback(&label).await.ok();
    assert_eq!(first["observed"], 1);
    assert_eq!(feedback(&label).await.ok(), first);
    assert_eq!(server.get("/api/v1/models/s/stream").await.ok()["observed"], 3);
    let other = json!({"prediction_id": label["prediction_id"], "target": "q"});
    assert_eq!(feedback(&other).await.problem(), (422, "idempotency_mismatch"));
}

/// Fields that grow with columns, classes or rows.
const DETAILS: [&str; 9] =
    ["members", "examples", "histogram", "config", "notes", "confusion", "recall", "calibration", "regression"];

/// Those of the details that have content anywhere in `value`.
fn details(value: &Value) -> BTreeSet<&'static str> {
    let full = |field: &Value| {
        field.as_array().is_some_and(|items| !items.is_empty()) || field.as_object().is_some_and(|map| !map.is_empty())
    };
    match value {
        Value::Array(items) => items.iter().flat_map(details).collect(),
        Value::Object(fields) => {
            let named = |name: &str| DETAILS.into_iter().find(|detail| *detail == name);
            let own = fields.iter().filter(|(_, field)| full(field)).filter_map(|(name, _)| named(name));
            own.chain(fields.values().flat_map(details)).collect()
        }
        _ => BTreeSet::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_single_resources_have_details() {
    let server = TestServer::start().await;
    let get = async |path: &str| server.get(&format!("/api/v1/{path}")).await.ok();
    server.put("/api/v1/datasets/digits", kenyon_learn::data::bundled::DIGITS).await.ok();
    // A cell that does not fit makes a warning with an example.
    server.put("/api/v1/datasets/clouds", clouds(200) + "far,0.1,red,left\n").await.ok();
    let mut jobs = Vec::new();
    for (model, dataset, target, task) in [
        ("digits", "digits", "target", "classification"),
        ("clouds", "clouds", "label", "classification"),
        ("slope", "clouds", "y", "regression"),
    ] {
        let config = json!({"epochs": 2});
        let request =
            json!({"dataset": dataset, "target": target, "task": task, "family": "sparse_mlp", "config": config});
        let job = server.train(model, request).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        jobs.push(format!("jobs/{}", job["id"].as_str().unwrap()));
    }
    server.post("/api/v1/models/digits/evaluate", json!({"dataset": "digits"})).await.ok();

    for list in ["datasets", "models", "jobs", "models/digits/versions", "models/clouds/versions?detail=false"] {
        let listed = get(list).await;
        assert!(!listed["items"].as_array().unwrap().is_empty(), "{list}");
        assert!(details(&listed).is_empty(), "{list} has {:?}: {listed}", details(&listed));
    }
    for model in ["digits", "clouds", "slope"] {
        let versions = get(&format!("models/{model}")).await["versions"].take();
        assert!(details(&versions).is_empty(), "{model} has {:?}: {versions}", details(&versions));
        let held_out = &versions[0]["held_out"];
        assert!(held_out["rows"].as_u64() > Some(0) && held_out["classes"] == json!([]), "{held_out}");
    }
    let evaluation = get("jobs?kind=evaluate").await["items"][0].take();
    assert_eq!((&evaluation["result"]["rows"], &evaluation["result"]["classes"]), (&json!(1797), &Value::Null));
    jobs.push(format!("jobs/{}", evaluation["id"].as_str().unwrap()));

    let expected: [(&str, &[&str]); 8] = [
        ("datasets/digits", &["members"]),
        ("datasets/clouds", &["examples", "histogram"]),
        ("models/digits", &["config", "members"]),
        ("models/clouds", &["config", "examples"]),
        ("models/digits/versions?detail=true", &["calibration", "confusion", "recall"]),
        ("models/slope/versions?detail=true", &["examples", "histogram", "regression"]),
        (&jobs[1], &["examples"]),
        (&jobs[3], &["calibration", "confusion", "recall"]),
    ];
    for (path, names) in expected {
        let one = get(path).await;
        assert!(names.iter().all(|name| details(&one).contains(name)), "{path} lacks one of {names:?}: {one}");
    }
    assert_eq!(server.get("/api/v1/models/digits/versions?details=true").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_small_and_know_their_cursors() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/clouds", clouds(100)).await.ok();
    let listed = server.get("/api/v1/datasets").await.ok();
    for column in listed["items"][0]["columns"].as_array().unwrap() {
        assert!(column["histogram"].is_null() && column["examples"] == json!([]), "{column}");
    }
    let one = server.get("/api/v1/datasets/clouds").await.ok();
    assert!(one["columns"][0]["histogram"].is_array(), "{one}");
    for list in ["datasets", "models", "jobs"] {
        let unknown = server.get(&format!("/api/v1/{list}?cursor=UNKNOWN")).await;
        assert_eq!(unknown.problem(), (400, "invalid_cursor"), "{list}");
    }
}

/// A server as a process of its own, on a folder that another one may have left.
fn process(folder: &Path) -> Process {
    Process::start(kenyon("serve").arg("--data-dir").arg(folder).args(["--workers", "1"])).unwrap()
}

/// Polls until `wanted` holds of the job.
async fn job_until(client: &Client, url: &str, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..6000 {
        let job = send(client.get(format!("{url}/api/v1/jobs/{id}"))).await.ok();
        if wanted(&job) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the job {id} does not get there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_after_a_kill_without_a_row_lost_or_twice() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (folder, client) = (tempfile::tempdir().unwrap(), Client::new());
    let mut server = process(folder.path());
    let api = |server: &Process, path: &str| format!("{}/api/v1/{path}", server.url);
    const ROWS: usize = 400_000;
    send(client.put(api(&server, "datasets/many")).body(clouds(ROWS))).await.ok();
    send(client.put(api(&server, "datasets/few")).body(clouds(300))).await.ok();
    let request = json!({"dataset": "few", "target": "label", "family": "sparse_mlp", "config": {"epochs": 3}});
    let trained = send(client.post(api(&server, "models/m/train?wait=60")).json(&request)).await.ok();
    assert_eq!(trained["status"], "succeeded", "{trained}");
    let request = json!({"dataset": "many", "format": "ndjson"});
    let over = |job: &Value| job["finished_at"].is_string();
    let mut outputs = Vec::new();
    for killed in [false, true] {
        let queued = send(client.post(api(&server, "models/m/predict/batch")).json(&request)).await.ok();
        let id = queued["id"].as_str().unwrap();
        if killed {
            let far = |job: &Value| job["progress"]["step"].as_u64().is_some_and(|rows| rows > ROWS as u64 / 4);
            job_until(&client, &server.url, id, |job| far(job) || over(job)).await;
            server.kill();
            server = process(folder.path());
        }
        let job = job_until(&client, &server.url, id, over).await;
        assert_eq!((&job["status"], &job["result"]["rows"]), (&json!("succeeded"), &json!(ROWS)), "{job}");
        if killed {
            assert!(job["attempt"].as_u64() > Some(1) && job["resumed_from_step"].as_u64() > Some(0), "{job}");
        }
        let output = client.get(api(&server, &format!("jobs/{id}/output"))).send().await.unwrap();
        outputs.push(output.text().await.unwrap());
    }
    assert_eq!(outputs[0].lines().count(), ROWS);
    assert!(outputs[0] == outputs[1], "the interrupted one differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_spells_its_numbers_otherwise_has_the_same_values() {
    let server = TestServer::start().await;
    let rows = |day: &dyn Fn(usize) -> String, mark: char, delimiter: char| {
        (0..200).fold(format!("a{delimiter}d{delimiter}y\n"), |text, i| {
            let number = format!("{}{mark}{:02}", i % 10, i * 7 % 100);
            let label = if i % 10 > 4 { "hi" } else { "lo" };
            text + &format!("{number}{delimiter}{}{delimiter}{label}\n", day(i))
        })
    };
    let points = rows(&|i| format!("2021-01-{:02}", 1 + i % 28), '.', ',');
    let commas = rows(&|i| format!("{:02}.01.2021", 1 + i % 28), ',', ';');
    server.put("/api/v1/datasets/points", points).await.ok();
    server.put("/api/v1/datasets/commas", commas).await.ok();
    let request = |validation: Value| {
        let config = json!({"epochs": 20});
        json!({"dataset": "points", "target": "y", "family": "sparse_mlp", "config": config, "validation": validation})
    };
    assert_eq!(server.train("m", request(json!(0.2))).await["status"], "succeeded");
    let evaluated =
        async |dataset: &str| server.post("/api/v1/models/m/evaluate", json!({"dataset": dataset})).await.ok();
    let (here, there) = (evaluated("points").await, evaluated("commas").await);
    assert_eq!((&here["metrics"], &there["metrics"]), (&there["metrics"], &here["metrics"]));
    assert!(here["metrics"]["accuracy"].as_f64().unwrap() > 0.95 && there["warnings"].is_null(), "{there}");
    let queued = json!({"dataset": "commas", "format": "ndjson"});
    let queued = server.post("/api/v1/models/m/predict/batch", queued).await.ok();
    let job = server.ended(queued["id"].as_str().unwrap()).await;
    assert_eq!((&job["result"]["rows"], &job["result"]["failed"]), (&json!(200), &json!(0)), "{job}");
    let job = server.train("n", request(json!({"dataset": "commas"}))).await;
    assert!(job["metrics"]["accuracy"].as_f64().unwrap() > 0.95, "{job}");
    let odd = |warning: &Value| warning["code"] == "mixed_kind";
    assert!(!job["warnings"].as_array().unwrap().iter().any(odd), "{job}");
}
