//! Reading requests: JSON bodies with errors that name the field, names in paths, query strings.

use super::body::BodyFailure;
use super::error::Failure;
use crate::serving::whole_numbers;
use crate::store::ModelName;
use crate::{Detail, Error, Kind};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::str::FromStr;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        Ok(Self(json(&bytes)?))
    }
}

/// The bytes of a JSON body, decompressed, within the limit.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        json_type(request.headers())?;
        Decoded::from_request(request, state).await.map(|Decoded(bytes)| Self(bytes))
    }
}

/// The bytes of a body of any type, decompressed, within the limit.
#[derive(Debug)]
pub(crate) struct Decoded(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Decoded {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let limit = request.extensions().get::<BodyLimit>().map_or(1 << 20, |l| l.0);
        let encoding = request.headers().get(CONTENT_ENCODING).cloned();
        let bytes = Bytes::from_request(request, state).await.map_err(body_failure)?;
        match encoding.as_ref().map(|e| e.to_str().unwrap_or("?").trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Self(bytes)),
            Some("gzip" | "x-gzip") => inflate(flate2::read::MultiGzDecoder::new(&*bytes), limit),
            Some("deflate") => inflate(flate2::read::ZlibDecoder::new(&*bytes), limit),
            Some("zstd") => inflate(zstd::Decoder::new(&*bytes).map_err(|_| broken_encoding())?, limit),
            Some(other) => {
                let detail =
                    format!("the encoding '{}' is not understood: use gzip, deflate or zstd", printable(other));
                Err(Error::new(Kind::Unsupported, "unsupported_encoding", detail).into())
            }
        }
    }
}

/// The limit of a decompressed body; put into every request by the middleware.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimit(pub(crate) u64);

fn inflate(reader: impl Read, limit: u64) -> Result<Decoded, Failure> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(|_| broken_encoding())?;
    if bytes.len() as u64 > limit {
        return Err(too_large().into());
    }
    Ok(Decoded(bytes.into()))
}

fn broken_encoding() -> Error {
    Error::malformed("broken_encoding", "the body does not match its Content-Encoding")
}

/// The body passes the limit.
pub(crate) fn too_large() -> Error {
    Error::new(Kind::TooLarge, "body_too_large", "the body is larger than this server takes")
}

/// The client stopped sending in the middle.
pub(crate) fn cut_short() -> Error {
    Error::malformed("body_incomplete", "the body ended before it was complete")
}

/// The client took too long for the next piece of its body.
pub(crate) fn too_slow() -> Error {
    Error::new(Kind::Malformed, "client_too_slow", "the body did not arrive in time")
}

/// What a failure to read a body's next piece means.
pub(crate) fn body_error(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(at) = cause {
        match at.downcast_ref::<BodyFailure>() {
            Some(BodyFailure::TooLarge) => return too_large(),
            Some(BodyFailure::TooSlow) => return too_slow(),
            None => {}
        }
        cause = at.source();
    }
    cut_short()
}

fn body_failure(rejection: BytesRejection) -> Failure {
    body_error(&rejection).into()
}

/// A page of another site can make a browser send forms and plain text anywhere, but not JSON.
fn json_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = given.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let detail = format!("'{}' is not understood here: send application/json", printable(&essence));
    Err(Error::new(Kind::Unsupported, "unsupported_media_type", detail).into())
}

/// Parses JSON; an error names the field.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // Serde would accept a list for an object's fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::malformed("invalid_request", "the body is a list; a JSON object is expected"));
    }
    serde_json::from_slice(bytes).or_else(|error| whole_numbers(bytes).ok_or_else(|| explain::<T>(bytes, &error)))
}

/// Parses it again to find the path of the error.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Error {
    if bytes.is_empty() {
        return Error::malformed("malformed_json", "the body is empty; a JSON object is expected");
    }
    if !error.is_data() {
        return Error::malformed("malformed_json", format!("the body is not valid JSON: {error}"));
    }
    let reader = &mut serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(reader) else {
        return Error::malformed("invalid_request", error.to_string());
    };
    field_error(&error.path().to_string(), &error.into_inner().to_string())
}

/// An error about a field: unknown ones have a code of their own, since they are mostly typing mistakes.
fn field_error(path: &str, message: &str) -> Error {
    let message = message.split(" at line ").next().unwrap_or(message);
    let parent = path.trim_start_matches('.');
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let field = rest.split('`').next().unwrap_or_default();
        let full = match parent {
            "" | "?" => field.to_owned(),
            path if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
            path => format!("{path}.{field}"),
        };
        let reason = format!("unknown field '{field}'");
        return Error::malformed("unknown_field", format!("{reason}{}", known(rest)))
            .with_details([Detail::path(full, reason)]);
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|m| m.split('`').next()) {
        let full = if matches!(parent, "" | "?") { field.to_owned() } else { format!("{parent}.{field}") };
        let reason = format!("the field '{field}' is missing");
        return Error::malformed("missing_field", reason.clone()).with_details([Detail::path(full, reason)]);
    }
    let place = if matches!(parent, "" | "?") { String::new() } else { format!("{parent}: ") };
    Error::malformed("invalid_request", format!("{place}{message}")).with_details([Detail::path(parent, message)])
}

