//! The k strongest of many, exactly, without sorting.
//!
//! A threshold is estimated (from the last row: neighbours in a batch are similar), everything at or
//! above it is packed together in one pass, and the k-th largest of that short list is found by
//! halving the range of its keys. A wrong estimate only costs another pass; it never changes the answer.

use super::isa::{Isa, dispatch};

/// Scratch of [`top_k`], kept from row to row.
#[derive(Clone, Debug, Default)]
pub struct TopK {
    estimate: Option<u32>,
    keys: Vec<u32>,
    units: Vec<u32>,
}

/// Order-preserving key: `a < b` as numbers exactly when `key(a) < key(b)`; -0 counts as 0, and NaN
/// as the smallest of all, so that a bad value never wins.
#[inline(always)]
fn key(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    let flip = ((bits as i32 >> 31) as u32) | 0x8000_0000;
    if value.is_nan() { 0 } else { bits ^ flip }
}

/// Appends the indices of the `k` largest `scores` to `out`, ascending by index. Always exactly
/// `min(k, scores.len())`; of equal scores the lower index wins.
pub fn top_k(isa: Isa, scores: &[f32], k: usize, scratch: &mut TopK, out: &mut Vec<u32>) {
    if k >= scores.len() {
        out.extend(0..scores.len() as u32);
        return;
    }
    if k == 0 {
        return;
    }
    let (found, threshold) = pack_enough(isa, scores, k, scratch);
    let (keys, units) = (&scratch.keys[..found], &scratch.units[..found]);
    if found == k {
        out.extend_from_slice(units);
        // Aim a little lower next time, so that the next row likely packs enough at once.
        scratch.estimate = Some(lowered(keys.iter().fold(u32::MAX, |least, &key| least.min(key))));
        return;
    }
    let kth = kth_largest(isa, keys, k, threshold);
    scratch.estimate = Some(lowered(kth));
    let above = count_at_least(isa, keys, kth.saturating_add(1));
    let mut ties = k - above;
    if count_at_least(isa, keys, kth) == k && select(isa, keys, units, kth, out) {
        return;
    }
    // Every unit is written and the next one takes its place unless it won: no branch that could be mispredicted.
    let before = out.len();
    out.resize(before + k + 1, 0);
    let (winners, mut won) = (&mut out[before..], 0);
    for (&key, &unit) in keys.iter().zip(units) {
        let tie = (key == kth) & (ties > 0);
        ties -= usize::from(tie);
        winners[won] = unit;
        won += usize::from((key > kth) | tie);
    }
    debug_assert_eq!(won, k);
    out.truncate(before + k);
}

/// Packs `k` or few more of the largest scores, where it can: how many were packed, and the key from which on they were.
fn pack_enough(isa: Isa, scores: &[f32], k: usize, scratch: &mut TopK) -> (usize, u32) {
    let limit = 2 * k + 64;
    // `low` packs enough, once that is known; `high` never does.
    let (mut low, mut high) = (None, u32::MAX);
    let mut threshold = scratch.estimate.unwrap_or_else(|| first_estimate(isa, scores, k));
    scratch.keys.resize(scores.len() + 16, 0);
    scratch.units.resize(scores.len() + 16, 0);
    // Neighbouring rows are similar, so a miss first moves a little, then twice as far each time, and
    // halves what is left once both sides are known.
    let mut stride = 1u32 << 20;
    loop {
        let found = pack(isa, scores, threshold, &mut scratch.keys, &mut scratch.units);
        if found == k {
            return (found, threshold);
        }
        if found < k {
            high = threshold;
        } else {
            low = Some(threshold);
            // Few enough to continue with, or no threshold packs fewer: many equal scores.
            if found <= limit || high - threshold <= 1 {
                return (found, threshold);
            }
        }
        threshold = match low {
            // All keys are at or above 0, so this ends.
            None => high.saturating_sub(stride),
            Some(low) if high == u32::MAX => low.saturating_add(stride).min(u32::MAX - 1),
            Some(low) => low + (high - low) / 2,
        };
        stride = stride.saturating_mul(2);
    }
}

/// A key a few percent below, as a value.
fn lowered(key: u32) -> u32 {
    // An eighth of an octave is 2^20 steps of the key.
    key.saturating_sub(1 << 20)
}

