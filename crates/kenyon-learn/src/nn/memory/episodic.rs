//! Episodic memory: single rows, stored at once and retrieved by similarity.
//!
//! Keys are codes quantised to bytes. The store is balanced between classes, merges entries that are nearly
//! the same, and evicts the least used ones. Reading is one softmax over the stored keys, the
//! operation of attention (modern Hopfield network, Ramsauer et al. 2021). Its weight against
//! the readout is decided elsewhere.

use serde::{Deserialize, Serialize};

/// One stored episode, without its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Never used twice in one memory.
    pub id: u64,
    /// Class id; 0 for regression.
    pub label: u32,
    /// The value of regression.
    pub value: f32,
    /// Episodes merged into it and times it was the nearest and right.
    pub uses: u32,
    /// Length of the key before quantising, in units of `scale`.
    norm: f32,
    /// The original row as JSON, for listing the memory.
    pub row: Option<Box<str>>,
}

/// A memory of at most `capacity` episodes a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Episodic {
    width: usize,
    /// Episodes a class; in regression, episodes in all.
    pub(crate) capacity: usize,
    entries: Vec<Entry>,
    /// `[entries, width]`.
    keys: Vec<i8>,
    next_id: u64,
}

/// Sharpness of the softmax read: `exp(SHARPNESS · cosine)`.
pub(crate) const SHARPNESS: f32 = 30.0;
/// Two episodes of a class whose keys are nearer than this are one.
const SAME: f32 = 0.995;

/// A key, to be stored or to be looked up: bytes and their length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key {
    bytes: Vec<i8>,
    norm: f32,
}

impl Key {
    /// Quantises a code: its largest entry becomes ±127.
    #[cfg(test)]
    pub(crate) fn new(code: &[f32]) -> Self {
        let mut key = Self::default();
        key.set(code);
        key
    }

    /// Quantises another code in its place.
    pub(crate) fn set(&mut self, code: &[f32]) {
        let largest = code.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        self.bytes.clear();
        self.bytes.extend(code.iter().map(|v| (v * scale).round() as i8));
        let square: i64 = self.bytes.iter().map(|&b| i64::from(b) * i64::from(b)).sum();
        self.norm = (square as f32).sqrt();
    }
}

impl Episodic {
    /// An empty memory for codes of `width`.
    pub(crate) fn new(width: usize, capacity: usize) -> Self {
        Self { width, capacity, entries: Vec::new(), keys: Vec::new(), next_id: 0 }
    }

    /// Width of the keys.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The entries, oldest first.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The key of entry `at`, scaled to length 1.
    pub(crate) fn code(&self, at: usize) -> Vec<f32> {
        let norm = self.entries[at].norm.max(1e-12);
        self.keys[at * self.width..(at + 1) * self.width].iter().map(|&k| f32::from(k) / norm).collect()
    }

