//! A training request and the checks that are made before it is queued.

use super::schemas::{ClassWeighting, HeldOutRows, TrainSettings};
use super::search::{self, SearchRequest};
use crate::store::DatasetName;
use crate::{Detail, Error, Result};
use kenyon_learn::data::plan::{self, ColumnPlan, Resolved};
use kenyon_learn::data::schema::{ColumnInfo, ColumnKind, FeatureKind, FeatureSpec, Features, Summary};
use kenyon_learn::learning::{ClassWeights, FitSpec, Objective, Validation};
use kenyon_learn::models::{Family, Task, settings};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A training request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({ "dataset": "iris", "target": "species" }),
    json!({
        "dataset": "iris", "target": "species", "family": "hybrid", "task": "classification",
        "features": { "zip": "category", "id": "ignore", "image": { "kind": "vector", "columns": "p*", "shape": [28, 28] } },
        "validation": { "by": "time", "column": "date", "share": 0.2 }, "class_weights": "balanced",
        "config": { "epochs": 20, "learning_rate": 0.001 }, "seed": 7, "promote": false
    })
))]
pub struct TrainRequest {
    /// The dataset to train on.
    pub dataset: DatasetName,
    /// Column to predict.
    pub target: String,
    /// Chosen from the data when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Inferred from the target when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// How columns are to be read.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    #[schema(value_type = HashMap<String, FeatureSpec>)]
    pub features: Features,
    /// Which rows are held out; by the recipe when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HeldOutRows>)]
    pub validation: Option<HeldOut>,
    /// Everything random follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Higher runs first.
    #[serde(default)]
    pub priority: i64,
    /// Settings of the family and of training itself.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = TrainSettings, required = false)]
    pub config: Map<String, Value>,
    /// Column with the weight of each row; it is not learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// How much each class weighs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ClassWeighting>)]
    pub class_weights: Option<Weights>,
    /// Which class is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Tries several configurations and trains the best in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchRequest>,
    /// Whether the version is served once it is ready.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub promote: bool,
    /// Whether the version may need other rows than the served one, or predict something else.
    #[serde(default)]
    pub schema_change: bool,
    /// Only reports what the training would do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

fn yes() -> bool {
    true
}

/// Which rows are held out.
#[derive(Clone, Debug, PartialEq)]
pub enum HeldOut {
    /// A share of the rows.
    Share(f32),
    /// A share by a column: the newest rows, or whole groups.
    By {
        /// How the column divides the rows.
        by: DivideBy,
        /// The column.
        column: String,
        /// Share of the rows.
        share: f32,
    },
    /// All rows of another dataset.
    Dataset(DatasetName),
}

/// How a column divides rows into training rows and held-out rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DivideBy {
    /// The newest rows are held out.
    Time,
    /// Rows with the same value stay together.
    Group,
}

/// Share held out by time or group unless the request gives one.
const SHARE: f32 = 0.2;

impl<'de> Deserialize<'de> for HeldOut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct By {
            by: DivideBy,
            column: String,
            #[serde(default)]
            share: Option<f32>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            dataset: DatasetName,
        }
        // Parsed by hand, so that an error names the field that is wrong.
        let value = Value::deserialize(deserializer)?;
        let wrong = |error: serde_json::Error| de::Error::custom(format!("validation: {error}"));
        match &value {
            Value::Number(share) => Ok(Self::Share(share.as_f64().unwrap_or(f64::NAN) as f32)),
            Value::Object(fields) if fields.contains_key("dataset") => {
                serde_json::from_value(value).map(|Named { dataset }| Self::Dataset(dataset)).map_err(wrong)
            }
            Value::Object(_) => serde_json::from_value(value)
                .map(|By { by, column, share }| Self::By { by, column, share: share.unwrap_or(SHARE) })
                .map_err(wrong),
            _ => Err(de::Error::custom("validation: a share, {\"by\",\"column\",\"share\"} or {\"dataset\"}")),
        }
    }
}

