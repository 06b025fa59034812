//! What a training learns from: the family and its settings, the rows divided, the columns encoded.

use super::data::{Data, Drawn};
use super::hold_out::hold_out;
use super::rest::{MoreRows, Rest};
use super::{OF_SAMPLE, warnings, weights};
use crate::data::encoder::Encoder;
use crate::data::encoder::choose::{PairLimits, choose};
use crate::data::plan::Resolved;
use crate::data::profile::DataProfile;
use crate::data::split::{self, Folds, Split};
use crate::data::target::{Encoded, TargetEncoder};
use crate::data::warning::Warning;
use crate::data::{Batch, Column, Table};
use crate::learning::calibrate::TargetSpan;
use crate::learning::importance::{Importance, ScaledModel};
use crate::learning::{FitSpec, Validation};
use crate::models::recipe::{self, Recipe};
use crate::models::{Family, Network, Task, UNLABELLED, settings};
use crate::{Error, Result};
use serde_json::{Map, Value};

/// Rows that are ready to be learned from.
pub(super) struct Ready {
    pub(super) family: Family,
    /// Why, where the request names none.
    pub(super) reason: Option<String>,
    pub(super) task: Task,
    pub(super) target: TargetEncoder,
    pub(super) targets: Encoded,
    /// The rows that are learned from, and those that are held out, to choose the pass and to calibrate and measure.
    pub(super) parts: Split,
    /// Which member leaves each row out, where members do.
    pub(super) folds: Option<Folds>,
    /// The settings in full.
    pub(super) config: Map<String, Value>,
    pub(super) encoder: Encoder,
    pub(super) batch: Batch,
    /// Rows that are learned from as well.
    pub(super) rest: Option<Rest>,
    /// The weight of every row of the table by its own column.
    pub(super) row_weights: Option<Vec<f32>>,
    pub(super) table_bytes: u64,
    pub(super) warnings: Vec<Warning>,
    pub(super) notes: Vec<String>,
}

impl Ready {
    /// Reads and encodes the rows of `table`, and `more` of them.
    pub(super) fn new(table: &Table, more: Option<&MoreRows<'_>>, plan: &Resolved, spec: &FitSpec) -> Result<Self> {
        let mut notes = Vec::new();
        let (family, reason) = match spec.family {
            Some(family) => (family, None),
            None => {
                let (family, reason) = default_family(table, plan)?;
                notes.push(format!("{}: {reason}", family.name()));
                (family, Some(reason))
            }
        };
        settings::complete(family, &spec.config)?;
        let column = table
            .column(&plan.target.name)
            .ok_or_else(|| Error::unprocessable("unknown_column", "the target is not in the data"))?;
        let mut target = TargetEncoder::fit(&plan.target.name, column, plan.task, spec.task.is_some())?;
        let mut targets = target.encode(column)?;
        let profile = DataProfile::new(table, plan);
        let (mut parts, folds) =
            divided(table, more.map(|more| more.rows), &profile, &targets, (family, target.outputs()), spec)?;
        let mut warnings = warnings::of_data(table, plan, spec.task.is_some(), &target, &targets, &parts);
        let dropped = keep_learnable(family, &targets, &mut parts);
        if dropped > 0 {
            warnings.push(warnings::of_rows_without_target(&plan.target.name, dropped));
            notes.push(format!("{dropped} rows have no {} and were left out", plan.target.name));
        }
        if let TargetEncoder::Number { mean, std } = &mut target {
            standardise(&mut targets, &parts.training, mean, std);
        }
        let mut profile = profile.of_rows(&parts.training, &targets, target.outputs());
        profile.rows += more.map_or(0, |more| more.rows);
        let Recipe { mut config, encoder: mut options } = recipe_of(family, &profile, spec);
        if let Some(cross_fit) = config.get_mut("cross_fit") {
            *cross_fit = folds.is_some().into();
        }
        if folds.is_some() {
            options.cell_rows = 1;
        }
        let most = config.get("pairs").and_then(Value::as_u64).filter(|_| options.bins > 0).unwrap_or(0) as usize;
        let pairs = pairs_of(table, plan, &parts.training, &targets, folds.as_ref(), most);
        notes.extend(
            pairs.iter().map(|[a, b]| format!("{a} and {b} predict better together: bins of both are learned")),
        );
        let layout = family.layout(&plan.inputs);
        let encoder = Encoder::fit_paired(table, &parts.training, &plan.inputs, layout, options, &pairs)?;
        notes.extend(encoder.dropped.iter().map(|l| format!("{}: {}", l.name, l.reason)));
        if encoder.width == 0 {
            return Err(Error::unprocessable("no_features", "no column is left to learn from")
                .with_details(encoder.dropped.iter().map(|l| crate::Detail::column(&l.name, &l.reason))));
        }
        let batch = family.encode(&encoder, table)?;
        let rest = more.map(|more| Rest::encode(more, family, &encoder, (&plan.target.name, &target))).transpose()?;
        let row_weights = weights::of_rows(table, spec, &parts.training)?;
        if let (Some(column), Some(weights)) = (&spec.weight, &row_weights) {
            warnings.extend(warnings::of_weights(column, weights, &parts.training));
        }
        let (task, table_bytes) = (plan.task, table.bytes());
        Ok(Self {
            family,
            reason,
            task,
            target,
            targets,
            parts,
            folds,
            config,
            encoder,
            batch,
            rest,
            row_weights,
            table_bytes,
            warnings,
            notes,
        })
    }

