//! The rules that a compiler does not check: imports go down only and have no cycles, each third-party
//! interface is in one module, files stay short, nothing is left unfinished.

mod dependencies;
mod source;

use source::{File, named, sources, uses};
use std::collections::{BTreeMap, BTreeSet};

/// The layer of each module. A module may use those on lower layers, and those named in [`NEIGHBOURS`].
const LAYERS: [(&str, u32); 23] = [
    ("kenyon::main", 9),
    ("kenyon::cli", 8),
    ("kenyon::app", 7),
    ("kenyon::http", 6),
    ("kenyon::oip", 6),
    ("kenyon::jobs", 5),
    ("kenyon::serving", 5),
    ("kenyon::store", 4),
    ("kenyon::telemetry", 3),
    ("kenyon::config", 3),
    ("kenyon::error", 2),
    ("kenyon::sync", 2),
    ("kenyon_learn", 1),
    ("kenyon_learn::learning", 1),
    ("kenyon_learn::encoders", 1),
    ("kenyon_learn::models", 0),
    ("kenyon_learn::nn", 0),
    ("kenyon_learn::data", 0),
    ("kenyon_learn::device", 0),
    ("kenyon_learn::onnx", 0),
    ("kenyon_learn::random", 0),
    ("kenyon_learn::error", 0),
    ("kenyon", 2),
];

/// Modules of one layer that may use each other, in this direction; ARCHITECTURE.md has the reasons.
const NEIGHBOURS: [(&str, &str); 14] = [
    ("kenyon::oip", "kenyon::http"),
    ("kenyon::telemetry", "kenyon::config"),
    ("kenyon_learn::models", "kenyon_learn::nn"),
    ("kenyon_learn::models", "kenyon_learn::data"),
    ("kenyon_learn::models", "kenyon_learn::onnx"),
    ("kenyon_learn::models", "kenyon_learn::random"),
    ("kenyon_learn::models", "kenyon_learn::error"),
    ("kenyon_learn::nn", "kenyon_learn::data"),
    ("kenyon_learn::nn", "kenyon_learn::random"),
    ("kenyon_learn::nn", "kenyon_learn::error"),
    ("kenyon_learn::data", "kenyon_learn::onnx"),
    ("kenyon_learn::data", "kenyon_learn::random"),
    ("kenyon_learn::data", "kenyon_learn::error"),
    ("kenyon::error", "kenyon_learn"),
];

/// Crates, and the modules they may be named in.
const MODULES_OF_CRATES: [(&str, &[&str]); 9] = [
    ("sqlx", &["kenyon::store"]),
    ("tonic", &["kenyon::oip"]),
    ("rmcp", &["kenyon::http"]),
    ("axum", &["kenyon::http", "kenyon::oip", "kenyon::app"]),
    ("object_store", &["kenyon::store"]),
    ("clap", &["kenyon::cli", "kenyon::config"]),
    (
        "candle_core",
        &[
            "kenyon_learn::nn",
            "kenyon_learn::models",
            "kenyon_learn::encoders",
            "kenyon_learn::learning",
            "kenyon_learn::device",
            "kenyon_learn::error",
        ],
    ),
    ("candle_nn", &["kenyon_learn::models", "kenyon_learn::encoders"]),
    ("parquet", &["kenyon_learn::data"]),
];

/// Lines a source file may have; half of it is the target.
const LONGEST: usize = 800;

/// The module of [`LAYERS`] that a path belongs to, and its layer.
fn layer(path: &[String]) -> Option<(&'static str, u32)> {
    // `crate::Error`: the crate root, not one of its modules.
    let depth = if path.get(1).is_some_and(|item| item.starts_with(char::is_uppercase)) { 1 } else { 2 };
    (1..=depth).rev().find_map(|n| {
        let name = path.get(..n)?.join("::");
        LAYERS.iter().find(|(known, _)| *known == name).copied()
    })
}

