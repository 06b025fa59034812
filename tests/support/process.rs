//! The built program as a process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `kenyon`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Its HTTP address; empty for a worker.
    pub(crate) url: String,
    /// Its gRPC address, if any.
    pub(crate) grpc: Option<String>,
    log: Arc<Mutex<String>>,
}

/// The program under test: the one that cargo built, or the one in `KENYON_TEST_BINARY`.
pub(crate) fn binary() -> PathBuf {
    match std::env::var("KENYON_TEST_BINARY") {
        Ok(path) if path.contains('/') => path.into(),
        _ => env!("CARGO_BIN_EXE_kenyon").into(),
    }
}

/// `kenyon COMMAND` on free ports, without the settings of the environment.
pub(crate) fn kenyon(command: &str) -> Command {
    let mut program = Command::new(binary());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KENYON_")) {
        program.env_remove(name);
    }
    program.arg(command).current_dir(std::env::temp_dir());
    // A flag of a test's own goes before the environment.
    program.env("KENYON_GRPC_LISTEN", "off").args(["--log-format", "json"]);
    program
}

impl Process {
    /// Starts it and waits until it reports that it serves, or works.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        Self::start_at(command, 0)
    }

    /// The same on a port of one's choice; 0 is any that is free.
    pub(crate) fn start_at(command: &mut Command, port: u16) -> Result<Self, String> {
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("kenyon serves") || line.contains("kenyon works") {
                    let _ = sender.send(line.clone());
                }
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Self { child, url: address(&line), grpc: grpc_address(&line), log }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                // Its last output may still be in the pipe.
                let _ = reader.join();
                Err(log.lock().unwrap().clone())
            }
        }
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; whether it ended successfully. A process that does not end is killed after a minute.
    pub(crate) fn stop(&mut self) -> bool {
        self.signal("TERM");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        false
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
    }

    /// Whether it still runs.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A figure of `/proc/PID/status`, in KiB, such as `VmRSS`.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).map_or(0, Iterator::count)
    }

    /// Seconds of processor time so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default().to_owned();
        let ticks = |at: usize| after.split_whitespace().nth(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `http://…` in a log line.
fn address(line: &str) -> String {
    let Some(at) = line.find("http") else { return String::new() };
    line[at..].chars().take_while(|c| !matches!(c, '"' | ' ')).collect()
}

/// The field `grpc` of a log line, as a URL.
fn grpc_address(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let found = line.get("grpc").or_else(|| line.get("fields")?.get("grpc"))?;
    Some(format!("http://{}", found.as_str()?))
}
