//! Distance of a row's code to known codes: projected to [`SKETCH`] directions (Johnson–Lindenstrauss, signs from a
//! fixed stream), normalised, and compared by cosine with a sample of training rows.

use super::blocks::{SKETCH, SketchBlocks};
use super::directions::directions;
use crate::random::Random;
use std::sync::Arc;

/// Keys kept at most.
pub const MAX_KEYS: usize = 512;

/// The k of the k-th nearest key.
const NEIGHBOUR: usize = 3;

/// Known codes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownCodes {
    /// Sketches of length 1.
    keys: SketchBlocks,
    /// `[width, SKETCH]` row-major signs; empty where the code is that small anyway.
    projection: Arc<[f32]>,
    /// Width of the codes.
    pub width: usize,
}

impl KnownCodes {
    /// Rebuilt from what is saved: keys `[keys, SKETCH]` row-major, each of length 1.
    pub fn new(keys: &[f32], width: usize) -> Self {
        let projection = if width > SKETCH { directions("novelty projection", width, 1.0) } else { Arc::default() };
        Self { keys: SketchBlocks::new(keys), projection, width }
    }

    /// The keys `[keys, SKETCH]` row-major, as [`Self::new`] takes them.
    pub fn keys(&self) -> Vec<f32> {
        self.keys.rows()
    }

    /// Whether no code is known.
    pub fn is_empty(&self) -> bool {
        self.keys.count() == 0
    }

    /// Bytes that this model has for itself.
    pub(super) fn bytes(&self) -> u64 {
        self.keys.bytes()
    }

    /// A sample of the codes `[_, width]`.
    pub fn sample(known: &[f32], width: usize, seed: u64) -> Self {
        let it = Self::new(&[], width);
        let mut order: Vec<usize> = (0..known.len() / width.max(1)).collect();
        Random::stream(seed, "novelty", 0).shuffle(&mut order);
        let key = |row: &usize| it.sketch(&known[row * width..(row + 1) * width]);
        let keys: Vec<f32> = order.iter().take(MAX_KEYS).flat_map(key).collect();
        Self { keys: SketchBlocks::new(&keys), ..it }
    }

    /// A sample of codes of this width, given their sketches `[_, SKETCH]`.
    pub fn of_sketches(sketches: &[f32], width: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..sketches.len() / SKETCH).collect();
        Random::stream(seed, "novelty", 0).shuffle(&mut order);
        let key = |row: &usize| &sketches[row * SKETCH..(row + 1) * SKETCH];
        Self::new(&order.iter().take(MAX_KEYS).flat_map(key).copied().collect::<Vec<_>>(), width)
    }

    /// The distance of a code to its third-nearest key, `1 − cosine` clipped to `[0, 1]`.
    pub fn distance(&self, code: &[f32]) -> f32 {
        self.distance_of(&self.sketch(code))
    }

    /// The same for a code's sketch.
    pub fn distance_of(&self, sketch: &[f32; SKETCH]) -> f32 {
        let mut similarities = [0.0; MAX_KEYS];
        let similarities = &mut similarities[..self.keys.count().min(MAX_KEYS)];
        self.keys.products(sketch, similarities);
        let mut nearest = [f32::NEG_INFINITY; NEIGHBOUR];
        for &mut mut similarity in similarities {
            for best in &mut nearest {
                if similarity > *best {
                    std::mem::swap(best, &mut similarity);
                }
            }
        }
        let found = nearest.iter().rev().find(|s| s.is_finite()).copied().unwrap_or(1.0);
        (1.0 - found).clamp(0.0, 1.0)
    }

    /// Projected (or padded) and normalised; skips the zeros of a sparse code.
    pub fn sketch(&self, code: &[f32]) -> [f32; SKETCH] {
        let mut out = [0.0f32; SKETCH];
        if self.projection.is_empty() {
            out[..code.len().min(SKETCH)].copy_from_slice(&code[..code.len().min(SKETCH)]);
        } else {
            for (value, signs) in code.iter().zip(self.projection.chunks_exact(SKETCH)) {
                if *value != 0.0 {
                    for (o, s) in out.iter_mut().zip(signs) {
                        *o += value * s;
                    }
                }
            }
        }
        let length = out.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length > 0.0 && length.is_finite() {
            out.iter_mut().for_each(|v| *v /= length);
        }
        out
    }

    /// Sketches of codes `[_, width]`, one after the other.
    pub fn sketches(&self, codes: &[f32]) -> Vec<f32> {
        codes.chunks_exact(self.width.max(1)).flat_map(|code| self.sketch(code)).collect()
    }
}
