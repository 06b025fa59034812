//! Language: the intent of a bank's customer, one of 77 (banking77), on its official test set.
//!
//!     cargo run --release --example language

mod common;

use anyhow::Result;
use serde_json::json;

const SOURCE: &str = "banking77 by PolyAI (10,003 + 3,080 sentences, CC BY 4.0): \
    https://github.com/PolyAI-LDN/task-specific-datasets, as JSON lines with \"text\" and \"label\"";

#[tokio::main]
async fn main() -> Result<()> {
    let Some(train) = common::data("banking77/train.jsonl.gz", SOURCE)? else { return Ok(()) };
    let Some(test) = common::data("banking77/test.jsonl.gz", SOURCE)? else { return Ok(()) };
    let kenyon = common::Kenyon::connect().await?;
    kenyon.upload("intents", "application/x-ndjson", train).await?;
    kenyon.upload("intents_test", "application/x-ndjson", test).await?;
    let request =
        json!({"dataset": "intents", "target": "label", "family": "sparse_mlp", "validation": 0.1, "seed": 1});
    kenyon.train("intents", request).await?;
    let accuracy = common::metric(&kenyon.evaluate("intents", "intents_test").await?, "accuracy")?;
    println!("banking77, sparse_mlp: accuracy {accuracy:.4} (peers: TF-IDF + logistic .893, TF-IDF + SVM .913)");

    let question = "My card still has not come, where is it?";
    let answer = kenyon.predict("intents", json!({ "text": question })).await?;
    println!("“{question}” means {}; with 90 % coverage one of {}", answer["label"], answer["set"]);
    kenyon.close().await;
    Ok(())
}