impl Serialize for HeldOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share(share) => serializer.serialize_f32(*share),
            Self::By { by, column, share } => {
                json!({ "by": by, "column": column, "share": share }).serialize(serializer)
            }
            Self::Dataset(dataset) => json!({ "dataset": dataset }).serialize(serializer),
        }
    }
}

/// How much each class weighs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Weights {
    /// `"balanced"`.
    Word(BalancedWord),
    /// A weight by the name of a class.
    Each(Map<String, Value>),
}

/// The name for weights by the inverse of each class's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BalancedWord {
    /// The only value.
    Balanced,
}

/// A checked request: how its columns are read.
#[derive(Clone, Debug)]
pub(super) struct TrainingPlan {
    /// Target, task and inputs.
    pub(super) resolved: Resolved,
    /// An extra column that is read to divide the rows.
    pub(super) divider: Option<ColumnPlan>,
    /// An extra column that is read to weigh the rows.
    pub(super) weight: Option<ColumnPlan>,
}

impl TrainingPlan {
    /// Every column that is read.
    pub(super) fn columns(&self) -> Vec<ColumnPlan> {
        let mut columns = self.resolved.all();
        for column in self.divider.iter().chain(&self.weight) {
            if columns.iter().all(|known| known.name != column.name) {
                columns.push(column.clone());
            }
        }
        columns
    }
}

