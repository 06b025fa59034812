//! The experts that predict the rows of a stream and learn from them, behind one trait.
//!
//! A new expert is a file here with its [`StreamExpert`] and an [`ExpertKind`] in [`EXPERTS`]. Nothing else names
//! an expert: the hedge weighs all of the list, snapshots hold each under its name.

mod base;
mod expansion;
mod few_shot;
pub(super) mod forest;
mod kernel;
pub(super) mod least_squares;
pub(super) mod linear;
mod memory;
pub(super) mod readout;
mod rehearsal;

use super::inputs::View;
use super::shape::{MixtureShape, StreamRow};
use crate::Result;
use crate::data::Batch;
use crate::models::memory::Texts;
use crate::nn::memory::episodic::Episodic;
use std::fmt::Debug;

/// The shared past of a stream, which all experts may read in addition to the row.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Whether the task is regression.
    pub(super) regression: bool,
    /// Classes known so far.
    pub(super) classes: usize,
    /// Rows learned of each class.
    pub(super) counts: Vec<u64>,
    /// The first value: experts for regression learn the difference from it.
    pub(super) mean: f32,
    /// Stored rows.
    pub(super) memory: super::copy_on_write::CopyOnWrite<Episodic>,
    /// Threads that larger sums may use; no result depends on it.
    pub(super) threads: usize,
}

impl Shared {
    /// How many numbers an answer has.
    pub(super) fn outputs(&self) -> usize {
        if self.regression { 1 } else { self.classes }
    }
}

/// A row as input of the experts.
#[derive(Clone, Copy)]
pub(super) struct ExpertRow<'a> {
    /// Its features, its code, the trained network's answer.
    pub(super) row: StreamRow<'a>,
    /// The columns with their recent past; empty where the columns are too many.
    pub(super) view: &'a View,
    /// Similarity to each remembered row.
    pub(super) similarities: &'a [f32],
    /// The past.
    pub(super) shared: &'a Shared,
}

/// The truth of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Truth {
    /// A class.
    Class(usize),
    /// A number.
    Value(f32),
}

/// Why a row is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It is the next of the stream.
    Stream,
    /// Experts are trained again from what is still stored, and get it for the first time.
    RebuildFirst,
    /// The same, in a further pass.
    RebuildAgain,
    /// A consolidation repeats it.
    Rehearsal,
}

/// A row to learn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesson<'a> {
    pub(super) truth: Truth,
    /// The expert's prediction.
    pub(super) predicted: &'a [f32],
    /// The weight of its prediction.
    pub(super) weight: f32,
    pub(super) pass: Pass,
    /// What the row counts, in `(0, 1]`.
    pub(super) credibility: f32,
}

/// Something that predicts a row and then learns it.
pub(super) trait StreamExpert: Debug + Send + Sync {
    /// Its name in [`EXPERTS`].
    fn name(&self) -> &'static str;

    /// Whether it can predict.
    fn is_ready(&self) -> bool {
        true
    }

    /// How far it is ahead of the others when they are weighed, as the logarithm of a weight.
    fn lead(&self) -> f32 {
        0.0
    }

    /// Predicts a row: probabilities `[classes]`, or one value. `out` is zero; `buffer` is for intermediate results.
    fn predict_one(&self, row: &ExpertRow<'_>, buffer: &mut Vec<f32>, out: &mut [f32]);

    /// Learns the row it has just predicted. Counts and remembered rows have it already.
    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>);

    /// Learns from a row without a label.
    fn learn_unlabelled(&mut self, _row: &ExpertRow<'_>) {}

    /// The error has grown. `fade`: earlier rows may count less, because no class is new.
    fn on_drift(&mut self, _fade: bool, _shared: &Shared) {}

    /// The meaning of codes has changed; the stream repeats the rows it still has.
    fn on_new_code(&mut self) {}

    /// Starts over where single rows cannot be removed: rows were forgotten, those still stored follow.
    fn restart(&mut self) {}

    /// Updates what is solved at intervals.
    fn settle(&mut self, _shared: &Shared) {}

    /// Removes rows, whose codes are `[labels, width]`; a label is a class, a value or NaN.
    fn forget(&mut self, _rows: &Batch, _codes: &[f32], _labels: &[f32], _shared: &Shared) {}

    /// The names of new classes, from class `first` on, as the encoder of the rows reads them.
    fn name_classes(&mut self, _first: usize, _names: &Texts) {}

    /// Extends the arrays for classes up to `classes`.
    fn grow(&mut self, _classes: usize) {}

    /// Approximate bytes needed for predicting.
    fn bytes(&self) -> u64;

    /// Its state, for `load` of its [`ExpertKind`].
    fn save(&self) -> Result<Vec<u8>>;

    /// A copy that continues learning independently.
    fn fork(&self) -> Box<dyn StreamExpert>;

    /// A copy that only predicts: shares what it can, and leaves out what only learning needs.
    fn published(&self) -> Box<dyn StreamExpert>;
}

/// A kind of expert.
#[derive(Clone, Copy)]
pub(super) struct ExpertKind {
    /// Its name in snapshots.
    pub(super) name: &'static str,
    /// The experts of this kind that a stream of this shape begins with.
    pub(super) make: fn(&MixtureShape) -> Vec<Box<dyn StreamExpert>>,
    /// Reads what [`StreamExpert::save`] has written.
    pub(super) load: fn(&[u8]) -> Result<Box<dyn StreamExpert>>,
}

/// How far experts are ahead that keep the evidence of every row about a pretrained encoder's vectors: one that is better by a
/// fifth of a nat over a hundred rows draws level. One that follows the newest class does not.
const LEAD: f32 = 6.0;

/// All kinds of experts. Their order is that of the weights, and in `Mixing::FirstReady` the first that is ready
/// predicts.
pub(super) static EXPERTS: &[ExpertKind] = &[
    base::KIND,
    linear::KIND,
    least_squares::KIND,
    forest::KIND,
    readout::KIND,
    memory::KIND,
    kernel::KIND,
    expansion::KIND,
    rehearsal::KIND,
];

/// Writes a state as bytes.
fn to_bytes(state: &impl serde::Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(state).map_err(super::broken)
}

/// Reads a state.
fn from_bytes<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(super::broken)
}
