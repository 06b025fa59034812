//! The dissimilarity matrices of each system: from a model's layer, an encoder, responses, or as they are published.

use super::answer::ComparedSystem;
use super::request::{CompareRequest, System};
use crate::jobs::inputs::{local_parts, summary};
use crate::jobs::memory;
use crate::jobs::runner::Work;
use crate::store::{Dataset, DatasetName, EncoderName, ModelName};
use crate::{Detail, Error, Result};
use kenyon_learn::data::formats::{Limits, RowFile};
use kenyon_learn::data::kinds::ColumnKind;
use kenyon_learn::data::plan::{ColumnPlan, read_table, read_table_noting, spelled_as};
use kenyon_learn::data::schema::ColumnInfo;
use kenyon_learn::data::vectors::{CellVectors, ColumnEncoder};
use kenyon_learn::data::{Column, Table};
use kenyon_learn::encoders;
use kenyon_learn::learning::Bundle;
use kenyon_learn::learning::compare::{Distance, MeanResponses, Rdm, Responses, Shrinkage, dissimilarities};
use kenyon_learn::models::{LayerCode, layer_code};

/// Stimuli that are encoded at once.
const CHUNK: usize = 256;
/// Bytes that a number of responses takes while distances are computed: it, its copy without the mean, and a share
/// of the products.
const CELL: u64 = 24;
/// Bytes of a row of dissimilarities while it is read: two names, a number, and the matrix.
const PAIR: u64 = 160;

/// A system with its matrices.
pub(super) struct Loaded {
    pub(super) about: ComparedSystem,
    /// One for each subject, named where there are several.
    pub(super) rdms: Vec<(Option<String>, Rdm)>,
    /// The mean responses of each subject, where an encoding model is requested.
    pub(super) means: Vec<(Option<String>, MeanResponses)>,
}

/// Where systems are read from.
pub(super) struct Reader<'a> {
    pub(super) work: &'a Work,
    pub(super) request: &'a CompareRequest,
    pub(super) limits: Limits,
    pub(super) memory: u64,
    /// Whether to stop.
    pub(super) canceled: &'a dyn Fn() -> Result<()>,
}

/// A dataset's files and columns.
struct Source {
    name: DatasetName,
    rows: u64,
    parts: Vec<RowFile>,
    columns: Vec<ColumnInfo>,
}