/// Settings are those of the family that is named, or of some family.
fn check_settings(family: Option<Family>, config: &Map<String, Value>) -> Result<()> {
    let families: Vec<Family> = family.map_or_else(|| Family::all().collect(), |family| vec![family]);
    let mut refused = None;
    for family in families {
        match settings::complete(family, config) {
            Ok(_) => return Ok(()),
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    refused.map_or(Ok(()), |error| Err(error.into()))
}

impl TrainRequest {
    /// The options of a training on a table of which the rows from `held_out` on are the other dataset's.
    pub(super) fn fit_spec(&self, held_out: Option<usize>) -> FitSpec {
        let validation = match (&self.validation, held_out) {
            (_, Some(from)) => Validation::From(from),
            (Some(HeldOut::By { by: DivideBy::Time, column, share }), _) => {
                Validation::Newest { column: column.clone(), share: *share }
            }
            (Some(HeldOut::By { by: DivideBy::Group, column, share }), _) => {
                Validation::Groups { column: column.clone(), share: *share }
            }
            (Some(HeldOut::Share(share)), _) => Validation::Share(*share),
            (None | Some(HeldOut::Dataset(_)), None) => Validation::Auto,
        };
        FitSpec {
            target: self.target.clone(),
            family: self.family,
            task: self.task,
            validation,
            seed: self.seed,
            config: self.config.clone(),
            weight: self.weight.clone(),
            class_weights: self.class_weights.as_ref().map(|weights| match weights {
                Weights::Word(_) => ClassWeights::Balanced,
                Weights::Each(named) => ClassWeights::Each(named.clone()),
            }),
            objective: self.objective.unwrap_or_default(),
            ..FitSpec::default()
        }
    }

    /// How the columns of a dataset are read. A group's column is no input unless `features` names it: rows
    /// of a new group have a value of it that no training row had.
    pub(super) fn plan(&self, summary: &Summary) -> Result<TrainingPlan> {
        let divider = match &self.validation {
            Some(HeldOut::By { by, column, .. }) => Some(divider(summary, *by, column, &self.target)?),
            _ => None,
        };
        let mut features = self.features.clone();
        if let (Some(HeldOut::By { by: DivideBy::Group, .. }), Some(divider)) = (&self.validation, &divider) {
            features.entry(divider.name.clone()).or_insert(FeatureSpec::Kind(FeatureKind::Ignore));
        }
        let weight = self.weight.as_ref().map(|name| weight_column(summary, name, &self.target)).transpose()?;
        if let Some(weight) = &weight {
            features.insert(weight.name.clone(), FeatureSpec::Kind(FeatureKind::Ignore));
        }
        let resolved = plan::resolve(summary, &features, &self.target, self.task)?;
        Ok(TrainingPlan { resolved, divider, weight })
    }

    /// Texts for which the request leaves open whether an encoder reads them.
    pub(super) fn open_texts(&self, inputs: &[ColumnPlan]) -> Vec<String> {
        let named = |input: &ColumnPlan| matches!(self.features.get(&input.name), Some(FeatureSpec::Group(group)) if group.encoder.is_some());
        let open = inputs.iter().filter(|input| input.kind == ColumnKind::Text && !named(input));
        open.map(|input| input.name.clone()).collect()
    }

    /// Checks made before the job is queued.
    pub(super) fn check(&self, summary: &Summary) -> Result<TrainingPlan> {
        let wrong = |path: &str, reason: &str| {
            Error::unprocessable("invalid_training", format!("{path}: {reason}"))
                .with_details([Detail::path(path, reason)])
        };
        let (path, share) = match &self.validation {
            None | Some(HeldOut::Dataset(_)) => ("validation", None),
            Some(HeldOut::Share(share)) => ("validation", Some(*share)),
            Some(HeldOut::By { share, .. }) => ("validation.share", Some(*share)),
        };
        if share.is_some_and(|v| !(v > 0.0 && v <= 0.9)) {
            return Err(wrong(path, "the share held out is above 0 and at most 0.9"));
        }
        if self.validation == Some(HeldOut::Dataset(self.dataset.clone())) {
            return Err(wrong("validation.dataset", "is the dataset that is learned from"));
        }
        let plan = self.plan(summary)?;
        if self.class_weights.is_some() && plan.resolved.task == Task::Regression {
            return Err(wrong("class_weights", "classes weigh something in classification only"));
        }
        if self.objective == Some(Objective::Balanced) && plan.resolved.task == Task::Regression {
            return Err(wrong("objective", "classes are balanced in classification only"));
        }
        if let Some(Weights::Each(named)) = &self.class_weights {
            check_class_weights(named, summary.columns.iter().find(|column| column.name == self.target))?;
        }
        check_settings(self.family, &self.config)?;
        if let Some(search) = &self.search {
            search::check(search, self.family)?;
        }
        Ok(plan)
    }

    /// Whether another dataset has the columns that are read from this one.
    pub(super) fn check_held_out(&self, plan: &TrainingPlan, name: &DatasetName, other: &Summary) -> Result<()> {
        let names: Vec<&str> = other.columns.iter().flat_map(names).collect();
        let lacking = plan.columns().into_iter().flat_map(|column| match column.members {
            Some(members) if !names.contains(&column.name.as_str()) => members,
            _ => vec![column.name],
        });
        let lacking: Vec<String> = lacking.filter(|column| !names.contains(&column.as_str())).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let detail = format!("the dataset {name} has no column '{}'", lacking[0]);
        let place = |column: &String| Detail::path("validation.dataset", format!("has no column '{column}'"));
        Err(Error::unprocessable("invalid_training", detail).with_details(lacking.iter().map(place)))
    }
}

/// The column and, of a group, its members.
fn names(column: &ColumnInfo) -> impl Iterator<Item = &str> {
    std::iter::once(column.name.as_str()).chain(column.members.iter().flatten().map(String::as_str))
}

/// Names of weights that are no class, where the dataset's summary has all classes.
fn check_class_weights(named: &Map<String, Value>, target: Option<&ColumnInfo>) -> Result<()> {
    let Some(target) = target.filter(|t| !t.histogram.is_empty() && t.histogram.len() as u64 == t.distinct) else {
        return Ok(());
    };
    let is_class = |name: &str| {
        let wanted = Value::from(name);
        target.histogram.iter().any(|(class, _)| ColumnKind::Category.same(&Value::from(class.as_str()), &wanted))
    };
    // The bars of numbers are no classes.
    match named.keys().find(|name| !target.kind.is_real() && !is_class(name)) {
        None => Ok(()),
        Some(name) => {
            let (path, reason) = (format!("class_weights.{name}"), "the target has no such class");
            let error = Error::unprocessable("bad_class_weights", format!("{path}: {reason}"));
            Err(error.with_details([Detail::path(path, reason)]))
        }
    }
}

/// How the column is read that weighs the rows.
pub(super) fn weight_column(summary: &Summary, name: &str, target: &str) -> Result<ColumnPlan> {
    let bad = |reason: String| {
        Error::unprocessable("bad_weight", format!("weight: {reason}")).with_details([Detail::path("weight", reason)])
    };
    if name == target {
        return Err(bad("the target cannot weigh the rows".to_owned()));
    }
    match summary.columns.iter().find(|column| column.name == name && column.members.is_none()) {
        None => Err(bad(format!("the dataset has no column '{name}' of its own"))),
        Some(column) if column.kind != ColumnKind::Number => {
            Err(bad(format!("'{name}' is a {}, not a number", column.kind.name())))
        }
        Some(column) if column.missing > 0 || column.min.is_some_and(|min| min < 0.0) => {
            Err(bad(format!("every row of '{name}' must hold a number of 0 or more")))
        }
        Some(_) => Ok(ColumnPlan::new(name, ColumnKind::Number)),
    }
}

/// How a column is read that divides the rows.
fn divider(summary: &Summary, by: DivideBy, name: &str, target: &str) -> Result<ColumnPlan> {
    let bad = |reason: String| {
        Error::unprocessable("bad_validation", format!("validation.column: {reason}"))
            .with_details([Detail::path("validation.column", reason)])
    };
    if name == target {
        return Err(bad("the target cannot divide the rows".to_owned()));
    }
    let member = summary.columns.iter().flat_map(|c| c.members.iter().flatten()).any(|member| member == name);
    let kind = match summary.columns.iter().find(|column| column.name == name) {
        Some(column) if column.members.is_none() => column.kind,
        _ if member => return Err(bad(format!("'{name}' is part of a group of columns"))),
        _ => return Err(bad(format!("the dataset has no column '{name}'"))),
    };
    match (by, kind) {
        (DivideBy::Time, ColumnKind::Timestamp | ColumnKind::Number) => {}
        (DivideBy::Time, _) => return Err(bad(format!("a {} has no order in time", kind.name()))),
        (DivideBy::Group, ColumnKind::Vector | ColumnKind::Sequence | ColumnKind::Image) => {
            return Err(bad(format!("a {} does not name groups", kind.name())));
        }
        (DivideBy::Group, _) => {}
    }
    Ok(ColumnPlan::new(name, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(validation: Value) -> serde_json::Result<TrainRequest> {
        serde_json::from_value(json!({ "dataset": "d", "target": "y", "validation": validation }))
    }

    #[test]
    fn every_form_of_validation_is_read_and_written() {
        for validation in [
            json!(0.25),
            json!({ "by": "time", "column": "t", "share": 0.5 }),
            json!({ "by": "group", "column": "g", "share": 0.5 }),
            json!({ "dataset": "other" }),
        ] {
            let read = request(validation.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap()["validation"], validation);
        }
        for (validation, names) in [
            (json!({ "by": "time" }), "column"),
            (json!({ "by": "month", "column": "t" }), "month"),
            (json!({ "dataset": "other", "share": 0.1 }), "share"),
            (json!("some"), "validation"),
        ] {
            let error = request(validation).unwrap_err().to_string();
            assert!(error.contains(names), "{error}");
        }
    }

    #[test]
    fn requests_of_before_are_read_as_they_were_meant() {
        let read = request(json!(0.2)).unwrap();
        assert!(read.promote && !read.schema_change && !read.dry_run);
    }
}
