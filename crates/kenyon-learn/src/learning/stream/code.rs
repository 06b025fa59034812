//! The code of a row: the key of the memory and the input of the readout.

use super::copy_on_write::CopyOnWrite;
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::models::hybrid;
use crate::models::memory::vectors_of;
use crate::nn::layers::local_groups::LocalGroups;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Labelled or unlabelled rows after which the code is learned, and then stays fixed.
const EVENTS: [usize; 2] = [500, 4_000];

/// The source of a row's code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a stream has one of these")]
pub(super) enum Code {
    /// There is none: experts read the columns.
    None,
    /// The frozen network's.
    Base,
    /// Local groups of the stream's own.
    Own {
        /// The groups; none before the first row.
        groups: Option<CopyOnWrite<LocalGroups>>,
        /// Rows they will be learned from.
        waiting: Batch,
        /// Labels of these.
        labels: Vec<f32>,
        /// The rows as JSON.
        texts: Vec<Option<Box<str>>>,
        /// How often they were learned.
        events: usize,
    },
    /// The vectors of pretrained encoders: start and length of each in a row.
    Vectors(Vec<(u32, usize)>),
}

impl Code {
    /// A code of the stream's own.
    pub(super) fn own() -> Self {
        Self::Own { groups: None, waiting: Batch::new(), labels: Vec::new(), texts: Vec::new(), events: 0 }
    }

    /// Makes the first, random code when the first rows arrive, and gives its width.
    pub(super) fn ready(
        &mut self,
        encoder: &Encoder,
        config: &Map<String, Value>,
        seed: u64,
        batch: &Batch,
    ) -> Option<usize> {
        let Self::Own { groups: groups @ None, .. } = self else { return None };
        let made = hybrid::groups(encoder, config, seed, batch, false);
        let width = made.width();
        *groups = Some(made.into());
        Some(width)
    }

    /// The groups, if they are the stream's own.
    pub(super) fn groups(&self) -> Option<&LocalGroups> {
        match self {
            Self::Own { groups, .. } => groups.as_deref(),
            _ => None,
        }
    }

    /// Codes of rows; none where there are none, or a trained network gives them.
    pub(super) fn of(&self, batch: &Batch, threads: usize) -> Option<Vec<f32>> {
        match self {
            Self::Vectors(places) => Some(vectors_of(batch, places)),
            _ => self.groups().map(|groups| groups.code(batch, threads)),
        }
    }

    /// Keeps rows until there are enough to learn from; whether the code has just changed.
    pub(super) fn learn(
        &mut self,
        encoder: &Encoder,
        config: &Map<String, Value>,
        seed: u64,
        batch: &Batch,
        now: &[f32],
        now_texts: &[&str],
    ) -> bool {
        let Self::Own { groups, waiting, labels, texts, events } = self else { return false };
        let Some(&wanted) = EVENTS.get(*events) else { return false };
        // Only filters learn; a code without them is final at once.
        if groups.as_ref().is_none_or(|g| !g.learns()) {
            *events = EVENTS.len();
            return false;
        }
        waiting.append(batch);
        labels.extend_from_slice(now);
        texts.extend((0..now.len()).map(|r| now_texts.get(r).map(|t| Box::from(*t))));
        if labels.len() < wanted {
            return false;
        }
        *groups = Some(hybrid::groups(encoder, config, seed, waiting, true).into());
        *events += 1;
        true
    }

    /// The rows that wait.
    pub(super) fn waiting(&self) -> Option<(&Batch, &[f32], &[Option<Box<str>>])> {
        match self {
            Self::Own { waiting, labels, texts, .. } => Some((waiting, labels, texts)),
            _ => None,
        }
    }

    /// Drops waiting rows for which `goes` holds.
    pub(super) fn forget(&mut self, goes: impl Fn(f32, Option<&str>) -> bool) {
        if let Self::Own { waiting, labels, texts, .. } = self {
            let kept: Vec<usize> = (0..labels.len()).filter(|&r| !goes(labels[r], texts[r].as_deref())).collect();
            if kept.len() < labels.len() {
                *waiting = waiting.select(&kept);
                *labels = kept.iter().map(|&r| labels[r]).collect();
                *texts = kept.iter().map(|&r| texts[r].take()).collect();
            }
        }
    }

    /// The code without the waiting rows, which predicting does not need.
    pub(super) fn published(&self) -> Self {
        match self {
            Self::Own { groups, events, .. } => Self::Own {
                groups: groups.clone(),
                waiting: Batch::new(),
                labels: Vec::new(),
                texts: Vec::new(),
                events: *events,
            },
            other => other.clone(),
        }
    }

    /// After the last change no row needs to wait.
    pub(super) fn settled(&mut self) {
        if let Self::Own { waiting, labels, texts, events, .. } = self
            && *events >= EVENTS.len()
        {
            *waiting = Batch::new();
            *labels = Vec::new();
            *texts = Vec::new();
        }
    }
}
