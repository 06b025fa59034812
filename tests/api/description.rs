//! The OpenAPI document and the router are one.

use crate::server::{TestServer, send};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// Every call that the interface promises.
const PROMISED: &str = "
    GET /  GET /docs  GET /openapi.json  GET /livez  GET /readyz  GET /healthz  GET /metrics  GET /api/v1/system
    GET /api/v1/datasets  GET /api/v1/datasets/{name}  PUT /api/v1/datasets/{name}  DELETE /api/v1/datasets/{name}
    POST /api/v1/datasets/{name}/rows  GET /api/v1/datasets/{name}/rows
    GET /api/v1/encoders  GET /api/v1/encoders/{name}  PUT /api/v1/encoders/{name}  DELETE /api/v1/encoders/{name}
    POST /api/v1/encoders/{name}/embed  POST /api/v1/encoders/{name}/distill
    POST /api/v1/models/{name}/embed
    POST /api/v1/models/{name}/neighbors
    GET /api/v1/comparisons  POST /api/v1/comparisons  GET /api/v1/comparisons/{id}  DELETE /api/v1/comparisons/{id}
    GET /api/v1/models  GET /api/v1/models/{name}  DELETE /api/v1/models/{name}  PUT /api/v1/models/{name}
    POST /api/v1/models/{name}/train  POST /api/v1/models/{name}/predict  POST /api/v1/models/{name}/observe
    POST /api/v1/models/{name}/predict/batch  GET /api/v1/models/{name}/compare  GET /api/v1/jobs/{id}/output
    POST /api/v1/models/{name}/feedback  POST /api/v1/models/{name}/evaluate  GET /api/v1/models/{name}/memory
    DELETE /api/v1/models/{name}/memory/{id}  POST /api/v1/models/{name}/forget  GET /api/v1/models/{name}/activity
    GET /api/v1/models/{name}/stream  POST /api/v1/models/{name}/consolidate  GET /api/v1/models/{name}/versions
    POST /api/v1/models/{name}/versions/{version}/promote  POST /api/v1/models/{name}/rollback
    PUT /api/v1/models/{name}/traffic  GET /api/v1/models/{name}/versions/{version}/export
    POST /api/v1/models/{name}/import  GET /api/v1/families
    GET /api/v1/jobs  GET /api/v1/jobs/{id}  POST /api/v1/jobs/{id}/cancel  POST /api/v1/jobs/{id}/retry
    GET /api/v1/jobs/{id}/events  GET /api/v1/jobs/{id}/metrics
    GET /api/v1/keys  POST /api/v1/keys  DELETE /api/v1/keys/{id}  POST /api/v1/snapshots
    GET /api/v1/audit  POST /mcp
    GET /v2  GET /v2/health/live  GET /v2/health/ready  GET /v2/models/{model}  GET /v2/models/{model}/versions/{version}
    GET /v2/models/{model}/ready  GET /v2/models/{model}/versions/{version}/ready  POST /v2/models/{model}/infer
    POST /v2/models/{model}/versions/{version}/infer  POST /v2/repository/index";

