//! The Model Context Protocol: calls of the interface as tools, with the same keys.

use crate::server::{Answer, TestServer, clouds, send};
use kenyon::config::Secret;
use reqwest::Method;
use serde_json::{Value, json};

const MASTER: &str = "the-master-key-of-the-tests";

/// Sends a message of the protocol.
async fn message(server: &TestServer, key: Option<&str>, message: Value) -> Answer {
    let request = server.request(Method::POST, "/mcp").header("mcp-protocol-version", "2025-06-18");
    let request = key.into_iter().fold(request, |request, key| request.bearer_auth(key));
    send(request.json(&message)).await
}

/// The result of calling a tool: whether it is an error, and what it holds.
async fn tool(server: &TestServer, key: Option<&str>, name: &str, arguments: Value) -> (bool, Value) {
    let call =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let answer = message(server, key, call).await.ok();
    assert_eq!(answer["id"], 7);
    let result = &answer["result"];
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, result["structuredContent"]);
    (result["isError"].as_bool().unwrap(), text)
}

async fn names(server: &TestServer, key: Option<&str>) -> Vec<String> {
    let listed = message(server, key, json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await.ok();
    let tools = listed["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_unless_asked_for() {
    let server = TestServer::start().await;
    let answer = message(&server, None, json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    assert_eq!(answer.problem(), (404, "mcp_off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_trained_and_used_by_tools_alone() {
    let server = TestServer::with(|c| c.mcp = true).await;
    let about =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let hello =
        message(&server, None, json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about})).await.ok();
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(hello["result"]["serverInfo"]["name"], "kenyon");
    let ready = message(&server, None, json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(ready.status, 202);
    assert!(names(&server, None).await.contains(&"train".to_owned()));
    let reader = clouds(80);
    let rows: Vec<Value> = reader
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            json!({"x": cells[0].parse::<f64>().unwrap(), "y": cells[1].parse::<f64>().unwrap(), "label": cells[3]})
        })
        .collect();
    let (failed, tried) =
        tool(&server, None, "put_dataset", json!({"dataset": "d", "rows": rows, "dry_run": true})).await;
    assert!(!failed && tried["dry_run"] == true, "{tried}");
    let (failed, made) = tool(&server, None, "put_dataset", json!({"dataset": "d", "rows": rows})).await;
    assert!(!failed && made["rows"] == 80, "{made}");
    let (_, listed) = tool(&server, None, "list_datasets", json!({})).await;
    assert_eq!(listed["items"][0]["name"], "d");
    let request = json!({"model": "m", "dataset": "d", "target": "label", "seed": 1, "wait": 20});
    let (failed, mut job) = tool(&server, None, "train", request).await;
    assert!(!failed, "{job}");
    while !["succeeded", "failed"].contains(&job["status"].as_str().unwrap()) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        job = tool(&server, None, "get_job", json!({"id": job["id"]})).await.1;
    }
    assert_eq!(job["status"], "succeeded", "{job}");
    let new = json!([{"x": 2.0, "y": 0.1}]);
    let (_, answer) = tool(&server, None, "predict", json!({"model": "m", "rows": new})).await;
    assert_eq!(
        (&answer["predictions"][0]["label"], &answer["predictions"][0]["explanation"]),
        (&json!("right"), &Value::Null)
    );
    let (_, answer) = tool(&server, None, "explain", json!({"model": "m", "rows": new})).await;
    assert!(answer["predictions"][0]["explanation"]["features"].is_array(), "{answer}");
    let (failed, learned) =
        tool(&server, None, "observe", json!({"model": "m", "rows": [{"x": 2.0, "y": 0.1, "label": "right"}]})).await;
    assert!(!failed && learned["observed"] == 1, "{learned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_results_that_a_model_can_read() {
    let server = TestServer::with(|c| c.mcp = true).await;
    for (name, arguments, code) in [
        ("get_model", json!({"model": "none"}), "model_not_found"),
        ("get_model", json!({}), "missing_field"),
        ("get_model", json!({"model": "../datasets"}), "invalid_name"),
        ("list_models", json!({"limti": 1}), "unknown_field"),
        ("train", json!({"model": "m", "dataset": "none", "target": "t"}), "dataset_not_found"),
        ("train", json!({"model": "m", "dataset": "none", "target": "t", "epochs": 3}), "unknown_field"),
        ("predict", json!({"model": "m", "rows": []}), "model_not_found"),
    ] {
        let (failed, problem) = tool(&server, None, name, arguments).await;
        assert_eq!((failed, problem["code"].as_str().unwrap()), (true, code), "{problem}");
        assert!(problem["request_id"].as_str().unwrap().len() > 8, "{problem}");
    }
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "none", "arguments": {}}});
    assert_eq!(message(&server, None, call).await.ok()["error"]["code"], -32602);
    let odd = json!({"jsonrpc": "2.0", "id": 1, "method": "odd"});
    assert_eq!(message(&server, None, odd).await.body["error"]["code"], -32601);
    assert_eq!(message(&server, None, json!({"method": 1})).await.problem(), (400, "invalid_request"));
    let plain = server.request(Method::POST, "/mcp").header("content-type", "text/plain").body("{}");
    assert_eq!(send(plain).await.problem(), (415, "unsupported_media_type"));
    assert_eq!(server.get("/mcp").await.problem(), (405, "method_not_allowed"));
    let unknown = server.request(Method::POST, "/mcp").header("mcp-protocol-version", "1999-01-01");
    let listing = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(send(unknown.json(&listing)).await.problem(), (400, "invalid_request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_have_the_same_limits() {
    let closed = |c: &mut kenyon::config::Config| (c.mcp, c.master_key) = (true, MASTER.parse::<Secret>().unwrap());
    let server = TestServer::with(closed).await;
    let listing = || json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(message(&server, None, listing()).await.problem(), (401, "key_required"));
    assert_eq!(message(&server, Some("kenyon_wrong"), listing()).await.problem(), (401, "invalid_key"));
    let key = async |scopes: Value, models: Value| {
        let request = json!({"name": "agent", "scopes": scopes, "models": models});
        let made = send(server.request(Method::POST, "/api/v1/keys").bearer_auth(MASTER).json(&request)).await.ok();
        made["key"].as_str().unwrap().to_owned()
    };
    let predicts = key(json!(["predict"]), json!(["mine"])).await;
    let predicts = Some(predicts.as_str());
    assert_eq!(names(&server, predicts).await, ["predict", "explain", "evaluate"]);
    let (failed, problem) = tool(&server, predicts, "list_models", json!({})).await;
    assert!(failed && problem["code"] == "scope_missing", "{problem}");
    let (failed, problem) = tool(&server, predicts, "predict", json!({"model": "yours", "rows": []})).await;
    assert!(failed && problem["code"] == "model_not_allowed", "{problem}");
    let uploads = key(json!(["datasets"]), json!(["*"])).await;
    let rows = json!([{"x": 1, "y": 2}, {"x": 3, "y": 4}]);
    let (failed, made) = tool(&server, Some(&uploads), "put_dataset", json!({"dataset": "d", "rows": rows})).await;
    assert!(!failed, "{made}");
    let audit = send(server.request(Method::GET, "/api/v1/audit").bearer_auth(MASTER)).await.ok();
    let last = audit["items"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["path"], &last["caller_name"]), (&json!("/api/v1/datasets/d"), &json!("agent")));
}
