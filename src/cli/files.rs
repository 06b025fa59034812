//! Commands on files alone, without a server.

use super::client::Client;
use super::train::Train;
use super::{Connection, local_bundle, show};
use crate::jobs;
use crate::serving::exchange;
use crate::serving::reasons::Terms;
use anyhow::{Context as _, bail};
use kenyon_learn::data::formats::{self, Format, Limits, RowFile};
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::Features;
use kenyon_learn::data::vectors::{self, CellVectors};
use kenyon_learn::data::{ColumnInfo, Table, plan, schema};
use kenyon_learn::encoders;
use kenyon_learn::learning::answers::{LineFormat, LineOptions, LineSource, answer_file};
use kenyon_learn::learning::calibrate::SetOptions;
use kenyon_learn::learning::explain::attribute;
use kenyon_learn::learning::verify::verified_files;
use kenyon_learn::learning::{self, Bundle, FitSpec, Monitor, Objective, Progress, Validation};
use kenyon_learn::models::{Family, Task};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a bundle's files that are read at most.
const LIMIT: u64 = 4 << 30;

/// Columns that an explanation on a terminal names.
const REASONS: usize = 3;

/// Requests the probability of each class.
pub(super) const EVERY_CLASS: usize = 1_000_000;

/// Rows passed on in one call.
const CHUNK: usize = 1000;

/// Rows read from a file in one go; a file is read once for each portion.
const PORTION: usize = 50_000;

/// Shows a training on the terminal.
struct Shown(show::Bar);

impl Monitor for Shown {
    fn progress(&self, progress: &Progress, epoch_ended: bool) {
        if (epoch_ended || progress.step.is_multiple_of(16))
            && let Ok(value) = serde_json::to_value(progress)
        {
            self.0.progress(&value);
        }
    }
    fn log(&self, line: &str) {
        self.0.log(line);
    }
    fn canceled(&self) -> bool {
        false
    }
    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        false
    }
    fn checkpoint(&self, _step: u64, _bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        Ok(())
    }
}

/// Trains on a file and writes the bundle next to it.
pub(super) fn train(args: &Train, out: &Path, json: bool) -> anyhow::Result<()> {
    let part =
        formats::detect(&args.file, None, None).with_context(|| format!("cannot read {}", args.file.display()))?;
    let limits = Limits::default();
    let (part, summary, _) = schema::infer_upload(part, &Default::default(), None, &limits).map_err(explain)?;
    let features: Features =
        serde_json::from_value(Value::Object(args.features.iter().cloned().collect())).context("--feature")?;
    let word = |text: &Option<String>| text.clone().map(Value::String);
    let task: Option<Task> = word(&args.task).map(serde_json::from_value).transpose().context("--task")?;
    let family: Option<Family> = word(&args.family).map(serde_json::from_value).transpose().context("--family")?;
    let objective: Option<Objective> =
        word(&args.objective).map(serde_json::from_value).transpose().context("--objective")?;
    let resolved = plan::resolve(&summary, &features, &args.target, task).map_err(explain)?;
    let (table, mut warnings) =
        plan::read_table_noting(std::slice::from_ref(&part), &resolved.all(), &limits).map_err(explain)?;
    let spec = FitSpec {
        target: args.target.clone(),
        family,
        task,
        validation: args.validation.map_or(Validation::Auto, Validation::Share),
        seed: args.seed.unwrap_or(0),
        config: args.settings.iter().cloned().collect(),
        objective: objective.unwrap_or_default(),
        device: args.device.unwrap_or_default(),
        ..FitSpec::default()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bar = show::Bar::job(json);
    let fitted = learning::fit(&table, &resolved, &spec, threads, None, &Shown(bar.clone())).map_err(explain)?;
    bar.finish();
    let files = verified_files(&fitted, &table).map_err(explain)?;
    let packed = exchange::pack(files.iter().map(|(name, bytes)| (*name, bytes.as_slice())), &[]).map_err(explain)?;
    write_atomically(out, &packed)?;
    warnings.extend(fitted.warnings);
    if json {
        let notes = &fitted.notes;
        print_line!("{}", json!({"file": out, "metrics": fitted.metrics, "notes": notes, "warnings": warnings}));
    } else {
        for warning in &warnings {
            print_line!("{warning}");
        }
        for note in &fitted.notes {
            print_line!("{note}");
        }
        print_line!("{}: {}", out.display(), show::metrics(&Value::Object(fitted.metrics)));
    }
    Ok(())
}

fn write_atomically(out: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(file.path(), bytes)?;
    file.as_file().sync_all()?;
    file.persist(out).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(())
}

/// The bundle's file for `model`: a path, or the one that `train` wrote without a server.
pub(super) async fn find_bundle(model: &str, connection: &Connection) -> anyhow::Result<Option<PathBuf>> {
    let path = PathBuf::from(model);
    if path.is_file() {
        return Ok(Some(path));
    }
    // No model of a server has such a name.
    if model.contains(['.', '/', '\\']) {
        bail!("there is no file {model}");
    }
    if Client::if_running(connection).await?.is_some() {
        return Ok(None);
    }
    // A server that is slow to answer may have it.
    Ok(Some(local_bundle(model)).filter(|local| local.is_file()))
}

fn load(path: &Path) -> anyhow::Result<Bundle> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = tempfile::tempdir()?;
    let files = exchange::unpack(&bytes, LIMIT, folder.path()).map_err(explain)?;
    // Those that the bundle contains; they are read into memory.
    let mut carried = HashMap::new();
    for encoder in std::fs::read_dir(folder.path())? {
        let encoder = encoder?.path();
        let digest = encoder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let opened = encoders::open(&digest, &encoder, crate::config::cores()).map_err(explain)?;
        carried.insert(digest, opened as Arc<dyn CellVectors>);
    }
    vectors::provide(move |digest| Ok(carried.get(digest).cloned()));
    Bundle::load(|name| files.iter().find(|(n, _)| *n == name).map(|(_, b)| b.as_slice())).map_err(explain)
}

