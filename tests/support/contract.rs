//! The OpenAPI document as a contract: answers and examples are checked against its schemas. Of JSON Schema it supports
//! what the document uses. Beyond it, a field that no schema names is an error: what is answered is described.

use reqwest::Method;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// A document whose schemas are looked up.
pub(crate) struct Contract(Value);

/// The contract of the built program.
pub(crate) fn of_kenyon() -> &'static Contract {
    static KENYON: LazyLock<Contract> = LazyLock::new(|| Contract(kenyon::app::openapi()));
    &KENYON
}

impl Contract {
    /// The whole document.
    pub(crate) fn document(&self) -> &Value {
        &self.0
    }

    /// Panics where an answer of the interface is not as the document describes it. What lies outside `/api/`, `/v2` and `/mcp` is not
    /// looked at.
    #[track_caller]
    pub(crate) fn check(&self, method: &Method, path: &str, status: u16, content_type: Option<&str>, body: &Value) {
        let ours = ["/api/", "/v2", "/mcp"].iter().any(|start| path.starts_with(start));
        if !ours || body.is_null() && content_type.is_none() {
            return;
        }
        let call = format!("{method} {path} {status}");
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        let schema = match self.operation(method, path) {
            Some(operation) => {
                let responses = &operation["responses"];
                let response = match &responses[status.to_string()] {
                    Value::Null if status >= 400 => &responses["default"],
                    response => response,
                };
                assert!(!response.is_null(), "{call}: the document has no such status");
                // Most answers to mistakes are the same, and stand under `default`.
                let described = &response["content"][essence];
                assert!(!described.is_null(), "{call}: the document has no answer of the type '{essence}'");
                described["schema"].clone()
            }
            None => serde_json::json!({ "$ref": "#/components/schemas/Problem" }),
        };
        let bodies: Vec<Value> = match (essence, body) {
            ("application/x-ndjson", Value::String(lines)) => {
                lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            }
            ("application/json" | "application/problem+json" | "application/x-ndjson", body) => vec![body.clone()],
            _ => return,
        };
        for body in &bodies {
            let faults = self.faults(&schema, body);
            assert!(faults.is_empty(), "{call} is not as described:\n{}\n{body:#}", faults.join("\n"));
        }
    }

    /// The operation that a path means; one without variables before one with.
    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let fits = |template: &str| {
            let (mut ours, mut theirs) = (template.split('/'), path.split('/'));
            loop {
                match (ours.next(), theirs.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if a == b || a.starts_with('{') && !b.is_empty() => {}
                    _ => return false,
                }
            }
        };
        let paths = self.0["paths"].as_object()?;
        let mut fitting: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
        fitting.sort_by_key(|(template, _)| template.matches('{').count());
        fitting.first()?.1.get(method.as_str().to_lowercase())
    }

    /// What of `value` does not match `schema`.
    pub(crate) fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.collect(schema, value, "$", &mut faults);
        if let Some(known) = self.properties(schema, value) {
            let unknown = value.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(name));
            faults.extend(unknown.map(|(name, _)| format!("$.{name}: is not described")));
        }
        faults
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => self.0.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is missing")),
            None => schema,
        }
    }

    /// The names that an object may have; none where it may have any.
    fn properties(&self, schema: &Value, value: &Value) -> Option<Vec<String>> {
        let schema = self.resolve(schema);
        let mut known = Vec::new();
        for branch in ["oneOf", "anyOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten() {
            // The branches check their own names.
            if self.faults(branch, value).is_empty() {
                return None;
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            known.extend(self.properties(part, value)?);
        }
        match (&schema["additionalProperties"], schema["properties"].as_object()) {
            (Value::Null | Value::Bool(false), Some(properties)) => known.extend(properties.keys().cloned()),
            (Value::Null, None) if schema["allOf"].is_array() => {}
            _ => return None,
        }
        Some(known)
    }

    fn collect(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolve(schema);
        let mut fault = |reason: String| faults.push(format!("{at}: {reason}"));
        if !has_type(&schema["type"], value) {
            return fault(format!("{} is not of the type {}", short(value), schema["type"]));
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            fault(format!("{} is none of {}", short(value), schema["enum"]));
        }
        if let Some(number) = value.as_f64() {
            for (name, holds) in [
                ("minimum", schema["minimum"].as_f64().is_none_or(|least| number >= least)),
                ("maximum", schema["maximum"].as_f64().is_none_or(|most| number <= most)),
                ("exclusiveMinimum", schema["exclusiveMinimum"].as_f64().is_none_or(|bound| number > bound)),
                ("exclusiveMaximum", schema["exclusiveMaximum"].as_f64().is_none_or(|bound| number < bound)),
            ] {
                if !holds {
                    fault(format!("{number} is beyond the {name}"));
                }
            }
        }
        if let (Some(text), Some("date-time")) = (value.as_str(), schema["format"].as_str())
            && text.parse::<jiff::Timestamp>().is_err()
        {
            fault(format!("{text} is no time"));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.collect(part, value, at, faults);
        }
        for (name, most) in [("oneOf", 1), ("anyOf", usize::MAX)] {
            let Some(branches) = schema[name].as_array() else { continue };
            let tried: Vec<Vec<String>> = branches.iter().map(|branch| self.faults(branch, value)).collect();
            let fitting = tried.iter().filter(|faults| faults.is_empty()).count();
            if fitting == 0 || fitting > most {
                faults.push(format!("{at}: {fitting} of {name} fit {}: {tried:?}", short(value)));
            }
        }
        if let Some(object) = value.as_object() {
            self.object(schema, object, at, faults);
        }
        if let Some(items) = value.as_array() {
            let first = schema["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
            for (i, item) in items.iter().enumerate() {
                match first.get(i).or_else(|| schema.get("items")) {
                    Some(Value::Bool(false)) => faults.push(format!("{at}[{i}]: is one too many")),
                    Some(schema) => self.nested(schema, item, &format!("{at}[{i}]"), faults),
                    None => {}
                }
            }
        }
    }

    fn object(&self, schema: &Value, object: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                faults.push(format!("{at}.{name}: is missing"));
            }
        }
        for (name, value) in object {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => faults.push(format!("{at}: may not be there")),
                (Value::Null, rest @ Value::Object(_)) => self.nested(rest, value, &at, faults),
                (Value::Null, _) => {}
                (schema, _) => self.nested(schema, value, &at, faults),
            }
        }
    }

    /// A value inside another: its own names are checked, too.
    fn nested(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        faults.extend(self.faults(schema, value).into_iter().map(|fault| format!("{at}{}", &fault[1..])));
    }
}

/// Whether a value is of the type, or one of the types, that a schema names.
fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other}"),
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}
