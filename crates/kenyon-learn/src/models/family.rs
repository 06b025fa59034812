//! A family as the rest sees it: its specification, its rules, and the handle that names it.
//!
//! Nothing here knows which families there are; that is in `registry.rs`.

use super::candle::TokenConfig;
use super::{Learner, LearnerSpec, Network, Setting, Task, common_settings};
use crate::data::encoder::{Encoder, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::profile::DataProfile;
use crate::data::{Batch, Table};
use crate::nn::Tensors;
use crate::{Error, Result};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// A default that depends on data; [`super::recipe`] applies it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name for the measuring command, unique within its family.
    pub name: &'static str,
    /// What it does and why, in one sentence.
    pub sentence: &'static str,
    /// The settings it decides; one that a request names overrides it.
    pub settings: &'static [&'static str],
    /// The gain that was measured, and on what.
    pub measured: &'static str,
    /// The values as an object, where it applies; gets the settings that are decided already.
    pub values: fn(&DataProfile, &Map<String, Value>) -> Option<Value>,
}

/// How well a family suits some data, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suitability {
    /// The family with the largest is the default; of equal ones the first in the list.
    pub rank: u8,
    /// One sentence.
    pub reason: String,
}

impl Suitability {
    /// A rank with its reason.
    pub fn new(rank: u8, reason: impl Into<String>) -> Option<Self> {
        Some(Self { rank, reason: reason.into() })
    }
}

/// A network that was saved, with what it was made for.
#[derive(Clone, Copy)]
pub struct SavedNetwork<'a> {
    /// Encodes its rows.
    pub encoder: &'a Encoder,
    /// What it predicts.
    pub task: Task,
    /// Outputs a row.
    pub outputs: usize,
    /// The settings in full.
    pub config: &'a Map<String, Value>,
    /// What [`Network::save`] returned.
    pub tensors: &'a Tensors,
}

/// The specification of a family of networks.
pub trait FamilySpec: Send + Sync {
    /// Its name in requests.
    fn name(&self) -> &'static str;

    /// What it is for, in one sentence.
    fn purpose(&self) -> &'static str;

    /// The form of batch it reads.
    fn layout(&self, inputs: &[ColumnPlan]) -> Layout;

    /// Its own settings; [`Family::settings`] has those that all families share as well.
    fn own_settings(&self) -> Vec<Setting>;

    /// How well it suits some data; `None` where it is never the default.
    fn suits(&self, data: &DataProfile) -> Option<Suitability>;

    /// The defaults that depend on data; the first rule that decides a setting wins.
    fn rules(&self) -> &'static [Rule] {
        &[]
    }

    /// How many members can leave rows out, each others, where `config` in full selects cross-fitting.
    fn cross_fits(&self, _config: &Map<String, Value>) -> Option<usize> {
        None
    }

    /// Whether training by `config` in full makes several passes, of which held-out rows choose one.
    fn makes_passes(&self, config: &Map<String, Value>) -> bool {
        config.get("epochs").and_then(Value::as_u64) != Some(1)
    }

    /// The settings a search varies where the request names none: lists of values, or bounds.
    fn search_space(&self) -> Value;

    /// A network in training.
    ///
    /// # Errors
    /// Settings that contradict each other.
    fn learner(&self, spec: &LearnerSpec<'_>) -> Result<Box<dyn Learner>>;

    /// A trained network. The tensors are untrusted: shapes that do not fit are an error.
    ///
    /// # Errors
    /// What does not fit.
    fn load(&self, saved: &SavedNetwork<'_>) -> Result<Box<dyn Network>>;

    /// The configuration of the candle form of a saved network.
    ///
    /// # Errors
    /// What does not fit, and networks without one.
    fn candle(&self, _saved: &SavedNetwork<'_>) -> Result<Box<dyn TokenConfig>> {
        Err(Error::internal("the network has no candle form"))
    }

    /// Whether models of it can be exported as ONNX; [`Network::onnx`] may still refuse some.
    fn has_onnx(&self) -> bool {
        false
    }

    /// Whether its networks read compact batches ([`Encoder::encode_compact`]), in training as well.
    fn reads_compact(&self) -> bool {
        false
    }

    /// Whether it learns from rows without a label as well.
    fn learns_unlabelled(&self) -> bool {
        false
    }

    /// Whether a model of it can start without a training and learn from a stream alone.
    fn starts_empty(&self) -> bool {
        false
    }
}

/// A family: a handle of its specification, written as its name.
#[derive(Clone, Copy)]
pub struct Family(&'static dyn FamilySpec);

impl Family {
    /// The handle of a family's specification.
    pub const fn new(spec: &'static dyn FamilySpec) -> Self {
        Self(spec)
    }

    /// The rows of `table` in the shortest form of batch that its networks read.
    ///
    /// # Errors
    /// A column that is not there.
    pub fn encode(self, encoder: &Encoder, table: &Table) -> Result<Batch> {
        if self.reads_compact() { encoder.encode_compact(table) } else { encoder.encode(table) }
    }

    /// Its settings: its own, then those every family has.
    pub fn settings(self) -> Vec<Setting> {
        let mut settings = self.own_settings();
        settings.extend(common_settings());
        settings
    }
}

impl Deref for Family {
    type Target = dyn FamilySpec;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Family {}

impl Hash for Family {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
