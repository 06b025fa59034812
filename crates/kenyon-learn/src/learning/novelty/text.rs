//! Statistics of texts: characters, by a model of their sequence, words, and length.
//!
//! A text in another language is detected by characters that rarely follow each other (Cavnar & Trenkle
//! 1994 classify languages by n-grams), one about another topic by unseen words.

use super::numbers::{UsualNumber, hash, rarity};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Slots that triples, pairs and single characters are counted in.
const TRIPLES: usize = 1 << 14;
const PAIRS: usize = 1 << 12;
const SINGLES: usize = 1 << 10;
/// Prior weight of a context in rows: the weight of shorter contexts.
const PRIOR: f32 = 4.0;
/// The least likely character, in nats.
const MOST: f32 = 12.0;
/// Characters of a text that are read.
const MAX_CHARACTERS: usize = 2_000;
/// Slots a word takes where few are kept.
const SLOTS_PER_WORD: usize = 16;

/// The texts of a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct UsualText {
    /// Counts of triples, then pairs, then single characters.
    counts: Packed,
    /// Characters counted.
    total: f32,
    /// A bit for each word's slot.
    words: Packed,
    length: UsualNumber,
    empty: f32,
    characters: Excess,
    unknown: Excess,
}

/// How much a sum over n parts usually exceeds n times its mean: parts vary by themselves, and texts from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Excess {
    mean: f32,
    /// Variance of a part.
    part: f32,
    /// Variance of the means of texts.
    text: f32,
}

impl Excess {
    /// Of sums and their numbers of parts.
    fn of(sums: &[(f32, f32)]) -> Self {
        let (sum, parts) = sums.iter().fold((0.0f32, 0.0f32), |(s, n), (sum, parts)| (s + sum, n + parts));
        let mean = sum / parts.max(1.0);
        // The squared excess of a text of n parts is n · (part + n · text) on average: a line through what it is by part.
        let points = || sums.iter().filter(|(_, n)| *n > 0.0).map(|&(sum, n)| (n, (sum - n * mean).powi(2) / n));
        let count = points().count().max(1) as f32;
        let (across, up) = points().fold((0.0, 0.0), |(x, y), (n, square)| (x + n / count, y + square / count));
        let (slope, spread) = points().fold((0.0, 0.0), |(slope, spread), (n, square)| {
            (slope + (n - across) * (square - up), spread + (n - across).powi(2))
        });
        let text = if spread > 0.0 { (slope / spread).clamp(0.0, up / across.max(1.0)) } else { 0.0 };
        Self { mean, part: (up - text * across).max(0.1 * up).max(0.0025), text }
    }

    fn measure(&self, (sum, parts): (f32, f32)) -> f32 {
        (sum - parts * self.mean) / (parts.max(1.0) * (self.part + parts * self.text)).sqrt()
    }
}

/// Small numbers as base64: JSON text of tens of thousands would be too long.
#[derive(Clone, Debug, Default, PartialEq)]
struct Packed(Vec<u8>);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD_NO_PAD.decode(text).map(Packed).map_err(serde::de::Error::custom)
    }
}

/// Counts up to a few thousand in a byte, exact to 3 %.
fn count_code(count: u32) -> u8 {
    ((1.0 + count as f32).ln() * 24.0).round().min(255.0) as u8
}

fn count_of(code: u8) -> f32 {
    (f32::from(code) / 24.0).exp() - 1.0
}

/// The features of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextMeasures {
    /// How unusual characters follow each other, in deviations.
    pub(super) characters: f32,
    /// How many more words are unknown than on average, in deviations.
    pub(super) words: f32,
    /// Rarity of its length, or of no text.
    pub(super) rarity: f32,
}

