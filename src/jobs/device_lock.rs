//! One job a device at a time: a second one would get its turn mini-batch by mini-batch, and its memory not at all.

use crate::{Error, Kind, Result};
use kenyon_learn::device::DeviceName;
use kenyon_learn::learning::Monitor;
use std::fs::File;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often it is seen whether the job was canceled.
const TICK: Duration = Duration::from_millis(50);

/// A device that is this job's own until it is dropped. The lock is that of a file, which the system releases
/// whatever becomes of the process, and which all processes of the machine see.
pub(super) struct DeviceLock {
    _file: Option<File>,
}

impl DeviceLock {
    /// Waits for the device; the CPU is shared.
    ///
    /// # Errors
    /// The job is canceled meanwhile.
    pub(super) fn of(device: DeviceName, monitor: &dyn Monitor) -> Result<Self> {
        if device == DeviceName::Cpu || device.open().is_err() {
            return Ok(Self { _file: None });
        }
        let name = device.to_string().replace(':', "-");
        Self::of_file(std::env::temp_dir().join(format!("kenyon-{name}.lock")), device, monitor)
    }

    fn of_file(path: std::path::PathBuf, device: DeviceName, monitor: &dyn Monitor) -> Result<Self> {
        // One of another user cannot be opened: without it the device is shared.
        let Ok(file) = File::options().create(true).truncate(false).write(true).open(&path) else {
            monitor.log(&format!("{} cannot be opened: {device} may be shared", path.display()));
            return Ok(Self { _file: None });
        };
        if file.try_lock().is_ok() {
            return Ok(Self { _file: Some(file) });
        }
        monitor.log(&format!("waits for {device}"));
        let (sender, locked) = channel();
        std::thread::Builder::new().name("device-lock".into()).spawn(move || {
            let taken = file.lock().map(|()| file);
            let _ = sender.send(taken);
        })?;
        loop {
            match locked.recv_timeout(TICK) {
                Ok(file) => return Ok(Self { _file: Some(file?) }),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("a lock was lost")),
                Err(RecvTimeoutError::Timeout) if monitor.canceled() => {
                    return Err(Error::new(Kind::Canceled, "canceled", "the job was canceled"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kenyon_learn::learning::Progress;
    use kenyon_learn::learning::fit::Silent;

    /// A job that is canceled.
    struct Canceled;

    impl Monitor for Canceled {
        fn progress(&self, _progress: &Progress, _epoch_ended: bool) {}
        fn log(&self, _line: &str) {}
        fn canceled(&self) -> bool {
            true
        }
        fn checkpoint_due(&self, _epoch_ended: bool) -> bool {
            false
        }
        fn checkpoint(&self, _step: u64, _bytes: Vec<u8>) -> kenyon_learn::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_training_at_a_time_has_a_device_and_a_canceled_one_stops_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.lock");
        let take = |monitor: &dyn Monitor| DeviceLock::of_file(path.clone(), DeviceName::Cuda(0), monitor);
        let first = take(&Silent).unwrap();
        assert_eq!(take(&Canceled).err().map(|error| error.kind), Some(Kind::Canceled));
        let (sender, second) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(take(&Silent).is_ok()).unwrap());
            assert!(second.recv_timeout(4 * TICK).is_err(), "the device is taken");
            drop(first);
            assert!(second.recv().unwrap());
        });
    }

    #[test]
    fn the_cpu_is_shared() {
        assert!(DeviceLock::of(DeviceName::Cpu, &Canceled).is_ok());
    }
}
