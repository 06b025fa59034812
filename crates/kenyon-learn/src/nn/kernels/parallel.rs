//! Work divided among threads so that the result does not depend on their number: items follow from
//! the data alone, and sums over them are computed in their order.
//!
//! The threads here exist for one call, which suits work of milliseconds; the phases of a training step,
//! which take microseconds, use [`super::ThreadPool`].

use crate::data::Batch;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Cuts the rows of `batch` into at most `parts` runs of about equally many tokens.
pub(crate) fn cut(batch: &Batch, parts: usize, least_tokens: usize) -> Vec<Range<usize>> {
    let (rows, tokens) = (batch.rows(), batch.tokens() + batch.rows());
    let parts = parts.min(tokens / least_tokens.max(1)).max(1);
    let mut out = Vec::with_capacity(parts);
    let mut start = 0;
    for part in 0..parts {
        let goal = tokens * (part + 1) / parts;
        let mut end = start;
        while end < rows && (part + 1 == parts || batch.row_offsets[end + 1] as usize + end < goal) {
            end += 1;
        }
        if end > start {
            out.push(start..end);
            start = end;
        }
    }
    if start < rows {
        out.push(start..rows);
    }
    out
}

/// Runs `work(index, item)` for every item on at most `threads` threads, the caller's among them. Items start in
/// their order, each on the next thread that is free.
pub(crate) fn each<T: Send>(items: &mut [T], threads: usize, work: impl Fn(usize, &mut T) + Sync) {
    each_with(items, threads, || (), |(), index, item| work(index, item));
}

/// As [`each`]; every thread makes a `scratch` once, which `work` gets for each of its items.
pub(crate) fn each_with<T: Send, S>(
    items: &mut [T],
    threads: usize,
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &mut T) + Sync,
) {
    let threads = threads.min(items.len());
    let queue = Mutex::new(items.iter_mut().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut scratch = scratch();
        while let Some((index, item)) = next() {
            work(&mut scratch, index, item);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_covers_every_row_once() {
        let mut batch = Batch::new();
        for row in 0..37 {
            for _ in 0..row % 5 {
                batch.end_token(0);
            }
            batch.end_row();
        }
        for parts in 1..9 {
            let cuts = cut(&batch, parts, 1);
            assert!(cuts.len() <= parts + 1);
            assert_eq!(cuts.iter().cloned().flatten().collect::<Vec<_>>(), (0..37).collect::<Vec<_>>());
        }
        assert!(cut(&Batch::new(), 4, 1).is_empty());
    }

    #[test]
    fn each_visits_all_with_any_number_of_threads() {
        for threads in 0..5 {
            let mut items = vec![0; 11];
            each(&mut items, threads, |i, item| *item = i * i);
            assert_eq!(items, (0..11).map(|i| i * i).collect::<Vec<_>>());
        }
        each(&mut Vec::<u8>::new(), 3, |_, _| unreachable!("there is no item"));
    }
}
