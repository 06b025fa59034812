//! Targets of rows as they are learned.

use super::experts::Truth;
use super::{StreamModel, targets};
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::{Column, Table};
use crate::models::{Task, UNLABELLED};
use crate::{Error, Result};

/// The label of a row as it was observed and as it is learned, which differ for outliers; NaN for none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) observed: f32,
    pub(super) learned: f32,
}

impl StreamModel {
    /// Whether the rows of `table` can be learned; the error names those whose target is out of range.
    pub fn check(&self, table: &Table) -> Result<()> {
        match (self.task, table.column(&self.target.name)) {
            (Task::Regression, Some(Column::Number(targets) | Column::Timestamp(targets))) => {
                self.targets.check(&self.target.name, targets)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn truth(&self, label: f32) -> Truth {
        match self.task {
            Task::Classification => Truth::Class(label as usize),
            Task::Regression => Truth::Value(label),
        }
    }

    /// The unit of standardised targets.
    pub(super) fn unit(&self) -> f32 {
        match &self.target_encoder {
            TargetEncoder::Number { std, .. } => *std as f32,
            TargetEncoder::Classes(_) => 1.0,
        }
    }

    /// Labels of rows that are observed for the first time; numbers are clipped to the range of targets.
    pub(super) fn new_labels(&mut self, table: &Table) -> Result<Vec<Label>> {
        let (Task::Regression, Some(Column::Number(targets) | Column::Timestamp(targets))) =
            (self.task, table.column(&self.target.name))
        else {
            let labels = self.labels(table)?;
            return Ok(labels.into_iter().map(|label| Label { observed: label, learned: label }).collect());
        };
        if self.base.is_none()
            && self.targets.is_empty()
            && self.figures.labelled == 0
            && let Some(median) = targets::median(targets)
        {
            self.target_encoder = TargetEncoder::Number { mean: median, std: 1.0 };
        }
        let TargetEncoder::Number { mean, std } = self.target_encoder else {
            return Err(Error::internal("a regression without a scale of its target"));
        };
        let standardised = |target: f64| ((target - mean) / std) as f32;
        let label = |&target: &f64| match self.targets.learn(target) {
            Some(usual) => Label { observed: standardised(target), learned: standardised(usual) },
            None => Label { observed: f32::NAN, learned: f32::NAN },
        };
        Ok(targets.iter().map(label).collect())
    }

    /// Class ids (NaN for none) or standardised values of the target column, as they were learned.
    pub(super) fn labels(&self, table: &Table) -> Result<Vec<f32>> {
        let Some(column) = table.column(&self.target.name) else { return Ok(vec![f32::NAN; table.rows]) };
        let usual = match (self.task, column) {
            (Task::Regression, Column::Number(targets)) => {
                Some(Column::Number(targets.iter().map(|&t| self.targets.usual(t)).collect()))
            }
            _ => None,
        };
        Ok(match self.target_encoder.encode(usual.as_ref().unwrap_or(column))? {
            Encoded::Classes(ids) => {
                ids.into_iter().map(|id| if id == UNLABELLED { f32::NAN } else { id as f32 }).collect()
            }
            Encoded::Values(values) => values,
        })
    }
}
