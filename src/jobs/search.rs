//! Hyper-parameter search: random trials, of which the better third continues with three times the
//! passes (successive halving, Jamieson & Talwalkar 2016), and the best is trained in full.
//!
//! Trial 0 is the request's own configuration, so a search never ends worse than none by its own
//! measure. Everything is a function of (seed, trial), and a checkpoint holds every finished trial and
//! the current one, so an interrupted search gives the same result.

use super::schemas::SearchSpace;
use crate::{Error, Result};
use kenyon_learn::learning::{Monitor, Progress};
use kenyon_learn::models::{Family, Range, Setting};
use kenyon_learn::random::Random;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use utoipa::ToSchema;

/// Number of trials unless the request gives one.
const TRIALS: usize = 20;
/// One in this many continues to the next rung, with this many times the passes.
const ETA: usize = 3;
/// Passes of a full training unless the request or the family gives a number.
const EPOCHS: i64 = 18;

/// What to search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "trials": 20, "space": { "learning_rate": { "min": 0.0001, "max": 0.01, "log": true } } })))]
pub struct SearchRequest {
    /// Configurations to try.
    #[serde(default = "trials")]
    #[schema(minimum = 1, maximum = 1000, default = 20)]
    pub trials: usize,
    /// Settings to vary; the family's own search space when missing.
    #[serde(default)]
    #[schema(value_type = HashMap<String, SearchSpace>, required = false)]
    pub space: Map<String, Value>,
}

fn trials() -> usize {
    TRIALS
}

/// The values one setting may take.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Space {
    /// One of these.
    Choices(Vec<Value>),
    /// A number of a range.
    Between(Between),
}

/// A range of numbers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    /// The smallest.
    min: f64,
    /// The largest.
    max: f64,
    /// Sampled uniformly in the logarithm.
    #[serde(default)]
    log: bool,
}

/// A finished trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tried {
    trial: usize,
    /// The factor by which its passes were multiplied.
    rung: usize,
    epochs: i64,
    /// The objective; none when the training failed.
    score: Option<f64>,
    config: Map<String, Value>,
}

/// State of a search: what a checkpoint holds, before the inner training's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Trial {
    tried: Vec<Tried>,
    /// Mini-batches of all finished trainings: the measure of progress between attempts.
    #[serde(default)]
    steps: u64,
}

/// One training: configuration, checkpoint to continue from, monitor. Returns what is minimised with it.
pub(super) type Fit<'a, T> = &'a dyn Fn(&Map<String, Value>, Option<&[u8]>, &dyn Monitor) -> Result<(f64, T)>;

/// The cost of a search in full trainings.
pub(super) fn trainings(request: &SearchRequest) -> f64 {
    let rungs = rungs(request.trials);
    1.0 + request.trials as f64 * (rungs + 1) as f64 / ETA.pow(rungs as u32) as f64
}

/// Checks a request before it is queued.
pub(super) fn check(request: &SearchRequest, family: Option<Family>) -> Result<()> {
    if !(1..=1000).contains(&request.trials) {
        return Err(bad("search.trials is a whole number from 1 to 1000"));
    }
    for (name, space) in &request.space {
        let parsed = parse(name, space)?;
        if let Some(setting) = family.map(|f| find(f, name)) {
            let setting = setting.ok_or_else(|| bad(format!("the family has no setting {name}")))?;
            let mut config = Map::new();
            config.insert(name.clone(), draw(&parsed, Some(&setting), &mut Random::stream(0, name, 0)));
            if let Some(family) = family {
                kenyon_learn::models::settings::complete(family, &config)?;
            }
        }
    }
    Ok(())
}

