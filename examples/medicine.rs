//! Medicine: benign or malignant, from 30 measures of cell nuclei (Wisconsin breast cancer), five-fold.
//!
//!     cargo run --release --example medicine
//!
//! The data are bundled with Kenyon: UCI breast cancer Wisconsin (diagnostic), 569 rows, CC BY 4.0. Not a medical device: an example of tables and of calibrated probabilities.

mod common;

use anyhow::Result;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<()> {
    let csv = std::str::from_utf8(kenyon_learn::data::bundled::BREAST_CANCER)?;
    let kenyon = common::Kenyon::connect().await?;
    println!("breast cancer, the family of Kenyon's own choice");
    let request = json!({"target": "target", "task": "classification", "validation": 0.15, "seed": 1});
    let accuracy = common::cross_validate(&kenyon, "tumours", csv, &request).await?;
    println!(
        "accuracy {accuracy:.4} (peers, five-fold: logistic .979, MLP .977, CatBoost .969, LightGBM .966, random forest .959)"
    );

    let mut lines = csv.lines();
    let (names, cells) = (lines.next().unwrap_or_default().split(','), lines.next().unwrap_or_default().split(','));
    let cell = |(name, cell): (&str, &str)| (name.to_owned(), json!(cell.parse::<f64>().unwrap_or_default()));
    let patient: Value = names.zip(cells).filter(|(name, _)| *name != "target").map(cell).collect();
    let answer = kenyon.predict("tumours", patient).await?;
    println!("the first patient: {}, and with 90 % coverage one of {}", answer["label"], answer["set"]);
    kenyon.close().await;
    Ok(())
}
