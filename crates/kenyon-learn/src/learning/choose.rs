//! Which family to train where the request does not say, and why.

use crate::data::plan::{ColumnPlan, Resolved};
use crate::data::schema::ColumnKind;
use crate::models::{Family, Task};

/// A family and the reason for it, in one sentence.
pub fn family(plan: &Resolved, rows: usize) -> (Family, String) {
    let any = |test: &dyn Fn(&ColumnPlan) -> bool| plan.inputs.iter().any(test);
    let is_story = |c: &ColumnPlan| c.kind == ColumnKind::Sequence && c.channels == Some(0);
    if any(&is_story) && any(&|c| c.kind == ColumnKind::Text) {
        return (Family::Memory, "a list of sentences with a question: the memory network reads facts for it".into());
    }
    if any(&|c| c.kind == ColumnKind::Sequence) {
        return (Family::Attention, "a sequence of varying length: attention reads its steps in order".into());
    }
    let picture = |c: &ColumnPlan| {
        c.kind == ColumnKind::Image
            || (c.kind == ColumnKind::Vector
                && c.shape.as_ref().is_some_and(|s| s.len() >= 2 && s[0] >= 7 && s[1] >= 7))
    };
    if plan.task == Task::Classification && any(&picture) {
        return (
            Family::Hybrid,
            format!("an image and {rows} rows: local groups of k-winners learn it in one pass and go on learning"),
        );
    }
    (Family::SparseMlp, "columns of a table, a text or a vector: the sparse network is the fastest and as good".into())
}
