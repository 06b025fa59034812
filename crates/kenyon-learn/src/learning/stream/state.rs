//! A stream's state as bytes and back, bit for bit.

mod earlier;

use super::code::Code;
use super::consolidate::Consolidation;
use super::copy_on_write::CopyOnWrite;
use super::credibility::Credibility;
use super::experts::{EXPERTS, ExpertKind, Shared};
use super::familiar::Familiar;
use super::figures::Figures;
use super::hedge::{Hedge, Mixing};
use super::horizons::Horizons;
use super::inputs::Inputs;
use super::mixture::{Mixture, Scratch};
use super::served::ServedCalibration;
use super::targets::TargetRange;
use super::{Bundle, StreamModel, broken};
use crate::Result;
use crate::data::Batch;
use crate::data::encoder::Encoder;
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::learning::novelty::{KnownCodes, Novelty, SavedNovelty};
use crate::models::Task;
use crate::nn::memory::episodic::Episodic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Increased whenever the layout below changes: the first number of a snapshot. Earlier ones are read by
/// [`earlier`].
const LAYOUT: u32 = 4;

/// JSON in a form that keeps every bit of its numbers, which its text does not guarantee.
#[derive(Serialize, Deserialize)]
enum Exact {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Exact>),
    Object(Vec<(String, Exact)>),
}

impl From<Value> for Exact {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(u), _) => Self::Unsigned(u),
                (None, Some(i)) => Self::Signed(i),
                (None, None) => Self::Float(n.as_f64().unwrap_or(0.0)),
            },
            Value::String(s) => Self::Text(s),
            Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            Value::Object(object) => Self::Object(object.into_iter().map(|(k, v)| (k, v.into())).collect()),
        }
    }
}

impl From<Exact> for Value {
    fn from(value: Exact) -> Self {
        match value {
            Exact::Null => Self::Null,
            Exact::Bool(b) => Self::Bool(b),
            Exact::Unsigned(u) => u.into(),
            Exact::Signed(i) => i.into(),
            Exact::Float(f) => Number::from_f64(f).map_or(Self::Null, Self::Number),
            Exact::Text(s) => Self::String(s),
            Exact::List(list) => Self::Array(list.into_iter().map(Self::from).collect()),
            Exact::Object(fields) => Self::Object(fields.into_iter().map(|(k, v)| (k, v.into())).collect()),
        }
    }
}

/// The saved state; borrowed to write, owned to read.
#[derive(Serialize, Deserialize)]
struct State<C, F, B, L, T> {
    layout: u32,
    described: Exact,
    regression: bool,
    running: bool,
    over: bool,
    seed: u64,
    mixture: MixtureState,
    code: C,
    figures: F,
    rows: u64,
    newest_class: u64,
    recent: B,
    recent_labels: L,
    recent_texts: T,
    scores: L,
    forgotten: u64,
    /// At which row it was fitted, keys, width, threshold.
    novelty: Option<(u64, Vec<f32>, usize, f32)>,
    consolidations: Vec<u8>,
}

/// Parts that come after everything older.
#[derive(Default, Serialize, Deserialize)]
struct Newer<F, K> {
    copy: Option<(u64, MixtureState)>,
    familiar: F,
    /// Keys of the inputs that novelty is fitted on.
    input_keys: K,
}

/// The experts, each under its name, and their shared past.
#[derive(Serialize, Deserialize)]
struct MixtureState {
    classes: usize,
    counts: Vec<u64>,
    mean: f32,
    memory: CopyOnWrite<Episodic>,
    base: bool,
    mixing: Mixing,
    inputs: Option<Inputs>,
    hedge: Hedge,
    experts: Vec<(String, Vec<u8>)>,
}

type Read = State<Code, Figures, Batch, Vec<f32>, Vec<Option<Box<str>>>>;

impl MixtureState {
    fn of(mixture: &Mixture) -> Result<Self> {
        let Shared { classes, counts, mean, memory, .. } = &mixture.shared;
        let experts = mixture.experts.iter().map(|expert| Ok((expert.name().to_owned(), expert.save()?)));
        Ok(Self {
            classes: *classes,
            counts: counts.clone(),
            mean: *mean,
            memory: memory.clone(),
            base: mixture.base,
            mixing: mixture.mixing,
            inputs: mixture.inputs.clone(),
            hedge: mixture.hedge.clone(),
            experts: experts.collect::<Result<_>>()?,
        })
    }

