//! Which delimiter, quote and header a text has: the reading under which most records agree and most
//! fields have the form of values (after van den Burg, Nazábal, Sutton 2019, "Wrangling messy CSV files by
//! detecting row and type patterns").

use super::record::{Fault, Fields, Syntax, parse};
use crate::data::cell;
use crate::data::formats::{Header, Quote, ReadOptions};
use std::collections::HashMap;

/// Records that are examined.
const RECORDS: usize = 500;
/// Records before the header that are no data, at most.
const PREAMBLE: usize = 20;
/// Share of fields of a column that must be numbers or dates for the column to count as numeric.
const NUMERIC: f64 = 0.9;

/// What was detected in addition to the options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::data::formats) struct Findings {
    /// Whether the first record has the form of a row although the header was not specified.
    pub(in crate::data::formats) header_like_data: bool,
}

/// One field of the sample.
struct Sampled {
    text: String,
    quoted: bool,
}

/// The head of a text under one syntax.
struct Reading {
    syntax: Syntax,
    records: Vec<Vec<Sampled>>,
    faults: usize,
    skip: usize,
    width: usize,
    trailing: bool,
    row_names: bool,
    score: f64,
}

/// Completes `options` from the first bytes of a text, which is all of it when `whole`.
pub(in crate::data::formats) fn complete(head: &[u8], whole: bool, options: &ReadOptions) -> (ReadOptions, Findings) {
    let (separator, rest) = separator_line(head);
    let mut options = options.clone();
    options.delimiter = options.delimiter.or(separator);
    options.carriage_return = only_carriage_returns(rest);
    let best = best_reading(rest, whole, &options);
    let byte = |b: u8| char::from(b);
    options.delimiter = Some(byte(best.syntax.delimiter));
    options.quote = Some(match best.syntax.quote {
        None => Quote::None,
        Some(b'\'') => Quote::Single,
        Some(_) => Quote::Double,
    });
    options.escape = best.syntax.escape.map(byte);
    options.comment = best.syntax.comment.map(byte);
    options.skip_records = best.skip + usize::from(rest.len() < head.len());
    options.trailing_delimiter = best.trailing;
    options.row_names = best.row_names;
    let findings = header(&best, &mut options);
    (options, findings)
}

/// Whether records end with carriage returns alone; quoted fields may hold other line ends.
fn only_carriage_returns(head: &[u8]) -> bool {
    let (mut quoted, mut returns) = (false, false);
    for byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => return false,
            b'\r' if !quoted => returns = true,
            _ => {}
        }
    }
    returns
}

/// Excel's first line `sep=;`, and what follows it.
fn separator_line(head: &[u8]) -> (Option<char>, &[u8]) {
    let end = head.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(head.len());
    let line = &head[..end];
    let line = line.strip_prefix(b"\"").and_then(|l| l.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [s, e, p, b'=', delimiter] if [*s, *e, *p].eq_ignore_ascii_case(b"sep") && delimiter.is_ascii() => {
            let next = head[end..].iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
            (Some(char::from(*delimiter)), &head[end + next..])
        }
        _ => (None, head),
    }
}

fn best_reading(head: &[u8], whole: bool, options: &ReadOptions) -> Reading {
    let comment = options.comment.map(|c| c as u8).or_else(|| comment_lines(head));
    let read = |delimiter: u8, quote: Option<u8>, escape: Option<u8>| {
        let carriage_return = options.carriage_return;
        Reading::new(head, whole, Syntax { delimiter, quote, escape, comment, carriage_return })
    };
    let mut best: Option<Reading> = None;
    // The usual delimiters first; the others only where none of those fits.
    for delimiters in [b",;\t|".as_slice(), b" :^~\x01\x1f"] {
        let given = options.delimiter.map(|d| [d as u8]);
        for &delimiter in given.as_ref().map_or(delimiters, |d| d.as_slice()) {
            if given.is_none() && !head.contains(&delimiter) {
                continue;
            }
            for quote in quotes(head, delimiter, options.quote) {
                let escapes: &[Option<u8>] = match quote {
                    Some(q) if memchr::memmem::find(head, &[b'\\', q]).is_some() => &[None, Some(b'\\')],
                    _ => &[None],
                };
                for &escape in escapes {
                    let reading = read(delimiter, quote, escape);
                    let sensible = given.is_some() || reading.sensible();
                    // The earlier one wins ties.
                    if sensible && best.as_ref().is_none_or(|b| reading.score > b.score + 1e-9) {
                        best = Some(reading);
                    }
                }
            }
        }
        if best.is_some() {
            break;
        }
    }
    best.unwrap_or_else(|| {
        let quote = options.quote.map_or(Some(b'"'), quote_byte);
        let commas = read(b',', quote, None);
        let single = commas.width == 1 && commas.records.first().is_some_and(|first| first.len() == 1);
        // Commas that separate nothing: one column of text, under a delimiter that the text does not contain.
        match single && commas.records.iter().any(|r| r.len() > 1) && !head.contains(&b'\x1f') {
            true => read(b'\x1f', quote, None),
            false => commas,
        }
    })
}

