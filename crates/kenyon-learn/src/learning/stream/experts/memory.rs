//! Stored rows as an expert: a softmax read over the most similar ones. The rows themselves are shared.

use super::{ExpertKind, ExpertRow, Lesson, StreamExpert};
use crate::Result;

pub(super) const KIND: ExpertKind =
    ExpertKind { name: "memory", make: |_| vec![Box::new(Memory)], load: |_| Ok(Box::new(Memory)) };

#[derive(Clone, Copy, Debug)]
struct Memory;

impl StreamExpert for Memory {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        let memory = &row.shared.memory;
        if row.shared.regression {
            out.fill(memory.read_value(row.similarities).unwrap_or(row.shared.mean));
        } else {
            out.copy_from_slice(&memory.read(row.similarities, out.len()));
        }
    }

    // The mixture writes to the memory, because that happens before any expert learns the row.
    fn learn_one(&mut self, _row: &ExpertRow<'_>, _lesson: &Lesson<'_>) {}

    fn bytes(&self) -> u64 {
        0
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn fork(&self) -> Box<dyn StreamExpert> {
        Box::new(*self)
    }

    fn published(&self) -> Box<dyn StreamExpert> {
        Box::new(*self)
    }
}
