//! Pages for people: the dashboard, the API documentation and, in builds that found it rendered, the book; all embedded in
//! the binary, under a policy that runs only their own files.

use super::Api;
use super::error::{Answer, Failure};
use crate::Error;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use rust_embed::RustEmbed;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// The book's pages have scripts and styles of their own in them, and nothing that a user sent.
const BOOK_POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "static/"]
#[allow_missing = true]
struct Assets;

/// What `mdbook build docs` wrote before this program was compiled.
#[derive(RustEmbed)]
#[folder = "docs/book/"]
#[allow_missing = true]
struct Book;

static DOCS: LazyLock<Arc<utoipa_swagger_ui::Config<'static>>> = LazyLock::new(|| {
    let config = utoipa_swagger_ui::Config::from("/openapi.json");
    Arc::new(
        config
            .validator_url("none")
            .try_it_out_enabled(true)
            .display_request_duration(true)
            .persist_authorization(false),
    )
});

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(dashboard))
        .routes(routes!(description))
        .routes(routes!(docs))
        .routes(routes!(docs_file))
}

/// The dashboard.
#[utoipa::path(get, path = "/", tag = "pages", responses((status = 200, content_type = "text/html", body = String)))]
async fn dashboard(headers: HeaderMap) -> Answer<Response> {
    asset::<Assets>("index.html", &headers, POLICY).ok_or_else(nothing)
}

/// An OpenAPI document: the parts that a client may count on.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a description only: utoipa writes the document")]
struct ApiDescription {
    /// `3.1.0`.
    openapi: String,
    info: ApiTitle,
    /// Operations by path and method.
    #[schema(value_type = HashMap<String, HashMap<String, Value>>)]
    paths: Value,
    /// Schemas and ways to send a key, by kind and name.
    #[schema(value_type = HashMap<String, HashMap<String, Value>>)]
    components: Value,
}

/// What the interface is.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a description only: utoipa writes it")]
struct ApiTitle {
    /// `Kenyon`.
    title: String,
    /// In a sentence.
    description: String,
    /// The version of the program.
    version: String,
}

/// This description of the interface.
#[utoipa::path(get, path = "/openapi.json", tag = "pages", responses((status = 200, body = ApiDescription)))]
async fn description(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.document.clone()).into_response()
}

/// The description as pages.
#[utoipa::path(get, path = "/docs", tag = "pages", responses((status = 303, description = "to /docs/")))]
async fn docs() -> Redirect {
    Redirect::to("/docs/index.html")
}

/// Files of those pages.
#[utoipa::path(get, path = "/docs/{file}", tag = "pages", params(("file" = String, Path)),
    responses((status = 200, description = "the file", content_type = "*/*", body = String), (status = 404, body = super::error::Problem, content_type = "application/problem+json")))]
async fn docs_file(Path(file): Path<String>) -> Answer<Response> {
    if file == "book" {
        return Ok(Redirect::to("/docs/book/").into_response());
    }
    let found = utoipa_swagger_ui::serve(&file, DOCS.clone()).ok().flatten().ok_or_else(nothing)?;
    let bytes = Bytes::from(found.bytes.into_owned());
    let kind = HeaderValue::from_str(&found.content_type).unwrap_or(HeaderValue::from_static("text/plain"));
    let mut response = page(kind, bytes);
    if found.gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Every path that no route has: a file of the dashboard, or nothing.
pub(crate) async fn fallback(request: Request) -> Response {
    let file = request.uri().path().trim_start_matches('/');
    if file == "docs/" {
        return docs().await.into_response();
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let found = is_read.then(|| match file.strip_prefix("docs/book/") {
        Some("") => asset::<Book>("index.html", request.headers(), BOOK_POLICY),
        Some(page) => asset::<Book>(page, request.headers(), BOOK_POLICY),
        None => asset::<Assets>(file, request.headers(), POLICY),
    });
    match found.flatten() {
        Some(response) => response,
        None => super::error::not_found(request).await.into_response(),
    }
}

fn nothing() -> Failure {
    Error::not_found("file_not_found", "there is no such file").into()
}

fn asset<E: RustEmbed>(name: &str, headers: &HeaderMap, policy: &'static str) -> Option<Response> {
    let file = E::get(name)?;
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{:016x}\"", u64::from_be_bytes(hash[..8].try_into().unwrap_or_default()));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|t| t.as_bytes() == tag.as_bytes());
    let kind = HeaderValue::from_str(file.metadata.mimetype()).unwrap_or(HeaderValue::from_static("text/plain"));
    let bytes = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { page(kind, bytes) };
    // Also with 304, whose headers replace those of the browser's copy: without it the middleware's policy
    // for other answers would apply, and nothing would run after a reload.
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&tag).ok()?);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

fn page(kind: HeaderValue, bytes: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, bytes).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A folder that is always there, in place of the book.
    #[derive(RustEmbed)]
    #[folder = "docs/src/"]
    struct Source;

    #[test]
    fn a_page_of_the_book_has_its_type_and_policy() {
        let headers = HeaderMap::new();
        let page = asset::<Source>("introduction.md", &headers, BOOK_POLICY).unwrap();
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/markdown");
        assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], BOOK_POLICY);
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, page.headers()[header::ETAG].clone())]);
        assert_eq!(asset::<Source>("introduction.md", &again, POLICY).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert!(asset::<Source>("nothing.md", &headers, POLICY).is_none());
    }
}
