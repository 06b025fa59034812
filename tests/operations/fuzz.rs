//! Mutated untrusted input: nothing may end the server, block it or make it answer 500.
//! The same two hundred requests by default; `KENYON_FUZZ_SECONDS` and `KENYON_FUZZ_SEED` set more.

use crate::client::{Client, clouds};
use crate::support::process::{Process, kenyon};
use crate::support::random::Random;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A request whose body is to be mutated.
struct Seed {
    method: &'static str,
    path: &'static str,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

fn seed(method: &'static str, path: &'static str, body: impl Into<Vec<u8>>) -> Seed {
    Seed { method, path, body: body.into(), headers: Vec::new() }
}

/// Values that are often handled wrongly.
fn odd(random: &mut Random) -> Value {
    match random.below(16) {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1e300),
        5 => json!(1_000_000_007),
        6 => json!(""),
        7 => json!("a\u{0}\u{202e}\n\"'"),
        8 => json!("x".repeat(5000)),
        9 => json!([]),
        10 => json!({}),
        11 => json!(true),
        12 => json!([[[[[[]]]]]]),
        13 => json!([1, "a", null, {}]),
        14 => json!(i64::MIN),
        _ => json!(0.1),
    }
}

/// Changes one place of a JSON value.
fn mutate(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(map) if !map.is_empty() && random.below(6) > 0 => {
            let key = map.keys().nth(random.below(map.len())).unwrap().clone();
            match random.below(8) {
                0 => drop(map.remove(&key)),
                1 => {
                    let taken = map[&key].clone();
                    map.insert(format!("{key}x"), taken);
                }
                _ => mutate(&mut map[&key], random),
            }
        }
        Value::Array(items) if !items.is_empty() && random.below(6) > 0 => {
            let at = random.below(items.len());
            match random.below(8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => mutate(&mut items[at], random),
            }
        }
        other => *other = odd(random),
    }
}

/// Changes bytes: flips, cuts, repeats, inserts.
pub(crate) fn spoil(body: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if body.is_empty() {
            return;
        }
        let at = random.below(body.len());
        match random.below(6) {
            0 => body[at] ^= 1 << random.below(8),
            1 => body.truncate(at),
            2 => {
                let end = (at + random.below(64)).min(body.len());
                let piece = body[at..end].to_vec();
                body.splice(at..at, piece);
            }
            3 => body[at] = [0, 0xff, b',', b'"', b'\n', b'{'][random.below(6)],
            4 => drop(body.splice(at..(at + random.below(16)).min(body.len()), [])),
            _ => body.insert(at, random.next() as u8),
        }
    }
}

fn mutated(body: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0
        && let Ok(mut value) = serde_json::from_slice::<Value>(body)
    {
        for _ in 0..=random.below(3) {
            mutate(&mut value, random);
        }
        return value.to_string().into_bytes();
    }
    let mut body = body.to_vec();
    spoil(&mut body, random);
    body
}

/// A bundle of which one file is mutated, or the archive itself.
fn bundle(archive: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(6) == 0 {
        return mutated(archive, random);
    }
    let victim = random.below(3);
    let mut built = tar::Builder::new(Vec::new());
    for (i, entry) in tar::Archive::new(archive).entries().unwrap().enumerate() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().into_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        if i == victim {
            content = mutated(&content, random);
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        built.append_data(&mut header, name, &content[..]).unwrap();
    }
    built.into_inner().unwrap()
}

