//! Novelty, coverage and calibration of a model on rows that it has not seen.

use crate::foreign::{foreign, nearest, raw};
use kenyon_learn::Result;
use kenyon_learn::data::target::Encoded;
use kenyon_learn::data::{Column, Table, Task};
use kenyon_learn::learning::Bundle;
use kenyon_learn::learning::calibrate::SetOptions;
use kenyon_learn::random::Random;
use serde_json::{Map, Value, json};

/// Rows of a forward pass.
const CHUNK: usize = 512;
/// Classes with fewer held-out rows are not measured by themselves.
const CLASS_ROWS: usize = 100;
/// Bins of the calibration error.
const BINS: usize = 15;

fn quantile(values: &[f32], share: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

pub(crate) fn share(values: &[f32], holds: impl Fn(f32) -> bool) -> f64 {
    values.iter().filter(|v| holds(**v)).count() as f64 / values.len().max(1) as f64
}

pub(crate) fn novelty(bundle: &Bundle, table: &Table) -> Result<Vec<f32>> {
    let batch = bundle.encode(table)?;
    let mut out = Vec::new();
    for rows in (0..table.rows).collect::<Vec<_>>().chunks(CHUNK) {
        out.extend(bundle.run(&batch.select(rows))?.novelty);
    }
    Ok(out)
}

/// Rows as lines of numbers, for other detectors.
fn write(folder: &str, name: &str, rows: &[Vec<f32>]) -> Result<()> {
    let lines: Vec<String> =
        rows.iter().map(|row| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",")).collect();
    let path = std::path::Path::new(folder).join(format!("{}.csv", name.replace(' ', "_")));
    std::fs::write(path, lines.join("\n")).map_err(kenyon_learn::Error::internal)
}

/// The share of ordinary rows that abstain, and of foreign ones that are found.
pub(crate) fn measure_novelty(
    bundle: &Bundle,
    (train, test): (&Table, &Table),
    others: Option<Table>,
    folder: Option<&str>,
    random: &mut Random,
) -> Result<Value> {
    let ordinary = novelty(bundle, test)?;
    let some: Vec<usize> = (0..test.rows.min(1_000)).collect();
    let known = raw(&train.select(&(0..train.rows.min(5_000)).collect::<Vec<_>>()), train);
    let usual = raw(&test.select(&some), train);
    if let Some(folder) = folder {
        write(folder, "known", &known)?;
        write(folder, "ordinary", &usual)?;
    }
    let plain = nearest(&usual, &known);
    let (ours, theirs) = (quantile(&ordinary, 0.99), quantile(&plain, 0.99));
    let mut tables = foreign(&test.select(&some), random);
    tables.extend(others.map(|table| ("another file", table)));
    let mut found = Vec::new();
    for (what, table) in tables {
        let novel = novelty(bundle, &table)?;
        let rows = raw(&table, train);
        if let Some(folder) = folder {
            write(folder, what, &rows)?;
        }
        let by_distance = rows.first().is_some_and(|row| !row.is_empty());
        found.push(json!({
            "what": what, "found": share(&novel, |n| n > ours), "abstain": share(&novel, |n| bundle.abstains(n, None)),
            "nearest": by_distance.then(|| share(&nearest(&rows, &known), |d| d > theirs)),
        }));
    }
    Ok(json!({
        "rows": ordinary.len(), "abstain": share(&ordinary, |n| bundle.abstains(n, None)), "foreign": found,
    }))
}

/// One answer: what it is ordered by, whether sets (empty ones allowed, default, by class) hold the truth, size, class.
struct Answer {
    order: f64,
    held: [bool; 3],
    size: f64,
    class: usize,
}

fn held(rows: &[&Answer], kind: usize) -> f64 {
    rows.iter().filter(|r| r.held[kind]).count() as f64 / rows.len().max(1) as f64
}

