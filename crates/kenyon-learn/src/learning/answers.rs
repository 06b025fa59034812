//! Answers as rows of a table, for files of any length: a line each as NDJSON or CSV. A row that does not fit has a
//! line of its own with the reason, in its place.

mod in_order;
mod options;

use super::bundle::{Bundle, class_name};
use super::explain::{Contribution, attribute};
use crate::data::Table;
use crate::data::formats::{Limits, RowFile};
use crate::data::rows::{Chunk, ChunkPlan, RowsReader, read_chunks};
use crate::data::schema::ColumnInfo;
use crate::data::target::TargetEncoder;
use crate::models::{LayerCode, layer_code};
use crate::{Detail, Result};
use in_order::in_order;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::Arc;

pub use options::{EmbeddingForm, LineFormat, LineOptions};

/// Rows that are read, answered and written together.
pub const CHUNK: usize = 1024;

/// Lines of some rows.
#[derive(Debug)]
pub struct AnswerLines {
    /// The lines, each with its end.
    pub bytes: Vec<u8>,
    /// Rows of the file so far.
    pub rows: u64,
    /// Rows of these that did not fit.
    pub failed: u64,
}

/// Where the rows of a file are, and which are wanted.
#[derive(Clone, Copy, Debug)]
pub struct LineSource<'a> {
    /// The file.
    pub part: &'a RowFile,
    /// How its rows are read: as the model's own are, or as the file spells them.
    pub reader: &'a RowsReader,
    /// Its columns, where they are part of the answers.
    pub columns: Option<&'a [ColumnInfo]>,
    /// Rows that are passed over.
    pub skip: u64,
    /// Rows of files before this one: the first row has this number.
    pub first: u64,
    /// Whether a line of names comes first, where the format has one.
    pub header: bool,
    /// Bounds on files.
    pub limits: Limits,
    /// Threads that answer, beside the one that reads; with one, this does both.
    pub threads: usize,
}

/// Some rows to answer.
struct Portion {
    names: Arc<Names>,
    /// Whether the line of names comes first.
    header: bool,
    chunk: Chunk,
}

/// Answers every row of a file, on the source's threads. `take` gets the lines of some rows at a time, in their order, and
/// returns whether to continue.
pub fn answer_file(
    bundle: &Bundle,
    source: &LineSource<'_>,
    options: &LineOptions,
    take: &mut dyn FnMut(AnswerLines) -> Result<bool>,
) -> Result<()> {
    let plan = ChunkPlan { reader: source.reader, shown: source.columns, skip: source.skip, rows: CHUNK };
    let mut header = source.header && options.format == LineFormat::Csv;
    let mut names: Option<Arc<Names>> = None;
    let read = |pass: &mut dyn FnMut(Portion) -> Result<bool>| {
        let rows = read_chunks(source.part, &plan, &source.limits, &mut |chunk| {
            let names = names.get_or_insert_with(|| Arc::new(Names::new(bundle, &chunk, options)));
            pass(Portion { names: Arc::clone(names), header: std::mem::take(&mut header), chunk })
        });
        rows.map(drop)
    };
    let answer = |Portion { names, header, chunk }: Portion| {
        let mut bytes = Vec::with_capacity(chunk.table.rows * 96);
        if header {
            names.write_header(&mut bytes);
        }
        write(bundle, &names, &chunk, source.first, options, &mut bytes)?;
        let rows = chunk.first + chunk.table.rows as u64;
        Ok(AnswerLines { bytes, rows, failed: chunk.faults.len() as u64 })
    };
    in_order(source.threads, read, answer, take)
}

/// Names of the fields of a line.
#[derive(Debug)]
struct Names {
    /// Of the file's columns, as far as they are shown.
    shown: Vec<String>,
    /// Of the answer's fields.
    answer: Vec<String>,
    /// `row` and `error`.
    fault: [String; 2],
}

impl Names {
    fn new(bundle: &Bundle, chunk: &Chunk, options: &LineOptions) -> Self {
        let mut taken: HashSet<String> = chunk.names.iter().cloned().collect();
        // A name that a column of the data has gets an underscore.
        let mut own = |name: &str| {
            let mut name = name.to_owned();
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            name
        };
        let answer = fields(bundle, options).into_iter().map(&mut own).collect();
        let fault = [own("row"), own("error")];
        Self { shown: chunk.names.clone(), answer, fault }
    }

    fn write_header(&self, out: &mut Vec<u8>) {
        let names = self.shown.iter().chain(&self.answer).chain([&self.fault[1]]);
        separated(out, names, |out, name| write_field(out, name));
        out.push(b'\n');
    }
}

