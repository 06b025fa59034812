//! A column under construction: which values it takes, and what is missing.

use crate::Detail;
use crate::data::Column;
use crate::data::cell::{Cell, List};
use crate::data::formats::json;
use crate::data::image;
use crate::data::kinds::{self, Layout, Scalar, Spelling, singles};
use crate::data::plan::ColumnPlan;
use crate::data::schema::ColumnKind;
use crate::data::target::label_text;
use crate::data::warning::WarningExample;
use serde::de::DeserializeSeed;

/// A column under construction.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    pub(super) column: Column,
    /// Whether the current row has a value.
    pub(super) filled: bool,
    /// For members: how many of them the current row has.
    pub(super) members: usize,
    /// Rows before a vector's width was known, all missing.
    lead: usize,
    /// Width of a vector, when known.
    width: Option<usize>,
    /// The values of members that make up a series.
    scratch: Vec<f32>,
    /// Number of file cells that do not fit, which count as missing, and the first of them.
    pub(super) misfits: u64,
    pub(super) examples: Vec<WarningExample>,
    /// How many of them are lists and objects, and the first of those.
    pub(super) odd: u64,
    pub(super) faults: Vec<Detail>,
}

/// A picture in base64. It is decoded here, so that a damaged one is found where its cell is known.
fn picture(value: Cell<'_>) -> Result<Box<str>, String> {
    let (text, bytes) = match value {
        Cell::Bytes(bytes) => (image::packed(bytes), bytes.to_vec()),
        Cell::Text(text) | Cell::Raw(text) | Cell::Quoted(text) => (text.trim().to_owned(), image::unpack(text)?),
        _ => return Err(format!("expected a base64 PNG or JPEG, found {}", value.describe())),
    };
    image::colours(&bytes)?;
    Ok(text.into())
}