/// Mean plus the deviations above which a share `k / n` of a normal distribution lies, roughly.
fn first_estimate(isa: Isa, scores: &[f32], k: usize) -> u32 {
    let n = scores.len() as f32;
    let mean = scores.iter().sum::<f32>() / n;
    let variance = super::vectors::squared_norm(isa, scores) / n - mean * mean;
    let share = (k as f32 / n).min(0.5);
    let deviations = (-2.0 * (share * 1.6).min(1.0).ln()).max(0.0).sqrt() - 0.3;
    let estimate = mean + deviations * variance.max(0.0).sqrt();
    if estimate.is_finite() { key(estimate) } else { 1 << 31 }
}

/// Packs keys and indices of all scores whose key is at least `threshold`; returns how many.
fn pack(isa: Isa, scores: &[f32], threshold: u32, keys: &mut [u32], units: &mut [u32]) -> usize {
    assert!(keys.len() >= scores.len() && units.len() >= scores.len(), "a key and a unit for each score");
    #[cfg(target_arch = "x86_64")]
    if isa.is_avx512() && !unkey(threshold).is_nan() {
        // SAFETY: that level of `Isa` was made after the processor reported AVX-512, and there is space for all.
        return unsafe { pack_avx512(scores, unkey(threshold), keys, units) };
    }
    #[cfg(target_arch = "x86_64")]
    if isa.is_avx2() && !unkey(threshold).is_nan() {
        // SAFETY: that level of `Isa` was made after the processor reported AVX2.
        return unsafe { pack_avx2(scores, unkey(threshold), keys, units) };
    }
    let _ = isa;
    let mut found = 0;
    for (unit, &score) in scores.iter().enumerate() {
        let key = key(score);
        if key >= threshold {
            keys[found] = key;
            units[found] = unit as u32;
            found += 1;
        }
    }
    found
}

/// The number that has this key; not a number for keys that none has.
#[cfg(target_arch = "x86_64")]
fn unkey(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key ^ 0x8000_0000 } else { !key })
}

/// As [`pack`], comparing the numbers themselves: `threshold` is one, so bad values compare false.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_avx2(scores: &[f32], threshold: f32, keys: &mut [u32], units: &mut [u32]) -> usize {
    use std::arch::x86_64::{_CMP_GE_OQ, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_set1_ps};
    let bound = _mm256_set1_ps(threshold);
    let mut found = 0;
    let mut first = 0u32;
    let (chunks, rest) = scores.as_chunks::<32>();
    for chunk in chunks {
        let mut mask = 0u32;
        for part in 0..4 {
            // SAFETY: `chunk` holds 32 numbers, and this reads 8 from 8 * part on, part < 4.
            let eight = unsafe { _mm256_loadu_ps(chunk.as_ptr().add(8 * part)) };
            mask |= (_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(eight, bound)) as u32) << (8 * part);
        }
        while mask != 0 {
            let l = mask.trailing_zeros();
            keys[found] = key(chunk[l as usize % 32]);
            units[found] = first + l;
            found += 1;
            mask &= mask - 1;
        }
        first += 32;
    }
    for &score in rest {
        if score >= threshold {
            keys[found] = key(score);
            units[found] = first;
            found += 1;
        }
        first += 1;
    }
    found
}

/// As [`pack_avx2`], sixteen numbers at a time.
///
/// # Safety
/// The processor must have AVX-512F, and `keys` and `units` at least as many elements as `scores`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn pack_avx512(scores: &[f32], threshold: f32, keys: &mut [u32], units: &mut [u32]) -> usize {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512, _mm512_cmp_ps_mask, _mm512_loadu_ps,
        _mm512_maskz_compress_epi32, _mm512_or_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32,
        _mm512_setzero_ps, _mm512_srai_epi32, _mm512_storeu_si512, _mm512_xor_si512,
    };
    let bound = _mm512_set1_ps(threshold);
    let mut unit = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut found = 0;
    let (chunks, rest) = scores.as_chunks::<16>();
    for chunk in chunks {
        // SAFETY: `chunk` holds the 16 numbers that this reads.
        let score = unsafe { _mm512_loadu_ps(chunk.as_ptr()) };
        let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, bound);
        // The key of each number, see `key`; none of those kept is NaN.
        let bits = _mm512_castps_si512(_mm512_add_ps(score, _mm512_setzero_ps()));
        let flip = _mm512_or_si512(_mm512_srai_epi32::<31>(bits), _mm512_set1_epi32(i32::MIN));
        let key = _mm512_xor_si512(bits, flip);
        // SAFETY: no more was found than chunks before this one hold, so 16 more elements are inside; the caller
        // guarantees the space.
        unsafe {
            _mm512_storeu_si512(keys.as_mut_ptr().add(found).cast(), _mm512_maskz_compress_epi32(mask, key));
            _mm512_storeu_si512(units.as_mut_ptr().add(found).cast(), _mm512_maskz_compress_epi32(mask, unit));
        }
        found += mask.count_ones() as usize;
        unit = _mm512_add_epi32(unit, _mm512_set1_epi32(16));
    }
    for (at, &score) in (scores.len() - rest.len()..).zip(rest) {
        if score >= threshold {
            keys[found] = key(score);
            units[found] = at as u32;
            found += 1;
        }
    }
    found
}