/// The fields of an answer.
fn fields(bundle: &Bundle, options: &LineOptions) -> Vec<&'static str> {
    let mut fields = vec!["predicted"];
    match bundle.config.target_encoder {
        TargetEncoder::Classes(_) => {
            fields.extend(["probability", "set"]);
            fields.extend(options.top_k.map(|_| "probabilities"));
        }
        TargetEncoder::Number { .. } => fields.extend(["lower", "upper"]),
    }
    fields.extend(["novelty", "verdict"]);
    fields.extend(options.embedding.map(|_| "embedding"));
    fields.extend(options.explain.then_some("explanation"));
    fields
}

/// The values of those fields.
fn values(
    bundle: &Bundle,
    outputs: &[f32],
    (novelty, error_size): (f32, Option<f32>),
    options: &LineOptions,
) -> Vec<Value> {
    let sets = options.sets();
    let mut cells = Vec::with_capacity(6);
    let sure = match &bundle.config.target_encoder {
        TargetEncoder::Classes(classes) => {
            let set = bundle.set(outputs, sets);
            cells.push(bundle.label(outputs).cloned().unwrap_or_default());
            cells.push(short(outputs[bundle.named(outputs)]));
            cells.push(set.iter().map(|&class| classes[class].clone()).collect());
            cells.extend(options.top_k.map(|count| likeliest(classes, outputs, count)));
            bundle.is_sure(outputs, &set)
        }
        TargetEncoder::Number { .. } => {
            let value = bundle.value(outputs[0]);
            let interval = bundle.interval(value, error_size, sets.coverage);
            cells.push(json!(value));
            cells.push(json!(interval.map(|[lower, _]| lower)));
            cells.push(json!(interval.map(|[_, upper]| upper)));
            !bundle.is_wide(interval)
        }
    };
    cells.extend([short(novelty), bundle.verdict(novelty, options.novelty_level, sure).into()]);
    cells
}

/// What an answer is made of, as in an answer to rows of JSON, without the maps of lists; null for a model without
/// a background sample.
fn explanation(bundle: &Bundle, table: &Table, row: usize, outputs: &[f32]) -> Result<Value> {
    let output = if bundle.classes().is_empty() { 0 } else { bundle.named(outputs) };
    let Some(found) = attribute(bundle, table, row, output)? else { return Ok(Value::Null) };
    let feature = |Contribution { name, weight, value, span, .. }: &Contribution| {
        let mut feature = json!({ "name": name, "weight": weight, "value": value });
        if let Some([start, end]) = span {
            (feature["start"], feature["end"]) = (json!(start), json!(end));
        }
        feature
    };
    let features: Vec<Value> = found.features.iter().map(feature).collect();
    Ok(json!({ "baseline": found.baseline, "output": found.output, "unit": found.unit, "features": features }))
}

/// The code of a row.
fn embedding(code: &LayerCode, row: usize, form: EmbeddingForm) -> Value {
    let values = &code.values[row * code.width..(row + 1) * code.width];
    match form {
        EmbeddingForm::Dense => values.iter().copied().map(short).collect(),
        EmbeddingForm::Sparse => {
            let active = values.iter().copied().enumerate().filter(|(_, value)| *value != 0.0);
            let (indices, values): (Vec<Value>, Vec<Value>) =
                active.map(|(unit, value)| (unit.into(), short(value))).unzip();
            json!({ "indices": indices, "values": values })
        }
    }
}

