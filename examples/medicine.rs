//! Medicine: benign or malignant, from 30 measures of cell nuclei (Wisconsin breast cancer), five-fold.
//!
//!     cargo run --release --example medicine
//!
//! Not a medical device: an example of tables, and of saying "I do not know".

mod common;

use anyhow::Result;
use serde_json::{Value, json};

const SOURCE: &str = "the breast cancer data of scikit-learn (UCI Wisconsin diagnostic, 569 rows, CC BY 4.0): \
    python3 -c \"from sklearn.datasets import load_breast_cancer; load_breast_cancer(as_frame=True).frame.to_csv('breast_cancer.csv', index=False)\"";

#[tokio::main]
async fn main() -> Result<()> {
    let Some(csv) = common::data("sklearn_small/breast_cancer.csv", SOURCE)? else { return Ok(()) };
    let kenyon = common::Kenyon::connect().await?;
    println!("breast cancer, the family of Kenyon's own choice");
    let request = json!({"target": "target", "task": "classification", "validation": 0.15, "seed": 1});
    let accuracy = common::cross_validate(&kenyon, "tumours", &csv, &request).await?;
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
