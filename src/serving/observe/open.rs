//! Opening streams: from the last snapshot and the log after it.

use super::actor::{Actor, StreamHandle};
use super::state::State;
use super::stream_log::{Read, StreamLog, root_of_snapshot};
use super::{Streams, blocking};
use crate::store::ModelName;
use crate::{Error, Kind, Result};
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

impl Streams {
    /// The stream of the model that has this name now, opened if need be.
    pub(super) async fn learning(&self, name: &ModelName) -> Result<Arc<StreamHandle>> {
        let (id, version) = self.inner.engine.identity(name.as_str()).await?;
        let other = |open: Arc<StreamHandle>| open.log.model.id != id || Some(open.published().version) != version;
        if self.opened(name).is_some_and(other) {
            self.changed(name).await;
        }
        self.learning_of(name, id).await
    }

    /// The stream of the model with this id, opened once for all requests; one of an earlier model of the same
    /// name is replaced.
    pub(super) async fn learning_of(&self, name: &ModelName, id: Uuid) -> Result<Arc<StreamHandle>> {
        let place = self.place(name, id);
        let opened = place.get_or_try_init(|| self.open(name)).await.cloned();
        if opened.is_err() {
            self.give_up(name, &place);
        }
        opened
    }

    async fn open(&self, name: &ModelName) -> Result<Arc<StreamHandle>> {
        let inner = &self.inner;
        let model = inner.store.model(name).await?;
        let Some(version) = model.traffic.stable else {
            let error = Error::new(Kind::Unavailable, "no_version", "the model has no version that could learn yet");
            return Err(error.with_retry_after(1));
        };
        let files = inner.store.version_files(&inner.store.version(name, version).await?).await?;
        let snapshot = inner.store.log_snapshot(model.id).await?;
        let threads = inner.threads;
        let (root, base, online, next) = blocking(move || {
            let file = |wanted: &str| files.iter().find(|(n, _)| n == wanted).map(|(_, bytes)| &bytes[..]);
            let bundle = Bundle::load(file)?;
            let root = root_of(&bundle).unwrap_or(version);
            let next = snapshot.as_ref().map_or(0, |s| s.seq);
            let kept = snapshot.filter(|s| root_of_snapshot(s) == Some(root));
            let fresh = from_nothing(&bundle);
            let (base, start) = if fresh { (None, Some(begin(&bundle)?)) } else { (Some(Arc::new(bundle)), None) };
            let mut online = match (kept, start, &base) {
                (Some(kept), _, base) => StreamModel::restore(&kept.bytes, base.clone())?,
                (None, Some(start), _) => start,
                (None, None, Some(base)) => StreamModel::over(Arc::clone(base)),
                (None, None, None) => return Err(Error::internal("a stream without a beginning")),
            };
            online.set_threads(threads);
            Ok((root, base, online, next))
        })
        .await?;
        let bundle_reader = online.reader().clone();
        let target = online.target_name().to_owned();
        let store = inner.store.clone();
        let log = Arc::new(StreamLog { store, model, root, base, reader: bundle_reader, target, threads });
        let state = caught_up(&log, State::new(name.as_str(), version, online, next)).await?;
        // A process may have ended between a request to forget and the snapshot that fulfils it.
        if state.to_compact {
            let kept = state.kept(root)?;
            inner.store.save_log_snapshot(&log.model.name, log.model.id, kept).await?;
        }
        // A version that was loaded before has answered without its stream; the task publishes as it starts. One that
        // is loaded later gets what is published then.
        Ok(Arc::new(Actor::start(inner.engine.clone(), inner.drifts.clone(), log, state)))
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

/// The version whose stream a consolidated version continues.
pub(super) fn root_of(bundle: &Bundle) -> Option<u64> {
    bundle.config.config.get("stream_root").and_then(Value::as_u64)
}

fn from_nothing(bundle: &Bundle) -> bool {
    bundle.config.config.get("stream").and_then(Value::as_bool).unwrap_or(false)
}

/// A stream from a bundle's columns alone.
fn begin(bundle: &Bundle) -> Result<StreamModel> {
    Ok(StreamModel::new(&StreamSpec {
        task: bundle.config.task,
        target: bundle.config.target.clone(),
        classes: bundle.classes().to_vec(),
        inputs: bundle.encoder.inputs.clone(),
        config: bundle.config.config.clone(),
        seed: bundle.config.seed,
    })?)
}
