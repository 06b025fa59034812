//! Cells into typed columns by plan: the one place where a value becomes the encoder's input, for
//! files and requests alike.

mod column;

use self::column::ColumnBuilder;
use super::Table;
use super::cell::{Cell, List};
use super::formats::RowSink;
use super::kinds::{self, Spelling, single};
use super::plan::ColumnPlan;
use super::schema::ColumnKind;
use super::warning::{MAX_EXAMPLES, Warning, WarningCode, WarningExample};
use super::written::value_of;
use crate::error::MAX_DETAILS;
use crate::{Detail, Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The destination of a name's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nowhere: a known column that is not read.
    Skip,
    /// A whole column.
    Whole(usize),
    /// One element of a column.
    Member(usize, usize),
}

/// Plans with their names looked up once.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) plans: Vec<ColumnPlan>,
    /// Every name with its slot, members in order, so that the next name is mostly the next entry.
    pub(super) names: Vec<(Box<str>, Slot)>,
    index: HashMap<Box<str>, usize>,
}

impl Compiled {
    pub(super) fn new(plans: &[ColumnPlan], ignored: &[String]) -> Arc<Self> {
        let mut names: Vec<(Box<str>, Slot)> = Vec::new();
        for (p, plan) in plans.iter().enumerate() {
            let members = plan.members.iter().flatten().enumerate();
            names.extend(members.map(|(i, name)| (name.as_str().into(), Slot::Member(p, i))));
            names.push((plan.name.as_str().into(), Slot::Whole(p)));
        }
        names.extend(ignored.iter().map(|name| (name.as_str().into(), Slot::Skip)));
        let mut index = HashMap::with_capacity(names.len());
        for (i, (name, _)) in names.iter().enumerate() {
            index.entry(name.clone()).or_insert(i);
        }
        Arc::new(Self { plans: plans.to_vec(), names, index })
    }

    /// The entry of `names` for a name, `hint` tried first.
    pub(super) fn find(&self, name: &str, hint: usize) -> Option<usize> {
        match self.names.get(hint) {
            Some((next, _)) if **next == *name => Some(hint),
            _ => self.index.get(name).copied(),
        }
    }
}

/// Columns under construction.
#[derive(Debug)]
pub(super) struct TableBuilder {
    pub(super) compiled: Arc<Compiled>,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    /// Rows that were given away.
    taken: usize,
    /// Rows of requests count from 0, must have their vectors, and their types must be right.
    strict: bool,
    /// Slots of the columns of the file being read.
    file: Vec<Slot>,
    found: Vec<bool>,
    errors: Vec<Detail>,
    /// Whether every row that does not fit is reported, each once.
    by_row: bool,
    pub(super) list: List,
}

impl TableBuilder {
    pub(super) fn new(compiled: &Arc<Compiled>, strict: bool) -> Self {
        let columns = compiled.plans.iter().map(ColumnBuilder::new).collect();
        let found = vec![false; compiled.plans.len()];
        let (compiled, list) = (Arc::clone(compiled), List::default());
        Self {
            compiled,
            columns,
            rows: 0,
            taken: 0,
            strict,
            file: Vec::new(),
            found,
            errors: Vec::new(),
            by_row: false,
            list,
        }
    }

    /// For files whose rows are read as those of requests are, and reported one by one.
    pub(super) fn by_row(compiled: &Arc<Compiled>) -> Self {
        Self { by_row: true, ..Self::new(compiled, true) }
    }

    /// The rows since the last call, and what is wrong with them.
    pub(super) fn take_rows(&mut self) -> (Table, Vec<Detail>) {
        let fresh = self.compiled.plans.iter().map(ColumnBuilder::new).collect();
        let columns = self.compiled.plans.iter().zip(std::mem::replace(&mut self.columns, fresh));
        let columns = columns.map(|(plan, builder)| (plan.name.clone(), builder.finish())).collect();
        (Table { rows: std::mem::take(&mut self.rows), columns }, std::mem::take(&mut self.errors))
    }

