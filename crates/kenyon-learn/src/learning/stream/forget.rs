//! Forgetting: the contributions of single rows are removed.
//!
//! At once the rows leave the episodic memory, the recent rows and those that wait for a code, and
//! they are subtracted from the readout's sums, which are solved without them. The experts' steps
//! cannot be reversed one by one: the next consolidation trains them again from the rows that are
//! still stored, whether or not that predicts better. Rows that nothing stores any more, neither memory
//! nor log, cannot be identified; their part of the sums stays, and so do the scales of
//! columns, the sample of targets, and the names of classes and categories.

use super::StreamModel;
use super::experts::{Pass, Truth};
use super::shape::StreamRow;
use crate::Result;
use crate::data::Batch;
use crate::models::Task;
use serde_json::Value;
use std::collections::HashSet;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Remembered episodes.
    pub entries: usize,
    /// Observed rows, those of the episodes among them.
    pub rows: usize,
}

/// How often the experts read the memory when they are trained again; recent rows, whose order is known,
/// are read once after it.
const PASSES: usize = 3;

impl StreamModel {
    /// Forgets everything for which `gone` holds, by an entry's id (rows that are not in memory have
    /// none), label and JSON. `logged` are rows of the log, as JSON, that are removed as well.
    pub fn forget(
        &mut self,
        gone: impl Fn(Option<u64>, Option<&Value>, Option<&str>) -> bool,
        logged: &[&str],
    ) -> Result<Forgotten> {
        let classes = self.classes().to_vec();
        let mut remembered: Vec<Box<str>> = Vec::new();
        let entries = self.mixture.shared.memory.forget(|entry| {
            let goes = gone(Some(entry.id), classes.get(entry.label as usize), entry.row.as_deref());
            if let (true, Some(row)) = (goes, &entry.row) {
                remembered.push(row.clone());
            }
            goes
        });
        let mut known: HashSet<Box<str>> = remembered.iter().cloned().collect();
        known.extend(logged.iter().map(|row| Box::from(*row)));
        let goes = |label: f32, text: Option<&str>| {
            text.is_some_and(|t| known.contains(t)) || gone(None, classes.get(label as usize), text)
        };
        let recent = self.forget_recent(goes);
        self.code.forget(goes);
        self.quarantine.forget(|text| known.contains(text) || gone(None, None, Some(text)));
        // A row that is stored twice was learned once: the log gives the count, then the recent rows.
        let counted: HashSet<&str> = logged.iter().copied().collect();
        let mut rows = logged.to_vec();
        rows.extend(recent.iter().map(|r| &**r).filter(|r| !counted.contains(r)));
        let counted: HashSet<&str> = rows.iter().copied().collect();
        rows.extend(remembered.iter().map(|r| &**r).filter(|r| !counted.contains(r)));
        self.take_out(&rows)?;
        let forgotten = Forgotten { entries, rows: rows.len().max(entries) };
        self.forgotten += forgotten.rows as u64;
        if forgotten.rows > 0 {
            self.forget_familiar();
        }
        Ok(forgotten)
    }

    /// Removes recent rows and returns them as JSON.
    fn forget_recent(&mut self, goes: impl Fn(f32, Option<&str>) -> bool) -> Vec<Box<str>> {
        let (mut kept, mut out) = (Vec::new(), Vec::new());
        for (r, &label) in self.recent_labels.iter().enumerate() {
            match &self.recent_texts[r] {
                text if !goes(label, text.as_deref()) => kept.push(r),
                text => out.extend(text.clone()),
            }
        }
        if kept.len() < self.recent_labels.len() {
            self.recent = self.recent.select(&kept);
            self.recent_labels = kept.iter().map(|&r| self.recent_labels[r]).collect();
            self.recent_texts = kept.iter().map(|&r| self.recent_texts[r].take()).collect();
        }
        out
    }

    /// Subtracts rows from the sums and from the counts of their classes.
    fn take_out(&mut self, rows: &[&str]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        // Rows that were learned can be parsed; some of a log from before a change of columns may
        // not, and were never learned by this stream.
        let Ok((batch, labels)) = self.read_back(rows) else { return Ok(()) };
        let codes = self.codes(&batch)?.0;
        self.mixture.forget(&batch, &codes, &labels);
        Ok(())
    }

    fn read_back(&self, rows: &[&str]) -> Result<(Batch, Vec<f32>)> {
        let table = self.reader.from_ndjson(rows.join("\n").as_bytes())?;
        Ok((self.encoder.encode(&table)?, self.labels(&table)?))
    }

    /// Trains the experts again from the memory, and computes sums that had faded as well.
    pub(super) fn rebuild(&mut self) -> Result<()> {
        let recent: HashSet<&str> = self.recent_texts.iter().flatten().map(|t| &**t).collect();
        let older: Vec<&str> = self.mixture.shared.memory.entries().iter().filter_map(|e| e.row.as_deref()).collect();
        let older: Vec<&str> = older.into_iter().filter(|row| !recent.contains(row)).collect();
        let (mut batch, mut labels) =
            if older.is_empty() { (Batch::new(), Vec::new()) } else { self.read_back(&older)? };
        let memory = labels.len();
        batch.append(&self.recent);
        labels.extend_from_slice(&self.recent_labels);
        let (codes, base) = self.codes(&batch)?;
        let (width, outputs) = (codes.len() / labels.len().max(1), base.len() / labels.len().max(1));
        let task = self.task;
        let row = |r: usize| {
            let (indices, values) = batch.entries(r);
            let code = &codes[r * width..(r + 1) * width];
            let truth = match task {
                Task::Classification => Truth::Class(labels[r] as usize),
                Task::Regression => Truth::Value(labels[r]),
            };
            (StreamRow { indices, values, code, base: &base[r * outputs..(r + 1) * outputs] }, truth)
        };
        let known = |r: &usize| !labels[*r].is_nan();
        self.mixture.restart();
        for pass in 0..PASSES {
            let pass = if pass == 0 { Pass::RebuildFirst } else { Pass::RebuildAgain };
            self.mixture.retrain((0..memory).filter(known).map(row), pass, &mut self.scratch);
        }
        let recent = (memory..labels.len()).filter(known).map(row);
        self.mixture.retrain(recent, Pass::RebuildFirst, &mut self.scratch);
        self.mixture.settle();
        self.forgotten = 0;
        Ok(())
    }
}
