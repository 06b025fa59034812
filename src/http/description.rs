//! The served OpenAPI document, completed by what holds for every route: the form of errors, the pattern of
//! names, and whether keys are required at all.

use serde_json::{Value, json};

/// The pattern of names of models and datasets.
pub(super) fn complete(mut document: Value, open: bool) -> Value {
    let items = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in items {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            let Some(operation) = operation.as_object_mut() else { continue };
            let responses = operation.entry("responses").or_insert_with(|| json!({}));
            responses["default"] = error_of(path);
            for (_, response) in responses.as_object_mut().into_iter().flatten() {
                // The document needs a description, and a status without one means success.
                if let Some(response) = response.as_object_mut()
                    && response.get("description").is_none_or(|text| text == "")
                {
                    response.insert("description".to_owned(), "as asked".into());
                }
            }
            if open {
                operation.remove("security");
            } else if let Some(ways) = operation.get_mut("security").and_then(Value::as_array_mut) {
                // A key may be in either header.
                let other = |way: &Value| Some(json!({ "header": way.get("key")? }));
                let others: Vec<Value> = ways.iter().filter_map(other).collect();
                ways.extend(others);
            }
        }
    }
    document
}

/// Constraints on a body that its Rust type cannot express.
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
                    secured += usize::from(operation["security"].is_array());
                }
            }
            assert_eq!(open, secured == 0);
        }
        let closed = complete(document, false);
        let predict = &closed["paths"]["/api/v1/models/{name}/predict"]["post"];
        assert!(predict["parameters"][0]["schema"]["pattern"].is_string(), "{predict}");
        assert_eq!(predict["security"], json!([{ "key": ["predict"] }, { "header": ["predict"] }]));
    }
}
