//! Rows as a question and slots in time order, shared by the two algorithms over stories.

use crate::data::encoder::Encoder;
use crate::data::{Batch, ColumnKind};
use crate::models::LayerActivity;
use crate::nn::memory::memory_network::Stories;
use std::ops::Range;

/// Which fields of the encoder hold slots; all others are the question.
#[derive(Clone, Debug)]
pub(super) struct StoryFields(Vec<bool>);

impl StoryFields {
    /// The fields of columns of sentences; none where there is no such column.
    pub(super) fn of(encoder: &Encoder) -> Option<Self> {
        let is_story = |name: &str| {
            let plan = encoder.inputs.iter().find(|plan| plan.name == name);
            plan.is_some_and(|plan| plan.kind == ColumnKind::Sequence && plan.channels == Some(0))
        };
        let fields: Vec<bool> = encoder.fields.iter().map(|field| is_story(&field.name)).collect();
        fields.contains(&true).then_some(Self(fields))
    }

    /// Rows of a batch as question and slots.
    pub(super) fn stories(&self, batch: &Batch, rows: Range<usize>) -> Stories {
        Stories::new(batch, rows, &self.0)
    }

    /// Whether each field holds slots.
    pub(super) fn flags(&self) -> &[bool] {
        &self.0
    }
}

/// Adds `weight` to token `token` of the row; a question has no weight of its own.
pub(super) fn add_attention(attention: &mut [f32], batch: &Batch, row: usize, token: u32, weight: f32) {
    if token != u32::MAX {
        attention[token as usize - batch.row(row).start] += weight;
    }
}

/// A state's number below this changes an answer by too little to count as active.
pub(super) const ACTIVE: f32 = 0.05;

/// A layer from the share of rows that each unit was active in.
pub(super) fn layer(name: String, duty: Vec<f32>, winners: f64) -> LayerActivity {
    let units = duty.len();
    let dead_units = duty.iter().filter(|d| **d == 0.0).count();
    LayerActivity { name, units, winners, active_share: winners / units.max(1) as f64, dead_units, duty }
}

/// The layer of the states `[rows, width]`.
pub(super) fn state_layer(states: &[f32], width: usize) -> LayerActivity {
    let rows = (states.len() / width.max(1)).max(1) as f32;
    let mut duty = vec![0f32; width];
    for state in states.chunks_exact(width.max(1)) {
        for (duty, value) in duty.iter_mut().zip(state) {
            *duty += f32::from(u8::from(value.abs() > ACTIVE)) / rows;
        }
    }
    let winners = duty.iter().map(|d| f64::from(*d)).sum();
    layer("state".into(), duty, winners)
}