    fn load(self, regression: bool, kinds: &[ExpertKind]) -> Result<Mixture> {
        let load = |(name, bytes): (String, Vec<u8>)| {
            let kind = kinds.iter().find(|kind| kind.name == name);
            (kind.ok_or_else(|| broken(format!("there is no expert {name}")))?.load)(&bytes)
        };
        let Self { classes, counts, mean, memory, .. } = self;
        let mixture = Mixture {
            shared: Shared { regression, classes, counts, mean, memory, threads: 1 },
            base: self.base,
            mixing: self.mixing,
            // The units' weights are not kept: they follow from the seed.
            inputs: self.inputs.map(|mut inputs| {
                inputs.prepare();
                inputs
            }),
            experts: self.experts.into_iter().map(load).collect::<Result<_>>()?,
            hedge: self.hedge,
            credibility: Credibility::fixed(),
        };
        if mixture.experts.len() != mixture.hedge.experts() {
            return Err(broken("experts and their weights do not fit"));
        }
        Ok(mixture)
    }
}

impl StreamModel {
    /// The complete state.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        self.to_bytes(&self.consolidations)
    }

    /// SHA-256 of the state, hexadecimal. Records of what was forgotten are no part of it: where nothing is left of
    /// some rows, it is that of a stream that never received them.
    pub fn digest(&self) -> Result<String> {
        let learned: Vec<_> = self.consolidations.iter().filter(|done| done.forgotten == 0).cloned().collect();
        let digest = Sha256::digest(self.to_bytes(&learned)?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn to_bytes(&self, consolidations: &[Consolidation]) -> Result<Vec<u8>> {
        let described = serde_json::json!({
            "target": self.target, "target_encoder": self.target_encoder, "encoder": *self.encoder,
            "config": self.config, "targets": self.targets, "novelty_scores": self.novelty_scores,
            "history": self.history, "column_drift": self.column_drift, "input_reference": self.input_reference,
            "served": self.served,
            "credibility": self.mixture.credibility, "horizons": self.horizons.figures,
            "sources": self.sources, "quarantine": self.quarantine,
            "novelty": self.novelty.as_ref().filter(|(_, n)| n.reads_inputs()).and_then(|(_, n)| n.saved()),
        });
        let state = State {
            layout: LAYOUT,
            described: described.into(),
            regression: self.task == Task::Regression,
            running: self.running,
            over: self.base.is_some(),
            seed: self.seed,
            mixture: MixtureState::of(&self.mixture)?,
            code: &self.code,
            figures: &self.figures,
            rows: self.rows,
            newest_class: self.newest_class,
            recent: &self.recent,
            recent_labels: &self.recent_labels,
            recent_texts: &self.recent_texts,
            scores: &self.scores,
            forgotten: self.forgotten,
            novelty: self.novelty.as_ref().map(|(rows, n)| (*rows, n.codes.keys(), n.codes.width, n.threshold)),
            consolidations: serde_json::to_vec(consolidations).map_err(broken)?,
        };
        let copy = self.horizons.copy.as_ref();
        let newer = Newer {
            copy: copy.map(|(made, copy)| MixtureState::of(copy).map(|copy| (*made, copy))).transpose()?,
            familiar: &self.familiar,
            input_keys: self.novelty.as_ref().map(|(_, novelty)| novelty.input_keys()).unwrap_or_default(),
        };
        let mut bytes = postcard::to_stdvec(&state).map_err(broken)?;
        bytes.extend(postcard::to_stdvec(&newer).map_err(broken)?);
        Ok(bytes)
    }

    /// The stream that [`StreamModel::snapshot`] was taken of. `base` is the bundle it continues from, if
    /// any.
    pub fn restore(bytes: &[u8], base: Option<Arc<Bundle>>) -> Result<Self> {
        Self::restore_with(bytes, base, EXPERTS)
    }

    pub(super) fn restore_with(bytes: &[u8], base: Option<Arc<Bundle>>, kinds: &[ExpertKind]) -> Result<Self> {
        let (state, newer) = read(bytes)?;
        let mut described = match Value::from(state.described) {
            Value::Object(described) => described,
            _ => return Err(broken("it is not described")),
        };
        // As when a stream begins; snapshots of 0.1 do not contain it.
        let target = ColumnPlan { labels: !state.regression, ..part(&mut described, "target")? };
        let encoder: Encoder = part(&mut described, "encoder")?;
        let base = base.filter(|_| state.over);
        if state.over && base.is_none() {
            return Err(broken("the trained model it continues from is missing"));
        }
        let mut plans = encoder.inputs.clone();
        plans.push(target.clone());
        let ignored = base.as_ref().map(|b| b.config.ignored.clone()).unwrap_or_default();
        let learned = state.regression && state.figures.labelled > 0;
        let targets = optional::<TargetRange>(&mut described, "targets")?.unwrap_or_default();
        let targets = targets.completed(base.as_deref(), learned);
        // Snapshots of 0.1 have none: the rank begins with the next rows.
        let novelty_scores = optional(&mut described, "novelty_scores")?.unwrap_or_default();
        let load = |mixture: MixtureState| mixture.load(state.regression, kinds);
        let mut mixture = load(state.mixture)?;
        mixture.credibility = optional(&mut described, "credibility")?.unwrap_or(mixture.credibility);
        let copy = newer.copy.map(|(made, copy)| load(copy).map(|copy| (made, copy))).transpose()?;
        let horizons = Horizons { figures: optional(&mut described, "horizons")?.unwrap_or_default(), copy };
        let saved = optional::<Option<SavedNovelty>>(&mut described, "novelty")?.flatten();
        let novelty = state.novelty.map(|fitted| novelty(fitted, saved, newer.input_keys, &encoder)).transpose()?;
        Ok(Self {
            task: if state.regression { Task::Regression } else { Task::Classification },
            target,
            target_encoder: part(&mut described, "target_encoder")?,
            encoder: encoder.into(),
            running: state.running,
            base,
            config: part(&mut described, "config")?,
            seed: state.seed,
            targets,
            mixture,
            code: state.code,
            figures: state.figures,
            // Snapshots of before they were kept have none of these.
            history: optional(&mut described, "history")?.unwrap_or_default(),
            column_drift: optional(&mut described, "column_drift")?.unwrap_or_default(),
            input_reference: optional(&mut described, "input_reference")?.unwrap_or_default(),
            at: None,
            source: Arc::default(),
            sources: optional(&mut described, "sources")?.unwrap_or_default(),
            quarantine: optional(&mut described, "quarantine")?.unwrap_or_default(),
            rows: state.rows,
            newest_class: state.newest_class,
            recent: state.recent,
            recent_labels: state.recent_labels,
            recent_texts: state.recent_texts,
            scores: state.scores,
            served: optional(&mut described, "served")?.unwrap_or_else(ServedCalibration::fixed),
            horizons,
            forgotten: state.forgotten,
            consolidations: serde_json::from_slice::<Vec<Consolidation>>(&state.consolidations).map_err(broken)?,
            reader: RowsReader::new(&plans, &ignored),
            scratch: Scratch::default(),
            aged: Scratch::default(),
            threads: 1,
            novelty,
            familiar: newer.familiar,
            projector: KnownCodes::default(),
            novelty_scores,
        })
    }
}

/// The parts of a snapshot.
fn read(bytes: &[u8]) -> Result<(Read, Newer<Familiar, Vec<f32>>)> {
    let (layout, _) = postcard::take_from_bytes::<u32>(bytes).map_err(broken)?;
    let (state, newer) = match layout {
        LAYOUT => postcard::take_from_bytes::<Read>(bytes).map_err(broken)?,
        _ => (earlier::read(bytes, layout)?, &[][..]),
    };
    let newer = match newer {
        // Snapshots of before these parts were kept end here.
        [] => Newer::default(),
        newer => postcard::from_bytes(newer).map_err(broken)?,
    };
    Ok((state, newer))
}

fn part<T: DeserializeOwned>(described: &mut Map<String, Value>, name: &str) -> Result<T> {
    optional(described, name)?.ok_or_else(|| broken(format!("{name} is missing")))
}

fn optional<T: DeserializeOwned>(described: &mut Map<String, Value>, name: &str) -> Result<Option<T>> {
    described.remove(name).map(serde_json::from_value).transpose().map_err(broken)
}

/// Novelty from the codes that it was fitted on, and from how many rows: see [`State::novelty`].
fn novelty(
    (rows, keys, width, threshold): (u64, Vec<f32>, usize, f32),
    saved: Option<SavedNovelty>,
    input_keys: Vec<f32>,
    encoder: &Encoder,
) -> Result<(u64, Arc<Novelty>)> {
    let codes = KnownCodes::new(&keys, width);
    let columns: Vec<&str> = encoder.inputs.iter().map(|input| input.name.as_str()).collect();
    let novelty = match saved {
        Some(saved) => Novelty::load(codes, saved, input_keys, &columns)
            .ok_or_else(|| broken("what novelty is ranked by does not fit"))?,
        None => Novelty::distance_alone(codes, threshold),
    };
    Ok((rows, Arc::new(novelty)))
}
