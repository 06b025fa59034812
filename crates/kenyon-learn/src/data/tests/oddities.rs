//! Two hundred files with the irregularities of real ones, made from seeds: each is read as what it holds.

use super::*;
use crate::data::cell::mix;
use crate::data::plan::read_rows;
use serde_json::Value;

/// Draws from a seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.0 % n
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A file and the rows it holds, every value as text.
struct Made {
    content: Vec<u8>,
    names: Vec<String>,
    rows: Vec<Vec<String>>,
    about: String,
}

fn make(seed: u64) -> Made {
    let mut draws = Draws(seed);
    let delimiter = draws.of(&[",", ";", "\t", "|"]);
    let end = draws.of(&["\n", "\r\n", "\r"]);
    let quote_all = draws.below(4) == 0;
    let trailing = draws.below(6) == 0;
    let preamble = draws.of(&["", "", "", "# made by a tool", "Quarterly report"]);
    let separator = draws.below(8) == 0 && preamble.is_empty();
    let encoding = draws.of(&["utf-8", "utf-8", "bom", "utf-16", "latin"]);
    let last_end = draws.below(3) > 0;
    let columns = 3 + draws.below(5) as usize;
    let count = 12 + draws.below(60) as usize;
    let kinds: Vec<u64> = (0..columns).map(|i| if i == 0 { 0 } else { draws.below(4) }).collect();
    let names: Vec<String> = (0..columns)
        .map(|i| {
            format!(
                "{} {}",
                ["größe", "price, net", "note", "x"][(i + seed as usize) % 4],
                ["a", "b", "c", "d", "e", "f", "g", "h"][i]
            )
        })
        .collect();
    let words = ["red", "green, dark", "blue; light", "say \"so\"", "two\nlines", "naïve", "tab\there", "it's | or"];
    let mut rows = Vec::new();
    for row in 0..count {
        rows.push(
            kinds
                .iter()
                .map(|kind| match kind {
                    0 => (row as u64 * 3 + draws.below(3)).to_string(),
                    1 => format!("{}.{}", draws.below(900), 1 + draws.below(8)),
                    2 if draws.below(5) == 0 => String::new(),
                    2 => draws.of(&["yes", "maybe", "perhaps"]).to_owned(),
                    _ => draws.of(&words).to_owned(),
                })
                .collect::<Vec<String>>(),
        );
    }
    let field = |text: &str| {
        let needs = text.contains(['"', '\n', '\r', '\'', ',', ';', '\t', '|']);
        if quote_all || needs { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    let line = |fields: &[String]| {
        let joined = fields.iter().map(|f| field(f)).collect::<Vec<_>>().join(delimiter);
        if trailing { joined + delimiter } else { joined }
    };
    let mut lines = Vec::new();
    if separator {
        lines.push(format!("sep={delimiter}"));
    }
    if !preamble.is_empty() {
        lines.push(preamble.to_owned());
    }
    lines.push(line(&names));
    lines.extend(rows.iter().map(|r| line(r)));
    let text = lines.join(end) + if last_end { end } else { "" };
    let content = match encoding {
        "bom" => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        "utf-16" => [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
        "latin" => text.chars().map(|c| c as u8).collect(),
        _ => text.into_bytes(),
    };
    let about =
        format!("seed {seed}: {delimiter:?} {end:?} quote_all {quote_all} trailing {trailing} {preamble:?} {encoding}");
    Made { content, names, rows, about }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn two_hundred_odd_files_are_read_as_what_they_hold() {
    let mut wrong = Vec::new();
    for seed in 0..200 {
        let made = make(seed);
        let read = upload(&made.content, &ReadOptions::default());
        let Ok((_file, part, summary)) = read else {
            wrong.push(format!("{}: refused: {:?}", made.about, read.err()));
            continue;
        };
        let found = read_rows(std::slice::from_ref(&part), &summary.columns, 0, 1000, &Limits::default()).unwrap();
        let values: Vec<Vec<String>> = found.iter().map(|row| row.values().map(shown).collect()).collect();
        let names: Vec<String> = found.first().map(|row| row.keys().cloned().collect()).unwrap_or_default();
        if names != made.names || values != made.rows {
            let differs = values.iter().zip(&made.rows).find(|(a, b)| a != b);
            wrong.push(format!("{}: {names:?} {differs:?} {:?}", made.about, part.read_as));
        }
    }
    assert!(wrong.is_empty(), "{} of 200:\n{}", wrong.len(), wrong.join("\n"));
}
