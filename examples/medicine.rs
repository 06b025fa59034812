//! Medicine: benign or malignant, from 30 measures of cell nuclei (Wisconsin breast cancer), five-fold.
//!
//!     cargo run --release --example medicine
//!
//! The data travel with Kenyon: UCI breast cancer Wisconsin (diagnostic), 569 rows, CC BY 4.0. Not a medical device: an example of tables, and of saying "I do not know".

mod common;

use anyhow::Result;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<()> {
    let csv = std::str::from_utf8(kenyon::data::bundled::BREAST_CANCER)?;
    let kenyon = common::Kenyon::connect().await?;
    println!("breast cancer, the family of Kenyon's own choice");
    let request = json!({"target": "target", "task": "classification", "validation": 0.15, "seed": 1});
    let accuracy = common::cross_validate(&kenyon, "tumours", csv, &request).await?;
    println!(
        "accuracy {accuracy:.4} (peers, five-fold: logistic .979, MLP .977, CatBoost .969, LightGBM .966, random forest .959)"
    );

    // A row far outside of what was seen: the answer says so instead of guessing with confidence.
    let header = csv.lines().next().unwrap_or_default();
    let strange: Value =
        header.split(',').filter(|name| *name != "target").map(|name| (name.to_owned(), json!(1e4))).collect();
    let answer = kenyon.predict("tumours", strange).await?;
    println!(
        "a row of nonsense: novelty {:.2}, abstained {}",
        answer["novelty"].as_f64().unwrap_or(0.0),
        answer["abstained"]
    );
    kenyon.close().await;
    Ok(())
}
