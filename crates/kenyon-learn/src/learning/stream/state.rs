//! A stream's state as bytes and back, bit for bit.

use super::consolidate::Consolidation;
use super::figures::Figures;
use super::lda_readout::{Code, LdaReadout};
use super::model::{Model, Scratch};
use super::{Bundle, Online, broken};
use crate::Result;
use crate::data::Batch;
use crate::data::plan::ColumnPlan;
use crate::data::rows::RowsReader;
use crate::learning::calibrate::Novelty;
use crate::models::Task;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::sync::Arc;

/// Raised whenever the layout below changes. What came with a layout stands after everything older, so that
/// an older snapshot can be read: 3 has the pool of rows without a label and the forest at its end.
const LAYOUT: u32 = 3;

/// JSON in a form that keeps every bit of its numbers, which its text does not promise.
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

/// What is kept; borrowed to write, owned to read.
#[derive(Serialize, Deserialize)]
struct State<M, C, S, F, B, L, T> {
    layout: u32,
    described: Exact,
    regression: bool,
    running: bool,
    over: bool,
    seed: u64,
    model: M,
    code: C,
    lda_readout: S,
    figures: F,
    rows: u64,
    newest_class: u64,
    recent: B,
    recent_labels: L,
    recent_texts: T,
    scores: L,
    forgotten: u64,
    /// At which row it was found out, keys, width, threshold.
    novelty: Option<(u64, Vec<f32>, usize, f32)>,
    consolidations: Vec<u8>,
}

type Read = State<Model, Code, LdaReadout, Figures, Batch, Vec<f32>, Vec<Option<Box<str>>>>;

impl Online {
    /// Everything that decides the future.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        let described = serde_json::json!({
            "target": self.target, "target_encoder": self.target_encoder, "encoder": self.encoder, "config": self.config,
        });
        let state = State {
            layout: LAYOUT,
            described: described.into(),
            regression: self.task == Task::Regression,
            running: self.running,
            over: self.base.is_some(),
            seed: self.seed,
            model: &self.model,
            code: &self.code,
            lda_readout: &self.lda_readout,
            figures: &self.figures,
            rows: self.rows,
            newest_class: self.newest_class,
            recent: &self.recent,
            recent_labels: &self.recent_labels,
            recent_texts: &self.recent_texts,
            scores: &self.scores,
            forgotten: self.forgotten,
            novelty: self.novelty.as_ref().map(|(rows, n)| (*rows, n.keys.clone(), n.width, n.threshold)),
            consolidations: serde_json::to_vec(&self.consolidations).map_err(broken)?,
        };
        let bytes = postcard::to_stdvec(&state).map_err(broken)?;
        postcard::to_extend(&(&self.lda_readout.pool, &self.model.forest), bytes).map_err(broken)
    }

    /// The stream that [`Online::snapshot`] was taken of. `base` is the bundle it goes on from, where
    /// it does.
    pub fn restore(bytes: &[u8], base: Option<Arc<Bundle>>) -> Result<Self> {
        let (mut state, newer) = postcard::take_from_bytes::<Read>(bytes).map_err(broken)?;
        match state.layout {
            2 => {}
            LAYOUT => (state.lda_readout.pool, state.model.forest) = postcard::from_bytes(newer).map_err(broken)?,
            _ => return Err(broken("it was written by another version")),
        }
        let mut described = match Value::from(state.described) {
            Value::Object(described) => described,
            _ => return Err(broken("it is not described")),
        };
        let target: ColumnPlan = part(&mut described, "target")?;
        let encoder: crate::data::encoder::Encoder = part(&mut described, "encoder")?;
        let base = base.filter(|_| state.over);
        if state.over && base.is_none() {
            return Err(broken("the trained model it goes on from is missing"));
        }
        let mut plans = encoder.inputs.clone();
        plans.push(target.clone());
        let ignored = base.as_ref().map(|b| b.config.ignored.clone()).unwrap_or_default();
        let mut model = state.model;
        model.prepare();
        Ok(Self {
            task: if state.regression { Task::Regression } else { Task::Classification },
            target,
            target_encoder: part(&mut described, "target_encoder")?,
            encoder,
            running: state.running,
            base,
            config: part(&mut described, "config")?,
            seed: state.seed,
            model,
            code: state.code,
            lda_readout: state.lda_readout,
            figures: state.figures,
            rows: state.rows,
            newest_class: state.newest_class,
            recent: state.recent,
            recent_labels: state.recent_labels,
            recent_texts: state.recent_texts,
            scores: state.scores,
            forgotten: state.forgotten,
            consolidations: serde_json::from_slice::<Vec<Consolidation>>(&state.consolidations).map_err(broken)?,
            reader: RowsReader::new(&plans, &ignored),
            scratch: Scratch::default(),
            threads: 1,
            novelty: state
                .novelty
                .map(|(rows, keys, width, threshold)| (rows, Novelty::with_keys(keys, width, threshold))),
        })
    }
}

fn part<T: DeserializeOwned>(described: &mut Map<String, Value>, name: &str) -> Result<T> {
    let value = described.remove(name).ok_or_else(|| broken(format!("{name} is missing")))?;
    serde_json::from_value(value).map_err(broken)
}
