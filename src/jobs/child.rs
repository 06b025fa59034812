//! The process that trains. It reads what to do from its standard input, reports on its standard output, and ends
//! when its standard input does: nothing is left over of a server that was killed.

use super::compute::{Computed, Given, Task};
use super::messages::{CHECKPOINT, Failure, GIVEN, MADE, Message, Order, RESUME, Start, read, write};
use super::worker::{STACK, panicked};
use crate::{Error, Kind, Result};
use kenyon_learn::data::vectors;
use kenyon_learn::encoders::{self, VectorFiles};
use kenyon_learn::learning::{Monitor, Progress};
use std::io::{BufRead, Stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Minimum time between two messages of progress, in milliseconds.
const GRAIN_MS: u64 = 50;
/// How much lower its priority is than the server's: a request that comes while it trains is answered first.
pub(super) const NICE: i32 = 10;

/// Computes the task on the standard input, in the current folder.
pub fn main() -> ExitCode {
    yield_to_others();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kenyon: {error} {:?}", error.cause);
            ExitCode::FAILURE
        }
    }
}

/// Lets the system end this process before any other, and run any other before it.
fn yield_to_others() {
    // Where this is not allowed, or not Linux, training works all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::nice(NICE);
}

fn run() -> Result<()> {
    // A signal to a whole group of processes is meant for the server, which requests a checkpoint first.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _signals = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(|kind| signal(kind).ok())
    });
    let mut lines = std::io::stdin().lock().lines();
    let first = lines.next().ok_or_else(|| Error::internal("nothing to do"))??;
    let Order::Start(start) = read(&first)? else { return Err(Error::internal("what to do is to come first")) };
    drop(lines);
    let (saved, results) = channel();
    let line = Arc::new(Line::new(results));
    let listening = Arc::clone(&line);
    std::thread::Builder::new().name("orders".into()).spawn(move || listen(&listening, &saved))?;
    let work = std::thread::Builder::new().name("work".into()).stack_size(STACK);
    let ended = work.spawn({
        let line = Arc::clone(&line);
        move || {
            let body = AssertUnwindSafe(|| compute(*start, &line));
            catch_unwind(body).unwrap_or_else(|panic| Err(panicked(&*panic)))
        }
    })?;
    let outcome = ended.join().map_err(|_| Error::internal("the thread that computes panicked"))?;
    line.send(&match outcome {
        Ok((computed, files)) => Message::Ended { computed: Box::new(computed), files },
        Err(error) => Message::Failed(Failure::from(&error)),
    });
    Ok(())
}

/// Follows orders until the standard input ends, and this process with it.
fn listen(line: &Line, saved: &Sender<Option<Failure>>) {
    for order in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        match read(&order) {
            Ok(Order::Checkpoint) => line.due.store(true, Ordering::Release),
            Ok(Order::Stop) => line.stop.store(true, Ordering::Release),
            Ok(Order::Saved(failure)) => drop(saved.send(failure)),
            Ok(Order::Start(_)) | Err(_) => break,
        }
    }
    std::process::exit(2);
}

fn compute(start: Start, line: &Line) -> Result<(Computed, Vec<String>)> {
    let Start { task, files, resume } = start;
    provide_encoders(&task);
    let folder = PathBuf::from(".");
    let get = |name: String| -> Result<(String, bytes::Bytes)> {
        let bytes = std::fs::read(folder.join(format!("{GIVEN}{name}")))?.into();
        Ok((name, bytes))
    };
    let files = files.into_iter().map(get).collect::<Result<_>>()?;
    let resume = if resume { Some(std::fs::read(folder.join(RESUME))?.into()) } else { None };
    let mut computed = task.run(&Given { resume, files }, line)?;
    let mut made = Vec::new();
    if let Computed::Model { files, .. } = &mut computed {
        for (name, bytes) in std::mem::take(files) {
            std::fs::write(folder.join(format!("{MADE}{name}")), bytes)?;
            made.push(name);
        }
    }
    Ok((computed, made))
}

fn provide_encoders(task: &Task) {
    let (folders, place, scratch) = (task.encoders.clone(), (task.threads, task.device), task.scratch.clone());
    vectors::provide(move |digest| {
        let Some(found) = folders.iter().find(|folder| folder.digest == digest) else { return Ok(None) };
        let files = VectorFiles { known: found.vectors.clone(), fresh: found.fresh_vectors(&scratch) };
        Ok(Some(encoders::open_with(digest, &found.folder, place, &files)?))
    });
}

/// The line to the supervisor, as the monitor of the training.
struct Line {
    out: Mutex<Stdout>,
    started: Instant,
    sent_ms: AtomicU64,
    due: AtomicBool,
    stop: AtomicBool,
    saved: Mutex<Receiver<Option<Failure>>>,
}

impl Line {
    fn new(saved: Receiver<Option<Failure>>) -> Self {
        Self {
            out: Mutex::new(std::io::stdout()),
            started: Instant::now(),
            sent_ms: AtomicU64::new(0),
            due: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            saved: Mutex::new(saved),
        }
    }

    /// Without a supervisor there is nothing to do.
    fn send(&self, message: &Message) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if write(&mut *out, message).is_err() {
            std::process::exit(2);
        }
    }
}

impl Monitor for Line {
    fn progress(&self, progress: &Progress, epoch_ended: bool) {
        let now = self.started.elapsed().as_millis() as u64;
        if !epoch_ended && now < self.sent_ms.load(Ordering::Relaxed) + GRAIN_MS {
            return;
        }
        self.sent_ms.store(now, Ordering::Relaxed);
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        let progress = Progress {
            fraction: finite(progress.fraction),
            rows_per_second: finite(progress.rows_per_second),
            eta_seconds: finite(progress.eta_seconds),
            ..progress.clone()
        };
        self.send(&Message::Progress { progress, epoch_ended });
    }

    fn log(&self, line: &str) {
        self.send(&Message::Log(line.to_owned()));
    }

    fn canceled(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
        self.due.load(Ordering::Acquire)
    }

    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        std::fs::write(Path::new(CHECKPOINT), bytes)?;
        self.due.store(false, Ordering::Release);
        self.send(&Message::Checkpoint { step });
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        // The channel closes with the standard input, and the process then ends.
        let failure = saved.recv().unwrap_or(None);
        match failure.map(Error::from) {
            None => Ok(()),
            Some(error) if error.kind == Kind::Canceled => {
                Err(kenyon_learn::Error::new(kenyon_learn::Kind::Canceled, error.code, error.detail))
            }
            Some(error) => Err(error.into()),
        }
    }
}
