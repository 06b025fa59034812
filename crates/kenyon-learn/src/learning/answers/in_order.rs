//! Work on several threads whose results come in the order of the tasks, with a bounded number of both in memory.

use crate::{Error, Result};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Does `work` on each task that `read` passes on, and gives the results to `take` on this thread, until it returns false.
pub(super) fn in_order<T: Send, R: Send>(
    threads: usize,
    read: impl FnOnce(&mut dyn FnMut(T) -> Result<bool>) -> Result<()> + Send,
    work: impl Fn(T) -> Result<R> + Sync,
    take: &mut dyn FnMut(R) -> Result<bool>,
) -> Result<()> {
    if threads <= 1 {
        return read(&mut |task| take(work(task)?));
    }
    let work = &work;
    std::thread::scope(|scope| {
        let (tasks, waiting) = sync_channel::<(T, SyncSender<Result<R>>)>(threads);
        let (order, results) = sync_channel::<Receiver<Result<R>>>(2 * threads);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            scope.spawn(move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((task, reply)) = next else { return };
                    // Nobody waits for it where taking has ended.
                    let _ = reply.send(work(task));
                }
            });
        }
        drop(waiting);
        let reader = scope.spawn(move || {
            read(&mut |task| {
                let (reply, result) = sync_channel(1);
                Ok(order.send(result).is_ok() && tasks.send((task, reply)).is_ok())
            })
        });
        let mut going = Ok(true);
        for result in &results {
            let result = result.recv().unwrap_or_else(|_| Err(Error::internal("a thread ended without its result")));
            going = result.and_then(&mut *take);
            if !matches!(going, Ok(true)) {
                break;
            }
        }
        // The reader finds out when it passes on the next task.
        drop(results);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        going.and(read)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of the tasks 0, 1, … 99, taken up to `most` results; task `wrong` fails.
    fn results(threads: usize, most: usize, wrong: Option<u64>) -> (Vec<u64>, Result<()>) {
        let read = |pass: &mut dyn FnMut(u64) -> Result<bool>| {
            for task in 0..100 {
                if !pass(task)? {
                    return Ok(());
                }
            }
            Err(Error::malformed("the_end", "the file is damaged at its end"))
        };
        let work = |task: u64| {
            // Later tasks are done sooner.
            let rounds = (100 - task) * 200;
            let sum = (0..rounds).fold(0u64, |sum, i| std::hint::black_box(sum ^ i));
            match wrong == Some(task) {
                true => Err(Error::unprocessable("wrong", "this task fails")),
                false => Ok(task + sum - sum),
            }
        };
        let mut found = Vec::new();
        let outcome = in_order(threads, read, work, &mut |result| {
            found.push(result);
            Ok(found.len() < most)
        });
        (found, outcome)
    }

    #[test]
    fn results_come_in_order_and_end_where_they_should() {
        for threads in [1, 2, 5] {
            let (found, outcome) = results(threads, 1000, None);
            assert!(found.iter().copied().eq(0..100), "{threads}: {found:?}");
            assert_eq!(outcome.unwrap_err().code, "the_end");
            let (found, outcome) = results(threads, 7, None);
            assert!(found.iter().copied().eq(0..7) && outcome.is_ok(), "{threads}: {found:?}");
            let (found, outcome) = results(threads, 1000, Some(40));
            assert!(found.iter().copied().eq(0..40), "{threads}: {found:?}");
            assert_eq!(outcome.unwrap_err().code, "wrong");
        }
    }
}
