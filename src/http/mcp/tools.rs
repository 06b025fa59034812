//! The tools of the Model Context Protocol: which calls of the interface they are, what arguments they take (from the
//! OpenAPI document), and the request that a call of a tool stands for.

use crate::{Error, Result};
use axum::http::{Method, Uri};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A tool as it is declared.
struct Declared {
    name: &'static str,
    /// `operationId` of the call.
    operation: &'static str,
    /// What a language model reads to choose it.
    purpose: &'static str,
    /// Parameters of the query that it takes beside the body.
    query: &'static [&'static str],
    /// A field of the body that it does not take, with the value that is sent.
    fixed: Option<(&'static str, bool)>,
    /// Whether it changes nothing.
    reads: bool,
}

const fn reads(name: &'static str, purpose: &'static str) -> Declared {
    Declared { name, operation: name, purpose, query: &[], fixed: None, reads: true }
}

const fn changes(name: &'static str, purpose: &'static str, query: &'static [&'static str]) -> Declared {
    Declared { name, operation: name, purpose, query, fixed: None, reads: false }
}

const DECLARED: &[Declared] = &[
    reads("list_datasets", "Lists the datasets with their columns and number of rows."),
    reads("get_dataset", "Describes one dataset: kind and statistics of each column, warnings, its first rows."),
    reads("get_rows", "Shows rows of a dataset."),
    changes(
        "put_dataset",
        "Creates a dataset from rows, or replaces it. With dry_run nothing is stored, and the answer reports how the rows are read.",
        &["dry_run"],
    ),
    changes("append_rows", "Appends rows to a dataset, all or none.", &["dry_run"]),
    reads("list_models", "Lists the models with the metrics of their served versions."),
    reads("get_model", "Describes one model: the columns that it takes, its versions, their metrics."),
    reads("importance", "Ranks the columns of a model by how much its predictions depend on them, on held-out rows."),
    changes(
        "train",
        "Trains a model to predict a column of a dataset, as a job. With wait (seconds) the answer is the ended job if it \
         ends in time; otherwise call get_job until its status is succeeded or failed. With dry_run nothing is trained, and \
         the answer reports what would be.",
        &["wait"],
    ),
    reads("list_jobs", "Lists jobs, newest first."),
    reads("get_job", "Shows a job: its status, progress, metrics and, if it failed, the error."),
    changes("cancel_job", "Cancels a job that waits or runs.", &[]),
    Declared {
        name: "predict",
        operation: "predict",
        purpose: "Predicts rows: labels with probabilities or values with intervals. A verdict of unfamiliar means that the \
                  row is unlike anything that the model was trained on.",
        query: &[],
        fixed: Some(("explain", false)),
        reads: true,
    },
    Declared {
        name: "explain",
        operation: "predict",
        purpose: "Predicts rows and explains each prediction: the weight of every column, and remembered rows that are similar.",
        query: &[],
        fixed: Some(("explain", true)),
        reads: true,
    },
    reads("evaluate", "Measures the served version of a model on a dataset that has the target column."),
    changes("observe", "A model learns labelled rows at once, without a training.", &[]),
];

/// A tool, ready to be called.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    /// JSON Schema of its arguments, closed in itself.
    pub(super) arguments: Map<String, Value>,
    pub(super) reads: bool,
    pub(super) method: Method,
    /// The path pattern of its call.
    pub(super) path: String,
    /// Parameters of the path, with the names of their arguments.
    in_path: Vec<(String, &'static str)>,
    in_query: &'static [&'static str],
    body: Body,
}

/// Where the arguments go that are neither in the path nor in the query.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// There is no body: into the query.
    None,
    /// They are the fields of an object.
    Fields(Option<(&'static str, bool)>),
    /// `rows` is the whole body.
    Rows,
}

/// The request that a call of a tool stands for.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) uri: Uri,
    pub(super) body: Option<Value>,
}

/// The tools, described by the OpenAPI document.
pub(super) fn from_document(document: &Value) -> Vec<Tool> {
    DECLARED.iter().filter_map(|declared| tool(document, declared)).collect()
}

