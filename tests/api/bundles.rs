//! Untrusted bundles: refused with a reason, or harmless.

use crate::server::{TestServer, clouds, send};
use reqwest::Method;
use serde_json::{Value, json};

type Files = Vec<(String, Vec<u8>)>;

async fn exported(server: &TestServer, model: &str) -> Files {
    exported_version(server, model, 1).await
}

async fn exported_version(server: &TestServer, model: &str, version: u64) -> Files {
    let path = format!("/api/v1/models/{model}/versions/{version}/export?format=bundle");
    let archive = server.request(Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
    let mut files = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        files.push((name, content));
    }
    files
}

fn packed(files: &Files) -> Vec<u8> {
    let mut built = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written byte by byte: the library would refuse names that lead out of a folder.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        built.append(&header, &content[..]).unwrap();
    }
    built.into_inner().unwrap()
}

async fn import(server: &TestServer, name: &str, archive: Vec<u8>) -> (u16, Value) {
    let answer = send(server.request(Method::POST, &format!("/api/v1/models/{name}/import")).body(archive)).await;
    (answer.status, answer.body)
}

fn changed(files: &Files, file: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut files = files.clone();
    files.iter_mut().filter(|(name, _)| name == file).for_each(|(_, content)| change(content));
    packed(&files)
}

