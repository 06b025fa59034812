//! Statistics of one column, gathered while a file is read. No allocation per cell, except for new names.

use super::ColumnKind;
use super::sketch::Sketch;
use crate::data::cell::{List, hash_bytes, mix};
use crate::data::kinds::{Evidence, Spelling};
use crate::data::warning::{MAX_EXAMPLES, WarningExample};
use crate::data::written::number_value;
use serde_json::Value;
use std::collections::HashMap;

/// Values kept as examples.
const EXAMPLES: usize = 5;

/// Limits of what is kept of a column; smaller for wide files, so that memory stays constant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Different values counted exactly.
    pub(super) distinct: usize,
    /// Different names whose frequency is counted.
    pub(super) names: usize,
    /// Numbers sampled for the histogram.
    pub(super) sample: usize,
}

impl Bounds {
    /// For a file of `columns` columns.
    pub(super) fn new(columns: usize) -> Self {
        let share = |total: usize, low, high| (total / columns.max(1)).clamp(low, high);
        Self { distinct: share(400_000, 64, 4096), names: share(100_000, 16, 1024), sample: share(2_000_000, 64, 4096) }
    }
}

/// How a column whose kind is known is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) kind: ColumnKind,
    pub(super) spelling: Spelling,
    /// For vectors of the dataset appended to: how long they must be.
    pub(super) width: Option<usize>,
    /// Why the column is not read at all, if so.
    pub(super) unreadable: Option<String>,
}

impl Reading {
    /// In the plainest spelling.
    pub(super) fn new(kind: ColumnKind) -> Self {
        Self { kind, spelling: Spelling::default(), width: None, unreadable: None }
    }
}

/// Gathered statistics of a column.
pub(super) struct Stats {
    pub(super) name: String,
    /// Whether the file has no name for it.
    pub(super) unnamed: bool,
    /// How it is read, once that is known: by the dataset appended to, the format, or an earlier pass.
    pub(super) reading: Option<Reading>,
    /// Cells with a value; words for "no value" and cells that do not fit are none.
    pub(super) present: u64,
    /// Cells that are not of the known kind, and the first of them.
    pub(super) misfits: u64,
    pub(super) misfit_examples: Vec<WarningExample>,
    /// Words for "no value", their occurrences, and the first of them.
    pub(super) words: Vec<(Box<str>, u64)>,
    pub(super) word_examples: Vec<WarningExample>,
    pub(super) numbers: u64,
    pub(super) booleans: u64,
    pub(super) moments: u64,
    pub(super) images: u64,
    pub(super) texts: u64,
    /// Texts that a kind recognises, by kind.
    votes: [u64; 16],
    /// Plain numbers such as `216.191`, whose point may separate thousands.
    pub(super) ambiguous_points: u64,
    /// Whole numbers that 64 bits do not hold: their digits are names.
    pub(super) beyond: u64,
    /// Typed texts that are plain numbers: whole ones, which may be codes, and others.
    pub(super) typed_whole: u64,
    pub(super) typed_fractions: u64,
    /// Quoted words for "no value", which are names among names only.
    pub(super) quoted_words: u64,
    /// Texts with a number and something around it, such as `32.4 kg` and `<0.5`, and the first of them.
    pub(super) near_numbers: u64,
    pub(super) near_examples: Vec<WarningExample>,
    pub(super) evidence: Evidence,
    pub(super) lists: Lists,
    /// Numbers and words such as `inf`.
    pub(super) not_finite: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// Sum in units of 2^60, so that it cannot overflow.
    sum: f64,
    /// Numbers that are not whole.
    pub(super) fractions: u64,
    /// Whole numbers from 0 to 255, by bit: most pixel columns need no more.
    small: [u64; 4],
    /// Rows of the smallest and the largest number.
    pub(super) ends_at: (u64, u64),
    /// Cells that cannot be read, the first of them, and the reason for the whole column where there is one.
    pub(super) unreadable: u64,
    pub(super) unreadable_at: Vec<(u64, String)>,
    pub(super) unreadable_why: Option<String>,
    pub(super) sketch: Sketch,
    pub(super) sample: Vec<f32>,
    /// Names by canonical form, as first written, with their count.
    pub(super) names: HashMap<Box<str>, (Box<str>, u64)>,
    names_bound: usize,
    pub(super) bytes: u64,
    pub(super) spaces: u64,
    pub(super) wide: u64,
    pub(super) questions: u64,
    pub(super) examples: Vec<Value>,
    pub(super) image_shape: Option<Vec<usize>>,
}

/// Gathered statistics of a column's lists.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) count: u64,
    pub(super) strings: u64,
    pub(super) nested: u64,
    pub(super) shortest: usize,
    pub(super) longest: usize,
    pub(super) channels: Option<usize>,
    pub(super) numbers: u64,
}

/// Whether a plain number is one to three digits, not beginning with 0, a point and three digits.
#[inline]
fn may_separate_thousands(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    matches!(digits.len(), 5..=7)
        && digits[digits.len() - 4] == b'.'
        && digits[0] != b'0'
        && digits.iter().filter(|b| b.is_ascii_digit()).count() == digits.len() - 1
}