fn tool(document: &Value, declared: &'static Declared) -> Option<Tool> {
    let (path, method, operation) = operation(document, declared.operation)?;
    let mut fields = Map::new();
    let mut required = Vec::new();
    let mut in_path = Vec::new();
    let content = &operation["requestBody"]["content"]["application/json"]["schema"];
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str()?;
        let argument = match parameter["in"].as_str()? {
            "path" => {
                let argument = argument_of(&path);
                in_path.push((name.to_owned(), argument));
                required.push(Value::from(argument));
                argument
            }
            "query" if content.is_null() || declared.query.contains(&name) => name,
            _ => continue,
        };
        let mut schema = parameter["schema"].clone();
        if let (Some(schema), Some(text)) = (schema.as_object_mut(), parameter.get("description")) {
            schema.insert("description".to_owned(), text.clone());
        }
        fields.insert(argument.to_owned(), schema);
    }
    let schema = resolve(document, content);
    let body = if content.is_null() {
        Body::None
    } else if schema["type"] == "array" {
        fields.insert("rows".to_owned(), schema.clone());
        required.push("rows".into());
        Body::Rows
    } else {
        let fixed = declared.fixed.map(|(name, _)| name);
        let own = schema["properties"].as_object()?.iter().filter(|(name, _)| Some(name.as_str()) != fixed);
        fields.extend(own.map(|(name, schema)| (name.clone(), schema.clone())));
        required.extend(schema["required"].as_array().into_iter().flatten().cloned());
        Body::Fields(declared.fixed)
    };
    Some(Tool {
        name: declared.name,
        purpose: declared.purpose,
        arguments: closed(document, fields, required)?,
        reads: declared.reads,
        method,
        path,
        in_path,
        in_query: declared.query,
        body,
    })
}

/// The argument that names what a path is about.
fn argument_of(path: &str) -> &'static str {
    match path.split('/').nth(3) {
        Some("models") => "model",
        Some("datasets") => "dataset",
        _ => "id",
    }
}

fn operation<'a>(document: &'a Value, id: &str) -> Option<(String, Method, &'a Value)> {
    let items = document["paths"].as_object()?.iter();
    let mut all = items.flat_map(|(path, item)| item.as_object().into_iter().flatten().map(move |(m, o)| (path, m, o)));
    let (path, method, operation) = all.find(|(.., operation)| operation["operationId"] == id)?;
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).ok()?;
    Some((path.clone(), method, operation))
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
    name.and_then(|name| document.pointer(name)).unwrap_or(schema)
}

/// A schema of an object with these fields that holds every schema it names.
fn closed(document: &Value, fields: Map<String, Value>, required: Vec<Value>) -> Option<Map<String, Value>> {
    let schema = json!({
        "type": "object", "properties": fields, "required": required, "additionalProperties": false,
    });
    let schemas = &document["components"]["schemas"];
    let mut names = BTreeSet::new();
    named(&schema, schemas, &mut names);
    let mut definitions = Map::new();
    for name in names {
        let mut definition = schemas[&name].clone();
        // Examples are of the whole request, which has other fields than the tool.
        definition.as_object_mut()?.remove("examples");
        definitions.insert(name, definition);
    }
    let mut schema = schema;
    if !definitions.is_empty() {
        schema["$defs"] = definitions.into();
    }
    let text = schema.to_string().replace("#/components/schemas/", "#/$defs/");
    serde_json::from_str(&text).ok()
}

/// Collects the names of the schemas that `value` refers to, and those that they refer to.
fn named(value: &Value, schemas: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let name = object.get("$ref").and_then(Value::as_str).and_then(|text| text.rsplit('/').next());
            if let Some(name) = name
                && names.insert(name.to_owned())
            {
                named(&schemas[name], schemas, names);
            }
            object.values().for_each(|inner| named(inner, schemas, names));
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, schemas, names)),
        _ => {}
    }
}

