//! Predicting a whole dataset: the lines are written to the job's output in segments, and a checkpoint has their number.
//!
//! A segment that was written and not counted is written again by the next attempt, the same: no row is lost, and
//! none is there twice.

use super::device_lock::DeviceLock;
use super::inputs::{local_parts, summary};
use super::runner::{Outcome, Work};
use super::schemas::Conditional;
use crate::store::{Dataset, DatasetName, NewPart, Staged};
use crate::{Error, Result};
use kenyon_learn::data::formats::{self, Header, Limits, ReadOptions};
use kenyon_learn::data::rows::RowsReader;
use kenyon_learn::data::{plan, schema};
use kenyon_learn::device::DeviceName;
use kenyon_learn::learning::answers::{EmbeddingForm, LineFormat, LineOptions, LineSource, answer_file};
use kenyon_learn::learning::{Bundle, Engine, Monitor, Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Instant;
use utoipa::ToSchema;

/// Bytes of a segment, about: what is held in memory, and what an attempt may have to do again.
const SEGMENT: usize = 4 << 20;

/// How an output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// A JSON object a line.
    Ndjson,
    /// Fields separated by commas, with a line of names.
    Csv,
    /// Apache Parquet, whose types follow from the values.
    Parquet,
}

impl OutputFormat {
    /// What the lines are written as; Parquet is made of them at the end, since a column's type needs all its values.
    fn lines(self) -> LineFormat {
        match self {
            Self::Csv => LineFormat::Csv,
            Self::Ndjson | Self::Parquet => LineFormat::Ndjson,
        }
    }
}

/// A dataset to answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "dataset": "iris", "format": "csv", "coverage": 0.9 })))]
pub struct BatchRequest {
    /// Its name.
    pub dataset: DatasetName,
    /// How the output is written.
    pub format: OutputFormat,
    /// Share of the time that `set`, or `lower` and `upper`, are to hold the truth; 0.9 when missing.
    #[serde(default)]
    #[schema(exclusive_minimum = 0.0, exclusive_maximum = 1.0)]
    pub coverage: Option<f64>,
    /// Whether `set` may be empty; by default the likeliest class is always included.
    #[serde(default)]
    pub allow_empty: bool,
    /// `class` for sets with that coverage among the rows of each class.
    #[serde(default)]
    #[schema(value_type = Option<Conditional>)]
    pub conditional: Option<String>,
    /// Novelty above which the verdict on a row is `unfamiliar`; 0.99 by default.
    #[serde(default)]
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub novelty_level: Option<f32>,
    /// Classes listed with their probabilities; none when missing.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub top_k: Option<usize>,
    /// Whether each answer is explained, which takes a few milliseconds a row.
    #[serde(default)]
    pub explain: bool,
    /// Adds a column with the activity of a layer, as `POST …/embed` gives it.
    #[serde(default)]
    pub embedding: Option<EmbeddingForm>,
    /// The layer of that activity; the last before the readout when missing.
    #[serde(default)]
    pub layer: Option<String>,
    /// What computes the network: candle where the server has a device and the family has a use for it, else the kernels.
    #[serde(default)]
    pub engine: Engine,
    /// The version that answers; the one that is served when missing.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub version: Option<u64>,
    /// A dataset that the output becomes, too; one of that name is replaced.
    #[serde(default)]
    pub into: Option<DatasetName>,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Written {
    segments: u64,
    rows: u64,
    failed: u64,
    bytes: u64,
}

impl BatchRequest {
    /// What can be refused before the job waits.
    pub(super) fn check(&self) -> Result<()> {
        self.options().check()?;
        if self.into.as_ref() == Some(&self.dataset) {
            let reason = "is the dataset that is read";
            return Err(Error::unprocessable("contradictory_request", format!("into {reason}"))
                .with_details([crate::Detail::path("into", reason)]));
        }
        Ok(())
    }

