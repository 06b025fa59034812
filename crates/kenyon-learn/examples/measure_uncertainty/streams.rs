//! A stream in its order: each part is answered by what was learned before it, and then observed.

use crate::foreign::foreign;
use crate::held_out::{calibration_error, novelty, share};
use kenyon_learn::Result;
use kenyon_learn::data::target::Encoded;
use kenyon_learn::data::{Column, Table, Task, plan};
use kenyon_learn::learning::calibrate::SetOptions;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::random::Random;
use serde_json::{Value, json};
use std::time::Instant;

/// Rows over which coverage is a mean.
const WINDOW: usize = 2_000;
/// Rows of a block of errors.
const BLOCK: usize = 100;
/// Rows before the first that is counted.
const BEGIN: usize = 1_000;

/// What is known of an answered row.
struct Answered {
    /// Whether the set of coverage 0.9 held the truth: empty ones allowed, and by default.
    held: [bool; 2],
    confident: Option<(f32, bool)>,
    /// Whether the answer was wrong, or by how much.
    error: f64,
    abstains: bool,
}

/// The least and the largest share over windows of rows.
fn extremes(held: &[bool]) -> [f64; 2] {
    let part = |rows: &[bool]| rows.iter().filter(|h| **h).count() as f64 / rows.len().max(1) as f64;
    let windows: Vec<f64> = (0..held.len().saturating_sub(WINDOW) + 1)
        .step_by(100)
        .map(|from| part(&held[from..(from + WINDOW).min(held.len())]))
        .collect();
    [windows.iter().copied().fold(1.0, f64::min), windows.iter().copied().fold(0.0, f64::max)]
}

/// Observes at most `rows` rows, `each` at a time.
pub(crate) fn measure(table: &Table, plan: &plan::Resolved, rows: usize, each: usize) -> Result<Value> {
    let mut stream = StreamModel::new(&StreamSpec {
        task: plan.task,
        target: plan.target.clone(),
        classes: Vec::new(),
        inputs: plan.inputs.clone(),
        config: Default::default(),
        seed: 0,
    })?;
    let rows = rows.min(table.rows);
    let (mut answered, mut seconds) = (Vec::new(), 0.0);
    for part in (0..rows).collect::<Vec<_>>().chunks(each) {
        let part = table.select(part);
        if stream.rows() >= BEGIN as u64 {
            answer(&stream, &part, plan, &mut answered)?;
        }
        let start = Instant::now();
        stream.observe(&part, &[])?;
        seconds += start.elapsed().as_secs_f64();
    }
    let bundle = stream.publish();
    let last = table.select(&(rows.saturating_sub(500)..rows).collect::<Vec<_>>());
    let mut found = Vec::new();
    for (what, table) in foreign(&last, &mut Random::new(1)) {
        found.push(json!({"what": what, "abstain": share(&novelty(&bundle, &table)?, |n| bundle.abstains(n, None))}));
    }
    let held = |kind: usize| answered.iter().map(|a| a.held[kind]).collect::<Vec<_>>();
    let mean = |held: &[bool]| held.iter().filter(|h| **h).count() as f64 / held.len().max(1) as f64;
    let confident: Vec<(f32, bool)> = answered.iter().filter_map(|a| a.confident).collect();
    let report = stream.report().stream();
    let columns = report["drift"]["columns"].as_array().map_or(0, Vec::len);
    Ok(json!({
        "rows": rows, "each": each, "microseconds": 1e6 * seconds / rows.max(1) as f64,
        "abstain": answered.iter().filter(|a| a.abstains).count() as f64 / answered.len().max(1) as f64,
        "foreign": found,
        "exact": mean(&held(0)), "exact_windows": extremes(&held(0)),
        "default": mean(&held(1)), "default_windows": extremes(&held(1)),
        "begin": BEGIN, "errors": answered.chunks(BLOCK).map(|part| part.iter().map(|a| a.error).sum::<f64>() / part.len() as f64).collect::<Vec<_>>(),
        "accuracy": mean(&confident.iter().map(|c| c.1).collect::<Vec<_>>()),
        "ece": calibration_error(&confident), "horizon": report["horizon"],
        "alarms": {
            "error": report["drift"]["rows"], "inputs": report["drift"]["inputs"]["rows"],
            "columns": columns,
            "column_rows": report["drift"]["columns"].as_array().map(|c| c.iter().map(|c| json!([c["column"], c["row"], c["distance"]])).collect::<Vec<_>>()),
        },
    }))
}

fn answer(stream: &StreamModel, part: &Table, plan: &plan::Resolved, out: &mut Vec<Answered>) -> Result<()> {
    let bundle = stream.publish();
    let answers = bundle.run(&bundle.encode(part)?)?;
    let Some(target) = part.column(&plan.target.name) else { return Ok(()) };
    for row in 0..part.rows {
        let values = &answers.values[row * answers.outputs..(row + 1) * answers.outputs];
        let abstains = bundle.abstains(answers.novelty[row], None);
        if let (Task::Regression, Column::Number(truths)) = (plan.task, target) {
            let interval = bundle.interval(bundle.value(values[0]), answers.error_sizes.get(row).copied(), 0.9);
            let held = interval.is_none_or(|[low, high]| (low..=high).contains(&truths[row]));
            let error = (truths[row] - bundle.value(values[0])).abs();
            out.push(Answered { held: [held; 2], confident: None, error, abstains });
            continue;
        }
        // A class that is new is in no set.
        let class = match bundle.config.target_encoder.encode(&target.select(&[row])) {
            Ok(Encoded::Classes(ids)) => ids[0] as usize,
            _ => usize::MAX,
        };
        let of = |allow_empty| bundle.set(values, SetOptions { allow_empty, ..SetOptions::of(0.9) }).contains(&class);
        let best = values.iter().copied().fold(0.0f32, f32::max);
        let right = values.get(class).is_some_and(|p| *p >= best);
        let error = f64::from(u8::from(!right));
        out.push(Answered { held: [of(true), of(false)], confident: Some((best, right)), error, abstains });
    }
    Ok(())
}
