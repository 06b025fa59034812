//! The settings of the family.

use crate::models::{Range, Setting};
use serde_json::Value;

/// The family's own settings.
pub(super) fn settings() -> Vec<Setting> {
    vec![
        Setting::new("units", 128, Range::Integer(4, 1024), "Filters of a patch, or units of a text projection / 16."),
        Setting::new("winners", 6, Range::Integer(1, 256), "Filters that win at each position."),
        Setting::new("patch", Value::Null, Range::Integer(2, 64), "Side of a patch; null: 5, or 3 for small images."),
        Setting::new("stride", Value::Null, Range::Integer(1, 64), "Distance between patches; null: from the size."),
        Setting::new("pool", 4, Range::Integer(1, 16), "Cells a side that positions are pooled to."),
        Setting::new("groups", Value::Null, Range::Integer(0, 256), "Groups of units over columns of a table."),
        Setting::new("shrinkage", Value::Null, Range::Number(0.0, 1.0), "Null: selected on rows set aside."),
        Setting::new(
            "plasticity",
            "hebbian",
            Range::Choice(&["hebbian", "none"]),
            "Whether the filters learn from the inputs before they are frozen.",
        ),
        Setting::new(
            "deformed_copies",
            Value::Null,
            Range::Integer(0, 1000),
            "Copies of each picture that are learned with it: slightly shifted, rotated, scaled, sheared and bent.",
        )
        .otherwise(0),
        Setting::new("deformation", 1.0, Range::Number(0.0, 4.0), "How far copies differ from their picture."),
        Setting::new(
            "cross_fit",
            Value::Null,
            Range::Boolean,
            "Whether parts of the rows are left out in turn to calibrate by, so that none are held out.",
        )
        .otherwise(false),
        Setting::new("memory_per_class", 100, Range::Integer(0, 10_000), "Memory entries of each class."),
        Setting::new(
            "recent_labels",
            true,
            Range::Boolean,
            "Whether the last labels of a stream are inputs for the next prediction; false where rows have no order.",
        ),
        Setting::new(
            "quarantine",
            false,
            Range::Boolean,
            "Whether a stream holds back rows that are novel and whose label contradicts their neighbours.",
        ),
    ]
}
