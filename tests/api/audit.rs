//! The audit log: who changed what.

use crate::server::{TestServer, clouds, send};
use kenyon::config::Secret;
use reqwest::Method;
use serde_json::{Value, json};

const MASTER: &str = "the-master-key-of-the-tests";

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_entered_with_the_key_that_made_them() {
    let server = TestServer::with(|c| c.master_key = MASTER.parse::<Secret>().unwrap()).await;
    let call = |method: Method, path: &str| server.request(method, path).bearer_auth(MASTER);
    let key = json!({"name": "trainer", "scopes": ["train", "datasets", "observe", "predict"]});
    let made = send(call(Method::POST, "/api/v1/keys").json(&key)).await;
    let (secret, id) = (made.body["key"].as_str().unwrap(), made.body["id"].as_str().unwrap());
    let by_key = |method: Method, path: &str| server.request(method, path).bearer_auth(secret);
    assert_eq!(send(by_key(Method::PUT, "/api/v1/datasets/d").body(clouds(60))).await.status, 201);
    let model = json!({"family": "hybrid", "target": "label", "features": {"x": "number", "y": "number"}});
    assert_eq!(send(by_key(Method::PUT, "/api/v1/models/s").json(&model)).await.status, 201);
    let rows = json!({"rows": [{"x": 1.0, "y": 2.0, "label": "left"}]});
    assert_eq!(send(by_key(Method::POST, "/api/v1/models/s/observe").json(&rows)).await.status, 200);
    // Neither what was refused nor what only reads.
    assert_eq!(send(by_key(Method::DELETE, "/api/v1/models/none")).await.status, 404);
    assert_eq!(send(call(Method::GET, "/api/v1/models")).await.status, 200);
    assert_eq!(send(by_key(Method::DELETE, "/api/v1/models/s")).await.status, 204);
    let found = send(call(Method::GET, "/api/v1/audit")).await.ok();
    let entries: Vec<Value> = found["items"].as_array().unwrap().clone();
    let calls: Vec<(&str, &str)> =
        entries.iter().map(|e| (e["method"].as_str().unwrap(), e["path"].as_str().unwrap())).collect();
    let expected = [
        ("POST", "/api/v1/keys"),
        ("PUT", "/api/v1/datasets/d"),
        ("PUT", "/api/v1/models/s"),
        ("DELETE", "/api/v1/models/s"),
    ];
    assert_eq!(calls, expected, "{found}");
    assert_eq!((&entries[0]["caller"], &entries[0]["caller_name"]), (&json!("master"), &Value::Null));
    assert_eq!((&entries[1]["caller"], &entries[1]["caller_name"]), (&json!(id), &json!("trainer")));
    // Page by page, from a time on, and as lines.
    let page = send(call(Method::GET, "/api/v1/audit?limit=3")).await.ok();
    let next = format!("/api/v1/audit?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = send(call(Method::GET, &next)).await.ok();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["items"][0]), (1, &entries[3]));
    let later = send(call(Method::GET, "/api/v1/audit?since=2999-01-01T00:00:00Z")).await.ok();
    assert_eq!(later["items"], json!([]));
    let lines = call(Method::GET, "/api/v1/audit").header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(lines.text().await.unwrap().lines().count(), 4);
    assert_eq!(send(by_key(Method::GET, "/api/v1/audit")).await.problem(), (403, "scope_missing"));
    assert_eq!(send(call(Method::GET, "/api/v1/audit?cursor=x")).await.problem(), (400, "invalid_cursor"));
}
