//! Applies a training request's `features` to a dataset's columns.

use super::{ColumnPlan, NO_ENCODER, Resolved};
use crate::data::kinds::{Encoding, Spelling, scalar_cell};
use crate::data::schema::group::{numbered, square};
use crate::data::schema::{
    ColumnInfo, ColumnKind, ColumnsPattern, FeatureGroup, FeatureSpec, Features, Summary, Unused,
};
use crate::data::target::Task;
use crate::data::vectors::ColumnEncoder;
use crate::{Detail, Error, Result};
use std::collections::{HashMap, HashSet};

/// Whole numbers with at most this many different values are read as classes.
const MOST_NUMBER_CLASSES: u64 = 20;

/// Applies a training request to a dataset's columns. Errors contain the JSON path of the field.
pub fn resolve(summary: &Summary, features: &Features, target: &str, task: Option<Task>) -> Result<Resolved> {
    let columns = Columns::new(summary);
    let (target, task) = resolve_target(&columns, features, target, task)?;

    // What the request refers to: a column (or member) by name, to a feature.
    let mut taken: HashMap<&str, usize> = HashMap::new();
    let mut requested: Vec<Option<ColumnPlan>> = Vec::new();
    for (name, spec) in features.iter().filter(|(name, _)| **name != target.name) {
        let (members, plan) = resolve_feature(&columns, name, spec, &target.name)?;
        for member in members {
            if let Some(other) = taken.insert(member, requested.len()) {
                let other = requested[other].as_ref().map_or("another feature", |p| p.name.as_str());
                return Err(bad_feature(name, format!("the column '{member}' is already part of '{other}'")));
            }
        }
        requested.push(plan);
    }

    let mut inputs: Vec<ColumnPlan> = Vec::new();
    let mut ignored = vec![target.name.clone()];
    let mut placed = HashSet::new();
    for column in &summary.columns {
        if column.unused.is_some() && column.name != target.name && !taken.contains_key(column.name.as_str()) {
            ignored.push(column.name.clone());
            continue;
        }
        let own = [column.name.clone()];
        let mut left = Vec::new();
        for name in column.members.as_deref().unwrap_or(&own) {
            match taken.get(name.as_str()).map(|&i| (i, &requested[i])) {
                _ if *name == target.name => {}
                Some((_, None)) => ignored.push(name.clone()),
                Some((i, Some(plan))) => {
                    if placed.insert(i) {
                        inputs.push(plan.clone());
                    }
                }
                None => left.push(name.clone()),
            }
        }
        if left.is_empty() {
            continue;
        }
        inputs.push(plan_of_rest(column, left));
    }
    if inputs.is_empty() {
        return Err(Error::unprocessable("no_features", "no column is left to learn from")
            .with_details([Detail::path("features", "every column is ignored or the target")]));
    }
    Ok(Resolved { target, task, inputs, ignored })
}

/// The reading of rows for a model made empty by `PUT`, whose features are all declared. A `vector` or
/// `image` may leave its shape to the first rows.
pub fn declare(features: &Features, target: &str, task: Option<Task>) -> Result<Resolved> {
    let task = task.unwrap_or(Task::Classification);
    let kind = match task {
        Task::Classification => ColumnKind::Category,
        Task::Regression => ColumnKind::Number,
    };
    let (mut inputs, mut ignored) = (Vec::new(), vec![target.to_owned()]);
    for (name, spec) in features.iter().filter(|(name, _)| *name != target) {
        let group = match spec {
            FeatureSpec::Kind(kind) => {
                FeatureGroup { kind: *kind, columns: None, channels: None, shape: None, encoder: None }
            }
            FeatureSpec::Group(group) => group.clone(),
        };
        let Some(kind) = group.kind.kind() else {
            ignored.push(name.clone());
            continue;
        };
        let members = match group.columns {
            None => None,
            Some(ColumnsPattern::Names(names)) => Some(names),
            Some(ColumnsPattern::Pattern(_)) => {
                return Err(bad_feature(&format!("{name}.columns"), "without a dataset the columns must be listed"));
            }
        };
        check_shape(name, kind, group.shape.as_deref(), group.channels, members.as_ref().map(Vec::len))?;
        let shape = group.shape.or_else(|| members.as_ref().and_then(|m| square(m.len())));
        let encoder = encoder_of(name, kind, group.encoder.as_deref())?;
        inputs.push(ColumnPlan {
            members,
            shape,
            channels: group.channels,
            encoder,
            ..ColumnPlan::new(name.clone(), kind)
        });
    }
    if inputs.is_empty() {
        return Err(Error::unprocessable("no_features", "a model needs at least one feature")
            .with_details([Detail::path("features", "name at least one column and its kind")]));
    }
    Ok(Resolved { target: ColumnPlan::target(target, kind, task), task, inputs, ignored })
}