/// Imports that go up or sideways.
fn wrong_imports(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let Some((from, own)) = layer(&file.module) else {
            wrong.push(format!("{}: a module without a layer", file.path));
            continue;
        };
        for name in named(file, &file.code()) {
            let Some((to, other)) = layer(&name.path) else { continue };
            // The crate root exports its errors and results to all modules.
            let front = ["kenyon", "kenyon_learn"].contains(&to);
            let allowed = to == from || other < own || front || NEIGHBOURS.contains(&(from, to));
            if !allowed {
                wrong.push(format!("{}:{}: {from} uses {}", file.path, name.line, name.path.join("::")));
            }
        }
    }
    wrong
}

/// The cycles of files that use each other, each as its files.
fn cycles(files: &[File]) -> Vec<String> {
    let edges = uses(files);
    let mut next: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        next.entry(*from).or_default().insert(*to);
    }
    let reach = |start: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(at) = open.pop() {
            open.extend(next.get(&at).into_iter().flatten().filter(|to| seen.insert(**to)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(reach).collect();
    let mut found = BTreeSet::new();
    for from in 0..files.len() {
        let cycle: Vec<usize> = reached[from].iter().copied().filter(|to| reached[*to].contains(&from)).collect();
        if cycle.len() > 1 {
            found.insert(cycle);
        }
    }
    let shown = |cycle: &Vec<usize>| {
        let ties = edges.iter().filter(|((a, b), _)| cycle.contains(a) && cycle.contains(b));
        let ties: Vec<String> = ties
            .map(|((a, b), (name, line))| format!("  {}:{line} -> {} ({name})", files[*a].path, files[*b].path))
            .collect();
        ties.join("\n")
    };
    found.iter().map(shown).collect()
}

#[test]
fn imports_go_down_only() {
    let wrong = wrong_imports(&sources());
    assert!(wrong.is_empty(), "imports that go up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn files_do_not_use_each_other_in_cycles() {
    let cycles = cycles(&sources());
    assert!(cycles.is_empty(), "cycles of imports:\n{}", cycles.join("\n\n"));
}

#[test]
fn a_cycle_through_names_that_are_exported_again_is_found() {
    let file = |module: &str, text: &str| File {
        path: format!("{module}.rs"),
        module: module.split("::").map(str::to_owned).collect(),
        text: text.to_owned(),
    };
    let families = |exported: &str| {
        vec![
            file("kenyon", "pub mod models;"),
            file("kenyon::models", &format!("mod list;\nmod net;\n{exported}\nuse serde;")),
            file("kenyon::models::list", "use super::{net::Net as Network};\nuse crate::models::net;"),
            file("kenyon::models::net", "use super::{Task, Family as Kind};\nstruct Net;"),
        ]
    };
    for exported in [
        "pub use list::Family;",
        "pub(crate) use self::list::{Of as Family};",
        "use crate::models::list::{self, Family};",
    ] {
        let cycles = cycles(&families(exported));
        assert!(
            cycles.len() == 1 && cycles[0].contains("net.rs:1 -> kenyon::models::list.rs"),
            "{exported}: {cycles:?}"
        );
    }
    // Declared in the module itself, or in a file that uses neither.
    for exported in ["pub struct Family;", "pub use crate::task::Family;"] {
        assert_eq!(cycles(&families(exported)), Vec::<String>::new(), "{exported}");
    }
}

#[test]
fn a_forbidden_import_in_any_file_is_found() {
    let files = sources();
    assert!(files.len() > 200);
    for index in 0..files.len() {
        let (from, own) = layer(&files[index].module).expect("a layer");
        // Something above it, and in a test module at the end of the file, inside a group: the whole file is read.
        let up = LAYERS.iter().find(|(name, layer)| *layer > own && name.contains("::") && *name != from);
        let Some((up, _)) = up else { continue };
        let (of, module) = up.split_once("::").expect("a module of a crate");
        let mut changed = files[index].clone();
        changed
            .text
            .push_str(&format!("\n#[cfg(test)]\nmod late {{\n    use {of}::{{Error, {module}::{{a::B, C}}}};\n}}\n"));
        let wrong = wrong_imports(std::slice::from_ref(&changed));
        assert!(!wrong.is_empty(), "{}: {from} may not use {up}", changed.path);
    }
}

#[test]
fn third_party_interfaces_are_in_one_module() {
    let mut wrong = Vec::new();
    for file in sources() {
        let here = layer(&file.module).map_or("", |(name, _)| name);
        for (name, modules) in MODULES_OF_CRATES {
            let named = |line: &str| {
                line.match_indices(&format!("{name}::"))
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
            };
            if !modules.contains(&here)
                && let Some((number, _)) = file.code().lines().enumerate().find(|(_, line)| named(line))
            {
                wrong.push(format!("{}:{}: {name} belongs to {modules:?}", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "crates outside their module:\n{}", wrong.join("\n"));
}

#[test]
fn operations_of_candle_that_lose_gradients_are_not_used() {
    // The fused forms cut the gradient silently, and that of `scatter_add` is wrong.
    let losing = [
        "softmax_last_dim",
        "ops::rms_norm",
        "ops::layer_norm",
        "candle_nn::LayerNorm",
        "candle_nn::RmsNorm",
        ".scatter_add(",
    ];
    let mut wrong = Vec::new();
    for file in sources() {
        // The mask of winners is a constant, and encoders are not trained.
        let constant = |name: &str| {
            (name == ".scatter_add(" && file.path.ends_with("layers/k_winners.rs"))
                || file.path.ends_with("encoders/transformer/on_device.rs")
        };
        for (number, line) in file.code().lines().enumerate() {
            if let Some(name) = losing.iter().find(|name| line.contains(**name) && !constant(name)) {
                wrong.push(format!("{}:{}: {name}", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "operations that lose gradients:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_in_the_kernels_only_and_each_block_has_its_proof() {
    let mut wrong = Vec::new();
    for file in sources() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            if trimmed.starts_with("//") || !(line.contains("unsafe {") || trimmed.starts_with("unsafe impl")) {
                continue;
            }
            let above = &lines[number.saturating_sub(8)..number];
            let proven = above.iter().any(|l| l.contains("SAFETY"));
            if !file.path.contains("/nn/kernels/") || !proven {
                wrong.push(format!("{}:{}: {trimmed}", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe code outside the kernels or without a proof:\n{}", wrong.join("\n"));
}

#[test]
fn files_are_not_longer_than_the_limit() {
    let files = sources();
    let long = files.iter().filter(|file| file.text.lines().count() > LONGEST);
    let long: Vec<String> = long.map(|file| format!("{}: {} lines", file.path, file.text.lines().count())).collect();
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

#[test]
fn every_file_begins_with_a_description() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|file| !file.text.starts_with("//!") && !file.is_test())
        .map(|file| file.path)
        .collect();
    assert!(silent.is_empty(), "files without a first sentence:\n{}", silent.join("\n"));
}

#[test]
fn no_unfinished_code_is_left() {
    let marks = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "dbg!("];
    let mut wrong = Vec::new();
    for file in sources() {
        for (number, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "left-over marks:\n{}", wrong.join("\n"));
}

/// Words of the first version's vocabulary that have no meaning in this field and no place in plain technical English.
const REPLACED_WORDS: [&str; 46] = [
    "asking",
    "asks",
    "asleep",
    "awake",
    "contests",
    "cure",
    "doubt",
    "drowned",
    "few_shots",
    "hear",
    "heard",
    "hopeless",
    "houses",
    "mend",
    "mended",
    "outlive",
    "outlives",
    "owes",
    "praise",
    "rivals",
    "rooms",
    "seen_as",
    "seen_by",
    "speak",
    "speaks",
    "spoken",
    "strange",
    "strangeness",
    "taught",
    "teach",
    "teaches",
    "tell",
    "telling",
    "tells",
    "told",
    "twist",
    "untaught",
    "whoever",
    "wish",
    "wishes",
    "Course",
    "Guess",
    "Judge",
    "Picked",
    "Sees",
    "Shelf",
];

#[test]
fn replaced_words_do_not_come_back() {
    let mut texts: Vec<(String, String)> = sources().into_iter().map(|file| (file.path, file.text)).collect();
    for (folder, kind) in [(".", "md"), ("docs/src", "md"), ("static", "js"), ("static", "html")] {
        texts.extend(source::texts(folder, kind, folder != "."));
    }
    let mut wrong = Vec::new();
    for (path, text) in texts {
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if let Some(word) = words.find(|word| REPLACED_WORDS.contains(word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "words that were replaced by the field's terms:\n{}", wrong.join("\n"));
}
