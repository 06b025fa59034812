//! Listing and deleting the entries of a model's memory.

use super::Streams;
use super::actor::{Command, StreamHandle};
use super::apply::{lines, matches};
use crate::store::{ModelName, NewRecord};
use crate::{Detail, Error, Result};
use kenyon_learn::learning::bundle::class_name;
use serde_json::{Map, Value, json};

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

    /// Forgets one entry; 404 when there is none of that id.
    pub async fn forget_entry(&self, name: &ModelName, id: u64) -> Result<Value> {
        let learning = self.learning(name).await?;
        let row = {
            let published = learning.published();
            let report = &published.report;
            let missing = || Error::not_found("entry_not_found", "the memory has no entry with this id");
            report.entries().iter().find(|e| e.id == id).ok_or_else(missing)?.row.clone()
        };
        self.forget_by(&learning, json!({ "id": id }), |line| row.as_deref() == Some(line)).await
    }

    /// Forgets every row whose columns (or target) have these values, in memory and log.
    pub async fn forget(&self, name: &ModelName, filter: &Map<String, Value>) -> Result<Value> {
        let learning = self.learning(name).await?;
        if filter.is_empty() {
            return Err(Error::malformed("empty_filter", "name at least one column in `where`")
                .with_details([Detail::path("where", "must name at least one column")]));
        }
        let unknown: Vec<&String> = filter.keys().filter(|name| !learning.log.reader.knows(name)).collect();
        if let Some(name) = unknown.first() {
            let places =
                unknown.iter().map(|name| Detail::path(format!("where.{name}"), "the model has no such column"));
            let detail = format!("the model has no column '{name}'");
            return Err(Error::unprocessable("unknown_column", detail).with_details(places));
        }
        let target = learning.log.target.clone();
        self.forget_by(&learning, json!({ "where": filter }), |line| matches(filter, None, Some(line), &target)).await
    }

    /// The affected rows of the log are part of the record, so that every replica removes the same
    /// ones; the snapshot that follows deletes the log up to and with that record.
    async fn forget_by(&self, learning: &StreamHandle, mut what: Value, goes: impl Fn(&str) -> bool) -> Result<Value> {
        let before = learning.published().report.entries().len();
        let (mut records, mut rows, mut bytes, mut from) = (Vec::new(), Vec::new(), 0, 0);
        let record = |what: &Value| -> Result<NewRecord> {
            let payload = serde_json::to_vec(what).map_err(Error::internal)?;
            Ok(NewRecord { kind: "forget".into(), rows: 0, payload, idempotency: None })
        };
        loop {
            let read = self.inner.store.read_observations(learning.log.model.id, from, 100).await?;
            let Some(last) = read.last() else { break };
            from = last.next;
            for line in read.iter().filter(|r| r.kind == "rows").flat_map(|r| lines(&r.payload)).filter(|l| goes(l)) {
                bytes += line.len();
                rows.push(Value::from(line));
            }
            if bytes > FORGET_BYTES {
                records.push(record(&json!({ "rows": std::mem::take(&mut rows) }))?);
                bytes = 0;
            }
        }
        what["rows"] = rows.into();
        records.push(record(&what)?);
        learning.ask(|reply| Command::Operate(records, reply)).await?;
        learning.ask(Command::Snapshot).await?;
        let after = learning.published().report.entries().len();
        Ok(json!({
            "forgotten": before.saturating_sub(after),
            "entries": after,
            "retrained_at": "next_consolidation",
        }))
    }
}