/// Coverage at 80, 90 and 95 %, and the calibration error of classes.
pub(crate) fn measure_coverage(bundle: &Bundle, test: &Table) -> Result<Map<String, Value>> {
    let Some(target) = test.column(&bundle.config.target.name) else { return Ok(Map::new()) };
    let batch = bundle.encode(test)?;
    let mut runs = Vec::new();
    for part in (0..test.rows).collect::<Vec<_>>().chunks(CHUNK) {
        runs.push((part.to_vec(), bundle.run(&batch.select(part))?));
    }
    let (mut out, mut confident) = (Map::new(), Vec::new());
    for coverage in [0.8, 0.9, 0.95] {
        let mut answers = Vec::new();
        for (part, run) in &runs {
            for (i, &row) in part.iter().enumerate() {
                let values = &run.values[i * run.outputs..(i + 1) * run.outputs];
                if let Column::Number(truths) = target
                    && bundle.config.task == Task::Regression
                {
                    let value = bundle.value(values[0]);
                    let interval = bundle.interval(value, run.error_sizes.get(i).copied(), coverage);
                    let [low, high] = interval.unwrap_or([f64::MIN, f64::MAX]);
                    let held = [(low..=high).contains(&truths[row]); 3];
                    answers.push(Answer { order: value, held, size: high - low, class: 0 });
                } else if let Encoded::Classes(ids) = bundle.config.target_encoder.encode(&target.select(&[row]))? {
                    let class = ids[0] as usize;
                    let of = |allow_empty, by_class| bundle.set(values, SetOptions { coverage, allow_empty, by_class });
                    let sets = [of(true, false), of(false, false), of(true, true)];
                    let held = [0, 1, 2].map(|kind| sets[kind].contains(&class));
                    let best = values.iter().copied().fold(0.0f32, f32::max);
                    if coverage == 0.8 {
                        let right = values.get(class).is_some_and(|p| *p >= best);
                        confident.push((best, right));
                    }
                    answers.push(Answer { order: f64::from(best), held, size: sets[1].len() as f64, class });
                }
            }
        }
        answers.sort_by(|a, b| a.order.total_cmp(&b.order));
        let all: Vec<&Answer> = answers.iter().collect();
        let quarters: Vec<f64> = all.chunks(all.len().div_ceil(4).max(1)).map(|part| held(part, 0)).collect();
        let classes = all.iter().map(|a| a.class).max().unwrap_or(0) + 1;
        let by_class: Vec<f64> = (0..classes)
            .map(|class| all.iter().copied().filter(|a| a.class == class).collect::<Vec<_>>())
            .filter(|rows| rows.len() >= CLASS_ROWS && classes > 1)
            .map(|rows| held(&rows, 2))
            .collect();
        let size = all.iter().map(|a| a.size).sum::<f64>() / all.len().max(1) as f64;
        out.insert(
            format!("coverage {coverage}"),
            json!({
                "exact": held(&all, 0), "default": held(&all, 1), "quarters": quarters, "by_class": by_class,
                "mean_size": size,
            }),
        );
    }
    if !confident.is_empty() {
        out.insert("ece".into(), json!(calibration_error(&confident)));
        let right = confident.iter().filter(|c| c.1).count() as f64 / confident.len() as f64;
        out.insert("accuracy".into(), json!(right));
    }
    Ok(out)
}

/// Expected calibration error of (confidence, right), in [`BINS`] equal bins.
pub(crate) fn calibration_error(answers: &[(f32, bool)]) -> f64 {
    let mut bins = [(0.0f64, 0.0f64); BINS];
    for &(p, right) in answers {
        let bin = &mut bins[((p * BINS as f32) as usize).min(BINS - 1)];
        *bin = (bin.0 + f64::from(p), bin.1 + f64::from(u8::from(right)));
    }
    bins.iter().map(|(p, right)| (p - right).abs()).sum::<f64>() / answers.len().max(1) as f64
}
