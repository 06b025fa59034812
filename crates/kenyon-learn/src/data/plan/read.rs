//! Files by plan: whole columns for training, some rows for a preview.

use super::ColumnPlan;
use crate::data::Table;
use crate::data::builder::{Compiled, TableBuilder};
use crate::data::cell::{self, Cell, List};
use crate::data::formats::{self, Limits, Part, RowSink};
use crate::data::schema::stats::number_value;
use crate::data::schema::{ColumnInfo, ColumnKind};
use crate::{Error, Result};
use base64::Engine;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Reads the planned columns of all parts of a dataset into memory, in the order of `plans`.
pub fn read_table(parts: &[Part], plans: &[ColumnPlan], limits: &Limits) -> Result<Table> {
    let mut builder = TableBuilder::new(&Compiled::new(plans, &[]), false);
    for part in parts {
        builder.next_file();
        formats::read(part, limits, &mut builder)?;
    }
    if let Some(plan) = builder.never_found() {
        let name = &plan.name;
        return Err(Error::unprocessable("unknown_column", format!("the data has no column '{name}'"))
            .with_details([crate::Detail::column(name, "the data has no such column")]));
    }
    builder.finish()
}

/// Reads the planned columns of about the first `limit` rows of two datasets, of each its share of the limit, and
/// says where the second one begins.
pub fn read_head(
    parts: &[Part],
    more: &[Part],
    plans: &[ColumnPlan],
    limits: &Limits,
    limit: u64,
) -> Result<(Table, usize)> {
    let mut head = Head { builder: TableBuilder::new(&Compiled::new(plans, &[]), false), rows: 0, left: 0 };
    let mut second = 0;
    for (parts, limit) in [(parts, if more.is_empty() { limit } else { limit / 2 }), (more, limit / 2)] {
        second = std::mem::replace(&mut head.rows, 0).max(second);
        head.left = limit;
        for part in parts {
            if head.left == 0 {
                break;
            }
            head.builder.next_file();
            formats::read(part, limits, &mut head)?;
        }
    }
    let table = head.builder.finish()?;
    Ok((table, second))
}

/// A builder that takes only so many rows.
struct Head {
    builder: TableBuilder,
    rows: usize,
    left: u64,
}

impl RowSink for Head {
    fn column(&mut self, name: &str, kind: Option<ColumnKind>) -> Result<()> {
        self.builder.column(name, kind)
    }

    fn cell(&mut self, column: usize, value: Cell<'_>) {
        self.builder.cell(column, value);
    }

    fn end_row(&mut self) -> Result<bool> {
        self.rows += 1;
        self.left = self.left.saturating_sub(1);
        Ok(self.builder.end_row()? && self.left > 0)
    }
}

/// Rows `offset..offset + limit` of a dataset as JSON objects with the file's own columns.
pub fn read_rows(
    parts: &[Part],
    columns: &[ColumnInfo],
    offset: u64,
    limit: usize,
    limits: &Limits,
) -> Result<Vec<Map<String, Value>>> {
    let mut kinds = HashMap::new();
    for column in columns {
        match &column.members {
            Some(members) => kinds.extend(members.iter().map(|m| (m.as_str(), ColumnKind::Number))),
            None => drop(kinds.insert(column.name.as_str(), column.kind)),
        }
    }
    let mut preview = Preview { kinds, names: Vec::new(), row: Vec::new(), skip: offset, limit, rows: Vec::new() };
    for part in parts {
        if preview.rows.len() >= limit {
            break;
        }
        preview.names.clear();
        preview.row.clear();
        formats::read(part, limits, &mut preview)?;
    }
    Ok(preview.rows)
}

struct Preview<'k> {
    kinds: HashMap<&'k str, ColumnKind>,
    names: Vec<(String, ColumnKind)>,
    row: Vec<Value>,
    skip: u64,
    limit: usize,
    rows: Vec<Map<String, Value>>,
}

impl RowSink for Preview<'_> {
    fn column(&mut self, name: &str, _kind: Option<ColumnKind>) -> Result<()> {
        self.names.push((name.to_owned(), self.kinds.get(name).copied().unwrap_or(ColumnKind::Category)));
        self.row.push(Value::Null);
        Ok(())
    }

    fn cell(&mut self, column: usize, value: Cell<'_>) {
        if self.skip == 0 {
            self.row[column] = value_of(value, self.names[column].1);
        }
    }

    fn end_row(&mut self) -> Result<bool> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(true);
        }
        if self.rows.len() >= self.limit {
            return Ok(false);
        }
        let values = self.row.iter_mut().map(std::mem::take);
        self.rows.push(self.names.iter().map(|(name, _)| name.clone()).zip(values).collect());
        Ok(self.rows.len() < self.limit)
    }
}

fn value_of(value: Cell<'_>, kind: ColumnKind) -> Value {
    match value {
        Cell::Missing | Cell::Nested => Value::Null,
        Cell::Boolean(b) => Value::Bool(b),
        Cell::Integer(x) => integer_value(x),
        Cell::Number(x) => number_value(x),
        Cell::Moment(x) if kind != ColumnKind::Timestamp => number_value(x),
        Cell::Moment(x) => moment_text(x).map_or_else(|| number_value(x), Value::String),
        Cell::Text(text) => Value::from(text),
        Cell::Bytes(bytes) => Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Cell::List(list) => list_value(list),
        Cell::Raw(text) | Cell::Quoted(text) => match kind {
            ColumnKind::Number => cell::parse_number(text).map_or_else(|| Value::from(text), number_value),
            ColumnKind::Boolean => cell::parse_boolean(text).map_or_else(|| Value::from(text), Value::Bool),
            ColumnKind::Timestamp if cell::parse_moment(text).is_none() => {
                cell::parse_number(text).map_or_else(|| Value::from(text), number_value)
            }
            ColumnKind::Vector | ColumnKind::Sequence => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
            }
            _ => Value::from(text),
        },
    }
}

/// A whole number as JSON, exact to 64 bits.
fn integer_value(x: i128) -> Value {
    match (i64::try_from(x), u64::try_from(x)) {
        (Ok(x), _) => x.into(),
        (_, Ok(x)) => x.into(),
        _ => number_value(x as f64),
    }
}

fn moment_text(seconds: f64) -> Option<String> {
    jiff::Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok().map(|t| t.to_string())
}

fn list_value(list: &List) -> Value {
    if !list.ends.is_empty() {
        return list.strings().map(Value::from).collect();
    }
    if list.inner.is_empty() {
        return list.numbers.iter().map(|x| number_value(*x)).collect();
    }
    let mut numbers = list.numbers.iter();
    list.inner.iter().map(|n| numbers.by_ref().take(*n).map(|x| number_value(*x)).collect::<Value>()).collect()
}
