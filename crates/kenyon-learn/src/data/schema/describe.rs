//! A column's kind, spelling, statistics and warnings, from what was gathered about it.

use super::histogram::{BARS, bar, label, most_frequent};
use super::stats::{Reading, Stats};
use super::{ColumnInfo, ColumnKind, Unused, group};
use crate::data::formats::{DecimalMark, ReadOptions};
use crate::data::kinds::{self, Spelling, is_word};
use crate::data::warning::{MAX_EXAMPLES, Warning, WarningCode, WarningExample};
use serde_json::Value;

/// So many different names may well be codes.
const FEW_NAMES: u64 = 20;

/// Whether `count` of `all` cells are enough for a column to be of their kind: 95 %.
pub(super) fn is_enough(count: u64, all: u64) -> bool {
    u128::from(count) * 20 >= u128::from(all) * 19
}

/// How a column is read, and whether what was gathered without knowing the kind is valid.
///
/// `commas` and `day_first` are what the rest of the file has; the latter where any date of it decides.
pub(super) fn decide(
    stats: &mut Stats,
    options: &ReadOptions,
    (commas, day_first): (bool, Option<bool>),
) -> (Reading, bool) {
    if let Some(reading) = &stats.reading {
        let unreadable = reading.unreadable.clone().or_else(|| unreadable(stats));
        return (Reading { unreadable, ..reading.clone() }, true);
    }
    if let Some(why) = unreadable(stats) {
        return (Reading { unreadable: Some(why), ..Reading::new(ColumnKind::Text) }, true);
    }
    let evidence = stats.evidence;
    let points = points(stats);
    let decimal_comma = match options.decimal {
        Some(mark) => mark == DecimalMark::Comma,
        // Nothing in the column decides: the rest of the file does.
        None if evidence.comma + points == 0 => commas && evidence.either + stats.ambiguous_points > 0,
        None => evidence.comma > points,
    };
    let undecided = evidence.day_first == evidence.month_first;
    let of_file = day_first.filter(|_| undecided);
    let day_first = options.day_first.or(of_file).unwrap_or_else(|| evidence.is_day_first());
    let kind = kind_of(stats);
    let names = kind.spec().keeps_words();
    if names && options.missing.is_none() {
        stats.keep_words(is_word);
    }
    let missing = stats.words.iter().map(|(word, _)| word.to_string()).collect();
    let is_grouped = evidence.grouped + stats.ambiguous_points > 0;
    let ungrouped = decimal_comma && !is_grouped;
    let spelling = Spelling { missing, decimal_comma, ungrouped, day_first, ..Spelling::default() };
    let kind = if names { text_or_category(stats) } else { kind };
    let present = stats.present + stats.not_finite;
    let regular = match kind {
        ColumnKind::Number => stats.numbers == present && !decimal_comma,
        ColumnKind::Boolean => stats.booleans == present,
        ColumnKind::Timestamp => stats.moments == present,
        ColumnKind::Image => stats.images == present,
        ColumnKind::Vector | ColumnKind::Sequence => stats.lists.count == present,
        _ => !kind.is_real() && stats.texts == present,
    };
    (Reading { kind, spelling, width: None, unreadable: None }, regular)
}

/// Evidence for decimal points. Where every point may separate thousands and some number proves that points do, there is
/// none.
pub(super) fn points(stats: &Stats) -> u64 {
    let all_ambiguous = stats.ambiguous_points >= stats.fractions;
    let proven = stats.evidence.points_in_groups > 0 || stats.evidence.comma == 0;
    stats.evidence.point + if all_ambiguous && proven { 0 } else { stats.fractions }
}

/// Why a column cannot be read, if so: the reader reports it, it mixes lists with other values, or more than one cell
/// in twenty cannot be read.
fn unreadable(stats: &Stats) -> Option<String> {
    let present = stats.present + stats.not_finite;
    let many = !is_enough(present, present + stats.unreadable);
    let first = || stats.unreadable_at.first().filter(|_| many).map(|(_, why)| why.clone());
    let lists = stats.lists.count;
    let mixed = stats.reading.is_none() && !is_enough(lists, present) && !is_enough(present - lists, present);
    let mixed = || mixed.then(|| "it mixes lists with other values".to_owned());
    stats.unreadable_why.clone().or_else(first).or_else(mixed)
}

