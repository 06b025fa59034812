//! A predict request's body: the position of its rows, and its other fields.

use super::answer::{Explain, PredictOptions};
use crate::{Detail, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use serde_json::value::RawValue;

/// A predict request without its rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body<R> {
    rows: R,
    /// Labels that are listed.
    top_k: Option<usize>,
    /// Share of the time that sets and intervals are to hold the truth.
    coverage: Option<f64>,
    /// Whether sets may be empty.
    allow_empty: Option<bool>,
    /// `class` where sets are to hold for the rows of each class.
    conditional: Option<String>,
    /// Novelty beyond which an answer abstains.
    novelty_level: Option<f32>,
    /// Which reasons are wanted.
    explain: Option<Explain>,
    /// The version that must answer.
    pub(super) version: Option<u64>,
}

/// The rows alone.
#[derive(Deserialize)]
struct Rows<'a> {
    #[serde(borrow)]
    rows: &'a RawValue,
}

impl<'de> Deserialize<'de> for Explain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct ExplainVisitor;
        impl de::Visitor<'_> for ExplainVisitor {
            type Value = Explain;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or \"leave_one_out\"")
            }

            fn visit_bool<E: de::Error>(self, wanted: bool) -> std::result::Result<Explain, E> {
                Ok(if wanted { Explain::Yes } else { Explain::No })
            }

            fn visit_str<E: de::Error>(self, how: &str) -> std::result::Result<Explain, E> {
                match how {
                    "leave_one_out" => Ok(Explain::LeaveOneOut),
                    _ => Err(E::invalid_value(de::Unexpected::Str(how), &self)),
                }
            }
        }
        deserializer.deserialize_any(ExplainVisitor)
    }
}

/// The request's fields, and the bytes of its rows. The rows are parsed once, by the model's own
/// reader: here only their end is searched.
pub(super) fn parse(body: &[u8]) -> Result<(Body<()>, &[u8])> {
    let (head, rows) = match split(body) {
        Some((rows, rest)) => {
            let head: Body<Option<()>> = serde_json::from_slice(&rest)
                .or_else(|error| whole_numbers(&rest).ok_or_else(|| unreadable(&error, path_of(&rest))))?;
            (head.without_rows(), rows)
        }
        None => {
            let read: serde_json::Result<Body<&RawValue>> = serde_json::from_slice(body);
            match read {
                Ok(head) => {
                    let rows = head.rows.get().as_bytes();
                    (head.without_rows(), rows)
                }
                Err(error) => {
                    let head: Option<Body<de::IgnoredAny>> = whole_numbers(body);
                    let rows: Option<Rows<'_>> = serde_json::from_slice(body).ok();
                    let (Some(head), Some(Rows { rows })) = (head, rows) else {
                        return Err(unreadable(&error, None));
                    };
                    (head.without_rows(), rows.get().as_bytes())
                }
            }
        }
    };
    if head.coverage.is_some_and(|c| !(c > 0.0 && c < 1.0)) {
        return Err(Error::malformed("invalid_coverage", "coverage must lie between 0 and 1")
            .with_details([Detail::path("coverage", "must lie between 0 and 1, both excluded")]));
    }
    if head.top_k.is_some_and(|k| !(1..=1_000_000).contains(&k)) {
        return Err(Error::malformed("invalid_top_k", "top_k must lie between 1 and 1,000,000")
            .with_details([Detail::path("top_k", "must lie between 1 and 1,000,000")]));
    }
    if head.novelty_level.is_some_and(|level| !(0.0..=1.0).contains(&level)) {
        return Err(Error::malformed("invalid_novelty_level", "novelty_level must lie between 0 and 1")
            .with_details([Detail::path("novelty_level", "must lie between 0 and 1")]));
    }
    if head.conditional.as_ref().is_some_and(|by| by != "class") {
        return Err(Error::malformed("invalid_conditional", "conditional must be \"class\"")
            .with_details([Detail::path("conditional", "must be \"class\"")]));
    }
    Ok((head, rows))
}