    /// What its lines are to hold.
    fn options(&self) -> LineOptions {
        LineOptions {
            format: self.format.lines(),
            coverage: self.coverage,
            allow_empty: self.allow_empty,
            conditional: self.conditional.clone(),
            novelty_level: self.novelty_level,
            top_k: self.top_k,
            explain: self.explain,
            embedding: self.embedding,
            layer: self.layer.clone(),
        }
    }
}

/// Lets the processor serve requests before this job's thread and those it starts. Only Linux has priorities of threads.
fn yield_to_requests() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(super::child::NICE);
}

/// Does the job, on `device` where the network can be there.
pub(super) fn run(work: &Work, monitor: &dyn Monitor, limits: Limits, device: DeviceName) -> Result<Outcome> {
    yield_to_requests();
    let request: BatchRequest = serde_json::from_value(work.job.spec.clone()).map_err(Error::internal)?;
    let missing = || Error::unprocessable("no_version", "the model has no version to answer with");
    let store = &work.store;
    let version = work.wait(store.version(work.job.model()?, request.version.ok_or_else(missing)?))?;
    let files = work.wait(store.version_files(&version))?;
    let bundle = Bundle::load(|name| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &**bytes))?;
    let placed = bundle.placed(device, request.engine)?;
    let held = DeviceLock::of(placed.device, monitor)?;
    placed.warning().iter().for_each(|warning| monitor.log(&warning.to_string()));
    let gone = || Error::unprocessable("dataset_not_found", "the job's dataset is gone");
    let dataset = &work.input.as_ref().ok_or_else(gone)?.dataset;
    let written = work.resume.as_deref().map(serde_json::from_slice).transpose().map_err(Error::internal)?;
    let mut segments = Segments {
        work,
        monitor,
        written: written.unwrap_or_default(),
        bytes: Vec::new(),
        pending: Written::default(),
        total: dataset.rows,
        device: placed.device,
        begun: (Instant::now(), 0),
    };
    segments.begun.1 = segments.written.rows;
    segments.answer(&placed.bundle, dataset, &request, limits)?;
    drop(held);
    let Written { segments, rows, failed, bytes } = segments.written;
    if let Some(into) = &request.into {
        keep_as_dataset(work, into, request.format.lines(), segments, limits)?;
    }
    let (from, to, bytes) = match request.format {
        OutputFormat::Parquet => write_parquet(work, segments)?,
        OutputFormat::Csv | OutputFormat::Ndjson => (0, segments, bytes),
    };
    let (format, version) = (request.format, version.version);
    let (device, warnings) = (placed.device, placed.warning().into_iter().collect::<Vec<_>>());
    let result = json!({
        "version": version, "rows": rows, "failed": failed, "format": format, "first_segment": from, "segments": to,
        "bytes": bytes, "device": device, "warnings": warnings,
    });
    Ok(Outcome::Result { metrics: json!({ "rows": rows, "failed": failed }), result })
}

/// The output under construction.
struct Segments<'a> {
    work: &'a Work,
    monitor: &'a dyn Monitor,
    /// What is durable.
    written: Written,
    /// Lines that are not, and how far they go.
    bytes: Vec<u8>,
    pending: Written,
    total: u64,
    device: DeviceName,
    /// When this attempt began, and at which row.
    begun: (Instant, u64),
}

