//! Exact forgetting, and streams that some of the keys poison.

use crate::server::{TestServer, send};
use kenyon::config::Secret;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const MASTER: &str = "the-master-key-of-the-tests";

fn row(i: usize, wrong: bool) -> Value {
    let x = (i * 37 % 100) as f64 / 10.0;
    json!({"x": x, "y": (i % 7) as f64, "label": if (x > 5.0) != wrong { "high" } else { "low" }})
}

fn rows(range: std::ops::Range<usize>, wrong: bool) -> Value {
    json!({"rows": range.map(|i| row(i, wrong)).collect::<Vec<_>>()})
}

/// A server with keys.
struct Keyed {
    server: TestServer,
}

impl Keyed {
    async fn start(change: impl FnOnce(&mut kenyon::config::Config)) -> Self {
        let server = TestServer::with(|config| {
            config.master_key = MASTER.parse::<Secret>().unwrap();
            change(config);
        });
        Self { server: server.await }
    }

    /// Id and secret of a key that may observe, predict and read.
    async fn key(&self, name: &str) -> (String, String) {
        let key = json!({"name": name, "scopes": ["observe", "predict", "read"]});
        let made = send(self.call(MASTER, Method::POST, "/api/v1/keys").json(&key)).await;
        (made.body["id"].as_str().unwrap().to_owned(), made.body["key"].as_str().unwrap().to_owned())
    }

    fn call(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.server.request(method, path).bearer_auth(key)
    }

    async fn make(&self, model: &str, config: Value) {
        let features = json!({"x": "number", "y": "number"});
        let empty = json!({"target": "label", "task": "classification", "features": features, "config": config});
        let made = send(self.call(MASTER, Method::PUT, &format!("/api/v1/models/{model}")).json(&empty)).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }

    async fn observe(&self, key: &str, model: &str, rows: &Value) {
        send(self.call(key, Method::POST, &format!("/api/v1/models/{model}/observe")).json(rows)).await.ok();
    }

    async fn stream(&self, model: &str) -> Value {
        send(self.call(MASTER, Method::GET, &format!("/api/v1/models/{model}/stream"))).await.ok()
    }

    async fn answers(&self, model: &str) -> Value {
        let call = self.call(MASTER, Method::POST, &format!("/api/v1/models/{model}/predict"));
        let answer =
            send(call.json(&json!({"rows": [{"x": 1, "y": 2}, {"x": 4.9, "y": 0}, {"x": 8, "y": 6}]}))).await.ok();
        answer["predictions"].as_array().unwrap().iter().map(|p| p["probabilities"].clone()).collect()
    }

