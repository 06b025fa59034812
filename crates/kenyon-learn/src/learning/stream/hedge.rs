//! Weights of experts by their recent losses (fixed share, Herbster & Warmuth 1998): the prediction follows the
//! expert that is best at the moment. It uses only an expert's loss and whether it can predict yet.

use crate::nn::probability::softmax;
use serde::{Deserialize, Serialize};

/// Smallest probability an expert's loss is computed from, so that one surprise does not remove its weight for ever.
const LEAST: f32 = 1e-3;
/// The initial advantage of an expert that was trained before the stream began over untrained ones:
/// e⁶ : 1, as much as thirty rows that the others answer better by two thirds of a nat.
const LEAD: f32 = 6.0;

/// How the experts' predictions are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mixing {
    /// By their recent losses: tables and text.
    Hedged,
    /// The first expert that is ready predicts alone: for codes that must not be forgotten when classes come
    /// one after the other.
    FirstReady,
}

/// Weights of experts by their recent losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hedge {
    /// Logarithms of the weights, one an expert.
    scores: Vec<f32>,
}

impl Hedge {
    /// All experts with equal weight, or the first ahead because it is `trained`.
    pub(super) fn new(experts: usize, trained: bool) -> Self {
        let mut it = Self { scores: vec![0.0; experts] };
        it.restart(trained);
        it
    }

    /// How many experts it weighs.
    pub(super) fn experts(&self) -> usize {
        self.scores.len()
    }

    /// The weights, summing to 1, of experts that are ready or not and have a lead.
    pub(super) fn weights(&self, mixing: Mixing, experts: impl Iterator<Item = (bool, f32)>, out: &mut Vec<f32>) {
        out.clear();
        match mixing {
            Mixing::Hedged => {
                out.extend(self.scores.iter().zip(experts).map(|(score, (_, lead))| score + lead));
                softmax(out);
            }
            Mixing::FirstReady => {
                let mut left = 1.0;
                out.extend(experts.map(|(ready, _)| if ready { std::mem::take(&mut left) } else { 0.0 }));
            }
        }
    }

    /// Updates the weights by each expert's loss; old losses fade.
    pub(super) fn charge(&mut self, losses: impl Iterator<Item = f32>) {
        for (score, loss) in self.scores.iter_mut().zip(losses) {
            *score = 0.99 * *score - 0.3 * loss;
        }
    }

    /// Resets to the initial weights.
    pub(super) fn restart(&mut self, trained: bool) {
        self.scores.fill(0.0);
        if let Some(first) = self.scores.first_mut().filter(|_| trained) {
            *first = LEAD;
        }
    }

    /// After a change: all weights nearly equal again.
    pub(super) fn on_drift(&mut self) {
        self.scores.iter_mut().for_each(|s| *s *= 0.1);
    }
}

/// The loss of an expert for the probability it gave to the truth.
pub(super) fn log_loss(probability: f32) -> f32 {
    -probability.max(LEAST).ln()
}
