//! A job's computation in a process of its own: started, followed, made to write checkpoints, stopped, and kept within its
//! memory. Whatever happens to that process, this one goes on.

use super::compute::{Computed, Given, Task};
use super::memory;
use super::messages::{CHECKPOINT, Failure, GIVEN, MADE, Message, Order, RESUME, Start, read, write};
use super::threads;
use crate::{Error, Kind, Result};
use kenyon_learn::learning::Monitor;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is seen whether the job should stop or save.
const TICK: Duration = Duration::from_millis(10);
/// How often the memory of the process is read.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// A process that got a request to stop and does not is ended after this, before its job counts as ended.
const PATIENCE: Duration = Duration::from_millis(250);
/// Lines of its standard error that are kept to find out why it ended.
const LAST_LINES: usize = 20;

/// Where and within what a computation runs.
pub(super) struct Place<'a> {
    /// The program, which has the command `job`.
    pub(super) program: &'a Path,
    /// A folder for files on their way.
    pub(super) scratch: &'a Path,
    /// Bytes of memory it may take.
    pub(super) memory: u64,
}

/// Computes `task` in a process of its own.
///
/// # Errors
/// What the computation ended with; `out_of_memory` where it took more memory than it may, or, of kind
/// [`Internal`](Kind::Internal), than there was; `killed` where its process ended otherwise.
pub(super) fn run(place: &Place<'_>, task: Task, given: Given, monitor: &dyn Monitor) -> Result<Computed> {
    let folder = place.scratch;
    let mut names = Vec::new();
    for (name, bytes) in &given.files {
        std::fs::write(folder.join(format!("{GIVEN}{name}")), bytes)?;
        names.push(name.clone());
    }
    if let Some(bytes) = &given.resume {
        std::fs::write(folder.join(RESUME), bytes)?;
    }
    let threads = task.threads;
    let start = Start { task, files: names, resume: given.resume.is_some() };
    drop(given);
    let mut process = Process::start(place.program, folder, threads)?;
    process.order(&Order::Start(Box::new(start)));
    let outcome = process.follow(place, monitor);
    process.end();
    let (computed, made) = outcome?;
    let mut computed = *computed;
    if let Computed::Model { files, .. } = &mut computed {
        for name in made {
            let bytes = std::fs::read(folder.join(format!("{MADE}{name}")))?;
            files.push((name, bytes));
        }
    }
    Ok(computed)
}

/// A running process; ended when dropped.
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    messages: Receiver<Message>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    /// Processes that the system had ended for lack of memory when this one began.
    ended_before: u64,
    /// When its stop was requested.
    stopping: Option<Instant>,
    /// Whether a checkpoint was requested that has not come yet.
    checkpoint_requested: bool,
    checked: Instant,
}