/// Appends the units whose key is at least `bound`, where the processor has an instruction for it; else returns false.
fn select(isa: Isa, keys: &[u32], units: &[u32], bound: u32, out: &mut Vec<u32>) -> bool {
    #[cfg(target_arch = "x86_64")]
    if isa.is_avx512() {
        let before = out.len();
        out.resize(before + units.len().next_multiple_of(16), 0);
        // SAFETY: that level of `Isa` was made after the processor reported AVX-512, and there is space for all.
        let found = unsafe { select_avx512(keys, units, bound, &mut out[before..]) };
        out.truncate(before + found);
        return true;
    }
    let _ = (isa, keys, units, bound, out);
    false
}

/// Writes the units whose key is at least `bound` to `out`; returns how many.
///
/// # Safety
/// The processor must have AVX-512F, and `out` as many elements as `units`, rounded up to sixteens.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn select_avx512(keys: &[u32], units: &[u32], bound: u32, out: &mut [u32]) -> usize {
    use std::arch::x86_64::{
        _mm512_cmpge_epu32_mask, _mm512_maskz_compress_epi32, _mm512_maskz_loadu_epi32, _mm512_set1_epi32,
        _mm512_storeu_si512,
    };
    let mut found = 0;
    for (keys, units) in keys.chunks(16).zip(units.chunks(16)) {
        let valid = (u32::from(u16::MAX) >> (16 - keys.len())) as u16;
        // SAFETY: only elements inside the two slices, which are equally long, are read.
        let (key, unit) = unsafe {
            (
                _mm512_maskz_loadu_epi32(valid, keys.as_ptr().cast()),
                _mm512_maskz_loadu_epi32(valid, units.as_ptr().cast()),
            )
        };
        let mask = valid & _mm512_cmpge_epu32_mask(key, _mm512_set1_epi32(bound as i32));
        // SAFETY: no more was found than chunks before this one hold; the caller guarantees the space.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(found).cast(), _mm512_maskz_compress_epi32(mask, unit)) };
        found += mask.count_ones() as usize;
    }
    found
}

dispatch! {
    /// How many keys are at least `bound`.
    fn count_at_least(keys: &[u32], bound: u32) -> usize = count_at_least_body
}

#[inline(always)]
fn count_at_least_body<const FMA: bool>(keys: &[u32], bound: u32) -> usize {
    keys.iter().map(|&key| u32::from(key >= bound)).sum::<u32>() as usize
}

dispatch! {
    /// The `k`-th largest key, all of which are at least `low`; `k` is at least 1 and at most their number.
    fn kth_largest(keys: &[u32], k: usize, low: u32) -> u32 = kth_largest_body
}

#[inline(always)]
fn kth_largest_body<const FMA: bool>(keys: &[u32], k: usize, low: u32) -> u32 {
    let high = keys.iter().fold(0, |most, &key| most.max(key));
    // At least k keys are >= low; fewer than k are >= high + 1.
    let (mut low, mut high) = (low, u64::from(high) + 1);
    while u64::from(low) + 1 < high {
        let middle = (u64::from(low) + high).div_euclid(2) as u32;
        let count = count_at_least_body::<FMA>(keys, middle);
        if count >= k {
            low = middle;
            if count == k {
                // The smallest of exactly k is the k-th.
                return keys.iter().fold(u32::MAX, |least, &key| if key >= middle { least.min(key) } else { least });
            }
        } else {
            high = u64::from(middle);
        }
    }
    low
}
