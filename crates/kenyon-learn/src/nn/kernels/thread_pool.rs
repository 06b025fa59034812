//! A few threads that exist as long as a training and share each phase of a step. For work of milliseconds see
//! [`super::parallel`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Iterations of a waiting loop before a thread blocks: about 50 µs, longer than the caller takes
/// between two phases, short enough that an idle training leaves the processor to others.
const SPINS: u32 = 4_000;

type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// Threads that run the same job side by side. The caller is one of them.
///
/// No job queue: a phase gives each thread its own fixed part, so what a thread computes, and in
/// which order, does not depend on timing.
#[derive(Debug)]
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

struct Shared {
    /// Raised once a job; helpers wait for it to change.
    generation: AtomicU64,
    /// The job of this generation. Written only while no helper is working.
    job: Mutex<Option<&'static Job<'static>>>,
    /// Helpers that have not finished this generation.
    working: AtomicUsize,
    ending: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// How many helpers are blocked; waking costs a system call, so it is done only when needed.
    blocked: Mutex<usize>,
    wake: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ThreadPool {
    /// A pool of `threads` threads in all, the caller among them.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            job: Mutex::new(None),
            working: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            panic: Mutex::new(None),
            blocked: Mutex::new(0),
            wake: Condvar::new(),
        });
        // Without a thread that cannot be created the others do its part: parts follow from how many there are.
        let helpers = (1..threads.max(1))
            .map_while(|id| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(format!("kenyon-kernel-{id}")).spawn(move || shared.serve(id)).ok()
            })
            .collect();
        Self { shared, helpers, turn: Mutex::new(()) }
    }

    /// How many threads it has, the caller among them.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `work(index, item)` for every item. Items are dealt to the threads in contiguous parts of
    /// about equal weight. Returns when all are done; a panic of any of them is raised again here.
    pub(crate) fn each<T: Send>(
        &self,
        items: &mut [T],
        weight: impl Fn(&T) -> usize,
        work: impl Fn(usize, &mut T) + Sync,
    ) {
        if self.helpers.is_empty() || items.len() < 2 {
            items.iter_mut().enumerate().for_each(|(i, item)| work(i, item));
            return;
        }
        let threads = self.threads();
        let total = items.iter().map(&weight).sum::<usize>().max(1);
        let mut parts: Vec<Mutex<(usize, &mut [T])>> = Vec::with_capacity(threads);
        let (mut rest, mut first, mut passed) = (items, 0, 0);
        for thread in 0..threads {
            let mut take = 0;
            while take < rest.len()
                && (thread + 1 == threads || (passed + weight(&rest[take]) / 2) * threads < total * (thread + 1))
            {
                passed += weight(&rest[take]);
                take += 1;
            }
            let (part, left) = rest.split_at_mut(take);
            parts.push(Mutex::new((first, part)));
            (rest, first) = (left, first + take);
        }
        self.run(&|thread| {
            let mut part = lock(&parts[thread]);
            let first = part.0;
            for (i, item) in part.1.iter_mut().enumerate() {
                work(first + i, item);
            }
        });
    }

    /// Runs `job(thread)` once on every thread and returns when all are done.
    fn run(&self, job: &Job<'_>) {
        let _turn = lock(&self.turn);
        // SAFETY: only the lifetime is changed. Helpers use the reference between the rise of
        // `generation` below and their decrement of `working`; this function does not return, nor
        // unwind (the caller's own panic is held back), before `working` is 0 again and the
        // reference is taken out, so it is never used after `job` ends.
        let forever = unsafe { std::mem::transmute::<&Job, &'static Job<'static>>(job) };
        *lock(&self.shared.job) = Some(forever);
        self.shared.working.store(self.helpers.len(), Ordering::Release);
        self.shared.next_generation();
        let mine = catch_unwind(AssertUnwindSafe(|| job(0)));
        let mut turns = 0;
        while self.shared.working.load(Ordering::Acquire) > 0 {
            turns += 1;
            if turns < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        *lock(&self.shared.job) = None;
        let theirs = lock(&self.shared.panic).take();
        if let Some(panic) = mine.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    /// Starts the helpers on the current job.
    fn next_generation(&self) {
        // Under this lock, so that no helper decides to block between its check and the increment.
        let blocked = lock(&self.blocked);
        self.generation.fetch_add(1, Ordering::Release);
        if *blocked > 0 {
            self.wake.notify_all();
        }
    }

    /// A helper's loop: wait for a job, run it, report.
    fn serve(&self, id: usize) {
        let mut seen = 0;
        loop {
            let mut turns = 0;
            while self.generation.load(Ordering::Acquire) == seen {
                turns += 1;
                if turns < SPINS {
                    std::hint::spin_loop();
                    continue;
                }
                let mut blocked = lock(&self.blocked);
                *blocked += 1;
                while self.generation.load(Ordering::Acquire) == seen {
                    blocked = self.wake.wait(blocked).unwrap_or_else(PoisonError::into_inner);
                }
                *blocked -= 1;
            }
            seen = self.generation.load(Ordering::Acquire);
            if self.ending.load(Ordering::Acquire) {
                return;
            }
            let job = *lock(&self.job);
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(id)))
            {
                *lock(&self.panic) = Some(panic);
            }
            self.working.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        self.shared.next_generation();
        for helper in self.helpers.drain(..) {
            // A helper only ends by returning: its jobs' panics are caught.
            let _ = helper.join();
        }
    }
}