impl ColumnBuilder {
    pub(super) fn new(plan: &ColumnPlan) -> Self {
        let product = || plan.shape.as_ref().map(|s| s.iter().product());
        let vector = matches!(plan.kind.encoding(false), kinds::Encoding::Elements);
        let width = plan.members.as_ref().map(Vec::len).or_else(|| if vector { product() } else { None });
        let layout = Layout { width, shape: plan.shape.as_ref(), channels: plan.channels };
        let column = match plan {
            _ if plan.labels => Column::Labels(Vec::new()),
            _ if plan.kind == ColumnKind::Image && plan.encoder.is_some() => Column::Picture(Vec::new()),
            _ => plan.kind.spec().column(layout),
        };
        Self {
            column,
            filled: false,
            members: 0,
            lead: 0,
            width,
            scratch: Vec::new(),
            misfits: 0,
            examples: Vec::new(),
            odd: 0,
            faults: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn member(&mut self, i: usize, width: usize, x: f32) {
        let first = !std::mem::replace(&mut self.filled, true);
        self.members += 1;
        let values = match &mut self.column {
            Column::Vector { values, .. } => values,
            _ => &mut self.scratch,
        };
        if first {
            values.resize(values.len() + width, f32::NAN);
        }
        let base = values.len() - width;
        values[base + i] = x;
    }

    /// Takes the value of a whole column; returns why it does not fit.
    pub(super) fn whole(&mut self, plan: &ColumnPlan, value: Cell<'_>, list: &mut List) -> Result<(), String> {
        let kind = plan.kind.spec();
        let wrong = || Err(format!("expected {}, found {}", kind.wanted(), value.describe()));
        let spelling = Spelling::of(&plan.spelling);
        match &mut self.column {
            Column::Labels(values) => match label_text(value, plan.kind, spelling) {
                Some(label) => values.push(Some(label)),
                None => return wrong(),
            },
            Column::Vector { .. } if plan.kind == ColumnKind::Image => return self.image(plan, value),
            Column::Picture(values) => values.push(Some(picture(value)?)),
            Column::Vector { .. } | Column::Series { .. } | Column::Strings { .. } => match value {
                Cell::List(list) => return self.group(plan, list),
                Cell::Raw(text) | Cell::Quoted(text) if text.starts_with('[') => {
                    let mut deserializer = serde_json::Deserializer::from_str(text);
                    let read =
                        json::CellSeed { list: &mut *list, take: |_: Cell<'_>| () }.deserialize(&mut deserializer);
                    if read.and_then(|()| deserializer.end()).is_err() {
                        return wrong();
                    }
                    return self.group(plan, list);
                }
                _ => return wrong(),
            },
            column => match (column, kind.read(value, spelling)) {
                (Column::Number(values) | Column::Timestamp(values), Some(Scalar::Number(x))) => values.push(x),
                (Column::Boolean(values), Some(Scalar::Boolean(b))) => values.push(Some(b)),
                (Column::Category(values) | Column::Text(values), Some(Scalar::Name(name))) => {
                    values.push(Some(name.into()));
                }
                _ => return wrong(),
            },
        }
        self.filled = true;
        Ok(())
    }

    /// A list of a plan; of a group of columns it has a number for each.
    fn group(&mut self, plan: &ColumnPlan, list: &List) -> Result<(), String> {
        match plan.members.as_ref().map(Vec::len) {
            Some(expected) if list.ends.is_empty() && expected != list.numbers.len() => {
                Err(format!("expected a list of {expected} numbers, found {}", list.numbers.len()))
            }
            _ => self.list(list),
        }
    }

    fn list(&mut self, list: &List) -> Result<(), String> {
        if let Some(fault) = list.fault() {
            return Err(fault.to_owned());
        }
        if list.numbers.iter().any(|x| x.is_infinite()) {
            return Err("a number of the list is not finite".into());
        }
        match &mut self.column {
            Column::Vector { width, values, .. } => {
                if !list.ends.is_empty() {
                    return Err("expected a list of numbers, found strings".into());
                }
                let n = list.numbers.len();
                match self.width {
                    Some(expected) if expected != n => {
                        return Err(format!("expected a list of {expected} numbers, found {n}"));
                    }
                    Some(_) => {}
                    None if n == 0 => return Err("expected a list of numbers, found an empty one".into()),
                    None => {
                        (self.width, *width) = (Some(n), n);
                        values.resize(self.lead * n, f32::NAN);
                    }
                }
                values.extend(singles(list));
            }
            Column::Series { channels, offsets, values } => {
                if !list.ends.is_empty() {
                    return Err("expected a list of numbers, found strings".into());
                }
                let found = if list.len == 0 { *channels } else { list.channels() };
                if *channels == 0 {
                    *channels = found;
                }
                // A plain list may hold the steps of several channels one after the other.
                let flat = list.inner.is_empty() && *channels > 0 && list.numbers.len().is_multiple_of(*channels);
                if found != *channels && !flat {
                    return Err(format!("expected steps of {channels} numbers, found {found}"));
                }
                values.extend(singles(list));
                offsets.push(values.len() / (*channels).max(1));
            }
            Column::Strings { offsets, values } => {
                if !list.numbers.is_empty() {
                    return Err("expected a list of strings, found numbers".into());
                }
                values.extend(list.strings().map(Box::from));
                offsets.push(values.len());
            }
            _ => return Err("expected no list".into()),
        }
        self.filled = true;
        Ok(())
    }

    fn image(&mut self, plan: &ColumnPlan, value: Cell<'_>) -> Result<(), String> {
        let unpacked;
        let bytes = match value {
            Cell::Bytes(bytes) => bytes,
            Cell::Text(text) | Cell::Raw(text) | Cell::Quoted(text) => {
                unpacked = image::unpack(text)?;
                &unpacked
            }
            Cell::List(list) => return self.list(list),
            _ => return Err(format!("expected a base64 PNG or JPEG, found {}", value.describe())),
        };
        let Column::Vector { width, shape, values } = &mut self.column else {
            return Err("expected no image".into());
        };
        let shape = match shape {
            Some(shape) if shape.len() >= 2 => shape,
            _ => shape.insert(image::size(bytes).map(|s| plan.shape.clone().filter(|p| p.len() >= 2).unwrap_or(s))?),
        };
        let n = shape.iter().product();
        if self.width.is_none() {
            values.resize(self.lead * n, f32::NAN);
        }
        (self.width, *width) = (Some(n), n);
        image::pixels(bytes, shape, values)?;
        self.filled = true;
        Ok(())
    }

    /// Completes row `row`: what had no value is missing.
    pub(super) fn close(&mut self, row: usize, plan: &ColumnPlan) {
        let filled = std::mem::take(&mut self.filled);
        let members = std::mem::take(&mut self.members);
        match &mut self.column {
            Column::Number(v) | Column::Timestamp(v) if !filled => v.push(f64::NAN),
            Column::Boolean(v) if !filled => v.push(None),
            Column::Category(v) | Column::Text(v) | Column::Labels(v) | Column::Picture(v) if !filled => v.push(None),
            Column::Vector { values, .. } if !filled => match self.width {
                Some(width) => values.resize((row + 1) * width, f32::NAN),
                None => self.lead += 1,
            },
            Column::Series { channels, offsets, values } => {
                if members > 0 {
                    let step = plan.channels.unwrap_or(1).max(1);
                    *channels = step;
                    // Shorter series end in empty cells.
                    let length = self.scratch.iter().rposition(|x| !x.is_nan()).map_or(0, |i| i / step + 1) * step;
                    values.extend_from_slice(&self.scratch[..length.min(self.scratch.len())]);
                    self.scratch.clear();
                }
                if members > 0 || !filled {
                    offsets.push(values.len() / (*channels).max(1));
                }
            }
            Column::Strings { offsets, values } if !filled => offsets.push(values.len()),
            _ => {}
        }
    }

    pub(super) fn finish(mut self) -> Column {
        if let Column::Vector { shape, width, .. } = &mut self.column
            && shape.as_ref().is_none_or(|s| s.iter().product::<usize>() != *width)
        {
            *shape = crate::data::schema::group::square(*width);
        }
        if let Column::Vector { width, values, .. } = &mut self.column
            && *width == 0
            && self.lead > 0
        {
            // No row had a value: one missing element a row keeps the row count.
            *width = 1;
            values.resize(self.lead, f32::NAN);
        }
        if let Column::Series { channels, .. } = &mut self.column {
            *channels = (*channels).max(1);
        }
        self.column
    }
}
