//! Rows shared between threads so that the result does not depend on how many there are: the
//! parts are cut from the batch alone, and whoever sums over them does so in their order.

use crate::data::Batch;
use std::ops::Range;

/// Cuts the rows of `batch` into at most `parts` runs of about equally many tokens.
pub fn cut(batch: &Batch, parts: usize, least_tokens: usize) -> Vec<Range<usize>> {
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

/// Runs `work` on each item with its number, on at most `threads` threads.
pub fn each<T: Send>(items: &mut [T], threads: usize, work: impl Fn(usize, &mut T) + Sync) {
    let threads = threads.min(items.len());
    if threads <= 1 {
        for (i, item) in items.iter_mut().enumerate() {
            work(i, item);
        }
        return;
    }
    let mut shares: Vec<Vec<(usize, &mut T)>> = (0..threads).map(|_| Vec::new()).collect();
    for (i, item) in items.iter_mut().enumerate() {
        shares[i % threads].push((i, item));
    }
    let mut mine = shares.pop().unwrap_or_default();
    std::thread::scope(|scope| {
        for share in shares {
            let work = &work;
            scope.spawn(move || {
                for (i, item) in share {
                    work(i, item);
                }
            });
        }
        for (i, item) in &mut mine {
            work(*i, item);
        }
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
        for threads in 1..5 {
            let mut items = vec![0; 11];
            each(&mut items, threads, |i, item| *item = i * i);
            assert_eq!(items, (0..11).map(|i| i * i).collect::<Vec<_>>());
        }
    }
}