fn replaced(content: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(content.clone()).unwrap();
    assert!(text.contains(from), "no {from} in {text}");
    *content = text.replacen(from, to, 1).into_bytes();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_does_not_fit_is_refused_with_the_reason() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    for (name, family) in [("small", "sparse_mlp"), ("other", "hybrid")] {
        let request = json!({"dataset": "d", "target": "label", "family": family, "config": {"epochs": 2}});
        server.train(name, request).await;
    }
    let (small, other) = (exported(&server, "small").await, exported(&server, "other").await);
    assert_eq!(import(&server, "good", packed(&small)).await.0, 201);

    let (weights, renamed) = ("weights.safetensors", |name: &str| {
        let mut files = small.clone();
        files.push((name.to_owned(), b"x".to_vec()));
        packed(&files)
    });
    let whole = packed(&small);
    let huge_header = [u64::MAX.to_le_bytes().to_vec(), b"{}".to_vec()].concat();
    for (what, archive) in [
        ("not an archive", b"hello".to_vec()),
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("a name that leads out", renamed("../../etc/kenyon")),
        ("a name from the root", renamed("/etc/kenyon")),
        ("a file that is not one of a bundle", renamed("run.sh")),
        (
            "other weights",
            changed(&small, weights, |w| *w = other.iter().find(|(n, _)| n == weights).unwrap().1.clone()),
        ),
        ("a header of 16 EiB", changed(&small, weights, |w| w.clone_from(&huge_header))),
        ("weights cut short", changed(&small, weights, |w| w.truncate(w.len() - 5))),
        (
            "more classes than outputs",
            changed(&small, "config.json", |c| replaced(c, "\"left\"", "\"left\",\"other\"")),
        ),
        (
            "a field beyond the width",
            changed(&small, "encoder.json", |e| replaced(e, "\"start\":0", "\"start\":4000000000")),
        ),
        ("no configuration", packed(&small[1..].to_vec())),
    ] {
        let (status, body) = import(&server, "bad", archive).await;
        assert_eq!((status, &body["code"]), (422, &json!("bad_bundle")), "{what}: {body}");
        assert!(body["detail"].as_str().unwrap().len() > 20, "{what}: {body}");
    }
    assert_eq!(server.get("/api/v1/models/bad").await.status, 404, "nothing is left of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_with_odd_numbers_is_no_failure_of_the_server() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    let request =
        json!({"dataset": "d", "target": "label", "family": "sparse_mlp", "config": {"epochs": 2, "hidden": [8]}});
    server.train("m", request).await;
    let files = exported(&server, "m").await;
    // Sizes come from the weights; contradicting settings must not matter.
    let no_units = changed(&files, "config.json", |c| replaced(c, "\"hidden\":[8]", "\"hidden\":[0]"));
    assert!(matches!(import(&server, "a", no_units).await.0, 201 | 422));
    // Every weight as large as a number can be.
    let enormous = changed(&files, "weights.safetensors", |w| {
        let head = 8 + u64::from_le_bytes(w[..8].try_into().unwrap()) as usize;
        w[head..].chunks_exact_mut(4).for_each(|n| n.copy_from_slice(&3e38f32.to_le_bytes()));
    });
    if import(&server, "b", enormous).await.0 == 201 {
        let rows = json!({"rows": [{"x": 2.0, "y": 0.0, "colour": "red"}]});
        let answer = server.post("/api/v1/models/b/predict", &rows).await;
        assert!(answer.status == 200 || answer.problem() == (422, "not_finite"), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_no_request_could_have_are_refused() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    server.train("m", json!({"dataset": "d", "target": "label", "family": "hybrid"})).await;
    let files = exported(&server, "m").await;
    let setting = |value: &str| changed(&files, "config.json", |c| replaced(c, "\"memory_per_class\":100", value));
    let (status, body) = import(&server, "a", setting("\"memory_per_class\":100000000000")).await;
    assert_eq!((status, &body["code"]), (422, &json!("bad_bundle")), "{body}");
    assert!(body["detail"].as_str().unwrap().contains("memory_per_class"), "{body}");
    // An unknown one is that of another release.
    assert_eq!(import(&server, "b", setting("\"memory_per_class\":100,\"forgotten_setting\":1")).await.0, 201);
}

/// How probable a version finds it that a row is on the right.
async fn probability(server: &TestServer, model: &str, version: u64) -> f64 {
    let request = json!({"rows": [{"x": 2.0, "y": 0.0, "colour": "red"}], "version": version});
    let answer = server.post(&format!("/api/v1/models/{model}/predict"), request).await.ok();
    answer["predictions"][0]["probabilities"]["right"].as_f64().unwrap()
}

/// A trained model `m` whose stream has learned the opposite of its training, and what it answered before.
async fn contradicted(server: &TestServer) -> f64 {
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    server.train("m", json!({"dataset": "d", "target": "label", "family": "hybrid"})).await;
    let known = probability(server, "m", 1).await;
    let rows: Vec<Value> = (0..400).map(|_| json!({"x": 2.0, "y": 0.0, "colour": "red", "label": "left"})).collect();
    server.post("/api/v1/models/m/observe", json!({"rows": rows})).await.ok();
    assert!(probability(server, "m", 1).await < known - 0.05, "the stream has learned");
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_version_does_not_say_whose_stream_it_continues() {
    let server = TestServer::start().await;
    contradicted(&server).await;
    let forged = changed(&exported(&server, "m").await, "config.json", |c| {
        let mut config: Value = serde_json::from_slice(c).unwrap();
        config["config"]["stream_root"] = json!(1);
        *c = serde_json::to_vec(&config).unwrap();
    });
    let (status, body) = import(&server, "m", forged).await;
    assert_eq!(status, 201, "{body}");
    let stored = exported_version(&server, "m", 2).await;
    let config = &stored.iter().find(|(name, _)| name == "config.json").unwrap().1;
    assert!(!String::from_utf8_lossy(config).contains("stream_root"));
    // As any version that is served, it learns what the model has observed.
    assert_eq!(server.get("/api/v1/models/m/stream").await.ok()["observed"], 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consolidated_version_is_imported_with_a_stream_of_its_own() {
    let server = TestServer::start().await;
    let known = contradicted(&server).await;
    // What was forgotten is always computed again, and that is a version.
    server.post("/api/v1/models/m/forget", json!({"where": {"label": "left"}})).await.ok();
    let job = server.post("/api/v1/models/m/consolidate", json!({})).await;
    let job = server.ended(job.body["id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let files = exported_version(&server, "m", 2).await;
    assert!(files.iter().any(|(name, c)| name == "config.json" && String::from_utf8_lossy(c).contains("stream_root")));
    let (status, body) = import(&server, "t", packed(&files)).await;
    assert_eq!(status, 201, "{body}");
    assert!((probability(&server, "t", 1).await - known).abs() < 1e-3);
    assert_eq!(server.get("/api/v1/models/t/stream").await.ok()["observed"], 0);
}
