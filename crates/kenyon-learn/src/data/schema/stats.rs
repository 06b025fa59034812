//! What is gathered about one column while a file goes by. No allocation per cell, except for new names.

use super::ColumnKind;
use super::sketch::Sketch;
use crate::data::cell::{List, hash_bytes, mix, shorten};
use serde_json::Value;
use std::collections::HashMap;

/// Values kept as examples.
const EXAMPLES: usize = 5;

/// How much a column may keep; less for wide files, so that memory stays flat.
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

/// Gathered facts about a column.
pub(super) struct Stats {
    pub(super) name: String,
    /// The kind it must have: of the dataset appended to, or of the format.
    pub(super) expected: Option<ColumnKind>,
    /// For vectors of the dataset appended to: how long they must be.
    pub(super) width: Option<usize>,
    pub(super) present: u64,
    /// Values that are not of the expected kind.
    pub(super) misfits: u64,
    pub(super) numbers: u64,
    pub(super) booleans: u64,
    pub(super) moments: u64,
    pub(super) images: u64,
    pub(super) texts: u64,
    pub(super) lists: Lists,
    /// Words such as `inf`, and where the first of them stand.
    pub(super) not_finite: u64,
    pub(super) not_finite_at: Vec<(u64, String)>,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
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
    pub(super) names: HashMap<Box<str>, u64>,
    names_bound: usize,
    pub(super) bytes: u64,
    pub(super) spaces: u64,
    pub(super) wide: u64,
    pub(super) questions: u64,
    pub(super) examples: Vec<Value>,
    pub(super) image_shape: Option<Vec<usize>>,
}

/// Gathered facts about a column's lists.
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

impl Stats {
    pub(super) fn new(name: &str, expected: Option<ColumnKind>, bounds: Bounds) -> Self {
        Self {
            name: name.to_owned(),
            expected,
            width: None,
            present: 0,
            misfits: 0,
            numbers: 0,
            booleans: 0,
            moments: 0,
            images: 0,
            texts: 0,
            lists: Lists { shortest: usize::MAX, ..Lists::default() },
            not_finite: 0,
            not_finite_at: Vec::new(),
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

    /// A finite number.
    #[inline]
    pub(super) fn number(&mut self, x: f64, sampled: bool) {
        self.present += 1;
        self.numbers += 1;
        self.sum += x;
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        let small = x as u8;
        if f64::from(small) == x {
            self.small[usize::from(small >> 6)] |= 1 << (small & 63);
        } else {
            self.fractions += u64::from(x.fract() != 0.0);
            self.sketch.insert(mix(x.to_bits()));
        }
        if sampled {
            self.sample.push(x as f32);
        }
        if self.examples.len() < EXAMPLES {
            self.example(number_value(x));
        }
    }

    /// A whole number; distinct beyond the doubles' 53 bits, too.
    pub(super) fn integer(&mut self, x: i128, sampled: bool) {
        let double = x as f64;
        self.number(double, sampled);
        if double as i128 != x {
            self.sketch.insert(mix(x as u64 ^ 0x5bd1_e995));
        }
    }

    /// A moment in Unix seconds; `text` as it stands in the data.
    pub(super) fn moment(&mut self, seconds: f64, text: Option<&str>, sampled: bool) {
        self.present += 1;
        self.moments += 1;
        self.sum += seconds;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
        self.sketch.insert(mix(seconds.to_bits()));
        if sampled {
            self.sample.push(seconds as f32);
        }
        if self.examples.len() < EXAMPLES {
            self.example(text.map_or_else(|| number_value(seconds), Value::from));
        }
        if let Some(text) = text {
            self.count_name(text);
        }
    }

    /// A truth value.
    pub(super) fn boolean(&mut self, value: bool) {
        self.present += 1;
        self.booleans += 1;
        self.count_name(if value { "true" } else { "false" });
        if self.examples.len() < EXAMPLES {
            self.example(Value::Bool(value));
        }
    }

    /// A string of any sort.
    pub(super) fn text(&mut self, text: &str) {
        self.present += 1;
        self.texts += 1;
        self.bytes += text.len() as u64;
        self.spaces += text.bytes().filter(|b| *b == b' ').count() as u64;
        self.wide += u64::from(!text.is_ascii());
        self.questions += u64::from(text.ends_with('?'));
        self.count_name(text);
        if self.examples.len() < EXAMPLES {
            self.example(Value::String(if text.len() > 200 { shorten(text) } else { text.to_owned() }));
        }
    }

    /// An image, whose size matters only once.
    pub(super) fn image(&mut self, hash: u64) {
        self.present += 1;
        self.images += 1;
        self.sketch.insert(hash);
    }

    /// A list without fault; returns why it does not fit the lists before it, if so.
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
            self.sum += x;
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

    fn count_name(&mut self, name: &str) {
        self.sketch.insert(hash_bytes(name.as_bytes(), 0));
        if let Some(count) = self.names.get_mut(name) {
            *count += 1;
        } else if self.names.len() < self.names_bound && name.len() <= 100 {
            self.names.insert(name.into(), 1);
        }
    }

    fn example(&mut self, value: Value) {
        if !self.examples.contains(&value) {
            self.examples.push(value);
        }
    }
}

/// A number as JSON: whole numbers without a fraction, what is not finite as null.
pub(in crate::data) fn number_value(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 9e15 { Value::from(x as i64) } else { Value::from(x) }
}