/// The dataset's columns by name, members of groups among them.
struct Columns<'s> {
    rows: u64,
    all: &'s [ColumnInfo],
    by_name: HashMap<&'s str, (&'s ColumnInfo, bool)>,
}

impl<'s> Columns<'s> {
    fn new(summary: &'s Summary) -> Self {
        let mut by_name = HashMap::new();
        for column in &summary.columns {
            by_name.insert(column.name.as_str(), (column, false));
            by_name.extend(column.members.iter().flatten().map(|m| (m.as_str(), (column, true))));
        }
        Self { rows: summary.rows, all: &summary.columns, by_name }
    }

    /// The kind of a column, and whether it is a member of a group.
    fn kind(&self, name: &str) -> Option<(ColumnKind, &'s ColumnInfo, bool)> {
        self.by_name.get(name).map(|&(c, member)| (if member { ColumnKind::Number } else { c.kind }, c, member))
    }

    /// The file's own scalar columns in order.
    fn scalars(&self) -> impl Iterator<Item = &'s str> {
        self.all.iter().flat_map(|c| {
            let own = c.members.is_none().then_some(c.name.as_str());
            own.into_iter().chain(c.members.iter().flatten().map(String::as_str))
        })
    }
}

fn bad_feature(path: &str, reason: impl Into<String>) -> Error {
    let reason = reason.into();
    Error::unprocessable("bad_feature", format!("features.{path}: {reason}"))
        .with_details([Detail::path(format!("features.{path}"), reason)])
}

fn bad_target(code: &'static str, reason: impl Into<String>) -> Error {
    let reason = reason.into();
    Error::unprocessable(code, reason.clone()).with_details([Detail::path("target", reason)])
}

fn resolve_target(
    columns: &Columns<'_>,
    features: &Features,
    target: &str,
    task: Option<Task>,
) -> Result<(ColumnPlan, Task)> {
    let Some((kind, info, member)) = columns.kind(target) else {
        return Err(bad_target("unknown_target", format!("the dataset has no column '{target}'")));
    };
    let wanted = match features.get(target) {
        None => kind,
        Some(FeatureSpec::Kind(kind)) => {
            kind.kind().ok_or_else(|| bad_target("bad_target", format!("the target '{target}' cannot be ignored")))?
        }
        Some(FeatureSpec::Group(_)) => return Err(bad_target("bad_target", "the target cannot be a group of columns")),
    };
    if info.unused == Some(Unused::Unreadable) {
        return Err(bad_target("bad_target", format!("the values of '{target}' cannot be read")));
    }
    // Words that mean no value among features are classes among names, where there are other names.
    let words = if wanted.spec().keeps_words() && info.distinct > 0 { &info.words[..] } else { &[] };
    let missing = info.missing - words.iter().map(|(_, count)| count).sum::<u64>().min(info.missing);
    let distinct = info.distinct + words.len() as u64;
    if !member && missing >= columns.rows {
        return Err(bad_target("target_missing", format!("no row has a value in '{target}'")));
    }
    let kind = match wanted.encoding(false) {
        Encoding::Words => ColumnKind::Category,
        Encoding::Number | Encoding::Names | Encoding::Flag => wanted,
        _ => return Err(bad_target("bad_target", format!("a {} cannot be predicted", wanted.name()))),
    };
    if !member && distinct <= 1 {
        return Err(bad_target("target_constant", format!("'{target}' has the same value in every row")));
    }
    let classes = !kind.is_real()
        || (!member
            && info.whole
            && info.distinct <= MOST_NUMBER_CLASSES
            && (info.distinct == 2 || info.distinct * 3 <= columns.rows));
    let task = match task {
        None if classes => Task::Classification,
        None => Task::Regression,
        Some(Task::Regression) if !kind.is_real() => {
            let reason = format!("'{target}' is a {}, not a number", kind.name());
            return Err(Error::unprocessable("bad_task", reason.clone()).with_details([Detail::path("task", reason)]));
        }
        Some(task) => task,
    };
    let mut plan = ColumnPlan::target(target, kind, task);
    plan.spelling.clone_from(&info.spelling);
    // Classes such as `5 %` keep their spelling: they are names.
    if plan.labels && kind.is_real() && info.examples.iter().any(serde_json::Value::is_string) {
        plan.kind = ColumnKind::Category;
    }
    Ok((plan, task))
}

