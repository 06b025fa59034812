//! How explanations agree with what replacing a feature by its baseline does to the answer: columns, words, pixels.

use kenyon_learn::data::{Column, Table, Task};
use kenyon_learn::learning::Bundle;
use kenyon_learn::learning::explain::{Contribution, attribute};
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
use serde_json::{Value, json};

/// Rows whose values replace a feature; they are not those of the reference.
const OTHERS: usize = 300;
/// Background rows of the reference.
const BACKGROUND: usize = 100;
/// Orders of the reference.
const ORDERS: usize = 10;

/// Time that this thread has run, which other programs do not lengthen; on Linux.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut out = vec![0.0; values.len()];
    order.iter().enumerate().for_each(|(rank, &at)| out[at] = rank as f64);
    out
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let (ma, mb) = (mean(a), mean(b));
    let product =
        |x: &[f64], mx: f64, y: &[f64], my: f64| x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>();
    product(a, ma, b, mb) / (product(a, ma, a, ma) * product(b, mb, b, mb)).sqrt().max(1e-12)
}

/// The answer for class `output` (or the value) in the explanation's unit, one a row.
fn measured(bundle: &Bundle, table: &Table, output: usize) -> Result<Vec<f64>> {
    let answers = bundle.run(&bundle.encode(table)?)?;
    let one = |values: &[f32]| match bundle.config.task {
        Task::Regression => bundle.value(values[0]),
        Task::Classification => {
            let p = f64::from(values[output]).clamp(1e-7, 1.0 - 1e-7);
            (p / (1.0 - p)).ln()
        }
    };
    Ok(answers.values.chunks_exact(answers.outputs).map(one).collect())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The row repeated, with column `name` made by `make`.
fn with_column(row: &Table, rows: usize, name: &str, make: Column) -> Table {
    let mut table = row.select(&vec![0; rows]);
    for (column, cells) in &mut table.columns {
        if column == name {
            *cells = make.clone();
        }
    }
    table
}

/// Weights of the features of one kind, and what replacing each does to the answer.
fn effects(
    bundle: &Bundle,
    (train, row): (&Table, &Table),
    features: &[Contribution],
    output: usize,
) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
    let own = measured(bundle, row, output)?[0];
    let missing = || Error::internal("no column");
    let some: Vec<usize> = (BACKGROUND.min(train.rows / 2)..train.rows).take(OTHERS).collect();
    let rows = some.len();
    // A picture: each cell.
    if let [Contribution { map: Some(map), name, .. }] = features
        && let Some(Column::Vector { width, shape, values }) = row.column(name)
        && let Some(Column::Vector { values: others, .. }) = train.column(name)
    {
        let (mut weights, mut out) = (Vec::new(), Vec::new());
        let cells: Vec<f32> = map.concat();
        if cells.len() != *width || *width > 128 {
            return Ok(None);
        }
        for (cell, weight) in cells.iter().enumerate() {
            let mut all = Vec::with_capacity(rows * width);
            for (at, other) in some.iter().enumerate() {
                all.extend_from_slice(&values[..*width]);
                all[at * width + cell] = others[other * width + cell];
            }
            let column = Column::Vector { width: *width, shape: shape.clone(), values: all };
            weights.push(f64::from(*weight));
            out.push(own - mean(&measured(bundle, &with_column(row, rows, name, column), output)?));
        }
        return Ok(Some((weights, out)));
    }
    let words: Vec<&Contribution> = features.iter().filter(|f| f.span.is_some()).collect();
    // One text: its words, and what remains of the column.
    let one_text = features.iter().all(|f| words.first().is_some_and(|word| word.name == f.name));
    if one_text && words.len() >= 3 {
        let Some(Column::Text(texts)) = row.column(&words[0].name) else { return Ok(None) };
        let text: Vec<char> = texts[0].as_deref().unwrap_or("").chars().collect();
        let without = |word: &&Contribution| {
            let [start, end] = word.span.unwrap_or_default();
            let kept: String = text[..start].iter().chain(&text[end..]).collect();
            Some(kept.into())
        };
        let column = Column::Text(words.iter().map(without).collect());
        let found = measured(bundle, &with_column(row, words.len(), &words[0].name, column), output)?;
        return Ok(Some((words.iter().map(|w| w.weight).collect(), found.iter().map(|f| own - f).collect())));
    }
    if features.len() < 3 || !words.is_empty() {
        return Ok(None);
    }
    let replaced = |feature: &Contribution| {
        let column = train.column(&feature.name).ok_or_else(missing)?.select(&some);
        Ok(own - mean(&measured(bundle, &with_column(row, rows, &feature.name, column), output)?))
    };
    let out = features.iter().map(replaced).collect::<Result<_>>()?;
    Ok(Some((features.iter().map(|f| f.weight).collect(), out)))
}