    /// Writes an episode. Returns the id it has now: its own, or that of the one it was merged into.
    ///
    /// `similarities` are those of `key`, as [`Episodic::similarities`] gives them.
    pub(crate) fn write(
        &mut self,
        key: &Key,
        similarities: &[f32],
        label: u32,
        value: f32,
        row: impl FnOnce() -> Option<Box<str>>,
    ) -> u64 {
        if self.capacity == 0 {
            return self.next_id;
        }
        let (mut count, mut nearest, mut least) = (0, (f32::NEG_INFINITY, 0), (u32::MAX, 0));
        for (at, entry) in self.entries.iter().enumerate() {
            if entry.label != label {
                continue;
            }
            count += 1;
            let similarity = similarities.get(at).copied().unwrap_or(0.0);
            if similarity > nearest.0 {
                nearest = (similarity, at);
            }
            if entry.uses < least.0 {
                least = (entry.uses, at);
            }
        }
        if nearest.0 > SAME && (self.entries[nearest.1].value - value).abs() < 1e-3 {
            let entry = &mut self.entries[nearest.1];
            entry.uses = entry.uses.saturating_add(1);
            return entry.id;
        }
        if count >= self.capacity.max(1) {
            // The use counts of the rest of the class decay, so that old ones do not last for ever.
            self.remove_at(least.1);
            for entry in self.entries.iter_mut().filter(|e| e.label == label) {
                entry.uses -= entry.uses / 64;
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push(Entry { id, label, value, uses: 0, norm: key.norm, row: row() });
        self.keys.extend_from_slice(&key.bytes);
        id
    }

    /// Cosine of every entry with `key`, in the order of [`Episodic::entries`].
    pub(crate) fn similarities(&self, key: &Key, out: &mut Vec<f32>) {
        out.clear();
        out.extend((0..self.entries.len()).map(|at| self.cosine(at, key)));
    }

    /// Softmax read by class: `p ∝ Σ exp(30 cos)`, `[classes]`; all zero when it is empty.
    pub(crate) fn read(&self, similarities: &[f32], classes: usize) -> Vec<f32> {
        let mut out = vec![0.0; classes];
        let best = similarities.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
        let mut total = 0.0;
        for (entry, s) in self.entries.iter().zip(similarities) {
            let weight = (SHARPNESS * (s - best)).exp();
            if let Some(slot) = out.get_mut(entry.label as usize) {
                *slot += weight;
                total += weight;
            }
        }
        if total > 0.0 {
            out.iter_mut().for_each(|v| *v /= total);
        }
        out
    }

    /// Softmax read of the values; `None` when it is empty.
    pub(crate) fn read_value(&self, similarities: &[f32]) -> Option<f32> {
        let best = similarities.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
        let (mut sum, mut total) = (0.0, 0.0);
        for (entry, s) in self.entries.iter().zip(similarities) {
            let weight = (SHARPNESS * (s - best)).exp();
            sum += weight * entry.value;
            total += weight;
        }
        (total > 0.0).then(|| sum / total)
    }

    /// The `k` most similar: (similarity, position), most similar first.
    pub(crate) fn nearest(&self, similarities: &[f32], k: usize) -> Vec<(f32, usize)> {
        let mut top = Vec::new();
        crate::nn::layers::local_groups::strongest(similarities, k, &mut top);
        top.into_iter().map(|(s, at)| (s, at as usize)).collect()
    }

    /// Distance (1 − cosine) to the `k`-th nearest entry, in `[0, 2]`; 1 when it is empty.
    #[cfg(test)]
    pub(crate) fn novelty(&self, similarities: &[f32], k: usize) -> f32 {
        self.nearest(similarities, k).last().map_or(1.0, |(s, _)| 1.0 - s)
    }

    /// Records that the most similar entry was right.
    pub(crate) fn record_hit(&mut self, at: usize) {
        self.entries[at].uses = self.entries[at].uses.saturating_add(1);
    }

    /// Removes the entries for which `gone` holds; returns how many.
    pub(crate) fn forget(&mut self, mut gone: impl FnMut(&Entry) -> bool) -> usize {
        let before = self.entries.len();
        for at in (0..before).rev() {
            if gone(&self.entries[at]) {
                self.remove_at(at);
            }
        }
        before - self.entries.len()
    }

    /// Bytes of keys and rows.
    pub(crate) fn bytes(&self) -> u64 {
        let rows: usize = self.entries.iter().map(|e| 32 + e.row.as_deref().map_or(0, str::len)).sum();
        (rows + self.keys.len()) as u64
    }

    fn remove_at(&mut self, at: usize) {
        self.entries.remove(at);
        self.keys.drain(at * self.width..(at + 1) * self.width);
    }

    fn cosine(&self, at: usize, key: &Key) -> f32 {
        let norm = self.entries[at].norm * key.norm;
        if norm <= 0.0 {
            return 0.0;
        }
        product(&self.keys[at * self.width..(at + 1) * self.width], &key.bytes) as f32 / norm
    }
}

/// Integer dot product in blocks that cannot overflow 32 bits.
fn product(a: &[i8], b: &[i8]) -> i64 {
    a.chunks(4096)
        .zip(b.chunks(4096))
        .map(|(a, b)| a.iter().zip(b).map(|(&x, &y)| i32::from(i16::from(x) * i16::from(y))).sum::<i32>())
        .map(i64::from)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(memory: &mut Episodic, code: &[f32], label: u32) -> u64 {
        let (key, mut similarities) = (Key::new(code), Vec::new());
        memory.similarities(&key, &mut similarities);
        memory.write(&key, &similarities, label, 0.0, || Some("{}".into()))
    }

    #[test]
    fn recalls_merges_and_forgets() {
        let mut memory = Episodic::new(4, 3);
        let a = write(&mut memory, &[1.0, 0.0, 0.0, 0.1], 0);
        write(&mut memory, &[0.0, 1.0, 0.0, 0.0], 1);
        assert_eq!(write(&mut memory, &[2.0, 0.0, 0.0, 0.2], 0), a);
        assert_eq!(memory.entries().len(), 2);
        let mut similarities = Vec::new();
        memory.similarities(&Key::new(&[0.9, 0.1, 0.0, 0.0]), &mut similarities);
        let p = memory.read(&similarities, 3);
        assert!(p[0] > 0.99 && p[2] == 0.0 && (p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(memory.novelty(&similarities, 1) < 0.1);
        assert_eq!(memory.forget(|e| e.label == 0), 1);
        assert_eq!(memory.entries().len(), 1);
    }

    #[test]
    fn stays_balanced_and_keeps_what_is_used() {
        let mut memory = Episodic::new(16, 5);
        let code = |i: usize| {
            let mut code = [0.05f32; 16];
            code[i % 16] = 1.0;
            code
        };
        let kept = write(&mut memory, &code(0), 7);
        memory.record_hit(0);
        for i in 1..16 {
            write(&mut memory, &code(i), 7);
        }
        write(&mut memory, &code(3), 2);
        assert_eq!(memory.entries().len(), 6);
        assert!(memory.entries().iter().any(|e| e.id == kept));
    }
}
