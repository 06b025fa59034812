//! What each route needs, read from the OpenAPI document: its `security` names the scope, its tags
//! the kind of work. Document and guard cannot disagree, since they are one.

use crate::store::Scope;
use axum::http::Method;
use std::collections::HashMap;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

/// What kind of work a route is, which decides how large its body and how long its work may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Small requests and answers, done soon.
    Plain,
    /// Predictions, which have their own deadline.
    Hot,
    /// A body of a file's size.
    Upload,
    /// A body or an answer without an end.
    Stream,
    /// Probes, answered whatever the load.
    Health,
}

/// The requirements of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The scope a key needs; none for public routes.
    pub(crate) scope: Option<Scope>,
    /// What kind of work it is.
    pub(crate) class: Class,
    /// Whether the path names a model.
    pub(crate) of_model: bool,
    /// Whether a file of rows may come in place of JSON.
    pub(crate) takes_files: bool,
    /// Whether it changes something that is entered in the audit log.
    pub(crate) audited: bool,
    /// Whether a query would be ignored: the document has no parameter for it.
    pub(crate) no_query: bool,
}

impl Route {
    /// A path that no route has: nothing to protect.
    pub(crate) const UNKNOWN: Self =
        Self { scope: None, class: Class::Plain, of_model: false, takes_files: false, audited: false, no_query: false };
}

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Routes(HashMap<String, Vec<(Method, Route)>>);

impl Routes {
    /// Reads the document.
    pub(crate) fn new(document: &OpenApi) -> Self {
        let mut routes = HashMap::<_, Vec<_>>::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
            ];
            for (method, operation) in operations {
                let Some(operation) = operation else { continue };
                let route = route(path, &method, operation);
                routes.entry(path.clone()).or_default().push((method, route));
            }
        }
        Self(routes)
    }

    /// The requirements of the route with this path pattern. Routes that the document does not
    /// describe are for administrators.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Route {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let Some(methods) = self.0.get(path) else {
            return Route { scope: Some(Scope::Admin), audited: !method.is_safe(), ..Route::UNKNOWN };
        };
        // A method the path does not have is answered with 405, which reveals nothing.
        methods.iter().find(|(m, _)| m == method).map_or(Route::UNKNOWN, |(_, route)| *route)
    }
}

fn route(path: &str, method: &Method, operation: &Operation) -> Route {
    let tagged = |tag: &str| operation.tags.iter().flatten().any(|t| t == tag);
    let class = match operation.operation_id.as_deref() {
        _ if tagged("health") => Class::Health,
        Some("predict" | "v2_infer" | "v2_infer_version") => Class::Hot,
        Some("put_dataset" | "append_rows" | "import_model" | "put_encoder") => Class::Upload,
        Some("observe" | "job_events" | "job_output" | "export_version" | "make_snapshot" | "get_comparison") => {
            Class::Stream
        }
        _ => Class::Plain,
    };
    let takes_files = operation.operation_id.as_deref() == Some("predict");
    // The pages and `/v2` take what browsers and clients of other servers add.
    let no_query = path.starts_with("/api/")
        && !operation
            .parameters
            .iter()
            .flatten()
            .any(|p| matches!(p, RefOr::T(p) if p.parameter_in == ParameterIn::Query));
    let scope = scope(operation);
    // Rows that are observed and feedback are in the stream's own log.
    let logged = matches!(operation.operation_id.as_deref(), Some("observe" | "feedback"));
    let reads = method.is_safe() || matches!(scope, None | Some(Scope::Predict | Scope::Read));
    Route { scope, class, of_model: path.contains("/models/{"), takes_files, audited: !reads && !logged, no_query }
}

/// The scope that `security(("key" = ["scope"]))` names.
fn scope(operation: &Operation) -> Option<Scope> {
    let requirements = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let name = requirements.get(0)?.get("key")?.get(0)?.clone();
    serde_json::from_value(name).ok()
}