    /// The rows since the last call, of columns with one value a row. What does not fit is counted on.
    pub(super) fn take_complete(&mut self) -> Table {
        let rows = self.rows - std::mem::replace(&mut self.taken, self.rows);
        let columns = self.compiled.plans.iter().zip(&mut self.columns).map(|(plan, builder)| {
            let fresh = ColumnBuilder::new(plan).column;
            (plan.name.clone(), std::mem::replace(&mut builder.column, fresh))
        });
        Table { rows, columns: columns.collect() }
    }

    /// Complete rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a file had a column of any plan.
    pub(super) fn found_any(&self) -> bool {
        self.found.is_empty() || self.found.contains(&true)
    }

    /// Starts another file, with its own order of columns.
    pub(super) fn next_file(&mut self) {
        self.file.clear();
    }

    /// The first plan with no column in any file.
    pub(super) fn never_found(&self) -> Option<&ColumnPlan> {
        self.found.iter().position(|f| !f).map(|p| &self.compiled.plans[p])
    }

    fn fault(&mut self, column: &str, reason: impl Into<String>) {
        let row = self.rows as u64 + u64::from(!self.strict);
        let wanted = match self.by_row {
            true => self.errors.last().is_none_or(|last| last.row != Some(row)),
            false => self.errors.len() < MAX_DETAILS,
        };
        if wanted {
            self.errors.push(Detail::cell(row, column, reason));
        }
    }

    /// A field that is in no plan.
    pub(super) fn unknown(&mut self, name: &str) {
        self.fault(name, "the model has no such field");
    }

    /// Puts a value into the column of `slot`.
    #[inline]
    pub(super) fn put(&mut self, slot: Slot, value: Cell<'_>) {
        match slot {
            Slot::Skip => {}
            Slot::Member(p, i) => {
                let plan = &self.compiled.plans[p];
                let spelling = Spelling::of(&plan.spelling);
                let element = match value {
                    _ if self.is_missing(value, spelling) => Some(f64::NAN),
                    value => kinds::number::value(value, spelling),
                };
                let width = plan.members.as_ref().map_or(0, Vec::len);
                if self.columns[p].filled && self.columns[p].members == 0 {
                    let reason = format!("the row has '{}' as a list already", plan.name);
                    let name = plan.members.as_ref().map_or("", |m| &m[i]).to_owned();
                    return self.fault(&name, reason);
                }
                self.columns[p].member(i, width, element.map_or(f32::NAN, single));
                if element.is_none() {
                    let name = plan.members.as_ref().map_or("", |m| &m[i]).to_owned();
                    let reason = format!("expected a number, found {}", value.describe());
                    self.misfit(p, &name, value, reason);
                }
            }
            Slot::Whole(p) => {
                let missing = self.is_missing(value, Spelling::of(&self.compiled.plans[p].spelling));
                let Self { compiled, columns, list, .. } = self;
                let plan = &compiled.plans[p];
                if columns[p].filled {
                    let name = plan.name.clone();
                    return self.fault(&name, "the field occurs twice in this row");
                }
                // A class may have any name, `NA` as well.
                let named = plan.labels && plan.kind.spec().keeps_words() && !value.is_empty();
                if (missing && !named) || (plan.labels && value.is_empty()) {
                    return;
                }
                if let Err(reason) = columns[p].whole(plan, value, list) {
                    let name = plan.name.clone();
                    self.misfit(p, &name, value, reason);
                }
            }
        }
    }

    /// Whether a cell means "no value".
    #[inline]
    fn is_missing(&self, value: Cell<'_>, spelling: &Spelling) -> bool {
        match value {
            Cell::Missing => true,
            Cell::Raw(text) => spelling.is_missing(text),
            Cell::Text(text) if self.strict => !spelling.legacy && (text.trim().is_empty() || spelling.lists(text)),
            Cell::Quoted(text) | Cell::Text(text) => !spelling.legacy && text.trim().is_empty(),
            // A file's own word for "no value" may be a number, such as -999.
            Cell::Integer(x) => spelling.lists_number(x as f64),
            Cell::Number(x) => spelling.lists_number(x),
            _ => false,
        }
    }

