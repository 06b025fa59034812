//! The trained network that a stream continues from, as an expert: it predicts and does not learn.

use super::{ExpertKind, ExpertRow, Lesson, StreamExpert};
use crate::Result;

pub(super) const KIND: ExpertKind = ExpertKind {
    name: "network",
    make: |shape| if shape.base { vec![Box::new(Base)] } else { Vec::new() },
    load: |_| Ok(Box::new(Base)),
};

#[derive(Clone, Copy, Debug)]
struct Base;

impl StreamExpert for Base {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn predict_one(&self, row: &ExpertRow<'_>, _buffer: &mut Vec<f32>, out: &mut [f32]) {
        // Classes that came later are not among its outputs.
        out.iter_mut().zip(row.row.base).for_each(|(o, p)| *o = *p);
    }

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
