//! Text as entries: n-grams with tf·idf weights for bags, words for tokens.

use crate::data::{Batch, Column};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;

/// N-grams kept at most, those in the most texts.
const MAX_GRAMS: usize = 1 << 18;

/// Words kept at most, the most frequent.
const MAX_WORDS: usize = 30_000;

/// Buckets the character n-grams of words are hashed into.
const BUCKETS: u32 = 1 << 13;

/// A text is cut after this many bytes.
const MAX_BYTES: usize = 1 << 16;

/// Scratch space, reused from cell to cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    lower: String,
    ends: Vec<(usize, usize)>,
    grams: Vec<(u32, f32)>,
    padded: Vec<char>,
}

impl Words {
    /// Lower-cases and splits `text`: runs of letters and digits, and single marks such as `?`.
    fn split(&mut self, text: &str) {
        self.lower.clear();
        self.ends.clear();
        let cut = (0..=MAX_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        self.lower.extend(text[..cut].chars().flat_map(char::to_lowercase));
        let mut start = None;
        for (at, c) in self.lower.char_indices() {
            if c.is_alphanumeric() || c == '\'' {
                start.get_or_insert(at);
                continue;
            }
            if let Some(from) = start.take() {
                self.ends.push((from, at));
            }
            if matches!(c, '?' | '!' | '$' | '£' | '€' | '%') {
                self.ends.push((at, at + c.len_utf8()));
            }
        }
        if let Some(from) = start {
            self.ends.push((from, self.lower.len()));
        }
    }
}

/// FNV-1a over the characters, finished by a mixing step; it never changes, since saved models use it.
fn hash(kind: u8, parts: impl IntoIterator<Item = char>) -> u32 {
    let mut state = 0x811c_9dc5u32 ^ u32::from(kind);
    for part in parts {
        for byte in (part as u32).to_le_bytes() {
            state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    state ^= state >> 16;
    state = state.wrapping_mul(0x7feb_352d);
    state ^ (state >> 15)
}

/// Words, word pairs and character 3–5-grams, hashed, weighted and (when fitted) numbered densely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Grams {
    bits: u32,
    /// Hashes of the training rows, ascending; a gram's index is its position. None: the
    /// hash itself is the index.
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    known: Option<Vec<u32>>,
    /// Inverse document frequency of each known hash, in sixteenths.
    idf: String,
    #[serde(skip)]
    idf_codes: std::sync::OnceLock<Vec<u8>>,
}

impl Grams {
    /// Fits which n-grams exist (in two texts or more) and their inverse document frequency.
    pub(super) fn fit<'a>(texts: impl Iterator<Item = &'a str>, bits: u32) -> Self {
        let mut frequency: HashMap<u32, u32> = HashMap::new();
        let mut scratch = Words::default();
        let mut count = 0u32;
        for text in texts {
            collect(text, bits, &mut scratch);
            let mut last = None;
            for &(gram, _) in &scratch.grams {
                if last != Some(gram) {
                    *frequency.entry(gram).or_default() += 1;
                    last = Some(gram);
                }
            }
            count += 1;
        }
        let least = if count < 50 { 1 } else { 2 };
        let mut kept: Vec<(u32, u32)> = frequency.into_iter().filter(|&(_, n)| n >= least).collect();
        kept.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        kept.truncate(MAX_GRAMS);
        kept.sort_unstable();
        let codes: Vec<u8> = kept
            .iter()
            .map(|&(_, n)| {
                let idf = ((1.0 + f64::from(count)) / (1.0 + f64::from(n))).ln() + 1.0;
                (idf * 16.0).round().clamp(1.0, 255.0) as u8
            })
            .collect();
        let known = Some(kept.into_iter().map(|(gram, _)| gram).collect());
        Self { bits, known, idf: STANDARD_NO_PAD.encode(&codes), idf_codes: std::sync::OnceLock::new() }
    }

    /// Not fitted: every hash is an index of its own, all with the same weight.
    pub(super) fn hashed(bits: u32) -> Self {
        Self { bits, known: None, idf: String::new(), idf_codes: std::sync::OnceLock::new() }
    }

    /// Indices plus one for a text without a known gram.
    pub(super) fn width(&self) -> usize {
        self.known.as_ref().map_or(1 << self.bits.min(24), Vec::len) + 1
    }

    fn codes(&self) -> &[u8] {
        self.idf_codes.get_or_init(|| {
            let mut codes = STANDARD_NO_PAD.decode(&self.idf).unwrap_or_default();
            codes.resize(self.known.as_ref().map_or(0, Vec::len), 16);
            codes
        })
    }

    /// Pushes the entries of one text: (1 + ln tf)·idf, of length 1 over the text.
    pub(super) fn push(&self, text: &str, start: u32, batch: &mut Batch, scratch: &mut Words) {
        collect(text, self.bits, scratch);
        let first = batch.values.len();
        let codes = self.codes();
        let mut at = 0;
        let mut squares = 0.0;
        while at < scratch.grams.len() {
            let (gram, mut tally) = (scratch.grams[at].0, 0.0);
            while at < scratch.grams.len() && scratch.grams[at].0 == gram {
                tally += scratch.grams[at].1;
                at += 1;
            }
            let (index, idf) = match &self.known {
                None => (gram as usize, 1.0),
                Some(known) => match known.binary_search(&gram) {
                    Ok(index) => (index, f32::from(codes[index]) / 16.0),
                    Err(_) => continue,
                },
            };
            let value = (1.0 + tally.ln()) * idf;
            squares += value * value;
            batch.push_entry(start + index as u32, value);
        }
        if squares > 0.0 {
            let factor = 1.0 / squares.sqrt();
            batch.values[first..].iter_mut().for_each(|v| *v *= factor);
        } else {
            batch.push_entry(start + self.width() as u32 - 1, 1.0);
        }
    }
}

/// All grams of a text into `scratch.grams`, sorted by hash, repeats kept.
fn collect(text: &str, bits: u32, scratch: &mut Words) {
    scratch.split(text);
    scratch.grams.clear();
    let mask = if bits >= 32 { u32::MAX } else { (1 << bits) - 1 };
    let words = |i: usize| -> &str { &scratch.lower[scratch.ends[i].0..scratch.ends[i].1] };
    for i in 0..scratch.ends.len() {
        scratch.grams.push((hash(1, words(i).chars()) & mask, 1.0));
        if i + 1 < scratch.ends.len() {
            let pair = words(i).chars().chain([' ']).chain(words(i + 1).chars());
            scratch.grams.push((hash(2, pair) & mask, 1.0));
        }
        scratch.padded.clear();
        scratch.padded.push('<');
        scratch.padded.extend(words(i).chars().take(64));
        scratch.padded.push('>');
        for n in 3..=5 {
            for gram in scratch.padded.windows(n) {
                scratch.grams.push((hash(3, gram.iter().copied()) & mask, 1.0));
            }
        }
    }
    scratch.grams.sort_unstable_by_key(|&(gram, _)| gram);
}

/// The words of all text columns of a model: one index a word, so that words of the query text share the index of
/// the same words in its story; unseen words are represented by their character n-grams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lexicon {
    words: IndexSet<String>,
    /// Whether known words also have their n-grams (free text), or only themselves (stories).
    subwords: bool,
}

