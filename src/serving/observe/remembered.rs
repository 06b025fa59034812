//! Listing and deleting the entries of a model's memory.

use super::apply::{matches, numbered_lines};
use super::command::{Command, StreamHandle};
use super::stream_log::{PAGE, StreamLog};
use super::{Streams, blocking};
use crate::store::{LogSnapshot, ModelName, NewRecord, Record};
use crate::{Detail, Error, Result};
use jiff::Timestamp;
use kenyon_learn::learning::bundle::class_name;
use kenyon_learn::learning::stream::StreamModel;
use serde_json::{Map, Value, json};

/// What to forget.
#[derive(Clone, Debug, PartialEq)]
pub enum Forgetting {
    /// The entry of the memory with this id, and rows of the log that are the same.
    Entry(u64),
    /// Every row whose columns (or target) have these values.
    Where(Map<String, Value>),
    /// Every row that the key with this id has sent.
    Key(String),
}

/// Bytes of a record that names rows of the log to forget.
const FORGET_BYTES: usize = 4 << 20;

/// A page of a memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryPage {
    /// Entries at most.
    pub limit: usize,
    /// Ids above this.
    pub after: Option<u64>,
    /// Only entries of this class.
    pub label: Option<String>,
}

impl Streams {
    /// A page of a model's memory.
    pub async fn memory(&self, name: &ModelName, page: &MemoryPage) -> Result<Value> {
        let learning = self.learning(name).await?;
        let published = learning.published();
        let report = &published.report;
        let (classes, limit) = (report.classes(), page.limit.clamp(1, 1_000));
        let mut items = Vec::new();
        let mut more = false;
        for entry in report.entries() {
            let label = classes.get(entry.label as usize);
            let wanted = page.label.as_ref().is_none_or(|l| label.is_some_and(|c| class_name(c) == *l));
            if !wanted || page.after.is_some_and(|after| entry.id <= after) {
                continue;
            }
            if items.len() == limit {
                more = true;
                break;
            }
            let row = entry.row.as_deref().and_then(|r| serde_json::from_str::<Value>(r).ok());
            let (name, label) = report.label(entry);
            items.push(json!({"id": entry.id.to_string(), "uses": entry.uses, "row": row, name: label}));
        }
        let next = if more { items.last().map(|i| i["id"].clone()) } else { None };
        let mut out = json!({"items": items, "next_cursor": next});
        let memory = report.memory();
        out["entries"] = memory["entries"].clone();
        out["capacity"] = memory["capacity"].clone();
        Ok(out)
    }

    /// Forgets rows, in memory and log; the next consolidation computes the state again without them. 404 for an entry
    /// that there is not, 422 for an unknown column.
    pub async fn forget(&self, name: &ModelName, what: Forgetting) -> Result<Value> {
        let learning = self.learning(name).await?;
        let target = learning.log.target.clone();
        let found = match &what {
            Forgetting::Entry(id) => {
                let published = learning.published();
                let missing = || Error::not_found("entry_not_found", "the memory has no entry with this id");
                let row = published.report.entries().iter().find(|e| e.id == *id).ok_or_else(missing)?.row.clone();
                self.find(&learning, json!({ "id": id }), |_, line| row.as_deref() == Some(line)).await?
            }
            Forgetting::Where(filter) => {
                check(&learning, filter)?;
                let goes = |_: &Record, line: &str| matches(filter, None, Some(line), &target);
                self.find(&learning, json!({ "where": filter }), goes).await?
            }
            Forgetting::Key(key) => {
                self.find(&learning, json!({ "by_key": key }), |record, _| record.source == *key).await?
            }
        };
        let (engine, model) = (self.inner.engine.clone(), name.to_string());
        let filter = if let Forgetting::Where(filter) = &what { Some(filter.clone()) } else { None };
        let answers = blocking(move || {
            let forget = |filter| engine.forget_answers(&model, |row| matches(&filter, None, Some(row), &target));
            Ok(filter.map_or(0, forget))
        })
        .await?;
        let before = learning.published().report.entries().len();
        learning.call(|reply| Command::Operate(found.records, reply)).await?;
        learning.call(Command::Snapshot).await?;
        let after = learning.published().report.entries().len();
        let (rows, rows_before) = (found.rows, found.rows_before);
        let exact = rows_before == 0;
        let since = found.since.map(|at| at.to_string());
        let statement = statement(rows, (rows_before, since.as_deref()), exact, learning.log.base.is_some());
        Ok(json!({
            "forgotten": before.saturating_sub(after),
            "entries": after,
            "retrained_at": "next_consolidation",
            "rows": rows,
            "recent_predictions": answers,
            "exact": exact,
            "log": {"complete": rows_before == 0, "rows_before": rows_before, "since": since},
            "statement": statement,
        }))
    }

