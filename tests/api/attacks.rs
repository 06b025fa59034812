//! Attacks: other scopes, other models, forged heads, decompression bombs, other sites' pages.

use crate::server::{TestServer, clouds, send};
use kenyon::config::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MASTER: &str = "the-master-key-of-the-tests";

async fn closed() -> TestServer {
    TestServer::with(|c| c.master_key = MASTER.parse::<Secret>().unwrap()).await
}

async fn key(server: &TestServer, scopes: &[&str], models: &[&str]) -> String {
    let request = json!({"name": "k", "scopes": scopes, "models": models});
    let made = send(server.request(Method::POST, "/api/v1/keys").bearer_auth(MASTER).json(&request)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.body["key"].as_str().unwrap().to_owned()
}

/// Every operation of the document: method, path with names filled in, scope.
fn operations() -> Vec<(Method, String, Option<String>)> {
    let document = kenyon::app::openapi();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path.replace("{name}", "m").replace("{model}", "m").replace("{version}", "1");
        let filled = filled.replace("{id}", "018f0000-0000-7000-8000-000000000000").replace("{file}", "index.html");
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            if ![Method::GET, Method::PUT, Method::POST, Method::DELETE].contains(&method) {
                continue;
            }
            let scope = operation["security"][0]["key"][0].as_str().map(str::to_owned);
            found.push((method, filled.clone(), scope));
        }
    }
    assert!(found.len() > 30, "{}", found.len());
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_answers_without_its_scope() {
    let server = closed().await;
    let all = ["predict", "observe", "train", "datasets", "read"];
    let mut keys = Vec::new();
    for scope in all {
        keys.push((scope, key(&server, &[scope], &["*"]).await));
    }
    for (method, path, scope) in operations() {
        let bare = send(server.request(method.clone(), &path)).await;
        let Some(scope) = scope else {
            assert_ne!(bare.status, 401, "{method} {path}");
            // `/mcp`, off here, takes a key of any scope.
            let open = ["/livez", "/readyz", "/healthz", "/", "/docs", "/openapi.json", "/mcp"];
            assert!(
                open.contains(&path.as_str()) || path.starts_with("/docs/") || path.starts_with("/v2"),
                "{path} is open"
            );
            continue;
        };
        assert_eq!(bare.status, 401, "{method} {path}: {}", bare.body);
        for (name, key) in &keys {
            if *name != scope {
                let answer = send(server.request(method.clone(), &path).bearer_auth(key)).await;
                assert_eq!(answer.status, 403, "{method} {path} with {name}: {}", answer.body);
            }
        }
    }
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_once_limited_to_models_and_revoked_at_once() {
    let server = closed().await;
    send(server.request(Method::PUT, "/api/v1/datasets/d").bearer_auth(MASTER).body(clouds(60))).await.ok();
    let mine = key(&server, &["train", "read", "predict"], &["mine"]).await;
    let listed = send(server.request(Method::GET, "/api/v1/keys").bearer_auth(MASTER)).await.ok();
    assert!(!listed.to_string().contains(&mine), "a secret was listed");
    let train = |model: &str| {
        let request = json!({"dataset": "d", "target": "label", "config": {"epochs": 1}, "family": "sparse_mlp"});
        send(server.request(Method::POST, &format!("/api/v1/models/{model}/train")).bearer_auth(&mine).json(&request))
    };
    assert_eq!(train("theirs").await.problem(), (403, "model_not_allowed"));
    // The same name, written another way, is the same name.
    assert_eq!(train("%74heirs").await.problem().0, 403);
    let job = train("mine").await;
    assert_eq!(job.status, 202, "{}", job.body);
    let other = json!({"dataset": "d", "target": "label", "config": {"epochs": 1}, "family": "sparse_mlp"});
    let theirs =
        send(server.request(Method::POST, "/api/v1/models/theirs/train").bearer_auth(MASTER).json(&other)).await.ok();
    let path = format!("/api/v1/jobs/{}", theirs["id"].as_str().unwrap());
    assert_eq!(send(server.request(Method::GET, &path).bearer_auth(&mine)).await.status, 403);
    let models = send(server.request(Method::GET, "/api/v1/models").bearer_auth(&mine)).await.ok();
    assert!(models["items"].as_array().unwrap().iter().all(|m| m["name"] == "mine"), "{models}");
    let id = listed["items"][0]["id"].as_str().unwrap();
    let gone = send(server.request(Method::DELETE, &format!("/api/v1/keys/{id}")).bearer_auth(MASTER)).await;
    assert_eq!(gone.status, 204);
    assert_eq!(train("mine").await.problem(), (401, "invalid_key"));
    let header = send(server.request(Method::GET, "/api/v1/models").header("x-api-key", MASTER)).await;
    assert_eq!(header.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn trying_keys_is_slowed_down() {
    let server = closed().await;
    let mut seen = BTreeSet::new();
    for i in 0..30 {
        let answer = send(server.request(Method::GET, "/api/v1/models").bearer_auth(format!("guess-{i}"))).await;
        seen.insert(answer.status);
    }
    assert_eq!(seen, BTreeSet::from([401, 429]));
    let right = send(server.request(Method::GET, "/api/v1/models").bearer_auth(MASTER)).await;
    assert_eq!(right.status, 200, "who has a key is not held up by who has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_change_nothing() {
    let server = TestServer::start().await;
    let put = |name: &'static str, value: &'static str| {
        send(server.request(Method::PUT, "/api/v1/datasets/d").header(name, value).body("a\n1\n"))
    };
    assert_eq!(put("sec-fetch-site", "cross-site").await.problem(), (403, "cross_site"));
    assert_eq!(put("origin", "https://evil.example").await.problem(), (403, "cross_site"));
    assert_eq!(put("host", "evil.example").await.problem(), (403, "host_not_allowed"));
    // What a form can send is not what the interface takes.
    let form = server.request(Method::POST, "/api/v1/keys").header("content-type", "text/plain");
    let answer = send(form.body(r#"{"name":"k","scopes":["admin"]}"#)).await;
    assert_eq!(answer.problem(), (415, "unsupported_media_type"));
    let preflight =
        send(server.request(Method::OPTIONS, "/api/v1/datasets/d").header("origin", "https://a.example")).await;
    assert!(preflight.header("access-control-allow-origin").is_none());
    assert_eq!(server.get("/api/v1/datasets").await.ok()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_cannot_be_forged() {
    let server = TestServer::start().await;
    let long = "x".repeat(500);
    for id in ["a b", "<script>", long.as_str(), "\t"] {
        let answer = send(server.request(Method::GET, "/livez").header("x-request-id", id)).await;
        let echoed = answer.header("x-request-id").unwrap();
        assert!(echoed != id && echoed.len() == 32, "{id}");
    }
    let answer = send(server.request(Method::GET, "/livez").header("x-request-id", "mine-1")).await;
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    let answer = server.get("/api/v1/models/a%0d%0aset-cookie:%20x=1").await;
    assert!(answer.header("set-cookie").is_none());
    assert_eq!(answer.problem().0, 400);
    for header in ["x-content-type-options", "content-security-policy", "x-frame-options", "referrer-policy"] {
        assert!(answer.header(header).is_some(), "{header}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let page = server.get("/").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_do_not_leave_the_folder() {
    let server = TestServer::start().await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    // As bytes, since clients tidy paths up before they send them.
    for path in [
        "/../../../../etc/passwd",
        "/js/../../Cargo.toml",
        "/docs/../../etc/passwd",
        "/docs/..%2f..%2fCargo.toml",
        "/%2e%2e/Cargo.toml",
        "//etc/passwd",
        "/js/%00",
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.contains("root:") && !answer.contains("[package]"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_wide_json_is_refused() {
    let server = TestServer::with(|c| c.max_body_bytes = 8 << 20).await;
    let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let bodies = [
        deep("[", "]", 500_000),
        deep(r#"{"a":"#, "}", 500_000),
        format!(r#"{{"rows":[{{"a":{}}}]}}"#, deep("[", "]", 500_000)),
        format!(r#"{{"rows":[{}{{}}]}}"#, "{},".repeat(1_000_000)),
        format!(r#"{{"dataset":"d","target":"t","config":{}}}"#, deep(r#"{"a":"#, "}", 100_000)),
    ];
    for body in bodies {
        for path in ["/api/v1/models/m/predict", "/api/v1/models/m/train", "/api/v1/keys"] {
            let request =
                server.request(Method::POST, path).header("content-type", "application/json").body(body.clone());
            let answer = send(request).await;
            assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
        }
        // Refused, or stored as a column that is never read.
        let answer = server.put("/api/v1/datasets/deep", body).await;
        let unread = |columns: &Vec<Value>| columns.iter().any(|column| column["unused"] == "unreadable");
        let kept = answer.status < 300 && answer.body["columns"].as_array().is_some_and(unread);
        assert!(kept || (400..500).contains(&answer.status), "{} {}", answer.status, answer.body);
    }
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![b' '; 64 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    let request = server.request(Method::POST, "/api/v1/models/m/predict").header("content-type", "application/json");
    let answer = send(request.header("content-encoding", "gzip").body(bomb)).await;
    assert_eq!(answer.problem(), (413, "body_too_large"));
    server.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_internal_is_shown() {
    let server = TestServer::start().await;
    server.put("/api/v1/datasets/d", clouds(30)).await.ok();
    let one = server.get("/api/v1/datasets/d").await.ok();
    let text = one.to_string();
    assert!(!text.contains("/tmp") && !text.contains("key\"") && !text.contains("parts"), "{text}");
    let errors: Vec<Value> = vec![
        server.put("/api/v1/datasets/x", "a,b\n1\n").await.body,
        server.get("/api/v1/datasets?cursor=' OR 1=1").await.body,
        server.get("/api/v1/jobs?cursor=';DROP").await.body,
    ];
    for error in errors {
        let text = error.to_string().to_lowercase();
        for word in ["/tmp", "sqlx", "select ", "sqlite", ".rs"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}
