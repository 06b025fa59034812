//! The request for a comparison, checked before it is queued.

use super::super::schemas::SystemToCompare;
use crate::store::{DatasetName, EncoderName, ModelName};
use crate::{Detail, Error, Result};
use kenyon_learn::learning::compare::{Bootstrap, Comparison, Distance, Over};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use utoipa::ToSchema;

/// Systems of one comparison.
const MAX_SYSTEMS: usize = 100;
/// Samples of a bootstrap.
const SAMPLES: (usize, usize) = (10, 100_000);
/// Characters of a system's name.
const MAX_NAME: usize = 100;

/// Systems to compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "stimuli": "images",
    "systems": [
        { "name": "k-winner code", "model": "faces", "layer": "image_0" },
        { "name": "pixels", "dataset": "images", "channels": "p*" },
        { "name": "human IT", "rdm": "human_it" }
    ],
    "distance": "correlation", "compare": "rho-a", "reference": "human IT",
    "bootstrap": { "samples": 1000, "over": ["stimuli", "subjects"] }
})))]
pub struct CompareRequest {
    /// A dataset with a row for each stimulus, which systems of models and encoders read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stimuli: Option<DatasetName>,
    /// The column of `stimuli` with the stimuli's names; without it they are named by row number, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What is compared.
    #[schema(value_type = Vec<SystemToCompare>, min_items = 2, max_items = 100)]
    pub systems: Vec<System>,
    /// How the dissimilarity of two stimuli is measured; `correlation` when missing, with `cka` and `procrustes`
    /// `euclidean`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<Distance>,
    /// How two dissimilarity matrices are compared.
    #[serde(default)]
    pub compare: Comparison,
    /// Name of the system that the others are to explain, for example recordings; without it all are compared with
    /// each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Samples drawn for standard errors, intervals and tests.
    #[serde(default)]
    pub bootstrap: BootstrapRequest,
    /// Names of systems whose best non-negative mixture is fitted to the reference, by cross-validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighting: Option<Vec<String>>,
    /// Whether the responses of the reference, a dataset, are predicted from each system by ridge regression.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encoding: bool,
}

/// A representation of the stimuli: a layer of a `model`, an `encoder`, responses of a `dataset`, or an `rdm`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Its name in the answer.
    pub name: String,
    /// A model that reads the stimuli.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Its layer, as `/embed` names them; the last one when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Its version; the one that is served when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// A pretrained encoder that reads the stimuli.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<EncoderName>,
    /// The column of the stimuli that it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A dataset of responses, a row for each observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
    /// Its columns that are channels: a name, or a pattern with `*`; all columns of numbers when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<String>,
    /// Its column with the name of the stimulus; the row number, from 0, when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Its column with the subject, where there are several; also of an `rdm`, `subject` when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its column with the run, for cross-validated distances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// A dataset of dissimilarities with the columns `i`, `j`, `value` and, where there are several, `subject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdm: Option<DatasetName>,
    /// Its own distance, in place of that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<Distance>,
}

/// Settings of the bootstrap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BootstrapRequest {
    /// Number of samples.
    #[schema(minimum = 10, maximum = 100_000)]
    pub samples: usize,
    /// What is drawn with replacement: the result holds for others of these. Subjects are drawn only where the
    /// reference has several.
    #[schema(min_items = 1, max_items = 2)]
    pub over: Vec<Drawn>,
    /// The samples follow from it.
    pub seed: u64,
}

/// What a bootstrap draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Drawn {
    /// Stimuli.
    Stimuli,
    /// Subjects.
    Subjects,
}

impl Default for BootstrapRequest {
    fn default() -> Self {
        Self { samples: 1000, over: vec![Drawn::Stimuli, Drawn::Subjects], seed: 0 }
    }
}

/// 400 about a field.
fn bad(path: impl Into<String>, reason: impl Into<String>) -> Error {
    let (path, reason) = (path.into(), reason.into());
    Error::malformed("invalid_request", format!("{path}: {reason}")).with_details([Detail::path(path, reason)])
}

/// 422 about a field that does not go with the others, which a schema of single fields cannot express.
fn contradicts(path: impl Into<String>, reason: impl Into<String>) -> Error {
    let (path, reason) = (path.into(), reason.into());
    Error::unprocessable("contradictory_request", format!("{path}: {reason}"))
        .with_details([Detail::path(path, reason)])
}

impl BootstrapRequest {
    /// The same for the core.
    pub(super) fn settings(&self, threads: usize) -> Bootstrap {
        let over = match (self.over.contains(&Drawn::Stimuli), self.over.contains(&Drawn::Subjects)) {
            (false, _) => Over::Subjects,
            (true, false) => Over::Stimuli,
            (true, true) => Over::Both,
        };
        Bootstrap { samples: self.samples, over, seed: self.seed, threads }
    }

