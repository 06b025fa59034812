//! Why a row was answered as it was, as an answer shows it.
//!
//! Features are differences from a baseline that sum to the answer's difference ([`kenyon_learn::learning::explain`]).
//! Models without a background sample show the terms of the network itself at this input, as in 0.1: `bias` plus the
//! weights of all features is the logit of the answered class (or the standardised value). Attention is a weight, not a
//! reason.

use kenyon_learn::data::Batch;
use kenyon_learn::data::encoder::{Encoder, Field, Layout};
use kenyon_learn::data::schema::ColumnKind;
use kenyon_learn::data::target::TargetEncoder;
use kenyon_learn::learning::explain::{Attribution, Contribution};
use kenyon_learn::models::{Explanation, Recalled, RecalledRow};
use serde::Serialize;
use serde_json::Value;

/// Features listed at most; the rest is summed up in one entry.
const MAX_FEATURES: usize = 50;

/// Active units listed at most.
const MAX_UNITS: usize = 32;

/// Why a row got its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reasons {
    /// What the features add.
    #[serde(flatten)]
    pub terms: Terms,
    /// For families that attend, a weight a token; they sum to 1.
    pub attention: Vec<Attended>,
    /// For families with a memory: the retrieved entries.
    pub memories: Vec<Memory>,
    /// Units that were active, strongest first.
    pub active_units: Vec<Unit>,
}

/// What the features add to an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Terms {
    /// Differences from a baseline.
    Differences {
        /// The mean answer over a background sample of training rows.
        baseline: f64,
        /// The answer.
        output: f64,
        /// `log-odds` of the named class against the rest, or the name of the target.
        unit: String,
        /// The largest first; together `output − baseline`.
        features: Vec<Difference>,
    },
    /// Terms of the network itself, for models without a background sample.
    Network {
        /// What the logit (or the standardised value) would be without any input.
        bias: f32,
        /// Contributions, the largest first.
        features: Vec<Weight>,
        /// Sum of the contributions that are not listed.
        other: f32,
    },
}

impl Default for Terms {
    fn default() -> Self {
        Self::Network { bias: 0.0, features: Vec::new(), other: 0.0 }
    }
}

/// What a feature, or a word of one, adds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The column.
    pub name: String,
    /// What it adds.
    pub weight: f64,
    /// The row's value, or the word; null for lists.
    pub value: Value,
    /// Code point at which the word begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    /// Code point before which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
    /// Of a picture `[rows][columns]`, of a series `[channels][steps]`; sums to the weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<Vec<Vec<f32>>>,
}

impl From<Contribution> for Difference {
    fn from(Contribution { name, weight, value, span, map }: Contribution) -> Self {
        let [start, end] = span.map_or([None, None], |span| span.map(Some));
        Self { name, weight, value, start, end, map }
    }
}

impl From<Attribution> for Terms {
    fn from(Attribution { baseline, output, unit, features }: Attribution) -> Self {
        Self::Differences { baseline, output, unit, features: features.into_iter().map(Into::into).collect() }
    }
}

/// A feature's contribution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weight {
    /// The column, or `column[i]` for an element of a vector or image.
    pub name: String,
    /// What it adds to the logit (or the standardised value).
    pub weight: f32,
}

/// A token's share of the attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attended {
    /// The column it comes from.
    pub name: String,
    /// Its index among the row's tokens.
    pub token: usize,
    /// Its share.
    pub weight: f32,
    /// How much lower the logit (or the standardised value) is without it; where
    /// `"explain": "leave_one_out"` was requested.
    #[serde(rename = "left_out", skip_serializing_if = "Option::is_none")]
    pub leave_one_out: Option<f32>,
}

/// A retrieved entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// Its number in the memory, as in `GET …/memory`; for a class's mean the number of the class.
    pub id: String,
    /// Its class or value.
    pub label: Value,
    /// Cosine of its key and the row's.
    pub similarity: f32,
    /// The stored row, as far as it was kept; null for a class's mean.
    pub row: Value,
}

/// An active unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Unit {
    /// Its number.
    pub unit: u32,
    /// Its activation.
    pub activation: f32,
}

impl Reasons {
    /// Names the parts of `explanation`, which is about row `row` of `batch`; `attribution` takes the place of its
    /// terms where there is one.
    pub(super) fn new(
        explanation: &Explanation,
        attribution: Option<Attribution>,
        encoder: &Encoder,
        target: &TargetEncoder,
        (batch, row): (&Batch, usize),
    ) -> Self {
        let attended = |(token, &weight): (usize, &f32)| {
            let field = batch.fields.get(batch.row(row).start + token).map_or(0, |&f| usize::from(f));
            let name = encoder.fields.get(field).map(|f| f.name.clone()).unwrap_or_default();
            Attended { name, token, weight, leave_one_out: explanation.leave_one_out.get(token).copied() }
        };
        Self {
            terms: attribution.map_or_else(|| Terms::of_network(explanation, encoder, batch, row), Terms::from),
            attention: explanation.attention.iter().enumerate().map(attended).collect(),
            memories: explanation.memories.iter().map(|memory| Memory::new(memory, encoder, target)).collect(),
            active_units: explanation
                .active_units
                .iter()
                .take(MAX_UNITS)
                .map(|&(unit, activation)| Unit { unit, activation })
                .collect(),
        }
    }
}

