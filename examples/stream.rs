//! Measures streams, prequentially: every row is predicted before it is learned.
//!
//! `cargo run --release --example stream -- elec2 [weather phishing segments spam mnist …] [--no-label-lags]`
//! reads `../shared/data` (or `KENYON_SHARED_DATA`).

use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::ColumnKind;
use kenyon_learn::data::{Column, Table, Task};
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use std::io::Read;
use std::time::Instant;

type Any<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Any<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let lags = !arguments.iter().any(|a| a == "--no-label-lags");
    for name in arguments.iter().filter(|a| !a.starts_with("--")) {
        match name.as_str() {
            "elec2" => csv("elec2", "elec2/elec2.csv.gz", lags)?,
            "weather" => csv("weather", "weather_noaa/weather.csv.gz", lags)?,
            "phishing" => csv("phishing", "phishing/phishing.csv", lags)?,
            "segments" => csv("segments", "image_segments/segment.csv.gz", lags)?,
            "spam" => spam(lags)?,
            "mnist" | "fashion_mnist" => digits(name, false)?,
            "split_mnist" => digits("mnist", true)?,
            "split_fashion" => digits("fashion_mnist", true)?,
            other => return Err(format!("unknown stream {other}").into()),
        }
    }
    Ok(())
}

fn read(path: &str) -> Any<Vec<u8>> {
    let root = std::env::var("KENYON_SHARED_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    let bytes = std::fs::read(std::path::Path::new(&root).join(path))?;
    if !path.ends_with(".gz") {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut out)?;
    Ok(out)
}

fn column(name: &str, kind: ColumnKind, shape: Option<Vec<usize>>) -> ColumnPlan {
    ColumnPlan { shape, ..ColumnPlan::new(name, kind) }
}

fn stream(inputs: Vec<ColumnPlan>, lags: bool) -> Any<StreamModel> {
    let mut config = serde_json::Map::new();
    config.insert("recent_labels".into(), lags.into());
    let target = column("target", ColumnKind::Category, None);
    let mut online = StreamModel::new(&StreamSpec {
        task: Task::Classification,
        target,
        classes: Vec::new(),
        inputs,
        config,
        seed: 7,
    })?;
    online.set_threads(2);
    Ok(online)
}

fn report(name: &str, online: &StreamModel, lags: bool, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{name}: label lags {lags}, rows {}, {:.0} rows/s, {}, drifts {}",
        online.rows(),
        online.rows() as f64 / seconds,
        online.figures().prequential(),
        online.figures().drift_count()
    );
}

fn csv(name: &str, path: &str, lags: bool) -> Any<()> {
    let text = String::from_utf8(read(path)?)?;
    let mut lines = text.lines();
    let mut names: Vec<&str> = lines.next().ok_or("empty")?.split(',').collect();
    names.pop();
    let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
    let mut online = stream(names.iter().map(|n| column(n, ColumnKind::Number, None)).collect(), lags)?;
    let started = Instant::now();
    let texts: Vec<String> = rows.iter().map(|r| format!("{{\"row\":\"{}\"}}", r.join(" "))).collect();
    for (chunk, texts) in rows.chunks(256).zip(texts.chunks(256)) {
        let mut table = Table { rows: chunk.len(), columns: Vec::new() };
        for (i, name) in names.iter().enumerate() {
            let values = chunk.iter().map(|r| r[i].parse()).collect::<Result<Vec<f64>, _>>()?;
            table.columns.push(((*name).into(), Column::Number(values)));
        }
        let labels = chunk.iter().map(|r| Some(r[names.len()].into())).collect();
        table.columns.push(("target".into(), Column::Category(labels)));
        online.observe(&table, &texts.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    report(name, &online, lags, started);
    Ok(())
}

fn spam(lags: bool) -> Any<()> {
    const WIDTH: usize = 39_917;
    let text = String::from_utf8(read("spam_stream_sparse/spam.libsvm.gz")?)?;
    let rows: Vec<&str> = text.lines().collect();
    let mut online = stream(vec![column("words", ColumnKind::Vector, Some(vec![WIDTH]))], lags)?;
    let started = Instant::now();
    for chunk in rows.chunks(64) {
        let mut values = vec![0.0f32; chunk.len() * WIDTH];
        let mut labels = Vec::new();
        for (r, row) in chunk.iter().enumerate() {
            let mut parts = row.split_whitespace();
            labels.push(parts.next().map(Box::from));
            for part in parts {
                let (index, value) = part.split_once(':').ok_or("bad line")?;
                values[r * WIDTH + index.parse::<usize>()?] = value.parse()?;
            }
        }
        let table = Table {
            rows: chunk.len(),
            columns: vec![
                ("words".into(), Column::Vector { width: WIDTH, shape: Some(vec![WIDTH]), values }),
                ("target".into(), Column::Category(labels)),
            ],
        };
        online.observe(&table, &[])?;
    }
    report("spam", &online, lags, started);
    Ok(())
}

/// One pass over the 60,000; with `split`, class after class in five steps of two; then the test set.
fn digits(set: &str, split: bool) -> Any<()> {
    let images = |part: &str| read(&format!("{set}/{part}-images-idx3-ubyte.gz"));
    let labels = |part: &str| read(&format!("{set}/{part}-labels-idx1-ubyte.gz"));
    let (x, y) = (images("train")?, labels("train")?);
    let (x, y) = (&x[16..], &y[8..]);
    let mut order: Vec<usize> = (0..y.len()).collect();
    if split {
        order.sort_by_key(|&i| y[i] / 2);
    }
    let table = |x: &[u8], rows: &[usize], y: Option<&[u8]>| {
        let values = rows.iter().flat_map(|&r| x[r * 784..(r + 1) * 784].iter().map(|&v| f32::from(v))).collect();
        let mut columns = vec![("image".into(), Column::Vector { width: 784, shape: Some(vec![28, 28]), values })];
        if let Some(y) = y {
            let labels = rows.iter().map(|&r| Some(y[r].to_string().into())).collect();
            columns.push(("target".into(), Column::Category(labels)));
        }
        Table { rows: rows.len(), columns }
    };
    let mut online = stream(vec![column("image", ColumnKind::Vector, Some(vec![28, 28]))], false)?;
    let started = Instant::now();
    for rows in order.chunks(256) {
        online.observe(&table(x, rows, Some(y)), &[])?;
    }
    report(set, &online, false, started);
    let (xt, yt) = (images("t10k")?, labels("t10k")?);
    let (xt, yt) = (&xt[16..], &yt[8..]);
    let bundle = online.publish();
    let classes: Vec<u8> = bundle.class_names().iter().map(|c| c.parse()).collect::<Result<_, _>>()?;
    let mut right = 0;
    for rows in (0..yt.len()).collect::<Vec<_>>().chunks(500) {
        let answers = bundle.run_plain(&bundle.encode(&table(xt, rows, None))?)?;
        for (answer, &r) in answers.values.chunks(classes.len()).zip(rows) {
            let best = (0..classes.len()).fold(0, |b, c| if answer[c] > answer[b] { c } else { b });
            right += usize::from(classes[best] == yt[r]);
        }
    }
    println!("{set}: split {split}, test accuracy {:.4}", right as f64 / yt.len() as f64);
    Ok(())
}