    fn check(&self) -> Result<()> {
        if !(SAMPLES.0..=SAMPLES.1).contains(&self.samples) {
            return Err(bad("bootstrap.samples", format!("must lie between {} and {}", SAMPLES.0, SAMPLES.1)));
        }
        if self.over.is_empty() || self.over.len() > 2 {
            return Err(bad("bootstrap.over", "names stimuli, subjects or both"));
        }
        Ok(())
    }
}

impl CompareRequest {
    /// Its distance.
    pub(super) fn distance(&self) -> Distance {
        let usual = if self.compare.needs_euclidean() { Distance::Euclidean } else { Distance::default() };
        self.distance.unwrap_or(usual)
    }

    /// The dataset that the job is for: the stimuli, or the first that a system reads.
    pub(in crate::jobs) fn main_dataset(&self) -> Option<&DatasetName> {
        let of = |system: &'_ System| system.dataset.is_some() || system.rdm.is_some();
        let first = || self.systems.iter().find(|s| of(s)).and_then(|s| s.dataset.as_ref().or(s.rdm.as_ref()));
        self.stimuli.as_ref().or_else(first)
    }

    /// What can be refused before the job waits.
    pub(in crate::jobs) fn check(&self) -> Result<()> {
        if !(2..=MAX_SYSTEMS).contains(&self.systems.len()) {
            return Err(bad("systems", format!("names 2 to {MAX_SYSTEMS} systems")));
        }
        let mut names = HashSet::new();
        for (at, system) in self.systems.iter().enumerate() {
            system.check(&format!("systems[{at}]"), self.stimuli.is_some())?;
            if !names.insert(system.name.as_str()) {
                return Err(contradicts(
                    format!("systems[{at}].name"),
                    format!("{} is the name of two systems", system.name),
                ));
            }
        }
        if let Some(reference) = self.reference.as_deref().filter(|name| !names.contains(name)) {
            return Err(contradicts("reference", format!("no system is named {reference}")));
        }
        if self.condition.is_some() && self.stimuli.is_none() {
            return Err(contradicts("condition", "is a column of `stimuli`, and no stimuli are named"));
        }
        self.bootstrap.check()?;
        let recorded = self.systems.iter().any(|s| Some(&s.name) == self.reference.as_ref() && s.dataset.is_some());
        if self.encoding && !recorded {
            return Err(contradicts(
                "encoding",
                "responses are predicted where the reference is a system of a dataset",
            ));
        }
        let Some(weighting) = &self.weighting else { return Ok(()) };
        let Some(reference) = &self.reference else {
            return Err(contradicts("weighting", "a mixture is fitted to a reference, and none is named"));
        };
        let fits = |name: &String| names.contains(name.as_str()) && name != reference;
        let distinct: HashSet<&String> = weighting.iter().collect();
        if weighting.is_empty() || distinct.len() < weighting.len() || !weighting.iter().all(fits) {
            return Err(contradicts("weighting", "names systems other than the reference, each once"));
        }
        Ok(())
    }
}

impl System {
    fn check(&self, path: &str, stimuli: bool) -> Result<()> {
        let within = |field: &str, reason: &str| Err(bad(format!("{path}.{field}"), reason));
        if !(1..=MAX_NAME).contains(&self.name.chars().count()) {
            return within("name", "has 1 to 100 characters");
        }
        let sources =
            [self.model.is_some(), self.encoder.is_some(), self.dataset.is_some(), self.rdm.is_some()].map(usize::from);
        if sources.iter().sum::<usize>() != 1 {
            return Err(bad(path, "a system is one of `model`, `encoder`, `dataset` and `rdm`"));
        }
        let (model, encoder) = (self.model.is_some(), self.encoder.is_some());
        let (dataset, rdm) = (self.dataset.is_some(), self.rdm.is_some());
        let belongs = [
            ("layer", self.layer.is_some(), model, "model"),
            ("version", self.version.is_some(), model, "model"),
            ("column", self.column.is_some(), encoder, "encoder"),
            ("channels", self.channels.is_some(), dataset, "dataset"),
            ("condition", self.condition.is_some(), dataset, "dataset"),
            ("run", self.run.is_some(), dataset, "dataset"),
            ("subject", self.subject.is_some(), dataset || rdm, "dataset or rdm"),
            ("distance", self.distance.is_some(), !rdm, "model, encoder or dataset"),
        ];
        if let Some((field, .., of)) = belongs.iter().find(|(_, named, fits, _)| *named && !fits) {
            return within(field, &format!("belongs to a system of a {of}"));
        }
        if encoder && self.column.is_none() {
            return within("column", "an encoder needs the column that it reads");
        }
        if (model || encoder) && !stimuli {
            return Err(contradicts("stimuli", format!("{} reads stimuli, and none are named", self.name)));
        }
        Ok(())
    }
}
