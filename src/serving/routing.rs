//! Which version of a model answers a request: the stable one, a canary for a share, and a shadow in parallel.

use super::batch_queue::Outputs;
use super::loaded_version::LoadedVersion;
use super::stats::Stats;
use crate::sync::ArcSwapOption;
use crate::sync::atomic::AtomicU64;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use utoipa::ToSchema;
use uuid::Uuid;

/// A version's slot: loaded or not.
pub(super) struct Slot {
    /// Id of the model it is of.
    pub(super) model_id: Uuid,
    pub(super) version: u64,
    pub(super) loaded: ArcSwapOption<LoadedVersion>,
    /// Held while it is being loaded, so that it is loaded once.
    pub(super) loading: tokio::sync::Mutex<()>,
    pub(super) stats: Arc<Stats>,
    pub(super) shadow: Shadow,
}

impl Slot {
    pub(super) fn new(model_id: Uuid, version: u64) -> Self {
        Self {
            model_id,
            version,
            loaded: ArcSwapOption::empty(),
            loading: tokio::sync::Mutex::default(),
            stats: Arc::default(),
            shadow: Shadow::default(),
        }
    }

    /// The loaded version, unless its network has panicked.
    pub(super) fn ready(&self) -> Option<Arc<LoadedVersion>> {
        self.loaded.load_full().filter(|loaded| !loaded.queue.poisoned())
    }
}

/// How a shadow's answers compared with those that were sent.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    rows: AtomicU64,
    disagreed: AtomicU64,
    skipped: AtomicU64,
    /// Sum of absolute differences (of the first probability, or of the value), in millionths.
    difference: AtomicU64,
}

/// A shadow's figures since this process began to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, ToSchema)]
pub struct ShadowFigures {
    /// The version that predicts without being answered from.
    pub version: u64,
    /// Rows it answered.
    pub rows: u64,
    /// Rows with another label.
    pub disagreed: u64,
    /// `disagreed / rows`.
    pub disagreement: f64,
    /// Mean absolute difference: of the answered class's probability, or of the value.
    pub mean_difference: f64,
    /// Requests it did not get because it was busy.
    pub skipped: u64,
}

impl Shadow {
    /// Compares the shadow's answers with those that were sent; `named` is the class that each names, `places` maps each class of
    /// ours to its index in theirs, `apart` is the distance of two answers of one index.
    pub(super) fn compare(
        &self,
        ours: &Outputs,
        theirs: &Outputs,
        named: [&dyn Fn(&[f32]) -> usize; 2],
        places: &[Option<usize>],
        apart: impl Fn(f32, f32) -> f64,
    ) {
        let (mut rows, mut disagreed, mut difference) = (0, 0, 0.0f64);
        let theirs = theirs.values.chunks_exact(theirs.width.max(1));
        for (a, b) in ours.values.chunks_exact(ours.width.max(1)).zip(theirs) {
            let label = named[0](a);
            let place = places.get(label).copied().flatten();
            rows += 1;
            disagreed += u64::from(ours.width > 1 && place != Some(named[1](b)));
            difference += apart(a[label], place.and_then(|p| b.get(p)).copied().unwrap_or(0.0)).abs();
        }
        self.rows.fetch_add(rows, Relaxed);
        self.disagreed.fetch_add(disagreed, Relaxed);
        self.difference.fetch_add((difference * 1e6) as u64, Relaxed);
    }

    pub(super) fn skip(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    pub(super) fn figures(&self, version: u64) -> ShadowFigures {
        let (rows, disagreed) = (self.rows.load(Relaxed), self.disagreed.load(Relaxed));
        let mean = |sum: f64| if rows == 0 { 0.0 } else { sum / rows as f64 };
        ShadowFigures {
            version,
            rows,
            disagreed,
            disagreement: mean(disagreed as f64),
            mean_difference: mean(self.difference.load(Relaxed) as f64 / 1e6),
            skipped: self.skipped.load(Relaxed),
        }
    }
}

/// A model's routing table. Replaced as a whole, read without a lock.
pub(super) struct Route {
    /// Distinguishes the model from an earlier one of the same name.
    pub(super) id: Uuid,
    /// The library's counter before it was read.
    pub(super) read_at: u64,
    /// The library's counter when nothing newer was known of this model.
    pub(super) checked: AtomicU64,
    pub(super) stable: Option<Arc<Slot>>,
    /// The version that is to be stable and could not be loaded; the one before answers meanwhile.
    pub(super) missing: Option<Arc<Slot>>,
    /// A version and the hashes below which a request is its.
    pub(super) canary: Option<(Arc<Slot>, u64)>,
    pub(super) shadow: Option<Arc<Slot>>,
    /// Every version used here, for requests that name one.
    pub(super) slots: HashMap<u64, Arc<Slot>>,
}

impl Route {
    /// The version for a request with this id; none when no version is ready.
    pub(super) fn select(&self, request_id: &str) -> Option<&Arc<Slot>> {
        match &self.canary {
            Some((canary, below)) if hash(request_id) < *below => Some(canary),
            _ => self.stable.as_ref(),
        }
    }
}

/// The hash value below which a share `weight` of all ids lies.
pub(super) fn threshold(weight: f64) -> u64 {
    // The cast saturates, so that weight 1 takes everything but one id in 2^64.
    (weight.clamp(0.0, 1.0) * 2f64.powi(64)) as u64
}

/// FNV-1a with a final mix: the same on every replica, so an id always gets the same side.
pub(super) fn hash(id: &str) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for byte in id.bytes() {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_gets_its_share_and_an_id_sticks() {
        let slots = [Arc::new(Slot::new(Uuid::nil(), 1)), Arc::new(Slot::new(Uuid::nil(), 2))];
        let route = Route {
            id: Uuid::nil(),
            read_at: 0,
            checked: AtomicU64::new(0),
            stable: Some(Arc::clone(&slots[0])),
            missing: None,
            canary: Some((Arc::clone(&slots[1]), threshold(0.1))),
            shadow: None,
            slots: HashMap::new(),
        };
        let version_of = |id: &str| route.select(id).map(|slot| slot.version);
        let canary = (0..10_000).filter(|i| version_of(&format!("request-{i}")) == Some(2)).count();
        assert!((900..1100).contains(&canary), "{canary}");
        assert_eq!(version_of("the same"), version_of("the same"));
        assert_eq!(threshold(1.0), u64::MAX);
    }

    #[test]
    fn disagreement_is_counted_by_row() {
        let shadow = Shadow::default();
        let outputs = |values: &[f32]| Outputs { values: values.to_vec(), width: 2, ..Outputs::default() };
        // Their classes are in reverse order.
        let (ours, theirs) = (outputs(&[0.9, 0.1, 0.2, 0.8]), outputs(&[0.3, 0.7, 0.4, 0.6]));
        let first_if = |least: f32| move |p: &[f32]| usize::from(p[0] < least);
        let named: [&dyn Fn(&[f32]) -> usize; 2] = [&first_if(0.5), &first_if(0.5)];
        shadow.compare(&ours, &theirs, named, &[Some(1), Some(0)], |a, b| f64::from(a - b));
        let figures = shadow.figures(5);
        assert_eq!((figures.rows, figures.disagreed, figures.disagreement), (2, 1, 0.5));
        assert!((figures.mean_difference - 0.3).abs() < 1e-6, "{figures:?}");
    }
}
