//! Pretrained encoders: added, listed, called for vectors, used by models that are trained or observe, removed.

use crate::server::{Answer, TestServer, send};
use base64::Engine;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A tiny random encoder with the vectors that it must give.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/kenyon-learn/tests/encoders").join(name)
}

/// Its folder in a tar archive, under a name of its own.
fn packed(name: &str) -> Vec<u8> {
    let mut built = tar::Builder::new(Vec::new());
    built.append_dir_all("published", fixture(name)).unwrap();
    built.into_inner().unwrap()
}

async fn add(server: &TestServer, name: &str, archive: Vec<u8>) -> Answer {
    server.put(&format!("/api/v1/encoders/{name}"), archive).await
}

fn texts(rows: usize) -> String {
    let row = |i: usize| match i % 2 {
        0 => format!("{{\"text\":\"where is my card {}\",\"topic\":\"card\"}}\n", i % 7),
        _ => format!("{{\"text\":\"transfer the money to the bank {}\",\"topic\":\"money\"}}\n", i % 5),
    };
    (0..rows).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_is_added_once_and_gives_its_vectors() {
    let server = TestServer::start().await;
    let added = add(&server, "tiny", packed("bert")).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert_eq!((&added.body["architecture"], &added.body["width"]), (&json!("bert"), &json!(16)));
    assert_eq!(add(&server, "tiny", packed("bert")).await.status, 200);
    assert_eq!(add(&server, "tiny", packed("static")).await.problem(), (409, "encoder_exists"));
    let listed = server.get("/api/v1/encoders").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/api/v1/encoders/tiny").await.ok(), listed["items"][0]);

    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("bert").join("expected.json")).unwrap()).unwrap();
    let found = server.post("/api/v1/encoders/tiny/embed", json!({"inputs": expected["texts"]})).await.ok();
    for (expected, found) in expected["vectors"].as_array().unwrap().iter().zip(found["embeddings"].as_array().unwrap())
    {
        for (expected, found) in expected.as_array().unwrap().iter().zip(found.as_array().unwrap()) {
            assert!((expected.as_f64().unwrap() - found.as_f64().unwrap()).abs() < 1e-4);
        }
    }
    assert_eq!(server.post("/api/v1/encoders/tiny/embed", json!({"inputs": []})).await.problem().1, "bad_inputs");
    assert_eq!(server.delete("/api/v1/encoders/tiny").await.status, 204);
    assert_eq!(server.get("/api/v1/encoders/tiny").await.problem(), (404, "encoder_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_encoder_is_refused() {
    let server = TestServer::start().await;
    let mut empty = tar::Builder::new(Vec::new());
    empty.append_dir_all(".", tempfile::tempdir().unwrap().path()).unwrap();
    let cut = packed("bert");
    for archive in [b"no archive".to_vec(), empty.into_inner().unwrap(), cut[..cut.len() / 2].to_vec()] {
        assert_eq!(add(&server, "tiny", archive).await.problem(), (422, "bad_encoder"));
    }
    assert_eq!(server.get("/api/v1/encoders").await.ok()["items"], json!([]));
    server.put("/api/v1/datasets/d", texts(40)).await.ok();
    let request = |kind: &str| json!({"dataset": "d", "target": "topic", "features": {"text": {"kind": kind, "encoder": "tiny"}}});
    let refused = server.post("/api/v1/models/m/train", request("text")).await;
    assert_eq!(refused.problem(), (404, "encoder_not_found"));
    let refused = server.post("/api/v1/models/m/train", request("category")).await;
    assert_eq!(refused.problem(), (422, "bad_feature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn models_read_a_text_with_an_encoder() {
    let server = TestServer::start().await;
    assert_eq!(add(&server, "tiny", packed("mpnet")).await.status, 201);
    server.put("/api/v1/datasets/d", texts(200)).await.ok();
    let features = json!({"text": {"kind": "text", "encoder": "tiny"}});
    let job = server.train("m", json!({"dataset": "d", "target": "topic", "features": features})).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let model = server.get("/api/v1/models/m").await.ok();
    assert!(model.to_string().contains(server.get("/api/v1/encoders/tiny").await.ok()["digest"].as_str().unwrap()));
    let rows = json!({"rows": [{"text": "where is my card"}, {"text": "transfer the money to the bank"}]});
    let answer = server.post("/api/v1/models/m/predict", &rows).await.ok();
    assert_eq!(answer["predictions"][0]["label"], "card");
    assert_eq!(answer["predictions"][1]["label"], "money");
    assert_eq!(server.delete("/api/v1/encoders/tiny").await.problem(), (409, "encoder_in_use"));

    let codes = server.post("/api/v1/models/m/embed", &rows).await.ok();
    assert_eq!(codes["embeddings"][1].as_array().unwrap().len() as u64, codes["width"].as_u64().unwrap());
    let mut sparse_request = rows.clone();
    (sparse_request["sparse"], sparse_request["layer"]) = (json!(true), codes["layer"].clone());
    let sparse = server.post("/api/v1/models/m/embed", &sparse_request).await.ok();
    for (at, value) in sparse["embeddings"][0]["indices"]
        .as_array()
        .unwrap()
        .iter()
        .zip(sparse["embeddings"][0]["values"].as_array().unwrap())
    {
        assert_eq!(&codes["embeddings"][0][at.as_u64().unwrap() as usize], value);
    }
    sparse_request["layer"] = json!("none");
    assert_eq!(server.post("/api/v1/models/m/embed", &sparse_request).await.problem(), (422, "unknown_layer"));

    // One that only observes.
    let request = json!({"target": "topic", "features": features});
    assert_eq!(send(server.request(Method::PUT, "/api/v1/models/s").json(&request)).await.status, 201);
    let lines: Vec<Value> = texts(60).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    server.post("/api/v1/models/s/observe", json!({"rows": lines})).await.ok();
    let answer = server.post("/api/v1/models/s/predict", &rows).await.ok();
    assert_eq!(answer["predictions"][0]["label"], "card");
}

/// An encoder that no other test has: the openers of this process are found by digest alone.
fn packed_with_own_digest(name: &str) -> Vec<u8> {
    let config = std::fs::read(fixture(name).join("config.json")).unwrap();
    let changed = [&config[..], b"\n \n"].concat();
    let mut built = tar::Builder::new(Vec::new());
    built.append_dir_all("published", fixture(name)).unwrap();
    // Of two files of one name the later one is kept.
    let mut header = tar::Header::new_ustar();
    header.set_size(changed.len() as u64);
    header.set_mode(0o644);
    built.append_data(&mut header, "published/config.json", &changed[..]).unwrap();
    built.into_inner().unwrap()
}

async fn exported(server: &TestServer, query: &str) -> Vec<u8> {
    let path = format!("/api/v1/models/m/versions/1/export{query}");
    let answer = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_bundle_carries_its_encoder_unless_it_should_not() {
    let server = TestServer::start().await;
    assert_eq!(add(&server, "tiny", packed_with_own_digest("bert")).await.status, 201);
    server.put("/api/v1/datasets/d", texts(200)).await.ok();
    let features = json!({"text": {"kind": "text", "encoder": "tiny"}});
    server.train("m", json!({"dataset": "d", "target": "topic", "features": features})).await;
    let digest = server.get("/api/v1/encoders/tiny").await.ok()["digest"].as_str().unwrap().to_owned();
    let (whole, alone) = (exported(&server, "").await, exported(&server, "?encoder=false").await);
    let of_encoder = format!("encoders/{digest}/");
    assert!(names(&whole).contains(&format!("{of_encoder}config.json")), "{:?}", names(&whole));
    let without: Vec<String> = names(&whole).into_iter().filter(|name| !name.starts_with(&of_encoder)).collect();
    assert_eq!(names(&alone), without);

    // Another server has another encoder of that name.
    let other = TestServer::start().await;
    assert_eq!(add(&other, "tiny", packed("static")).await.status, 201);
    let import = |archive: Vec<u8>| send(other.request(Method::POST, "/api/v1/models/m/import").body(archive));
    let mut damaged = whole.clone();
    // A byte of the encoder's file of settings, which still can be read.
    let setting = damaged.windows(18).position(|part| part == b"\"initializer_range").unwrap();
    damaged[setting + 1] = b'I';
    let refused = import(damaged).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert_eq!(other.get("/api/v1/encoders").await.ok()["items"].as_array().unwrap().len(), 1);

    assert_eq!(import(whole.clone()).await.status, 201);
    let listed = other.get("/api/v1/encoders").await.ok();
    let added = listed["items"].as_array().unwrap().iter().find(|item| item["digest"] == digest.as_str()).unwrap();
    let name = added["name"].as_str().unwrap();
    assert_eq!(name, format!("tiny-{}", &digest[..12]));
    assert_eq!(other.delete(&format!("/api/v1/encoders/{name}")).await.problem(), (409, "encoder_in_use"));
    let rows = json!({"rows": [{"text": "where is my card"}, {"text": "transfer the money to the bank"}]});
    let (here, there) = (
        server.post("/api/v1/models/m/predict", &rows).await.ok(),
        other.post("/api/v1/models/m/predict", &rows).await.ok(),
    );
    for row in 0..2 {
        assert_eq!(here["predictions"][row]["probabilities"], there["predictions"][row]["probabilities"]);
    }
    // Again: it is there.
    assert_eq!(import(whole).await.status, 201);
    assert_eq!(other.get("/api/v1/encoders").await.ok()["items"].as_array().unwrap().len(), 2);
}

/// Texts of two topics, each different.
fn many_texts(rows: usize) -> String {
    let row = |i: usize| match i % 2 {
        0 => format!("{{\"text\":\"where is my card {i}\",\"number\":{i},\"topic\":\"card\"}}\n"),
        _ => format!("{{\"text\":\"transfer the money to the bank {i}\",\"number\":{i},\"topic\":\"money\"}}\n"),
    };
    (0..rows).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transformer_becomes_a_static_encoder() {
    let server = TestServer::start().await;
    assert_eq!(add(&server, "tiny", packed("bert")).await.status, 201);
    server.put("/api/v1/datasets/d", many_texts(200)).await.ok();
    let path = "/api/v1/encoders/tiny/distill";
    let queued = server.post(path, json!({"dataset": "d", "column": "text", "into": "fast"})).await;
    assert_eq!((queued.status, &queued.body["kind"], &queued.body["model"]), (202, &json!("distill"), &Value::Null));
    let id = queued.body["id"].as_str().unwrap().to_owned();
    assert_eq!(queued.header("location"), Some(&*format!("/api/v1/jobs/{id}")));
    let job = server.ended(&id).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    assert!(job["metrics"]["cosine"].as_f64().unwrap() > 0.8, "{job}");
    assert_eq!(job["metrics"]["texts"], 200);
    assert_eq!(server.get("/api/v1/jobs?kind=distill").await.ok()["items"][0]["id"], *id);

    // It is an encoder like one that was added.
    let fast = server.get("/api/v1/encoders/fast").await.ok();
    assert_eq!((&fast["architecture"], &fast["width"]), (&json!("static"), &json!(16)));
    let vectors = server.post("/api/v1/encoders/fast/embed", json!({"inputs": ["where is my card"]})).await.ok();
    assert_eq!(vectors["embeddings"][0].as_array().unwrap().len(), 16);
    let features = json!({"text": {"kind": "text", "encoder": "fast"}, "number": "ignore"});
    let job = server.train("m", json!({"dataset": "d", "target": "topic", "features": features})).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let answer = server.post("/api/v1/models/m/predict", json!({"rows": [{"text": "my card"}]})).await.ok();
    assert_eq!(answer["predictions"][0]["label"], "card");
    assert_eq!(server.delete("/api/v1/encoders/fast").await.problem(), (409, "encoder_in_use"));
    assert_eq!(server.delete("/api/v1/encoders/tiny").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_distilled_is_refused() {
    let server = TestServer::start().await;
    assert_eq!(add(&server, "tiny", packed("bert")).await.status, 201);
    assert_eq!(add(&server, "static", packed("static")).await.status, 201);
    server.put("/api/v1/datasets/d", many_texts(200)).await.ok();
    server.put("/api/v1/datasets/few", many_texts(10)).await.ok();
    let request = |dataset: &str, column: &str, into: &str| json!({"dataset": dataset, "column": column, "into": into});
    for (encoder, request, problem) in [
        ("none", request("d", "text", "fast"), (404, "encoder_not_found")),
        ("tiny", request("none", "text", "fast"), (404, "dataset_not_found")),
        ("tiny", request("d", "none", "fast"), (422, "unknown_column")),
        ("tiny", request("d", "number", "fast"), (422, "bad_feature")),
        ("tiny", request("d", "text", "static"), (409, "encoder_exists")),
        ("static", request("d", "text", "fast"), (422, "bad_encoder")),
        ("tiny", request("d", "text", "No Name"), (400, "invalid_request")),
        ("tiny", json!({"dataset": "d", "column": "text"}), (400, "missing_field")),
        ("tiny", json!({"dataset": "d", "column": "text", "into": "fast", "width": 8}), (400, "unknown_field")),
    ] {
        let refused = server.post(&format!("/api/v1/encoders/{encoder}/distill"), &request).await;
        assert_eq!(refused.problem(), problem, "{request}");
    }
    let queued = server.post("/api/v1/encoders/tiny/distill", request("few", "text", "fast")).await;
    let job = server.ended(queued.body["id"].as_str().unwrap()).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("too_few_rows")));
    assert_eq!(server.get("/api/v1/encoders/fast").await.status, 404);
}

/// A picture in base64: bright above or below, with a pattern of its own.
fn picture(number: u32) -> String {
    let drawn = image::RgbImage::from_fn(20, 24, |x, y| {
        let bright = (y < 12) == number.is_multiple_of(2);
        let noise = (x * 7 + y * 13 + number * 29) % 50;
        image::Rgb([if bright { 180 + noise } else { noise } as u8, (noise * 2) as u8, 90])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    drawn.write_to(&mut file, image::ImageFormat::Png).unwrap();
    base64::engine::general_purpose::STANDARD.encode(file.into_inner())
}

fn pictures(rows: u32) -> String {
    let row =
        |i: u32| format!("{{\"photo\":\"{}\",\"bright\":\"{}\"}}\n", picture(i), ["above", "below"][i as usize % 2]);
    (0..rows).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn models_read_a_picture_with_an_encoder() {
    let server = TestServer::start().await;
    let added = add(&server, "eye", packed("resnet-bottleneck")).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert_eq!((&added.body["reads"], &added.body["image_size"]), (&json!("image"), &json!([40, 40])));
    assert_eq!(add(&server, "tiny", packed("bert")).await.status, 201);
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("resnet-bottleneck").join("expected.json")).unwrap()).unwrap();
    let found = server.post("/api/v1/encoders/eye/embed", json!({"inputs": expected["pictures"]})).await.ok();
    let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-4;
    assert!(near(&expected["vectors"][1][3], &found["embeddings"][1][3]));
    let damaged = server.post("/api/v1/encoders/eye/embed", json!({"inputs": ["iVBORw0KGgo="]})).await;
    assert_eq!(damaged.problem(), (422, "bad_inputs"));

    server.put("/api/v1/datasets/d", pictures(120)).await.ok();
    let request = |encoder: &str| {
        let features = json!({"photo": {"kind": "image", "encoder": encoder}});
        json!({"dataset": "d", "target": "bright", "features": features})
    };
    // An encoder of texts does not read pictures, nor the other way round.
    assert_eq!(server.post("/api/v1/models/m/train", request("tiny")).await.problem(), (422, "bad_feature"));
    server.put("/api/v1/datasets/t", texts(40)).await.ok();
    let of_texts = json!({"dataset": "t", "target": "topic", "features": {"text": {"kind": "text", "encoder": "eye"}}});
    assert_eq!(server.post("/api/v1/models/m/train", of_texts).await.problem(), (422, "bad_feature"));
    let distilled =
        server.post("/api/v1/encoders/eye/distill", json!({"dataset": "d", "column": "photo", "into": "x"})).await;
    assert_eq!(distilled.problem(), (422, "bad_encoder"));

    let job = server.train("m", request("eye")).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let rows = json!({"rows": [{"photo": picture(200)}, {"photo": picture(201)}], "explain": true});
    let answer = server.post("/api/v1/models/m/predict", &rows).await.ok();
    assert_eq!(answer["predictions"][0]["label"], "above");
    assert_eq!(answer["predictions"][1]["label"], "below");
    let feature = &answer["predictions"][0]["explanation"]["features"][0];
    assert_eq!((&feature["value"], feature["map"].as_array().unwrap().len()), (&Value::Null, 4), "{feature}");
    let damaged = server.post("/api/v1/models/m/predict", json!({"rows": [{"photo": "iVBORw0KGgo="}]})).await;
    assert_eq!(damaged.problem().0, 422);
    let codes = server.post("/api/v1/models/m/embed", json!({"rows": [{"photo": picture(7)}]})).await.ok();
    assert_eq!(codes["embeddings"][0].as_array().unwrap().len() as u64, codes["width"].as_u64().unwrap());
    assert_eq!(server.delete("/api/v1/encoders/eye").await.problem(), (409, "encoder_in_use"));

    // One that only observes.
    let features = json!({"photo": {"kind": "image", "encoder": "eye"}});
    let request = json!({"target": "bright", "features": features});
    let made = send(server.request(Method::PUT, "/api/v1/models/s").json(&request)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let lines: Vec<Value> = pictures(40).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    server.post("/api/v1/models/s/observe", json!({"rows": lines})).await.ok();
    let rows = json!({"rows": [{"photo": picture(300)}, {"photo": picture(301)}]});
    let answer = server.post("/api/v1/models/s/predict", &rows).await.ok();
    assert_eq!(answer["predictions"][0]["label"], "above");
    assert_eq!(answer["predictions"][1]["label"], "below");
}

/// Texts of words in the vocabulary of the tiny encoders among words of random letters.
fn disturbed(rows: usize) -> Vec<String> {
    let known = ["card", "bank", "lost", "account", "money", "transfer", "pay", "open", "close", "new", "old"];
    let mut state = 7u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut word = move |at: usize| match at % 3 {
        0 => known[below(known.len())].to_owned(),
        _ => (0..7).map(|_| char::from(b'a' + below(26) as u8)).collect(),
    };
    (0..rows).map(|_| (0..9).map(&mut word).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn encoders_are_tried_on_left_out_rows_and_a_dry_run_says_what_was_found() {
    let server = TestServer::start().await;
    assert_eq!(add(&server, "tiny", packed("static")).await.status, 201);
    let texts = disturbed(240);
    let found = server.post("/api/v1/encoders/tiny/embed", json!({"inputs": texts})).await.ok();
    let first: Vec<f64> =
        found["embeddings"].as_array().unwrap().iter().map(|vector| vector[0].as_f64().unwrap()).collect();
    let mut sorted = first.clone();
    sorted.sort_by(f64::total_cmp);
    let row = |(text, value): (&String, &f64)| {
        let side = if *value > sorted[120] { "high" } else { "low" };
        format!(
            "{}\n",
            json!({"text": text, "side": side, "topic": if text.contains("card") { "card" } else { "other" }})
        )
    };
    let rows: String = texts.iter().zip(&first).map(row).collect();
    server.put("/api/v1/datasets/d", rows).await.ok();

    let ignored = |other: &str| json!({other: "ignore"});
    let request = |target: &str, features: Value| json!({"dataset": "d", "target": target, "features": features});
    let dry = server.post("/api/v1/models/m/train", {
        let mut dry = request("side", ignored("topic"));
        dry["dry_run"] = json!(true);
        dry
    });
    let planned = dry.await.ok();
    let column = planned["columns"].as_array().unwrap().iter().find(|column| column["name"] == "text").unwrap().clone();
    assert!(column["reason"].as_str().unwrap().contains("left-out rows with the vectors of tiny"), "{column}");

    let job = server.train("helped", request("side", ignored("topic"))).await;
    assert_eq!(job["status"], "succeeded", "{job}");
}