impl Reader<'_> {
    /// Reads a system; errors name it.
    pub(super) fn load(&self, system: &System) -> Result<Loaded> {
        (self.canceled)()?;
        let found = match (&system.model, &system.encoder, &system.dataset, &system.rdm) {
            (Some(model), ..) => self.model(system, model),
            (_, Some(encoder), ..) => self.encoder(system, encoder),
            (_, _, Some(dataset), _) => self.responses(system, dataset),
            (.., Some(rdm)) => self.rdm(system, rdm),
            _ => Err(Error::internal("a system without a source")),
        };
        found.map_err(|mut error| {
            error.detail = format!("{}: {}", system.name, error.detail);
            error
        })
    }

    fn source(&self, name: &DatasetName) -> Result<Source> {
        let input = self.work.input.as_ref();
        let all = input.into_iter().flat_map(|input| std::iter::once(&input.dataset).chain(&input.others));
        let gone = || Error::unprocessable("dataset_not_found", format!("there is no dataset {name}"));
        let dataset: &Dataset = all.into_iter().find(|dataset| dataset.name == *name).ok_or_else(gone)?;
        let columns = summary(&dataset.columns)?.columns;
        let parts = self.work.wait(local_parts(&self.work.store, dataset))?;
        Ok(Source { name: name.clone(), rows: dataset.rows, parts, columns })
    }

    /// The dataset of stimuli, and their names.
    fn stimuli(&self, plans: Vec<ColumnPlan>) -> Result<(Table, Vec<String>, Vec<String>)> {
        let missing = || Error::internal("a system without stimuli");
        let source = self.source(self.request.stimuli.as_ref().ok_or_else(missing)?)?;
        let plans = spelled_as(&plans, &source.columns);
        let (table, warnings) = read_table_noting(&source.parts, &plans, &self.limits)?;
        let names = match self.request.condition.as_deref() {
            // Read apart: the model may read the same column in another way.
            Some(column) => {
                let plan = source.plan(column, ColumnKind::Category)?;
                let named = read_table(&source.parts, &[plan], &self.limits)?;
                source.labels(&named, Some(0), Some(column))?
            }
            None => source.labels(&table, None, None)?,
        };
        Ok((table, names, warnings.iter().map(ToString::to_string).collect()))
    }

    fn model(&self, system: &System, model: &ModelName) -> Result<Loaded> {
        let missing = || Error::unprocessable("no_version", "the model has no version");
        let store = &self.work.store;
        let version = self.work.wait(store.version(model, system.version.ok_or_else(missing)?))?;
        let files = self.work.wait(store.version_files(&version))?;
        let bundle = Bundle::load(|name| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &**bytes))?;
        let (table, names, notes) = self.stimuli(bundle.encoder.inputs.clone())?;
        let (mut values, mut width, mut layer) = (Vec::new(), 0, String::new());
        for from in (0..table.rows).step_by(CHUNK) {
            (self.canceled)()?;
            let rows: Vec<usize> = (from..(from + CHUNK).min(table.rows)).collect();
            let batch = bundle.encode_plain(&table.select(&rows))?;
            let code = layer_code(&*bundle.network, &batch, system.layer.as_deref())?;
            let LayerCode { layer: name, width: units, values: codes } = code;
            if from == 0 {
                memory::check(table.rows as u64 * units as u64 * CELL, self.memory)?;
            }
            values.extend(codes.into_iter().map(f64::from));
            (layer, width) = (name, units);
        }
        let responses = Responses::new(values, width, &names, None)?;
        let mut loaded = self.measured(system, vec![(None, responses)], notes, true)?;
        (loaded.about.version, loaded.about.layer) = (Some(version.version), Some(layer));
        Ok(loaded)
    }

    fn encoder(&self, system: &System, name: &EncoderName) -> Result<Loaded> {
        let (work, store) = (self.work, &self.work.store);
        let digest = work.wait(store.encoder(name))?.digest;
        let gone = || Error::not_found("encoder_not_found", format!("there is no encoder {name}"));
        let folder = work.wait(store.encoder_folder(&digest))?.ok_or_else(gone)?;
        let encoder = encoders::open(&digest, &folder, work.threads)?;
        let column = system.column.clone().unwrap_or_default();
        let mut plan = ColumnPlan::new(column.clone(), encoder.kind());
        plan.encoder = Some(ColumnEncoder::new(name.as_str(), digest));
        let (table, names, notes) = self.stimuli(vec![plan])?;
        let Some(Column::Text(cells) | Column::Picture(cells)) = table.column(&column) else {
            return Err(Error::internal("cells that are not read as such"));
        };
        let width = encoder.info().width;
        memory::check(cells.len() as u64 * width as u64 * CELL, self.memory)?;
        let mut values = Vec::with_capacity(cells.len() * width);
        for cells in cells.chunks(CHUNK) {
            (self.canceled)()?;
            let cells: Vec<&str> = cells.iter().map(|cell| cell.as_deref().unwrap_or_default()).collect();
            values.extend(encoder.embed(&cells)?.into_iter().map(f64::from));
        }
        let responses = Responses::new(values, width, &names, None)?;
        self.measured(system, vec![(None, responses)], notes, true)
    }

    fn responses(&self, system: &System, name: &DatasetName) -> Result<Loaded> {
        let source = self.source(name)?;
        let labels = [&system.condition, &system.subject, &system.run].map(Option::as_deref);
        let mut plans = source.channels(system.channels.as_deref(), &labels)?;
        memory::check(source.rows * plans.len() as u64 * CELL, self.memory)?;
        let mut places = [None; 3];
        for (place, label) in places.iter_mut().zip(labels) {
            *place = label.map(|column| source.named(column, &mut plans)).transpose()?;
        }
        let (table, warnings) = read_table_noting(&source.parts, &plans, &self.limits)?;
        let taken: Vec<usize> = places.iter().copied().flatten().collect();
        let channels: Vec<&Column> =
            table.columns.iter().enumerate().filter(|(at, _)| !taken.contains(at)).map(|(_, (_, c))| c).collect();
        let conditions = source.labels(&table, places[0], labels[0])?;
        let read = |at: usize| places[at].map(|_| source.labels(&table, places[at], labels[at])).transpose();
        let (subjects, runs) = (read(1)?, read(2)?);
        let groups = groups(subjects.as_deref(), table.rows);
        let single = runs.is_none() && groups.iter().all(|(_, rows)| distinct(rows, &conditions));
        let labels_of =
            |labels: &[String], rows: &[usize]| -> Vec<String> { rows.iter().map(|&r| labels[r].clone()).collect() };
        let mut all = Vec::with_capacity(groups.len());
        for (subject, rows) in groups {
            (self.canceled)()?;
            let (values, width) = matrix(&channels, &rows);
            let own_runs = runs.as_deref().map(|runs| labels_of(runs, &rows));
            let found = Responses::new(values, width, &labels_of(&conditions, &rows), own_runs.as_deref());
            all.push((subject, found?));
        }
        self.measured(system, all, warnings.iter().map(ToString::to_string).collect(), single)
    }

    /// The distances of responses. `single`: each stimulus was observed once, so there is no noise to weigh by.
    fn measured(
        &self,
        system: &System,
        all: Vec<(Option<String>, Responses)>,
        mut notes: Vec<String>,
        single: bool,
    ) -> Result<Loaded> {
        let wanted = system.distance.unwrap_or_else(|| self.request.distance());
        let weighs = matches!(wanted, Distance::Mahalanobis | Distance::Crossnobis);
        let distance = if weighs && single && system.distance.is_none() {
            notes.push(
                "each stimulus was observed once, so the distance is euclidean, without noise to weigh by".into(),
            );
            Distance::Euclidean
        } else {
            wanted
        };
        let channels = all.first().map(|(_, responses)| responses.channels());
        let mut rdms = Vec::with_capacity(all.len());
        let mut means = Vec::new();
        for (subject, responses) in all {
            (self.canceled)()?;
            if self.request.encoding {
                means.push((subject.clone(), MeanResponses::new(&responses)));
            }
            let rdm = dissimilarities(&responses, distance, Shrinkage::default()).map_err(|mut error| {
                if let Some(subject) = &subject {
                    error.detail = format!("subject {subject}: {}", error.detail);
                }
                error
            })?;
            rdms.push((subject, rdm));
        }
        Ok(Loaded { means, ..loaded(system, rdms, channels, Some(distance), notes) })
    }

    fn rdm(&self, system: &System, name: &DatasetName) -> Result<Loaded> {
        let source = self.source(name)?;
        memory::check(source.rows * PAIR, self.memory)?;
        let mut plans = Vec::new();
        let (i, j) = (source.named("i", &mut plans)?, source.named("j", &mut plans)?);
        plans.push(source.plan("value", ColumnKind::Number)?);
        let usual = || source.columns.iter().any(|c| c.name == "subject").then_some("subject");
        let subject = system.subject.as_deref().or_else(usual);
        let place = subject.map(|column| source.named(column, &mut plans)).transpose()?;
        let (table, warnings) = read_table_noting(&source.parts, &plans, &self.limits)?;
        let first = source.labels(&table, Some(i), Some("i"))?;
        let second = source.labels(&table, Some(j), Some("j"))?;
        let subjects = place.map(|place| source.labels(&table, Some(place), subject)).transpose()?;
        let Some(Column::Number(values)) = table.column("value") else {
            return Err(Error::internal("numbers that are not read as such"));
        };
        let mut rdms = Vec::new();
        for (subject, rows) in groups(subjects.as_deref(), table.rows) {
            (self.canceled)()?;
            let pairs: Vec<_> = rows.iter().map(|&r| (first[r].clone(), second[r].clone(), values[r])).collect();
            rdms.push((subject, Rdm::from_pairs(&pairs)?));
        }
        Ok(loaded(system, rdms, None, None, warnings.iter().map(ToString::to_string).collect()))
    }
}

