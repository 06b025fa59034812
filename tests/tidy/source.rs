//! The source files for the rules: files with their module paths, code without comments and texts,
//! and which file uses which.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The crates of the workspace: their name in paths, and the folder of their source.
pub(crate) const CRATES: [(&str, &str); 2] = [("kenyon_learn", "crates/kenyon-learn/src"), ("kenyon", "src")];

/// A source file.
#[derive(Clone)]
pub(crate) struct File {
    /// Its path from the project's root.
    pub(crate) path: String,
    /// Crate and modules, such as `["kenyon", "http", "models"]`.
    pub(crate) module: Vec<String>,
    /// The unchanged text.
    pub(crate) text: String,
}

/// Every source file of the workspace.
pub(crate) fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for (name, folder) in CRATES {
        let mut folders = vec![root.join(folder)];
        while let Some(at) = folders.pop() {
            for entry in fs::read_dir(&at).expect("a folder of the source") {
                let path = entry.expect("an entry of the source").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = fs::read_to_string(&path).expect("a source file is text");
                    let inside = path.strip_prefix(root.join(folder)).expect("below the crate");
                    let shown = path.strip_prefix(root).expect("below the root").display().to_string();
                    found.push(File { path: shown, module: module_of(name, inside), text });
                }
            }
        }
    }
    assert!(found.len() > 200, "the source was not found");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The files of a folder that end with `kind`, with their paths and texts; with those of folders below if `deep`.
pub(crate) fn texts(folder: &str, kind: &str, deep: bool) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.join(folder)]);
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).expect("a folder of the project") {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() && deep {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == kind) {
                let text = fs::read_to_string(&path).expect("a file of text");
                found.push((path.strip_prefix(root).unwrap_or(&path).display().to_string(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no {kind} in {folder}");
    found
}

fn module_of(name: &str, inside: &Path) -> Vec<String> {
    let mut module = vec![name.to_owned()];
    module.extend(inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()));
    if module.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

impl File {
    /// Whether it holds tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.module.iter().any(|part| part == "tests" || part == "conformance")
    }

    /// The code with comments, texts and characters blanked out; lines keep their numbers.
    pub(crate) fn code(&self) -> String {
        blank(&self.text)
    }

    /// [`File::code`] without its test modules.
    pub(crate) fn code_without_tests(&self) -> String {
        let code = self.code();
        let mut kept = String::with_capacity(code.len());
        let mut rest = code.as_str();
        while let Some(at) = rest.find("#[cfg(test)]") {
            kept.push_str(&rest[..at]);
            let after = &rest[at..];
            // The item that follows ends with its block, or with a semicolon before one.
            let open = after.find('{').unwrap_or(after.len());
            let end = after.find(';').unwrap_or(after.len());
            let length = if end < open { end + 1 } else { open + block(&after[open..]) };
            kept.extend(after[..length].chars().filter(|c| *c == '\n'));
            rest = &after[length..];
        }
        kept.push_str(rest);
        kept
    }
}

/// Bytes of the block that `text` begins with, braces included.
fn block(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    let wipe = |out: &mut String, from: usize, to: usize| {
        out.extend(text[from..to].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    };
    while at < bytes.len() {
        let rest = &text[at..];
        let raw = rest.strip_prefix('r').map(|r| r.len() - r.trim_start_matches('#').len());
        let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(marks) = raw.filter(|m| starts_word && rest[1 + m..].starts_with('"')) {
            let close = format!("\"{}", "#".repeat(marks));
            rest[2 + marks..].find(&close).map_or(rest.len(), |end| 2 + marks + end + close.len())
        } else if rest.starts_with('"') {
            quoted(rest, '"')
        } else if rest.starts_with('\'') && is_character(rest) {
            quoted(rest, '\'')
        } else {
            let c = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..c]);
            at += c;
            continue;
        };
        wipe(&mut out, at, at + length);
        at += length;
    }
    out
}

/// Whether a quote begins a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A path that a file names: what it resolves to, from the crate on, and the line.
pub(crate) struct Named {
    /// Crate, modules and item.
    pub(crate) path: Vec<String>,
    /// Line number, from 1.
    pub(crate) line: usize,
}

/// Every path in `code` that begins with `crate`, `super`, `self` or a crate of the workspace, groups
/// taken apart.
pub(crate) fn named(file: &File, code: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let starts = ["crate::", "super::", "self::", "kenyon_learn::", "kenyon::"];
    let mut line = 1;
    let mut depths: Vec<usize> = Vec::new();
    let mut depth = 0usize;
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let fresh = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'_' | b':'));
        if fresh && let Some(start) = starts.iter().find(|s| rest.starts_with(**s)) {
            let mut paths = Vec::new();
            let length = tree(rest, &mut Vec::new(), &mut paths);
            for (path, _) in paths {
                if let Some(path) = absolute(file, path, depths.len()) {
                    found.push(Named { path, line });
                }
            }
            line += rest[..length].matches('\n').count();
            at += length.max(start.len());
            continue;
        }
        // Inline modules: `super` in them is the file itself.
        if fresh && rest.starts_with("mod ") && rest.find('{') < rest.find(';').or(Some(usize::MAX)) {
            depths.push(depth);
        }
        match bytes[at] {
            b'\n' => line += 1,
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depths.last() == Some(&depth) {
                    depths.pop();
                }
            }
            _ => {}
        }
        at += rest.chars().next().map_or(1, char::len_utf8);
    }
    found
}

