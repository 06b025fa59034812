//! What a stream tells of itself, as it stood when it was published.

use super::copy_on_write::CopyOnWrite;
use super::{Consolidation, Figures, StreamModel, Task};
use crate::data::target::TargetEncoder;
use crate::learning::bundle::class_name;
use crate::nn::memory::episodic::{Entry, Episodic};
use serde_json::{Map, Value, json};

/// Figures and remembered rows of a stream.
#[derive(Clone, Debug)]
pub struct StreamReport {
    task: Task,
    target_encoder: TargetEncoder,
    memory: CopyOnWrite<Episodic>,
    figures: Figures,
    rows: u64,
    forgotten: u64,
    consolidations: Vec<Consolidation>,
}

impl StreamModel {
    /// Figures and remembered rows as they stand.
    pub fn report(&self) -> StreamReport {
        StreamReport {
            task: self.task,
            target_encoder: self.target_encoder.clone(),
            memory: self.mixture.shared.memory.clone(),
            figures: self.figures.clone(),
            rows: self.rows,
            forgotten: self.forgotten,
            consolidations: self.consolidations.clone(),
        }
    }
}

impl StreamReport {
    /// Rows seen.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The figures.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// What is remembered, oldest first.
    pub fn entries(&self) -> &[Entry] {
        self.memory.entries()
    }

    /// The classes, in the order of ids; empty for numbers.
    pub fn classes(&self) -> &[Value] {
        match &self.target_encoder {
            TargetEncoder::Classes(classes) => classes,
            TargetEncoder::Number { .. } => &[],
        }
    }

    /// Class or value of a remembered row, under its name in an answer.
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

    /// Whatever `GET /{name}/stream` shows.
    pub fn stream(&self) -> Value {
        let recalls: Map<String, Value> = self
            .classes()
            .iter()
            .zip(self.figures.recalls())
            .map(|(class, (rows, recall))| (class_name(class), json!({"rows": rows, "recall": recall})))
            .collect();
        json!({
            "observed": self.rows, "labelled": self.figures.labelled, "unlabelled": self.figures.unlabelled,
            "prequential": self.figures.prequential(), "drift": self.figures.drift(),
            "history": self.figures.history(), "classes": recalls, "memory": self.memory(),
            "consolidations": self.consolidations, "forgotten_since": self.forgotten,
        })
    }
}
