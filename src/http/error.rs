//! The only table from errors to HTTP: `application/problem+json` (RFC 9457), or for the Open
//! Inference Protocol its `{"error": …}`. Causes are logged here, once, and never sent.

use super::context;
use crate::error::ErrorCode;
use crate::{Detail, Error, Kind};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::any::Any;

/// The result of handlers.
pub(crate) type Answer<T> = Result<T, Failure>;

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// Names the code; not an address to fetch.
    #[schema(examples("urn:kenyon:error:model_not_found"))]
    r#type: String,
    /// The status in words.
    #[schema(examples("Not Found"))]
    title: &'static str,
    /// The status.
    #[schema(examples(404))]
    status: u16,
    /// Stable code, to be compared by programs.
    #[schema(value_type = ErrorCode, examples("model_not_found"))]
    code: &'static str,
    /// What is wrong, for a person.
    #[schema(examples("there is no model iris"))]
    detail: String,
    /// Id of the request, as in the logs.
    request_id: Box<str>,
    /// Where it is wrong; the first 20 places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    details: Vec<Detail>,
}

/// The status of an error.
pub(crate) fn status(error: &Error) -> StatusCode {
    match (error.kind, error.code) {
        (_, "method_not_allowed") => StatusCode::METHOD_NOT_ALLOWED,
        (_, "client_too_slow") => StatusCode::REQUEST_TIMEOUT,
        (Kind::Malformed, _) => StatusCode::BAD_REQUEST,
        (Kind::Unauthorized, _) => StatusCode::UNAUTHORIZED,
        (Kind::Forbidden, _) => StatusCode::FORBIDDEN,
        (Kind::NotFound, _) => StatusCode::NOT_FOUND,
        (Kind::Conflict | Kind::Canceled, _) => StatusCode::CONFLICT,
        (Kind::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (Kind::Unsupported, _) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (Kind::Unprocessable, _) => StatusCode::UNPROCESSABLE_ENTITY,
        (Kind::Overloaded, _) => StatusCode::TOO_MANY_REQUESTS,
        (Kind::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Kind::Deadline, _) => StatusCode::GATEWAY_TIMEOUT,
        (Kind::DiskFull, _) => StatusCode::INSUFFICIENT_STORAGE,
        (Kind::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = self.0;
        let status = status(&error);
        let request_id = context::request_id();
        log(&error, status, &request_id);
        let retry_after = error.retry_after.or(match error.kind {
            Kind::Overloaded | Kind::Unavailable => Some(1),
            _ => None,
        });
        let (content_type, body) = if context::inference_protocol() {
            ("application/json", serde_json::to_vec(&serde_json::json!({ "error": sentence(&error) })))
        } else {
            ("application/problem+json", serde_json::to_vec(&problem(error, status, request_id)))
        };
        let mut response = Response::new(Body::from(body.unwrap_or_default()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kenyon\""));
        }
        response
    }
}

fn problem(error: Error, status: StatusCode, request_id: Box<str>) -> Problem {
    Problem {
        r#type: format!("urn:kenyon:error:{}", error.code),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        code: error.code,
        detail: error.detail,
        request_id,
        details: error.details,
    }
}

/// A failure in the middle of a streamed answer, which has its status already.
pub(crate) fn described(error: Error, request_id: &str) -> serde_json::Value {
    let status = status(&error);
    log(&error, status, request_id);
    serde_json::to_value(problem(error, status, request_id.into())).unwrap_or_default()
}

/// The error in one sentence with its first place, for clients that read nothing else.
fn sentence(error: &Error) -> String {
    match error.details.first() {
        Some(Detail { row: Some(row), column: Some(column), reason, .. }) => {
            format!("{}: row {row}, column {column}: {reason}", error.detail)
        }
        Some(Detail { reason, .. }) => format!("{}: {reason}", error.detail),
        None => error.detail.clone(),
    }
}

fn log(error: &Error, status: StatusCode, request_id: &str) {
    if !status.is_server_error() {
        return;
    }
    let mut causes = String::new();
    let mut cause = error.cause.as_deref().map(|c| c as &dyn std::error::Error);
    while let Some(at) = cause {
        causes.push_str(if causes.is_empty() { "" } else { ": " });
        causes.push_str(&at.to_string());
        cause = at.source();
    }
    if error.kind == Kind::Internal {
        tracing::error!(request_id, code = error.code, cause = causes, "a request failed with an internal error");
    } else {
        tracing::warn!(
            request_id,
            code = error.code,
            cause = causes,
            detail = error.detail,
            "a request was not answered"
        );
    }
}

/// The answer to a panic in a handler.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Failure(Error::internal(format!("panic: {text}"))).into_response()
}

/// For paths that no route has.
pub(crate) async fn not_found(request: Request) -> Failure {
    let _ = request;
    Failure(Error::not_found("route_not_found", "no route has this path; GET /openapi.json lists all routes"))
}

/// For paths that have a route, but not for this method.
pub(crate) async fn method_not_allowed() -> Failure {
    Failure(Error::malformed("method_not_allowed", "this path does not take this method"))
}
