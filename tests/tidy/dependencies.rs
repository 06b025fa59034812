//! Where dependencies come from and under which licences, by the lists of `deny.toml`.
//!
//! `cargo deny check` reads the same file and checks more; this needs no tool beyond cargo.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::process::Command;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Whether a licence expression can be met by licences of the list: `A OR B`, `A AND B`, parentheses.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.trim();
    // Splits at a word that stands outside of parentheses.
    let split = |word: &str| {
        let (mut depth, mut parts, mut from) = (0, Vec::new(), 0);
        for (at, c) in expression.char_indices() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 && expression[at..].starts_with(word) {
                parts.push(&expression[from..at]);
                from = at + word.len();
            }
        }
        parts.push(&expression[from..]);
        parts
    };
    let (either, both) = (split(" OR "), split(" AND "));
    if either.len() > 1 {
        return either.into_iter().any(|part| is_met(part, allowed));
    }
    if both.len() > 1 {
        return both.into_iter().all(|part| is_met(part, allowed));
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_met(inner, allowed),
        None => allowed.contains(&expression),
    }
}

#[test]
fn dependencies_come_from_the_registry_under_licences_of_the_list() {
    let root = env!("CARGO_MANIFEST_DIR");
    let deny: toml::Table = std::fs::read_to_string(format!("{root}/deny.toml")).unwrap().parse().unwrap();
    let allowed: Vec<&str> = deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(|l| l.as_str()).collect();
    let host = Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    let run = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host.trim()])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let metadata: Value = serde_json::from_slice(&run.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{} packages", packages.len());
    let mut wrong = Vec::new();
    for package in packages {
        let name = &package["name"];
        if package["source"].as_str().is_some_and(|source| source != REGISTRY) {
            wrong.push(format!("{name} comes from {}", package["source"]));
        }
        // Old crates write "MIT/Apache-2.0" for "MIT OR Apache-2.0".
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        if !is_met(&licence, &allowed) {
            wrong.push(format!("{name}: {licence:?}"));
        }
        let ours = package["source"].is_null();
        let any = |d: &&Value| ours && d["req"] == "*" && d["path"].is_null();
        wrong.extend(
            package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(any)
                .map(|d| format!("{name} takes any {}", d["name"])),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_expression_is_met_by_one_side_of_or_and_both_of_and() {
    let met = |expression| is_met(expression, &["MIT", "ISC"]);
    assert!(met("MIT") && met("GPL-3.0 OR MIT") && met("(GPL-3.0 OR MIT) AND ISC") && met("MIT AND (ISC)"));
    assert!(!met("GPL-3.0") && !met("MIT AND GPL-3.0") && !met("") && !met("(GPL-3.0 OR MIT) AND GPL-2.0"));
}
