//! The copy of all API keys in memory, until they may have changed.

use super::api_key::ApiKey;
use super::change::Change;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// How long a list of keys is used without a change notification.
const MAX_AGE: Duration = Duration::from_secs(5);

/// The keys as last read, by hash.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    state: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Arc<HashMap<String, ApiKey>>,
    read_at: Option<Instant>,
    changes: Option<broadcast::Receiver<Change>>,
}

impl KeyCache {
    /// The keys, unless they may have changed since they were read.
    pub(super) fn current(&self) -> Option<Arc<HashMap<String, ApiKey>>> {
        self.state().current()
    }

    /// Replaces the keys; `changes` must be subscribed before they were read.
    pub(super) fn replace(&self, keys: Arc<HashMap<String, ApiKey>>, changes: broadcast::Receiver<Change>) {
        *self.state() = Cached { keys, read_at: Some(Instant::now()), changes: Some(changes) };
    }

    fn state(&self) -> MutexGuard<'_, Cached> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    fn current(&mut self) -> Option<Arc<HashMap<String, ApiKey>>> {
        use broadcast::error::TryRecvError;
        let changes = self.changes.as_mut()?;
        let mut stale = self.read_at.is_none_or(|at| at.elapsed() > MAX_AGE);
        loop {
            match changes.try_recv() {
                Ok(Change::Keys | Change::Unknown) | Err(TryRecvError::Lagged(_)) => stale = true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        (!stale).then(|| self.keys.clone())
    }
}