fn loaded(
    system: &System,
    rdms: Vec<(Option<String>, Rdm)>,
    channels: Option<usize>,
    distance: Option<Distance>,
    notes: Vec<String>,
) -> Loaded {
    let about = ComparedSystem {
        name: system.name.clone(),
        version: None,
        layer: None,
        channels,
        distance,
        conditions: rdms.iter().map(|(_, rdm)| rdm.len()).max().unwrap_or(0),
        subjects: rdms.iter().filter_map(|(subject, _)| subject.clone()).collect(),
        notes,
    };
    Loaded { about, rdms, means: Vec::new() }
}

impl Source {
    fn unknown(&self, column: &str) -> Error {
        let message = format!("the dataset {} has no column '{column}'", self.name);
        Error::unprocessable("unknown_column", message.clone()).with_details([Detail::column(column, message)])
    }

    /// How one of the file's own columns is read.
    fn plan(&self, column: &str, kind: ColumnKind) -> Result<ColumnPlan> {
        let named = |c: &&ColumnInfo| c.name == column || c.members.iter().flatten().any(|member| member == column);
        let info = self.columns.iter().find(named).ok_or_else(|| self.unknown(column))?;
        Ok(ColumnPlan { spelling: info.spelling.clone(), ..ColumnPlan::new(column, kind) })
    }

    /// Adds a column of names to the plans; where it stands.
    fn named(&self, column: &str, plans: &mut Vec<ColumnPlan>) -> Result<usize> {
        let plan = self.plan(column, ColumnKind::Category)?;
        if let Some(at) = plans.iter().position(|known| *known == plan) {
            return Ok(at);
        }
        plans.push(plan);
        Ok(plans.len() - 1)
    }

