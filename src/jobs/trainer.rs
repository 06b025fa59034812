//! The runner of a real server: trains, and evaluates.

use super::comparer;
use super::inputs::local_parts;
use super::inputs::summary;
use super::memory;
use super::predictor;
use super::runner::{Outcome, Runner, Work};
use super::schema_guard;
use super::search::{self, SearchRequest, Tried};
use super::train_request::TrainRequest;
use crate::store::{Dataset, JobInput, JobKind, NewVersion};
use crate::{Error, Kind, Result};
use kenyon_learn::data::formats::Limits;
use kenyon_learn::data::{Table, Warning, plan};
use kenyon_learn::learning::bundle::Bundle;
use kenyon_learn::learning::evaluate::{self, Evaluation};
use kenyon_learn::learning::fit::Fitted;
use kenyon_learn::learning::verify::verified_files;
use kenyon_learn::learning::{FitSpec, Monitor, fit};
use serde_json::{Map, Value, json};

/// Rows on which a new model's activity is counted.
const SAMPLE: usize = 256;

/// Largest number of classes whose confusion matrix is stored with a version.
const MAX_CONFUSION: usize = 40;

/// Trains and evaluates models on stored datasets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trainer {
    /// Limits on files, as at upload.
    pub limits: Limits,
    /// Bytes a job may need; the system's available memory when missing.
    pub memory: Option<u64>,
}

impl Runner for Trainer {
    fn run(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        match work.job.kind {
            JobKind::Train => self.train(work, monitor),
            JobKind::Evaluate => self.evaluate(work),
            JobKind::Predict => predictor::run(work, monitor, self.limits),
            JobKind::Compare => comparer::run(work, monitor, self.limits, self.memory),
            JobKind::Consolidate => {
                Err(Error::unprocessable("nothing_to_consolidate", "this model has nothing to consolidate"))
            }
        }
    }
}

impl Trainer {
    fn train(&self, work: &Work, monitor: &dyn Monitor) -> Result<Outcome> {
        let request: TrainRequest = serde_json::from_value(work.job.spec.clone()).map_err(Error::internal)?;
        let JobInput { dataset, held_out: other, .. } = input(work)?;
        let summary = summary(&dataset.columns)?;
        let mut training = request.plan(&summary)?;
        work.wait(work.store.find_encoders(&mut training.resolved.inputs))?;
        let columns = training.columns();
        let plan = training.resolved;
        memory::check(memory::estimate(&summary, dataset, &plan), self.memory)?;
        let (mut table, mut warnings) = self.read(work, dataset, &columns)?;
        if let Some(other) = other {
            let (held_out, more) = self.read(work, other, &columns)?;
            if !table.append(&held_out) {
                let detail = format!("the columns of dataset {} do not fit those of {}", other.name, dataset.name);
                return Err(Error::unprocessable("bad_rows", detail));
            }
            warnings.extend(more);
        }
        warnings.iter().for_each(|warning| monitor.log(&warning.to_string()));
        let spec = request.fit_spec(other.as_ref().map(|_| dataset.rows as usize));
        let (fitted, tried) = match &request.search {
            None => (fit::fit(&table, &plan, &spec, work.threads, work.resume.as_deref(), monitor)?, None),
            Some(search) => {
                let (fitted, tried) = searched(search, &table, &plan, &spec, work, monitor)?;
                (fitted, Some(tried))
            }
        };
        fitted.notes.iter().for_each(|note| monitor.log(note));
        let files =
            verified_files(&fitted, &table)?.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let mut info = fitted.bundle.describe();
        info["notes"] = json!(fitted.notes);
        warnings.extend(fitted.warnings.iter().cloned());
        info["warnings"] = json!(warnings);
        if let Some(tried) = tried {
            info["search"] = json!(tried);
        }
        info["dataset"] = json!({ "name": dataset.name, "revision": dataset.revision, "digest": dataset.digest });
        info["held_out"] = held_out(&fitted.held_out)?;
        info["sparsity"] = activity(&fitted.bundle, &table)?;
        let withheld = withheld(work, &request, &plan, &fitted)?;
        Ok(Outcome::Version(NewVersion {
            family: fitted.bundle.config.family.name().to_owned(),
            task: Some(fit::task_name(fitted.bundle.config.task).to_owned()),
            metrics: Value::Object(fitted.metrics),
            info,
            files,
            withheld,
        }))
    }