fn quote_byte(quote: Quote) -> Option<u8> {
    match quote {
        Quote::Double => Some(b'"'),
        Quote::Single => Some(b'\''),
        Quote::None => None,
    }
}

/// The quotes to try with a delimiter: the stated one, or those that may occur in the text.
fn quotes(head: &[u8], delimiter: u8, stated: Option<Quote>) -> Vec<Option<u8>> {
    if let Some(quote) = stated {
        return vec![quote_byte(quote)];
    }
    let mut quotes = vec![Some(b'"')];
    if head.contains(&b'\'') {
        quotes.push(Some(b'\''));
    }
    // Quotes are ordinary characters in many tab-separated files, in few others.
    if matches!(delimiter, b'\t' | b'|') && head.contains(&b'"') {
        quotes.push(None);
    }
    quotes
}

/// The character of comment lines, where the text begins with such lines and others follow.
fn comment_lines(head: &[u8]) -> Option<u8> {
    let mut lines = head.split(|b| matches!(b, b'\n' | b'\r')).map(<[u8]>::trim_ascii_start).filter(|l| !l.is_empty());
    let first = lines.next()?;
    let comment = *first.first().filter(|b| matches!(b, b'#' | b'%'))?;
    let last = lines.clone().take_while(|l| l.first() == Some(&comment)).last().unwrap_or(first);
    let next = lines.find(|l| l.first() != Some(&comment))?;
    // A header may begin with `#`: then it has as many delimiters as the line that follows.
    let count = |line: &[u8], d: u8| line.iter().filter(|b| **b == d).count();
    let header = b",;\t|".iter().any(|d| count(last, *d) > 0 && count(last, *d) == count(next, *d));
    (!header).then_some(comment)
}

impl Reading {
    fn new(head: &[u8], whole: bool, syntax: Syntax) -> Self {
        let mut reading = Self {
            syntax,
            records: Vec::new(),
            faults: 0,
            skip: 0,
            width: 0,
            trailing: false,
            row_names: false,
            score: 0.0,
        };
        let (mut fields, mut at) = (Fields::default(), 0);
        while at < head.len() && reading.records.len() < RECORDS {
            let text = &head[at..];
            let Some(taken) = parse(text, whole, &syntax, &mut fields) else {
                // An incomplete record is ignored; a quote that stays open to the end is an error.
                reading.faults += usize::from(reading.records.is_empty() || head.len() - at > head.len() / 4);
                break;
            };
            at += taken;
            let comment = syntax.comment.is_some_and(|c| text[..taken].trim_ascii_start().first() == Some(&c));
            if comment || fields.blank(text) {
                continue;
            }
            reading.faults += usize::from(match fields.fault {
                Some(Fault::Unclosed(_) | Fault::AfterQuote(_)) => true,
                None => false,
            });
            let record = (0..fields.len()).map(|i| {
                let (bytes, quoted) = fields.get(text, i);
                Sampled { text: String::from_utf8_lossy(bytes).trim().to_owned(), quoted }
            });
            reading.records.push(record.collect());
        }
        reading.measure();
        reading
    }