fn described(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promised_call_is_described_and_every_described_call_is_there() {
    let server = TestServer::start().await;
    let answer = server.get("/openapi.json").await;
    let document = answer.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let described = described(&document);
    let words: Vec<&str> = PROMISED.split_whitespace().collect();
    for call in words.chunks(2).map(|c| c.join(" ")) {
        assert!(described.contains(&call), "{call} is not described");
    }
    for call in &described {
        let (method, path) = call.split_once(' ').unwrap();
        let path = path.replace("{name}", "none").replace("{model}", "none").replace("{version}", "1");
        let path = path.replace("{id}", "018f0000-0000-7000-8000-000000000000").replace("{file}", "none");
        let answer = send(server.request(Method::from_bytes(method.as_bytes()).unwrap(), &path)).await;
        assert_ne!(answer.status, 405, "{call}");
        assert_ne!(answer.body["code"], "route_not_found", "{call}",);
    }
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_hold_no_nulls() {
    let server = TestServer::start().await;
    let document = server.get("/openapi.json").await.ok();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let nulls: Vec<_> = operation.as_object().unwrap().iter().filter(|(_, value)| value.is_null()).collect();
            assert!(nulls.is_empty(), "{method} {path}: {nulls:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_closed_in_themselves() {
    let document = kenyon::app::openapi();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let name = reference.split('"').next().unwrap();
        let pointer = name.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{name} is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_figures_are_there() {
    let server = TestServer::start().await;
    let page = server.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    let docs = server.get("/docs/").await;
    assert!([200, 404].contains(&docs.status));
    let docs = server.get("/docs").await;
    assert_eq!(docs.status, 200, "the client followed to the page");
    let metrics = server.get("/metrics").await;
    let text = metrics.body.as_str().unwrap().to_owned();
    for name in ["kenyon_http_requests_total", "kenyon_http_request_duration_seconds_bucket", "kenyon_build_info"] {
        assert!(text.contains(name), "{name}");
    }
    let system = server.get("/api/v1/system").await.ok();
    assert!(system["version"].is_string() && system["cores"].is_number() && system["queue_depth"] == 0, "{system}");
    assert_eq!(server.get("/api/v1/families").await.ok()["items"].as_array().unwrap().len(), 4);
    let gzipped = send(server.request(Method::GET, "/openapi.json").header("accept-encoding", "gzip")).await;
    assert_eq!(gzipped.header("content-encoding"), Some("gzip"));
}

#[test]
fn the_document_is_the_one_that_was_read_by_a_person() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/openapi.json");
    let document = serde_json::to_string_pretty(&kenyon::app::openapi()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let changed = kept.lines().zip(document.lines()).enumerate().find(|(_, (kept, now))| kept != now);
    assert!(kept == document, "the document has changed, first here: {changed:?}; UPDATE_SNAPSHOTS=1 renews the file");
}

/// Every schema of the document and every body with its schema, with a name to find it by.
fn schemas(value: &Value, at: &str, found: &mut Vec<(String, Value, Value)>) {
    match value {
        Value::Object(object) => {
            let is_schema =
                ["type", "$ref", "oneOf", "anyOf", "allOf", "enum"].iter().any(|key| object.contains_key(*key));
            let schema = if is_schema { Some(value) } else { object.get("schema") };
            if let Some(schema) = schema {
                let many = object.get("examples").and_then(Value::as_array).into_iter().flatten();
                let examples = many.chain(object.get("example").filter(|_| !is_schema));
                found.extend(examples.map(|example| (at.to_owned(), schema.clone(), example.clone())));
            }
            for (key, value) in object.iter().filter(|(key, _)| !["example", "examples"].contains(&key.as_str())) {
                schemas(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| schemas(item, at, found)),
        _ => {}
    }
}

#[test]
fn examples_are_as_their_schemas_say() {
    let contract = crate::support::contract::of_kenyon();
    let mut found = Vec::new();
    schemas(contract.document(), "", &mut found);
    assert!(found.len() > 20, "{}", found.len());
    for (at, schema, example) in &found {
        let faults = contract.faults(schema, example);
        assert!(faults.is_empty(), "{at}: {faults:?}\n{example:#}");
    }
}

#[test]
fn every_answer_is_described_and_every_request_has_an_example() {
    let document = kenyon::app::openapi();
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/")) {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                for (kind, content) in response["content"].as_object().into_iter().flatten() {
                    let schema = &content["schema"];
                    let named =
                        ["$ref", "oneOf", "anyOf", "allOf", "properties"].iter().any(|key| !schema[*key].is_null());
                    assert!(
                        named || !kind.ends_with("json") || kind.contains("ndjson"),
                        "{method} {path} {status}: {schema}"
                    );
                }
            }
            let body = &operation["requestBody"]["content"]["application/json"];
            if !body.is_null() {
                let name = body["schema"]["$ref"].as_str().unwrap_or("#");
                let schema = document.pointer(&name[1..]).unwrap();
                assert!(!body["example"].is_null() || schema["examples"].is_array(), "{method} {path}: no example");
            }
        }
    }
}

/// Collects the objects, and what may be anything, of an answer: `schema` and all that it names.
fn untyped(document: &Value, schema: &Value, at: &str, seen: &mut BTreeSet<String>, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        if seen.insert(name.to_owned()) {
            let name = name.trim_start_matches('#');
            untyped(document, document.pointer(name).unwrap(), name, seen, found);
        }
        return;
    }
    let says = |keys: &[&str]| keys.iter().any(|key| !schema[*key].is_null());
    let is_object =
        schema["type"] == "object" || schema["type"].as_array().is_some_and(|types| types.contains(&"object".into()));
    if is_object && !says(&["properties", "additionalProperties", "oneOf", "anyOf", "allOf"]) {
        found.push(at.to_owned());
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        untyped(document, inner, &format!("{at}/{name}"), seen, found);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            untyped(document, inner, &format!("{at}/{key}"), seen, found);
        }
    }
    for key in ["oneOf", "anyOf", "allOf", "prefixItems"] {
        let parts = schema[key].as_array().into_iter().flatten();
        parts.for_each(|part| untyped(document, part, &format!("{at}/{key}"), seen, found));
    }
}

