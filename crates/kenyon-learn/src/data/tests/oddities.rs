//! A thousand files with the oddities of real ones, made from seeds: each is read as what it holds, with a
//! warning where a cell is left out, or refused by row and reason.

use super::*;
use crate::data::cell::mix;
use crate::data::plan::{ColumnPlan, read_table};
use crate::data::{Column, WarningCode};

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

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Missing,
    Text(String),
    /// A number, or a moment or duration in seconds.
    Number(f64),
}

/// What the cells of a column are, drawn once a column.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Whole,
    Fraction,
    Category,
    Words,
    Currency,
    Percent,
    Negative,
    Date,
    Clock,
}

const WORDS: [&str; 8] =
    ["red", "green, dark", "blue; light", "say \"so\"", "two\nlines", "naïve", "tab\there", "it's | or"];

/// Cells that no column of numbers or moments holds.
const STRAY: [&str; 8] = ["-", "unknown", "n/a", "#REF!", "see note", "?", "TBD", "N.N."];

impl Kind {
    fn cell(self, row: u64, draws: &mut Draws) -> (String, Held) {
        let number = |text: String, value: f64| (text, Held::Number(value));
        let cents = draws.below(900_000);
        let value = cents as f64 / 100.0;
        match self {
            Self::Whole => {
                let whole = row * 3 + draws.below(3);
                number(whole.to_string(), whole as f64)
            }
            Self::Fraction => {
                let (whole, tenth) = (draws.below(900), 1 + draws.below(8));
                let text = format!("{whole}.{tenth}");
                let value = text.parse().unwrap();
                number(text, value)
            }
            Self::Category if draws.below(5) == 0 => (String::new(), Held::Missing),
            Self::Category => {
                let text = draws.of(&["yes", "maybe", "perhaps"]);
                (text.to_owned(), Held::Text(text.to_owned()))
            }
            Self::Words => {
                let text = draws.of(&WORDS);
                (text.to_owned(), Held::Text(text.to_owned()))
            }
            Self::Currency => {
                let (thousands, rest) = (cents / 100_000, (cents / 100) % 1000);
                let whole = if thousands > 0 { format!("{thousands},{rest:03}") } else { rest.to_string() };
                number(format!("${whole}.{:02}", cents % 100), value)
            }
            Self::Percent => {
                number(format!("{}.{:02}%", cents / 10_000, cents / 100 % 100), (cents / 100) as f64 / 100.0)
            }
            Self::Negative if cents.is_multiple_of(2) => number(format!("({value:.2})"), -value),
            Self::Negative => number(format!("{value:.2}"), value),
            Self::Date => {
                let day = draws.below(28);
                number(format!("{:02}/02/1970", day + 1), (31 + day) as f64 * 86_400.0)
            }
            Self::Clock => {
                let seconds = draws.below(86_400);
                let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
                number(text, seconds as f64)
            }
        }
    }
}

