//! Comparisons of models with recordings: what comes out, bad input, and what stays when a server stops.

use crate::server::TestServer;
use reqwest::Method;
use serde_json::{Value, json};
use std::fmt::Write;

/// A number in [0, 1) from a place, the same on every machine.
fn noise(at: usize) -> f64 {
    let mut x = (at as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The pattern of a stimulus: two clusters, and something of its own.
fn pattern(stimulus: usize, channel: usize) -> f64 {
    f64::from(u8::from((stimulus + channel).is_multiple_of(2))) + noise(stimulus * 31 + channel)
}

/// Stimuli with their names, a class and six numbers.
fn stimuli(rows: usize) -> String {
    let mut csv = "image,class,a1,a2,a3,a4,a5,a6\n".to_owned();
    for row in 0..rows {
        let numbers: Vec<String> = (0..6).map(|c| format!("{:.4}", pattern(row, c))).collect();
        writeln!(csv, "i{row},{},{}", if row % 2 == 0 { "even" } else { "odd" }, numbers.join(",")).unwrap();
    }
    csv
}

/// Noisy responses of three subjects in two runs; `skip` leaves observations out.
fn recordings(rows: usize, skip: impl Fn(usize, usize, usize) -> bool) -> String {
    let mut csv = "subject,run,image,v1,v2,v3,v4,v5,v6\n".to_owned();
    for (subject, run) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
        for row in (0..rows).filter(|&row| !skip(subject, run, row)) {
            let seed = 10_000 + ((subject * 2 + run) * 100 + row) * 6;
            let numbers: Vec<String> = (0..6).map(|c| format!("{:.4}", pattern(row, c) + noise(seed + c))).collect();
            writeln!(csv, "s{subject},{run},i{row},{}", numbers.join(",")).unwrap();
        }
    }
    csv
}

/// The comparison once its job has ended.
async fn compared(server: &TestServer, request: &Value) -> Value {
    let job = server.post("/api/v1/comparisons", request).await;
    assert_eq!(job.status, 202, "{:?}", job.body);
    let (id, kind) = (job.body["id"].as_str().unwrap().to_owned(), job.body["kind"].clone());
    assert_eq!((kind, &job.body["model"]), (json!("compare"), &Value::Null));
    server.ended(&id).await;
    server.get(&format!("/api/v1/comparisons/{id}")).await.ok()
}

async fn with_data() -> TestServer {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/images", stimuli(16)).await.ok();
    server.put("/api/v1/datasets/brain", recordings(16, |_, _, _| false)).await.ok();
    server
}

fn request() -> Value {
    json!({
        "stimuli": "images", "condition": "image",
        "systems": [
            {"name": "code", "model": "m"},
            {"name": "numbers", "dataset": "images", "channels": "a*", "condition": "image"},
            {"name": "one number", "dataset": "images", "channels": "a1", "condition": "image", "distance": "euclidean"},
            {"name": "brain", "dataset": "brain", "channels": "v*", "condition": "image", "subject": "subject", "run": "run"},
        ],
        "distance": "crossnobis", "compare": "cosine", "reference": "brain",
        "bootstrap": {"samples": 50, "over": ["stimuli", "subjects"], "seed": 3},
        "weighting": ["code", "numbers"], "encoding": true,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn systems_are_compared_with_recordings() {
    let server = with_data().await;
    let train = json!({"dataset": "images", "target": "class", "family": "hybrid", "features": {"image": "ignore"}});
    server.train("m", train).await;
    let found = compared(&server, &request()).await;
    assert_eq!(found["status"], "succeeded", "{found}");
    assert_eq!(found["conditions"].as_array().unwrap().len(), 16);
    assert_eq!(found["dropped"], json!([]));
    assert_eq!(
        found["bootstrap"],
        json!({"samples": 50, "over": ["stimuli", "subjects"], "seed": 3, "degrees_of_freedom": 2})
    );
    let about: Vec<_> = found["systems"].as_array().unwrap().iter().map(|s| (&s["distance"], &s["version"])).collect();
    let (euclidean, crossnobis) = (json!("euclidean"), json!("crossnobis"));
    assert_eq!(about[0], (&euclidean, &json!(1)), "a layer has no noise to weigh by");
    assert_eq!((about[1].0, about[3].0), (&euclidean, &crossnobis));
    assert!(found["systems"][0]["notes"].to_string().contains("observed once"));
    assert_eq!(found["systems"][3]["subjects"], json!(["s0", "s1", "s2"]));

    // Every system with the reference first, then the systems with each other.
    let similarity = found["similarity"].as_array().unwrap();
    let names: Vec<_> = similarity.iter().map(|s| (s["a"].as_str().unwrap(), s["b"].as_str().unwrap())).collect();
    assert_eq!(names[..3], [("code", "brain"), ("numbers", "brain"), ("one number", "brain")]);
    assert_eq!(names[3..], [("code", "numbers"), ("code", "one number"), ("numbers", "one number")]);
    let number = |value: &Value| value.as_f64().unwrap();
    let fit = |at: usize| number(&similarity[at]["value"]);
    assert!(fit(1) > fit(2), "all numbers explain more than one of them: {similarity:?}");
    assert_eq!(similarity[1]["per_subject"].as_array().unwrap().len(), 3);
    let interval = |at: usize| (number(&similarity[at]["interval"][0]), number(&similarity[at]["interval"][1]));
    assert!(interval(1).0 < fit(1) && fit(1) < interval(1).1);
    assert!(number(&similarity[1]["p_zero"]) < 0.05 && similarity[1]["p_ceiling"].is_number());
    assert_eq!(similarity[4]["interval"], Value::Null);
    let ceiling = &found["noise_ceiling"];
    assert!(number(&ceiling["lower"]) < number(&ceiling["upper"]) && fit(1) <= number(&ceiling["upper"]));
    assert_eq!(found["pairwise"].as_array().unwrap().len(), 3);
    assert_eq!(found["weighting"]["systems"], json!(["code", "numbers"]));

    // What the stimuli were made of predicts the responses best.
    let encoding = found["encoding"].as_array().unwrap();
    assert_eq!(
        encoding.iter().map(|e| e["system"].as_str().unwrap()).collect::<Vec<_>>(),
        ["code", "numbers", "one number"]
    );
    assert!(number(&encoding[1]["explained"]) > number(&encoding[2]["explained"]), "{encoding:?}");
    assert!(number(&encoding[1]["explained"]) < number(&encoding[1]["explainable"]), "{encoding:?}");
    assert_eq!((encoding[1]["per_subject"].as_array().unwrap().len(), &encoding[1]["channels"]), (3, &json!(18)));

    // The matrices give the same similarity.
    let rdms = found["rdms"].as_array().unwrap();
    let listed: Vec<_> = rdms.iter().map(|r| (r["system"].as_str().unwrap(), r["subject"].as_str())).collect();
    assert_eq!(listed.len(), 4 + 3);
    assert_eq!(listed[3..5], [("brain", None), ("brain", Some("s0"))]);
    let values = |at: usize| -> Vec<f64> { rdms[at]["values"].as_array().unwrap().iter().map(number).collect() };
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let cosine = |x: &[f64], y: &[f64]| product(x, y) / (product(x, x) * product(y, y)).sqrt();
    assert_eq!(values(1).len(), 16 * 15 / 2);
    let mean = (4..7).map(|subject| cosine(&values(1), &values(subject))).sum::<f64>() / 3.0;
    assert!((mean - fit(1)).abs() < 1e-6, "{mean} {}", fit(1));

    // The same request finds the same; without matrices it is short.
    let again = compared(&server, &request()).await;
    for field in ["similarity", "noise_ceiling", "pairwise", "rdms", "weighting", "encoding"] {
        assert_eq!(again[field], found[field], "{field}");
    }
    let path = format!("/api/v1/comparisons/{}", found["id"].as_str().unwrap());
    assert_eq!(server.get(&format!("{path}?rdms=false")).await.ok()["rdms"], json!([]));
    let list = server.get("/api/v1/comparisons?limit=1").await.ok();
    assert_eq!(list["items"][0]["systems"], json!(["code", "numbers", "one number", "brain"]));
    assert!(list["next_cursor"].is_string());
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(server.get(&path).await.problem(), (404, "comparison_not_found"));
    assert_eq!(server.get("/api/v1/comparisons").await.ok()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn published_matrices_are_compared_with_each_other() {
    let server = TestServer::start().await;
    let mut csv = "i,j,value\n".to_owned();
    let mut subjects = "i,j,value,subject\n".to_owned();
    for i in 0..8 {
        for j in i + 1..8 {
            writeln!(csv, "{j},{i},{:.4}", noise(i * 8 + j)).unwrap();
            for s in 0..2 {
                writeln!(subjects, "{i},{j},{:.4},{s}", noise(i * 8 + j) + noise(900 + s * 64 + i * 8 + j)).unwrap();
            }
        }
    }
    server.put("/api/v1/datasets/one", csv).await.ok();
    server.put("/api/v1/datasets/two", subjects).await.ok();
    server.put("/api/v1/datasets/images", stimuli(8)).await.ok();
    let found = compared(
        &server,
        &json!({"systems": [
            {"name": "one", "rdm": "one"}, {"name": "two", "rdm": "two"},
            {"name": "numbers", "dataset": "images", "channels": "a*"},
        ], "bootstrap": {"samples": 20}}),
    )
    .await;
    assert_eq!(found["status"], "succeeded", "{found}");
    // Rows without a column of names are numbered from 0, as published matrices are.
    assert_eq!(found["conditions"].as_array().unwrap().len(), 8);
    assert_eq!(found["similarity"].as_array().unwrap().len(), 3);
    assert!(found["similarity"].as_array().unwrap().iter().all(|s| s["interval"].is_array()));
    assert_eq!((&found["noise_ceiling"], &found["pairwise"]), (&Value::Null, &json!([])));
    assert_eq!(found["bootstrap"]["over"], json!(["stimuli"]));
    assert_eq!(found["systems"][1]["subjects"], json!(["0", "1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_name_the_field() {
    let server = with_data().await;
    let one = json!({"name": "a", "dataset": "images"});
    let other = json!({"name": "b", "dataset": "brain"});
    let malformed = (400, "invalid_request");
    let contradictory = (422, "contradictory_request");
    let cases = [
        (json!({"systems": [one]}), malformed, "systems"),
        (json!({"systems": [one, {"name": "b"}]}), malformed, "systems[1]"),
        (json!({"systems": [one, {"name": "b", "dataset": "brain", "rdm": "brain"}]}), malformed, "systems[1]"),
        (json!({"systems": [one, {"name": "b", "rdm": "brain", "run": "run"}]}), malformed, "systems[1].run"),
        (json!({"systems": [one, other], "bootstrap": {"samples": 1}}), malformed, "bootstrap.samples"),
        (json!({"systems": [one, other], "bootstrap": {"over": []}}), malformed, "bootstrap.over"),
        (json!({"systems": [one, one]}), contradictory, "systems[1].name"),
        (json!({"systems": [one, {"name": "b", "model": "m"}]}), contradictory, "stimuli"),
        (json!({"systems": [one, other], "reference": "c"}), contradictory, "reference"),
        (json!({"systems": [one, other], "condition": "image"}), contradictory, "condition"),
        (json!({"systems": [one, other], "weighting": ["a"]}), contradictory, "weighting"),
        (json!({"systems": [one, other], "encoding": true}), contradictory, "encoding"),
    ];
    for (request, problem, path) in cases {
        let answer = server.post("/api/v1/comparisons", &request).await;
        assert_eq!(answer.problem(), problem, "{request}");
        assert_eq!(answer.body["details"][0]["path"], path, "{request}");
    }
    let unknown = json!({"systems": [one, {"name": "b", "dataset": "brain", "colour": 1}]});
    assert_eq!(server.post("/api/v1/comparisons", &unknown).await.problem(), (400, "unknown_field"));
    let missing = json!({"systems": [one, {"name": "b", "dataset": "none"}]});
    assert_eq!(server.post("/api/v1/comparisons", &missing).await.problem(), (404, "dataset_not_found"));
    let missing = json!({"stimuli": "images", "systems": [one, {"name": "b", "model": "none"}]});
    assert_eq!(server.post("/api/v1/comparisons", &missing).await.problem(), (404, "model_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_cannot_be_compared_are_explained() {
    let server = with_data().await;
    server.put("/api/v1/datasets/single", stimuli(1)).await.ok();
    server.put("/api/v1/datasets/constant", "image,v1,v2\ni0,1,1\ni1,1,1\ni2,1,1\ni3,1,1\n").await.ok();
    server.put("/api/v1/datasets/holes", "image,v1,v2\ni0,1,2\ni1,,3\ni2,3,1\ni3,2,2\n").await.ok();
    server.put("/api/v1/datasets/unrelated", "image,v1,v2\nx0,1,2\nx1,5,3\nx2,3,1\nx3,2,2\n").await.ok();
    let of = |dataset: &str, more: Value| {
        let mut system = json!({"name": "other", "dataset": dataset, "channels": "*", "condition": "image"});
        system.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"systems": [
            {"name": "numbers", "dataset": "images", "channels": "a*", "condition": "image"}, system,
        ], "bootstrap": {"samples": 20}})
    };
    let none = || json!({});
    for (request, code, said) in [
        (of("single", json!({"channels": "a*"})), "one_condition", "other: "),
        (of("constant", none()), "too_few_conditions", "fewer than two"),
        (of("constant", json!({"distance": "euclidean"})), "constant_rdm", "no structure"),
        (of("holes", none()), "responses_missing", "must be complete"),
        (of("unrelated", none()), "conditions_do_not_match", "3 are needed"),
        (of("images", json!({"channels": "b*"})), "no_channels", "'b*'"),
        (of("images", json!({"channels": "a*", "condition": "picture"})), "unknown_column", "'picture'"),
        (of("images", json!({"channels": "a*", "distance": "mahalanobis"})), "no_repetitions", "repeated observations"),
        (of("brain", json!({"channels": "v*", "distance": "crossnobis", "run": "subject"})), "", ""),
    ] {
        let found = compared(&server, &request).await;
        if code.is_empty() {
            assert_eq!(found["status"], "succeeded", "{found}");
            continue;
        }
        assert_eq!((&found["status"], &found["error"]["code"]), (&json!("failed"), &json!(code)), "{found}");
        assert!(found["error"]["detail"].as_str().unwrap().contains(said), "{found}");
        assert_eq!((&found["similarity"], &found["rdms"]), (&json!([]), &json!([])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_designs_are_handled_and_said() {
    let server = TestServer::start().await;
    // Stimulus 3 has one run of subject 1 only, stimulus 5 none of subject 2; others lack single observations.
    let skip = |subject, run, row| matches!((subject, run, row), (1, 1, 3) | (2, _, 5) | (0, 0, 7) | (0, 0, 5));
    server.put("/api/v1/datasets/brain", recordings(12, skip)).await.ok();
    server.put("/api/v1/datasets/images", stimuli(12)).await.ok();
    let request = json!({
        "systems": [
            {"name": "numbers", "dataset": "images", "channels": "a*", "condition": "image"},
            {"name": "brain", "dataset": "brain", "channels": "v*", "condition": "image", "subject": "subject", "run": "run"},
        ],
        "distance": "crossnobis", "reference": "brain", "bootstrap": {"samples": 20},
    });
    let found = compared(&server, &request).await;
    assert_eq!(found["status"], "succeeded", "{found}");
    let dropped: Vec<_> =
        found["dropped"].as_array().unwrap().iter().map(|d| d["condition"].as_str().unwrap()).collect();
    for name in ["i3", "i5", "i7"] {
        assert!(dropped.contains(&name), "{dropped:?}");
    }
    assert_eq!(found["conditions"].as_array().unwrap().len(), 9);
    assert!(!found.to_string().contains("NaN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_waits_can_be_canceled_and_not_removed() {
    let server = TestServer::with(|c| c.workers = 0).await;
    server.put("/api/v1/datasets/images", stimuli(8)).await.ok();
    let system = |name: &str| json!({"name": name, "dataset": "images", "channels": "a*"});
    let request = json!({"systems": [system("a"), system("b")]});
    let job = server.post("/api/v1/comparisons", &request).await.ok();
    let id = job["id"].as_str().unwrap();
    let path = format!("/api/v1/comparisons/{id}");
    assert_eq!(server.delete(&path).await.problem(), (409, "comparison_running"));
    let waiting = server.get(&path).await.ok();
    assert_eq!((&waiting["status"], &waiting["systems"], &waiting["rdms"]), (&json!("queued"), &json!([]), &json!([])));
    server.post(&format!("/api/v1/jobs/{id}/cancel"), json!({})).await.ok();
    assert_eq!(server.post(&format!("/api/v1/jobs/{id}/retry"), json!({})).await.status, 202);
    server.post(&format!("/api/v1/jobs/{id}/cancel"), json!({})).await.ok();
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(server.get(&format!("/api/v1/jobs/{id}")).await.problem(), (404, "job_not_found"));
    assert_eq!(server.get("/api/v1/comparisons/none").await.problem(), (404, "comparison_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layer_has_a_code() {
    let server = with_data().await;
    let config = json!({"hidden": [32, 16], "epochs": 2});
    let train = json!({"dataset": "images", "target": "class", "family": "sparse_mlp", "features": {"image": "ignore"}, "config": config});
    server.train("m", train).await;
    let layers = server.get("/api/v1/models/m/activity").await.ok();
    let names: Vec<_> =
        layers["layers"].as_array().unwrap().iter().map(|l| (l["name"].clone(), l["units"].clone())).collect();
    assert_eq!(names.len(), 2);
    let rows = server.get("/api/v1/datasets/images/rows?limit=3").await.ok();
    let rows: Vec<Value> = rows["rows"]
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .map(|mut row| {
            row.as_object_mut().unwrap().retain(|name, _| name.starts_with('a'));
            row
        })
        .collect();
    let embed = |layer: Value| server.post("/api/v1/models/m/embed", json!({"rows": rows, "layer": layer}));
    for (name, units) in &names {
        let code = embed(name.clone()).await.ok();
        assert_eq!((&code["layer"], &code["width"]), (name, units));
        assert_eq!(code["embeddings"][2].as_array().unwrap().len() as u64, units.as_u64().unwrap());
        let request = json!({"stimuli": "images", "systems": [
            {"name": "layer", "model": "m", "layer": name}, {"name": "numbers", "dataset": "images", "channels": "a*"},
        ], "bootstrap": {"samples": 20}});
        let found = compared(&server, &request).await;
        assert_eq!((&found["systems"][0]["layer"], &found["systems"][0]["channels"]), (name, units), "{found}");
    }
    let last = embed(Value::Null).await.ok();
    assert_eq!(last["embeddings"], embed(names[1].0.clone()).await.ok()["embeddings"]);
    assert_eq!(last["embeddings"], embed(json!("features")).await.ok()["embeddings"]);
    assert_ne!(last["width"], embed(names[0].0.clone()).await.ok()["width"]);
    let refused = server.request(Method::POST, "/api/v1/models/m/embed").json(&json!({"rows": rows, "layer": "x"}));
    let refused = crate::server::send(refused).await;
    assert_eq!(refused.problem(), (422, "unknown_layer"));
    assert!(refused.body["detail"].as_str().unwrap().contains(names[0].0.as_str().unwrap()));
}
