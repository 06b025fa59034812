//! Exact forgetting: the state is computed again from the log, which does not hold the forgotten rows any more.
//!
//! Float sums cannot be subtracted exactly, and steps cannot be reversed. So every record that is kept is applied again to the
//! oldest checkpoint, in its order and with its time, and the state is consolidated where it was consolidated before. Everything
//! random in a stream is a function of its seed and of what it has learned. So the result equals, bit for bit, the state of a
//! stream that never received the rows ([`StreamModel::digest`]). Rows from before the oldest checkpoint are removed from it as
//! far as they can be identified.

use super::apply::{forget, learn};
use super::blocking;
use super::command::StateCopy;
use super::past::{Candidate, Past};
use super::stream_log::{PAGE, StreamLog};
use crate::Result;
use crate::store::Record;
use kenyon_learn::learning::stream::StreamModel;
use std::collections::VecDeque;
use std::sync::Arc;

/// A state without what was forgotten.
pub(super) struct Recomputed {
    pub(super) candidate: Candidate,
    /// Rows that the log does not hold any more, because it is limited: the state was computed with them.
    pub(super) rows_before: u64,
    /// Forgotten rows among these that could be identified, and were removed as far as possible.
    pub(super) removed_before: u64,
}

/// The state at the number of the copy, without the rows that were forgotten by then.
pub(super) async fn without_forgotten(log: &Arc<StreamLog>, copy: &StateCopy) -> Result<Recomputed> {
    let oldest = log.store.log_checkpoint(log.model.id, log.root).await?;
    let mut from = oldest.as_ref().map_or(copy.past.start, |oldest| oldest.seq);
    let mut due: VecDeque<u64> = copy.past.consolidated.iter().copied().filter(|&at| at >= from).collect();
    let (begun, pending) = (Arc::clone(log), copy.past.pending.clone());
    let (mut online, cleaned, removed_before) = blocking(move || {
        let Some(state) = oldest.filter(|oldest| !oldest.bytes.is_empty()) else {
            return Ok((begun.begin()?, None, 0));
        };
        let mut online = StreamModel::restore(&state.bytes, begun.base.clone())?;
        online.set_threads(begun.threads);
        for what in &pending {
            forget(&mut online, what, &begun.target)?;
        }
        if online.forgotten() == 0 {
            return Ok((online, None, 0));
        }
        let done = online.consolidate()?;
        let cleaned = online.snapshot()?;
        Ok((online, Some(cleaned), done.forgotten))
    })
    .await?;
    let rows_before = online.rows();
    loop {
        let mut records = log.store.read_log_history(log.model.id, from, PAGE).await?;
        records.retain(|record| record.seq < copy.next);
        let Some(last) = records.last() else { break };
        from = last.next;
        let log = Arc::clone(log);
        (online, due) = blocking(move || {
            for record in &records {
                consolidate_before(&mut online, &mut due, record.seq)?;
                apply(&mut online, &log, record)?;
            }
            Ok((online, due))
        })
        .await?;
    }
    let next = copy.next;
    let online = blocking(move || consolidate_before(&mut online, &mut due, next).map(|()| online)).await?;
    let past = Past { pending: Vec::new(), ..copy.past.clone() };
    let candidate = Candidate { online, past, next, oldest: cleaned };
    Ok(Recomputed { candidate, rows_before, removed_before })
}

/// Consolidates the state where it was consolidated before record `seq`. Without rows there was nothing to consolidate.
fn consolidate_before(online: &mut StreamModel, due: &mut VecDeque<u64>, seq: u64) -> Result<()> {
    while due.pop_front_if(|at| *at <= seq).is_some() {
        if online.rows() > 0 {
            online.consolidate()?;
        }
    }
    Ok(())
}

fn apply(online: &mut StreamModel, log: &StreamLog, record: &Record) -> Result<()> {
    match log.table(record) {
        Some(table) if table.rows > 0 => {
            online.set_time(record.at);
            online.set_source(&record.source);
            learn(online, &table, &record.payload).map(drop)
        }
        _ => Ok(()),
    }
}
