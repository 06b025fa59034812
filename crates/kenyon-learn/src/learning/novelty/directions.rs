//! Random directions that wide codes are projected to. They depend on the width alone, so all models that have this width share them:
//! they are as large as a small model's weights.

use super::blocks::SKETCH;
use crate::random::Random;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// What the random stream is for, and the width.
type Name = (&'static str, usize);

/// Directions that some model has at the moment.
static SHARED: LazyLock<Mutex<HashMap<Name, Weak<[f32]>>>> = LazyLock::new(Mutex::default);

/// Signs `[width, SKETCH]` row-major, times `scale`, which is the same for all of a purpose and width.
pub(super) fn directions(purpose: &'static str, width: usize, scale: f32) -> Arc<[f32]> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = shared.get(&(purpose, width)).and_then(Weak::upgrade) {
        return known;
    }
    let mut random = Random::stream(0, purpose, width as u64);
    let sign = |_| if random.next_u64() >> 63 == 0 { scale } else { -scale };
    let made: Arc<[f32]> = (0..width * SKETCH).map(sign).collect();
    shared.retain(|_, other| other.strong_count() > 0);
    shared.insert((purpose, width), Arc::downgrade(&made));
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_one_width_share_their_directions_while_one_has_them() {
        let first = directions("a test", 200, 0.5);
        assert_eq!(first.len(), 200 * SKETCH);
        assert!(Arc::ptr_eq(&first, &directions("a test", 200, 0.5)));
        assert!(!Arc::ptr_eq(&first, &directions("a test", 201, 0.5)));
        let (before, weak) = (first.to_vec(), Arc::downgrade(&first));
        drop(first);
        assert_eq!(weak.strong_count(), 0);
        assert_eq!(&*directions("a test", 200, 0.5), before, "they follow from purpose and width");
    }
}
