//! The tokenizer of a text encoder: from a text to the ids that its table has rows for.

use super::folder::Folder;
use super::refused;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::HashSet;
use tokenizers::{Tokenizer, TruncationParams};

/// A text is cut after this many bytes: more than any encoder reads.
const MAX_BYTES: usize = 1 << 16;

/// A tokenizer with the settings of its encoder.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    /// Whether the marks of beginning and end are added.
    marks: bool,
    /// The id for unknown pieces, where those are left out.
    dropped: Option<u32>,
}

impl Tokens {
    /// Reads `tokenizer.json`, for texts of at most `longest` tokens and a table of `rows` rows.
    ///
    /// # Errors
    /// A file that cannot be read, or one with ids that the table has no row for.
    pub(super) fn open(folder: &Folder, longest: usize, rows: usize, marks: bool) -> Result<Self> {
        let bytes = folder.tokenizer()?;
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|e| refused(format!("tokenizer.json cannot be read: {e}")))?;
        let pieces = tokenizer.get_vocab_size(true);
        let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        // Tables are padded to a round number of rows at most.
        if highest >= rows || pieces < rows - rows / 8 {
            return Err(refused(format!("tokenizer.json has {pieces} tokens and the weights are of {rows}")));
        }
        let truncation = TruncationParams { max_length: longest, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| refused(format!("tokenizer.json: {e}")))?;
        tokenizer.with_padding(None);
        let dropped = if marks { None } else { unknown(&bytes, &tokenizer) };
        let it = Self { tokenizer, marks, dropped };
        it.ids("a test").map_err(|_| refused("tokenizer.json does not tokenize a short text"))?;
        Ok(it)
    }

    /// The highest id.
    pub(super) fn highest(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// The tokenizer as its file would have it.
    pub(super) fn json(&self) -> Result<Value> {
        let text = self.tokenizer.to_string(false).map_err(Error::internal)?;
        serde_json::from_str(&text).map_err(Error::internal)
    }

    /// The ids of marks, such as those of beginning and end.
    pub(super) fn special(&self) -> HashSet<u32> {
        let added = self.tokenizer.get_added_tokens_decoder();
        added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect()
    }

    /// The ids that are put before and after those of a text.
    ///
    /// # Errors
    /// A tokenizer that puts a mark between them.
    pub(super) fn marks_around(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        let [with, without] = [true, false].map(|marks| self.tokenizer.encode_fast("a", marks));
        let (with, without) = (with.map_err(Error::internal)?, without.map_err(Error::internal)?);
        let (with, without) = (with.get_ids(), without.get_ids());
        let found = (0..=with.len().saturating_sub(without.len())).find(|&at| with[at..].starts_with(without));
        let at = found.ok_or_else(|| refused("its tokenizer puts marks into a text"))?;
        Ok((with[..at].to_vec(), with[at + without.len()..].to_vec()))
    }

    /// The words of a text as the tokenizer divides it: the pieces of each, and their ids.
    pub(super) fn words(&self, text: &str) -> Result<Vec<(Vec<String>, Vec<u32>)>> {
        let text = &text[..text.floor_char_boundary(MAX_BYTES)];
        let encoding = self.tokenizer.encode_fast(text, false).map_err(Error::internal)?;
        let (pieces, ids, words) = (encoding.get_tokens(), encoding.get_ids(), encoding.get_word_ids());
        let mut found: Vec<(Vec<String>, Vec<u32>)> = Vec::new();
        let mut last = None;
        for ((piece, &id), &word) in pieces.iter().zip(ids).zip(words) {
            if found.is_empty() || word != last {
                found.push((Vec::new(), Vec::new()));
                last = word;
            }
            if let Some((pieces, ids)) = found.last_mut() {
                pieces.push(piece.clone());
                ids.push(id);
            }
        }
        Ok(found)
    }

    /// The ids of a text.
    pub(super) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let text = text.trim();
        let text = &text[..text.floor_char_boundary(MAX_BYTES)];
        let encoding = self.tokenizer.encode_fast(text, self.marks).map_err(Error::internal)?;
        let ids = encoding.get_ids().iter().copied();
        Ok(ids.filter(|id| Some(*id) != self.dropped).collect())
    }
}

/// The id that a tokenizer gives to unknown tokens.
fn unknown(json: &[u8], tokenizer: &Tokenizer) -> Option<u32> {
    let parsed: Value = serde_json::from_slice(json).ok()?;
    let model = parsed.get("model")?;
    match model.get("unk_token").and_then(Value::as_str) {
        Some(piece) => tokenizer.token_to_id(piece),
        None => model.get("unk_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()),
    }
}