#[test]
fn no_answer_or_request_is_a_bare_object() {
    let document = kenyon::app::openapi();
    let (mut found, mut seen, mut bodies) = (Vec::new(), BTreeSet::new(), 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap().values();
            for body in answers.chain([&operation["requestBody"]]) {
                for (kind, content) in body["content"].as_object().into_iter().flatten() {
                    let at = format!("{method} {path} {kind}");
                    let schema = &content["schema"];
                    let keys = ["type", "$ref", "oneOf", "anyOf", "allOf"];
                    if keys.iter().all(|key| schema[*key].is_null()) {
                        found.push(at.clone());
                    }
                    untyped(&document, schema, &at, &mut seen, &mut found);
                    bodies += 1;
                }
            }
        }
    }
    assert!(bodies > 200, "{bodies}");
    assert!(found.is_empty(), "without a type: {found:#?}");
}

#[test]
#[should_panic(expected = "$.more: is not described")]
fn a_field_that_is_not_described_is_a_fault() {
    let body = serde_json::json!({"rows": [], "offset": 0, "total": 0, "more": 1});
    let contract = crate::support::contract::of_kenyon();
    contract.check(&Method::GET, "/api/v1/datasets/d/rows", 200, Some("application/json"), &body);
}

#[test]
#[should_panic(expected = "is none of")]
fn a_code_that_is_not_listed_is_a_fault() {
    let body =
        serde_json::json!({"type": "t", "title": "t", "status": 404, "code": "odd", "detail": "d", "request_id": "r"});
    let contract = crate::support::contract::of_kenyon();
    contract.check(&Method::GET, "/api/v1/models/m", 404, Some("application/problem+json"), &body);
}

/// The codes that the sources give to errors, with the file of each.
fn codes_in_sources() -> BTreeSet<(String, String)> {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                files(&entry, found);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                found.push(entry);
            }
        }
    }
    let mut found = Vec::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    files(&root.join("src"), &mut found);
    files(&root.join("crates/kenyon-learn/src"), &mut found);
    let mut codes = BTreeSet::new();
    for file in found {
        let name = file.to_string_lossy().into_owned();
        if name.contains("/tests") || name.ends_with("tests.rs") || name.contains("/cli/") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        // The word after one of these is a code, unless it is a variable.
        for maker in [
            "malformed(",
            "not_found(",
            "unprocessable(",
            "conflict(",
            "fail(",
            "bad_target(",
            "unavailable(",
            "fault(",
        ] {
            codes.extend(text.split(maker).skip(1).filter_map(quoted).map(|code| (code, name.clone())));
        }
        let kinds = text.split("Kind::").skip(1).filter_map(|rest| rest.split_once(','));
        let kinds = kinds.filter(|(kind, _)| kind.chars().all(char::is_alphanumeric));
        codes.extend(kinds.filter_map(|(_, rest)| quoted(rest)).map(|code| (code, name.clone())));
    }
    codes
}

/// The string at the start of some source, if it is one word in snake case.
fn quoted(source: &str) -> Option<String> {
    let word = source.trim_start().strip_prefix('"')?.split('"').next()?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!word.is_empty() && word.chars().all(plain)).then(|| word.to_owned())
}

#[test]
fn every_code_of_an_error_is_listed() {
    let codes = codes_in_sources();
    assert!(codes.len() > 150, "{}", codes.len());
    let missing: Vec<_> = codes.iter().filter(|(code, _)| !kenyon::error::CODES.contains(&code.as_str())).collect();
    assert!(missing.is_empty(), "not in src/error/codes.rs: {missing:?}");
}
