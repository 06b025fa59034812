//! A model of a server in a plain candle program: the same answers, more training by candle's own optimiser, and the
//! result as a new version. The program is that of `examples/candle`.

use crate::server::{TestServer, clouds, send};
use reqwest::Method;
use serde_json::{Value, json};

#[path = "../../examples/candle/model.rs"]
mod model;

/// The rows of `clouds` as a request, and the class of each.
fn labelled(csv: &str, classes: &[Value]) -> (Value, Vec<u32>) {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let (mut rows, mut truths) = (Vec::new(), Vec::new());
    for line in lines {
        let mut row = serde_json::Map::new();
        for (name, cell) in names.iter().zip(line.split(',')) {
            if *name == "label" {
                truths.push(classes.iter().position(|class| class == cell).unwrap() as u32);
            } else {
                row.insert((*name).to_owned(), cell.parse::<f64>().map_or(json!(cell), |number| json!(number)));
            }
        }
        rows.push(Value::Object(row));
    }
    (json!({ "rows": rows }), truths)
}

/// The rows with a wrong label in one of seven, so that no network is ever sure: a loss of zero has no slope.
fn noisy(csv: &str) -> String {
    let wrong = |line: &str| match line.strip_suffix("left") {
        Some(start) => format!("{start}right"),
        None => line.replace("right", "left"),
    };
    let lines = csv.lines().enumerate();
    lines.map(|(at, line)| if at % 7 == 3 { wrong(line) } else { line.to_owned() } + "\n").collect()
}

/// The probabilities that the server answers, in the order of the classes.
async fn served(server: &TestServer, model: &str, rows: &Value, classes: &[Value]) -> Vec<Vec<f32>> {
    let body = json!({"rows": rows["rows"], "top_k": classes.len()});
    let answer = server.post(&format!("/api/v1/models/{model}/predict"), body).await.ok();
    let of = |row: &Value| -> Vec<f32> {
        let probability = |class: &Value| row["probabilities"][class.as_str().unwrap()].as_f64().unwrap_or(0.0) as f32;
        classes.iter().map(probability).collect()
    };
    answer["predictions"].as_array().unwrap().iter().map(of).collect()
}

fn close(own: &[Vec<f32>], served: &[Vec<f32>], what: &str) {
    assert_eq!(own.len(), served.len(), "{what}");
    let far = own.iter().flatten().zip(served.iter().flatten()).filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
    // Of two units whose activations are equal but for rounding either may win.
    assert!(far <= own.len() / 100, "{what}: {far} of {} rows: {:?} {:?}", own.len(), own[0], served[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_used_and_trained_further_in_a_candle_program_and_comes_back() {
    let server = TestServer::start().await;
    let csv = noisy(&clouds(300));
    server.put("/api/v1/datasets/d", csv.clone()).await.ok();
    for family in ["sparse_mlp", "attention", "memory", "hybrid"] {
        server
            .train(family, json!({"dataset": "d", "target": "label", "family": family, "config": {"epochs": 3}}))
            .await;
        let shown = server.get(&format!("/api/v1/models/{family}")).await.ok();
        let classes = shown["schema"]["classes"].as_array().unwrap_or_else(|| panic!("{shown}")).clone();
        let path = format!("/api/v1/models/{family}/versions/1/export?format=bundle");
        let archive = server.request(Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
        let files = model::unpacked(&archive).unwrap();

        let (rows, truths) = labelled(&csv, &classes);
        let body = rows["rows"].to_string();
        let own = model::probabilities(&files, body.as_bytes()).unwrap();
        close(&own, &served(&server, family, &rows, &classes).await, family);

        let trained = model::trained_further(&files, body.as_bytes(), &truths, 20).unwrap();
        assert!(trained.losses[1] < trained.losses[0], "{family}: {:?}", trained.losses);
        let new = model::unpacked(&trained.archive).unwrap();
        let import = server.request(Method::POST, &format!("/api/v1/models/{family}/import")).body(trained.archive);
        let imported = send(import).await;
        assert_eq!((imported.status, &imported.body["version"]), (201, &json!(2)), "{family}: {}", imported.body);
        let after = model::probabilities(&new, body.as_bytes()).unwrap();
        close(&after, &served(&server, family, &rows, &classes).await, &format!("{family}, trained further"));
        assert!(own != after, "{family}: the weights are other ones");
    }
}