/// Reads one path or group, each path with the name that `use` gives it, and returns its length.
fn tree(text: &str, before: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) -> usize {
    let depth = before.len();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let word = first_word(rest);
        if !word.is_empty() {
            at += word.len();
            before.push(word);
            if text[at..].starts_with("::") {
                at += 2;
                continue;
            }
        } else if rest.starts_with('{') {
            at += 1;
            loop {
                at += text[at..].len() - text[at..].trim_start_matches([' ', '\n', ',']).len();
                if text[at..].starts_with('}') || at >= text.len() {
                    at = (at + 1).min(text.len());
                    break;
                }
                let length = tree(&text[at..], before, found);
                at += length;
                // A name given by `as`, or anything else up to the next member.
                let skip = text[at..].find([',', '}', '{']).unwrap_or(text.len() - at);
                at += if text[at..].starts_with([',', '}']) { 0 } else { skip };
                if length == 0 && skip == 0 {
                    at = (at + 1).min(text.len());
                }
            }
            before.truncate(depth);
            return at;
        }
        let renamed = text[at..].strip_prefix(" as ").map(first_word);
        found.push((before.clone(), renamed.or_else(|| before.last().cloned()).unwrap_or_default()));
        before.truncate(depth);
        return at;
    }
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn absolute(file: &File, path: Vec<String>, inline: usize) -> Option<Vec<String>> {
    let own = file.module.first()?.clone();
    let mut full = match path.first()?.as_str() {
        "crate" => vec![own],
        "kenyon_learn" | "kenyon" => vec![path[0].clone()],
        _ => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let mut module = file.module.clone();
            let ups = ups.saturating_sub(inline);
            module.truncate(module.len().checked_sub(ups)?.max(1));
            module
        }
    };
    full.extend(path.into_iter().skip_while(|part| ["crate", "super", "self"].contains(&part.as_str())).skip_while({
        let first = full[0].clone();
        let mut skipped = false;
        move |part| {
            let skip = !skipped && *part == first && full_is_crate(&first);
            skipped = true;
            skip
        }
    }));
    Some(full)
}

fn full_is_crate(name: &str) -> bool {
    CRATES.iter().any(|(known, _)| *known == name)
}

/// Names that a file imports or exports again, with the paths they stand for.
type Imports = BTreeMap<String, Vec<String>>;

/// The imports of a file. Globs are left out: outside of tests the source has none of its own modules.
fn imports(file: &File, code: &str) -> Imports {
    let mut found = Vec::new();
    for line in code.match_indices("use ").map(|(at, _)| at) {
        let before = &code[code[..line].rfind('\n').map_or(0, |end| end + 1)..line];
        if before.is_empty() || before.starts_with("pub") {
            tree(&code[line + "use ".len()..], &mut Vec::new(), &mut found);
        }
    }
    let named = |(mut path, mut name): (Vec<String>, String)| {
        if name == "self" {
            path.pop();
            name = path.last()?.clone();
        }
        let first = path.first()?.as_str();
        let known = ["crate", "super", "self"].contains(&first) || full_is_crate(first);
        // Any other path begins at a module of the file; that of a foreign crate leads back to the file.
        let path = if known { absolute(file, path, 0)? } else { file.module.iter().cloned().chain(path).collect() };
        Some((name, path))
    };
    found.into_iter().filter_map(named).collect()
}

/// Which file uses which, by index: all names but those of a file's own descendants, which it declares. A name that a file
/// exports again is one of the file that it comes from.
pub(crate) fn uses(files: &[File]) -> BTreeMap<(usize, usize), (String, usize)> {
    let by_module: BTreeMap<&[String], usize> = files.iter().enumerate().map(|(i, f)| (&f.module[..], i)).collect();
    let codes: Vec<String> = files.iter().map(File::code_without_tests).collect();
    let imports: Vec<Imports> = files.iter().zip(&codes).map(|(file, code)| imports(file, code)).collect();
    let origin = |mut path: Vec<String>| {
        let mut file = None;
        // More steps than any chain of exports has: `use name;` leads back to itself.
        for _ in 0..8 {
            let (length, at) = (1..=path.len()).rev().find_map(|n| Some((n, *by_module.get(&path[..n])?)))?;
            file = Some(at);
            let Some(source) = path.get(length).and_then(|name| imports[at].get(name)) else { break };
            path = source.iter().chain(&path[length + 1..]).cloned().collect();
        }
        file
    };
    let mut edges = BTreeMap::new();
    for (from, file) in files.iter().enumerate().filter(|(_, file)| !file.is_test()) {
        for named in named(file, &codes[from]) {
            let Some(to) = origin(named.path.clone()).filter(|to| *to != from) else { continue };
            if !files[to].module.starts_with(&file.module) {
                edges.entry((from, to)).or_insert((named.path.join("::"), named.line));
            }
        }
    }
    edges
}
