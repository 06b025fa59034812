//! Conversion from tensors to the columns of a model, shared by both transports. What a model answers is in `outputs`.
//!
//! Every feature is an input tensor of its own name, `[batch]` or `[batch, …]`; a model whose
//! features are all numbers, or that has a single vector, also takes one tensor `input`
//! `[batch, features]`.

use super::tensor::{Datatype, Tensor, Values};
use crate::{Detail, Error, Result};
use kenyon_learn::data::encoder::Encoder;
use kenyon_learn::data::plan::ColumnPlan;
use kenyon_learn::data::schema::ColumnKind;
use kenyon_learn::data::{Batch, Column, Table};
use kenyon_learn::learning::bundle::Bundle;
use serde_json::{Map, Value};

/// Name of the tensor that holds all features.
const ALL: &str = "input";

/// A tensor in a model's metadata; -1 means any size.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = V2Tensor)]
pub(super) struct Described {
    /// Its name.
    pub(super) name: String,
    /// `FP64`, `INT64`, `BYTES`, `BOOL`, …
    pub(super) datatype: &'static str,
    /// Rows first.
    pub(super) shape: Vec<i64>,
}

/// The inputs of a model.
pub(super) fn inputs(encoder: &Encoder) -> Vec<Described> {
    let one = |plan: &ColumnPlan| {
        let tensor = plan.kind.tensor(plan.channels, width(encoder, plan));
        let shape = std::iter::once(-1).chain(tensor.shape).collect();
        Described { name: plan.name.clone(), datatype: tensor.datatype, shape }
    };
    encoder.inputs.iter().map(one).collect()
}

/// Numbers of a vector column.
fn width(encoder: &Encoder, plan: &ColumnPlan) -> Option<usize> {
    let product = |shape: &Vec<usize>| shape.iter().product();
    let members = plan.members.as_ref().map(Vec::len).filter(|&n| n > 0);
    let field = encoder.fields.iter().find(|f| f.name == plan.name);
    members.or_else(|| plan.shape.as_ref().map(product)).or_else(|| field.map(|f| f.width as usize))
}

/// Input tensors as an encoded batch.
pub(super) fn encode(bundle: &Bundle, tensors: Vec<Tensor>) -> Result<Batch> {
    let encoder = &bundle.encoder;
    let rows = rows(&tensors)?;
    let tensors = spread(encoder, tensors)?;
    for (at, tensor) in tensors.iter().enumerate() {
        if tensors[..at].iter().any(|other| other.name == tensor.name) {
            let detail = format!("input '{}' occurs twice", shown(&tensor.name));
            return Err(Error::malformed("duplicate_input", detail));
        }
        if tensor.shape.first().copied().unwrap_or(1) != rows {
            return Err(shape_error(tensor, "all inputs must have the same number of rows"));
        }
        if !encoder.inputs.iter().any(|plan| plan.name == tensor.name) {
            return Err(unexpected(&tensor.name));
        }
    }
    let direct = encoder.inputs.iter().all(|p| matches!(p.kind, ColumnKind::Number | ColumnKind::Vector));
    if !direct || tensors.iter().any(|t| matches!(t.values, Values::Text(_))) {
        let rows = as_rows(encoder, &tensors, rows)?;
        return Ok(bundle.encode(&bundle.reader().from_values(&rows)?)?);
    }
    let mut table = Table { rows, columns: Vec::with_capacity(tensors.len()) };
    let mut tensors = tensors;
    for plan in &encoder.inputs {
        let tensor = tensors.iter().position(|t| t.name == plan.name).map(|at| tensors.swap_remove(at));
        let column = match (plan.kind, tensor) {
            (ColumnKind::Vector, Some(tensor)) => vector(encoder, plan, tensor, rows)?,
            (ColumnKind::Vector, None) => return Err(missing(&plan.name)),
            (_, Some(tensor)) => Column::Number(numbers(tensor, rows)?),
            (_, None) => Column::Number(vec![f64::NAN; rows]),
        };
        table.columns.push((plan.name.clone(), column));
    }
    Ok(bundle.encode(&table)?)
}