fn known(rest: &str) -> String {
    rest.split_once("expected ")
        .map_or_else(String::new, |(_, names)| format!("; known are {}", names.replace('`', "")))
}

/// A query string.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let parsed = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        let axum::extract::Query(value) = parsed.map_err(|rejection| {
            let text = rejection.body_text();
            let message = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, m)| m);
            let (path, message) = message.split_once(": ").map_or(("", message), |(p, m)| (p, m));
            field_error(path, message)
        })?;
        Ok(Self(value))
    }
}

/// Refuses a query: options there would be ignored, and the answer would not be the requested one.
pub(crate) fn no_query(uri: &Uri, why: &str) -> Result<(), Error> {
    let fields = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).map(|fields| fields.0);
    let Some((name, _)) = fields.unwrap_or_default().into_iter().next() else { return Ok(()) };
    let name = printable(&name);
    let reason = format!("unknown field '{name}' in the query");
    Err(Error::malformed("unknown_field", format!("{reason}: {why}")).with_details([Detail::path(name, reason)]))
}

/// Parts of the path, each checked by its type.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let parsed = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let axum::extract::Path(value) = parsed.map_err(|rejection| {
            let text = rejection.body_text();
            let reason = text.rsplit_once("Invalid URL: ").map_or(text.as_str(), |(_, m)| m).to_owned();
            Error::malformed("invalid_name", format!("the path is not valid: {reason}"))
        })?;
        Ok(Self(value))
    }
}

/// Which part of a list that has one page: all of it.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OnePage {
    /// Taken as other lists take it; the page has all entries.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// There is none but the empty one.
    #[param(max_length = 0)]
    cursor: Option<String>,
}

impl OnePage {
    /// Refuses what no list takes, and cursors, none of which was given.
    pub(crate) fn check(&self) -> Result<(), Error> {
        one_page(self.limit, self.cursor.as_deref())
    }
}

/// See [`OnePage::check`].
pub(crate) fn one_page(limit: Option<usize>, cursor: Option<&str>) -> Result<(), Error> {
    page_limit(limit)?;
    match cursor {
        Some("") | None => Ok(()),
        Some(_) => Err(unknown_cursor()),
    }
}

/// Which part of a list by name.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Entries of a page, at most 1,000; 100 when missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<ModelName>, inline)]
    cursor: Option<String>,
}

impl Paging {
    pub(crate) fn limit(&self) -> Result<usize, Error> {
        page_limit(self.limit)
    }

    /// The last entry of the page before.
    pub(crate) fn cursor<T: FromStr>(&self) -> Result<Option<T>, Error> {
        page_cursor(self.cursor.as_deref())
    }
}

/// Entries of a page.
pub(crate) fn page_limit(limit: Option<usize>) -> Result<usize, Error> {
    within("limit", limit.unwrap_or(100), 1, 1000)
}

/// A cursor that may be one of ours: it names the last entry of the page before.
pub(crate) fn page_cursor<T: FromStr>(cursor: Option<&str>) -> Result<Option<T>, Error> {
    cursor.map(|cursor| cursor.parse().map_err(|_| unknown_cursor())).transpose()
}

fn unknown_cursor() -> Error {
    let reason = "was not given by this list";
    Error::malformed("invalid_cursor", format!("that cursor {reason}")).with_details([Detail::path("cursor", reason)])
}

/// A number between two bounds, both included.
pub(crate) fn within(name: &str, value: usize, low: usize, high: usize) -> Result<usize, Error> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    let reason = format!("is to be between {low} and {high}");
    Err(Error::malformed("invalid_request", format!("{name} {reason}")).with_details([Detail::path(name, reason)]))
}

/// Untrusted text for use in a sentence: short and without control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code)]
    struct Outer {
        inner: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code)]
    struct Inner {
        a: u8,
    }

    fn failure(text: &str) -> (&'static str, Option<String>) {
        let error = json::<Outer>(text.as_bytes()).unwrap_err();
        (error.code, error.details.first().and_then(|d| d.path.clone()))
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(failure(r#"{"inner":[{"a":1,"b":2}]}"#), ("unknown_field", Some("inner[0].b".into())));
        assert_eq!(failure(r#"{"x":1}"#), ("unknown_field", Some("x".into())));
        assert_eq!(failure(r#"{}"#), ("missing_field", Some("inner".into())));
        assert_eq!(failure(r#"{"inner":[{"a":1},{}]}"#), ("missing_field", Some("inner[1].a".into())));
        assert_eq!(failure(r#"{"inner":[{"a":"no"}]}"#), ("invalid_request", Some("inner[0].a".into())));
        assert_eq!(failure("{"), ("malformed_json", None));
        assert_eq!(failure(""), ("malformed_json", None));
        assert_eq!(failure(&"[".repeat(100_000)).0, "invalid_request");
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![b' '; 1 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        let failure = inflate(flate2::read::MultiGzDecoder::new(&*bomb), 1000).unwrap_err();
        assert_eq!(failure.0.code, "body_too_large");
    }
}
