//! Messages between the process that trains and the one that supervises it: a JSON value a line. Large contents
//! are files of a folder that both use.

use super::compute::{Computed, Task};
use crate::error::CODES;
use crate::{Detail, Error, Kind, Result};
use kenyon_learn::learning::Progress;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// The checkpoint to continue from, and the one that was just made.
pub(super) const RESUME: &str = "resume";
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Begins the names of files that are given, and of those that were made.
pub(super) const GIVEN: &str = "given-";
pub(super) const MADE: &str = "made-";

/// Orders to the process that trains.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// What to compute; always first.
    Start(Box<Start>),
    /// A checkpoint is due.
    Checkpoint,
    /// The last checkpoint was saved, or was not.
    Saved(Option<Failure>),
    /// The result is not needed any more.
    Stop,
}

/// What to compute, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) task: Task,
    /// Names of the given files.
    pub(super) files: Vec<String>,
    pub(super) resume: bool,
}

/// What the process that trains sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// How far it is.
    Progress { progress: Progress, epoch_ended: bool },
    /// A line for the job's log.
    Log(String),
    /// A checkpoint is in its file; nothing more happens until it was saved.
    Checkpoint { step: u64 },
    /// The result; the names of its files.
    Ended { computed: Box<Computed>, files: Vec<String> },
    /// An error instead.
    Failed(Failure),
}

/// An error on its way between two processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    kind: Kind,
    code: String,
    detail: String,
    details: Vec<Detail>,
    retry_after: Option<u64>,
    cause: Option<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind,
            code: error.code.to_owned(),
            detail: error.detail.clone(),
            details: error.details.clone(),
            retry_after: error.retry_after,
            cause: error.cause.as_ref().map(|cause| format!("{cause:?}")),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let code = CODES.iter().find(|code| **code == failure.code).copied().unwrap_or("internal");
        let mut error = Self::new(failure.kind, code, failure.detail).with_details(failure.details);
        error.retry_after = failure.retry_after;
        error.cause = failure.cause.map(Into::into);
        error
    }
}

/// Writes one message.
pub(super) fn write(out: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message).map_err(Error::internal)?;
    line.push(b'\n');
    out.write_all(&line)?;
    Ok(out.flush()?)
}

/// Reads one message.
pub(super) fn read<T: for<'de> Deserialize<'de>>(line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was_sent() {
        let sent = Error::unprocessable("diverged", "at step 3").with_details([Detail::column("x", "is odd")]);
        let line = serde_json::to_string(&Message::Failed(Failure::from(&sent))).unwrap();
        let Message::Failed(failure) = read(&line).unwrap() else { panic!("{line}") };
        let arrived = Error::from(failure);
        assert_eq!((arrived.kind, arrived.code, &arrived.detail), (sent.kind, sent.code, &sent.detail));
        assert_eq!(arrived.details, sent.details);
    }

    #[test]
    fn progress_without_a_rate_can_be_sent() {
        let progress = Progress { fraction: 0.1 + 0.2, ..Progress::default() };
        let line = serde_json::to_string(&Message::Progress { progress: progress.clone(), epoch_ended: true }).unwrap();
        let Message::Progress { progress: arrived, epoch_ended: true } = read(&line).unwrap() else { panic!("{line}") };
        assert_eq!(arrived, progress);
    }
}