/// The columns a setting refers to and what they become; nothing when they are ignored.
fn resolve_feature<'s>(
    columns: &Columns<'s>,
    name: &str,
    spec: &FeatureSpec,
    target: &str,
) -> Result<(Vec<&'s str>, Option<ColumnPlan>)> {
    let group = match spec {
        FeatureSpec::Kind(kind) => {
            FeatureGroup { kind: *kind, columns: None, channels: None, shape: None, encoder: None }
        }
        FeatureSpec::Group(group) => group.clone(),
    };
    let members = match &group.columns {
        Some(pattern) => matching(columns, name, pattern, target)?,
        None => {
            let Some((found, info, member)) = columns.kind(name) else {
                return Err(bad_feature(name, "the dataset has no such column"));
            };
            match (&info.members, member) {
                (Some(members), false) => members.iter().map(String::as_str).filter(|m| *m != target).collect(),
                _ => return single(columns, name, &group, found, info, member),
            }
        }
    };
    let Some(kind) = group.kind.kind() else { return Ok((members, None)) };
    if let [only] = members[..]
        && let Some((found, info, false)) = columns.kind(only)
        && found.is_list()
    {
        if *only != *name {
            return Err(bad_feature(&format!("{name}.columns"), format!("name the feature '{only}' as its column")));
        }
        return single(columns, name, &group, found, info, false);
    }
    if !matches!(kind, ColumnKind::Vector | ColumnKind::Sequence) {
        return Err(bad_feature(name, format!("several columns cannot be read as one {}", kind.name())));
    }
    if let Some(odd) = members.iter().find(|m| columns.kind(m).is_none_or(|(k, ..)| k != ColumnKind::Number)) {
        return Err(bad_feature(&format!("{name}.columns"), format!("the column '{odd}' is not a number")));
    }
    if columns.by_name.get(name).is_some_and(|(c, _)| c.members.is_none() && !members.contains(&c.name.as_str())) {
        return Err(bad_feature(name, "a column outside the group has this name"));
    }
    check_shape(name, kind, group.shape.as_deref(), group.channels, Some(members.len()))?;
    encoder_of(name, kind, group.encoder.as_deref())?;
    let shape = (kind == ColumnKind::Vector).then(|| {
        let known = columns.by_name.get(name).and_then(|(c, _)| c.shape.clone());
        let known = known.filter(|s| s.iter().product::<usize>() == members.len());
        group.shape.clone().or(known).or_else(|| square(members.len())).unwrap_or_else(|| vec![members.len()])
    });
    let spelling = members.iter().find_map(|m| columns.kind(m).and_then(|(_, info, _)| info.spelling.clone()));
    let plan = ColumnPlan {
        spelling,
        members: Some(members.iter().map(|m| (*m).to_owned()).collect()),
        shape,
        channels: (kind == ColumnKind::Sequence).then_some(group.channels.unwrap_or(1)),
        ..ColumnPlan::new(name, kind)
    };
    Ok((members, Some(plan)))
}