/// The unit of sums, a power of two.
const UNIT: f64 = (1u64 << 60) as f64;

impl Stats {
    pub(super) fn new(name: &str, bounds: Bounds) -> Self {
        Self {
            name: name.to_owned(),
            unnamed: false,
            reading: None,
            present: 0,
            misfits: 0,
            misfit_examples: Vec::new(),
            words: Vec::new(),
            word_examples: Vec::new(),
            numbers: 0,
            booleans: 0,
            moments: 0,
            images: 0,
            texts: 0,
            votes: [0; 16],
            ambiguous_points: 0,
            beyond: 0,
            typed_whole: 0,
            typed_fractions: 0,
            quoted_words: 0,
            near_numbers: 0,
            near_examples: Vec::new(),
            evidence: Evidence::default(),
            lists: Lists { shortest: usize::MAX, ..Lists::default() },
            not_finite: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            fractions: 0,
            small: [0; 4],
            ends_at: (0, 0),
            unreadable: 0,
            unreadable_at: Vec::new(),
            unreadable_why: None,
            sketch: Sketch::new(bounds.distinct),
            sample: Vec::new(),
            names: HashMap::new(),
            names_bound: bounds.names,
            bytes: 0,
            spaces: 0,
            wide: 0,
            questions: 0,
            examples: Vec::new(),
            image_shape: None,
        }
    }

    /// Whether a plain number can be counted without its kind.
    #[inline]
    pub(super) fn takes_plain_numbers(&self) -> bool {
        self.reading.as_ref().is_none_or(|r| r.kind == ColumnKind::Number && !r.spelling.decimal_comma)
    }

    /// A number as a file has it; long integers are distinguished beyond the doubles' 53 bits.
    #[inline]
    pub(super) fn raw_number(&mut self, x: f64, text: &str, sampled: bool) {
        self.ambiguous_points += u64::from(may_separate_thousands(text.as_bytes()));
        match text.len() {
            16.. => match text.parse() {
                Ok(whole) => self.integer(whole, sampled),
                Err(_) => self.number(x, sampled),
            },
            _ => self.number(x, sampled),
        }
    }

    /// A finite number.
    #[inline]
    pub(super) fn number(&mut self, x: f64, sampled: bool) {
        self.take(x, x.to_bits(), sampled);
    }

    #[inline]
    fn take(&mut self, x: f64, identity: u64, sampled: bool) {
        self.present += 1;
        self.numbers += 1;
        self.sum += x / UNIT;
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        let small = x as u8;
        if f64::from(small) == x {
            self.small[usize::from(small >> 6)] |= 1 << (small & 63);
        } else {
            self.fractions += u64::from(x.fract() != 0.0);
            self.sketch.insert(mix(identity));
        }
        if sampled {
            self.sample.push(x as f32);
        }
    }

    /// A whole number; distinct beyond the doubles' 53 bits, too.
    pub(super) fn integer(&mut self, x: i128, sampled: bool) {
        self.beyond += u64::from(i64::try_from(x).is_err() && u64::try_from(x).is_err());
        let double = x as f64;
        let exact = double as i128 == x;
        self.take(double, if exact { double.to_bits() } else { x as u64 ^ 0x5bd1_e995_0000_0000 }, sampled);
    }

    /// A typed timestamp in Unix seconds.
    pub(super) fn moment(&mut self, seconds: f64, sampled: bool) {
        self.number(seconds, sampled);
        self.numbers -= 1;
        self.moments += 1;
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, value: bool) {
        self.present += 1;
        self.booleans += 1;
        let name = if value { "true" } else { "false" };
        self.count_name(name, name, 1);
    }

    /// A text of any sort, by its canonical form; `written` is its spelling.
    pub(super) fn text(&mut self, name: &str, written: &str) {
        self.present += 1;
        self.texts += 1;
        self.bytes += written.len() as u64;
        self.spaces += written.bytes().filter(|b| *b == b' ').count() as u64;
        self.wide += u64::from(!written.is_ascii());
        self.questions += u64::from(written.ends_with('?'));
        self.count_name(name, written, 1);
    }

    /// Which kinds recognise a text.
    pub(super) fn vote(&mut self, text: &str) {
        for kind in ColumnKind::all() {
            self.votes[kind as usize] += u64::from(kind.spec().recognises(text, &mut self.evidence));
        }
    }

    /// How many cells are evidence for a kind.
    pub(super) fn votes(&self, kind: ColumnKind) -> u64 {
        self.votes[kind as usize]
            + match kind {
                ColumnKind::Number => self.numbers + self.not_finite,
                ColumnKind::Boolean => self.booleans,
                ColumnKind::Timestamp => self.moments,
                ColumnKind::Image => self.images,
                _ => 0,
            }
    }