/// Rows of a request: the first dimension of its tensors.
pub(super) fn rows(tensors: &[Tensor]) -> Result<usize> {
    let first = tensors.first().ok_or_else(|| Error::malformed("invalid_request", "the request has no inputs"))?;
    first.shape.first().copied().ok_or_else(|| shape_error(first, "the first dimension must be the batch"))
}

/// Splits the one tensor that holds all features, if it is there, into those of the columns.
fn spread(encoder: &Encoder, mut tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let plans = &encoder.inputs;
    let named = |name: &str| plans.iter().any(|p| p.name == name);
    if tensors.len() != 1 || tensors[0].name != ALL || named(ALL) {
        return Ok(tensors);
    }
    if let [plan] = &plans[..]
        && matches!(plan.kind, ColumnKind::Vector | ColumnKind::Sequence)
    {
        tensors[0].name.clone_from(&plan.name);
        return Ok(tensors);
    }
    if plans.iter().any(|p| p.kind != ColumnKind::Number) {
        return Err(unexpected(ALL));
    }
    let (rows, width) = (rows(&tensors)?, plans.len());
    let values = numbers(tensors.remove(0), rows * width)?;
    let column = |(at, plan): (usize, &ColumnPlan)| Tensor {
        name: plan.name.clone(),
        datatype: Datatype::Fp64,
        shape: vec![rows],
        values: Values::F64(values.iter().skip(at).step_by(width).copied().collect()),
        missing: Vec::new(),
    };
    Ok(plans.iter().enumerate().map(column).collect())
}

/// `count` finite numbers (NaN is a missing one).
fn numbers(tensor: Tensor, count: usize) -> Result<Vec<f64>> {
    if tensor.values.len() != count {
        return Err(shape_error(&tensor, "the number of elements does not fit the model"));
    }
    let mut values: Vec<f64> = match tensor.values {
        Values::Bool(v) => v.into_iter().map(|b| f64::from(u8::from(b))).collect(),
        Values::Int(v) => v.into_iter().map(|x| x as f64).collect(),
        Values::Uint(v) => v.into_iter().map(|x| x as f64).collect(),
        Values::F32(v) => v.into_iter().map(f64::from).collect(),
        Values::F64(v) => v,
        Values::Text(_) => return Err(type_error(&tensor.name, "numbers")),
    };
    tensor.missing.iter().for_each(|&at| values[at] = f64::NAN);
    if values.iter().any(|v| v.is_infinite()) {
        return Err(Error::unprocessable("not_finite", format!("input '{}' holds an infinite number", tensor.name)));
    }
    Ok(values)
}

fn vector(encoder: &Encoder, plan: &ColumnPlan, tensor: Tensor, rows: usize) -> Result<Column> {
    let elements = tensor.values.len();
    let width = width(encoder, plan).unwrap_or(elements.checked_div(rows).unwrap_or(0));
    if elements != width * rows {
        return Err(shape_error(&tensor, &format!("the model takes {width} numbers a row")));
    }
    let name = tensor.name.clone();
    let values: Vec<f32> = match tensor.values {
        Values::F32(v) => v,
        Values::Bool(v) => v.into_iter().map(|b| f32::from(u8::from(b))).collect(),
        Values::Int(v) => v.into_iter().map(|x| x as f32).collect(),
        Values::Uint(v) => v.into_iter().map(|x| x as f32).collect(),
        Values::F64(v) => v.into_iter().map(|x| x as f32).collect(),
        Values::Text(_) => return Err(type_error(&name, "numbers")),
    };
    if !values.iter().all(|v| v.is_finite()) || !tensor.missing.is_empty() {
        return Err(Error::unprocessable("not_finite", format!("input '{name}' holds a number that is not finite")));
    }
    Ok(Column::Vector { width, shape: plan.shape.clone(), values })
}

