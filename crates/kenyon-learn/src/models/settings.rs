//! A family's settings: a request's `config` checked and completed, and as JSON Schema.

use crate::models::{Family, Range, Setting};
use crate::{Detail, Error, Kind, Result};
use serde_json::{Map, Value, json};

/// The request's `config` with every default filled in. Names and ranges are checked; `null`
/// means that the recipe selects the value.
pub fn complete(family: Family, config: &Map<String, Value>) -> Result<Map<String, Value>> {
    let settings = family.settings();
    let mut details = Vec::new();
    for (name, value) in config {
        match settings.iter().find(|s| s.name == name) {
            None => {
                let known: Vec<&str> = settings.iter().map(|s| s.name).collect();
                let reason = format!("{} has no such setting; it has {}", family.name(), known.join(", "));
                return Err(Error::malformed("unknown_field", format!("unknown field config.{name}"))
                    .with_details([Detail::path(format!("config.{name}"), reason)]));
            }
            Some(setting) => {
                if let Some(reason) = misfit(setting, value) {
                    details.push(Detail::path(format!("config.{name}"), reason));
                }
            }
        }
    }
    if !details.is_empty() {
        let first = details[0].reason.clone();
        return Err(Error::new(Kind::Unprocessable, "bad_setting", first).with_details(details));
    }
    let mut full = Map::new();
    for setting in &settings {
        let value = config.get(setting.name).filter(|v| !v.is_null()).unwrap_or(&setting.default);
        if !value.is_null() {
            full.insert(setting.name.to_owned(), value.clone());
        }
    }
    Ok(full)
}

/// Why a value does not fit its setting, if it does not.
fn misfit(setting: &Setting, value: &Value) -> Option<String> {
    let name = setting.name;
    if value.is_null() {
        return None;
    }
    match &setting.range {
        Range::Integer(low, high) => (!value.as_i64().is_some_and(|v| (*low..=*high).contains(&v)))
            .then(|| format!("{name} must be a whole number from {low} to {high}")),
        Range::Number(low, high) => (!value.as_f64().is_some_and(|v| (*low..=*high).contains(&v)))
            .then(|| format!("{name} must be a number from {low} to {high}")),
        Range::Boolean => (!value.is_boolean()).then(|| format!("{name} must be true or false")),
        Range::Choice(words) => (!value.as_str().is_some_and(|v| words.contains(&v)))
            .then(|| format!("{name} must be one of {}", words.join(", "))),
        Range::Integers(low, high) => {
            let fits = value.as_array().is_some_and(|list| {
                list.len() <= 16 && list.iter().all(|v| v.as_i64().is_some_and(|v| (*low..=*high).contains(&v)))
            });
            (!fits).then(|| format!("{name} must be a list of at most 16 whole numbers from {low} to {high}"))
        }
    }
}

/// The settings of a family as JSON Schema (draft 2020-12), with defaults, to draw a form from.
pub fn schema(family: Family) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": family.name(),
        "type": "object",
        "additionalProperties": false,
        "properties": properties(family)
    })
}

/// Each setting that some family has, as a property of a JSON Schema that may be null; where families differ, with the widest
/// limits and without a default.
pub fn of_all_families() -> Map<String, Value> {
    let mut all: Map<String, Value> = Map::new();
    for (name, property) in Family::all().flat_map(properties) {
        match all.get_mut(&name) {
            Some(known) => widen(known, &property),
            None => drop(all.insert(name, property)),
        }
    }
    all.values_mut().for_each(allow_null);
    all
}

/// Lets a property of a JSON Schema be null, which is as if it were missing.
pub fn allow_null(property: &mut Value) {
    property["type"] = json!([property["type"], "null"]);
    if let Some(words) = property.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
}

/// Widens the limits of a property to those of another with the same name.
fn widen(known: &mut Value, other: &Value) {
    if known.get("default") != other.get("default")
        && let Some(fields) = known.as_object_mut()
    {
        fields.shift_remove("default");
    }
    for (limit, wider) in [("minimum", f64::min as fn(f64, f64) -> f64), ("maximum", f64::max)] {
        if let (Some(own), Some(their)) = (known[limit].as_f64(), other[limit].as_f64())
            && wider(own, their) != own
        {
            known[limit] = other[limit].clone();
        }
    }
    if let (Some(own), Some(their)) = (known["enum"].as_array().cloned(), other["enum"].as_array()) {
        let more = their.iter().filter(|word| !own.contains(word)).cloned();
        known["enum"] = own.iter().cloned().chain(more).collect();
    }
}

fn properties(family: Family) -> Map<String, Value> {
    let mut properties = Map::new();
    for setting in family.settings() {
        let mut property = match &setting.range {
            Range::Integer(low, high) => json!({"type": "integer", "minimum": low, "maximum": high}),
            Range::Number(low, high) => json!({"type": "number", "minimum": low, "maximum": high}),
            Range::Boolean => json!({"type": "boolean"}),
            Range::Choice(words) => json!({"type": "string", "enum": words}),
            Range::Integers(low, high) => json!({
                "type": "array", "maxItems": 16,
                "items": {"type": "integer", "minimum": low, "maximum": high}
            }),
        };
        property["default"] = setting.default.clone();
        property["description"] = setting.help.into();
        properties.insert(setting.name.to_owned(), property);
    }
    properties
}
