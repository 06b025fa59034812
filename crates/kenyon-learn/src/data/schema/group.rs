//! Runs of numbered number columns (`p0`…`p783`, `t1`…`t96`, `pixel_0_0`…`pixel_7_7`) become one vector where
//! their values are similar.
//!
//! Names that have a stem in common and end in consecutive numbers may be a run; what the words mean has no effect.

use super::alike::{Alike, Members};
use super::{ColumnInfo, ColumnKind, Spelling};
use std::ops::Range;

/// The shortest run that is read as one vector.
const SHORTEST_RUN: usize = 16;

/// The step between rows in names that write row and column as one number.
const BASES: [u64; 2] = [10, 100];

/// A name's stem and its last one or two numbers.
pub(in crate::data) fn numbered(name: &str) -> Option<(&str, Option<u64>, u64)> {
    let (rest, last) = split_number(name)?;
    let inner = rest.strip_suffix(['_', '.', '-', 'x']);
    match inner.and_then(split_number) {
        Some((stem, first)) => Some((stem, Some(first), last)),
        None => Some((rest, None, last)),
    }
}

fn split_number(name: &str) -> Option<(&str, u64)> {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (rest, number) = name.split_at(name.len() - digits);
    // Names such as p00, p01 are numbered, too; 19 digits always fit.
    (digits > 0 && digits < 19).then(|| number.parse().ok().map(|n| (rest, n)))?
}

/// The stem as a name of its own.
fn stem_name(stem: &str) -> &str {
    let trimmed = stem.trim_end_matches(['_', '.', '-', ' ', '[', '(']);
    if trimmed.is_empty() { "values" } else { trimmed }
}

/// Groups runs among columns in file order; every other column stays as it is. `samples` are numbers of the
/// same rows, a column each.
pub(super) fn group(columns: Vec<ColumnInfo>, samples: &[Vec<f32>]) -> Vec<ColumnInfo> {
    let keys: Vec<_> = columns
        .iter()
        .map(|c| (c.kind == ColumnKind::Number && c.unused.is_none()).then(|| numbered(&c.name)).flatten())
        .collect();
    let mut runs = Vec::new();
    let mut start = 0;
    while start < columns.len() {
        let end =
            (start + 1..columns.len()).find(|&i| !follows(keys[i - 1], keys[i], keys[start])).unwrap_or(columns.len());
        if keys[start].is_some() && end - start >= SHORTEST_RUN {
            runs.push(start..end);
        }
        start = end;
    }
    let runs: Vec<_> = runs.into_iter().filter_map(|run| read_run(run, &keys, samples)).collect();
    let mut names: Vec<String> =
        runs.iter().map(|(run, _)| stem_name(keys[run.start].map_or("", |(stem, ..)| stem)).to_owned()).collect();
    for i in 0..names.len() {
        let taken = |name: &str| columns.iter().any(|c| c.name == name) || names[..i].iter().any(|n| n == name);
        let mut name = names[i].clone();
        while taken(&name) {
            name.push_str("_values");
        }
        names[i] = name;
    }
    let mut grouped = Vec::new();
    let mut columns = columns.into_iter();
    let mut at = 0;
    for ((run, alike), name) in runs.into_iter().zip(names) {
        grouped.extend(columns.by_ref().take(run.start - at));
        let shape = match alike {
            Alike::Picture(rows, columns) => Some(vec![rows, columns]),
            Alike::Series | Alike::List => None,
        };
        let merged = merge(name, columns.by_ref().take(run.len()).collect(), shape);
        grouped.push(ColumnInfo { series: alike == Alike::Series, ..merged });
        at = run.end;
    }
    grouped.extend(columns);
    grouped
}

type Key<'a> = Option<(&'a str, Option<u64>, u64)>;

/// Whether `next` is the number after `last` in a run that began with `first`.
fn follows(last: Key<'_>, next: Key<'_>, first: Key<'_>) -> bool {
    let (Some((stem, row, n)), Some((stem2, row2, n2)), Some((.., n0))) = (last, next, first) else { return false };
    stem == stem2
        && match (row, row2) {
            // `p07` may be followed by `p10`: row and column in one number.
            (None, None) => n2 == n + 1 || BASES.iter().any(|b| n2 / b == n / b + 1 && n2 % b == n0 % b && n2 > n0),
            (Some(r), Some(r2)) => (r2 == r && n2 == n + 1) || (r2 == r + 1 && n2 == n0),
            _ => false,
        }
}

