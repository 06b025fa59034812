//! Observing: rows are parsed and passed to the stream's task.

use super::command::{Rows, StreamHandle, answered};
use super::state::answer;
use super::{Streams, blocking};
use crate::store::{IdempotencyKey, ModelName};
use crate::{Detail, Error, Kind, Result};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{Stream as Flow, StreamExt};
use kenyon_learn::data::rows::RowsReader;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Rows of a streamed body that are made durable and learned together.
const PART_ROWS: usize = 1_000;
/// Bytes of a streamed body that are kept until they are.
const PART_BYTES: usize = 1 << 20;
/// A row may be this long.
const LONGEST_ROW: usize = 8 << 20;

/// Who sends rows, and under which key for retries.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// The same never learns twice.
    pub key: Option<IdempotencyKey>,
    /// The id of the API key; empty without keys.
    pub source: String,
}

/// The lines of a body that have arrived and are not processed yet.
#[derive(Default)]
struct BodyRows {
    waiting: BytesMut,
    /// Bytes at the front that are whole lines, and how many of them are not empty.
    scanned: usize,
    rows: usize,
}

/// A portion of a body that its stream's task is learning, and the rows before it.
struct Portion {
    result: oneshot::Receiver<Result<Value>>,
    before: u64,
}

impl BodyRows {
    /// Portions that are due: whole lines only, what is behind the last line end waits for its rest.
    fn cut(&mut self, ended: bool) -> Vec<(Vec<u8>, u64)> {
        if ended && !self.waiting.is_empty() && !self.waiting.ends_with(b"\n") {
            self.waiting.extend_from_slice(b"\n");
        }
        let mut parts = Vec::new();
        while let Some(at) = self.waiting[self.scanned..].iter().position(|&b| b == b'\n') {
            self.rows += usize::from(!self.waiting[self.scanned..self.scanned + at].trim_ascii().is_empty());
            self.scanned += at + 1;
            if self.rows >= PART_ROWS {
                parts.push(self.take());
            }
        }
        if self.rows > 0 && (ended || self.waiting.len() >= PART_BYTES) {
            parts.push(self.take());
        }
        parts
    }

    fn take(&mut self) -> (Vec<u8>, u64) {
        let part = self.waiting.split_to(std::mem::take(&mut self.scanned)).to_vec();
        (part, std::mem::take(&mut self.rows) as u64)
    }
}

/// A model that was made without a task is a classifier; a first label that is no whole number contradicts that.
fn check_assumed_task(stream: &StreamHandle, payload: &[u8]) -> Result<()> {
    let log = &stream.log;
    if log.model.info["task_assumed"] != true || !stream.published().report.classes().is_empty() {
        return Ok(());
    }
    let label = |line: &[u8]| serde_json::from_slice::<Map<String, Value>>(line).ok()?.remove(&log.target);
    let mut labels = payload.split(|byte| *byte == b'\n').filter_map(label).filter(|label| !label.is_null());
    match labels.next().as_ref().and_then(Value::as_f64) {
        Some(label) if label.fract() != 0.0 => {
            let detail = format!(
                "the first label, {label}, is no whole number: make the model with \"task\":\"regression\", or with \"classification\" if it is a class"
            );
            Err(Error::unprocessable("task_needed", detail)
                .with_details([Detail::column(&log.target, "is no whole number, and the model has no task")]))
        }
        _ => Ok(()),
    }
}

