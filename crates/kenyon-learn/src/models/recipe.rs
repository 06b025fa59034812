//! Recipes: the only place where a default depends on data.
//!
//! A setting that a request leaves open gets its value from the first [`Rule`] of the family that applies,
//! else from [`Setting::otherwise`]. Each rule has a description, the settings that override it and its
//! measured gain; `cargo run --release -p kenyon-learn --example measure_recipes` measures each against its absence.

use super::Setting;
use super::family::{Family, Rule};
use crate::data::encoder::EncoderOptions;
use crate::data::profile::DataProfile;
use serde_json::{Map, Value, json};

/// Rules that belong to no family.
pub static GENERAL: &[Rule] = &[Rule {
    name: "large_data_holds_out_less",
    sentence: "From 50,000 rows on a tenth of them stops and calibrates as well as a fifth, and more are learned.",
    settings: &["validation"],
    measured: "make_table.py, means of 3 seeds: 72,800 rows log loss .4068 instead of .4087; of fewer a tenth is too little: 33,600 rows .4130 instead of .4103, airlines with 24,600 .6288 instead of .6163",
    values: |data, _| (data.rows >= 50_000).then(|| json!({ "validation": 0.1 })),
}];

/// The family, encoder and settings of a training.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The settings in full.
    pub config: Map<String, Value>,
    /// How columns are encoded.
    pub encoder: EncoderOptions,
}

impl Recipe {
    /// The recipe of `family` for some data; `config` is what the request names.
    pub fn new(family: Family, data: &DataProfile, config: &Map<String, Value>) -> Self {
        Self::without(family, data, config, &[])
    }

    /// The same where the rules called `without` do not apply.
    pub fn without(family: Family, data: &DataProfile, config: &Map<String, Value>, without: &[&str]) -> Self {
        let mut config = config.clone();
        config.retain(|_, value| !is_open(value));
        apply(family.rules(), data, &mut config, without);
        for Setting { name, default, otherwise, .. } in family.settings() {
            let value = if is_open(&default) { otherwise } else { default };
            if !value.is_null() {
                config.entry(name).or_insert(value);
            }
        }
        let bins = config.get("bins").and_then(Value::as_u64).unwrap_or(0) as usize;
        Self { config, encoder: EncoderOptions { bins, ..EncoderOptions::default() } }
    }
}

/// The share of `rows` rows held out unless the request gives one.
pub fn validation(data: &DataProfile, without: &[&str]) -> f32 {
    let mut config = Map::new();
    apply(GENERAL, data, &mut config, without);
    config.get("validation").and_then(Value::as_f64).unwrap_or(0.2) as f32
}

/// Whether a setting's value leaves it to the recipe.
fn is_open(value: &Value) -> bool {
    value.is_null() || value == "auto"
}

fn apply(rules: &[Rule], data: &DataProfile, config: &mut Map<String, Value>, without: &[&str]) {
    for rule in rules.iter().filter(|rule| !without.contains(&rule.name)) {
        let Some(Value::Object(values)) = (rule.values)(data, config) else { continue };
        for (name, value) in values {
            config.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Task;
    use crate::data::profile::FeatureProfile;
    use crate::data::schema::ColumnKind;

    /// Data of one kind of feature.
    fn data(kind: ColumnKind, width: usize, rows: usize, task: Task) -> DataProfile {
        let channels = (kind == ColumnKind::Sequence).then_some(usize::from(width > 1));
        let feature = FeatureProfile { kind, width, shape: None, channels, encoded: false, missing: 0.0 };
        DataProfile { rows, task, features: vec![feature], classes: Vec::new() }
    }

    fn all_data() -> Vec<DataProfile> {
        let kinds = [
            (ColumnKind::Number, 1),
            (ColumnKind::Text, 1),
            (ColumnKind::Vector, 784),
            (ColumnKind::Sequence, 1),
            (ColumnKind::Sequence, 2),
        ];
        let mut out = Vec::new();
        for (kind, width) in kinds {
            for rows in [10, 300, 999, 1_000, 1_500, 2_000, 5_000, 20_000, 60_000, 1_000_000] {
                out.extend([Task::Classification, Task::Regression].map(|task| data(kind, width, rows, task)));
            }
        }
        out
    }

    #[test]
    fn rules_decide_only_the_settings_they_name_and_within_their_ranges() {
        for family in Family::all() {
            for data in all_data() {
                for rule in family.rules() {
                    let values = (rule.values)(&data, &Map::new());
                    for name in values.iter().flat_map(|v| v.as_object().unwrap().keys()) {
                        assert!(rule.settings.contains(&name.as_str()), "{}: {name}", rule.name);
                    }
                    assert!(!rule.sentence.is_empty() && !rule.measured.is_empty(), "{}", rule.name);
                }
                let config = Recipe::new(family, &data, &Map::new()).config;
                crate::models::settings::complete(family, &config).unwrap();
            }
        }
    }

    #[test]
    fn a_setting_that_is_named_overrides_every_rule() {
        let data = data(ColumnKind::Number, 1, 300, Task::Classification);
        let family = Family::named("sparse_mlp").unwrap();
        let named = json!({ "learning_rate": 0.5, "optimizer": "auto", "hidden": null });
        let config = Recipe::new(family, &data, named.as_object().unwrap()).config;
        assert_eq!((&config["learning_rate"], &config["optimizer"]), (&json!(0.5), &json!("adam")));
        assert_eq!((&config["members"], &config["active_share"]), (&json!(8), &json!(0.5)));
        let plain = Recipe::without(family, &data, &Map::new(), &["small_tables"]).config;
        assert_eq!((&plain["learning_rate"], &plain["active_share"]), (&json!(0.002), &json!(0.1)));
    }
}
