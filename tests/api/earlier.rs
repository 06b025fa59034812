//! Models that 0.1 trained answer as they did in 0.1. The bundles and the answers beside them were written by the 0.1
//! binary: `kenyon train … --json` with a few passes, `kenyon predict MODEL.kenyon ROWS --coverage 0.8 --json`.

use crate::server::{TestServer, send};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

/// Every number of `expected` within the last bits of a 32-bit number.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 2e-6 * b.abs().max(1.0)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_0_1_answer_as_before() {
    let server = TestServer::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/earlier");
    let mut families = Vec::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".kenyon.gz") else { continue };
        let (mut bundle, packed) = (Vec::new(), std::fs::read(&path).unwrap());
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bundle).unwrap();
        let made = send(server.request(Method::POST, &format!("/api/v1/models/{name}/import")).body(bundle)).await;
        assert_eq!(made.status, 201, "{name}: {}", made.body);
        let known = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let known: Value = serde_json::from_slice(&known).unwrap();
        let request = json!({ "rows": known["rows"], "coverage": 0.8, "allow_empty": true });
        let answer = server.post(&format!("/api/v1/models/{name}/predict"), request).await.ok();
        let (found, expected) = (answer["predictions"].as_array().unwrap(), known["answers"].as_array().unwrap());
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(expected) {
            for (field, expected) in expected.as_object().unwrap() {
                assert!(same(&found[field], expected), "{name} {field}: {} instead of {expected}", found[field]);
            }
        }
        families.push(server.get(&format!("/api/v1/models/{name}")).await.ok()["family"].as_str().unwrap().to_owned());
    }
    families.sort();
    families.dedup();
    assert_eq!(families, ["attention", "hybrid", "memory", "sparse_mlp"]);
}