impl Streams {
    /// Learns from the rows of a JSON array, `[{…},{…}]`; answers once they are durable, applied and published.
    /// A row without its target is learned from as far as that goes.
    pub async fn observe(&self, name: &ModelName, rows: &[u8], from: Sender) -> Result<Value> {
        let mut stream = self.learning(name).await?;
        let rows: Vec<&RawValue> = serde_json::from_slice(rows)
            .map_err(|e| Error::malformed("invalid_json", format!("rows must be a list of objects: {e}")))?;
        let mut payload = Vec::with_capacity(rows.iter().map(|r| r.get().len() + 1).sum());
        for row in &rows {
            // A line is a row: line ends inside of it can only be white space between its parts.
            payload.extend(row.get().bytes().map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }));
            payload.push(b'\n');
        }
        if rows.is_empty() {
            return Ok(nothing_observed(&stream));
        }
        let rows = self.read(&stream, payload, from).await?;
        answered(self.send(name, &mut stream, rows).await?).await
    }

    /// Learns from lines as they arrive, however many; `part` is called for each portion. While one portion is made
    /// durable and applied the next is read, and no more than that: a faster sender waits.
    pub async fn observe_lines<E: std::fmt::Display>(
        &self,
        name: &ModelName,
        mut body: impl Flow<Item = std::result::Result<Bytes, E>> + Unpin,
        from: Sender,
        mut part: impl FnMut(&Value) -> BoxFuture<'static, Result<()>>,
    ) -> Result<Value> {
        let mut stream = self.learning(name).await?;
        let (mut lines, mut observed, mut number, mut ended) = (BodyRows::default(), 0, 0, false);
        let mut last = None;
        let mut learning: Option<Portion> = None;
        while !ended || learning.is_some() {
            let arrived = tokio::select! {
                // Sent at once, because the client may wait for it before it sends more.
                learned = joined(&mut learning), if learning.is_some() => {
                    let learned = learned?;
                    part(&learned).await?;
                    last = Some(learned);
                    continue;
                }
                arrived = body.next(), if !ended => arrived,
            };
            match arrived {
                Some(Ok(bytes)) => lines.waiting.extend_from_slice(&bytes),
                Some(Err(error)) => {
                    return Err(Error::malformed("broken_body", format!("the body broke off: {error}")));
                }
                None => ended = true,
            }
            for (payload, rows) in lines.cut(ended) {
                let key = from.key.as_ref().map(|k| IdempotencyKey { key: format!("{}#{number}", k.key), ..k.clone() });
                number += 1;
                let read = self.read(&stream, payload, Sender { key, source: from.source.clone() }).await;
                if learning.is_some() {
                    let learned = joined(&mut learning).await?;
                    part(&learned).await?;
                    last = Some(learned);
                }
                let read = read.map_err(|e| shifted(e, observed))?;
                // The task learns what it has received even if the sender disconnects.
                let result = self.send(name, &mut stream, read).await.map_err(|e| shifted(e, observed))?;
                learning = Some(Portion { result, before: observed });
                observed += rows;
            }
            if lines.waiting.len() > LONGEST_ROW {
                return Err(Error::new(Kind::TooLarge, "row_too_large", "a row must not be longer than 8 MiB"));
            }
        }
        let mut answer = last.unwrap_or_else(|| nothing_observed(&stream));
        answer["observed"] = observed.into();
        Ok(answer)
    }

    /// Learns the late label of a prediction, which `source` has sent.
    pub async fn feedback(&self, name: &ModelName, prediction: &str, target: &Value, source: &str) -> Result<Value> {
        let missing =
            || Error::not_found("prediction_not_found", "the prediction is unknown, or its row is no longer kept");
        let engine = &self.inner.engine;
        let (model, row) = engine.recall(prediction).ok_or_else(missing)?;
        let learned = match model == name.as_str() {
            true => self.learn_label(name, (prediction, &row), target, source).await,
            false => Err(missing()),
        };
        if learned.is_err() {
            // The call may be repeated.
            engine.put_back(prediction, &model, &row);
        }
        learned
    }

    async fn learn_label(
        &self,
        name: &ModelName,
        (prediction, row): (&str, &[u8]),
        target: &Value,
        source: &str,
    ) -> Result<Value> {
        let mut stream = self.learning(name).await?;
        let mut row: Map<String, Value> = serde_json::from_slice(row).map_err(Error::internal)?;
        row.insert(stream.log.target.clone(), target.clone());
        let mut payload = serde_json::to_vec(&row).map_err(Error::internal)?;
        payload.push(b'\n');
        // A call that failed may have learned it all the same: then a repeated one does not learn it again.
        let key = IdempotencyKey::new("feedback", prediction, &payload);
        let rows = self.read(&stream, payload, Sender { key: Some(key), source: source.to_owned() }).await?;
        answered(self.send(name, &mut stream, rows).await?).await
    }

    /// Sends rows to a stream's task, or to the one that has taken its place because another version learns now.
    async fn send(
        &self,
        name: &ModelName,
        stream: &mut Arc<StreamHandle>,
        mut rows: Rows,
    ) -> Result<oneshot::Receiver<Result<Value>>> {
        loop {
            match stream.observe(rows).await {
                Ok(result) => return Ok(result),
                Err(Rows { payload, key, source, .. }) => {
                    let next = self.learning(name).await?;
                    if next.log.model.id != stream.log.model.id {
                        return Err(Error::not_found("model_not_found", "the model was removed while it learned"));
                    }
                    *stream = next;
                    rows = read_rows(&stream.log.reader, payload, Sender { key, source }).await?;
                }
            }
        }
    }

    /// Reads lines of JSON, which the model may learn from the sender now.
    async fn read(&self, stream: &StreamHandle, payload: Vec<u8>, from: Sender) -> Result<Rows> {
        let rows = read_rows(&stream.log.reader, payload, from).await?;
        check_assumed_task(stream, &rows.payload)?;
        self.inner.rows_limit.admit(&rows.source, stream.log.model.id, rows.table.rows)?;
        Ok(rows)
    }
}

async fn read_rows(reader: &RowsReader, payload: Vec<u8>, from: Sender) -> Result<Rows> {
    let Sender { key, source } = from;
    // A few rows are parsed in less time than starting a thread takes.
    if payload.len() < 16 << 10 {
        return Ok(Rows { table: reader.from_ndjson(&payload)?, payload, key, source });
    }
    let reader = reader.clone();
    blocking(move || Ok(Rows { table: reader.from_ndjson(&payload)?, payload, key, source })).await
}

fn nothing_observed(stream: &StreamHandle) -> Value {
    let published = stream.published();
    answer(&published.report, published.version, 0)
}

/// Waits for a portion that is being learned. Rows of a later portion are counted from the start of the body.
async fn joined(learning: &mut Option<Portion>) -> Result<Value> {
    let Some(portion) = learning else { return std::future::pending().await };
    let learned = answered(&mut portion.result).await.map_err(|e| shifted(e, portion.before));
    *learning = None;
    learned
}

fn shifted(mut error: Error, before: u64) -> Error {
    for detail in &mut error.details {
        detail.row = detail.row.map(|row| row + before);
    }
    error
}
