// NOTE FROM LEAD (19:46): I am writing encoder.rs, target.rs and split.rs myself in main to take load off you; land formats, schema, plan (resolve/read_table/read_rows), rows FIRST. Take my versions of these three files when you rebase (git checkout --theirs/main); extend afterwards (tests, speed).
//! Which rows are learned from and which are held out: seeded, stratified, the same on every machine.

use super::target::Encoded;
use crate::{Error, Result};

/// Row numbers of the two sides, each in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Rows to learn from.
    pub training: Vec<usize>,
    /// Rows held out.
    pub validation: Vec<usize>,
}

/// Holds `share` of the labelled rows out, of every class alike. A class with a single row goes wholly
/// to training, and so do rows without a label.
pub fn split(targets: &Encoded, share: f32, seed: u64) -> Result<Split> {
    let _ = (targets, share, seed);
    Err(Error::unprocessable("not_yet", "not yet"))
}
