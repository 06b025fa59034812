//! Texts that a pretrained encoder reads, in the form that a kernel compares: the vector, and the words hashed into signed sums
//! (Weinberger et al. 2009, "Feature hashing for large scale multitask learning").

use crate::Result;
use crate::data::encoder::Encoder;
use crate::data::{Batch, Column, ColumnKind, Table};
use crate::nn::kernels::matrix::{MatrixShape, product};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Sums that the words of a text are hashed into.
pub(crate) const WORDS: usize = 512;
/// How fast a vector loses influence with distance: `γ`. From 2 to 8 on unit vectors accuracy hardly changes.
const GAMMA: f32 = 4.0;
/// What the words of two texts add to the kernel of their vectors (benches, few texts).
const WORD_SHARE: f32 = 0.1;

/// Some texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Texts {
    /// Unit vectors `[texts, width]`.
    pub(crate) vectors: Vec<f32>,
    /// Unit vectors `[texts, WORDS]`; nothing where words are not compared.
    pub(crate) words: Vec<f32>,
}

/// Where the texts of a row are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TextPlaces {
    /// Start and length of each column's vector.
    pub(crate) vectors: Vec<(u32, usize)>,
    /// The entries of each column's words.
    pub(crate) words: Vec<Range<u32>>,
}

impl TextPlaces {
    /// Those of the columns that pretrained encoders read.
    pub(crate) fn of(encoder: &Encoder) -> Self {
        let encoded = encoder.encoded();
        Self {
            vectors: encoded.iter().map(|(field, width, _)| (field.start, *width)).collect(),
            words: encoded
                .iter()
                .map(|(field, width, _)| field.start + *width as u32..field.start + field.width)
                .filter(|words| !words.is_empty())
                .collect(),
        }
    }

    /// Numbers of a row's vectors.
    pub(crate) fn width(&self) -> usize {
        self.vectors.iter().map(|(_, width)| width).sum()
    }

    /// The texts of rows.
    pub(crate) fn texts(&self, batch: &Batch) -> Texts {
        let words = (0..batch.rows()).flat_map(|row| {
            let (indices, values) = batch.entries(row);
            self.words_of(indices, values)
        });
        Texts { vectors: vectors_of(batch, &self.vectors), words: words.collect() }
    }

    /// The text of a row whose vector is known.
    pub(crate) fn text(&self, vector: &[f32], indices: &[u32], values: &[f32]) -> Texts {
        Texts { vectors: vector.to_vec(), words: self.words_of(indices, values) }
    }

    /// The words of a row; nothing where its columns have none.
    fn words_of(&self, indices: &[u32], values: &[f32]) -> Vec<f32> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let mut out = vec![0.0; WORDS];
        for (index, value) in indices.iter().zip(values) {
            let Some(words) = self.words.iter().find(|words| words.contains(index)) else { continue };
            let hash = (index - words.start).wrapping_mul(0x9e37_79b1);
            let hash = (hash ^ (hash >> 15)).wrapping_mul(0x85eb_ca6b);
            let sign = if hash & 1 == 0 { 1.0 } else { -1.0 };
            out[hash as usize / 2 % WORDS] += sign * value;
        }
        unit_length(&mut out);
        out
    }
}

impl Texts {
    /// Adds more of them.
    pub(crate) fn extend(&mut self, more: &Self) {
        self.vectors.extend_from_slice(&more.vectors);
        self.words.extend_from_slice(&more.words);
    }

    /// Removes text number `at`.
    pub(crate) fn remove(&mut self, at: usize, width: usize) {
        self.vectors.drain(at * width..(at + 1) * width);
        if !self.words.is_empty() {
            self.words.drain(at * WORDS..(at + 1) * WORDS);
        }
    }

    /// The texts one by one.
    pub(super) fn each(&self, width: usize) -> impl Iterator<Item = Self> {
        let vectors = self.vectors.chunks_exact(width.max(1)).map(<[f32]>::to_vec);
        let words = self.words.chunks_exact(WORDS).map(<[f32]>::to_vec);
        vectors.zip(words.chain(std::iter::repeat(Vec::new()))).map(|(vectors, words)| Self { vectors, words })
    }