    /// The names in a column, or the row numbers.
    fn labels(&self, table: &Table, place: Option<usize>, column: Option<&str>) -> Result<Vec<String>> {
        let Some(place) = place else { return Ok((0..table.rows).map(|row| row.to_string()).collect()) };
        let column = column.unwrap_or_default();
        let (_, Column::Category(cells)) = &table.columns[place] else {
            return Err(Error::internal("names that are not read as such"));
        };
        let empty = cells.iter().enumerate().filter(|(_, cell)| cell.is_none());
        let details: Vec<Detail> =
            empty.take(20).map(|(row, _)| Detail::cell(row as u64 + 1, column, "has no name")).collect();
        if !details.is_empty() {
            let message = format!("the column {column} of the dataset {} has rows without a name", self.name);
            return Err(Error::unprocessable("condition_missing", message).with_details(details));
        }
        Ok(cells.iter().flatten().map(|name| name.to_string()).collect())
    }

    /// How the channels are read: the file's own columns of numbers that `pattern` names, and lists of numbers.
    fn channels(&self, pattern: Option<&str>, taken: &[Option<&str>]) -> Result<Vec<ColumnPlan>> {
        let mut plans = Vec::new();
        let exact = pattern.filter(|pattern| !pattern.contains('*'));
        let fits =
            |name: &str| !taken.contains(&Some(name)) && pattern.is_none_or(|pattern| matches_pattern(pattern, name));
        for column in &self.columns {
            let whole = exact == Some(column.name.as_str());
            if let Some(members) = &column.members {
                let wanted = members.iter().filter(|name| (whole && !taken.contains(&Some(name))) || fits(name));
                let one = |name: &String| ColumnPlan {
                    spelling: column.spelling.clone(),
                    ..ColumnPlan::new(name.clone(), ColumnKind::Number)
                };
                plans.extend(wanted.map(one));
                continue;
            }
            let numeric = match column.kind {
                ColumnKind::Number | ColumnKind::Boolean => Some(ColumnKind::Number),
                kind @ (ColumnKind::Vector | ColumnKind::Image) => Some(kind),
                _ => None,
            };
            match numeric.filter(|_| fits(&column.name)) {
                Some(kind) => plans.push(ColumnPlan {
                    spelling: column.spelling.clone(),
                    shape: column.shape.clone().filter(|_| kind != ColumnKind::Number),
                    ..ColumnPlan::new(column.name.clone(), kind)
                }),
                None if whole => {
                    let message = format!("the column {} of the dataset {} has no numbers", column.name, self.name);
                    return Err(Error::unprocessable("no_channels", message));
                }
                None => {}
            }
        }
        if plans.is_empty() {
            let message = match pattern {
                Some(pattern) => format!("no column of numbers of the dataset {} matches '{pattern}'", self.name),
                None => format!("the dataset {} has no column of numbers besides those with names", self.name),
            };
            return Err(Error::unprocessable("no_channels", message));
        }
        Ok(plans)
    }
}

/// Whether a name matches a pattern in which `*` is any text.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The rows of each subject, in order of first appearance; all rows where there are no subjects.
fn groups(subjects: Option<&[String]>, rows: usize) -> Vec<(Option<String>, Vec<usize>)> {
    let Some(subjects) = subjects else { return vec![(None, (0..rows).collect())] };
    let mut place = std::collections::HashMap::new();
    let mut groups: Vec<(Option<String>, Vec<usize>)> = Vec::new();
    for (row, subject) in subjects.iter().enumerate() {
        let at = *place.entry(subject).or_insert_with(|| {
            groups.push((Some(subject.clone()), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(row);
    }
    groups
}

/// Whether each row has a condition of its own.
fn distinct(rows: &[usize], conditions: &[String]) -> bool {
    let mut seen = std::collections::HashSet::new();
    rows.iter().all(|&row| seen.insert(&conditions[row]))
}

/// The chosen rows of the channels, `[rows, width]`, and the width.
fn matrix(channels: &[&Column], rows: &[usize]) -> (Vec<f64>, usize) {
    let width = |column: &Column| if let Column::Vector { width, .. } = column { *width } else { 1 };
    let width: usize = channels.iter().map(|column| width(column)).sum();
    let mut values = Vec::with_capacity(rows.len() * width);
    for &row in rows {
        for column in channels {
            match column {
                Column::Number(numbers) => values.push(numbers[row]),
                Column::Vector { width, values: numbers, .. } => {
                    values.extend(numbers[row * width..(row + 1) * width].iter().map(|&v| f64::from(v)));
                }
                _ => values.push(f64::NAN),
            }
        }
    }
    (values, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, name, fits) in [
            ("v*", "v12", true),
            ("v*", "w12", false),
            ("v", "v1", false),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abb", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn rows_are_grouped_in_order() {
        let subjects: Vec<String> = ["b", "a", "b"].map(str::to_owned).into();
        let found = groups(Some(&subjects), 3);
        assert_eq!(found, [(Some("b".into()), vec![0, 2]), (Some("a".into()), vec![1])]);
    }
}
