//! The served OpenAPI document, completed by what holds for every route: the form of errors, the pattern of
//! names, and whether keys are required at all.

use kenyon_learn::data::schema::FeatureKind;
use serde_json::{Value, json};

/// The pattern of names of models and datasets.
const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// Completes `document`. A server that is `open` requires no keys, and its document states that.
pub(super) fn complete(mut document: Value, open: bool) -> Value {
    let items = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in items {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            if !operation.is_object() {
                continue;
            }
            operation["responses"]["default"] = error_of(path);
            for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
                // The document needs a description, and a status without words means success.
                if let Some(response) = response.as_object_mut() {
                    response.entry("description").or_insert_with(|| json!("success"));
                }
            }
            if let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema") {
                body(path, schema);
            }
            // `get`, not an index: that would leave a null where there are none.
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                bound(path, parameter);
            }
            if let (true, Some(operation)) = (open, operation.as_object_mut()) {
                operation.remove("security");
            }
        }
    }
    let export = "/paths/~1api~1v1~1models~1{name}~1versions~1{version}~1export/get/responses/200/content";
    if let Some(content) = document.pointer_mut(export) {
        content["application/x-tar"] = content["application/octet-stream"].clone();
    }
    if let Some(schema) = document.pointer_mut("/components/schemas/Empty") {
        body("", schema);
    }
    document
}

/// Constraints on a body that its Rust type cannot express.
fn body(path: &str, schema: &mut Value) {
    if schema["properties"]["features"].is_object() {
        let kinds = json!({ "enum": FeatureKind::names().collect::<Vec<_>>() });
        let names = json!({ "type": "array", "items": { "type": "string" } });
        let columns = json!({ "anyOf": [{ "type": ["string", "null"] }, names] });
        let group = json!({ "type": "object", "required": ["kind"], "additionalProperties": false, "properties": {
            "kind": kinds, "columns": columns, "channels": { "type": ["integer", "null"], "minimum": 1, "maximum": 4096 },
            "shape": { "type": ["array", "null"], "items": { "type": "integer", "minimum": 1, "maximum": 1 << 20 } } } });
        // A training may leave all columns to the inferred schema; an empty model has no data yet.
        let least = usize::from(!path.ends_with("/train"));
        schema["properties"]["features"] =
            json!({ "type": "object", "minProperties": least, "additionalProperties": { "anyOf": [kinds, group] } });
    }
    if path.contains("/datasets/") && !schema.is_null() {
        *schema = json!({ "type": ["array", "object"], "items": { "type": "object" } });
    }
}

/// Any answer that is not described: those that every request may get (keys, limits, overload, drain).
fn error_of(path: &str) -> Value {
    let (kind, schema) = match path.starts_with("/v2") {
        true => {
            let text = json!({ "type": "string" });
            ("application/json", json!({ "type": "object", "required": ["error"], "properties": { "error": text } }))
        }
        false => ("application/problem+json", json!({ "$ref": "#/components/schemas/Problem" })),
    };
    json!({ "description": "an error", "content": { kind: { "schema": schema } } })
}

/// The bounds of a parameter that many routes have.
fn bound(path: &str, parameter: &mut Value) {
    let named = path.contains("/models/") || path.contains("/datasets/");
    let limits = match (parameter["in"].as_str(), parameter["name"].as_str()) {
        (Some("path"), Some("name" | "model")) if named => json!({ "pattern": NAME }),
        (Some("query"), Some("model")) => json!({ "pattern": NAME }),
        (Some("query"), Some("cursor")) if path.ends_with("/memory") => json!({ "pattern": "^[0-9]{1,18}$" }),
        (Some("query"), Some("cursor")) => json!({ "pattern": "^[A-Za-z0-9_-]{0,128}$" }),
        (Some("query"), Some("kind")) => json!({ "pattern": "^(train|consolidate|evaluate)$" }),
        (Some("query"), Some("status")) => json!({ "pattern": "^(queued|running|succeeded|failed|canceled)$" }),
        (Some("query"), Some("offset")) => json!({ "minimum": 0, "maximum": i64::MAX }),
        (Some("header"), Some("Idempotency-Key")) => json!({ "pattern": "^[!-~]{1,255}$" }),
        _ => return,
    };
    if let (Some(schema), Some(limits)) = (parameter["schema"].as_object_mut(), limits.as_object()) {
        schema.extend(limits.clone());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_route_says_how_it_fails_and_an_open_server_asks_for_no_key() {
        let document = serde_json::to_value(crate::http::openapi(utoipa_axum::router::OpenApiRouter::new())).unwrap();
        for open in [true, false] {
            let mut secured = 0;
            for (path, item) in complete(document.clone(), open)["paths"].as_object().unwrap() {
                for (method, operation) in item.as_object().unwrap() {
                    assert!(operation["responses"]["default"]["content"].is_object(), "{method} {path}");
                    let responses = operation["responses"].as_object().unwrap();
                    assert!(responses.values().all(|r| r["description"].is_string()), "{method} {path}");
                    assert!(operation["requestBody"].is_null() || operation["requestBody"]["content"].is_object());
                    secured += usize::from(operation["security"].is_array());
                }
            }
            assert_eq!(open, secured == 0);
        }
        let closed = complete(document, false);
        let name = &closed["paths"]["/api/v1/models/{name}/predict"]["post"]["parameters"][0];
        assert_eq!(name["schema"]["pattern"], NAME);
    }
}
