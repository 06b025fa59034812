//! Vision: handwritten digits, 8 × 8 pixels, by five-fold cross-validation.
//!
//!     cargo run --release --example vision
//!
//! Sixty-four numbered columns are read as one `vector` of shape 8 × 8, so that the model reads a picture.
//! The data are bundled with Kenyon: UCI optdigits' test set, 1,797 rows, CC BY 4.0 (`crates/kenyon-learn/src/data/bundled/SOURCES.md`).

mod common;

use anyhow::Result;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<()> {
    let csv = common::inflated(kenyon_learn::data::bundled::DIGITS)?;
    // Columns named by row and column become p0 … p63; the target keeps its name.
    let (header, rows) = csv.split_once('\n').unwrap_or((&csv, ""));
    let width = header.split(',').count() - 1;
    let target = header.rsplit(',').next().unwrap_or("target").trim();
    let names: Vec<String> = (0..width).map(|i| format!("p{i}")).chain([target.to_owned()]).collect();
    let csv = format!("{}\n{rows}", names.join(","));

    let kenyon = common::Kenyon::connect().await?;
    println!("digits, hybrid: local groups of k-winners and a readout from sums");
    let request = json!({"target": target, "family": "hybrid", "task": "classification", "validation": 0.1, "seed": 1});
    let accuracy = common::cross_validate(&kenyon, "digits", &csv, &request).await?;
    println!("accuracy {accuracy:.4} (peers, five-fold: SVM .982, CatBoost .982, random forest .977, LightGBM .973)");

    let one: Vec<f64> =
        csv.lines().nth(1).unwrap_or_default().split(',').take(width).filter_map(|v| v.parse().ok()).collect();
    let answer = kenyon.predict("digits", json!({ "p": one })).await?;
    println!(
        "the first picture is a {} (probability {:.3})",
        answer["label"],
        answer["probability"].as_f64().unwrap_or(0.0)
    );
    kenyon.close().await;
    Ok(())
}