    /// A word for "no value".
    pub(super) fn word(&mut self, word: &str, row: u64) {
        if word.is_empty() {
            return;
        }
        if self.word_examples.len() < MAX_EXAMPLES {
            self.word_examples.push(WarningExample { row, value: word.into() });
        }
        match self.words.iter_mut().find(|(known, _)| **known == *word) {
            Some((_, count)) => *count += 1,
            None => self.words.push((word.into(), 1)),
        }
    }

    /// Words for "no value" that are names in this column after all.
    pub(super) fn keep_words(&mut self, is_missing: impl Fn(&str) -> bool) {
        for (word, count) in std::mem::take(&mut self.words) {
            if is_missing(&word) {
                self.words.push((word, count));
            } else {
                self.present += count;
                self.texts += count;
                self.bytes += word.len() as u64 * count;
                self.count_name(&word, &word, count);
            }
        }
        let words = &self.words;
        self.word_examples.retain(|e| words.iter().any(|(word, _)| e.value == **word));
    }

    /// A cell that is not of the known kind.
    pub(super) fn misfit(&mut self, row: u64, value: impl FnOnce() -> Value) {
        self.misfits += 1;
        if self.misfit_examples.len() < MAX_EXAMPLES {
            self.misfit_examples.push(WarningExample { row, value: value() });
        }
    }

    /// An image, whose size matters only once.
    pub(super) fn image(&mut self, hash: u64, shape: Option<Vec<usize>>) {
        self.present += 1;
        self.images += 1;
        self.sketch.insert(hash);
        if let Some(shape) = shape {
            self.image_shape.get_or_insert(shape);
        }
    }

    /// The mean of `count` numbers.
    pub(super) fn mean(&self, count: u64) -> f64 {
        self.sum / count as f64 * UNIT
    }

    /// A valid list; returns why it does not fit the lists before it, if so.
    pub(super) fn list(&mut self, list: &List) -> Option<String> {
        self.present += 1;
        let lists = &mut self.lists;
        lists.count += 1;
        lists.strings += u64::from(!list.ends.is_empty());
        lists.nested += u64::from(!list.inner.is_empty());
        lists.shortest = lists.shortest.min(list.len);
        lists.longest = lists.longest.max(list.len);
        let mut hash = 0;
        for &x in list.numbers.iter().filter(|x| !x.is_nan()) {
            lists.numbers += 1;
            self.sum += x / UNIT;
            self.min = self.min.min(x);
            self.max = self.max.max(x);
            self.fractions += u64::from(x.fract() != 0.0);
            hash = mix(hash ^ x.to_bits());
        }
        self.sketch.insert(mix(hash ^ hash_bytes(list.text.as_bytes(), list.len as u64)));
        if self.examples.is_empty() {
            let example: Vec<Value> = match list.ends.is_empty() {
                false => list.strings().take(8).map(Value::from).collect(),
                true if list.inner.is_empty() => list.numbers.iter().take(64).map(|x| number_value(*x)).collect(),
                true => list
                    .numbers
                    .chunks(list.channels().max(1))
                    .take(4)
                    .map(|step| step.iter().map(|x| number_value(*x)).collect())
                    .collect(),
            };
            self.examples.push(Value::Array(example));
        }
        if list.len == 0 {
            return None;
        }
        let channels = list.channels();
        match self.lists.channels.replace(channels) {
            Some(before) if before != channels => {
                self.lists.channels = Some(before);
                Some(match (before, channels) {
                    (0, _) | (_, 0) => "the column mixes lists of strings with lists of numbers".into(),
                    _ => format!("steps of {channels} numbers where the rows before have {before}"),
                })
            }
            _ => None,
        }
    }

    /// Different values, with the small whole numbers moved into the sketch.
    pub(super) fn close(&mut self) {
        for word in 0..4u8 {
            let mut bits = std::mem::take(&mut self.small[usize::from(word)]);
            while bits != 0 {
                let value = f64::from(word) * 64.0 + f64::from(bits.trailing_zeros());
                self.sketch.insert(mix(value.to_bits()));
                bits &= bits - 1;
            }
        }
    }

    fn count_name(&mut self, name: &str, written: &str, times: u64) {
        self.sketch.insert(hash_bytes(name.as_bytes(), 0));
        if let Some((_, count)) = self.names.get_mut(name) {
            *count += times;
        } else if self.names.len() < self.names_bound && name.len() <= 100 {
            self.names.insert(name.into(), (written.into(), times));
        }
    }

    /// A text with a number and something around it.
    pub(super) fn near_number(&mut self, text: &str, row: u64) {
        self.near_numbers += 1;
        if self.near_examples.len() < MAX_EXAMPLES {
            self.near_examples.push(WarningExample { row, value: text.into() });
        }
    }

    /// Whether examples are still kept.
    pub(super) fn wants_examples(&self) -> bool {
        self.examples.len() < EXAMPLES
    }

    /// Keeps a value as an example, up to the limit.
    #[inline]
    pub(super) fn show(&mut self, value: impl FnOnce() -> Value) {
        if self.wants_examples() {
            let value = value();
            if !self.examples.contains(&value) {
                self.examples.push(value);
            }
        }
    }
}
