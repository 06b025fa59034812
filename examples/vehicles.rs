//! Vehicles: how many flights an aircraft engine has left (NASA C-MAPSS FD001), from its sensors.
//!
//!     cargo run --release --example vehicles
//!
//! Train: every cycle of 100 engines that ran to failure. Test: the last known cycle of 100 others. As is
//! usual, remaining life is capped at 125 cycles, since a healthy engine does not show its age.

mod common;

use anyhow::{Context, Result};
use serde_json::json;
use std::fmt::Write;

const SOURCE: &str = "C-MAPSS FD001 by NASA's prognostics data repository (20,631 + 13,096 cycles), as CSV with \
    unit, cycle, op1–op3, s1–s21 and rul";

/// Cycles over which a sensor is averaged, against its noise.
const RECENT: usize = 10;
/// Cycles before those, whose difference gives the trend.
const EARLIER: usize = 20;
/// Longest remaining life that is predicted.
const CAP: f64 = 125.0;

struct Cycle {
    unit: u32,
    cycle: f64,
    sensors: Vec<f64>,
    left: f64,
}

fn read(csv: &str) -> Result<Vec<Cycle>> {
    csv.lines()
        .skip(1)
        .map(|line| {
            let cells = line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
            Ok(Cycle {
                unit: cells[0] as u32,
                cycle: cells[1],
                sensors: cells[5..26].to_vec(),
                left: cells.get(26).context("a row has 27 cells")?.min(CAP),
            })
        })
        .collect()
}

/// One line a cycle: age, each sensor's recent mean, and its change. `last` keeps an engine's last only.
fn table(cycles: &[Cycle], last: bool) -> Result<String> {
    let sensors = cycles.first().map_or(0, |c| c.sensors.len());
    let mut csv = String::from("unit,age");
    for s in 1..=sensors {
        write!(csv, ",level_{s}_now,trend_{s}_now")?;
    }
    csv.push_str(",left\n");
    for (i, now) in cycles.iter().enumerate() {
        if last && cycles.get(i + 1).is_some_and(|next| next.unit == now.unit) {
            continue;
        }
        let start = cycles[..=i].iter().rposition(|c| c.unit != now.unit).map_or(0, |p| p + 1);
        let recent = &cycles[start.max((i + 1).saturating_sub(RECENT))..=i];
        let earlier = &cycles[start.max((i + 1).saturating_sub(RECENT + EARLIER))..=i];
        write!(csv, "{},{}", now.unit, now.cycle)?;
        for s in 0..sensors {
            let mean = |part: &[Cycle]| part.iter().map(|c| c.sensors[s]).sum::<f64>() / part.len() as f64;
            write!(csv, ",{:.6},{:.6}", mean(recent), mean(recent) - mean(earlier))?;
        }
        writeln!(csv, ",{}", now.left)?;
    }
    Ok(csv)
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some(train) = common::data("cmapss_fd001/train.csv.gz", SOURCE)? else { return Ok(()) };
    let Some(test) = common::data("cmapss_fd001/test.csv.gz", SOURCE)? else { return Ok(()) };
    let kenyon = common::Kenyon::connect().await?;
    kenyon.upload("engines", "text/csv", table(&read(&train)?, false)?).await?;
    kenyon.upload("engines_test", "text/csv", table(&read(&test)?, true)?).await?;
    let request = json!({"dataset": "engines", "target": "left", "task": "regression", "features": {"unit": "ignore"}, "seed": 1});
    let job = kenyon.train("engines", request).await?;
    let figures = kenyon.evaluate("engines", "engines_test").await?;
    println!(
        "C-MAPSS FD001: RMSE {:.1} cycles at the last known cycle of 100 engines (peers on raw sensors: ridge 20.8, histogram boosting 17.3)",
        common::metric(&figures, "rmse")?
    );
    println!("trained in {} epochs", job["progress"]["epoch"]);
    kenyon.close().await;
    Ok(())
}