    fn evaluate(&self, work: &Work) -> Result<Outcome> {
        let store = &work.store;
        let stable = work.wait(store.model(work.job.model()?))?.traffic.stable;
        let missing = || Error::new(Kind::Unprocessable, "no_version", "the model has no version to evaluate");
        let version = work.wait(store.version(work.job.model()?, stable.ok_or_else(missing)?))?;
        let files = work.wait(store.version_files(&version))?;
        let bundle = Bundle::load(|name| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &**bytes))?;
        let mut plans = vec![bundle.config.target.clone()];
        plans.extend(bundle.encoder.inputs.iter().cloned());
        let (table, warnings) = self.read(work, &input(work)?.dataset, &plans)?;
        let evaluation = evaluate::evaluate(&bundle, &table)?;
        let metrics = Value::Object(evaluation.metrics.clone());
        let mut result = serde_json::to_value(&evaluation).map_err(Error::internal)?;
        result["version"] = json!(version.version);
        if !warnings.is_empty() {
            result["warnings"] = json!(warnings);
        }
        Ok(Outcome::Result { metrics, result })
    }

    /// The planned columns as the dataset spells them, and which cells did not fit and count as missing.
    fn read(&self, work: &Work, dataset: &Dataset, plans: &[plan::ColumnPlan]) -> Result<(Table, Vec<Warning>)> {
        let parts = work.wait(local_parts(&work.store, dataset))?;
        let plans = plan::spelled_as(plans, &summary(&dataset.columns)?.columns);
        Ok(plan::read_table_noting(&parts, &plans, &self.limits)?)
    }
}

/// Trains several configurations on the same rows and the same split.
fn searched(
    search: &SearchRequest,
    table: &Table,
    plan: &plan::Resolved,
    spec: &FitSpec,
    work: &Work,
    monitor: &dyn Monitor,
) -> Result<(Fitted, Vec<Tried>)> {
    let (family, reason) = match spec.family {
        Some(family) => (family, None),
        None => {
            let (family, reason) = fit::default_family(table, plan)?;
            (family, Some(reason))
        }
    };
    let one = |config: &Map<String, Value>, resume: Option<&[u8]>, monitor: &dyn Monitor| {
        let spec = FitSpec { family: Some(family), config: config.clone(), ..spec.clone() };
        let fitted = fit::fit(table, plan, &spec, work.threads, resume, monitor)?;
        let measure = ["log_loss", "rmse"].into_iter().find_map(|name| fitted.metrics.get(name)?.as_f64());
        Ok((measure.unwrap_or(f64::INFINITY), fitted))
    };
    let resume = work.resume.as_deref();
    let (mut fitted, tried) = search::run(search, family, &spec.config, spec.seed, resume, monitor, &one)?;
    fitted.bundle.config.family_reason = reason;
    Ok((fitted, tried))
}

/// Why the version is not to be served, if it is not.
fn withheld(work: &Work, request: &TrainRequest, plan: &plan::Resolved, fitted: &Fitted) -> Result<Option<String>> {
    if !request.promote {
        return Ok(Some("the request has \"promote\":false".to_owned()));
    }
    if request.schema_change {
        return Ok(None);
    }
    let dropped = &fitted.bundle.encoder.dropped;
    let changes = work.wait(schema_guard::changes(&work.store, work.job.model()?, plan, dropped))?;
    Ok(changes.map(|changes| changes.reason()))
}

fn input(work: &Work) -> Result<&JobInput> {
    work.input.as_ref().ok_or_else(|| Error::unprocessable("dataset_not_found", "the job's dataset was deleted"))
}

/// Confusion and calibration of the held-out rows, small enough to be part of every list of versions.
fn held_out(found: &Evaluation) -> Result<Value> {
    let mut value = serde_json::to_value(found).map_err(Error::internal)?;
    if found.classes.len() > MAX_CONFUSION {
        value["confusion"] = json!([]);
    }
    Ok(value)
}

/// Sparsity of the network, counted on some of its rows.
fn activity(bundle: &Bundle, table: &Table) -> Result<Value> {
    let rows: Vec<usize> = (0..table.rows.min(SAMPLE)).collect();
    let batch = bundle.encode(&table.select(&rows))?;
    let activity = bundle.network.activity(&batch)?;
    let (winners, units) = activity.layers.iter().fold((0.0, 0), |(w, u), layer| (w + layer.winners, u + layer.units));
    Ok(json!({
        "active_share": if units == 0 { 1.0 } else { winners / units as f64 },
        "dense_macs": activity.dense_macs,
        "effective_macs": activity.effective_macs,
        "bytes": activity.bytes,
    }))
}