/// Weights of columns as `shap.PermutationExplainer` samples them with [`BACKGROUND`] rows: [`ORDERS`] orders and
/// their reverses, each step the mean over all background rows.
fn reference(bundle: &Bundle, train: &Table, row: &Table, names: &[&str], output: usize) -> Result<Vec<f64>> {
    let others = BACKGROUND.min(train.rows);
    let missing = || Error::internal("no column");
    let some: Vec<usize> = (0..others).collect();
    let mut stacked = Vec::new();
    for name in names {
        let mut column = train.column(name).ok_or_else(missing)?.select(&some);
        column.append(row.column(name).ok_or_else(missing)?);
        stacked.push(column);
    }
    let (count, mut random) = (names.len(), Random::new(5));
    let mut weights = vec![0.0; count];
    for at in 0..2 * ORDERS {
        let mut order: Vec<usize> = (0..count).collect();
        random.shuffle(&mut order);
        if at % 2 == 1 {
            order.reverse();
        }
        let columns = (0..count).map(|column| {
            let place = order.iter().position(|&other| other == column).unwrap_or(count);
            let from = |step: usize| (0..others).map(move |other| if place < step { others } else { other });
            let rows: Vec<usize> = (0..=count).flat_map(from).collect();
            (names[column].to_owned(), stacked[column].select(&rows))
        });
        let table = Table { rows: (count + 1) * others, columns: columns.collect() };
        let steps: Vec<f64> = measured(bundle, &table, output)?.chunks(others).map(mean).collect();
        order.iter().enumerate().for_each(|(step, &column)| weights[column] += steps[step + 1] - steps[step]);
    }
    Ok(weights.into_iter().map(|w| w / (2 * ORDERS) as f64).collect())
}

/// Of `rows` rows, the first `references` of which are also explained by the reference.
pub(crate) fn measure(
    bundle: &Bundle,
    (train, test): (&Table, &Table),
    rows: usize,
    references: usize,
) -> Result<Value> {
    let (mut worst, mut seconds, mut own, mut sampled) = (0.0f64, 0.0, Agreement::default(), Agreement::default());
    for at in 0..rows.min(test.rows) {
        let row = test.select(&[at]);
        let answers = bundle.run(&bundle.encode(&row)?)?;
        let largest = |v: &[f32]| (0..v.len()).max_by(|&a, &b| v[a].total_cmp(&v[b])).unwrap_or(0);
        let output = largest(&answers.values);
        let start = processor_seconds().unwrap_or_default();
        let Some(found) = attribute(bundle, test, at, output)? else { continue };
        seconds += processor_seconds().unwrap_or_default() - start;
        let sum: f64 = found.features.iter().map(|f| f.weight).sum();
        worst = worst.max((sum - (found.output - found.baseline)).abs() / found.output.abs().max(1.0));
        let Some((weights, effects)) = effects(bundle, (train, &row), &found.features, output)? else { continue };
        own.add(&weights, &effects);
        if at < references && found.features.iter().all(|f| f.span.is_none() && f.map.is_none()) {
            let names: Vec<&str> = found.features.iter().map(|f| f.name.as_str()).collect();
            sampled.add(&reference(bundle, train, &row, &names, output)?, &effects);
        }
    }
    Ok(json!({
        "rows": own.rows, "off_by": worst, "milliseconds": 1e3 * seconds / rows.min(test.rows).max(1) as f64,
        "rank_correlation": own.mean(own.ranks), "top_right": own.mean(own.top),
        "shap": { "rank_correlation": sampled.mean(sampled.ranks), "top_right": sampled.mean(sampled.top) },
    }))
}

/// Sums over rows of how weights agree with effects, by size.
#[derive(Default)]
struct Agreement {
    ranks: f64,
    top: f64,
    rows: u32,
}

impl Agreement {
    fn add(&mut self, weights: &[f64], effects: &[f64]) {
        let size = |values: &[f64]| values.iter().map(|v| v.abs()).collect::<Vec<_>>();
        let (weights, effects) = (size(weights), size(effects));
        let first = |v: &[f64]| (0..v.len()).max_by(|&a, &b| v[a].total_cmp(&v[b])).unwrap_or(0);
        self.ranks += correlation(&ranks(&weights), &ranks(&effects));
        self.top += f64::from(u8::from(first(&weights) == first(&effects)));
        self.rows += 1;
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.rows > 0).then(|| sum / f64::from(self.rows))
    }
}
