//! Untrusted bundles: refused with a reason, or harmless.

use crate::server::{TestServer, clouds, send};
use reqwest::Method;
use serde_json::{Value, json};

type Files = Vec<(String, Vec<u8>)>;

async fn exported(server: &TestServer, model: &str) -> Files {
    let path = format!("/api/v1/models/{model}/versions/1/export?format=bundle");
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
