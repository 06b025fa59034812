//! What the lines of an answer are to hold, and which values of that are refused.

use crate::learning::calibrate::SetOptions;
use crate::{Detail, Error, Result};
use serde::{Deserialize, Serialize};

/// The coverage of sets and intervals where none is requested.
const COVERAGE: f64 = 0.9;

/// What lines are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LineFormat {
    /// A JSON object a line.
    #[default]
    Ndjson,
    /// Fields separated by commas, with a line of names.
    Csv,
}

/// How the code of a layer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingForm {
    /// The value of every unit.
    Dense,
    /// The units that are not zero, by number and value.
    Sparse,
}

/// What lines are to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineOptions {
    /// What they are written as.
    pub format: LineFormat,
    /// Share of the time that `set`, or `lower` and `upper`, are to hold the truth.
    pub coverage: Option<f64>,
    /// Whether `set` may be empty; by default the likeliest class is in.
    pub allow_empty: bool,
    /// `class` where sets are to hold for the rows of each class.
    pub conditional: Option<String>,
    /// Novelty beyond which a row is `unfamiliar`; the usual one when missing.
    pub novelty_level: Option<f32>,
    /// Classes listed with their probabilities.
    pub top_k: Option<usize>,
    /// Whether each answer is explained ([`attribute`](crate::learning::explain::attribute)), which takes a few milliseconds a row.
    pub explain: bool,
    /// Whether each line has the code of a layer, and how.
    pub embedding: Option<EmbeddingForm>,
    /// The layer of that code; the last before the readout when missing.
    pub layer: Option<String>,
}

impl LineOptions {
    /// Refuses what no answer can have.
    ///
    /// # Errors
    /// Codes that name the option, as for a predict request.
    pub fn check(&self) -> Result<()> {
        let bad = |code, option: &str, reason: &str| {
            Err(Error::malformed(code, format!("{option} {reason}")).with_details([Detail::path(option, reason)]))
        };
        if self.coverage.is_some_and(|c| !(c > 0.0 && c < 1.0)) {
            return bad("invalid_coverage", "coverage", "must lie between 0 and 1, both excluded");
        }
        if self.top_k.is_some_and(|k| !(1..=1_000_000).contains(&k)) {
            return bad("invalid_top_k", "top_k", "must lie between 1 and 1,000,000");
        }
        if self.novelty_level.is_some_and(|level| !(0.0..=1.0).contains(&level)) {
            return bad("invalid_novelty_level", "novelty_level", "must lie between 0 and 1");
        }
        if self.conditional.as_ref().is_some_and(|by| by != "class") {
            return bad("invalid_conditional", "conditional", "must be \"class\"");
        }
        if self.layer.is_some() && self.embedding.is_none() {
            let reason = "is the layer of an embedding, and none is requested";
            return Err(Error::unprocessable("contradictory_request", format!("layer {reason}"))
                .with_details([Detail::path("layer", reason)]));
        }
        Ok(())
    }

    /// The options of sets and intervals.
    pub(super) fn sets(&self) -> SetOptions {
        SetOptions {
            coverage: self.coverage.unwrap_or(COVERAGE),
            allow_empty: self.allow_empty,
            by_class: self.conditional.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_answer_can_have_is_refused() {
        let code = |options: LineOptions| options.check().err().map(|error| error.code);
        let none = LineOptions::default;
        assert_eq!(code(none()), None);
        let word = |text: &str| Some(text.to_owned());
        for (options, expected) in [
            (LineOptions { coverage: Some(1.0), ..none() }, "invalid_coverage"),
            (LineOptions { top_k: Some(0), ..none() }, "invalid_top_k"),
            (LineOptions { novelty_level: Some(f32::NAN), ..none() }, "invalid_novelty_level"),
            (LineOptions { conditional: word("row"), ..none() }, "invalid_conditional"),
            (LineOptions { layer: word("hidden.0"), ..none() }, "contradictory_request"),
        ] {
            assert_eq!(code(options), Some(expected));
        }
    }
}
