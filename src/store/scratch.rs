//! Folders for files of jobs on their way. Each has a lock that its process holds, so that another process of the same
//! data folder can find what a crash has left.

use crate::Result;
use std::fs::File;
use std::path::{Path, PathBuf};

const SCRATCH: &str = "scratch";

/// A folder that is removed when it is dropped; what a crash leaves is removed at the next start.
#[derive(Debug)]
pub struct ScratchFolder {
    folder: tempfile::TempDir,
    lock: PathBuf,
    _locked: File,
}

impl ScratchFolder {
    /// A new folder in a data folder.
    pub(super) fn new(data_dir: &Path) -> Result<Self> {
        let all = std::path::absolute(data_dir.join(SCRATCH))?;
        std::fs::create_dir_all(&all)?;
        let lock = all.join(format!("{}.lock", uuid::Uuid::now_v7().simple()));
        let locked = File::create(&lock)?;
        locked.lock()?;
        let name = lock.file_stem().unwrap_or_default();
        let folder = tempfile::Builder::new().prefix(name).rand_bytes(0).tempdir_in(&all)?;
        Ok(Self { folder, lock, _locked: locked })
    }

    /// Where it is, from the root.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // One that stays is removed at the next start.
        let _ = std::fs::remove_dir_all(self.folder.path());
        let _ = std::fs::remove_file(&self.lock);
    }
}

/// Removes the folders of processes that have ended.
pub(super) fn remove_abandoned(data_dir: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(data_dir.join(SCRATCH)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let lock = entry?.path();
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        // One that another process removes at this moment is gone; one that is held is in use.
        let Ok(file) = File::open(&lock) else { continue };
        if file.try_lock().is_ok() {
            let folder = lock.with_extension("");
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            std::fs::remove_file(&lock)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn folders_of_ended_processes_are_removed_and_those_in_use_stay() {
        let store = Store::open_temporary().await.unwrap();
        let (used, dropped) = (store.scratch_folder().unwrap(), store.scratch_folder().unwrap());
        let gone = dropped.path().to_owned();
        drop(dropped);
        let all = store.data_dir().join(SCRATCH);
        std::fs::create_dir(all.join("left")).unwrap();
        std::fs::write(all.join("left").join("checkpoint"), "x").unwrap();
        std::fs::write(all.join("left.lock"), "").unwrap();
        remove_abandoned(store.data_dir()).unwrap();
        assert!(
            used.path().is_dir() && !gone.exists() && !all.join("left").exists() && !all.join("left.lock").exists()
        );
        drop(used);
        assert_eq!(std::fs::read_dir(&all).unwrap().count(), 0);
    }
}
