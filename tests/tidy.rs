//! The house rules that a compiler does not check: imports go down only, each third-party interface
//! lives in one room, files stay readable, nothing is left half done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor each room stands on. A room may use rooms on lower floors, and those named in
/// [`NEIGHBOURS`] on its own.
const FLOORS: [(&str, u32); 15] = [
    ("main", 6),
    ("cli", 6),
    ("app", 6),
    ("http", 5),
    ("oip", 5),
    ("jobs", 4),
    ("serving", 4),
    ("learning", 3),
    ("models", 2),
    ("nn", 1),
    ("data", 1),
    ("store", 1),
    ("config", 0),
    ("error", 0),
    ("telemetry", 0),
];

/// Rooms of one floor that may use each other; ARCHITECTURE.md says why.
const NEIGHBOURS: [(&str, &str); 7] = [
    ("main", "cli"),
    ("cli", "app"),
    ("nn", "data"),
    ("http", "oip"),
    ("oip", "http"),
    ("telemetry", "config"),
    ("config", "error"),
];

/// Crates, and the rooms they may be named in.
const ROOMS_OF_CRATES: [(&str, &[&str]); 5] = [
    ("sqlx", &["store"]),
    ("tonic", &["oip"]),
    ("axum", &["http", "oip", "app"]),
    ("object_store", &["store"]),
    ("clap", &["cli", "config"]),
];

/// Lines a source file may have; half of it is the aim.
const LONGEST: usize = 800;

fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = [root.join("src"), root.join("crates/kenyon-learn/src")];
    let mut found = BTreeMap::new();
    for root in roots {
        below(&root, &mut found);
    }
    assert!(found.len() > 20, "the source was not found");
    found
}

/// The source files below `root`, by their path from there.
fn below(root: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the source") {
            let path = entry.expect("an entry of the source").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.insert(path.strip_prefix(root).expect("below the root").to_owned(), text);
            }
        }
    }
}

/// The room a file belongs to: its first folder, or its own name.
fn room(path: &Path) -> String {
    let first = path.iter().next().expect("a name").to_string_lossy().into_owned();
    first.strip_suffix(".rs").map_or(first.clone(), str::to_owned)
}

/// The lines that are code, without tests and comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Identifiers that follow `prefix` in a line.
fn after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    line.match_indices(prefix).map(move |(at, _)| {
        line[at + prefix.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    })
}

#[test]
fn imports_go_down_only() {
    let floors: BTreeMap<&str, u32> = FLOORS.into_iter().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let from = room(&path);
        let Some(&floor) = floors.get(from.as_str()) else { continue };
        for (number, line) in code(&text) {
            for to in after(line, "crate::") {
                let Some(&other) = floors.get(to.as_str()) else { continue };
                let allowed = to == from || other < floor || NEIGHBOURS.contains(&(from.as_str(), to.as_str()));
                if !allowed {
                    wrong.push(format!("{}:{}: {from} uses {to}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn third_party_interfaces_live_in_one_room() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let here = room(&path);
        for (name, rooms) in ROOMS_OF_CRATES {
            let named = |line: &str| line.contains(&format!("{name}::")) && !line.contains(&format!("_{name}::"));
            if !rooms.contains(&here.as_str())
                && let Some((number, _)) = code(&text).find(|(_, line)| named(line))
            {
                wrong.push(format!("{}:{}: {name} belongs to {rooms:?}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "crates outside their room:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_in_the_kernels_only_and_each_block_has_its_proof() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            if trimmed.starts_with("//") || !(line.contains("unsafe {") || trimmed.starts_with("unsafe impl")) {
                continue;
            }
            let above = &lines[number.saturating_sub(8)..number];
            let proven = above.iter().any(|l| l.contains("SAFETY"));
            if !path.starts_with("nn/kernels") || !proven {
                wrong.push(format!("{}:{}: {trimmed}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe code without a room or a proof:\n{}", wrong.join("\n"));
}

#[test]
fn files_can_be_read_in_a_sitting() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LONGEST)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

#[test]
fn every_file_says_what_lives_there() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| !text.starts_with("//!") && !path.to_string_lossy().contains("tests"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "files without a first sentence:\n{}", silent.join("\n"));
}

#[test]
fn nothing_is_left_half_done() {
    let marks = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "dbg!("];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "left-over marks:\n{}", wrong.join("\n"));
}
