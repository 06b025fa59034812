//! The registry of families: the one list of all of them, and what is found in it.
//!
//! Requests, the default choice, the search, streams, exports and the command line read this list.
//! To add a family, implement [`FamilySpec`] in a file of its own and add it to `FAMILIES`.

use super::family::{Family, FamilySpec, Suitability};
use super::{attention, hybrid, memory, sparse_mlp};
use crate::data::profile::DataProfile;
use serde::{Deserialize, Deserializer};

/// All families in the order they are shown.
static FAMILIES: &[&dyn FamilySpec] = &[
    &sparse_mlp::Spec,
    &attention::Spec,
    &memory::Spec,
    &hybrid::Spec,
    #[cfg(test)]
    &super::toy::Spec,
];

impl Family {
    /// All of them, in the order they are shown.
    pub fn all() -> impl Iterator<Item = Self> {
        FAMILIES.iter().map(|&spec| Self::new(spec))
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
        Self::all().find(|family| family.starts_empty()).unwrap_or(Self::new(FAMILIES[0]))
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
    use serde_json::Map;

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
