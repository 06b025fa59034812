//! Files of any length as a model reads rows: in chunks, with the errors of single rows.

use super::RowsReader;
use crate::data::Table;
use crate::data::builder::TableBuilder;
use crate::data::cell::Cell;
use crate::data::formats::{self, Limits, RowFile, RowSink};
use crate::data::kinds::Spelling;
use crate::data::schema::{ColumnInfo, ColumnKind};
use crate::data::written::value_of;
use crate::{Detail, Error, Result};
use serde_json::Value;
use std::collections::HashMap;

/// How a file is read in chunks.
#[derive(Clone, Copy, Debug)]
pub struct ChunkPlan<'a> {
    /// How the model reads rows. Other columns are ignored.
    pub reader: &'a RowsReader,
    /// The file's columns, where its rows are to be shown again.
    pub shown: Option<&'a [ColumnInfo]>,
    /// Rows that are passed over first.
    pub skip: u64,
    /// Rows of a chunk.
    pub rows: usize,
}

/// Some rows of a file.
#[derive(Debug)]
pub struct Chunk {
    /// Rows of the file before them.
    pub first: u64,
    /// All of them; what does not fit is missing.
    pub table: Table,
    /// What does not fit, one place a row at most; rows are counted from the chunk's first.
    pub faults: Vec<Detail>,
    /// The columns of the file so far, where rows are shown.
    pub names: Vec<String>,
    /// The cells of each row, where rows are shown; later rows may have more of them.
    pub cells: Vec<Vec<Value>>,
}

/// Gives the rows of a file to `take`, chunk by chunk, until it returns false; the number of rows read.
pub fn read_chunks(
    part: &RowFile,
    plan: &ChunkPlan<'_>,
    limits: &Limits,
    take: &mut dyn FnMut(Chunk) -> Result<bool>,
) -> Result<u64> {
    let kinds = plan.shown.into_iter().flatten().flat_map(kinds_of).collect();
    let mut sink = ChunkSink {
        builder: TableBuilder::by_row(&plan.reader.compiled),
        kinds,
        plan,
        take,
        skip: plan.skip,
        read: 0,
        names: Vec::new(),
        written: Vec::new(),
        row: Vec::new(),
        cells: Vec::new(),
        going: true,
    };
    formats::read(part, limits, &mut sink)?;
    if sink.going {
        sink.pass_on()?;
    }
    Ok(sink.read)
}

type Written<'a> = (ColumnKind, &'a Option<Spelling>);

/// The columns of a file for a column of the schema, with how their cells are written.
fn kinds_of(column: &ColumnInfo) -> Vec<(&str, Written<'_>)> {
    match &column.members {
        Some(members) => members.iter().map(|m| (m.as_str(), (ColumnKind::Number, &column.spelling))).collect(),
        None => vec![(column.name.as_str(), (column.kind, &column.spelling))],
    }
}

struct ChunkSink<'a> {
    plan: &'a ChunkPlan<'a>,
    take: &'a mut dyn FnMut(Chunk) -> Result<bool>,
    builder: TableBuilder,
    kinds: HashMap<&'a str, Written<'a>>,
    skip: u64,
    read: u64,
    names: Vec<String>,
    /// How the cells of each column are written.
    written: Vec<Written<'a>>,
    row: Vec<Value>,
    cells: Vec<Vec<Value>>,
    going: bool,
}

impl ChunkSink<'_> {
    /// Passes on the rows gathered so far.
    fn pass_on(&mut self) -> Result<bool> {
        if !self.builder.found_any() {
            let detail = "the data has none of the columns that the model reads";
            return Err(Error::unprocessable("unknown_column", detail));
        }
        let (table, faults) = self.builder.take_rows();
        if table.rows == 0 {
            return Ok(true);
        }
        let first = self.read - table.rows as u64;
        let names = if self.plan.shown.is_some() { self.names.clone() } else { Vec::new() };
        let chunk = Chunk { first, table, faults, names, cells: std::mem::take(&mut self.cells) };
        self.going = (self.take)(chunk)?;
        Ok(self.going)
    }
}

impl RowSink for ChunkSink<'_> {
    fn column(&mut self, name: &str, kind: Option<ColumnKind>) -> Result<()> {
        let none = (ColumnKind::Category, &None);
        self.written.push(self.kinds.get(name).copied().unwrap_or(none));
        self.names.push(name.to_owned());
        self.row.push(Value::Null);
        self.builder.column(name, kind)
    }

    #[inline]
    fn cell(&mut self, column: usize, value: Cell<'_>) {
        if self.skip > 0 {
            return;
        }
        self.builder.cell(column, value);
        if self.plan.shown.is_some() {
            let (kind, spelling) = self.written[column];
            self.row[column] = value_of(value, kind, Spelling::of(spelling));
        }
    }

    fn end_row(&mut self) -> Result<bool> {
        self.read += 1;
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(true);
        }
        self.builder.close_row();
        if self.plan.shown.is_some() {
            self.cells.push(self.row.iter_mut().map(std::mem::take).collect());
        }
        if self.builder.rows() < self.plan.rows { Ok(true) } else { self.pass_on() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::formats::{Header, ReadOptions};
    use crate::data::plan::ColumnPlan;
    use std::io::Write;

    fn chunks(text: &str, skip: u64, rows: usize) -> Vec<Chunk> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let options = ReadOptions { header: Some(Header::Present), ..ReadOptions::default() };
        let (part, _) = formats::detect_as(file.path(), None, None, &options).unwrap();
        let plans = [ColumnPlan::new("x", ColumnKind::Number), ColumnPlan::new("c", ColumnKind::Category)];
        let reader = RowsReader::new(&plans, &[]);
        let columns = [ColumnInfo::empty("x", ColumnKind::Number), ColumnInfo::empty("c", ColumnKind::Category)];
        let plan = ChunkPlan { reader: &reader, shown: Some(&columns), skip, rows };
        let mut found = Vec::new();
        read_chunks(&part, &plan, &Limits::default(), &mut |chunk| {
            found.push(chunk);
            Ok(true)
        })
        .unwrap();
        found
    }

    #[test]
    fn chunks_cover_the_file_and_name_the_rows_that_do_not_fit() {
        let text = "x,c,other\n1,a,5\n2,b,6\nmany,c,7\n4,d,8\n5,e,9\n";
        let found = chunks(text, 0, 2);
        let firsts: Vec<_> = found.iter().map(|c| (c.first, c.table.rows)).collect();
        assert_eq!(firsts, [(0, 2), (2, 2), (4, 1)]);
        assert_eq!(found[1].faults.len(), 1);
        assert_eq!((found[1].faults[0].row, found[1].faults[0].column.as_deref()), (Some(0), Some("x")));
        assert_eq!(found[0].names, ["x", "c", "other"]);
        assert_eq!(found[1].cells[0][0], Value::from("many"));
        let later = chunks(text, 3, 10);
        assert_eq!((later[0].first, later[0].table.rows), (3, 2));
    }

    #[test]
    fn as_many_rows_may_be_wrong_as_there_are() {
        let text = format!("x,c\n{}", "word,a\n".repeat(100));
        assert_eq!(chunks(&text, 0, 1000)[0].faults.len(), 100);
    }
}
