//! One scan of the folder of a local object store: removes what a crash left half written, and lists the rest.
//!
//! With ten thousand models a second scan, or a system call for each file, is most of a start.

use std::fs::DirEntry;
use std::path::Path;

/// Age from which a half-written file is no upload that another process is making.
const OLD_SECONDS: u64 = 24 * 3600;

/// What is in the folder, as keys.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Objects.
    pub(super) files: Vec<String>,
    /// Folders that have no other folder in them, with files or without.
    pub(super) folders: Vec<String>,
}

impl Walk {
    /// Walks over `root`. `alone` is true where no other process writes there, so that every half-written file is garbage.
    pub(super) fn over(root: &Path, alone: bool) -> Self {
        let mut walk = Self::default();
        walk.visit(root, "", alone);
        walk
    }

    fn visit(&mut self, folder: &Path, key: &str, alone: bool) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut innermost = !key.is_empty();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if is_folder(&entry) {
                innermost = false;
                self.visit(&entry.path(), &below(key, &name), alone);
            } else if !name.contains('#') {
                self.files.push(below(key, &name));
            } else if alone || is_old(&entry) {
                // Interrupted uploads are files named `…#n`; they are never finished.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        if innermost {
            self.folders.push(key.to_owned());
        }
    }

    /// The objects below a folder.
    pub(super) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a String> {
        self.files.iter().filter(move |key| key.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    }
}

fn below(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}/{name}") }
}

fn is_folder(entry: &DirEntry) -> bool {
    // The list of a folder has the kind of each entry, so that most need no system call of their own.
    entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink() && entry.path().is_dir())
}

fn is_old(entry: &DirEntry) -> bool {
    let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age.as_secs() > OLD_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_files_go_and_the_rest_is_listed() {
        let root = tempfile::tempdir().unwrap();
        let make = |key: &str| {
            let path = root.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        ["models/m/1/weights", "models/m/2/weights#3", "modelsets/x", "datasets/d"].into_iter().for_each(make);
        let of_others = Walk::over(root.path(), false);
        assert!(root.path().join("models/m/2/weights#3").exists(), "another process may be writing it");
        let mut walk = Walk::over(root.path(), true);
        assert!(!root.path().join("models/m/2/weights#3").exists());
        assert_eq!(walk.below("models").collect::<Vec<_>>(), ["models/m/1/weights"]);
        walk.files.sort();
        walk.folders.sort();
        assert_eq!(walk.files, ["datasets/d", "models/m/1/weights", "modelsets/x"]);
        assert_eq!(walk.folders, ["datasets", "models/m/1", "models/m/2", "modelsets"]);
        assert_eq!(of_others.files.len(), walk.files.len());
    }
}
