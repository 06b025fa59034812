//! Measures how far novelty, intervals and explanations of a model can be trusted, on rows that it has never seen:
//! `cargo run --release -p kenyon-learn --example measure_uncertainty -- FILE TARGET [--family sparse_mlp]
//! [--most-rows N] [--foreign FILE] [--explain 50] [--task regression] [--config '{}'] [--seed 0]
//! [--stream ROWS]`.
//!
//! Two fifths of the rows are set aside. Of these it prints the share that abstains; of foreign rows (columns of numbers
//! exchanged, columns drawn from different rows, lists shuffled and drowned in noise, letters exchanged, rows of another
//! file) the share found at 1 % false alarms, beside the distance to the third-nearest of all training rows; the coverage
//! of sets and intervals, by quarter of the predicted value; and how explanations agree with what replacing a column by
//! others' values does. With `--stream` rows are observed in their order instead, and those after them predicted.

use kenyon_learn::data::formats::{self, Limits};
use kenyon_learn::data::{Column, Table, Task, plan, schema};
use kenyon_learn::learning::calibrate::SetOptions;
use kenyon_learn::learning::explain::attribute;
use kenyon_learn::learning::fit::Silent;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use kenyon_learn::learning::{Bundle, FitSpec, fit};
use kenyon_learn::models::Family;
use kenyon_learn::random::Random;
use kenyon_learn::{Error, Result};
use std::path::Path;
use std::time::Instant;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn number(name: &str, default: usize) -> usize {
    argument(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Rows unlike those of `table`, by name.
fn foreign(table: &Table, random: &mut Random) -> Vec<(&'static str, Table)> {
    let mut out = Vec::new();
    let numbers: Vec<usize> =
        (0..table.columns.len()).filter(|&at| matches!(table.columns[at].1, Column::Number(_))).collect();
    if numbers.len() > 1 {
        let mut exchanged = table.clone();
        for (at, &to) in numbers.iter().enumerate() {
            exchanged.columns[to].1 = table.columns[numbers[(at + 1) % numbers.len()]].1.clone();
        }
        out.push(("exchanged numbers", exchanged));
    }
    if table.columns.len() > 1 {
        let mut mixed = table.clone();
        for (_, column) in &mut mixed.columns {
            let mut order: Vec<usize> = (0..table.rows).collect();
            random.shuffle(&mut order);
            *column = column.select(&order);
        }
        out.push(("mixed rows", mixed));
    }
    let lists = |column: &Column| matches!(column, Column::Vector { .. } | Column::Series { .. });
    if table.columns.iter().any(|(_, column)| lists(column)) {
        let (mut shuffled, mut noisy) = (table.clone(), table.clone());
        for (_, column) in shuffled.columns.iter_mut().chain(&mut noisy.columns) {
            if let Column::Vector { values, width, .. } = column {
                let mut order: Vec<usize> = (0..*width).collect();
                random.shuffle(&mut order);
                *values = values.chunks_exact(*width).flat_map(|row| order.iter().map(|&i| row[i])).collect();
            }
            if let Column::Series { channels, offsets, values } = column {
                let all = values.clone();
                for row in offsets.windows(2) {
                    let mut order: Vec<usize> = (row[0]..row[1]).collect();
                    random.shuffle(&mut order);
                    for (to, from) in (row[0]..row[1]).zip(order) {
                        values[to * *channels..(to + 1) * *channels]
                            .copy_from_slice(&all[from * *channels..(from + 1) * *channels]);
                    }
                }
            }
        }
        for (_, column) in &mut noisy.columns {
            if let Column::Vector { values, .. } | Column::Series { values, .. } = column {
                let finite = || values.iter().copied().filter(|v| v.is_finite());
                let (low, high) = (finite().fold(f32::MAX, f32::min), finite().fold(f32::MIN, f32::max));
                values.iter_mut().for_each(|v| *v = low + (high - low) * random.uniform());
            }
        }
        out.push(("shuffled lists", shuffled));
        out.push(("noise", noisy));
    }
    if table.columns.iter().any(|(_, column)| matches!(column, Column::Text(_))) {
        let mut strange = table.clone();
        for (_, column) in &mut strange.columns {
            if let Column::Text(texts) = column {
                for text in texts.iter_mut().flatten() {
                    let mut letter = |c: char| {
                        if c.is_alphabetic() { char::from(b'a' + random.below(26) as u8) } else { c }
                    };
                    *text = text.chars().map(&mut letter).collect::<String>().into();
                }
            }
        }
        out.push(("random letters", strange));
        let mut empty = table.select(&[0]);
        for (_, column) in &mut empty.columns {
            if let Column::Text(texts) = column {
                texts[0] = Some("".into());
            }
        }
        out.push(("the empty text", empty));
    }
    out
}

/// Numbers and list elements of rows, standardised by `like`; category names as 0.7 in a slot of their hash.
fn raw(table: &Table, like: &Table) -> Vec<Vec<f32>> {
    let mut rows = vec![Vec::new(); table.rows];
    for ((name, column), (_, known)) in table.columns.iter().zip(&like.columns) {
        let standard = |values: &mut dyn Iterator<Item = f64>| {
            let known: Vec<f64> = values.filter(|v| v.is_finite()).collect();
            let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
            let spread = known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / known.len().max(1) as f64;
            (mean, spread.sqrt().max(1e-9))
        };
        let scaled =
            |v: f64, (mean, spread): (f64, f64)| if v.is_finite() { ((v - mean) / spread) as f32 } else { 0.0 };
        match (column, known) {
            (Column::Number(values), Column::Number(all)) => {
                let scale = standard(&mut all.iter().copied());
                rows.iter_mut().zip(values).for_each(|(row, v)| row.push(scaled(*v, scale)));
            }
            (Column::Vector { width, values, .. }, Column::Vector { values: all, .. }) => {
                let scale = standard(&mut all.iter().map(|v| f64::from(*v)));
                for (row, own) in rows.iter_mut().zip(values.chunks_exact(*width)) {
                    row.extend(own.iter().map(|v| scaled(f64::from(*v), scale)));
                }
            }
            (Column::Category(values), _) => {
                for (row, value) in rows.iter_mut().zip(values) {
                    let mut slots = [0.0; 8];
                    let hash = value.iter().flat_map(|v| v.bytes()).fold(name.len(), |h, b| h * 31 + usize::from(b));
                    slots[hash % 8] = 0.7;
                    row.extend(slots);
                }
            }
            _ => {}
        }
    }
    rows
}

fn nearest(rows: &[Vec<f32>], known: &[Vec<f32>]) -> Vec<f32> {
    let distance = |a: &Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
    let third = |row: &Vec<f32>| {
        let mut found: Vec<f32> = known.iter().map(|other| distance(row, other)).collect();
        if found.len() < 3 { 0.0 } else { *found.select_nth_unstable_by(2, f32::total_cmp).1 }
    };
    rows.iter().map(third).collect()
}

fn quantile(values: &[f32], share: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn share(values: &[f32], holds: impl Fn(f32) -> bool) -> f64 {
    values.iter().filter(|v| holds(**v)).count() as f64 / values.len().max(1) as f64
}

fn novelty(bundle: &Bundle, table: &Table) -> Result<Vec<f32>> {
    let batch = bundle.encode(table)?;
    let mut out = Vec::new();
    for rows in (0..table.rows).collect::<Vec<_>>().chunks(512) {
        out.extend(bundle.run(&batch.select(rows))?.novelty);
    }
    Ok(out)
}

fn measure_novelty(bundle: &Bundle, train: &Table, test: &Table, random: &mut Random) -> Result<()> {
    let ordinary = novelty(bundle, test)?;
    println!("abstain: {:.4} of {} ordinary rows", share(&ordinary, |n| bundle.abstains(n, None)), ordinary.len());
    let some: Vec<usize> = (0..test.rows.min(1_000)).collect();
    let known = raw(&train.select(&(0..train.rows.min(5_000)).collect::<Vec<_>>()), train);
    let plain = nearest(&raw(&test.select(&some), train), &known);
    let (ours, theirs) = (quantile(&ordinary, 0.99), quantile(&plain, 0.99));
    let mut tables = foreign(&test.select(&some), random);
    if let Some(file) = argument("--foreign") {
        let part = formats::detect(Path::new(&file), None, None)?;
        tables.push(("another file", plan::read_table(&[part], &bundle.encoder.inputs, &Limits::default())?));
    }
    for (what, table) in tables {
        let found = novelty(bundle, &table)?;
        println!(
            "{what}: {:.3} found at 1 % false alarms, {:.3} abstain; nearest rows find {:.3}",
            share(&found, |n| n > ours),
            share(&found, |n| bundle.abstains(n, None)),
            share(&nearest(&raw(&table, train), &known), |d| d > theirs),
        );
    }
    Ok(())
}

fn measure_coverage(bundle: &Bundle, test: &Table) -> Result<()> {
    let target = test.column(&bundle.config.target.name).ok_or_else(|| Error::internal("no target"))?;
    let batch = bundle.encode(test)?;
    for coverage in [0.8, 0.9, 0.95] {
        let mut rows: Vec<(f64, bool, f64)> = Vec::new();
        for part in (0..test.rows).collect::<Vec<_>>().chunks(512) {
            let answers = bundle.run(&batch.select(part))?;
            for (i, &row) in part.iter().enumerate() {
                let values = &answers.values[i * answers.outputs..(i + 1) * answers.outputs];
                if let Column::Number(truths) = target
                    && bundle.config.task == Task::Regression
                {
                    let value = bundle.value(values[0]);
                    let interval = bundle.interval(value, answers.error_sizes.get(i).copied(), coverage);
                    let [low, high] = interval.unwrap_or([f64::MIN, f64::MAX]);
                    rows.push((value, (low..=high).contains(&truths[row]), high - low));
                } else if let kenyon_learn::data::target::Encoded::Classes(ids) =
                    bundle.config.target_encoder.encode(&target.select(&[row]))?
                {
                    let options = SetOptions { allow_empty: true, ..SetOptions::of(coverage) };
                    let set = bundle.set(values, options);
                    let best = values.iter().copied().fold(0.0f32, f32::max);
                    rows.push((f64::from(best), set.contains(&(ids[0] as usize)), set.len() as f64));
                }
            }
        }
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let held = |part: &[(f64, bool, f64)]| part.iter().filter(|r| r.1).count() as f64 / part.len().max(1) as f64;
        let quarters: Vec<String> =
            rows.chunks(rows.len().div_ceil(4).max(1)).map(|part| format!("{:.3}", held(part))).collect();
        let size = rows.iter().map(|r| r.2).sum::<f64>() / rows.len().max(1) as f64;
        println!("coverage {coverage}: {:.3}, quarters {}, mean size {size:.4}", held(&rows), quarters.join(" "));
    }
    Ok(())
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

/// What replacing each column by those of other rows does to the answer, in the explanation's unit.
fn replaced(bundle: &Bundle, train: &Table, test: &Table, row: usize, output: usize, name: &str) -> Result<f64> {
    const OTHERS: usize = 100;
    let rows = OTHERS.min(train.rows);
    let mut table = test.select(&vec![row; rows]);
    for (column, cells) in &mut table.columns {
        if column == name {
            *cells =
                train.column(name).ok_or_else(|| Error::internal("no column"))?.select(&(0..rows).collect::<Vec<_>>());
        }
    }
    let mut with_own = table.clone();
    with_own.columns = test.select(&[row]).columns;
    with_own.rows = 1;
    let measure = |table: &Table| -> Result<f64> {
        let answers = bundle.run(&bundle.encode(table)?)?;
        let one = |values: &[f32]| match bundle.config.task {
            Task::Regression => bundle.value(values[0]),
            Task::Classification => {
                let p = f64::from(values[output]).clamp(1e-7, 1.0 - 1e-7);
                (p / (1.0 - p)).ln()
            }
        };
        Ok(answers.values.chunks_exact(answers.outputs).map(one).sum::<f64>() / table.rows as f64)
    };
    Ok(measure(&with_own)? - measure(&table)?)
}

fn measure_explanations(bundle: &Bundle, train: &Table, test: &Table, rows: usize) -> Result<()> {
    let (mut worst, mut seconds, mut agreement, mut top, mut count) = (0.0f64, 0.0, 0.0, 0, 0);
    for row in 0..rows.min(test.rows) {
        let answers = bundle.run(&bundle.encode(&test.select(&[row]))?)?;
        let largest = |v: &[f32]| (0..v.len()).max_by(|&a, &b| v[a].total_cmp(&v[b])).unwrap_or(0);
        let output = largest(&answers.values);
        let start = Instant::now();
        let Some(found) = attribute(bundle, test, row, output)? else { continue };
        seconds += start.elapsed().as_secs_f64();
        let sum: f64 = found.features.iter().map(|f| f.weight).sum();
        worst = worst.max((sum - (found.output - found.baseline)).abs());
        if found.features.len() < 3 || found.features.iter().any(|f| f.span.is_some()) {
            continue;
        }
        let effects: Vec<f64> = found
            .features
            .iter()
            .map(|f| replaced(bundle, train, test, row, output, &f.name).map(f64::abs))
            .collect::<Result<_>>()?;
        let weights: Vec<f64> = found.features.iter().map(|f| f.weight.abs()).collect();
        agreement += correlation(&ranks(&weights), &ranks(&effects));
        top += usize::from(effects.iter().all(|e| *e <= effects[0]));
        count += 1;
    }
    let each = |v: f64| v / count.max(1) as f64;
    println!(
        "explanations: off by {worst:.1e} at most, {:.2} ms a row; rank correlation {:.3}, top reason right {:.3}",
        1e3 * seconds / rows.max(1) as f64,
        each(agreement),
        each(top as f64),
    );
    Ok(())
}

/// Observes the first `rows` rows in their order, and prints how many of the rows after them abstain: 500 as they are,
/// and 500 whose columns of numbers are exchanged.
fn measure_stream(table: &Table, plan: &plan::Resolved, rows: usize) -> Result<()> {
    let mut stream = StreamModel::new(&StreamSpec {
        task: plan.task,
        target: plan.target.clone(),
        classes: Vec::new(),
        inputs: plan.inputs.clone(),
        config: Default::default(),
        seed: 0,
    })?;
    let start = Instant::now();
    for part in (0..rows.min(table.rows)).collect::<Vec<_>>().chunks(100) {
        stream.observe(&table.select(part), &[])?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let bundle = stream.publish();
    let next = table.select(&(rows.min(table.rows)..(rows + 500).min(table.rows)).collect::<Vec<_>>());
    let abstain = |table: &Table| Ok::<_, Error>(share(&novelty(&bundle, table)?, |n| bundle.abstains(n, None)));
    println!("after {rows} observed in order ({seconds:.1} s): {:.4} of the next 500 abstain", abstain(&next)?);
    for (what, table) in foreign(&next, &mut Random::new(1)) {
        println!("{what}: {:.3} abstain", abstain(&table)?);
    }
    Ok(())
}

fn main() -> Result<()> {
    let usage = || Error::internal("measure_uncertainty FILE TARGET");
    let file = std::env::args().nth(1).ok_or_else(usage)?;
    let target = std::env::args().nth(2).ok_or_else(usage)?;
    let limits = Limits::default();
    let part = formats::detect(Path::new(&file), None, None)?;
    let task = argument("--task").map(|t| if t == "regression" { Task::Regression } else { Task::Classification });
    let schema = schema::infer(&part, &limits)?;
    let plan = plan::resolve(&schema, &Default::default(), &target, task)?;
    let table = plan::read_table(std::slice::from_ref(&part), &plan.all(), &limits)?;
    if let Some(rows) = argument("--stream").and_then(|rows| rows.parse().ok()) {
        return measure_stream(&table, &plan, rows);
    }
    let seed = number("--seed", 0) as u64;
    let mut random = Random::stream(seed, "set aside", 0);
    let mut order: Vec<usize> = (0..table.rows).collect();
    random.shuffle(&mut order);
    order.truncate(number("--most-rows", usize::MAX));
    let (train, test) = order.split_at(order.len() * 3 / 5);
    let (train, test) = (table.select(train), table.select(test));
    let spec = FitSpec {
        target,
        family: argument("--family").and_then(|name| Family::named(&name)),
        task: Some(plan.task),
        seed,
        config: serde_json::from_str(&argument("--config").unwrap_or_else(|| "{}".into())).map_err(Error::internal)?,
        ..FitSpec::default()
    };
    let start = Instant::now();
    let bundle = fit(&train, &plan, &spec, 1, None, &Silent)?.bundle;
    let family = bundle.config.family.name();
    println!("{file}: {family}, {} rows learned in {:.1} s", train.rows, start.elapsed().as_secs_f64());
    let inputs = |table: &Table| {
        let used = |name: &String| bundle.encoder.fields.iter().any(|field| field.name == *name);
        let columns = table.columns.iter().filter(|(name, _)| used(name)).cloned().collect();
        Table { rows: table.rows, columns }
    };
    let (known, new) = (inputs(&train), inputs(&test));
    measure_novelty(&bundle, &known, &new, &mut random)?;
    measure_coverage(&bundle, &test)?;
    measure_explanations(&bundle, &known, &new, number("--explain", 30))
}