/// The kind that at least 95 % of the cells are evidence for; names or text where there is none.
fn kind_of(stats: &Stats) -> ColumnKind {
    let present = stats.present + stats.not_finite;
    if present == 0 {
        return ColumnKind::Category;
    }
    if stats.beyond > 0 && stats.fractions == 0 {
        return ColumnKind::Category;
    }
    // A quoted word for "no value" is a name among names only.
    let counted = present - stats.quoted_words.min(present);
    // Whole numbers that are quoted as text may be codes; with fractions among them they are numbers.
    let typed = if stats.typed_fractions > 0 { stats.typed_whole + stats.typed_fractions } else { 0 };
    let votes = |kind| stats.votes(kind) + if kind == ColumnKind::Number { typed } else { 0 };
    let found = ColumnKind::all().find(|kind| counted > 0 && is_enough(votes(*kind), counted));
    // Seasons such as `2010-11` are months only among others that are no seasons.
    let seasons = |kind| kind == ColumnKind::Timestamp && stats.evidence.seasons * 2 > stats.votes(kind);
    if let Some(kind) = found.filter(|kind| !seasons(*kind)) {
        return kind;
    }
    let lists = &stats.lists;
    if is_enough(lists.count, present) {
        return kinds::list_kind(lists.shortest, lists.longest, lists.strings + lists.nested == 0);
    }
    text_or_category(stats)
}

/// Free text has several words and hardly repeats; names repeat.
fn text_or_category(stats: &Stats) -> ColumnKind {
    let texts = stats.texts.max(1) as f64;
    let (distinct, present) = (stats.sketch.estimate().0 as f64, stats.present as f64);
    let spaces = stats.spaces as f64 / texts;
    let length = stats.bytes as f64 / texts;
    let repeats = distinct <= 0.5 * present && distinct <= 200.0;
    let questions = stats.questions == stats.texts && spaces >= 1.0;
    let unspaced = stats.wide as f64 > 0.5 * texts && length >= 24.0;
    if present > 0.0 && stats.texts as f64 >= 0.9 * present && (questions || (!repeats && (spaces >= 1.5 || unspaced)))
    {
        ColumnKind::Text
    } else {
        ColumnKind::Category
    }
}

/// Describes a column that was read as `reading`.
pub(super) fn describe(stats: &mut Stats, mut reading: Reading, rows: u64, warnings: &mut Vec<Warning>) -> ColumnInfo {
    let kind = reading.kind;
    if let Some(why) = reading.unreadable {
        let detail = format!("the column is kept and never used: {why}");
        let warning = Warning::new(WarningCode::UnreadableColumn, Some(&stats.name), detail);
        warnings.push(Warning { rows, examples: unreadable_examples(stats), ..warning });
        let unused = Some(Unused::Unreadable);
        return ColumnInfo { missing: rows, unused, ..ColumnInfo::empty(stats.name.clone(), ColumnKind::Text) };
    }
    stats.close();
    for (word, _) in &stats.words {
        if !reading.spelling.lists(word) {
            reading.spelling.missing.push(word.to_string());
        }
    }
    warn(stats, kind, warnings);
    let count = stats.numbers + stats.moments + stats.lists.numbers;
    let counted = (kind.is_real() || kind.is_list()) && count > 0;
    let shape = match kind {
        ColumnKind::Vector => Some(group::square(stats.lists.longest).unwrap_or_else(|| vec![stats.lists.longest])),
        ColumnKind::Sequence => Some(vec![stats.lists.channels.unwrap_or(1)]),
        ColumnKind::Image => stats.image_shape.take(),
        _ => None,
    };
    let histogram = match kind {
        _ if kind.is_real() && counted => bars(stats, count),
        ColumnKind::Category | ColumnKind::Boolean => {
            most_frequent(stats.names.drain().map(|(_, (written, n))| (written.into(), n)))
        }
        _ => Vec::new(),
    };
    ColumnInfo {
        missing: rows.saturating_sub(stats.present),
        distinct: stats.sketch.estimate().0.min(stats.present),
        min: counted.then_some(stats.min),
        max: counted.then_some(stats.max),
        mean: counted.then(|| stats.mean(count)),
        whole: counted && stats.fractions == 0,
        examples: std::mem::take(&mut stats.examples),
        shape,
        histogram,
        words: stats.words.iter().map(|(word, n)| (word.to_string(), *n)).collect(),
        spelling: Some(reading.spelling),
        ..ColumnInfo::empty(stats.name.clone(), kind)
    }
}