    /// The rows as the training reads them; `drawn` are the held-out ones as often as they weigh.
    pub(super) fn data<'a>(&'a self, drawn: Option<Drawn<'a>>) -> Data<'a> {
        Data {
            batch: &self.batch,
            targets: &self.targets,
            split: &self.parts,
            folds: self.folds.as_ref(),
            outputs: self.target.outputs(),
            drawn,
            rest: self.rest.as_ref(),
        }
    }

    /// The member that answers each held-out row; none where all answer together.
    pub(super) fn members(&self) -> Vec<u8> {
        self.folds.iter().flat_map(|folds| self.parts.validation.iter().map(|&row| folds.of_row[row])).collect()
    }

    /// The values that the target can have, as far as the rows show; none for classes.
    pub(super) fn span(&self, table: &Table, plan: &Resolved) -> Option<TargetSpan> {
        match (self.task, table.column(&plan.target.name)) {
            (Task::Regression, Some(Column::Number(values) | Column::Timestamp(values))) => {
                TargetSpan::of(self.parts.training.iter().map(|&row| values[row]))
            }
            _ => None,
        }
    }

    /// What exchanging each column costs on the held-out rows.
    pub(super) fn importance(
        &self,
        network: &dyn Network,
        temperature: f32,
        table: &Table,
        seed: u64,
    ) -> Result<Importance> {
        let unit = if let TargetEncoder::Number { std, .. } = &self.target { *std } else { 1.0 };
        let model = ScaledModel { encoder: &self.encoder, network, folds: self.folds.as_ref(), temperature, unit };
        model.importance(table, &self.targets, &self.parts.validation, seed)
    }
}

/// Pairs of numbers that predict better together, `most` at most. They are chosen by targets, which a member must not have seen
/// of the rows that it is evaluated by: where members leave rows out, a pair is one that each member chooses from its own
/// rows. Eight choices that agree need less evidence each than a single one (benches, pairs of numbers).
fn pairs_of(
    table: &Table,
    plan: &Resolved,
    training: &[usize],
    targets: &Encoded,
    folds: Option<&Folds>,
    most: usize,
) -> Vec<[String; 2]> {
    let gain = match (folds, targets) {
        (None, _) => 0.02,
        (Some(_), Encoded::Values(_)) => 0.01,
        (Some(_), Encoded::Classes(_)) => 0.005,
    };
    let limits = PairLimits { most, gain, shared: folds.is_some() };
    let choose = |rows: &[usize]| choose(table, &plan.inputs, rows, targets, limits);
    let Some(folds) = folds else { return choose(training) };
    let without = |fold: u8| training.iter().copied().filter(|&row| folds.of_row[row] != fold).collect::<Vec<_>>();
    let mut agreed = choose(&without(0));
    for fold in 1..folds.count as u8 {
        if agreed.is_empty() {
            break;
        }
        let chosen = choose(&without(fold));
        agreed.retain(|pair| chosen.contains(pair));
    }
    agreed
}

