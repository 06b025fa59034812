//! How many threads candle's operations share. It reads that from the environment of its process alone.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How many threads share an operation of candle on numbers one by one. They meet at a barrier without blocking, so that beside other
/// work a training waits most of its time for a thread that is not running; our own operations share their work otherwise.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// How many threads share a matrix product. Where it is missing candle reads `/proc/cpuinfo` at each product.
const RAYON_THREADS: &str = "RAYON_NUM_THREADS";

/// The variables that `known` lacks, for a process that computes with some threads.
fn missing(threads: usize, known: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, String)> {
    let wanted = [(CANDLE_THREADS, 1), (RAYON_THREADS, threads)];
    wanted.into_iter().filter(|(name, _)| known(name).is_none()).map(|(name, n)| (name, n.to_string())).collect()
}

/// Lets a process that is about to start compute with some threads, unless the environment sets it.
pub(super) fn set(command: &mut Command, threads: usize) {
    command.envs(missing(threads, |name| std::env::var_os(name)));
}

/// Starts this program anew, in this process, where the environment does not set how many threads candle has: a variable that is
/// set later may not reach it. Must be called before other threads begin. Returns where there is nothing to do, and where the
/// program cannot be started again: then it is only slower.
pub fn restart_with(threads: usize) {
    let missing = missing(threads, |name| std::env::var_os(name));
    if let (false, Ok(program)) = (missing.is_empty(), std::env::current_exe()) {
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        let error = command.args(arguments).envs(missing).exec();
        tracing::debug!(%error, "the program was not started again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stays() {
        let none = |_: &str| None;
        assert_eq!(missing(3, none), [(CANDLE_THREADS, "1".to_owned()), (RAYON_THREADS, "3".to_owned())]);
        let one = |name: &str| (name == CANDLE_THREADS).then(|| OsString::from("8"));
        assert_eq!(missing(3, one), [(RAYON_THREADS, "3".to_owned())]);
        assert!(missing(3, |_| Some(OsString::new())).is_empty());
    }
}