impl Terms {
    /// The network's own terms, summed by column.
    fn of_network(explanation: &Explanation, encoder: &Encoder, batch: &Batch, row: usize) -> Self {
        let mut sums: Vec<(InputPart, f32)> = Vec::new();
        let mut entry = 0;
        for token in batch.row(row) {
            let (indices, _) = batch.token(token);
            for &index in indices {
                let Some(&weight) = explanation.entries.get(entry) else { break };
                entry += 1;
                let field = match encoder.layout {
                    Layout::Bag => field_of(&encoder.fields, index),
                    Layout::Tokens => batch.fields.get(token).map_or(0, |&f| usize::from(f)),
                };
                let part = InputPart::of(encoder.fields.get(field), field, index);
                match sums.iter_mut().rev().find(|(p, _)| *p == part) {
                    Some((_, sum)) => *sum += weight,
                    None => sums.push((part, weight)),
                }
            }
        }
        sums.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let other = sums.iter().skip(MAX_FEATURES).map(|(_, w)| w).sum();
        let named = |(part, weight): (InputPart, f32)| Weight { name: part.name(&encoder.fields), weight };
        let features = sums.into_iter().take(MAX_FEATURES).map(named).collect();
        Self::Network { bias: explanation.bias, features, other }
    }
}

impl Memory {
    /// As it is shown.
    pub fn new(recalled: &Recalled, encoder: &Encoder, target: &TargetEncoder) -> Self {
        let label = match target {
            TargetEncoder::Classes(classes) => classes.get(recalled.outcome as usize).cloned().unwrap_or_default(),
            TargetEncoder::Number { mean, std } => (f64::from(recalled.outcome) * std + mean).into(),
        };
        let row = match &recalled.row {
            RecalledRow::None => Value::Null,
            RecalledRow::Text(text) => serde_json::from_str(text).unwrap_or_default(),
            RecalledRow::Entries(entries) => encoder.decode(entries).into(),
        };
        Self { id: recalled.id.to_string(), label, similarity: recalled.similarity, row }
    }
}

/// What a contribution is attributed to: a column, or one element of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InputPart {
    field: usize,
    element: Option<u32>,
}

impl InputPart {
    fn of(field: Option<&Field>, at: usize, index: u32) -> Self {
        // Elements of a vector mean something one by one; words and bins of a number do not.
        let element = field
            .filter(|f| matches!(f.kind, ColumnKind::Vector | ColumnKind::Image))
            .and_then(|f| index.checked_sub(f.start));
        Self { field: at, element }
    }

    fn name(self, fields: &[Field]) -> String {
        let name = fields.get(self.field).map(|f| f.name.as_str()).unwrap_or_default();
        match self.element {
            Some(element) => format!("{name}[{element}]"),
            None => name.to_owned(),
        }
    }
}

/// The field whose range of the feature space holds `index`.
fn field_of(fields: &[Field], index: u32) -> usize {
    fields.iter().position(|f| (f.start..f.start + f.width).contains(&index)).unwrap_or(fields.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributions_are_summed_by_column_and_nothing_is_lost() {
        let field = |name: &str, kind, start, width| Field { name: name.into(), kind, start, width, shape: None };
        let mut encoder =
            Encoder::empty(&[], Layout::Bag, kenyon_learn::data::encoder::EncoderOptions::default()).unwrap();
        encoder.fields = vec![field("words", ColumnKind::Text, 0, 100), field("image", ColumnKind::Vector, 100, 80)];
        let mut batch = Batch::new();
        let indices = [3, 50].into_iter().chain(100..170);
        for index in indices {
            batch.push_entry(index, 1.0);
        }
        batch.end_bag();
        let entries: Vec<f32> = (0..72).map(|i| i as f32).collect();
        let explanation = Explanation { bias: 0.5, entries: entries.clone(), ..Explanation::default() };
        let classes = TargetEncoder::Classes(vec!["a".into(), "b".into()]);
        let text = RecalledRow::Text(r#"{"x":1}"#.into());
        let explanation =
            Explanation { memories: vec![Recalled { id: 7, outcome: 1.0, similarity: 0.5, row: text }], ..explanation };
        let reasons = Reasons::new(&explanation, None, &encoder, &classes, (&batch, 0));
        let Terms::Network { features, other, .. } = &reasons.terms else { panic!("{reasons:?}") };
        let row = serde_json::json!({"x": 1});
        assert_eq!(reasons.memories, [Memory { id: "7".into(), label: "b".into(), similarity: 0.5, row }]);
        let total = other + features.iter().map(|f| f.weight).sum::<f32>();
        assert_eq!(total, entries.iter().sum::<f32>());
        assert_eq!(features[0], Weight { name: "image[69]".into(), weight: 71.0 });
        assert_eq!(features.len(), MAX_FEATURES);
        let contribution =
            Contribution { name: "text".into(), weight: 1.5, value: "go".into(), span: Some([3, 5]), map: None };
        let attribution =
            Attribution { baseline: -1.0, output: 0.5, unit: "log-odds".into(), features: vec![contribution] };
        let reasons = Reasons { terms: attribution.into(), ..Reasons::default() };
        let expected = serde_json::json!({"baseline": -1.0, "output": 0.5, "unit": "log-odds", "attention": [],
            "memories": [], "active_units": [],
            "features": [{"name": "text", "weight": 1.5, "value": "go", "start": 3, "end": 5}]});
        assert_eq!(serde_json::to_value(reasons).unwrap(), expected);
    }
}