    /// Finds the usual width, the preamble, and how well the records fit them.
    fn measure(&mut self) {
        let mut widths: HashMap<usize, usize> = HashMap::new();
        self.records.iter().for_each(|r| *widths.entry(r.len()).or_default() += 1);
        self.width = widths.iter().max_by_key(|(width, n)| (**n, **width)).map_or(0, |(width, _)| *width);
        self.skip = self.preamble();
        let records = &self.records[self.skip..];
        let Some((first, rest)) = records.split_first() else { return };
        let width = self.width;
        let even = rest.iter().all(|r| r.len() == width);
        let last_empty = |r: &Vec<Sampled>| r.last().is_some_and(|f| f.text.is_empty() && !f.quoted);
        let first_matches = first.len() == width;
        if width >= 2 && !rest.is_empty() && rest.iter().all(|r| r.len() < width || last_empty(r)) && even {
            self.trailing = (first_matches && last_empty(first)) || first.len() + 1 == width;
        }
        if !self.trailing && first.len() + 1 == width && width >= 2 && even && rest.len() >= 2 {
            let names: std::collections::HashSet<&str> = rest.iter().map(|r| r[0].text.as_str()).collect();
            let named = rest.iter().all(|r| r[0].quoted) || width >= 3;
            self.row_names = named && names.len() == rest.len();
        }
        let fitting = records.iter().filter(|r| r.len() == width).count()
            + usize::from((self.trailing || self.row_names) && !first_matches);
        let agreement = fitting as f64 / records.len() as f64;
        let (mut sum, mut count) = (0.0, 0usize);
        for field in records.iter().take(200).flatten() {
            sum += plausibility(field, self.syntax.quote);
            count += 1;
        }
        let header = if first_matches || self.trailing || self.row_names { 1.0 } else { 0.3 };
        let faults = 1.0 - self.faults as f64 / (self.records.len() + 1) as f64;
        let breadth = 1.0 - 0.5 / width.max(1) as f64;
        self.score = agreement * agreement * header * faults * faults * breadth * sum / count.max(1) as f64;
    }

    /// Records before the first that has the usual width or, in padded files, more than one field filled.
    fn preamble(&self) -> usize {
        let filled = |r: &Vec<Sampled>| r.iter().filter(|f| !f.text.is_empty()).count();
        let first = &self.records.first();
        let Some(first) = first else { return 0 };
        let is_preamble = |r: &Vec<Sampled>| match r.len() == self.width {
            true => self.width >= 3 && filled(r) <= 1,
            false => r.len() == 1 && self.width >= 2,
        };
        if !is_preamble(first) {
            return 0;
        }
        let skip = self.records.iter().take(PREAMBLE + 1).take_while(|r| is_preamble(r)).count();
        let Some(header) = self.records.get(skip).filter(|_| skip <= PREAMBLE) else { return 0 };
        // The table must be clear: a header of the full width with every name, then records of the same kind.
        let rest = &self.records[skip..];
        let even = rest.iter().filter(|r| r.len() == self.width).count() as f64 >= 0.9 * rest.len() as f64;
        // A delimiter at the end of each line begins no field.
        let named = filled(header) + usize::from(header.last().is_some_and(|f| f.text.is_empty()));
        if even && rest.len() >= 2 && named >= self.width { skip } else { 0 }
    }

    /// Whether the text is evidently a table under this syntax.
    fn sensible(&self) -> bool {
        let records = &self.records[self.skip.min(self.records.len())..];
        let Some(first) = records.first() else { return false };
        let matches = first.len() == self.width || self.trailing || self.row_names;
        if matches!(self.syntax.delimiter, b',' | b';' | b'\t' | b'|') {
            return self.width >= 2 && (matches || first.len() >= 2);
        }
        let even = records.iter().skip(1).all(|r| r.len() == self.width);
        let data = || records.iter().skip(1).take(200).flatten();
        let numbers = data().filter(|f| numeric(&f.text)).count();
        self.width >= 2 && matches && even && self.faults == 0 && records.len() >= 3 && numbers * 2 >= data().count()
    }
}

/// How much a field has the form of one value.
fn plausibility(field: &Sampled, quote: Option<u8>) -> f64 {
    let text = field.text.as_str();
    let has = |b: u8| text.as_bytes().contains(&b);
    if field.quoted || text.is_empty() || numeric(text) {
        return 1.0;
    }
    // Where single quotes are read, double ones may be inches, but hardly begin a field.
    if has(b'"') && (text.starts_with('"') || quote != Some(b'\'')) {
        return if text.starts_with('"') || text.ends_with('"') { 0.2 } else { 0.6 };
    }
    // A quote that opens and closes the field would have been one.
    if text.len() > 1 && text.starts_with('\'') && text.ends_with('\'') {
        return 0.5;
    }
    match has(b';') || has(b'\t') || has(b'|') {
        true => 0.3,
        false if has(b',') => 0.4,
        false => 0.95,
    }
}