/// The pretrained encoder of a feature; only a text or an image has one, and not if that is [`NO_ENCODER`].
fn encoder_of(name: &str, kind: ColumnKind, encoder: Option<&str>) -> Result<Option<ColumnEncoder>> {
    match encoder.filter(|encoder| *encoder != NO_ENCODER) {
        Some(_) if !matches!(kind, ColumnKind::Text | ColumnKind::Image) => {
            let reason = format!("an encoder reads a text or an image, not a {}", kind.name());
            Err(bad_feature(&format!("{name}.encoder"), reason))
        }
        encoder => Ok(encoder.map(|encoder| ColumnEncoder::new(encoder, ""))),
    }
}

/// A setting about one column of the data.
fn single<'s>(
    columns: &Columns<'s>,
    name: &str,
    group: &FeatureGroup,
    found: ColumnKind,
    info: &'s ColumnInfo,
    member: bool,
) -> Result<(Vec<&'s str>, Option<ColumnPlan>)> {
    // The name as the data owns it: the request is dropped earlier.
    let own = columns.by_name.get_key_value(name).map_or("", |(key, _)| *key);
    let Some(kind) = group.kind.kind() else { return Ok((vec![own], None)) };
    if info.unused == Some(Unused::Unreadable) {
        return Err(bad_feature(name, format!("the values of '{name}' cannot be read")));
    }
    let mut spelling = info.spelling.clone();
    if found == ColumnKind::Boolean && kind.is_real() {
        spelling.get_or_insert_default().booleans = true;
    }
    // A few cells that do not fit count as missing; a column in which none fits is a mistake.
    let readable = || {
        let read = |value| scalar_cell(value).and_then(|cell| kind.spec().read(cell, Spelling::of(&spelling)));
        member || info.examples.is_empty() || info.examples.iter().any(|example| read(example).is_some())
    };
    let fits = match (kind.is_list(), found.is_list()) {
        (false, false) => readable(),
        (true, true) => (kind == ColumnKind::Image) == (found == ColumnKind::Image),
        _ => false,
    };
    if !fits {
        let reason = format!("'{name}' is a {} and cannot be read as a {}", found.name(), kind.name());
        return Err(bad_feature(name, reason));
    }
    let width = match found {
        ColumnKind::Vector => info.shape.as_ref().map(|s| s.iter().product()),
        _ => None,
    };
    check_shape(name, kind, group.shape.as_deref(), group.channels, width)?;
    let mut plan = plan_of(info);
    name.clone_into(&mut plan.name);
    plan.kind = kind;
    plan.spelling = spelling;
    plan.members = None;
    plan.encoder = encoder_of(name, kind, group.encoder.as_deref())?;
    plan.shape = match kind {
        ColumnKind::Vector | ColumnKind::Image => group.shape.clone().or(plan.shape.filter(|_| found == kind)),
        _ => None,
    };
    plan.channels = match kind {
        ColumnKind::Sequence => group.channels.or(plan.channels).or(Some(1)),
        _ => None,
    };
    Ok((vec![own], Some(plan)))
}

