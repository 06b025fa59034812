//! The vectors of texts that were encoded before: a training encodes the same texts several times, and a retrained
//! model those of the last one.

use crate::Result;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Bytes of vectors that are kept.
const MOST: usize = 96 << 20;

/// Vectors by the text's hash: 128 bits under keys of this process, so that no two texts are taken for one.
pub(super) struct Cache {
    width: usize,
    hashers: [RandomState; 2],
    /// The newer half and the older half: when the newer one is full, the older one is dropped.
    kept: Mutex<[HashMap<[u64; 2], Box<[f32]>>; 2]>,
}

impl Cache {
    pub(super) fn new(width: usize) -> Self {
        Self { width, hashers: Default::default(), kept: Mutex::default() }
    }

    /// The vectors of `texts`, `[texts, width]`: those that are kept, and those that `encode` makes of the others.
    pub(super) fn through(&self, texts: &[&str], encode: impl Fn(&[&str]) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
        let width = self.width;
        let keys: Vec<[u64; 2]> =
            texts.iter().map(|text| std::array::from_fn(|i| self.hashers[i].hash_one(text))).collect();
        let mut vectors = vec![0.0; texts.len() * width];
        // The first place of each text that is not kept, and the others with the same text.
        let mut missing: Vec<usize> = Vec::new();
        let mut repeats: Vec<(usize, usize)> = Vec::new();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let mut first: HashMap<[u64; 2], usize> = HashMap::new();
            for (at, key) in keys.iter().enumerate() {
                match kept[0].get(key).or_else(|| kept[1].get(key)) {
                    Some(vector) => vectors[at * width..][..width].copy_from_slice(vector),
                    None => match first.get(key) {
                        Some(&same) => repeats.push((at, same)),
                        None => {
                            first.insert(*key, at);
                            missing.push(at);
                        }
                    },
                }
            }
        }
        if missing.is_empty() {
            return Ok(vectors);
        }
        let wanted: Vec<&str> = missing.iter().map(|&at| texts[at]).collect();
        let made = encode(&wanted)?;
        let half = (MOST / 2 / (width * 4 + 48).max(1)).max(1);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (&at, vector) in missing.iter().zip(made.chunks_exact(width)) {
            vectors[at * width..][..width].copy_from_slice(vector);
            if kept[0].len() >= half {
                kept.swap(0, 1);
                kept[0].clear();
            }
            kept[0].insert(keys[at], vector.into());
        }
        for (at, same) in repeats {
            vectors.copy_within(same * width..(same + 1) * width, at * width);
        }
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_text_is_encoded_once() {
        let cache = Cache::new(2);
        let encoded = Cell::new(0);
        let encode = |texts: &[&str]| {
            encoded.set(encoded.get() + texts.len());
            Ok(texts.iter().flat_map(|text| [text.len() as f32, 1.0]).collect())
        };
        let vectors = cache.through(&["a", "bcd", "a"], encode).unwrap();
        assert_eq!(vectors, [1.0, 1.0, 3.0, 1.0, 1.0, 1.0]);
        assert_eq!(cache.through(&["bcd", "ef"], encode).unwrap(), [3.0, 1.0, 2.0, 1.0]);
        assert_eq!(encoded.get(), 3);
    }
}