impl Tool {
    /// The request for these arguments; what they hold is checked by the call itself.
    pub(super) fn call(&self, mut arguments: Map<String, Value>) -> Result<Call> {
        let mut path = self.path.clone();
        for (parameter, argument) in &self.in_path {
            let value = arguments
                .remove(*argument)
                .ok_or_else(|| Error::malformed("missing_field", format!("the argument '{argument}' is missing")))?;
            path = path.replace(&format!("{{{parameter}}}"), &escaped(&value));
        }
        let mut query = Map::new();
        for name in self.in_query {
            query.extend(arguments.remove_entry(*name));
        }
        let body = match self.body {
            Body::None => {
                query.append(&mut arguments);
                None
            }
            Body::Rows => {
                let rows = arguments.remove("rows");
                query.append(&mut arguments);
                Some(rows.ok_or_else(|| Error::malformed("missing_field", "the argument 'rows' is missing"))?)
            }
            Body::Fields(fixed) => {
                arguments.extend(fixed.map(|(name, value)| (name.to_owned(), value.into())));
                Some(arguments.into())
            }
        };
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{}={}", escape(name), escaped(value))).collect();
        let text = if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) };
        let uri = text.parse().map_err(|_| Error::malformed("invalid_request", "the arguments do not make a path"))?;
        Ok(Call { uri, body })
    }
}

/// A value as a part of a path or query.
fn escaped(value: &Value) -> String {
    value.as_str().map_or_else(|| escape(&value.to_string()), escape)
}

/// All bytes but those that RFC 3986 calls unreserved are percent-encoded.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tools() -> Vec<Tool> {
        from_document(&crate::http::document(utoipa_axum::router::OpenApiRouter::new()))
    }

    #[test]
    fn every_declared_tool_has_its_call_and_closed_arguments() {
        let tools = tools();
        assert_eq!(tools.len(), DECLARED.len());
        for tool in &tools {
            let arguments = Value::from(tool.arguments.clone());
            for reference in arguments.to_string().split("\"$ref\":\"#").skip(1) {
                let pointer = reference.split('"').next().unwrap();
                assert!(arguments.pointer(pointer).is_some(), "{}: {pointer}", tool.name);
            }
            for name in tool.arguments["required"].as_array().unwrap() {
                assert!(arguments["properties"][name.as_str().unwrap()].is_object(), "{}: {name}", tool.name);
            }
        }
        let explain = tools.iter().find(|tool| tool.name == "explain").unwrap();
        let names: Vec<&String> = explain.arguments["properties"].as_object().unwrap().keys().collect();
        assert!(names.contains(&&"model".to_owned()) && !names.contains(&&"explain".to_owned()), "{names:?}");
    }

    #[test]
    fn arguments_go_to_path_query_and_body() {
        let tools = tools();
        let call = |name: &str, arguments: Value| {
            let tool = tools.iter().find(|tool| tool.name == name).unwrap();
            let call = tool.call(arguments.as_object().unwrap().clone())?;
            Ok::<_, Error>((call.uri.to_string(), call.body))
        };
        let (uri, body) = call("train", json!({"model": "m", "dataset": "d", "target": "t", "wait": 5})).unwrap();
        assert_eq!(
            (uri.as_str(), body),
            ("/api/v1/models/m/train?wait=5", Some(json!({"dataset": "d", "target": "t"})))
        );
        let (uri, body) = call("explain", json!({"model": "a/../b?c", "rows": []})).unwrap();
        assert_eq!(uri, "/api/v1/models/a%2F..%2Fb%3Fc/predict");
        assert_eq!(body, Some(json!({"rows": [], "explain": true})));
        let (uri, body) = call("put_dataset", json!({"dataset": "d", "rows": [{"x": 1}], "dry_run": true})).unwrap();
        assert_eq!((uri.as_str(), body), ("/api/v1/datasets/d?dry_run=true", Some(json!([{"x": 1}]))));
        let (uri, body) = call("list_jobs", json!({"status": "failed", "odd&name": 1})).unwrap();
        assert_eq!((uri.as_str(), body), ("/api/v1/jobs?status=failed&odd%26name=1", None));
        assert_eq!(call("get_job", json!({})).unwrap_err().code, "missing_field");
    }
}