/// A number with the digits that distinguish it from other numbers of its precision.
fn short(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// The likeliest classes with their probabilities.
fn likeliest(classes: &[Value], probabilities: &[f32], count: usize) -> Value {
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let named = order.into_iter().take(count).map(|class| (class_name(&classes[class]), short(probabilities[class])));
    Value::Object(named.collect::<Map<_, _>>())
}

/// Writes the lines of a chunk.
fn write(
    bundle: &Bundle,
    names: &Names,
    chunk: &Chunk,
    first: u64,
    options: &LineOptions,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut faults = chunk.faults.iter().peekable();
    let wrong: HashSet<u64> = chunk.faults.iter().filter_map(|fault| fault.row).collect();
    let fitting: Vec<usize> = (0..chunk.table.rows).filter(|&row| !wrong.contains(&(row as u64))).collect();
    let selected;
    let table = if fitting.len() == chunk.table.rows {
        &chunk.table
    } else {
        selected = chunk.table.select(&fitting);
        &selected
    };
    let (mut answers, mut code) = (None, None);
    if !fitting.is_empty() {
        let batch = bundle.encode(table)?;
        answers = Some(bundle.run(&batch)?);
        if options.embedding.is_some() {
            code = Some(layer_code(&*bundle.network, &batch, options.layer.as_deref())?);
        }
    }
    let mut next = 0;
    for row in 0..chunk.table.rows {
        let cells = chunk.cells.get(row).map_or(&[][..], Vec::as_slice);
        if let Some(fault) = faults.next_if(|fault| fault.row == Some(row as u64)) {
            write_fault(out, names, cells, first + chunk.first + row as u64, fault, options.format);
            continue;
        }
        let Some(answers) = &answers else { continue };
        let outputs = &answers.values[next * answers.outputs..(next + 1) * answers.outputs];
        let novelty = answers.novelty.get(next).copied().unwrap_or(0.0);
        let mut values = values(bundle, outputs, (novelty, answers.error_sizes.get(next).copied()), options);
        if let (Some(form), Some(code)) = (options.embedding, &code) {
            values.push(embedding(code, next, form));
        }
        if options.explain {
            values.push(explanation(bundle, table, next, outputs)?);
        }
        next += 1;
        match options.format {
            LineFormat::Ndjson => {
                write_object(out, names.shown.iter().zip(cells).chain(names.answer.iter().zip(&values)))
            }
            LineFormat::Csv => {
                separated(out, shown(names, cells).chain(&values).chain([&Value::Null]), write_cell);
            }
        }
        out.push(b'\n');
    }
    Ok(())
}

/// A line for a row that does not fit.
fn write_fault(out: &mut Vec<u8>, names: &Names, cells: &[Value], row: u64, fault: &Detail, format: LineFormat) {
    let reason = match &fault.column {
        Some(column) => format!("{column}: {}", fault.reason),
        None => fault.reason.clone(),
    };
    let [row_name, error_name] = &names.fault;
    let (row, error) = (Value::from(row), Value::from(reason));
    match format {
        LineFormat::Ndjson => {
            let own = [(row_name, &row), (error_name, &error)];
            write_object(out, names.shown.iter().zip(cells).chain(own));
        }
        LineFormat::Csv => {
            let empty = names.answer.iter().map(|_| &Value::Null);
            separated(out, shown(names, cells).chain(empty).chain([&error]), write_cell);
        }
    }
    out.push(b'\n');
}

/// The cells of a row, as many as there are names.
fn shown<'a>(names: &'a Names, cells: &'a [Value]) -> impl Iterator<Item = &'a Value> {
    names.shown.iter().enumerate().map(|(i, _)| cells.get(i).unwrap_or(&Value::Null))
}

fn write_object<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'a String, &'a Value)>) {
    out.push(b'{');
    separated(out, fields, |out, (name, value)| {
        // Writing JSON to memory does not fail.
        let _ = serde_json::to_writer(&mut *out, name);
        out.push(b':');
        let _ = serde_json::to_writer(&mut *out, value);
    });
    out.push(b'}');
}

fn separated<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

fn write_cell(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => write_field(out, text),
        Value::Array(_) | Value::Object(_) => write_field(out, &value.to_string()),
        other => drop(serde_json::to_writer(out, other)),
    }
}

/// A text as a field (RFC 4180).
fn write_field(out: &mut Vec<u8>, text: &str) {
    if !text.contains(['"', ',', '\n', '\r']) && text.trim() == text {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for part in text.split_inclusive('"') {
        out.extend_from_slice(part.as_bytes());
        if part.ends_with('"') {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::fixtures::trained;

    #[test]
    fn an_answer_is_sure_only_of_the_class_that_it_names() {
        let (mut bundle, _) = trained(Some("sparse_mlp"));
        let options = LineOptions { coverage: Some(0.5), ..LineOptions::default() };
        let classes = bundle.classes().to_vec();
        let answered = |bundle: &Bundle| {
            let cells = values(bundle, &[0.95, 0.05], (0.0, None), &options);
            [&cells[0], &cells[2], &cells[4]].map(Value::clone)
        };
        assert_eq!(answered(&bundle), [classes[0].clone(), json!([classes[0]]), json!("sure")]);
        // The objective `balanced`: the set is that of the likeliest class, and another one is named.
        bundle.config.decision = vec![0.5, 50.0];
        assert_eq!(answered(&bundle), [classes[1].clone(), json!([classes[0]]), json!("unsure")]);
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let written = |text: &str| {
            let mut out = Vec::new();
            write_field(&mut out, text);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(written("plain"), "plain");
        assert_eq!(written("a,b"), "\"a,b\"");
        assert_eq!(written("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(written(" a"), "\" a\"");
    }
}