/// Searches, and trains the best configuration in full.
pub(super) fn run<T>(
    request: &SearchRequest,
    family: Family,
    base: &Map<String, Value>,
    seed: u64,
    resume: Option<&[u8]>,
    monitor: &dyn Monitor,
    fit: Fit<'_, T>,
) -> Result<(T, Vec<Tried>)> {
    let (mut history, inner) = resume.map(unpack).transpose()?.unwrap_or_default();
    // The training that was interrupted continues; those after it start from nothing.
    let mut inner = Some(inner).filter(|bytes| !bytes.is_empty());
    let full = base.get("epochs").and_then(Value::as_i64).unwrap_or(EPOCHS).max(1);
    let rungs = rungs(request.trials);
    let total: usize = (0..=rungs).map(|r| request.trials.div_ceil(ETA.pow(r as u32))).sum();
    let mut remaining: Vec<usize> = (0..request.trials).collect();
    for rung in 0..=rungs {
        let epochs = (full / (ETA as i64).pow((rungs - rung) as u32)).max(1);
        for &trial in &remaining {
            if history.tried.iter().any(|t| t.trial == trial && t.rung == rung) {
                continue;
            }
            let mut config = configuration(request, family, base, seed, trial)?;
            config.insert("epochs".to_owned(), epochs.into());
            let within = Within { monitor, history: &history, shown: false, step: AtomicU64::new(0) };
            let score = match fit(&config, inner.take().as_deref(), &within) {
                Ok((score, _)) => Some(short(score)).filter(|s| s.is_finite()),
                // A configuration that fails is the worst one, not the end of the search.
                Err(error) if error.kind == crate::Kind::Unprocessable => None,
                Err(error) => return Err(error),
            };
            let steps = within.step.into_inner();
            let tried = Tried { trial, rung, epochs, score, config };
            monitor.log(&format!("trial {trial}: {}", json!(tried)));
            history.tried.push(tried);
            history.steps += steps + 1;
            report_progress(monitor, &history, total);
            monitor.checkpoint(history.steps, pack(&history, &[])?)?;
        }
        remaining = survivors(&history, rung, remaining.len().div_ceil(ETA));
    }
    let best = remaining.first().copied().unwrap_or(0);
    let config = configuration(request, family, base, seed, best)?;
    monitor.log(&format!("trial {best} is the best and is trained in full: {}", Value::Object(config.clone())));
    let within = Within { monitor, history: &history, shown: true, step: AtomicU64::new(0) };
    let (_, fitted) = fit(&config, inner.as_deref(), &within)?;
    Ok((fitted, history.tried))
}

/// How many rungs there are, so that at least one trial is left.
fn rungs(trials: usize) -> usize {
    (0..).take_while(|r| ETA.pow(*r as u32 + 1) <= trials).count().min(2)
}

/// The best `keep` of a rung, best first; ties by their number.
fn survivors(history: &Trial, rung: usize, keep: usize) -> Vec<usize> {
    let mut scored: Vec<(f64, usize)> =
        history.tried.iter().filter(|t| t.rung == rung).map(|t| (t.score.unwrap_or(f64::INFINITY), t.trial)).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(keep.max(1)).map(|(_, trial)| trial).collect()
}

/// The configuration of a trial.
fn configuration(
    request: &SearchRequest,
    family: Family,
    base: &Map<String, Value>,
    seed: u64,
    trial: usize,
) -> Result<Map<String, Value>> {
    let mut config = base.clone();
    if trial == 0 {
        return Ok(config);
    }
    let default;
    let space = if request.space.is_empty() {
        default = family.search_space();
        default.as_object().unwrap_or(&request.space)
    } else {
        &request.space
    };
    for (name, values) in space {
        let mut random = Random::stream(seed, name, trial as u64);
        let value = draw(&parse(name, values)?, find(family, name).as_ref(), &mut random);
        config.insert(name.clone(), value);
    }
    Ok(config)
}

fn find(family: Family, name: &str) -> Option<Setting> {
    family.settings().into_iter().find(|s| s.name == name)
}