impl Lexicon {
    /// The words of `columns` in `rows`; those that occur once are left to their n-grams where there are many.
    pub(super) fn fit(columns: &[&Column], rows: &[usize], subwords: bool) -> Self {
        let mut counts: IndexMap<String, usize> = IndexMap::new();
        let mut scratch = Words::default();
        let mut add = |text: &str| {
            scratch.split(text);
            for &(from, to) in &scratch.ends {
                match counts.get_mut(&scratch.lower[from..to]) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(scratch.lower[from..to].to_owned(), 1);
                    }
                }
            }
        };
        for column in columns {
            match column {
                Column::Text(values) => rows.iter().filter_map(|&row| values[row].as_deref()).for_each(&mut add),
                Column::Strings { offsets, values } => {
                    rows.iter().flat_map(|&row| &values[offsets[row]..offsets[row + 1]]).for_each(|s| add(s));
                }
                _ => {}
            }
        }
        let least = if counts.len() > 1000 { 2 } else { 1 };
        let mut words: Vec<(String, usize)> = counts.into_iter().filter(|(_, n)| *n >= least).collect();
        words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        words.truncate(MAX_WORDS);
        Self { words: words.into_iter().map(|(word, _)| word).collect(), subwords }
    }

    /// Words, then buckets of n-grams.
    pub(super) fn width(&self) -> u32 {
        self.words.len() as u32 + BUCKETS
    }

    /// Whether a text is one sentence (a token), as the query texts next to stories are.
    pub(super) fn is_for_stories(&self) -> bool {
        !self.subwords
    }

    /// Pushes a text as one token holding its words in order, or as a token a word.
    pub(super) fn push(&self, text: &str, field: u16, one_token: bool, batch: &mut Batch, scratch: &mut Words) {
        scratch.split(text);
        for i in 0..scratch.ends.len() {
            let (from, to) = scratch.ends[i];
            let word = &scratch.lower[from..to];
            let known = self.words.get_index_of(word);
            if let Some(index) = known {
                batch.push_entry(index as u32, 1.0);
            }
            if self.subwords || known.is_none() {
                scratch.padded.clear();
                scratch.padded.push('<');
                scratch.padded.extend(word.chars().take(64));
                scratch.padded.push('>');
                let grams = scratch.padded.len().saturating_sub(2) + scratch.padded.len().saturating_sub(3);
                let value = 1.0 / (grams.max(1) as f32).sqrt();
                for n in 3..=4 {
                    for gram in scratch.padded.windows(n) {
                        let bucket = hash(3, gram.iter().copied()) % BUCKETS;
                        batch.push_entry(self.words.len() as u32 + bucket, value);
                    }
                }
            }
            if !one_token {
                batch.end_token(field);
            }
        }
        if one_token {
            batch.end_token(field);
        }
    }
}

/// Hashes as base64 of little-endian bytes: a hundred thousand numbers are too many for JSON text.
fn pack<S: Serializer>(known: &Option<Vec<u32>>, serializer: S) -> Result<S::Ok, S::Error> {
    let packed = known.as_ref().map(|known| {
        let bytes: Vec<u8> = known.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        STANDARD_NO_PAD.encode(bytes)
    });
    packed.serialize(serializer)
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u32>>, D::Error> {
    let Some(packed) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let bytes = STANDARD_NO_PAD.decode(packed).map_err(serde::de::Error::custom)?;
    let known: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|&chunk| u32::from_le_bytes(chunk)).collect();
    if bytes.len() % 4 != 0 || !known.is_sorted_by(|a, b| a < b) {
        return Err(serde::de::Error::custom("the hashes of a text column must ascend"));
    }
    Ok(Some(known))
}
