//! Recent predictions, so that a label that comes late can be learned by `prediction_id`
//! alone. In memory and bounded: predicting never waits for a disk, and the oldest are dropped first.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rows by prediction id, bounded by bytes and age. The rows of a call are in the caller's encoding; its
/// predictions share them.
#[derive(Debug)]
pub struct Predictions {
    ring: Mutex<Ring>,
    max_bytes: usize,
    max_age: Duration,
}

#[derive(Debug, Default)]
struct Ring {
    rows: HashMap<Box<str>, Answered>,
    order: VecDeque<Box<str>>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Answered {
    at: Instant,
    rows: Bytes,
    index: u32,
    /// Its share of the rows' bytes.
    share: usize,
}

/// What an entry costs besides its id and row, roughly.
const OVERHEAD: usize = 128;

impl Predictions {
    /// Keeps at most `max_bytes`, none for longer than `max_age`.
    pub fn new(max_bytes: usize, max_age: Duration) -> Self {
        Self { ring: Mutex::default(), max_bytes, max_age }
    }

    /// Keeps the rows of one call, which has one id a row: one lock for all of them.
    pub fn insert(&self, ids: impl ExactSizeIterator<Item = String>, rows: &Bytes) {
        let at = Instant::now();
        let share = rows.len() / ids.len().max(1);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, id) in (0..).zip(ids) {
            let id: Box<str> = id.into();
            ring.bytes += cost(&id, share);
            ring.order.push_back(id.clone());
            let answered = Answered { at, rows: rows.clone(), index, share };
            if let Some(old) = ring.rows.insert(id.clone(), answered) {
                ring.bytes -= cost(&id, old.share);
            }
        }
        while ring.bytes > self.max_bytes || ring.oldest().is_some_and(|oldest| at - oldest > self.max_age) {
            let Some(id) = ring.order.pop_front() else { break };
            ring.remove(&id);
        }
    }

    /// Takes a prediction out, because a label is learned once: the rows of its call, and which of them it is.
    pub fn take(&self, id: &str) -> Option<(Bytes, usize)> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = ring.remove(id)?;
        (answered.at.elapsed() <= self.max_age).then_some((answered.rows, answered.index as usize))
    }

    /// Removes all predictions of calls whose rows are `concerned`; the number removed. The rows are read without a lock.
    pub fn remove_calls(&self, concerned: impl Fn(&[u8]) -> bool) -> usize {
        let calls: HashMap<*const u8, Bytes> = {
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.rows.values().map(|answered| (answered.rows.as_ptr(), answered.rows.clone())).collect()
        };
        let gone: HashMap<_, _> = calls.into_iter().filter(|(_, rows)| concerned(rows)).collect();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = ring.rows.iter().filter(|(_, answered)| gone.contains_key(&answered.rows.as_ptr()));
        let ids: Vec<Box<str>> = ids.map(|(id, _)| id.clone()).collect();
        ids.iter().for_each(|id| drop(ring.remove(id)));
        ids.len()
    }

    /// How many rows are kept.
    pub fn len(&self) -> usize {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).rows.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Ring {
    fn oldest(&mut self) -> Option<Instant> {
        // Ids that were taken are still in the order; they are skipped here.
        while let Some(id) = self.order.front() {
            if let Some(answered) = self.rows.get(id) {
                return Some(answered.at);
            }
            self.order.pop_front();
        }
        None
    }

    fn remove(&mut self, id: &str) -> Option<Answered> {
        let entry = self.rows.remove(id)?;
        self.bytes -= cost(id, entry.share);
        if self.order.len() > 2 * self.rows.len() + 1024 {
            // Mostly ids that were taken: they would stay here as long as the oldest row.
            self.order.retain(|id| self.rows.contains_key(id));
        }
        Some(entry)
    }
}

fn cost(id: &str, share: usize) -> usize {
    2 * id.len() + share + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_a_row_is_taken_once() {
        let kept = Predictions::new(10 * (OVERHEAD + 2 + 100), Duration::from_secs(60));
        kept.insert((0..10usize).map(|i| i.to_string()), &vec![7; 1000].into());
        assert_eq!(kept.len(), 10);
        assert_eq!(kept.take("3").unwrap(), (vec![7; 1000].into(), 3));
        assert_eq!(kept.take("3"), None);
        kept.insert(["a".to_owned(), "b".to_owned()].into_iter(), &vec![0; 200].into());
        assert_eq!(kept.len(), 10);
        assert_eq!(kept.take("0"), None, "the oldest made way for b");
        assert!(kept.take("b").is_some());
        assert_eq!((kept.remove_calls(|rows| rows[0] == 7), kept.len()), (8, 1));
        assert!(kept.take("a").is_some() && kept.is_empty());
    }

    #[test]
    fn age_ends_a_row_and_memory_stays_bounded() {
        let kept = Predictions::new(100_000, Duration::ZERO);
        kept.insert(["a".to_owned()].into_iter(), &vec![1].into());
        std::thread::yield_now();
        assert_eq!(kept.take("a"), None);
        let kept = Predictions::new(100_000, Duration::from_secs(60));
        kept.insert((0..10_000usize).map(|i| format!("id-{i}")), &vec![0; 1_000_000].into());
        let ring = kept.ring.lock().unwrap();
        assert!(ring.bytes <= 100_000 && ring.order.len() == ring.rows.len());
    }
}