fn parse(name: &str, values: &Value) -> Result<Space> {
    let wrong = || bad(format!("search.space.{name} is a list of values, or {{\"min\", \"max\", \"log\"}}"));
    let space: Space = serde_json::from_value(values.clone()).map_err(|_| wrong())?;
    let valid = match &space {
        Space::Choices(choices) => !choices.is_empty(),
        Space::Between(b) => b.min <= b.max && (!b.log || b.min > 0.0),
    };
    if valid { Ok(space) } else { Err(wrong()) }
}

fn draw(space: &Space, setting: Option<&Setting>, random: &mut Random) -> Value {
    let share = f64::from(random.uniform());
    match space {
        Space::Choices(choices) => {
            let place = (share * choices.len() as f64) as usize;
            choices[place.min(choices.len() - 1)].clone()
        }
        Space::Between(b) => {
            let value = match b.log {
                true => (b.min.ln() + share * (b.max.ln() - b.min.ln())).exp(),
                false => b.min + share * (b.max - b.min),
            };
            match setting.map(|s| &s.range) {
                Some(Range::Integer(..)) => (value.round() as i64).into(),
                _ => short(value).into(),
            }
        }
    }
}

/// Nine digits, which JSON returns bit for bit: what a checkpoint holds must not change.
fn short(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// Progress counts trials until the last training begins.
fn report_progress(monitor: &dyn Monitor, history: &Trial, total: usize) {
    let done = history.tried.len();
    let mut metrics = Map::new();
    let best = history.tried.iter().filter_map(|t| t.score).fold(f64::INFINITY, f64::min);
    metrics.insert("trials".to_owned(), done.into());
    metrics.insert("best_score".to_owned(), json!(best));
    if let Some(last) = history.tried.last() {
        metrics.insert("trial".to_owned(), last.trial.into());
        metrics.insert("score".to_owned(), json!(last.score));
    }
    let progress = Progress {
        epoch: done,
        epochs: total + 1,
        step: done as u64,
        steps: total as u64 + 1,
        fraction: done as f64 / (total + 1) as f64,
        metrics,
        ..Progress::default()
    };
    monitor.progress(&progress, true);
}

/// A training within the search: its checkpoints contain the finished trials.
struct Within<'a> {
    monitor: &'a dyn Monitor,
    history: &'a Trial,
    /// Whether its progress is the job's; that of trials is counted in trials.
    shown: bool,
    step: AtomicU64,
}

impl Monitor for Within<'_> {
    fn progress(&self, progress: &Progress, epoch_ended: bool) {
        self.step.store(progress.step, Relaxed);
        if self.shown {
            let before = self.history.tried.len() as u64;
            let progress =
                Progress { step: progress.step + before, steps: progress.steps + before, ..progress.clone() };
            self.monitor.progress(&progress, epoch_ended);
        }
    }
    fn log(&self, line: &str) {
        if self.shown {
            self.monitor.log(line);
        }
    }
    fn canceled(&self) -> bool {
        self.monitor.canceled()
    }
    fn checkpoint_due(&self, epoch_ended: bool) -> bool {
        self.monitor.checkpoint_due(epoch_ended)
    }
    fn checkpoint(&self, step: u64, bytes: Vec<u8>) -> kenyon_learn::Result<()> {
        self.monitor.checkpoint(self.history.steps + step, pack(self.history, &bytes)?)
    }
}

fn pack(history: &Trial, inner: &[u8]) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(history).map_err(Error::internal)?;
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&text);
    bytes.extend_from_slice(inner);
    Ok(bytes)
}

fn unpack(bytes: &[u8]) -> Result<(Trial, Vec<u8>)> {
    let broken = || Error::internal("a search's checkpoint cannot be read");
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
    let length = u64::from_le_bytes(*length) as usize;
    let text = rest.get(..length).ok_or_else(broken)?;
    Ok((serde_json::from_slice(text).map_err(Error::internal)?, rest[length..].to_vec()))
}

fn bad(detail: impl Into<String>) -> Error {
    let detail = detail.into();
    let at = crate::Detail::path("search", detail.clone());
    Error::unprocessable("invalid_search", detail).with_details([at])
}

#[cfg(test)]
mod tests;
