//! Opening streams: from the last snapshot and the log after it.

use super::actor::Actor;
use super::command::StreamHandle;
use super::past::Past;
use super::state::State;
use super::stream_log::{Read, StreamLog, replaced, root_of_snapshot};
use super::{Streams, blocking};
use crate::store::ModelName;
use crate::{Error, Kind, Result};
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::StreamModel;
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

impl Streams {
    /// The stream of the model that has this name now, opened if need be.
    pub(super) async fn learning(&self, name: &ModelName) -> Result<Arc<StreamHandle>> {
        let (id, version) = self.inner.engine.identity(name.as_str()).await?;
        let other = |open: Arc<StreamHandle>| open.log.model.id != id || Some(open.published().version) != version;
        if self.opened(name).is_some_and(other) {
            self.changed(name).await?;
        }
        match self.learning_of(name, id).await {
            // The model was deleted and made again, and the routing table here is older.
            Err(error) if error.code == "stream_replaced" => {
                self.inner.engine.refresh(name.as_str()).await?;
                let (id, _) = self.inner.engine.identity(name.as_str()).await?;
                self.learning_of(name, id).await
            }
            other => other,
        }
    }

    /// The stream of the model with this id, opened once for all requests; one of an earlier model of the same
    /// name is replaced.
    pub(super) async fn learning_of(&self, name: &ModelName, id: Uuid) -> Result<Arc<StreamHandle>> {
        let place = self.place(name, id);
        let open = async || {
            place.free().await;
            self.open(name, id).await
        };
        let opened = place.stream.get_or_try_init(open).await.cloned();
        if opened.is_err() {
            self.give_up(name, &place);
        }
        opened
    }

    async fn open(&self, name: &ModelName, id: Uuid) -> Result<Arc<StreamHandle>> {
        let inner = &self.inner;
        let model = inner.store.model(name).await?;
        // Rows would be learned by another model than the one that answers.
        if model.id != id {
            return Err(replaced());
        }
        let Some(version) = model.traffic.stable else {
            let error = Error::new(Kind::Unavailable, "no_version", "the model has no version that could learn yet");
            return Err(error.with_retry_after(1));
        };
        let files = inner.store.version_files(&inner.store.version(name, version).await?).await?;
        let snapshot = inner.store.log_snapshot(model.id).await?;
        let (threads, history_bytes) = (inner.options.threads, inner.options.history_bytes);
        let store = inner.store.clone();
        let (log, online, next, adopt) = blocking(move || {
            let file = |wanted: &str| files.iter().find(|(n, _)| n == wanted).map(|(_, bytes)| &bytes[..]);
            let bundle = Arc::new(Bundle::load(file)?);
            let root = root_of(&bundle).unwrap_or(version);
            let next = snapshot.as_ref().map_or(0, |s| s.seq);
            let kept = snapshot.filter(|s| root_of_snapshot(s) == Some(root));
            let base = (!from_nothing(&bundle)).then(|| bundle.clone());
            let target = bundle.config.target.name.clone();
            let reader = bundle.reader().clone();
            let mut log =
                StreamLog { store, model, root, origin: bundle, base, reader, target, threads, history_bytes };
            let adopt = kept.as_ref().is_some_and(|kept| Past::of(kept).is_none());
            let (mut online, past) = match kept {
                Some(kept) => {
                    let past = Past::of(&kept).unwrap_or_else(|| Past::from(next));
                    (StreamModel::restore(&kept.bytes, log.base.clone())?, past)
                }
                None => (log.begin()?, Past::from(next)),
            };
            online.set_threads(threads);
            log.reader = online.reader().clone();
            log.target = online.target_name().to_owned();
            Ok((Arc::new(log), (online, past), next, adopt))
        })
        .await?;
        if adopt {
            inner.store.adopt_log_snapshot(id).await?;
        }
        let mut state = caught_up(&log, State::new(name.as_str(), version, online, next)).await?;
        // A process may have ended between a request to forget and the snapshot that fulfils it.
        if state.to_compact {
            let (kept, keep) = (state.kept(log.root)?, log.keep(&state.past, None));
            inner.store.save_log_snapshot(&log.model.name, log.model.id, kept, &keep).await?;
            state.compacted();
        }
        // A version that was loaded before has answered without its stream; the task publishes as it starts.
        Ok(Arc::new(Actor::start(
            (inner.engine.clone(), Arc::clone(&inner.answering)),
            inner.drifts.clone(),
            log,
            state,
        )))
    }
}

/// Applies the existing log, without notifications.
async fn caught_up(log: &Arc<StreamLog>, mut state: State) -> Result<State> {
    loop {
        match log.read(state.next).await? {
            Read::UpToDate => return Ok(state),
            Read::Compacted => {
                let (online, next) = log.reload(state.next).await?;
                state.replace(online, next);
            }
            Read::Records(records) => {
                let log = Arc::clone(log);
                state = blocking(move || {
                    records.iter().try_for_each(|record| state.apply(&log, record).map(drop))?;
                    Ok(state)
                })
                .await?;
            }
        }
    }
}

/// The version whose stream a consolidated version continues. A consolidation alone writes that: an import removes it
/// (`serving::transfer`).
pub(super) fn root_of(bundle: &Bundle) -> Option<u64> {
    bundle.config.config.get("stream_root").and_then(Value::as_u64)
}

fn from_nothing(bundle: &Bundle) -> bool {
    bundle.config.config.get("stream").and_then(Value::as_bool).unwrap_or(false)
}
