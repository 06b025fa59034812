//! A model trained by a server, in a plain candle program: the same answers, more training by candle's own optimiser, and
//! back as a new version.
//!
//!     cargo run --release --example candle

#[path = "../common/mod.rs"]
mod common;
mod model;

use anyhow::{Context, Result};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<()> {
    let kenyon = common::Kenyon::connect().await?;
    let csv = include_str!("../iris.csv");
    kenyon.upload("iris", "text/csv", csv.to_owned()).await?;
    kenyon.train("iris", json!({"dataset": "iris", "target": "species", "seed": 1})).await?;

    let files = model::unpacked(&kenyon.download("/models/iris/versions/1/export?format=bundle").await?)?;
    let row = json!({"sepal_length": 6.0, "sepal_width": 2.7, "petal_length": 5.1, "petal_width": 1.6});
    let body = json!([row]).to_string();
    println!("candle: {:?}", model::probabilities(&files, body.as_bytes())?[0]);
    println!("server: {}", kenyon.predict("iris", row.clone()).await?["probabilities"]);

    let (rows, classes) = labelled(csv)?;
    let trained = model::trained_further(&files, rows.to_string().as_bytes(), &classes, 100)?;
    println!("loss {:.4} before and {:.4} after 100 steps of AdamW", trained.losses[0], trained.losses[1]);
    let imported = kenyon.send("/models/iris/import", trained.archive).await?;
    println!("imported as version {}", imported["version"]);
    println!("server: {}", kenyon.predict("iris", row).await?["probabilities"]);
    kenyon.close().await;
    Ok(())
}

/// The rows of the file as a list, and their classes in the order of the server, which is alphabetical.
fn labelled(csv: &str) -> Result<(serde_json::Value, Vec<u32>)> {
    let (header, body) = csv.split_once('\n').context("a header")?;
    let names: Vec<&str> = header.split(',').collect();
    let (mut rows, mut classes) = (Vec::new(), Vec::new());
    for line in body.lines().filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        let numbers = names.iter().zip(&cells).take(names.len() - 1);
        let row = numbers.map(|(name, cell)| Ok(((*name).to_owned(), cell.parse::<f64>()?.into())));
        rows.push(serde_json::Value::Object(row.collect::<Result<_>>()?));
        let species = ["setosa", "versicolor", "virginica"];
        let class = species.iter().position(|name| cells.last() == Some(name)).context("a species")?;
        classes.push(class as u32);
    }
    Ok((json!(rows), classes))
}
