//! What answers the rows of a stream and learns from them: experts of equal standing behind one trait.
//!
//! A new expert is a file here with its [`StreamExpert`] and an [`ExpertKind`] in [`EXPERTS`]. Nothing else names
//! an expert: the hedge weighs whatever the list makes, snapshots hold each under its name.

mod base;
mod few_shot;
pub(super) mod forest;
pub(super) mod least_squares;
pub(super) mod linear;
mod memory;
pub(super) mod readout;

use super::inputs::View;
use super::shape::{MixtureShape, Row};
use crate::Result;
use crate::nn::memory::episodic::Episodic;
use std::fmt::Debug;

/// What all experts may look at beside the row: the past that they share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Whether numbers are answered.
    pub(super) regression: bool,
    /// Classes known so far.
    pub(super) classes: usize,
    /// Rows learned of each class.
    pub(super) counts: Vec<u64>,
    /// The first value: experts of numbers learn the difference from it.
    pub(super) mean: f32,
    /// Remembered rows.
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

/// A row as experts see it.
#[derive(Clone, Copy)]
pub(super) struct ExpertRow<'a> {
    /// Its features, its code, the trained network's answer.
    pub(super) row: Row<'a>,
    /// The columns with their recent past; empty where the columns are too many.
    pub(super) view: &'a View,
    /// Similarity to each remembered row.
    pub(super) similarities: &'a [f32],
    /// The past.
    pub(super) shared: &'a Shared,
}

/// What a row turned out to be.
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
    /// Experts are made anew from what is still held, and see it for the first time.
    RebuildFirst,
    /// The same, once more.
    RebuildAgain,
    /// A consolidation repeats it.
    Rehearsal,
}

/// A row to learn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesson<'a> {
    pub(super) truth: Truth,
    /// What the expert answered.
    pub(super) predicted: &'a [f32],
    /// How much its answer counted.
    pub(super) weight: f32,
    pub(super) pass: Pass,
}

/// Something that predicts a row and then learns it.
pub(super) trait StreamExpert: Debug + Send + Sync {
    /// Its name in [`EXPERTS`].
    fn name(&self) -> &'static str;

    /// Whether it has something to say.
    fn is_ready(&self) -> bool {
        true
    }

    /// Answers a row: probabilities `[classes]`, or one value. `out` is zero; `room` is for intermediate results.
    fn predict_one(&self, row: &ExpertRow<'_>, room: &mut Vec<f32>, out: &mut [f32]);

    /// Learns the row it has just predicted. Counts and remembered rows have it already.
    fn learn_one(&mut self, row: &ExpertRow<'_>, lesson: &Lesson<'_>);

    /// Learns what a row without a label tells.
    fn learn_unlabelled(&mut self, _row: &ExpertRow<'_>) {}

    /// The error has grown. `fade`: what was learned before may count less, because no class is new.
    fn on_drift(&mut self, _fade: bool, _shared: &Shared) {}

    /// Codes mean something else from now on; the stream repeats the rows it still has.
    fn on_new_code(&mut self) {}

    /// Starts over where single rows cannot be taken back: rows were forgotten, those still held follow.
    fn restart(&mut self) {}

    /// Brings what is solved now and then up to date.
    fn settle(&mut self, _shared: &Shared) {}

    /// Takes rows back, by their codes `[labels, width]`; a label is a class, a value or NaN.
    fn forget(&mut self, _codes: &[f32], _labels: &[f32], _shared: &Shared) {}

    /// Makes room for classes up to `classes`.
    fn grow(&mut self, _classes: usize) {}

    /// Bytes that answering takes, about.
    fn bytes(&self) -> u64;

    /// Its state, for `load` of its [`ExpertKind`].
    fn save(&self) -> Result<Vec<u8>>;

    /// A copy that goes on learning on its own.
    fn fork(&self) -> Box<dyn StreamExpert>;

    /// A copy that only answers: shares what it can, and leaves out what only learning needs.
    fn published(&self) -> Box<dyn StreamExpert>;
}

/// A kind of expert.
#[derive(Clone, Copy)]
pub(super) struct ExpertKind {
    /// What snapshots know it by.
    pub(super) name: &'static str,
    /// The experts of this kind that a stream of this shape begins with.
    pub(super) make: fn(&MixtureShape) -> Vec<Box<dyn StreamExpert>>,
    /// Reads what [`StreamExpert::save`] has written.
    pub(super) load: fn(&[u8]) -> Result<Box<dyn StreamExpert>>,
}

/// All kinds of experts. Their order is that in which they are weighed, and in which the first that is ready
/// answers.
pub(super) static EXPERTS: &[ExpertKind] =
    &[base::KIND, linear::KIND, least_squares::KIND, forest::KIND, readout::KIND, memory::KIND];

/// Writes a state as bytes.
fn to_bytes(state: &impl serde::Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(state).map_err(super::broken)
}

/// Reads a state.
fn from_bytes<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(super::broken)
}