/// Reads a file with its target by a model's plan.
fn read_labelled(bundle: &Bundle, file: &Path) -> anyhow::Result<Table> {
    let (limits, config) = (Limits::default(), &bundle.config);
    let (part, summary, _) =
        schema::infer_upload(detected(file)?, &Default::default(), None, &limits).map_err(explain)?;
    let plans = jobs::evaluation_columns(&config.target, &bundle.encoder.inputs, config.weight.as_deref(), &summary)
        .map_err(explain)?;
    plan::read_table(&[part], &plans, &limits).map_err(explain)
}

/// The standard input as a file.
pub(super) fn spooled() -> anyhow::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("cannot read the standard input")?;
    Ok(file)
}

/// The media type that a server is to read a file as; none where it detects that itself.
pub(super) fn media_type(file: &Path) -> anyhow::Result<Option<&'static str>> {
    Ok(match detected(file)?.format {
        Format::Csv => Some("text/csv"),
        Format::Ndjson => Some("application/x-ndjson"),
        Format::Parquet => Some("application/vnd.apache.parquet"),
        _ => None,
    })
}

fn checked(coverage: Option<f64>) -> anyhow::Result<()> {
    if coverage.is_some_and(|c| !(c > 0.0 && c < 1.0)) {
        bail!("--coverage must lie between 0 and 1");
    }
    Ok(())
}

/// Predicts the rows of a file as CSV.
pub(super) fn predict_csv(
    bundle: &Path,
    file: &Path,
    (coverage, explained): (Option<f64>, bool),
) -> anyhow::Result<()> {
    checked(coverage)?;
    let bundle = load(bundle)?;
    let part = detected(file)?;
    let limits = Limits::default();
    let source = LineSource {
        part: &part,
        reader: bundle.reader(),
        columns: None,
        skip: 0,
        first: 0,
        header: true,
        limits,
        threads: crate::config::cores(),
    };
    let top_k = Some(EVERY_CLASS);
    let options =
        LineOptions { format: LineFormat::Csv, coverage, top_k, explain: explained, ..LineOptions::default() };
    answer_file(&bundle, &source, &options, &mut |lines| {
        show::bytes(&lines.bytes);
        Ok(true)
    })
    .map_err(explain)
}