/// A file and what it holds.
struct Made {
    content: Vec<u8>,
    names: Vec<String>,
    rows: Vec<Vec<Held>>,
    /// Column of a cell that does not fit, where there is one.
    stray: Option<usize>,
    /// The record that cannot be read, counted from 1 after the header.
    broken: Option<u64>,
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
    let count = 30 + draws.below(60) as usize;
    let kinds = [
        Kind::Whole,
        Kind::Fraction,
        Kind::Category,
        Kind::Words,
        Kind::Currency,
        Kind::Percent,
        Kind::Negative,
        Kind::Date,
        Kind::Clock,
    ];
    let kinds: Vec<Kind> = (0..columns).map(|i| if i == 0 { Kind::Whole } else { draws.of(&kinds) }).collect();
    let names: Vec<String> = (0..columns)
        .map(|i| {
            let stem = ["größe", "price, net", "note", "x"][(i + seed as usize) % 4];
            format!("{stem} {}", ["a", "b", "c", "d", "e", "f", "g", "h"][i])
        })
        .collect();
    let (mut texts, mut rows): (Vec<Vec<String>>, Vec<Vec<Held>>) = (0..count)
        .map(|row| kinds.iter().map(|kind| kind.cell(row as u64, &mut draws)).unzip::<_, _, Vec<_>, Vec<_>>())
        .unzip();
    let other_kind = |kind: &Kind| !matches!(kind, Kind::Category | Kind::Words);
    let stray = (draws.below(3) == 0).then(|| draws.below(columns as u64) as usize).filter(|&c| other_kind(&kinds[c]));
    if let Some(column) = stray {
        let row = 1 + draws.below(count as u64 - 1) as usize;
        draws.of(&STRAY).clone_into(&mut texts[row][column]);
        rows[row][column] = Held::Missing;
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
    lines.extend(texts.iter().map(|r| line(r)));
    let broken = (draws.below(8) == 0).then(|| 2 + draws.below(count as u64 - 2));
    if let Some(row) = broken {
        let at = lines.len() - count + row as usize - 1;
        lines[at] = line(&texts[row as usize - 1][..columns - 1]);
    }
    let text = lines.join(end) + if last_end { end } else { "" };
    let content = match encoding {
        "bom" => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        "utf-16" => [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
        "latin" => text.chars().map(|c| c as u8).collect(),
        _ => text.into_bytes(),
    };
    let about = format!(
        "seed {seed}: {delimiter:?} {end:?} quote_all {quote_all} trailing {trailing} {preamble:?} {encoding} {kinds:?} \
         stray {stray:?} broken {broken:?}"
    );
    Made { content, names, rows, stray, broken, about }
}

/// What a column of a table holds in a row.
fn held(column: &Column, row: usize) -> Held {
    let text = |text: Option<&str>| text.map_or(Held::Missing, |text| Held::Text(text.to_owned()));
    match column {
        Column::Number(values) | Column::Timestamp(values) if values[row].is_nan() => Held::Missing,
        Column::Number(values) | Column::Timestamp(values) => Held::Number(values[row]),
        Column::Category(names) => text(names[row].as_deref()),
        Column::Text(texts) => text(texts[row].as_deref()),
        other => Held::Text(format!("{other:?}")),
    }
}

/// What is wrong with how a file is read, if anything.
fn fault(made: &Made) -> Option<String> {
    let (_file, part, summary) = match (upload(&made.content, &ReadOptions::default()), made.broken) {
        (Ok(_), Some(_)) => return Some("was not refused".into()),
        (Ok(read), None) => read,
        (Err(error), Some(row)) => {
            let named = error.details.first().is_some_and(|d| d.row == Some(row) && !d.reason.is_empty());
            return (!named).then(|| format!("refused elsewhere: {error:?}"));
        }
        (Err(error), None) => return Some(format!("refused: {error:?}")),
    };
    let names: Vec<&str> = summary.columns.iter().map(|c| c.name.as_str()).collect();
    if names != made.names {
        return Some(format!("{names:?} {:?}", part.read_as));
    }
    let plans: Vec<ColumnPlan> = summary
        .columns
        .iter()
        .map(|info| ColumnPlan { spelling: info.spelling.clone(), ..ColumnPlan::new(&info.name, info.kind) })
        .collect();
    let table = read_table(std::slice::from_ref(&part), &plans, &Limits::default()).unwrap();
    if table.rows != made.rows.len() {
        return Some(format!("{} of {} rows", table.rows, made.rows.len()));
    }
    for (index, (name, column)) in table.columns.iter().enumerate() {
        for (row, expected) in made.rows.iter().enumerate() {
            let found = held(column, row);
            if found != expected[index] {
                return Some(format!("{name} row {}: {found:?} for {:?} {:?}", row + 1, expected[index], part.read_as));
            }
        }
    }
    let reported = |column: usize| {
        let codes = [WarningCode::MixedKind, WarningCode::MissingWords];
        summary.warnings.iter().any(|w| codes.contains(&w.code) && w.column.as_deref() == Some(&*made.names[column]))
    };
    made.stray.filter(|&column| !reported(column)).map(|column| format!("no warning for {}", made.names[column]))
}

#[test]
fn a_thousand_odd_files_are_read_as_what_they_hold_or_refused_by_row() {
    let made: Vec<Made> = (0..1000).map(make).collect();
    assert!(made.iter().filter(|made| made.stray.is_some()).count() > 150);
    assert!(made.iter().filter(|made| made.broken.is_some()).count() > 80);
    let wrong: Vec<String> =
        made.iter().filter_map(|made| fault(made).map(|fault| format!("{}: {fault}", made.about))).collect();
    assert!(wrong.is_empty(), "{} of 1000:\n{}", wrong.len(), wrong.join("\n"));
}
