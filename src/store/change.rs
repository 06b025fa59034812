//! Change notifications between replicas.

use super::{DatasetName, JobId, ModelName};
use std::fmt;
use std::str::FromStr;

/// Something changed, on this replica or another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A job became ready to be claimed.
    Queue,
    /// A job's state, progress, events or cancel request.
    Job(JobId),
    /// A model was made or removed, or its versions or traffic changed.
    Model(ModelName),
    /// A model's observation log grew or was compacted.
    Log(ModelName),
    /// A dataset changed.
    Dataset(DatasetName),
    /// Keys were made or revoked.
    Keys,
    /// Messages may have been lost: everything must be read again.
    Unknown,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue => f.write_str("queue"),
            Self::Job(id) => write!(f, "job:{id}"),
            Self::Model(name) => write!(f, "model:{name}"),
            Self::Log(name) => write!(f, "log:{name}"),
            Self::Dataset(name) => write!(f, "dataset:{name}"),
            Self::Keys => f.write_str("keys"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl FromStr for Change {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A newer replica may send changes unknown to this one: they become [`Change::Unknown`].
        let parsed = match text.split_once(':') {
            None if text == "queue" => Some(Self::Queue),
            None if text == "keys" => Some(Self::Keys),
            Some(("job", id)) => id.parse().ok().map(Self::Job),
            Some(("model", name)) => name.parse().ok().map(Self::Model),
            Some(("log", name)) => name.parse().ok().map(Self::Log),
            Some(("dataset", name)) => name.parse().ok().map(Self::Dataset),
            _ => None,
        };
        Ok(parsed.unwrap_or(Self::Unknown))
    }
}