/// Predicts the rows of a file, with sets or intervals of some coverage and with explanations where wanted.
pub(super) fn predict(bundle: &Path, file: &Path, wanted: (Option<f64>, bool), json: bool) -> anyhow::Result<()> {
    checked(wanted.0)?;
    let bundle = load(bundle)?;
    let mut rows = PlannedRows::open(file, bundle.encoder.inputs.clone())?;
    while let Some(chunk) = rows.next()? {
        let table = bundle.reader().from_values(&chunk).map_err(explain)?;
        predict_rows(&bundle, &table, wanted, json)?;
    }
    Ok(())
}

fn predict_rows(
    bundle: &Bundle,
    table: &Table,
    (coverage, explained): (Option<f64>, bool),
    json: bool,
) -> anyhow::Result<()> {
    let answers = bundle.run(&bundle.encode(table).map_err(explain)?).map_err(explain)?;
    for (at, (row, novelty)) in answers.values.chunks_exact(answers.outputs).zip(&answers.novelty).enumerate() {
        let mut out = Map::new();
        match bundle.label(row) {
            Some(label) => {
                out.insert("label".into(), label.clone());
                out.insert("probability".into(), shortest(row[bundle.named(row)]));
                if let Some(coverage) = coverage {
                    let set = bundle.set(row, SetOptions::of(coverage));
                    let set: Vec<Value> = set.into_iter().map(|c| bundle.classes()[c].clone()).collect();
                    out.insert("set".into(), set.into());
                }
            }
            None => {
                let value = bundle.value(row[0]);
                let error_size = answers.error_sizes.get(at).copied();
                out.insert("value".into(), value.into());
                if let Some(interval) = coverage.and_then(|c| bundle.interval(value, error_size, c)) {
                    out.insert("interval".into(), json!(interval));
                }
            }
        }
        out.insert("novelty".into(), shortest(*novelty));
        out.insert("abstained".into(), bundle.abstains(*novelty, None).into());
        if explained {
            let output = if bundle.classes().is_empty() { 0 } else { bundle.named(row) };
            let found = attribute(bundle, table, at, output).map_err(explain)?;
            out.insert("explanation".into(), serde_json::to_value(found.map(Terms::from))?);
        }
        print_prediction(&Value::Object(out), json);
    }
    Ok(())
}