    /// The rows of the log that are concerned are part of the record, so that every replica removes the same ones; the
    /// snapshot that follows erases them from the log, and the record.
    async fn find(
        &self,
        learning: &StreamHandle,
        mut what: Value,
        goes: impl Fn(&Record, &str) -> bool,
    ) -> Result<Found> {
        let (log, store) = (&learning.log, &self.inner.store);
        let oldest = store.log_checkpoint(log.model.id, log.root).await?.filter(|oldest| !oldest.bytes.is_empty());
        let mut it = Found { rows_before: rows_before(log, oldest.as_ref(), &what).await?, ..Found::default() };
        what["before"] = oldest.is_some().into();
        let (mut rows, mut at, mut bytes, mut from) = (Vec::new(), Vec::new(), 0, 0);
        loop {
            let read = store.read_log_history(log.model.id, from, PAGE).await?;
            let Some(last) = read.last() else { break };
            from = last.next;
            for record in read.iter().filter(|record| record.kind == "rows") {
                it.since = it.since.or(Some(record.at));
                for (place, line) in numbered_lines(&record.payload).filter(|(_, line)| goes(record, line)) {
                    bytes += line.len();
                    rows.push(Value::from(line));
                    at.push((record.seq, place));
                }
            }
            if bytes > FORGET_BYTES {
                it.rows += rows.len() as u64;
                it.records.push(record(&json!({"rows": std::mem::take(&mut rows), "at": std::mem::take(&mut at)}))?);
                bytes = 0;
            }
        }
        it.rows += rows.len() as u64;
        (what["rows"], what["at"]) = (rows.into(), json!(at));
        it.records.push(record(&what)?);
        Ok(it)
    }
}

/// What a request to forget concerns.
#[derive(Default)]
struct Found {
    records: Vec<NewRecord>,
    rows: u64,
    /// Learned rows, which it may concern, that the log does not hold any more.
    rows_before: u64,
    /// When the oldest row of the log was appended.
    since: Option<Timestamp>,
}

fn record(what: &Value) -> Result<NewRecord> {
    let payload = serde_json::to_vec(what).map_err(Error::internal)?;
    Ok(NewRecord { kind: "forget".into(), payload, ..NewRecord::default() })
}

/// Rows in the oldest checkpoint that `what` may concern. Of a key it is known how many there are.
async fn rows_before(log: &StreamLog, oldest: Option<&LogSnapshot>, what: &Value) -> Result<u64> {
    let Some(oldest) = oldest else { return Ok(0) };
    let Some(key) = what["by_key"].as_str().map(str::to_owned) else {
        return Ok(oldest.info["rows"].as_u64().unwrap_or_default());
    };
    let (bytes, base) = (oldest.bytes.clone(), log.base.clone());
    blocking(move || Ok(StreamModel::restore(&bytes, base)?.rows_from(&key))).await
}

/// Refuses filters without columns, and columns that the model does not have.
fn check(learning: &StreamHandle, filter: &Map<String, Value>) -> Result<()> {
    if filter.is_empty() {
        return Err(Error::malformed("empty_filter", "name at least one column in `where`")
            .with_details([Detail::path("where", "must name at least one column")]));
    }
    let unknown: Vec<&String> = filter.keys().filter(|name| !learning.log.reader.has_field(name)).collect();
    let Some(name) = unknown.first() else { return Ok(()) };
    let places = unknown.iter().map(|name| Detail::path(format!("where.{name}"), "the model has no such column"));
    let detail = format!("the model has no column '{name}'");
    Err(Error::unprocessable("unknown_column", detail).with_details(places))
}

/// What was done and what is left, for readers without knowledge of the interface.
fn statement(rows: u64, (rows_before, since): (u64, Option<&str>), exact: bool, trained: bool) -> String {
    let mut text = format!(
        "{rows} rows were removed from the log, and from the model's memory what came from them. The next consolidation, \
         which starts within a minute where a worker is free, computes the model again from the log without them"
    );
    text += match exact {
        true => "; its state is then that of a model that never received them.",
        false => ".",
    };
    if let (false, Some(since)) = (exact, since) {
        text += &format!(
            " The log begins at {since}: {rows_before} rows that were learned before are not kept. Those of them that the \
             model still remembered and that matched are removed; the effect of others on its weights and statistics stays."
        );
    }
    if trained {
        text += " The network that the model began with was trained on a dataset: remove the rows there, too, and train it \
                 again.";
    }
    text += " Snapshots of the server and exported files that were made before still contain them.";
    text
}
