//! The tokens of a static encoder: those of the transformer's tokenizer, and frequent words that it reads in pieces.

use crate::encoders::refused;
use crate::encoders::tokens::Tokens;
use crate::nn::kernels::parallel;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::HashMap;

/// Occurrences from which on a word has a vector of its own.
const FREQUENT: u32 = 5;
/// Words at most, the most frequent ones.
const MOST_WORDS: usize = 10_000;

/// The tokens of a static encoder, by their ids.
pub(super) struct Vocabulary {
    /// Its tokenizer.
    pub(super) tokenizer: Value,
    /// The transformer's tokens that each is; none for marks.
    pub(super) sequences: Vec<Vec<u32>>,
    /// Words that were added.
    pub(super) words: usize,
    /// What the transformer's tokenizer puts before and after a text.
    marks: (Vec<u32>, Vec<u32>),
}

impl Vocabulary {
    /// The vocabulary of `teacher` and frequent words of `texts`. Only a word-piece tokenizer can take words.
    pub(super) fn of(teacher: &Tokens, texts: &[&str], threads: usize) -> Result<Self> {
        let mut tokenizer = teacher.json()?;
        for part in ["post_processor", "truncation", "padding"] {
            tokenizer[part] = Value::Null;
        }
        let marks = teacher.special();
        let mut sequences: Vec<Vec<u32>> =
            (0..=teacher.highest()).map(|id| if marks.contains(&id) { Vec::new() } else { vec![id] }).collect();
        let mut words = 0;
        let prefix = tokenizer["model"]["continuing_subword_prefix"].as_str().map(str::to_owned);
        let is_word_piece = tokenizer["model"]["type"].as_str().is_none_or(|kind| kind == "WordPiece");
        if let (Some(prefix), true) = (prefix.filter(|prefix| !prefix.is_empty()), is_word_piece) {
            let found = frequent_words(teacher, texts, &prefix, threads)?;
            let Some(pieces) = tokenizer["model"]["vocab"].as_object_mut() else {
                return Err(refused("tokenizer.json has no vocabulary"));
            };
            for (word, ids) in found {
                if !pieces.contains_key(&word) {
                    pieces.insert(word, sequences.len().into());
                    sequences.push(ids);
                    words += 1;
                }
            }
        }
        Ok(Self { tokenizer, sequences, words, marks: teacher.marks_around()? })
    }

    /// Sequences as the transformer reads a text of them, at most `longest` tokens; none of a mark.
    pub(super) fn marked(&self, sequences: &[Vec<u32>], longest: usize) -> Vec<Vec<u32>> {
        let (before, after) = &self.marks;
        let inside = longest.saturating_sub(before.len() + after.len()).max(1);
        let marked = |ids: &Vec<u32>| match ids.is_empty() {
            true => Vec::new(),
            false => before.iter().chain(ids.iter().take(inside)).chain(after).copied().collect(),
        };
        sequences.iter().map(marked).collect()
    }
}

/// Words of several pieces that occur often, the most frequent first, with their pieces.
fn frequent_words(teacher: &Tokens, texts: &[&str], prefix: &str, threads: usize) -> Result<Vec<(String, Vec<u32>)>> {
    type Counted = HashMap<String, (u32, Vec<u32>)>;
    let mut parts: Vec<(&[&str], Result<Counted>)> = texts.chunks(512).map(|part| (part, Ok(Counted::new()))).collect();
    parallel::each(&mut parts, threads, |_, (texts, counted)| {
        let mut found = Counted::new();
        let all = texts.iter().try_for_each(|text| {
            for (pieces, ids) in teacher.words(text)?.into_iter().filter(|(pieces, _)| pieces.len() > 1) {
                let word: String = pieces.iter().map(|piece| piece.strip_prefix(prefix).unwrap_or(piece)).collect();
                found.entry(word).or_insert((0, ids)).0 += 1;
            }
            Ok::<_, Error>(())
        });
        *counted = all.map(|()| found);
    });
    let mut counts = Counted::new();
    for (_, part) in parts {
        for (word, (count, ids)) in part? {
            counts.entry(word).or_insert((0, ids)).0 += count;
        }
    }
    let mut words: Vec<(String, (u32, Vec<u32>))> =
        counts.into_iter().filter(|(_, (count, _))| *count >= FREQUENT).collect();
    words.sort_by(|(a, (n, _)), (b, (m, _))| m.cmp(n).then_with(|| a.cmp(b)));
    words.truncate(MOST_WORDS);
    Ok(words.into_iter().map(|(word, (_, ids))| (word, ids)).collect())
}