/// Reads JSON whose whole numbers may be written as `1.0`, which JSON does not distinguish from `1` but serde does;
/// only for bodies that could not be read otherwise.
pub(crate) fn whole_numbers<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    fn shorten(value: &mut Value) {
        match value {
            Value::Number(number) => {
                let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15 && !number.is_i64());
                if let Some(whole) = whole {
                    *value = (whole as i64).into();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(shorten),
            Value::Object(fields) => fields.values_mut().for_each(shorten),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(bytes).ok()?;
    shorten(&mut value);
    serde_json::from_value(value).ok()
}

/// Whether the body is JSON from its first byte to its last.
pub(super) fn check(body: &[u8]) -> Result<()> {
    serde_json::from_slice::<Body<&RawValue>>(body).map(|_| ()).map_err(|error| unreadable(&error, None))
}

impl<R> Body<R> {
    /// What answers are to hold.
    pub(super) fn options(&self) -> PredictOptions {
        PredictOptions {
            top_k: self.top_k,
            coverage: self.coverage,
            allow_empty: self.allow_empty.unwrap_or(false),
            by_class: self.conditional.is_some(),
            novelty_level: self.novelty_level,
            explain: self.explain.unwrap_or_default(),
        }
    }

    fn without_rows(self) -> Body<()> {
        let Self { rows: _, top_k, coverage, allow_empty, conditional, novelty_level, explain, version } = self;
        Body { rows: (), top_k, coverage, allow_empty, conditional, novelty_level, explain, version }
    }
}

/// The list under the key `rows`, and the body with `null` in its place; none where the body cannot
/// be cut without parsing it.
fn split(body: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    const KEY: &[u8] = b"\"rows\"";
    // The key is mostly the first; a string equal to it cannot precede it, where only
    // spaces and the brace may be.
    let brace = body.iter().position(|b| !b.is_ascii_whitespace())?;
    let after = brace + 1 + body.get(brace + 1..)?.iter().position(|b| !b.is_ascii_whitespace())?;
    if body[brace] != b'{' || !body[after..].starts_with(KEY) {
        return None;
    }
    let colon = after + KEY.len() + body[after + KEY.len()..].iter().position(|b| !b.is_ascii_whitespace())?;
    let from = colon + 1 + body.get(colon + 1..)?.iter().position(|b| !b.is_ascii_whitespace())?;
    if body[colon] != b':' || body[from] != b'[' {
        return None;
    }
    let to = from + closing(&body[from..])?;
    Some((&body[from..to], [&body[..from], b"null", &body[to..]].concat()))
}

/// How many bytes the list at the start of `bytes` takes, brackets in strings not counted.
fn closing(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            b'"' => loop {
                let next = bytes[at..].iter().position(|&b| b == b'"' || b == b'\\')?;
                at += next + 1;
                if bytes[at - 1] == b'"' {
                    break;
                }
                at += 1;
                if at > bytes.len() {
                    return None;
                }
            },
            _ => {}
        }
    }
    None
}

/// The field of a request without its rows that cannot be read.
fn path_of(rest: &[u8]) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(rest);
    let read = serde_path_to_error::deserialize::<_, Body<Option<()>>>(&mut reader);
    read.err().map(|error| error.path().to_string()).filter(|path| path != ".")
}

/// Names the field that is unknown, missing or of the wrong type: as serde names it, else by its `path`.
fn unreadable(error: &serde_json::Error, path: Option<String>) -> Error {
    let text = error.to_string();
    let field = text.split('`').nth(1).filter(|_| text.contains("field")).map(str::to_owned).or(path);
    let code = match error.classify() {
        serde_json::error::Category::Data if text.starts_with("unknown field") => "unknown_field",
        serde_json::error::Category::Data => "invalid_request",
        _ => "malformed_json",
    };
    let detail = field.map(|field| Detail::path(field, text.clone()));
    Error::malformed(code, format!("the request cannot be read: {text}")).with_details(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_out_wherever_they_stand() {
        for (body, rows) in [
            (r#"{"rows":[{"a":"]}"},{"b":"\\\"["}],"top_k":2}"#, r#"[{"a":"]}"},{"b":"\\\"["}]"#),
            (r#" { "rows" : [] , "top_k" : 2 } "#, "[]"),
            (r#"{"top_k":2,"rows":[1,[2]]}"#, "[1,[2]]"),
            (r#"{"rows":7,"top_k":2}"#, "7"),
        ] {
            let (head, found) = parse(body.as_bytes()).unwrap();
            assert_eq!((std::str::from_utf8(found).unwrap(), head.top_k), (rows, Some(2)), "{body}");
        }
        let body = r#"{"rows":[],"allow_empty":true,"conditional":"class","novelty_level":0.9}"#;
        let options = parse(body.as_bytes()).unwrap().0.options();
        assert_eq!((options.allow_empty, options.by_class, options.novelty_level), (true, true, Some(0.9)));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (body, code) in [
            ("", "malformed_json"),
            ("{", "malformed_json"),
            (r#"{"rows":["#, "malformed_json"),
            (r#"{"rows":["\"#, "malformed_json"),
            (r#"{"rows":[]"#, "malformed_json"),
            (r#"{"rows":[]} x"#, "malformed_json"),
            (r#"{"top_k":1}"#, "invalid_request"),
            (r#"{"rows":[],"rows":[]}"#, "invalid_request"),
            (r#"{"rows":[],"row":1}"#, "unknown_field"),
            (r#"{"rows":[],"top_k":0}"#, "invalid_top_k"),
            (r#"{"rows":[],"coverage":1.0}"#, "invalid_coverage"),
            (r#"{"rows":[],"novelty_level":1.5}"#, "invalid_novelty_level"),
            (r#"{"rows":[],"conditional":"row"}"#, "invalid_conditional"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().code, code, "{body}");
        }
        assert_eq!(check(br#"{"rows":[{"a":}]}"#).unwrap_err().code, "malformed_json");
    }
}
