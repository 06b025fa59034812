//! Rows that are held back: novel ones whose label contradicts their neighbours, as a poisoned row in an empty part of the
//! input space does. Off unless the setting `quarantine` is on.
//!
//! Both are needed: a wrong label among many right ones costs little, and a novel row that fits is learned. What comes again
//! and again becomes familiar ([`StreamModel::keep_novelty`]) and is learned then, so a real change is late, not lost.

use super::StreamModel;
use super::experts::Truth;
use super::network::NOVELTY_WINDOW;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Newest rows that are listed.
const LISTED: usize = 20;
/// Rows whose novelty must be known before any is held back.
const KNOWN: usize = 100;
/// Share of recent rows that must be less unusual.
const NOVEL: f64 = 0.99;
/// Neighbours, and the probability below which the prediction contradicts a label.
const NEIGHBOURS: usize = 5;
const UNLIKELY: f32 = 0.2;

/// What was held back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Quarantine {
    rows: u64,
    newest: VecDeque<HeldRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HeldRow {
    /// Its number among all rows.
    at: u64,
    source: String,
    text: Option<Box<str>>,
}

impl Quarantine {
    pub(super) fn add(&mut self, at: u64, source: &str, text: Option<&str>) {
        self.rows += 1;
        if self.newest.len() == LISTED {
            self.newest.pop_front();
        }
        self.newest.push_back(HeldRow { at, source: source.to_owned(), text: text.map(Box::from) });
    }

    /// Removes listed rows, by their JSON.
    pub(super) fn forget(&mut self, goes: impl Fn(&str) -> bool) {
        self.newest.retain(|held| !held.text.as_deref().is_some_and(&goes));
    }

    pub(super) fn report(&self) -> Value {
        let one = |held: &HeldRow| {
            let row = held.text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
            json!({"at": held.at, "key": Some(&held.source).filter(|key| !key.is_empty()), "row": row})
        };
        json!({"rows": self.rows, "newest": self.newest.iter().map(one).collect::<Value>()})
    }
}

impl StreamModel {
    /// Whether the last predicted row is to be held back, whose novelty has this score.
    pub(super) fn is_contradicted(&self, score: Option<f32>, truth: Truth) -> bool {
        let (Some(score), Some(true)) = (score, self.config.get("quarantine").and_then(Value::as_bool)) else {
            return false;
        };
        let recent = &self.novelty_scores[self.novelty_scores.len().saturating_sub(NOVELTY_WINDOW)..];
        let below = recent.iter().filter(|usual| **usual < score).count();
        recent.len() >= KNOWN && below as f64 >= NOVEL * recent.len() as f64 && self.contradicts(truth)
    }

    fn contradicts(&self, truth: Truth) -> bool {
        let shared = &self.mixture.shared;
        match truth {
            // A class without rows has no neighbours yet: it is learned from its first row on.
            Truth::Class(class) if shared.counts.get(class).is_none_or(|&rows| rows == 0) => false,
            Truth::Class(class) => {
                let near = shared.memory.nearest(&self.scratch.similarities, NEIGHBOURS);
                let unlike = near.iter().all(|&(_, at)| shared.memory.entries()[at].label as usize != class);
                unlike && self.scratch.answer.get(class).is_some_and(|p| *p < UNLIKELY)
            }
            Truth::Value(value) => self.mixture.credibility.is_unusual(value - self.scratch.answer[0]),
        }
    }
}
