//! Application of a log record to a stream's model.

use crate::store::Record;
use crate::{Error, Result};
use kenyon_learn::data::{ColumnKind, Table};
use kenyon_learn::learning::stream::{Consolidation, Observed, StreamModel};
use serde_json::{Map, Value};

/// Learns rows, which are given as a table and as lines of JSON.
pub(super) fn learn(online: &mut StreamModel, table: &Table, payload: &[u8]) -> Result<Observed> {
    let texts: Vec<&str> = lines(payload).collect();
    Ok(online.observe(table, &texts)?)
}

/// The rows of a record.
pub(super) fn lines(payload: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    text.split('\n').map(str::trim).filter(|line| !line.is_empty())
}

/// Applies a record that does not hold rows.
pub(super) fn operate(online: &mut StreamModel, record: &Record, target: &str) -> Result<()> {
    match record.kind.as_str() {
        "rows" => {}
        "consolidated" => {
            online.record(serde_json::from_slice::<Consolidation>(&record.payload).map_err(Error::internal)?);
        }
        "forget" => {
            let what: Value = serde_json::from_slice(&record.payload).map_err(Error::internal)?;
            let (id, filter) = (what["id"].as_u64(), what["where"].as_object());
            let logged: Vec<&str> = what["rows"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let gone = |entry: Option<u64>, label: Option<&Value>, row: Option<&str>| {
                (id.is_some() && id == entry) || filter.is_some_and(|f| matches(f, label, row, target))
            };
            online.forget(gone, &logged)?;
        }
        other => tracing::warn!(kind = other, "a record of the log is of an unknown kind"),
    }
    Ok(())
}

/// Whether a row has all the values of a filter.
pub(super) fn matches(filter: &Map<String, Value>, label: Option<&Value>, row: Option<&str>, target: &str) -> bool {
    let row: Option<Map<String, Value>> = row.and_then(|r| serde_json::from_str(r).ok());
    filter.iter().all(|(column, wanted)| {
        let has = row.as_ref().and_then(|r| r.get(column)).or_else(|| label.filter(|_| column == target));
        has.is_some_and(|has| ColumnKind::Category.same(has, wanted))
    })
}