/// The first cells of a column that cannot be read.
fn unreadable_examples(stats: &Stats) -> Vec<WarningExample> {
    stats.unreadable_at.iter().map(|(row, _)| WarningExample { row: *row, value: Value::Null }).collect()
}

fn warn(stats: &mut Stats, kind: ColumnKind, warnings: &mut Vec<Warning>) {
    let odd = stats.misfits + stats.unreadable;
    if odd > 0 {
        let detail = format!("{odd} cells are not {} and count as missing", kind.spec().wanted());
        let mut warning = Warning::new(WarningCode::MixedKind, Some(&stats.name), detail);
        (warning.rows, warning.examples) = (odd, std::mem::take(&mut stats.misfit_examples));
        warning.examples.extend(unreadable_examples(stats));
        warning.examples.sort_by_key(|example| example.row);
        warning.examples.truncate(MAX_EXAMPLES);
        warnings.push(warning);
    }
    if !stats.words.is_empty() {
        let words: Vec<String> = stats.words.iter().take(8).map(|(word, _)| format!("'{word}'")).collect();
        let detail = format!("{} mean no value here", words.join(", "));
        let mut warning = Warning::new(WarningCode::MissingWords, Some(&stats.name), detail);
        warning.rows = stats.words.iter().map(|(_, count)| count).sum();
        warning.examples = std::mem::take(&mut stats.word_examples);
        warnings.push(warning);
    }
}

/// A column of dates whose order of day and month nothing in the file decides.
pub(super) fn ambiguous_dates(stats: &Stats, reading: &Reading) -> Option<Warning> {
    let (first, instead) = if reading.spelling.day_first { ("day", false) } else { ("month", true) };
    let detail = format!(
        "nothing decides whether day or month comes first: read as {first} first; set `day_first={instead}` if that is wrong"
    );
    let warning = Warning::new(WarningCode::AmbiguousDates, Some(&stats.name), detail);
    (stats.evidence.either_order > 0).then(|| Warning { rows: stats.evidence.either_order, ..warning })
}

/// A column of names that was meant as one of numbers, perhaps: half of its cells, of many different ones, hold numbers.
pub(super) fn numbers_among_names(stats: &mut Stats) -> Option<Warning> {
    stats.close();
    let numbers = stats.votes(ColumnKind::Number) + stats.typed_whole + stats.typed_fractions;
    let found = numbers + stats.near_numbers;
    if found * 2 < stats.present || stats.sketch.estimate().0 <= FEW_NAMES {
        return None;
    }
    let (hold, others) = (found, stats.present.saturating_sub(found));
    let detail = match stats.near_numbers {
        0 => format!("{hold} cells are numbers, {others} are not: read as names, each different one by itself"),
        near => format!(
            "{hold} cells hold numbers, {near} of them with something around: read as names, each different one by itself"
        ),
    };
    let mut warning = Warning::new(WarningCode::MixedKind, Some(&stats.name), detail);
    (warning.rows, warning.examples) = (found, std::mem::take(&mut stats.near_examples));
    Some(warning)
}

/// Counts in equal bars, scaled up from the sampled rows.
fn bars(stats: &Stats, count: u64) -> Vec<(String, u64)> {
    let mut counts = [0u64; BARS];
    let present = stats.sample.iter().filter(|x| !x.is_nan());
    let sampled = present.clone().count().max(1) as u64;
    for x in present {
        counts[bar(f64::from(*x), stats.min, stats.max)] += 1;
    }
    counts.iter_mut().for_each(|n| *n = (*n * count + sampled / 2) / sampled);
    label(&counts, stats.min, stats.max)
}