fn seeds() -> Vec<Seed> {
    let rows = json!({ "rows": [{ "x": 2.0, "y": 0.0, "colour": "red" }, { "x": -2.0, "y": 0.5, "colour": "blue" }],
        "top_k": 2, "coverage": 0.9, "explain": true });
    let training = json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "seed": 3, "priority": 1,
        "validation": 0.2, "features": { "x": "number", "colour": { "kind": "category" } },
        "search": { "trials": 2, "space": { "hidden": [[8], [16]] } }, "config": { "epochs": 2, "hidden": [8] } });
    let tensor = json!({ "id": "1", "inputs": [
        { "name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0] },
        { "name": "y", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0] },
        { "name": "colour", "shape": [2], "datatype": "BYTES", "data": ["red", "blue"] }] });
    let head = json!({ "inputs": [
        { "name": "x", "shape": [2], "datatype": "FP32", "parameters": { "binary_data_size": 8 } },
        { "name": "y", "shape": [2], "datatype": "FP32", "parameters": { "binary_data_size": 8 } },
        { "name": "colour", "shape": [2], "datatype": "BYTES", "parameters": { "binary_data_size": 15 } }] });
    let head = head.to_string();
    let mut binary = head.clone().into_bytes();
    binary.extend([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 3, 0, 0, 0]);
    binary.extend(b"red\x04\0\0\0blue");
    let mut binary = seed("POST", "/v2/models/m/infer", binary);
    binary.headers = vec![("inference-header-content-length", head.len().to_string())];
    let ndjson = "{\"x\":1,\"label\":\"left\"}\n{\"x\":2.5,\"y\":[1,2],\"label\":\"right\"}\n";
    let story = "1 Mary went to the kitchen.\n2 Where is Mary?\tkitchen\t1\n";
    let gzip = include_bytes!("../../crates/kenyon-learn/src/data/bundled/digits_8x8.csv.gz");
    let observed = json!({ "rows": [{ "x": 1.0, "y": 0.1, "colour": "red", "label": "right" }] });
    let made = json!({ "family": "hybrid", "target": "label", "task": "classification",
        "features": { "x": "number", "t": "text", "v": "vector" }, "classes": ["a", "b"] });
    vec![
        seed("PUT", "/api/v1/datasets/f", clouds(12)),
        seed("PUT", "/api/v1/datasets/f", "a\tb\n1\t2\n3\t4\n"),
        seed("PUT", "/api/v1/datasets/f", ndjson),
        seed("PUT", "/api/v1/datasets/f", json!([{ "a": [1, 2], "b": "x" }, { "a": [3], "b": null }]).to_string()),
        seed("PUT", "/api/v1/datasets/f", story),
        seed("PUT", "/api/v1/datasets/f", &gzip[..4000]),
        seed("POST", "/api/v1/datasets/f/rows", clouds(3)),
        seed("POST", "/api/v1/models/m/predict", rows.to_string()),
        seed("POST", "/api/v1/models/f/train", training.to_string()),
        seed("PUT", "/api/v1/models/o", made.to_string()),
        seed("POST", "/api/v1/models/s/observe", observed.to_string()),
        seed("POST", "/api/v1/models/s/forget", json!({ "where": { "x": 1.0 } }).to_string()),
        seed("POST", "/api/v1/models/s/feedback", json!({ "prediction_id": "x", "target": "left" }).to_string()),
        seed("POST", "/api/v1/models/m/evaluate", json!({ "dataset": "d" }).to_string()),
        seed(
            "PUT",
            "/api/v1/models/m/traffic",
            json!({ "stable": 1, "canary": { "version": 1, "weight": 0.5 } }).to_string(),
        ),
        seed("POST", "/api/v1/keys", json!({ "name": "k", "scopes": ["read"], "models": ["*"] }).to_string()),
        seed("POST", "/v2/models/m/infer", tensor.to_string()),
        binary,
    ]
}