    async fn consolidate(&self, model: &str) -> Value {
        let path = format!("/api/v1/models/{model}/consolidate");
        let job = send(self.call(MASTER, Method::POST, &path).json(&json!({}))).await;
        let path = format!("/api/v1/jobs/{}", job.body["id"].as_str().unwrap());
        loop {
            let job = send(self.call(MASTER, Method::GET, &path)).await.ok();
            match job["status"].as_str().unwrap() {
                "succeeded" => return job,
                "failed" | "canceled" => panic!("{job}"),
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_rows_are_withdrawn_as_if_they_had_never_been_received() {
    let keyed = Keyed::start(|_| ()).await;
    let (shop, mallory) = (keyed.key("shop").await, keyed.key("mallory").await);
    for model in ["s", "honest"] {
        keyed.make(model, json!({"seed": 3})).await;
    }
    for part in 0..6 {
        let honest = rows(part * 50..part * 50 + 50, false);
        keyed.observe(&shop.1, "s", &honest).await;
        keyed.observe(&shop.1, "honest", &honest).await;
        keyed.observe(&mallory.1, "s", &rows(part * 20..part * 20 + 20, true)).await;
    }
    // How many rows were learned from each key, and which one contradicts the others.
    let stream = keyed.stream("s").await;
    let keys = stream["keys"].as_array().unwrap();
    assert_eq!((&keys[0]["key"], &keys[0]["rows"]), (&json!(shop.0), &json!(300)), "{stream}");
    assert_eq!((&keys[1]["key"], &keys[1]["rows"]), (&json!(mallory.0), &json!(120)), "{stream}");
    let accuracy = |at: usize| keys[at]["accuracy"].as_f64().unwrap();
    assert!(
        accuracy(1) < accuracy(0) - 0.2 && (keys[1]["share"].as_f64().unwrap() - 2.0 / 7.0).abs() < 1e-9,
        "{stream}"
    );
    assert_ne!(keyed.answers("s").await, keyed.answers("honest").await);

    let forget = |key: &str, what: Value| keyed.call(key, Method::POST, "/api/v1/models/s/forget").json(&what);
    let other = send(forget(&shop.1, json!({"by_key": mallory.0}))).await;
    assert_eq!(other.problem(), (403, "scope_missing"), "another's rows need the scope admin");
    for wrong in [json!({}), json!({"by_key": mallory.0, "where": {"x": 1}})] {
        assert_eq!(send(forget(MASTER, wrong)).await.problem(), (400, "empty_filter"));
    }
    let done = send(forget(MASTER, json!({"by_key": mallory.0}))).await.ok();
    assert_eq!(
        (&done["rows"], &done["exact"], &done["log"]["complete"]),
        (&json!(120), &json!(true), &json!(true)),
        "{done}"
    );
    assert!(done["statement"].as_str().unwrap().contains("120 rows were removed from the log"), "{done}");
    assert_eq!(keyed.stream("s").await["forgotten_since"], 120);
    let job = keyed.consolidate("s").await;
    let forgotten = &job["result"]["forgotten"];
    assert_eq!((&forgotten["exact"], &forgotten["rows_left"]), (&json!(true), &json!(300)), "{job}");
    assert_eq!(forgotten["state_sha256"].as_str().unwrap().len(), 64, "{job}");

    let (left, honest) = (keyed.stream("s").await, keyed.stream("honest").await);
    for figure in ["observed", "labelled", "prequential", "classes", "memory", "keys", "horizon"] {
        assert_eq!(left[figure], honest[figure], "{figure}");
    }
    assert_eq!(keyed.answers("s").await, keyed.answers("honest").await);
    // Own rows need no scope but that of observing; both go on alike.
    for model in ["s", "honest"] {
        keyed.observe(&shop.1, model, &rows(400..420, false)).await;
    }
    assert_eq!(keyed.answers("s").await, keyed.answers("honest").await);
    assert_eq!(send(forget(&shop.1, json!({"by_key": shop.0}))).await.ok()["rows"], 320);
    let audit = send(keyed.call(MASTER, Method::GET, "/api/v1/audit")).await.ok();
    let forgets = audit["items"].as_array().unwrap().iter().filter(|e| e["path"] == "/api/v1/models/s/forget").count();
    assert_eq!(forgets, 2, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_recent_predictions_are_forgotten_too_and_a_short_log_is_stated() {
    let server = TestServer::with(|config| config.stream_history_bytes = 0).await;
    let empty = json!({"target": "label", "task": "classification", "features": {"x": "number", "y": "number"}});
    send(server.request(Method::PUT, "/api/v1/models/s").json(&empty)).await.ok();
    server.post("/api/v1/models/s/observe", rows(0..40, false)).await.ok();
    let predicted = server.post("/api/v1/models/s/predict", json!({"rows": [{"x": 0.5, "y": 2}]})).await.ok();
    let late = json!({"prediction_id": predicted["predictions"][0]["prediction_id"], "target": "low"});
    let done = server.post("/api/v1/models/s/forget", json!({"where": {"y": 2}})).await.ok();
    assert_eq!(
        (&done["rows"], &done["recent_predictions"], &done["exact"]),
        (&json!(6), &json!(1), &json!(true)),
        "{done}"
    );
    let unknown = server.post("/api/v1/models/s/feedback", &late).await;
    assert_eq!(unknown.problem(), (404, "prediction_not_found"));
    let job = server.post("/api/v1/models/s/consolidate", json!({})).await;
    server.ended(job.body["id"].as_str().unwrap()).await;
    // What is in the state is not in a log of no length: memory and sums are corrected as far as that goes.
    server.post("/api/v1/models/s/observe", rows(40..80, false)).await.ok();
    let done = server.post("/api/v1/models/s/forget", json!({"where": {"y": 3}})).await.ok();
    assert_eq!((&done["exact"], &done["log"]["complete"]), (&json!(false), &json!(false)), "{done}");
    assert_eq!((&done["rows"], &done["log"]["rows_before"]), (&json!(5), &json!(34)), "{done}");
    assert!(done["statement"].as_str().unwrap().contains("34 rows that were learned before are not kept"), "{done}");
    let job = server.post("/api/v1/models/s/consolidate", json!({})).await;
    let job = server.ended(job.body["id"].as_str().unwrap()).await;
    assert_eq!(job["result"]["forgotten"]["exact"], false, "{job}");
    let memory = server.get("/api/v1/models/s/memory?limit=200").await.ok();
    let gone = |e: &Value| e["row"]["y"] == 3.0 || (0..40).any(|i| i % 7 == 2 && e["row"] == row(i, false));
    assert!(!memory["items"].as_array().unwrap().iter().any(gone), "{memory}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_key_are_limited_by_the_minute() {
    let keyed = Keyed::start(|config| config.key_rows_limit = 1_200).await;
    let shop = keyed.key("shop").await;
    keyed.make("s", json!({})).await;
    keyed.observe(&shop.1, "s", &rows(0..1_000, false)).await;
    let call = keyed.call(&shop.1, Method::POST, "/api/v1/models/s/observe");
    let refused = send(call.json(&rows(0..900, false))).await;
    assert_eq!(refused.problem(), (429, "learning_limited"));
    assert!(refused.header("retry-after").is_some());
    keyed.observe(MASTER, "s", &rows(0..900, false)).await;
    assert_eq!(keyed.stream("s").await["observed"], 1_900);
}

#[tokio::test(flavor = "multi_thread")]
async fn novel_rows_that_contradict_their_neighbours_are_held_back() {
    let keyed = Keyed::start(|_| ()).await;
    let (shop, mallory) = (keyed.key("shop").await, keyed.key("mallory").await);
    keyed.make("guarded", json!({"quarantine": true})).await;
    keyed.make("open", json!({})).await;
    // Far out on the side where everything is `high`.
    let poison: Vec<Value> = (0..3).map(|i| json!({"x": 60.0 + f64::from(i), "y": 3.0, "label": "low"})).collect();
    for model in ["guarded", "open"] {
        for part in 0..8 {
            keyed.observe(&shop.1, model, &rows(part * 50..part * 50 + 50, false)).await;
        }
        for row in &poison {
            keyed.observe(&mallory.1, model, &json!({"rows": [row]})).await;
        }
    }
    let guarded = keyed.stream("guarded").await;
    assert_eq!((&guarded["quarantine"]["rows"], &guarded["labelled"]), (&json!(3), &json!(400)), "{guarded}");
    let newest = &guarded["quarantine"]["newest"][2];
    assert_eq!(
        (&newest["key"], &newest["row"], &newest["at"]),
        (&json!(mallory.0), &poison[2], &json!(403)),
        "{guarded}"
    );
    assert_eq!((&guarded["keys"][1]["quarantined"], &guarded["keys"][0]["quarantined"]), (&json!(3), &json!(0)));
    assert_eq!(keyed.stream("open").await["quarantine"]["rows"], 0);
    // A new class is learned from its first row on, however novel.
    let new = json!({"x": -40.0, "y": 3.0, "label": "new"});
    keyed.observe(&shop.1, "guarded", &json!({"rows": [new]})).await;
    assert_eq!(keyed.stream("guarded").await["classes"]["new"]["rows"], 1);
}