impl Process {
    fn start(program: &Path, folder: &Path, cores: usize) -> Result<Self> {
        let ended_before = memory::ended_by_system();
        let mut command = Command::new(program);
        threads::set(&mut command, cores);
        let mut child = command
            .arg("job")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal to the server's group, as from a terminal, is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(no_process)?;
        let missing = || Error::internal("a process without its pipes");
        let orders = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (sender, messages) = channel();
        std::thread::Builder::new().name("job-messages".into()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                let sent = match read(&line) {
                    Ok(message) => sender.send(message).is_ok(),
                    Err(error) => {
                        tracing::warn!(cause = ?error.cause, "a message of a job cannot be read");
                        true
                    }
                };
                if !sent {
                    break;
                }
            }
        })?;
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&last_lines);
        std::thread::Builder::new().name("job-log".into()).spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
                tracing::warn!(target: "kenyon::jobs", "a job's process: {line}");
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(line);
                if kept.len() > LAST_LINES {
                    kept.pop_front();
                }
            }
        })?;
        let checked = Instant::now();
        Ok(Self {
            child,
            orders,
            messages,
            last_lines,
            ended_before,
            stopping: None,
            checkpoint_requested: false,
            checked,
        })
    }

    /// A process that is gone shows in its output, which ends.
    fn order(&mut self, order: &Order) {
        if let Some(orders) = &mut self.orders {
            let _ = write(orders, order);
        }
    }

    fn follow(&mut self, place: &Place<'_>, monitor: &dyn Monitor) -> Result<(Box<Computed>, Vec<String>)> {
        loop {
            match self.messages.recv_timeout(TICK) {
                Ok(Message::Progress { progress, epoch_ended }) => monitor.progress(&progress, epoch_ended),
                Ok(Message::Log(line)) => monitor.log(&line),
                Ok(Message::Checkpoint { step }) => {
                    self.checkpoint_requested = false;
                    let saved = std::fs::read(place.scratch.join(CHECKPOINT))
                        .map_err(Error::from)
                        .and_then(|bytes| Ok(monitor.checkpoint(step, bytes)?));
                    self.order(&Order::Saved(saved.err().as_ref().map(Failure::from)));
                }
                Ok(Message::Ended { computed, files }) => return Ok((computed, files)),
                Ok(Message::Failed(failure)) => return Err(failure.into()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if self.stopping.is_some() => return Err(stopped()),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended_by_itself()),
            }
            self.watch(place.memory, monitor)?;
        }
    }

    fn watch(&mut self, limit: u64, monitor: &dyn Monitor) -> Result<()> {
        match self.stopping {
            Some(since) if since.elapsed() > PATIENCE => {
                return Err(stopped());
            }
            Some(_) => {}
            None if monitor.canceled() => {
                self.stopping = Some(Instant::now());
                self.order(&Order::Stop);
            }
            None if !self.checkpoint_requested && monitor.checkpoint_due(false) => {
                self.checkpoint_requested = true;
                self.order(&Order::Checkpoint);
            }
            None => {}
        }
        if self.checked.elapsed() >= CHECK_INTERVAL {
            self.checked = Instant::now();
            let taken = memory::of_process(self.child.id()).unwrap_or(0);
            if taken > limit {
                let detail = format!(
                    "the job took {} MiB of memory and may take {} MiB (--train-memory); use fewer rows, a smaller \
                     model, or allow more",
                    taken >> 20,
                    limit >> 20
                );
                return Err(Error::unprocessable("out_of_memory", detail));
            }
        }
        Ok(())
    }

    /// Why a process ended without a result.
    fn ended_by_itself(&mut self) -> Error {
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(error) => return error.into(),
        };
        let last_lines: Vec<String> = {
            let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.iter().cloned().collect()
        };
        tracing::warn!(%status, last = ?last_lines, "a job's process ended without a result");
        let by_system = status.signal() == Some(9) && memory::ended_by_system() > self.ended_before;
        why(status, by_system || last_lines.iter().any(|line| line.contains("memory allocation of")))
    }

    fn end(&mut self) {
        // Its standard input ends, which ends it; killing it does so at once.
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// What it lacks may be there again in a moment: descriptors, memory, processes.
fn no_process(cause: std::io::Error) -> Error {
    let detail = "the process that trains cannot be started";
    Error { cause: Some(cause.into()), ..Error::new(Kind::Unavailable, "process_unavailable", detail) }
}

fn stopped() -> Error {
    Error::new(Kind::Canceled, "canceled", "the job was canceled")
}

fn why(status: ExitStatus, memory: bool) -> Error {
    if memory {
        let detail =
            "the system had too little memory for the job; use fewer rows, a smaller model or a larger machine";
        return Error::new(Kind::Internal, "out_of_memory", detail);
    }
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("by signal {signal}"),
        (None, Some(code)) => format!("with code {code}"),
        (None, None) => "unexpectedly".to_owned(),
    };
    Error::new(Kind::Internal, "killed", format!("the process that ran the job ended {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_follows_from_the_status() {
        assert_eq!(why(ExitStatus::from_raw(9), true).code, "out_of_memory");
        let killed = why(ExitStatus::from_raw(9), false);
        assert_eq!(killed.code, "killed");
        assert!(killed.detail.ends_with("by signal 9"), "{killed}");
        assert!(why(ExitStatus::from_raw(101 << 8), false).detail.ends_with("with code 101"));
    }
}
