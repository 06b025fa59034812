//! A job's events as they are written, on any replica.

use crate::store::{Change, JobEvent, JobId, Store};
use crate::{Error, Result};
use futures::Stream;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};

/// Events fetched at a time.
const BATCH: usize = 100;
/// Polling interval where no notification comes.
const POLL: Duration = Duration::from_secs(1);

/// The events of a job after number `after` (0 for all), until it has ended. 404 `job_not_found` as
/// the first item when there is no such job.
pub fn follow(store: Store, id: JobId, after: u64) -> impl Stream<Item = Result<JobEvent>> + Send {
    // Subscribed before the first query, so that no event is missed between the two.
    let changes = store.changes();
    let state = Following { store, id, after, changes, fetched: VecDeque::new(), caught_up: false, over: false };
    futures::stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        state.over |= item.is_err();
        Some((item, state))
    })
}

struct Following {
    store: Store,
    id: JobId,
    after: u64,
    changes: broadcast::Receiver<Change>,
    fetched: VecDeque<JobEvent>,
    /// Whether the last query returned everything: then the next one waits until something changes.
    caught_up: bool,
    over: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Result<JobEvent>> {
        while !self.over {
            if let Some(event) = self.fetched.pop_front() {
                self.after = event.id;
                return Some(Ok(event));
            }
            match self.fetch().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// Gets what is new, once something has changed; whether there may be more.
    async fn fetch(&mut self) -> Result<bool> {
        if self.caught_up {
            // A timeout ends with the next query.
            let _ = tokio::time::timeout(POLL, self.changed()).await;
        }
        // The state is read first: events written with the last change of state are then included.
        let ended = self.store.job(self.id).await?.status.is_final();
        self.fetched.extend(self.store.job_events(self.id, self.after, BATCH).await?);
        self.caught_up = !ended && self.fetched.len() < BATCH;
        Ok(!ended || !self.fetched.is_empty())
    }

    async fn changed(&mut self) {
        loop {
            match self.changes.recv().await {
                Ok(Change::Job(id)) if id == self.id => return,
                Ok(Change::Unknown) | Err(RecvError::Lagged(_)) => return,
                Ok(_) => {}
                Err(RecvError::Closed) => std::future::pending::<Result<(), Error>>().await.unwrap_or(()),
            }
        }
    }
}
