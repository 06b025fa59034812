//! Opening streams: from the last snapshot and the log after it.

use super::state::Learning;
use super::{Streams, blocking};
use crate::store::{LogSnapshot, ModelName};
use crate::{Error, Kind, Result};
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::stream::{StreamModel, StreamSpec};
use serde_json::Value;
use std::sync::{Arc, PoisonError};

impl Streams {
    /// The stream of a model, opened if need be.
    pub(super) async fn learning(&self, name: &ModelName) -> Result<Arc<Learning>> {
        if let Some(open) = self.opened(name) {
            return Ok(open);
        }
        let place = Arc::clone(self.inner.opening.lock().await.entry(name.clone()).or_default());
        let _opening = place.lock().await;
        if let Some(open) = self.opened(name) {
            return Ok(open);
        }
        let opened = self.open(name).await;
        self.inner.opening.lock().await.remove(name);
        let learning = opened?;
        self.inner.open.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Arc::clone(&learning));
        // A version that was loaded before has answered without its stream; one that is loaded later
        // is told then.
        self.publish(&learning);
        Ok(learning)
    }

    async fn open(&self, name: &ModelName) -> Result<Arc<Learning>> {
        let model = self.inner.store.model(name).await?;
        let Some(version) = model.traffic.stable else {
            let error = Error::new(Kind::Unavailable, "no_version", "the model has no version that could learn yet");
            return Err(error.with_retry_after(1));
        };
        let files = self.inner.store.version_files(&self.inner.store.version(name, version).await?).await?;
        let snapshot = self.inner.store.log_snapshot(model.id).await?;
        let (root, base, mut online, next) = blocking(move || {
            let file = |wanted: &str| files.iter().find(|(n, _)| n == wanted).map(|(_, bytes)| &bytes[..]);
            let bundle = Bundle::load(file)?;
            let root = root_of(&bundle).unwrap_or(version);
            let next = snapshot.as_ref().map_or(0, |s| s.seq);
            let kept = snapshot.filter(|s| root_of_snapshot(s) == Some(root));
            if from_nothing(&bundle) {
                let online = match kept {
                    Some(kept) => StreamModel::restore(&kept.bytes, None)?,
                    None => begin(&bundle)?,
                };
                return Ok((root, None, online, next));
            }
            let base = Arc::new(bundle);
            let online = match kept {
                Some(kept) => StreamModel::restore(&kept.bytes, Some(Arc::clone(&base)))?,
                None => StreamModel::over(Arc::clone(&base)),
            };
            Ok((root, Some(base), online, next))
        })
        .await?;
        online.set_threads(self.inner.threads);
        let learning = Arc::new(Learning::new(model, version, root, base, online, next));
        self.catch_up(&learning, None).await?;
        let _ = learning.drifts.set(self.inner.drifts.clone());
        // A process may have ended between a wish to forget and the snapshot that fulfils it.
        let to_compact = learning.lock().to_compact;
        if to_compact {
            self.snapshot(&learning).await?;
        }
        Ok(learning)
    }

    /// Takes the state from the last snapshot, because the log before it is no longer there. Called
    /// by whoever applies records.
    pub(super) async fn reload(&self, learning: &Arc<Learning>) -> Result<()> {
        let next = learning.lock().next;
        let kept = self.inner.store.log_snapshot(learning.model.id).await?;
        let Some(kept) = kept.filter(|s| s.seq > next && root_of_snapshot(s) == Some(learning.root)) else {
            let detail = "another version has begun to learn; try again";
            return Err(Error::new(Kind::Unavailable, "stream_replaced", detail).with_retry_after(1));
        };
        let (base, threads) = (learning.base.clone(), self.inner.threads);
        let (online, seq) = blocking(move || {
            let mut online = StreamModel::restore(&kept.bytes, base)?;
            online.set_threads(threads);
            Ok((online, kept.seq))
        })
        .await?;
        learning.replace(online, seq);
        Ok(())
    }
}

/// The version whose stream a consolidated version goes on from.
pub(super) fn root_of(bundle: &Bundle) -> Option<u64> {
    bundle.config.config.get("stream_root").and_then(Value::as_u64)
}

fn root_of_snapshot(snapshot: &LogSnapshot) -> Option<u64> {
    snapshot.info["root"].as_u64().or_else(|| snapshot.info["version"].as_u64())
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
