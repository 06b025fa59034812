//! What comes to the task of a stream, and the handle by which it is sent.

use super::answering::Publication;
use super::past::{Candidate, Past};
use super::state::Published;
use super::stream_log::StreamLog;
use crate::serving::loaded_version::LoadedVersion;
use crate::store::{IdempotencyKey, NewRecord};
use crate::sync::mpsc;
use crate::{Error, Kind, Result};
use kenyon_learn::data::Table;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// Commands for a stream's task.
pub(super) enum Command {
    /// Rows to learn.
    Observe(Rows, Reply<Value>),
    /// Operations to append and apply.
    Operate(Vec<NewRecord>, Reply<()>),
    /// Apply what other replicas have written.
    CatchUp(Reply<()>),
    /// The stream continues under another version.
    AnswerAs(u64, Reply<()>),
    /// Save a snapshot and delete the log before it.
    Snapshot(Reply<()>),
    /// Copy the state for a consolidation.
    Copy(Reply<StateCopy>),
    /// Replace the state by a consolidated one.
    TakeOver(Box<Candidate>, Reply<()>),
    /// Why a consolidation is due: rows were forgotten, or nothing was learned since the last call.
    IsDue(Reply<Option<&'static str>>),
    /// Take no more commands, and end once those that have come are done.
    End,
}

/// Parsed rows to learn.
pub(super) struct Rows {
    pub(super) table: Table,
    /// The rows as lines of JSON.
    pub(super) payload: Vec<u8>,
    pub(super) key: Option<IdempotencyKey>,
    /// The id of the key that sent them; empty without keys.
    pub(super) source: String,
}

/// A state as bytes, and the first record that is not in it. No snapshot deletes the log while the token exists,
/// because the copy follows it.
pub(super) struct StateCopy {
    pub(super) bytes: Vec<u8>,
    pub(super) past: Past,
    pub(super) next: u64,
    pub(super) token: Arc<()>,
}

/// The handle of a stream's task, and its published state.
pub(super) struct StreamHandle {
    pub(super) log: Arc<StreamLog>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) published: Arc<Publication<Published>>,
    /// Closed when the task has ended.
    pub(super) ended: watch::Receiver<()>,
}

impl StreamHandle {
    /// The last published state.
    pub(super) fn published(&self) -> Arc<Published> {
        self.published.get()
    }

    /// Has a version that was loaded, and has not answered yet, answer with the published state.
    pub(super) fn show_to(&self, version: &LoadedVersion) {
        self.published.show_to(version);
    }

    /// Whether the task has ended, which it does when its state is lost.
    pub(super) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Ends the task, and waits until it has ended: it acknowledges and publishes nothing after that.
    pub(super) async fn end(&self) {
        // One that takes no more commands ends by itself.
        let _ = self.commands.send(Command::End).await;
        let _ = self.ended.clone().changed().await;
    }

    /// Sends a command; its result comes later.
    pub(super) async fn send<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> oneshot::Receiver<Result<T>> {
        let (reply, result) = oneshot::channel();
        // A task that has ended drops the reply, which the receiver notices.
        let _ = self.commands.send(command(reply)).await;
        result
    }

    /// Sends rows to learn; their result comes later. Returns them where the task has ended.
    pub(super) async fn observe(&self, rows: Rows) -> std::result::Result<oneshot::Receiver<Result<Value>>, Rows> {
        let (reply, result) = oneshot::channel();
        match self.commands.send(Command::Observe(rows, reply)).await {
            Err(mpsc::error::SendError(Command::Observe(rows, _))) => Err(rows),
            _ => Ok(result),
        }
    }

    /// Sends a command and waits for its result.
    pub(super) async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        answered(self.send(command).await).await
    }
}

/// The result of a command.
pub(super) async fn answered<T>(
    result: impl Future<Output = std::result::Result<Result<T>, oneshot::error::RecvError>>,
) -> Result<T> {
    result.await.unwrap_or_else(|_| {
        let detail = "the stream was interrupted and is loaded again from its log; try again";
        Err(Error::new(Kind::Unavailable, "stream_interrupted", detail).with_retry_after(1))
    })
}