/// Any tensors as rows in JSON, which the model's reader takes: text, times, images and sequences
/// are read by the same code as in a predict request.
fn as_rows(encoder: &Encoder, tensors: &[Tensor], rows: usize) -> Result<Vec<Map<String, Value>>> {
    let mut out = vec![Map::new(); rows];
    for plan in &encoder.inputs {
        let list = plan.kind.is_list() && plan.kind != ColumnKind::Image;
        let Some(tensor) = tensors.iter().find(|t| t.name == plan.name) else {
            // As in a JSON row: a list must be there, anything else may be missing.
            if list || plan.kind == ColumnKind::Image { return Err(missing(&plan.name)) } else { continue }
        };
        let each = tensor.values.len().checked_div(rows).unwrap_or(0);
        if !list && tensor.values.len() != rows {
            return Err(shape_error(tensor, "the model takes one value a row"));
        }
        let channels = plan.channels.filter(|&c| c > 1);
        for (row, cells) in out.iter_mut().enumerate() {
            let range = row * each..(row + 1) * each;
            let value = match (list, channels) {
                (false, _) => element(tensor, row, plan.kind)?,
                (true, None) => range.map(|i| element(tensor, i, plan.kind)).collect::<Result<_>>()?,
                (true, Some(channels)) => {
                    if !each.is_multiple_of(channels) {
                        return Err(shape_error(tensor, &format!("the model takes {channels} numbers a step")));
                    }
                    let steps = range.step_by(channels);
                    let step = |at: usize| -> Result<Value> {
                        (at..at + channels).map(|i| element(tensor, i, plan.kind)).collect()
                    };
                    steps.map(step).collect::<Result<_>>()?
                }
            };
            cells.insert(plan.name.clone(), value);
        }
    }
    Ok(out)
}

fn element(tensor: &Tensor, at: usize, kind: ColumnKind) -> Result<Value> {
    if tensor.is_missing(at) {
        return Ok(Value::Null);
    }
    let infinite = match &tensor.values {
        Values::F32(v) => v[at].is_infinite(),
        Values::F64(v) => v[at].is_infinite(),
        _ => false,
    };
    if infinite {
        let detail = format!("input '{}' holds an infinite number", tensor.name);
        return Err(Error::unprocessable("not_finite", detail));
    }
    let number = |x: f64| {
        let whole = x.fract() == 0.0 && x.abs() < 9e15 && kind == ColumnKind::Category;
        if whole { Value::from(x as i64) } else { Value::from(x) }
    };
    Ok(match &tensor.values {
        Values::Bool(v) => Value::from(v[at]),
        Values::Int(v) => Value::from(v[at]),
        Values::Uint(v) => Value::from(v[at]),
        // As a name a single is its shortest decimal: 0.1, not 0.10000000149.
        Values::F32(v) if v[at].is_finite() && kind == ColumnKind::Category => {
            number(v[at].to_string().parse().unwrap_or_else(|_| f64::from(v[at])))
        }
        Values::F32(v) if v[at].is_finite() => number(f64::from(v[at])),
        Values::F64(v) if v[at].is_finite() => number(v[at]),
        Values::F32(_) | Values::F64(_) => Value::Null,
        Values::Text(v) => Value::from(&*v[at]),
    })
}

/// A name from a request, short enough to be shown.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

fn unexpected(name: &str) -> Error {
    Error::malformed("unexpected_input", format!("the model has no input '{}'", shown(name)))
}

fn missing(name: &str) -> Error {
    Error::malformed("missing_input", format!("input '{name}' is missing"))
}

fn type_error(name: &str, expected: &str) -> Error {
    Error::malformed("invalid_tensor", format!("input '{}' must hold {expected}", shown(name)))
        .with_details([Detail::column(shown(name), format!("must hold {expected}"))])
}

fn shape_error(tensor: &Tensor, why: &str) -> Error {
    let detail = format!("input '{}' has shape {:?}: {why}", shown(&tensor.name), tensor.shape);
    Error::malformed("invalid_shape", detail)
}
