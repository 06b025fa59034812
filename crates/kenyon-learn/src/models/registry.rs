//! The registry of families: the specification of a family, and the one list of all of them.
//!
//! Requests, the default choice, the search, streams, exports and the command line read this list.
//! To add a family, implement [`FamilySpec`] in a file of its own and add it to `FAMILIES`.

use super::candle::TokenConfig;
use super::recipe::Rule;
use super::{Learner, LearnerSpec, Network, Setting, Task, attention, common_settings, hybrid, memory, sparse_mlp};
use crate::data::encoder::{Encoder, Layout};
use crate::data::plan::ColumnPlan;
use crate::data::profile::DataProfile;
use crate::data::{Batch, Table};
use crate::nn::Tensors;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// All families in the order they are shown.
static FAMILIES: &[&dyn FamilySpec] = &[
    &sparse_mlp::Spec,
    &attention::Spec,
    &memory::Spec,
    &hybrid::Spec,
    #[cfg(test)]
    &super::toy::Spec,
];

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

/// A family: a handle into the registry, written as its name.
#[derive(Clone, Copy)]
pub struct Family(&'static dyn FamilySpec);

impl Family {
    /// The handle of a family's specification.
    pub const fn new(spec: &'static dyn FamilySpec) -> Self {
        Self(spec)
    }

    /// All of them, in the order they are shown.
    pub fn all() -> impl Iterator<Item = Self> {
        FAMILIES.iter().map(|&spec| Self(spec))
    }

    /// The family called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|family| family.name() == name)
    }

    /// The family that suits some data best, with the reason.
    pub fn suited_to(data: &DataProfile) -> Option<(Self, String)> {
        let mut best: Option<(Self, Suitability)> = None;
        for family in Self::all() {
            if let Some(found) = family.suits(data)
                && best.as_ref().is_none_or(|(_, before)| found.rank > before.rank)
            {
                best = Some((family, found));
            }
        }
        best.map(|(family, found)| (family, found.reason))
    }

    /// The family of models that start empty and learn from a stream alone.
    pub fn of_streams() -> Self {
        Self::all().find(|family| family.starts_empty()).unwrap_or(Self(FAMILIES[0]))
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

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Family {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        crate::data::schema::words("A family's name.", Self::all().map(|family| family.name()))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Family {}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Family {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let known: Vec<String> = Self::all().map(|family| format!("`{}`", family.name())).collect();
            serde::de::Error::custom(format!("unknown variant `{name}`, expected one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_its_name_and_unknown_names_are_refused() {
        for family in Family::all() {
            let text = serde_json::to_string(&family).unwrap_or_default();
            assert_eq!(text, format!("\"{}\"", family.name()));
            assert_eq!(serde_json::from_str::<Family>(&text).ok(), Some(family));
            assert!(!family.purpose().is_empty());
        }
        let refused = serde_json::from_str::<Family>("\"forest\"").map_err(|e| e.to_string());
        assert!(refused.is_err_and(|e| e.contains("unknown variant `forest`") && e.contains("`sparse_mlp`")));
    }

    #[test]
    fn names_are_unique_and_a_search_varies_settings_that_exist() {
        let names: std::collections::BTreeSet<&str> = Family::all().map(|family| family.name()).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for family in Family::all() {
            let settings = family.settings();
            for name in family.search_space().as_object().into_iter().flat_map(Map::keys) {
                assert!(settings.iter().any(|s| s.name == name), "{}: {name}", family.name());
            }
        }
    }
}
