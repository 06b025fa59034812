//! Answers of ensembles whose members answer singly.

use crate::data::Batch;
use crate::{Error, Result};

/// Answers `[rows, outputs]` of which each is given by the member of `count` that `members` names, by `infer`.
pub(super) fn each_by_its_member(
    batch: &Batch,
    members: &[u8],
    count: usize,
    mut infer: impl FnMut(usize, &Batch) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    if members.len() != batch.rows() || members.iter().any(|&member| usize::from(member) >= count) {
        return Err(Error::internal("rows and the members that answer them differ"));
    }
    let mut answers = Vec::new();
    for member in 0..count {
        let rows: Vec<usize> = (0..batch.rows()).filter(|&row| usize::from(members[row]) == member).collect();
        if rows.is_empty() {
            continue;
        }
        let own = infer(member, &batch.select(&rows))?;
        let outputs = own.len() / rows.len();
        answers.resize(batch.rows() * outputs, 0.0);
        for (row, answer) in rows.into_iter().zip(own.chunks_exact(outputs.max(1))) {
            answers[row * outputs..(row + 1) * outputs].copy_from_slice(answer);
        }
    }
    Ok(answers)
}