/// How a run is read; it may lack its first or last column, where that is not a member (a label).
fn read_run(run: Range<usize>, keys: &[Key<'_>], samples: &[Vec<f32>]) -> Option<(Range<usize>, Alike)> {
    let members = Members::new(&samples[run.clone()].iter().map(Vec::as_slice).collect::<Vec<_>>());
    let n = run.len();
    let assess = |from: usize, to: usize| {
        let shape = shape(&keys[run.start + from..run.start + to]);
        (to - from >= SHORTEST_RUN).then(|| members.assess(from, to, shape)).flatten()
    };
    let whole = assess(0, n);
    let without = [(1, n, 0, 1), (0, n - 1, n - 1, n - 2)].map(|(from, to, end, neighbour)| {
        let unrelated = members.is_unrelated(end, neighbour, from, to);
        (from, to, if unrelated { assess(from, to) } else { None })
    });
    let picture = |alike: &Option<Alike>| matches!(alike, Some(Alike::Picture(..)));
    let trimmed = without.iter().find(|(.., a)| picture(a)).or_else(|| without.iter().find(|(.., a)| a.is_some()));
    match trimmed {
        Some((from, to, Some(alike))) if !picture(&whole) => Some((run.start + from..run.start + to, *alike)),
        _ => whole.map(|alike| (run, alike)),
    }
}

/// Rows and columns by names with two numbers that fill a rectangle, or by a square number of columns.
fn shape(keys: &[Key<'_>]) -> Option<(usize, usize)> {
    let n = keys.len();
    if let (Some(Some((_, Some(r0), _))), Some(Some((_, Some(r1), _)))) = (keys.first(), keys.last()) {
        let rows = (r1 - r0 + 1) as usize;
        return (rows > 1 && n.is_multiple_of(rows)).then_some((rows, n / rows));
    }
    if let (Some(Some((.., first))), Some(Some((.., last)))) = (keys.first(), keys.last())
        && last - first + 1 != n as u64
    {
        let rows = BASES.iter().map(|b| (last / b).saturating_sub(first / b) as usize + 1);
        return rows.filter(|r| *r > 1 && n.is_multiple_of(*r)).map(|rows| (rows, n / rows)).find(|(_, c)| *c > 1);
    }
    square(n).map(|sides| (sides[0], sides[1]))
}

/// The sides of a square of `n` elements.
pub(in crate::data) fn square(n: usize) -> Option<Vec<usize>> {
    let side = n.isqrt();
    (side >= 4 && side * side == n).then(|| vec![side, side])
}

/// One vector column from its members.
pub(super) fn merge(name: String, members: Vec<ColumnInfo>, shape: Option<Vec<usize>>) -> ColumnInfo {
    let fold = |f: fn(f64, f64) -> f64, get: fn(&ColumnInfo) -> Option<f64>| members.iter().filter_map(get).reduce(f);
    let means: Vec<f64> = members.iter().filter_map(|m| m.mean).collect();
    let mut histogram: Vec<(String, u64)> = Vec::new();
    if let Some((low, high)) = fold(f64::min, |m| m.min).zip(fold(f64::max, |m| m.max)) {
        histogram = super::histogram::rebin(&members, low, high);
    }
    let mut spelling: Option<Spelling> = members.iter().find_map(|m| m.spelling.clone());
    for other in members.iter().filter_map(|m| m.spelling.as_ref()) {
        if let Some(all) = &mut spelling {
            all.merge(other);
            all.decimal_comma |= other.decimal_comma;
        }
    }
    ColumnInfo {
        kind: ColumnKind::Vector,
        missing: members.iter().map(|m| m.missing).max().unwrap_or_default(),
        distinct: members.iter().map(|m| m.distinct).max().unwrap_or_default(),
        min: fold(f64::min, |m| m.min),
        max: fold(f64::max, |m| m.max),
        mean: (!means.is_empty()).then(|| means.iter().map(|mean| mean / means.len() as f64).sum()),
        whole: members.iter().all(|m| m.whole),
        examples: vec![members.iter().map(|m| m.examples.first().cloned().unwrap_or_default()).collect()],
        shape: Some(shape.unwrap_or_else(|| vec![members.len()])),
        members: Some(members.into_iter().map(|m| m.name).collect()),
        unused: None,
        series: false,
        words: Vec::new(),
        spelling,
        histogram,
        name,
    }
}