    /// A cell that does not fit: refused in a request, missing in a file unless too many are lists or objects.
    fn misfit(&mut self, plan: usize, name: &str, value: Cell<'_>, reason: String) {
        if self.strict {
            return self.fault(name, reason);
        }
        let row = self.rows as u64 + 1;
        let column = &mut self.columns[plan];
        if !value.is_scalar() {
            column.odd += 1;
            if column.faults.len() < MAX_DETAILS {
                column.faults.push(Detail::cell(row, name, reason));
            }
        }
        column.misfits += 1;
        if column.examples.len() < MAX_EXAMPLES {
            let value = value_of(value, ColumnKind::Text, &Spelling::default());
            column.examples.push(WarningExample { row, value });
        }
    }

    /// Cells that did not fit and count as missing, column by column.
    pub(super) fn warnings(&mut self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (column, plan) in self.columns.iter_mut().zip(&self.compiled.plans).filter(|(c, _)| c.misfits > 0) {
            let detail = format!("{} cells are not {} and count as missing", column.misfits, plan.kind.spec().wanted());
            let mut warning = Warning::new(WarningCode::MixedKind, Some(&plan.name), detail);
            (warning.rows, warning.examples) = (column.misfits, std::mem::take(&mut column.examples));
            warnings.push(warning);
        }
        warnings
    }

    /// Completes the current row.
    pub(super) fn close_row(&mut self) {
        let (rows, strict) = (self.rows, self.strict);
        let mut lacking: Vec<(String, String)> = Vec::new();
        for (builder, plan) in self.columns.iter_mut().zip(&self.compiled.plans) {
            let wanted = plan.members.as_ref().map_or(0, Vec::len);
            if strict && builder.filled && builder.members > 0 && builder.members < wanted {
                let reason = format!("{} of its {wanted} columns are missing", wanted - builder.members);
                lacking.push((plan.name.clone(), reason));
            }
            if strict && !builder.filled && plan.kind.is_list() {
                lacking.push((plan.name.clone(), format!("this {} is missing", plan.kind.name())));
            }
            builder.close(rows, plan);
        }
        for (name, reason) in lacking {
            self.fault(&name, reason);
        }
        self.rows += 1;
    }

    /// Whether there are so many errors that reading stops.
    pub(super) fn error_limit_reached(&self) -> bool {
        self.errors.len() >= MAX_DETAILS
    }

    /// The finished table, or the errors in its rows.
    pub(super) fn finish(mut self) -> Result<Table> {
        let rows = self.rows as u64;
        // More than one list or object in twenty is not accidental.
        for column in self.columns.iter_mut().filter(|c| c.odd * 20 > rows) {
            self.errors.append(&mut column.faults);
        }
        self.errors.truncate(MAX_DETAILS);
        if !self.errors.is_empty() {
            return Err(Error::unprocessable("bad_rows", "some rows do not fit").with_details(self.errors));
        }
        let columns = self.compiled.plans.iter().zip(self.columns);
        let columns = columns.map(|(plan, builder)| (plan.name.clone(), builder.finish())).collect();
        Ok(Table { rows: self.rows, columns })
    }
}

impl RowSink for TableBuilder {
    fn column(&mut self, name: &str, _kind: Option<ColumnKind>) -> Result<()> {
        let slot = self.compiled.find(name, self.file.len()).map_or(Slot::Skip, |i| self.compiled.names[i].1);
        if let Slot::Whole(p) | Slot::Member(p, _) = slot {
            self.found[p] = true;
        }
        self.file.push(slot);
        Ok(())
    }

    #[inline]
    fn cell(&mut self, column: usize, value: Cell<'_>) {
        self.put(self.file[column], value);
    }

    fn end_row(&mut self) -> Result<bool> {
        self.close_row();
        Ok(!self.error_limit_reached())
    }
}
