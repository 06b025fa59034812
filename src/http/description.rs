//! The served OpenAPI document, completed by what holds for every route: the form of errors, what the parts of paths
//! and common headers are, what the groups of calls are, and whether keys are required at all.

use serde_json::{Value, json};

/// What the groups of calls are about.
const TAGS: [(&str, &str); 12] = [
    ("datasets", "Tables: upload, append, look at, delete."),
    ("models", "Training, prediction, learning from streams, versions and traffic."),
    ("jobs", "Work in the background: trainings, batches, comparisons."),
    ("families", "Kinds of models and their settings."),
    ("encoders", "Pretrained networks that turn texts and pictures into vectors."),
    ("comparisons", "Comparison of representations with each other and with recordings."),
    ("inference", "The Open Inference Protocol."),
    ("keys", "Keys, and who changed what."),
    ("system", "The server itself, and snapshots of it."),
    ("health", "Probes and metrics."),
    ("mcp", "The Model Context Protocol."),
    ("pages", "Pages for people, and this document."),
];

/// Names of parameters in paths and headers, with what the path begins with, and what they are.
const PARAMETERS: [(&str, &str, &str); 14] = [
    ("name", "/api/v1/datasets", "Name of the dataset."),
    ("name", "/api/v1/models", "Name of the model."),
    ("name", "/api/v1/encoders", "Name of the encoder."),
    ("name", "/api/v1/snapshots", "Name of the snapshot."),
    ("model", "/v2", "Name of the model."),
    ("version", "/", "Number of the version."),
    ("id", "/api/v1/jobs", "Id of the job."),
    ("id", "/api/v1/comparisons", "Id of the comparison, which is that of its job."),
    ("id", "/api/v1/keys", "Id of the key."),
    ("id", "/api/v1/models", "Id of the entry."),
    ("file", "/docs", "A file of the page."),
    ("Idempotency-Key", "/", "Repeating a call with the same key has no further effect and the same answer."),
    ("Last-Event-ID", "/", "Number of the last event that was received."),
    ("Inference-Header-Content-Length", "/", "Bytes of the JSON in front of binary tensors."),
];

/// Adds all that.
pub(super) fn complete(mut document: Value, open: bool) -> Value {
    document["servers"] = json!([{ "url": "/" }]);
    document["tags"] = TAGS.iter().map(|(name, text)| json!({ "name": name, "description": text })).collect();
    let items = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in items {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            let Some(operation) = operation.as_object_mut() else { continue };
            for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                let text =
                    PARAMETERS.iter().find(|(name, start, _)| parameter["name"] == *name && path.starts_with(start));
                if let (Some((.., text)), true) = (text, parameter["description"].is_null()) {
                    parameter["description"] = (*text).into();
                }
            }
            let responses = operation.entry("responses").or_insert_with(|| json!({}));
            // Host names, rates and queries are checked in front of every route.
            responses["4XX"] = error_of(path);
            responses["default"] = error_of(path);
            for (_, response) in responses.as_object_mut().into_iter().flatten() {
                // The document needs a description, and a status without one means success.
                if let Some(response) = response.as_object_mut()
                    && response.get("description").is_none_or(|text| text == "")
                {
                    response.insert("description".to_owned(), "success".into());
                }
            }
            if open || !operation.contains_key("security") {
                operation.insert("security".to_owned(), json!([]));
            } else if let Some(ways) = operation.get_mut("security").and_then(Value::as_array_mut) {
                // A key may be in either header.
                let other = |way: &Value| Some(json!({ "header": way.get("key")? }));
                let others: Vec<Value> = ways.iter().filter_map(other).collect();
                ways.extend(others);
            }
        }
    }
    for (_, schema) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
        state_defaults(schema);
    }
    plain(&mut document);
    document
}

/// Puts defaults of optional properties into their descriptions: generators take a property with a `default` for one
/// that is always there.
fn state_defaults(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let Some(property) = property.as_object_mut().filter(|_| !required.contains(&json!(name))) else { continue };
        let Some(default) = property.remove("default").filter(|default| !default.is_null()) else { continue };
        let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{text} Default: {default}.");
        property.insert("description".to_owned(), text.trim().into());
    }
    for part in ["oneOf", "anyOf", "allOf"] {
        schema.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten().for_each(state_defaults);
    }
}

/// Descriptions without links into the source; none beside a reference to one of several alternatives, which some
/// generators take for a schema of its own.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`");
            }
            if let Some(parts) = fields.get_mut("oneOf").and_then(Value::as_array_mut)
                && !parts.iter().any(|part| part["type"] == "null")
            {
                for part in parts.iter_mut().filter_map(Value::as_object_mut).filter(|part| part.contains_key("$ref")) {
                    part.remove("description");
                }
            }
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

/// The answer to a call that fails.
fn error_of(path: &str) -> Value {
    let (kind, schema) = match path.starts_with("/v2") {
        true => ("application/json", json!({ "$ref": "#/components/schemas/V2Error" })),
        false => ("application/problem+json", json!({ "$ref": "#/components/schemas/Problem" })),
    };
    json!({ "description": "an error", "content": { kind: { "schema": schema } } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_route_says_how_it_fails_and_an_open_server_asks_for_no_key() {
        let (_, document) = crate::http::described(utoipa_axum::router::OpenApiRouter::new());
        let document = serde_json::to_value(document).unwrap();
        for open in [true, false] {
            let mut secured = 0;
            for (path, item) in complete(document.clone(), open)["paths"].as_object().unwrap() {
                for (method, operation) in item.as_object().unwrap() {
                    assert!(operation["responses"]["default"]["content"].is_object(), "{method} {path}");
                    let responses = operation["responses"].as_object().unwrap();
                    assert!(responses.values().all(|r| r["description"].is_string()), "{method} {path}");
                    assert!(operation["requestBody"].is_null() || operation["requestBody"]["content"].is_object());
                    let ways = operation["security"].as_array().unwrap();
                    secured += usize::from(!ways.is_empty());
                    let parameters = operation["parameters"].as_array().into_iter().flatten();
                    assert!(parameters.clone().all(|p| p["description"].is_string()), "{method} {path}");
                    let tag = operation["tags"][0].as_str().unwrap();
                    assert!(TAGS.iter().any(|(name, _)| *name == tag), "{method} {path}: {tag}");
                }
            }
            assert_eq!(open, secured == 0);
        }
        let closed = complete(document, false);
        let predict = &closed["paths"]["/api/v1/models/{name}/predict"]["post"];
        assert!(predict["parameters"][0]["schema"]["pattern"].is_string(), "{predict}");
        assert_eq!(predict["security"], json!([{ "key": ["predict"] }, { "header": ["predict"] }]));
        let promote = &closed["components"]["schemas"]["TrainRequest"]["properties"]["promote"];
        assert!(promote["default"].is_null() && promote["description"].as_str().unwrap().ends_with("Default: true."));
        assert!(!closed.to_string().contains("[`"));
    }
}
