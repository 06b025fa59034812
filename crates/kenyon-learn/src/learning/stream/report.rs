//! The published report of a stream.

use super::copy_on_write::CopyOnWrite;
use super::history::History;
use super::horizons::HorizonPoint;
use super::quarantine::Quarantine;
use super::sources::Sources;
use super::{ColumnChange, Consolidation, Figures, StreamModel, Task};
use crate::data::target::TargetEncoder;
use crate::learning::bundle::class_name;
use crate::nn::memory::episodic::{Entry, Episodic};
use serde_json::{Map, Value, json};

/// Metrics and memory of a stream.
#[derive(Clone, Debug)]
pub struct StreamReport {
    task: Task,
    target_encoder: TargetEncoder,
    memory: CopyOnWrite<Episodic>,
    figures: Figures,
    history: History,
    horizons: Vec<HorizonPoint>,
    changes: CopyOnWrite<Vec<ColumnChange>>,
    rows: u64,
    forgotten: u64,
    consolidations: Vec<Consolidation>,
    sources: Sources,
    quarantine: Quarantine,
}

impl StreamModel {
    /// The current metrics and memory.
    pub fn report(&self) -> StreamReport {
        StreamReport {
            task: self.task,
            target_encoder: self.target_encoder.clone(),
            memory: self.mixture.shared.memory.clone(),
            figures: self.figures.clone(),
            history: self.history.clone(),
            horizons: self.horizons.points(),
            changes: self.column_drift.changes.clone(),
            rows: self.rows,
            forgotten: self.forgotten,
            consolidations: self.consolidations.clone(),
            sources: self.sources.clone(),
            quarantine: self.quarantine.clone(),
        }
    }
}

impl StreamReport {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The metrics.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The memory entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        self.memory.entries()
    }

    /// The classes, in the order of ids; empty for regression.
    pub fn classes(&self) -> &[Value] {
        match &self.target_encoder {
            TargetEncoder::Classes(classes) => classes,
            TargetEncoder::Number { .. } => &[],
        }
    }

    /// Class or value of a memory entry, under its name in an answer.
    pub fn label(&self, entry: &Entry) -> (&'static str, Value) {
        match &self.target_encoder {
            TargetEncoder::Classes(classes) => {
                ("label", classes.get(entry.label as usize).cloned().unwrap_or(Value::Null))
            }
            TargetEncoder::Number { mean, std } => ("value", (f64::from(entry.value) * std + mean).into()),
        }
    }

    /// `memory` of an observe answer.
    pub fn memory(&self) -> Value {
        let groups = if self.task == Task::Regression { 1 } else { self.classes().len() };
        json!({"entries": self.entries().len(), "capacity": self.memory.capacity * groups})
    }

    /// How well rows are answered that come some rows after the last one learned, from none on.
    fn horizon(&self) -> Value {
        let name = if self.task == Task::Regression { "mae" } else { "accuracy" };
        let rows = self.figures.labelled;
        let now = HorizonPoint {
            rows_since: 0,
            rows,
            figure: (rows > 0).then(|| self.figures.total()),
            coverage: self.history.coverage(),
        };
        let one = |point: &HorizonPoint| {
            json!({
                "rows_since": point.rows_since, "rows": point.rows, name: point.figure, "coverage": point.coverage,
            })
        };
        [now].iter().chain(&self.horizons).map(one).collect()
    }

    /// The body of `GET /{name}/stream`.
    pub fn stream(&self) -> Value {
        let recalls: Map<String, Value> = self
            .classes()
            .iter()
            .zip(self.figures.recalls())
            .map(|(class, (rows, recall))| (class_name(class), json!({"rows": rows, "recall": recall})))
            .collect();
        let mut drift = self.figures.drift();
        drift["columns"] = json!(*self.changes);
        json!({
            "observed": self.rows, "labelled": self.figures.labelled, "unlabelled": self.figures.unlabelled,
            "prequential": self.figures.prequential(), "drift": drift,
            "history": self.figures.history(&self.history), "horizon": self.horizon(), "classes": recalls, "memory": self.memory(),
            "consolidations": self.consolidations, "forgotten_since": self.forgotten,
            "quarantine": self.quarantine.report(), "keys": self.sources.report(self.task == Task::Regression),
        })
    }
}