/// Whether a field is a number or a date, in any usual spelling.
fn numeric(text: &str) -> bool {
    if cell::parse_number(text).is_some() || cell::parse_moment(text).is_some() {
        return true;
    }
    let text = text.trim_start_matches(['+', '-', '(', '$', '€', '£']).trim_end_matches(['%', ')', '€', '$', '£', ' ']);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let others = text.bytes().filter(|b| !b.is_ascii_digit()).count();
    let marks = |b: u8| b.is_ascii_digit() || matches!(b, b',' | b'.' | b' ' | b'\'' | b'/' | b'-' | b':');
    digits > 0 && text.as_bytes()[0].is_ascii_digit() && others <= 2 + digits / 2 && text.bytes().all(marks)
}

/// Words that mean that a field has no value; they give no evidence about its column.
fn empty_word(text: &str) -> bool {
    text.is_empty()
        || ["na", "n/a", "nan", "null", "none", "?", "-", ".", "unknown"].iter().any(|w| text.eq_ignore_ascii_case(w))
}

/// Decides whether the first record names the columns, where that was not specified.
fn header(best: &Reading, options: &mut ReadOptions) -> Findings {
    let records = &best.records[best.skip.min(best.records.len())..];
    let given = options.header;
    let width = best.width - usize::from(best.trailing && best.width > 0);
    if let Some(names) = options.names.take() {
        let first = records.first();
        let known = first.map_or(0, |r| r.iter().filter(|f| names.contains(&f.text)).count());
        let absent = given == Some(Header::Absent)
            || (given.is_none() && known == 0 && width == names.len() && votes(records).0 == 0 && votes(records).1 > 0);
        options.header = Some(if absent { Header::Absent } else { Header::Present });
        options.names = (absent && width == names.len()).then_some(names);
        return Findings::default();
    }
    if given.is_some() {
        return Findings::default();
    }
    let (names, data) = votes(records);
    let absent = names == 0 && data > 0 && !best.row_names;
    options.header = Some(if absent { Header::Absent } else { Header::Present });
    Findings { header_like_data: absent || (data > names && data > 0) }
}

/// How many columns are evidence that the first record names them, and how many that it is a row.
fn votes(records: &[Vec<Sampled>]) -> (usize, usize) {
    let Some((first, rest)) = records.split_first().filter(|(_, rest)| !rest.is_empty()) else { return (0, 0) };
    if counts_up(first) {
        return (1, 0);
    }
    let (mut names, mut data, mut recurring, mut texts) = (0, 0, 0, 0);
    for (i, field) in first.iter().enumerate() {
        let values: Vec<&str> =
            rest.iter().filter_map(|r| r.get(i)).map(|f| f.text.as_str()).filter(|t| !empty_word(t)).collect();
        if values.is_empty() || empty_word(&field.text) {
            continue;
        }
        let numbers = values.iter().filter(|t| numeric(t)).count() as f64;
        if numbers >= NUMERIC * values.len() as f64 {
            match numeric(&field.text) {
                false => names += 1,
                // A year as a name of a column of other numbers.
                true if year(&field.text) && !values.iter().any(|t| year(t)) => {}
                true => data += 1,
            }
            continue;
        }
        let different: std::collections::HashSet<&str> = values.iter().copied().collect();
        if values.len() >= 5 && different.len() * 2 <= values.len() {
            texts += 1;
            recurring += usize::from(different.contains(field.text.as_str()));
        }
    }
    // Names of columns do not recur as values: one may be chance, most of them are not.
    match data {
        0 if texts >= 2 && recurring * 5 >= texts * 4 && rest.len() >= 10 => (names, recurring),
        0 => (names, 0),
        _ => (names, data),
    }
}

fn year(text: &str) -> bool {
    text.len() == 4 && text.parse().is_ok_and(|y: u32| (1800..2200).contains(&y))
}

/// Whether at least three fields are whole numbers that go up by one: names such as 0, 1, 2 or years.
fn counts_up(first: &[Sampled]) -> bool {
    let whole: Vec<i64> = first.iter().filter_map(|f| f.text.parse().ok()).collect();
    whole.len() >= 3 && whole.len() + 2 >= first.len() && whole.windows(2).all(|w| w[1] == w[0] + 1)
}
