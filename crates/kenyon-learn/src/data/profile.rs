//! What defaults may depend on: the size and shape of training data, but not its names.

use super::plan::Resolved;
use super::schema::ColumnKind;
use super::target::{Encoded, Task};
use super::{Column, Table};

/// Rows, kinds, widths and classes of some training data.
#[derive(Clone, Debug, PartialEq)]
pub struct DataProfile {
    /// Training rows.
    pub rows: usize,
    /// The task.
    pub task: Task,
    /// The features.
    pub features: Vec<FeatureProfile>,
    /// Rows of each class; empty for numbers, and before the target is read.
    pub classes: Vec<usize>,
}

/// The profile of one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureProfile {
    /// How it is read.
    pub kind: ColumnKind,
    /// Numbers a row, of vectors and images; else 1.
    pub width: usize,
    /// Shape of a vector or image, rows first.
    pub shape: Option<Vec<usize>>,
    /// Numbers a step of a sequence; 0 for a sequence of strings.
    pub channels: Option<usize>,
    /// Whether a pretrained encoder reads it.
    pub encoded: bool,
    /// Share of the rows without a value.
    pub missing: f32,
}

impl DataProfile {
    /// The profile of all rows of `table`, read by `plan`.
    pub fn new(table: &Table, plan: &Resolved) -> Self {
        let feature = |input: &super::plan::ColumnPlan| {
            let column = table.column(&input.name);
            let (width, shape) = match column {
                Some(Column::Vector { width, shape, .. }) => (*width, shape.clone()),
                _ => (1, None),
            };
            FeatureProfile {
                kind: input.effective_kind(),
                width,
                shape: shape.or_else(|| input.shape.clone().filter(|_| input.encoder.is_none())),
                channels: input.channels,
                encoded: input.encoder.is_some(),
                missing: column.map_or(1.0, missing),
            }
        };
        Self {
            rows: table.rows,
            task: plan.task,
            features: plan.inputs.iter().map(feature).collect(),
            classes: Vec::new(),
        }
    }

    /// The same of the rows `training` alone, with the number of rows of each class.
    #[must_use]
    pub fn of_rows(mut self, training: &[usize], targets: &Encoded, outputs: usize) -> Self {
        self.rows = training.len();
        if let Encoded::Classes(ids) = targets {
            self.classes = vec![0; outputs];
            for &row in training {
                if let Some(count) = self.classes.get_mut(ids[row] as usize) {
                    *count += 1;
                }
            }
        }
        self
    }

    /// Whether a feature is of this kind.
    pub fn has(&self, kind: ColumnKind) -> bool {
        self.features.iter().any(|feature| feature.kind == kind)
    }

    /// Whether a row is a text or picture that a pretrained encoder reads, and nothing else.
    pub fn is_encoded(&self) -> bool {
        matches!(&self.features[..], [feature] if feature.encoded)
    }

    /// Whether a feature is a list of sentences.
    pub fn has_sentences(&self) -> bool {
        self.features.iter().any(|f| f.kind == ColumnKind::Sequence && f.channels == Some(0))
    }

    /// Numbers a row in vectors and images.
    pub fn listed(&self) -> usize {
        let listed = |f: &&FeatureProfile| matches!(f.kind, ColumnKind::Image | ColumnKind::Vector);
        self.features.iter().filter(listed).map(|f| f.width).sum()
    }

    /// Whether a feature is a picture.
    pub fn has_picture(&self) -> bool {
        self.features.iter().any(|feature| {
            let sides = feature.shape.as_deref().is_some_and(|s| s.len() >= 2 && s[0] >= 7 && s[1] >= 7);
            feature.kind == ColumnKind::Image || (feature.kind == ColumnKind::Vector && sides)
        })
    }

    /// Whether a row is only columns of a table: no text, and no picture or long vector.
    pub fn is_table(&self) -> bool {
        self.listed() < LISTED && !self.has(ColumnKind::Text)
    }

    /// Rows of the rarest class over those of the most frequent one; 1 for numbers.
    pub fn balance(&self) -> f32 {
        let most = self.classes.iter().max().copied().unwrap_or(0);
        if most == 0 { 1.0 } else { self.classes.iter().min().copied().unwrap_or(0) as f32 / most as f32 }
    }

    /// Share of the cells without a value.
    pub fn missing(&self) -> f32 {
        self.features.iter().map(|f| f.missing).sum::<f32>() / self.features.len().max(1) as f32
    }
}

/// From this many numbers a row on, vectors and images are read as pictures and not as columns.
pub const LISTED: usize = 256;

/// Share of a column's rows without a value.
fn missing(column: &Column) -> f32 {
    let count = match column {
        Column::Number(v) | Column::Timestamp(v) => v.iter().filter(|v| !v.is_finite()).count(),
        Column::Boolean(v) => v.iter().filter(|v| v.is_none()).count(),
        Column::Category(v) | Column::Labels(v) | Column::Text(v) | Column::Picture(v) => {
            v.iter().filter(|v| v.is_none()).count()
        }
        Column::Vector { width, values, .. } => {
            values.chunks_exact((*width).max(1)).filter(|row| row.iter().all(|v| v.is_nan())).count()
        }
        Column::Series { offsets, .. } | Column::Strings { offsets, .. } => {
            offsets.windows(2).filter(|o| o[0] == o[1]).count()
        }
    };
    count as f32 / column.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::plan::ColumnPlan;

    #[test]
    fn kinds_widths_classes_and_gaps_are_counted() {
        let columns = vec![
            ("a".to_owned(), Column::Number(vec![1.0, f64::NAN, 3.0, 4.0])),
            ("b".to_owned(), Column::Vector { width: 2, shape: None, values: vec![0.0; 8] }),
        ];
        let inputs = vec![ColumnPlan::new("a", ColumnKind::Number), ColumnPlan::new("b", ColumnKind::Vector)];
        let target = ColumnPlan::new("y", ColumnKind::Category);
        let plan = Resolved { target, task: Task::Classification, inputs, ignored: Vec::new() };
        let profile = DataProfile::new(&Table { rows: 4, columns }, &plan);
        let profile = profile.of_rows(&[0, 1, 2], &Encoded::Classes(vec![0, 0, 1, 1]), 2);
        assert_eq!((profile.rows, profile.listed(), profile.classes.clone()), (3, 2, vec![2, 1]));
        assert_eq!((profile.balance(), profile.missing()), (0.5, 0.125));
        assert!(profile.is_table() && !profile.has(ColumnKind::Text));
    }
}
