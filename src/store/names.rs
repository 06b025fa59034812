//! Validated names and ids: parsed once in the interface, valid in every layer below.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

/// Longest name that is accepted.
pub const MAX_NAME: usize = 63;

/// The form of a name, as a regular expression.
const PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// Whether `text` matches [`PATTERN`].
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=MAX_NAME).contains(&bytes.len())
        && plain(&bytes[0])
        && bytes.iter().all(|b| plain(b) || *b == b'_' || *b == b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                if is_name(text) {
                    return Ok(Self(text.into()));
                }
                Err(Error::malformed(
                    "invalid_name",
                    concat!("a ", $what, " name is 1 to 63 of a-z, 0-9, _ and -, and starts with a letter or digit"),
                ))
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some(PATTERN));
                name.examples(["iris"]).into()
            }
        }

        impl ToSchema for $type {}

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// Name of a model: `[a-z0-9][a-z0-9_-]{0,62}`.
    ModelName,
    "model"
);
name!(
    /// Name of a dataset: `[a-z0-9][a-z0-9_-]{0,62}`.
    DatasetName,
    "dataset"
);
name!(
    /// Name of an encoder: `[a-z0-9][a-z0-9_-]{0,62}`.
    EncoderName,
    "encoder"
);

/// Id of a job: a UUID of version 7, so that ids sort by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A fresh id, larger than all before it.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

impl PartialSchema for JobId {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom("uuid".to_owned())));
        id.into()
    }
}

impl ToSchema for JobId {}

impl FromStr for JobId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        // Whatever is not an id cannot name a job, so the answer is the same as for an unknown one.
        Uuid::try_parse(text).map(Self).map_err(|_| Error::not_found("job_not_found", "there is no such job"))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_without_paths() {
        for good in ["a", "0", "iris", "a_b-c", &"x".repeat(63)] {
            assert_eq!(good.parse::<ModelName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "A", "a b", "a/b", "..", "a.b", "é", &"x".repeat(64)] {
            assert_eq!(bad.parse::<DatasetName>().unwrap_err().code, "invalid_name", "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_age() {
        let first = JobId::fresh();
        let second = JobId::fresh();
        assert!(first.to_string() < second.to_string());
        assert_eq!(first.to_string().parse::<JobId>().unwrap(), first);
        assert_eq!("nonsense".parse::<JobId>().unwrap_err().code, "job_not_found");
    }
}