    /// `exp(γ (cos − 1))` of the vectors of each of these texts and each of `keys` plus a share of the cosine of their words:
    /// `[texts, keys]`.
    pub(crate) fn kernel(&self, keys: &Self, width: usize) -> Vec<f32> {
        let mut out = cosines(&self.vectors, &keys.vectors, width);
        out.iter_mut().for_each(|cosine| *cosine = (GAMMA * (*cosine - 1.0)).exp());
        let (rows, count) = (self.words.len() / WORDS, keys.words.len() / WORDS);
        if rows * count > 0 && rows * count == out.len() {
            product(
                (&mut out, MatrixShape::new(rows, count)),
                (&self.words, MatrixShape::new(rows, WORDS)),
                (&keys.words, MatrixShape::new(count, WORDS).transposed()),
                Some(1.0),
                WORD_SHARE,
            );
        }
        out
    }
}

/// The vectors of rows, one column's after the other's, of length 1 together: `[rows, width]`.
pub(crate) fn vectors_of(batch: &Batch, places: &[(u32, usize)]) -> Vec<f32> {
    let width: usize = places.iter().map(|(_, width)| width).sum();
    let mut out = vec![0.0; batch.rows() * width];
    for (row, vector) in out.chunks_exact_mut(width.max(1)).enumerate() {
        let (indices, values) = batch.entries(row);
        for (&index, &value) in indices.iter().zip(values) {
            let mut before = 0;
            for &(start, width) in places {
                if (start..start + width as u32).contains(&index) {
                    vector[before + (index - start) as usize] = value;
                }
                before += width;
            }
        }
        // The sums of rectified numbers, as networks of convolutions give them: a few large ones would decide alone (Perronnin
        // et al. 2010, "Improving the Fisher kernel for large-scale image classification").
        if vector.iter().all(|value| *value >= 0.0) {
            vector.iter_mut().for_each(|value| *value = value.sqrt());
        }
        unit_length(vector);
    }
    out
}

fn unit_length(vector: &mut [f32]) {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

/// The products of each of some vectors and each of `keys`: `[rows, count]`.
pub(super) fn cosines(vectors: &[f32], keys: &[f32], width: usize) -> Vec<f32> {
    let (rows, count) = (vectors.len() / width.max(1), keys.len() / width.max(1));
    let mut out = vec![0.0; rows * count];
    product(
        (&mut out, MatrixShape::new(rows, count)),
        (vectors, MatrixShape::new(rows, width)),
        (keys, MatrixShape::new(count, width).transposed()),
        None,
        1.0,
    );
    out
}

/// The names of classes as texts; none where a name is no word, or several columns are read.
pub(crate) fn texts_of_names(names: &[String], encoder: &Encoder) -> Result<Texts> {
    let text = |name: &String| name.replace(['_', '-', '/', '.'], " ").trim().to_lowercase();
    let texts: Vec<String> = names.iter().map(text).collect();
    let is_word = |text: &String| text.chars().any(char::is_alphabetic);
    let [plan] = &encoder.inputs[..] else { return Ok(Texts::default()) };
    if plan.encoder.is_none() || plan.kind != ColumnKind::Text || texts.is_empty() || !texts.iter().all(is_word) {
        return Ok(Texts::default());
    }
    let column = Column::Text(texts.into_iter().map(|text| Some(text.into())).collect());
    let table = Table { rows: names.len(), columns: vec![(plan.name.clone(), column)] };
    Ok(TextPlaces::of(encoder).texts(&encoder.encode(&table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_two_texts_share_add_to_their_kernel() {
        let places = TextPlaces { vectors: vec![(0, 2)], words: std::iter::once(2..100_000).collect() };
        let mut batch = Batch::new();
        for (vector, words) in [([1.0, 0.0], [10, 11]), ([0.0, 1.0], [10, 11]), ([0.0, 1.0], [77, 78])] {
            for (index, value) in (0..).zip(vector).filter(|(_, value)| *value != 0.0) {
                batch.push_entry(index, value);
            }
            words.iter().for_each(|&word| batch.push_entry(word, 3.0));
            batch.end_bag();
        }
        let texts = places.texts(&batch);
        assert_eq!((texts.vectors.len(), texts.words.len()), (6, 3 * WORDS));
        let kernel = texts.kernel(&texts, 2);
        let apart = (-GAMMA).exp();
        assert!((kernel[0] - 1.0 - WORD_SHARE).abs() < 1e-5);
        assert!((kernel[1] - apart - WORD_SHARE).abs() < 1e-5, "the same words, other vectors");
        assert!((kernel[2] - apart).abs() < WORD_SHARE * 0.75, "other words, other vectors");
        assert!((kernel[5] - 1.0).abs() < WORD_SHARE * 0.75, "other words, the same vector");
        let without = Texts { words: Vec::new(), ..texts.clone() };
        assert!((without.kernel(&texts, 2)[0] - 1.0).abs() < 1e-6);
    }
}
