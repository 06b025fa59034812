//! A folder as encoders are published: which of its files are read, how long they may be, and the digest of them.

use super::refused;
use crate::Result;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files of settings are a few kilobytes.
const MAX_SETTINGS: u64 = 1 << 20;
/// The tokenizer of 250,000 pieces takes 17 MB.
const MAX_TOKENIZER: u64 = 64 << 20;
/// Weights of at most this size are taken.
const MAX_WEIGHTS: u64 = 4 << 30;

/// The settings that are read, where a folder has them.
const SETTINGS: [&str; 5] =
    ["config.json", "modules.json", "preprocessor_config.json", "sentence_bert_config.json", "tokenizer_config.json"];

/// A folder with an encoder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The same with the files of one of its modules; the root itself where `module` is empty.
    pub(super) fn module(&self, module: &str) -> Result<Self> {
        let inside = Path::new(module);
        if inside.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(refused(format!("modules.json names the folder {module:?}")));
        }
        Ok(Self { root: self.root.join(inside) })
    }

    /// The same, where an empty name means the root.
    pub(super) fn module_or_root(&self, module: &str) -> Result<Self> {
        if module.is_empty() { Ok(self.clone()) } else { self.module(module) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.root.join(name).is_file()
    }

    /// A file of at most `limit` bytes.
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let file = File::open(self.root.join(name)).map_err(|_| refused(format!("{name} is missing")))?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(refused(format!("{name} is larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    pub(super) fn tokenizer(&self) -> Result<Vec<u8>> {
        self.read("tokenizer.json", MAX_TOKENIZER)
    }

    /// A file of settings.
    pub(super) fn settings<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let bytes = self.read(name, MAX_SETTINGS)?;
        serde_json::from_slice(&bytes).map_err(|e| refused(format!("{name} cannot be read: {e}")))
    }

    /// A file of settings that may be missing.
    pub(super) fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        if self.has(name) { self.settings(name).map(Some) } else { Ok(None) }
    }

    /// Its safetensors files, in order of their names.
    pub(super) fn weights(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut pickled = false;
        for entry in fs::read_dir(&self.root).map_err(|_| refused("the folder cannot be read"))? {
            let path = entry?.path();
            let ends = |end: &str| path.extension().is_some_and(|e| e == end);
            pickled |= ends("bin") || ends("pt") || ends("pth");
            if ends("safetensors") && path.is_file() {
                bytes += fs::metadata(&path)?.len();
                found.push(path);
            }
        }
        found.sort();
        match found.is_empty() {
            true if pickled => Err(refused("there are no safetensors files: pickled weights are never read")),
            true => Err(refused("there are no safetensors files")),
            false if bytes > MAX_WEIGHTS => Err(refused(format!("the weights are larger than {MAX_WEIGHTS} bytes"))),
            false => Ok(found),
        }
    }

    /// The text of the file `name`, its licence.
    pub(super) fn licence_text(&self, name: &str) -> Result<Vec<u8>> {
        self.read(name, MAX_SETTINGS)
    }

    /// The file of its licence, where it has one.
    pub(super) fn licence(&self) -> Option<String> {
        ["LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE"].into_iter().find(|name| self.has(name)).map(str::to_owned)
    }
}

/// The files of `root` that make the encoder, by their path inside it: settings, tokenizer, weights, licence, and the
/// same of the modules that `modules` names. Anything else of the folder is never read.
///
/// # Errors
/// A folder without weights or with a module outside it.
pub(super) fn files(root: &Path, modules: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for module in std::iter::once("").chain(modules.iter().map(String::as_str).filter(|module| !module.is_empty())) {
        let folder = Folder::at(root).module_or_root(module)?;
        let inside = |name: &str| if module.is_empty() { name.to_owned() } else { format!("{module}/{name}") };
        let named = SETTINGS.into_iter().chain(["tokenizer.json"]);
        found.extend(named.filter(|name| folder.has(name)).map(inside));
        found.extend(folder.licence().as_deref().map(inside));
        let weights = folder.weights().unwrap_or_default();
        let names = weights.iter().filter_map(|path| path.file_name()?.to_str());
        found.extend(names.map(inside));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// SHA-256 over the names, lengths and contents of `files`, hexadecimal.
pub(super) fn digest(root: &Path, files: &[String]) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    for name in files {
        let mut file = File::open(root.join(name))?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(file.metadata()?.len().to_le_bytes());
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