/// A number of 32 bits as the server writes it: the fewest digits that distinguish it from its neighbours.
fn shortest(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// One answer: the whole object as a line of JSON, or the prediction alone.
pub(super) fn print_prediction(prediction: &Value, json: bool) {
    if json {
        print_line!("{prediction}");
        return;
    }
    let answer = if prediction["label"].is_null() { &prediction["value"] } else { &prediction["label"] };
    let mut line = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
    for (name, text) in [("set", "set"), ("interval", "interval")] {
        if !prediction[name].is_null() {
            line.push_str(&format!("\t{text} {}", prediction[name]));
        }
    }
    if prediction["abstained"] == true {
        line.push_str("\tunlike anything seen");
    }
    let reasons = prediction["explanation"]["features"].as_array().into_iter().flatten().take(REASONS);
    for reason in reasons {
        let weight = reason["weight"].as_f64().unwrap_or(0.0);
        line.push_str(&format!("\t{} {weight:+.3}", reason["name"].as_str().unwrap_or_default()));
    }
    print_line!("{line}");
}

/// The metrics of a bundle on a file.
pub(super) fn evaluate(bundle: &Path, file: &Path, json: bool) -> anyhow::Result<()> {
    let bundle = load(bundle)?;
    let table = read_labelled(&bundle, file)?;
    let evaluation = learning::evaluate::evaluate(&bundle, &table).map_err(explain)?;
    if json {
        print_line!("{}", serde_json::to_string(&evaluation)?);
    } else {
        print_line!("{} rows: {}", evaluation.rows, show::metrics(&Value::Object(evaluation.metrics)));
    }
    Ok(())
}

/// Whether a file holds JSON lines.
pub(super) fn is_ndjson(file: &Path) -> anyhow::Result<bool> {
    let part = detected(file)?;
    Ok(part.format == Format::Ndjson && part.compression == formats::Compression::None)
}

fn detected(file: &Path) -> anyhow::Result<RowFile> {
    formats::detect(file, None, None).with_context(|| format!("cannot read {}", file.display()))
}

/// The rows of a file of any format as JSON, read by a model's plan and not by the file's own inferred schema: a
/// cell means the same as in the file that the model was trained on. Columns that the model does not read are left
/// out; columns that it lacks count as missing, which is reported once.
pub(super) struct PlannedRows {
    part: RowFile,
    columns: Vec<ColumnInfo>,
    names: HashSet<String>,
    size: usize,
    /// Rows read before `portion`.
    offset: u64,
    portion: std::vec::IntoIter<Map<String, Value>>,
    ended: bool,
}

impl PlannedRows {
    /// Opens `file` to be read by `plans`.
    pub(super) fn open(file: &Path, plans: Vec<ColumnPlan>) -> anyhow::Result<Self> {
        let column = |plan: &ColumnPlan| ColumnInfo {
            members: plan.members.clone(),
            shape: plan.shape.clone(),
            ..ColumnInfo::empty(plan.name.clone(), plan.kind)
        };
        let mut columns: Vec<ColumnInfo> = plans.iter().map(column).collect();
        // A group may be in the file as its columns or as one list.
        let lists = plans.iter().filter(|plan| plan.members.is_some());
        columns.extend(lists.map(|plan| ColumnInfo::empty(plan.name.clone(), plan.kind)));
        let names = plans.into_iter().flat_map(|plan| plan.members.into_iter().flatten().chain([plan.name])).collect();
        let portion = Vec::new().into_iter();
        let mut rows = Self { part: detected(file)?, columns, names, size: CHUNK, offset: 0, portion, ended: false };
        rows.read()?;
        rows.warn();
        Ok(rows)
    }

    /// The same in chunks of `size` rows.
    pub(super) fn in_chunks(self, size: usize) -> Self {
        Self { size: size.max(1), ..self }
    }

    /// The next chunk; none after the last.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Vec<Map<String, Value>>>> {
        let mut chunk: Vec<_> = self.portion.by_ref().take(self.size).collect();
        while chunk.len() < self.size && !self.ended {
            self.read()?;
            chunk.extend(self.portion.by_ref().take(self.size - chunk.len()));
        }
        chunk.iter_mut().for_each(|row| row.retain(|name, _| self.names.contains(name)));
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let (parts, limits) = (std::slice::from_ref(&self.part), Limits::default());
        let rows = plan::read_rows(parts, &self.columns, self.offset, PORTION, &limits).map_err(explain)?;
        self.ended = rows.len() < PORTION;
        self.offset += rows.len() as u64;
        self.portion = rows.into_iter();
        Ok(())
    }

    fn warn(&self) {
        let Some(first) = self.portion.as_slice().first() else { return };
        let there = |column: &ColumnInfo| {
            first.contains_key(&column.name) || column.members.iter().flatten().any(|name| first.contains_key(name))
        };
        let mut lacking: Vec<&str> = self.columns.iter().filter(|c| !there(c)).map(|c| c.name.as_str()).collect();
        lacking.dedup();
        if !lacking.is_empty() {
            eprintln!("not in the file, so missing in every row: {}", lacking.join(", "));
        }
    }
}

/// How a model of the server reads its rows; with its target where `labelled`.
pub(super) fn plans(model: &Value, labelled: bool) -> anyhow::Result<Vec<ColumnPlan>> {
    let schema = &model["schema"];
    let mut plans: Vec<ColumnPlan> =
        serde_json::from_value(schema["features"].clone()).context("the model has no columns yet")?;
    if labelled {
        plans.push(serde_json::from_value(schema["target"].clone()).context("the model has no target yet")?);
    }
    Ok(plans)
}

/// An error of the crate with its details, for a terminal.
pub(super) fn explain(error: impl Into<crate::Error>) -> anyhow::Error {
    let error = error.into();
    let mut text = format!("{} ({})", error.detail, error.code);
    for detail in &error.details {
        let mut place = Vec::new();
        place.extend(detail.path.clone());
        place.extend(detail.row.map(|row| format!("row {row}")));
        place.extend(detail.column.as_ref().map(|column| format!("column {column}")));
        text.push_str(&format!("\n  {}: {}", place.join(", "), detail.reason));
    }
    if let Some(cause) = &error.cause {
        text.push_str(&format!("\n  {cause}"));
    }
    let problem = json!({"code": error.code, "detail": error.detail, "details": error.details});
    show::Refused { text, problem }.into()
}
