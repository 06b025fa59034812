//! Application of a log record to a stream's model.

use super::past::Past;
use crate::store::{LogLine, Record};
use crate::{Error, Result};
use kenyon_learn::data::{ColumnKind, Table};
use kenyon_learn::learning::stream::{Consolidation, Forgotten, Observed, StreamModel};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The record of a consolidation that was not kept, and the number at which the state was copied for it.
#[derive(Serialize, Deserialize)]
pub(super) struct Consolidated {
    #[serde(default)]
    pub(super) copied: Option<u64>,
    #[serde(flatten)]
    pub(super) consolidation: Consolidation,
}

/// Learns rows, which are given as a table and as lines of JSON.
pub(super) fn learn(online: &mut StreamModel, table: &Table, payload: &[u8]) -> Result<Observed> {
    let texts: Vec<&str> = lines(payload).collect();
    Ok(online.observe(table, &texts)?)
}

/// The rows of a record.
fn lines(payload: &[u8]) -> impl Iterator<Item = &str> {
    numbered_lines(payload).map(|(_, line)| line)
}

/// The rows of a record, with the position of their line among the lines of the payload.
pub(super) fn numbered_lines(payload: &[u8]) -> impl Iterator<Item = (u32, &str)> {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    let lines = (0..).zip(text.split('\n').map(str::trim));
    lines.filter(|(_, line)| !line.is_empty())
}

/// Applies a record that does not hold rows.
pub(super) fn operate(online: &mut StreamModel, past: &mut Past, record: &Record, target: &str) -> Result<()> {
    match record.kind.as_str() {
        "rows" => {}
        "consolidated" => {
            let done: Consolidated = serde_json::from_slice(&record.payload).map_err(Error::internal)?;
            past.consolidated.extend(done.copied);
            online.record(done.consolidation);
        }
        "forget" => {
            let mut what: Value = serde_json::from_slice(&record.payload).map_err(Error::internal)?;
            let removed = forget(online, &what, target)?;
            let at = serde_json::from_value::<Vec<LogLine>>(what["at"].take()).unwrap_or_default();
            past.erase.extend(&at);
            what["rows"].take();
            // What is not in the log and not in the state can still be in a checkpoint.
            if removed.rows > 0 || !at.is_empty() || what["before"] == true {
                past.pending.push(what);
            }
        }
        other => tracing::warn!(kind = other, "a record of the log is of an unknown kind"),
    }
    Ok(())
}

/// Forgets at once, as far as that is possible: see [`StreamModel::forget`].
pub(super) fn forget(online: &mut StreamModel, what: &Value, target: &str) -> Result<Forgotten> {
    let (id, filter) = (what["id"].as_u64(), what["where"].as_object());
    let logged: Vec<&str> = what["rows"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let gone = |entry: Option<u64>, label: Option<&Value>, row: Option<&str>| {
        (id.is_some() && id == entry) || filter.is_some_and(|f| matches(f, label, row, target))
    };
    Ok(online.forget(gone, &logged)?)
}

/// Whether a row has all the values of a filter.
pub(super) fn matches(filter: &Map<String, Value>, label: Option<&Value>, row: Option<&str>, target: &str) -> bool {
    let row: Option<Map<String, Value>> = row.and_then(|r| serde_json::from_str(r).ok());
    filter.iter().all(|(column, wanted)| {
        let has = row.as_ref().and_then(|r| r.get(column)).or_else(|| label.filter(|_| column == target));
        has.is_some_and(|has| ColumnKind::Category.same(has, wanted))
    })
}
