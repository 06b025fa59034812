//! Files by plan: whole columns for training, some rows for a preview.

use super::ColumnPlan;
use crate::data::Table;
use crate::data::builder::{Compiled, TableBuilder};
use crate::data::cell::Cell;
use crate::data::formats::{self, Limits, RowFile, RowSink};
use crate::data::kinds::Spelling;
use crate::data::schema::{ColumnInfo, ColumnKind};
use crate::data::warning::Warning;
use crate::data::written::value_of;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Reads the planned columns of all parts of a dataset into memory, in the order of `plans`.
pub fn read_table(parts: &[RowFile], plans: &[ColumnPlan], limits: &Limits) -> Result<Table> {
    Ok(read_table_noting(parts, plans, limits)?.0)
}

/// As [`read_table`], with the cells that did not fit and count as missing.
pub fn read_table_noting(parts: &[RowFile], plans: &[ColumnPlan], limits: &Limits) -> Result<(Table, Vec<Warning>)> {
    let mut builder = TableBuilder::new(&Compiled::new(plans, &[]), false);
    for part in parts {
        builder.next_file();
        formats::read(part, limits, &mut builder)?;
    }
    if let Some(plan) = builder.never_found() {
        return Err(no_column(&plan.name));
    }
    let warnings = builder.warnings();
    Ok((builder.finish()?, warnings))
}

pub(super) fn no_column(name: &str) -> Error {
    Error::unprocessable("unknown_column", format!("the data has no column '{name}'"))
        .with_details([crate::Detail::column(name, "the data has no such column")])
}

/// Reads the planned columns of about the first `limit` rows of two datasets, of each its share of the limit, and
/// returns where the second one begins.
pub fn read_head(
    parts: &[RowFile],
    more: &[RowFile],
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

/// A builder with a limit of rows.
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
    parts: &[RowFile],
    columns: &[ColumnInfo],
    offset: u64,
    limit: usize,
    limits: &Limits,
) -> Result<Vec<Map<String, Value>>> {
    let mut kinds = HashMap::new();
    for column in columns {
        match &column.members {
            Some(members) => {
                kinds.extend(members.iter().map(|m| (m.as_str(), (ColumnKind::Number, &column.spelling))));
            }
            None => drop(kinds.insert(column.name.as_str(), (column.kind, &column.spelling))),
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
    kinds: HashMap<&'k str, (ColumnKind, &'k Option<Spelling>)>,
    names: Vec<(String, (ColumnKind, &'k Option<Spelling>))>,
    row: Vec<Value>,
    skip: u64,
    limit: usize,
    rows: Vec<Map<String, Value>>,
}

impl RowSink for Preview<'_> {
    fn column(&mut self, name: &str, _kind: Option<ColumnKind>) -> Result<()> {
        self.names.push((name.to_owned(), self.kinds.get(name).copied().unwrap_or((ColumnKind::Category, &None))));
        self.row.push(Value::Null);
        Ok(())
    }

    fn cell(&mut self, column: usize, value: Cell<'_>) {
        if self.skip == 0 {
            let (kind, spelling) = self.names[column].1;
            self.row[column] = value_of(value, kind, Spelling::of(spelling));
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
