//! `kenyon demo`: the main job on bundled real data, from upload to predictions.

use super::client::Client;
use super::{Connection, show};
use crate::app::App;
use crate::config::Config;
use anyhow::Context as _;
use kenyon_learn::data::bundled;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::io::Read;

/// Every fifth row is held back from training and predicted afterwards.
const HELD_BACK: usize = 5;

/// Starts a server, uploads the UCI optical digits, trains, predicts, and continues serving.
pub(super) async fn run(config: Config, exit: bool, json: bool) -> anyhow::Result<()> {
    let key = config.master_key.reveal().to_owned();
    let running = App::start(config).await?;
    let server = format!("http://{}", running.addr);
    let connection = Connection { server: Some(server.clone()), key: (!key.is_empty()).then_some(key), cacert: None };
    let client = Client::new(&connection)?;
    let show = |line: String| {
        if !json {
            print_line!("{line}");
        }
    };

    show(format!("Kenyon serves {server}"));
    let (training, test_rows) = digits()?;
    let sent = client
        .checked(
            client.request(Method::PUT, "/api/v1/datasets/digits").header("content-type", "text/csv").body(training),
        )
        .await?
        .json::<Value>()
        .await?;
    show(format!("sent {} images of 8×8 grey values (UCI optical digits, CC BY 4.0)", sent["rows"]));
    let request = json!({"dataset": "digits", "target": "label", "seed": 7});
    let job = client.json(Method::POST, "/api/v1/models/digits/train", Some(&request)).await?;
    let job = client.follow(job["id"].as_str().unwrap_or_default(), json).await?;
    show(format!("trained version {}: on held-out rows {}", job["version"], show::metrics(&job["metrics"])));

    let rows: Vec<&Map<String, Value>> = test_rows.iter().map(|(row, _)| row).collect();
    let body = json!({"rows": rows, "coverage": 0.95});
    let answer = client.json(Method::POST, "/api/v1/models/digits/predict", Some(&body)).await?;
    let predictions = answer["predictions"].as_array().context("the server did not answer")?;
    let right = predictions.iter().zip(&test_rows).filter(|(p, (_, truth))| p["label"] == *truth).count();
    let accuracy = right as f64 / test_rows.len().max(1) as f64;
    show(format!("test accuracy {accuracy:.4} on {} images it has never seen", test_rows.len()));
    for (prediction, (_, truth)) in predictions.iter().zip(&test_rows).take(5) {
        show(format!(
            "  truth {truth}  answer {}  probability {:.3}  95 % set {}",
            prediction["label"],
            prediction["probability"].as_f64().unwrap_or(0.0),
            prediction["set"]
        ));
    }
    if json {
        print_line!(
            "{}",
            json!({"server": server, "test_accuracy": accuracy, "test_rows": test_rows.len(), "job": job})
        );
    }
    if exit {
        running.shutdown().await;
        return Ok(());
    }
    show(format!("dashboard: {server}/  (stop with Ctrl-C)"));
    tokio::signal::ctrl_c().await?;
    running.shutdown().await;
    Ok(())
}

/// Rows to predict, each with its true label.
type TestRows = Vec<(Map<String, Value>, Value)>;

/// The digits as CSV to train on, and every fifth row to predict.
fn digits() -> anyhow::Result<(Vec<u8>, TestRows)> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bundled::DIGITS).read_to_end(&mut text)?;
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let label = names.iter().position(|name| name == "target").context("the digits have no label")?;
    // Numbered columns `p0`…`p63` are read as one vector `p` of 8×8 without a setting.
    let mut header: Vec<String> = (0..names.len()).map(|i| format!("p{i}")).collect();
    header[label] = "label".into();
    let mut training = csv::Writer::from_writer(Vec::new());
    training.write_record(&header)?;
    let mut test_rows = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = record?;
        if number % HELD_BACK != 0 {
            training.write_record(&record)?;
            continue;
        }
        let mut row = Map::new();
        let mut pixels = Vec::with_capacity(record.len());
        for (i, cell) in record.iter().enumerate() {
            if i != label {
                pixels.push(Value::from(cell.parse::<f64>()?));
            }
        }
        row.insert("p".into(), pixels.into());
        let truth = record[label].parse::<i64>()?;
        test_rows.push((row, truth.into()));
    }
    Ok((training.into_inner()?, test_rows))
}