/// The duration, and the random numbers.
pub(crate) fn duration_and_random() -> (u64, Random) {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    (number("KENYON_FUZZ_SECONDS", 0), Random(number("KENYON_FUZZ_SEED", 1)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_sent_breaks_it() {
    let (seconds, mut random) = duration_and_random();
    let folder = tempfile::tempdir().unwrap();
    let mut command = kenyon("serve");
    command.arg("--data-dir").arg(folder.path()).args([
        "--workers",
        "1",
        "--job-threads",
        "1",
        "--log",
        "warn,kenyon::app=info",
    ]);
    let mut server = Process::start(command.args(["--max-queued-jobs", "50", "--request-timeout", "20"])).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(200).as_bytes()).await;
    let request =
        json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": 2, "hidden": [8] } });
    assert_eq!(client.train("m", &request).await["status"], "succeeded");
    let stream = json!({ "family": "hybrid", "target": "label", "features": { "x": "number", "y": "number", "colour": "category" } });
    client.put("/api/v1/models/s", stream.to_string().as_bytes()).await;
    let archive = client.bytes("GET", "/api/v1/models/m/versions/1/export?format=bundle").await;
    let (seeds, begun) = (seeds(), Instant::now());
    let (mut statuses, mut found) = (BTreeMap::<u16, u64>::new(), Vec::new());
    // Without a time the number of requests is fixed, so that a machine's speed decides nothing.
    let mut sent = 0;
    while if seconds > 0 { begun.elapsed() < Duration::from_secs(seconds) } else { sent < 200 } {
        sent += 1;
        let index = random.below(seeds.len() + 6);
        let (method, path, body, headers) = match seeds.get(index) {
            Some(seed) => (seed.method, seed.path, mutated(&seed.body, &mut random), seed.headers.clone()),
            None => ("POST", "/api/v1/models/b/import", bundle(&archive, &mut random), Vec::new()),
        };
        // A kept connection may be closed for its silence just as it is used again: one more try decides.
        let answer = match client.with_headers(method, path, body.clone(), &headers).await {
            None => client.with_headers(method, path, body.clone(), &headers).await,
            answered => answered,
        };
        let Some((status, said)) = answer else {
            assert!(
                server.alive(),
                "the server ended at {method} {path}: {}\n{}",
                String::from_utf8_lossy(&body),
                server.log()
            );
            found.push(format!("{method} {path} got no answer: {}", String::from_utf8_lossy(&body)));
            continue;
        };
        *statuses.entry(status).or_default() += 1;
        if status == 500 || status == 504 {
            found.push(format!("{status} {method} {path}: {} {}", shortened(&body), String::from_utf8_lossy(&said)));
        }
        if path.ends_with("/import") && status == 201 {
            // An imported model must predict, or return an error with a reason.
            let rows = br#"{"rows":[{"x":2.0,"y":0.0,"colour":"red"}],"explain":true,"coverage":0.9}"#.to_vec();
            if let Some((500, said)) = client.with_headers("POST", "/api/v1/models/b/predict", rows, &[]).await {
                found.push(format!(
                    "500 by an imported bundle {}: {}",
                    shortened(&body),
                    String::from_utf8_lossy(&said)
                ));
            }
            client.once("DELETE", "/api/v1/models/b", None).await;
        }
        if found.len() > 20 {
            break;
        }
    }
    println!("fuzzing {seconds} s: {} requests, by status {statuses:?}", statuses.values().sum::<u64>());
    let panics: Vec<_> = server.log().lines().filter(|l| l.contains("panick")).map(str::to_owned).collect();
    assert!(found.is_empty(), "{}\n{}", found.join("\n"), panics.join("\n"));
    assert!(matches!(client.once("GET", "/readyz", None).await, Some((200, _))));
}

fn shortened(body: &[u8]) -> String {
    // Of a bundle the text is what can be read.
    String::from_utf8_lossy(body).chars().filter(|c| *c != '\0').take(3000).collect()
}

/// Settings files are read by the operator's own program, but a mistake there should not cause a panic.
#[test]
fn nothing_in_a_settings_file_panics() {
    let text = "listen = \"127.0.0.1:9000\"\nworkers = 2\nmaster_key = \"0123456789abcdef\"\ncheckpoint_seconds = 1.5\nlog_format = \"json\"\n";
    let (file, mut random) = (tempfile::NamedTempFile::new().unwrap(), Random(5));
    for _ in 0..2000 {
        let mut body = text.as_bytes().to_vec();
        spoil(&mut body, &mut random);
        std::fs::write(file.path(), &body).unwrap();
        let flags = kenyon::config::Flags { config: Some(file.path().to_owned()), ..Default::default() };
        let _ = kenyon::config::Config::load(flags);
    }
}