/// The columns a pattern or list names.
fn matching<'s>(columns: &Columns<'s>, name: &str, pattern: &ColumnsPattern, target: &str) -> Result<Vec<&'s str>> {
    let path = format!("{name}.columns");
    match pattern {
        ColumnsPattern::Names(names) => {
            let find = |n: &String| columns.by_name.get_key_value(n.as_str()).map(|(key, _)| *key);
            names
                .iter()
                .map(|n| find(n).ok_or_else(|| bad_feature(&path, format!("the dataset has no column '{n}'"))))
                .collect()
        }
        ColumnsPattern::Pattern(pattern) => {
            let Some(stem) = pattern.strip_suffix('*').filter(|s| !s.contains('*')) else {
                return match columns.by_name.get_key_value(pattern.as_str()) {
                    Some((key, _)) => Ok(vec![*key]),
                    None => {
                        Err(bad_feature(&path, "a pattern is the columns' common beginning and one '*' at its end"))
                    }
                };
            };
            let key = |column: &'s str| {
                let rest = column.strip_prefix(stem)?;
                let (left, row, n) = numbered(rest)?;
                left.trim_matches(['_', '.', '-', ' ', '[', '(']).is_empty().then_some((row, n, column))
            };
            let mut found: Vec<_> = columns.scalars().filter(|c| *c != target).filter_map(key).collect();
            if found.is_empty() {
                return Err(bad_feature(&path, format!("no numbered column matches '{pattern}'")));
            }
            found.sort_unstable();
            Ok(found.into_iter().map(|(.., column)| column).collect())
        }
    }
}

/// Whether a shape and a number of channels are possible for `width` numbers.
fn check_shape(
    name: &str,
    kind: ColumnKind,
    shape: Option<&[usize]>,
    channels: Option<usize>,
    width: Option<usize>,
) -> Result<()> {
    if let Some(shape) = shape {
        let path = format!("{name}.shape");
        if !matches!(kind, ColumnKind::Vector | ColumnKind::Image) {
            return Err(bad_feature(&path, format!("a {} has no shape", kind.name())));
        }
        let product = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b)).filter(|p| (1..=1 << 24).contains(p));
        let sides = if kind == ColumnKind::Image { 2..=3 } else { 1..=3 };
        if product.is_none()
            || !sides.contains(&shape.len())
            || (kind == ColumnKind::Image && shape.len() == 3 && shape[2] != 3)
        {
            return Err(bad_feature(&path, "not a shape: rows, columns and, if any, channels"));
        }
        if width.is_some() && product != width {
            let reason =
                format!("{shape:?} makes {} numbers, the data has {}", product.unwrap_or(0), width.unwrap_or(0));
            return Err(bad_feature(&path, reason));
        }
    }
    if let Some(channels) = channels {
        let path = format!("{name}.channels");
        if kind != ColumnKind::Sequence {
            return Err(bad_feature(&path, format!("a {} has no channels", kind.name())));
        }
        if width.is_some_and(|w| channels == 0 || w % channels != 0) {
            return Err(bad_feature(
                &path,
                format!("{} columns do not make whole steps of {channels}", width.unwrap_or(0)),
            ));
        }
    }
    Ok(())
}

/// The plan of a column, or of the members `left` of a group that no feature of the request takes.
fn plan_of_rest(column: &ColumnInfo, left: Vec<String>) -> ColumnPlan {
    match &column.members {
        None => plan_of(column),
        Some(_) if column.series => ColumnPlan { members: Some(left), ..plan_of(column) },
        Some(members) => {
            let shape = match left.len() == members.len() {
                true => column.shape.clone(),
                false => Some(square(left.len()).unwrap_or_else(|| vec![left.len()])),
            };
            let name = column.name.clone();
            ColumnPlan {
                members: Some(left),
                shape,
                spelling: column.spelling.clone(),
                ..ColumnPlan::new(name, ColumnKind::Vector)
            }
        }
    }
}

fn plan_of(column: &ColumnInfo) -> ColumnPlan {
    if column.series {
        let (members, spelling) = (column.members.clone(), column.spelling.clone());
        let plan = ColumnPlan::new(&column.name, ColumnKind::Sequence);
        return ColumnPlan { members, spelling, channels: Some(1), ..plan };
    }
    let sequence = column.kind == ColumnKind::Sequence;
    ColumnPlan {
        members: column.members.clone(),
        shape: column.shape.clone().filter(|_| !sequence),
        channels: sequence.then(|| column.shape.as_ref().and_then(|s| s.first().copied()).unwrap_or(1)),
        spelling: column.spelling.clone(),
        ..ColumnPlan::new(column.name.clone(), column.kind)
    }
}