impl UsualText {
    /// Counts training texts; the statistics of sums are then fitted on held-out ones.
    pub(super) fn of<'a>(texts: impl Iterator<Item = Option<&'a str>> + Clone) -> Self {
        let mut counts = vec![0u32; TRIPLES + PAIRS + SINGLES];
        let (mut total, mut rows, mut empty, mut vocabulary) = (0u64, 0, 0, Vec::new());
        let mut lengths = Vec::new();
        for text in texts {
            rows += 1;
            let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
                empty += 1;
                continue;
            };
            let mut length = 0;
            each_character(text, |[triple, pair, single]| {
                counts[triple] += 1;
                counts[TRIPLES + pair] += 1;
                counts[TRIPLES + PAIRS + single] += 1;
                length += 1;
            });
            total += length as u64;
            lengths.push(f64::from(length as u32).ln());
            each_word(text, |word| vocabulary.push(hash(word)));
        }
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let bits = (vocabulary.len() * SLOTS_PER_WORD).next_power_of_two().clamp(1 << 10, 1 << 19);
        let mut words = vec![0u8; bits / 8];
        for word in vocabulary {
            let at = word as usize % bits;
            words[at / 8] |= 1 << (at % 8);
        }
        Self {
            counts: Packed(counts.into_iter().map(count_code).collect()),
            total: total as f32,
            words: Packed(words),
            length: UsualNumber::of(&lengths),
            empty: rarity(empty, rows),
            ..Self::default()
        }
    }

    /// Fits the statistics of sums on texts that were not counted.
    pub(super) fn settle<'a>(&mut self, texts: impl Iterator<Item = Option<&'a str>>) {
        let (mut characters, mut words) = (Vec::new(), Vec::new());
        for text in texts.flatten().filter(|text| !text.trim().is_empty()) {
            characters.push(self.surprisal(text));
            words.push(self.unknown_words(text));
        }
        (self.characters, self.unknown) = (Excess::of(&characters), Excess::of(&words));
    }

    /// The features of a text.
    pub(super) fn measure(&self, text: Option<&str>) -> TextMeasures {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return TextMeasures { rarity: self.empty, ..TextMeasures::default() };
        };
        let (sum, length) = self.surprisal(text);
        TextMeasures {
            characters: self.characters.measure((sum, length)),
            words: self.unknown.measure(self.unknown_words(text)),
            rarity: self.length.measure(f64::from(length.max(1.0).ln())).1,
        }
    }

    /// Sum of −ln p over the characters, and how many there are.
    fn surprisal(&self, text: &str) -> (f32, f32) {
        let count = |at: usize| count_of(self.counts.0.get(at).copied().unwrap_or(0));
        let (mut sum, mut length) = (0.0, 0.0);
        // The count of a pair's slot is how often it was followed by a character.
        let mut context = None;
        each_character(text, |[triple, pair, single]| {
            let single = (count(TRIPLES + PAIRS + single) + 0.01) / (self.total + 1.0);
            let share = match context.replace(pair) {
                Some(before) => (count(triple) + PRIOR * single) / (count(TRIPLES + before) + PRIOR),
                None => single,
            };
            sum += (-share.min(1.0).ln()).min(MOST);
            length += 1.0;
        });
        (sum, length)
    }

    fn unknown_words(&self, text: &str) -> (f32, f32) {
        let bits = self.words.0.len() * 8;
        let (mut unknown, mut words) = (0.0, 0.0);
        each_word(text, |word| {
            let at = hash(word) as usize % bits.max(1);
            unknown += f32::from(u8::from(self.words.0.get(at / 8).is_none_or(|byte| byte & (1 << (at % 8)) == 0)));
            words += 1.0;
        });
        (unknown, words)
    }

    pub(super) fn is_consistent(&self) -> bool {
        self.counts.0.len() == TRIPLES + PAIRS + SINGLES && !self.words.0.is_empty() && self.length.is_consistent()
    }
}

/// Slots of the triple that ends with each character, the pair that ends with it, and itself.
fn each_character(text: &str, mut each: impl FnMut([usize; 3])) {
    let (mut before, mut last) = ('\u{2}', '\u{2}');
    let mix = |a: u32, b: u32, c: u32| {
        let mut h = a.wrapping_mul(0x9e37_79b1) ^ b.wrapping_mul(0x85eb_ca77) ^ c.wrapping_mul(0xc2b2_ae3d);
        h ^= h >> 15;
        h = h.wrapping_mul(0x2c1b_3c6d);
        (h ^ (h >> 13)) as usize
    };
    for c in text.trim().chars().take(MAX_CHARACTERS).flat_map(char::to_lowercase) {
        let c = if c.is_whitespace() {
            ' '
        } else if c.is_ascii_digit() {
            '0'
        } else {
            c
        };
        let (a, b, c_) = (before as u32, last as u32, c as u32);
        each([mix(a, b, c_) % TRIPLES, mix(0, b, c_) % PAIRS, mix(0, 0, c_) % SINGLES]);
        (before, last) = (last, c);
    }
}

/// Runs of letters and digits in lower case.
fn each_word(text: &str, mut each: impl FnMut(&str)) {
    let cut = text.char_indices().nth(MAX_CHARACTERS).map_or(text.len(), |(at, _)| at);
    let lower = text[..cut].to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()).for_each(&mut each);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn english(i: usize) -> String {
        let who = ["the driver", "my sister", "a friend", "the old man", "our teacher", "the doctor"][i % 6];
        let does = ["went to", "has seen", "wrote about", "was late for", "talked about", "paid for"][i / 6 % 6];
        let what = ["the market in town", "a film last night", "the new house", "dinner on friday"][i / 36 % 4];
        format!("{who} {does} {what}")
    }

    #[test]
    fn other_languages_and_none_and_nothing_are_unusual() {
        let (learned, held): (Vec<String>, Vec<String>) =
            ((0..144).filter(|i| i % 4 != 0).map(english).collect(), (0..144).step_by(4).map(english).collect());
        let mut usual = UsualText::of(learned.iter().map(|t| Some(t.as_str())));
        usual.settle(held.iter().map(|t| Some(t.as_str())));
        assert!(usual.is_consistent());
        let most = held.iter().map(|t| usual.measure(Some(t)).characters).fold(0.0, f32::max);
        for foreign in ["le conducteur est parti au marché hier soir", "司机昨天去了市场", "qzx wvk jjq pfx zzkq wx"]
        {
            let measures = usual.measure(Some(foreign));
            assert!(measures.characters > 2.0 * most && measures.words > 3.0, "{foreign}: {measures:?}, {most}");
        }
        assert!(usual.measure(Some("  ")).rarity > 2.0 && usual.measure(None).rarity > 2.0);
        let saved = serde_json::to_string(&usual).unwrap_or_default();
        assert_eq!(serde_json::from_str::<UsualText>(&saved).ok(), Some(usual));
    }
}