/// The family that is trained on a table where the request names none, and why.
///
/// # Errors
/// No family reads such data.
pub fn default_family(table: &Table, plan: &Resolved) -> Result<(Family, String)> {
    Family::suited_to(&DataProfile::new(table, plan))
        .ok_or_else(|| Error::unprocessable("no_family", "no family of networks learns from such columns"))
}

/// The rows that are learned from and held out; and, where the members of the ensemble leave rows out instead, which. `more` rows
/// besides those of the table are learned from.
fn divided(
    table: &Table,
    more: Option<usize>,
    profile: &DataProfile,
    targets: &Encoded,
    (family, outputs): (Family, usize),
    spec: &FitSpec,
) -> Result<(Split, Option<Folds>)> {
    let labelled = split::labelled(targets);
    let mut learned = profile.clone().of_rows(&labelled, targets, outputs);
    learned.rows += more.unwrap_or(0);
    let config = recipe_of(family, &learned, spec).config;
    let passes = family.makes_passes(&config);
    if more.is_some() {
        return Ok((hold_out(table, targets, spec, OF_SAMPLE, passes)?, None));
    }
    if spec.validation == Validation::Auto {
        // Rows without a label are in no fold.
        let in_folds = !family.learns_unlabelled() || labelled.len() == table.rows;
        if let Some(count) = family.cross_fits(&config).filter(|_| in_folds) {
            let folds = split::folds(targets, count, spec.seed);
            let parts = Split { training: (0..table.rows).collect(), validation: labelled, ..Split::default() };
            return Ok((parts, Some(folds)));
        }
    }
    Ok((hold_out(table, targets, spec, recipe::validation(profile, &left_out(spec)), passes)?, None))
}

fn recipe_of(family: Family, profile: &DataProfile, spec: &FitSpec) -> Recipe {
    Recipe::without(family, profile, &spec.config, &left_out(spec))
}

fn left_out(spec: &FitSpec) -> Vec<&str> {
    spec.without_rules.iter().map(String::as_str).collect()
}

/// Removes training rows without a target unless the family can use them; returns how many.
fn keep_learnable(family: Family, targets: &Encoded, parts: &mut Split) -> usize {
    let before = parts.training.len();
    match targets {
        Encoded::Classes(ids) if !family.learns_unlabelled() => parts.training.retain(|&row| ids[row] != UNLABELLED),
        Encoded::Values(values) => parts.training.retain(|&row| values[row].is_finite()),
        Encoded::Classes(_) => {}
    }
    before - parts.training.len()
}

/// Refits mean and deviation on the training rows, and standardises `targets` by them instead of the old ones.
fn standardise(targets: &mut Encoded, training: &[usize], mean: &mut f64, std: &mut f64) {
    let Encoded::Values(values) = targets else { return };
    let known: Vec<f64> = training.iter().map(|&row| f64::from(values[row])).collect();
    let count = known.len().max(1) as f64;
    let centre = known.iter().sum::<f64>() / count;
    let spread = (known.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / count).sqrt();
    let spread = if spread > 0.0 { spread } else { 1.0 };
    *mean += centre * *std;
    *std *= spread;
    values.iter_mut().for_each(|value| *value = ((f64::from(*value) - centre) / spread) as f32);
}