impl Segments<'_> {
    fn answer(&mut self, bundle: &Bundle, dataset: &Dataset, request: &BatchRequest, limits: Limits) -> Result<()> {
        let columns = summary(&dataset.columns)?.columns;
        let inputs = plan::spelled_as(&bundle.encoder.inputs, &columns);
        let reader = RowsReader::new(&inputs, &bundle.config.ignored);
        let options = request.options();
        let parts = self.work.wait(local_parts(&self.work.store, dataset))?;
        let (mut first, threads) = (0, self.work.threads);
        for (part, stored) in parts.iter().zip(&dataset.parts) {
            let skip = self.written.rows.saturating_sub(first).min(stored.rows);
            if skip < stored.rows {
                let header = first == 0 && skip == 0;
                let source =
                    LineSource { part, reader: &reader, columns: Some(&columns), skip, first, header, limits, threads };
                answer_file(bundle, &source, &options, &mut |lines| {
                    self.bytes.extend_from_slice(&lines.bytes);
                    self.pending.rows = first + lines.rows;
                    self.pending.failed += lines.failed;
                    if self.monitor.canceled() {
                        return Err(kenyon_learn::Error::new(
                            kenyon_learn::Kind::Canceled,
                            "canceled",
                            "the job was canceled",
                        ));
                    }
                    if self.bytes.len() >= SEGMENT {
                        self.write()?;
                    }
                    self.report();
                    Ok(true)
                })?;
            }
            first += stored.rows;
        }
        if !self.bytes.is_empty() {
            self.write()?;
        }
        Ok(())
    }

    /// Makes what was gathered durable, and counts it.
    fn write(&mut self) -> Result<(), kenyon_learn::Error> {
        let bytes = std::mem::take(&mut self.bytes);
        self.written.bytes += bytes.len() as u64;
        let put = self.work.store.put_output(self.work.job.id, self.written.segments, bytes);
        self.work.wait(put)?;
        self.written.segments += 1;
        self.written.rows = self.pending.rows;
        self.written.failed += std::mem::take(&mut self.pending.failed);
        let state = serde_json::to_vec(&self.written).map_err(kenyon_learn::Error::internal)?;
        self.monitor.checkpoint(self.written.rows, state)
    }

    fn report(&self) {
        let (rows, seconds) = (self.pending.rows, self.begun.0.elapsed().as_secs_f64());
        let rate = (rows - self.begun.1) as f64 / seconds.max(1e-9);
        let left = self.total.saturating_sub(rows);
        let progress = Progress {
            step: rows,
            steps: self.total,
            epochs: 1,
            fraction: rows as f64 / self.total.max(1) as f64,
            rows_per_second: rate,
            eta_seconds: left as f64 / rate.max(1e-9),
            device: self.device,
            ..Progress::default()
        };
        self.monitor.progress(&progress, false);
    }
}

/// The lines as one file of this machine.
fn staged_lines(work: &Work, segments: u64) -> Result<Staged> {
    let (store, id) = (work.store.clone(), work.job.id);
    let stream = futures::stream::iter(0..segments);
    let stream = futures::StreamExt::then(stream, move |segment| {
        let store = store.clone();
        async move { store.output(id, segment).await }
    });
    work.wait(work.store.stage(Box::pin(stream), u64::MAX))
}

/// Writes the output as Parquet, in segments that follow those of the lines; the first, the end and all bytes.
fn write_parquet(work: &Work, segments: u64) -> Result<(u64, u64, u64)> {
    let staged = staged_lines(work, segments)?;
    let mut file = ParquetFile { work, next: segments, bytes: Vec::new(), written: 0 };
    formats::parquet_of_lines(&mut std::fs::File::open(staged.path())?, &mut file)?;
    file.put()?;
    Ok((segments, file.next, file.written))
}

/// A file that becomes segments of the output.
struct ParquetFile<'a> {
    work: &'a Work,
    next: u64,
    bytes: Vec<u8>,
    written: u64,
}

impl ParquetFile<'_> {
    fn put(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            self.written += bytes.len() as u64;
            self.work.wait(self.work.store.put_output(self.work.job.id, self.next, bytes))?;
            self.next += 1;
        }
        Ok(())
    }
}

impl std::io::Write for ParquetFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= SEGMENT {
            self.put().map_err(std::io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Puts the output into a dataset.
fn keep_as_dataset(work: &Work, name: &DatasetName, format: LineFormat, segments: u64, limits: Limits) -> Result<()> {
    let staged = staged_lines(work, segments)?;
    let kind = match format {
        LineFormat::Ndjson => "application/x-ndjson",
        LineFormat::Csv => "text/csv",
    };
    let stated = ReadOptions { header: Some(Header::Present), ..ReadOptions::default() };
    let (file, _) = formats::detect_as(staged.path(), Some(kind), None, &stated)?;
    let (file, summary, rows) = schema::infer_upload(file, &stated, None, &limits)?;
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (format, compression) = (word(json!(file.format)), word(json!(file.compression)));
    let part = NewPart { file: staged, format, compression, rows, read_as: json!(file.read_as) };
    let columns = serde_json::to_value(&summary).map_err(Error::internal)?;
    work.wait(work.store.put_dataset(name, vec![part], &columns)).map(|_| ())
}
