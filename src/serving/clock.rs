//! Times and ids of predictions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Makes prediction ids: UUIDs of version 7, so that they sort by age. Random bits are mixed from a
/// secret of this process and a counter, which costs nanoseconds instead of a system call.
#[derive(Debug)]
pub(crate) struct Ids {
    secret: u64,
    counter: AtomicU64,
}

/// An id as text, 36 characters.
pub(crate) type Id = [u8; 36];

impl Ids {
    /// Ids of this process.
    pub(crate) fn new() -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self { secret: high, counter: AtomicU64::new(low >> 1) }
    }

    /// `count` ids of one moment; `each` gets them in rising order of row.
    pub(crate) fn take(&self, count: usize) -> impl Iterator<Item = Id> + Clone + use<> {
        let millis = unix_millis();
        let first = self.counter.fetch_add(count as u64, Ordering::Relaxed);
        let secret = self.secret;
        (0..count as u64).map(move |i| {
            let n = first.wrapping_add(i);
            let (a, b) = (mix(n ^ secret), mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ secret.rotate_left(32)));
            let high = (millis << 16) | 0x7000 | (a & 0xfff);
            let low = (b & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
            text(high, low)
        })
    }
}

/// The finaliser of SplitMix64: a bijection, so ids of one process never collide.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(high: u64, low: u64) -> Id {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = [b'-'; 36];
    let mut at = 0;
    for digit in 0..32 {
        if matches!(digit, 8 | 12 | 16 | 20) {
            at += 1;
        }
        let half = if digit < 16 { high } else { low };
        out[at] = HEX[(half >> (60 - 4 * (digit % 16))) as usize & 15];
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_and_differ() {
        let ids = Ids::new();
        let mut seen = std::collections::HashSet::new();
        for id in ids.take(1000).chain(ids.take(1000)) {
            let text = std::str::from_utf8(&id).unwrap();
            let uuid = uuid::Uuid::try_parse(text).unwrap();
            assert_eq!((uuid.get_version_num(), uuid.to_string().as_str()), (7, text));
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert!(seen.insert(id));
        }
    }
}
