//! Parameters of a network in one slice: their names, shapes and ranges, and how they are saved and loaded.

use crate::nn::Tensors;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::ops::Range;

/// One named array of parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// Its name in the saved file.
    pub(crate) name: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Its range in the slice.
    pub(crate) range: Range<usize>,
    /// Whether weight decay applies (matrices, not gains and biases).
    pub(crate) decays: bool,
}

/// All parameters of a network, in the order in which they are stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parameters(Vec<Parameter>);

impl Parameters {
    /// Appends an array without weight decay; returns its range.
    pub(crate) fn add(&mut self, name: impl Into<String>, shape: &[usize]) -> Range<usize> {
        self.push(name.into(), shape, false)
    }

    /// As [`Parameters::add`], with weight decay.
    pub(crate) fn add_decaying(&mut self, name: impl Into<String>, shape: &[usize]) -> Range<usize> {
        self.push(name.into(), shape, true)
    }

    fn push(&mut self, name: String, shape: &[usize], decays: bool) -> Range<usize> {
        let range = self.len()..self.len() + shape.iter().product::<usize>();
        self.0.push(Parameter { name, shape: shape.to_vec(), range: range.clone(), decays });
        range
    }

    /// How many numbers there are in all.
    pub(crate) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| last.range.end)
    }

    /// The arrays in their order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Parameter> {
        self.0.iter()
    }

    /// Adds a tensor for each array of `values`.
    pub(crate) fn save(&self, values: &[f32], out: &mut Tensors) -> Result<()> {
        for Parameter { name, shape, range, .. } in &self.0 {
            out.insert(name.clone(), tensor(&values[range.clone()], shape)?);
        }
        Ok(())
    }

    /// Reads each array into `values`.
    ///
    /// # Errors
    /// `bad_weights` where one is missing or has another size.
    pub(crate) fn load(&self, tensors: &Tensors, values: &mut [f32]) -> Result<()> {
        self.0.iter().try_for_each(|one| read_into(tensors, &one.name, &mut values[one.range.clone()]))
    }
}

/// `values` as a tensor of this shape.
pub(crate) fn tensor(values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, shape, &Device::Cpu)?)
}

/// Copies tensor `name` to `values`.
///
/// # Errors
/// `bad_weights` where it is missing or has another size.
pub(crate) fn read_into(tensors: &Tensors, name: &str, values: &mut [f32]) -> Result<()> {
    let found = tensors.get(name).map(|t| t.flatten_all()?.to_vec1::<f32>()).transpose()?;
    match found {
        Some(found) if found.len() == values.len() => {
            values.copy_from_slice(&found);
            Ok(())
        }
        _ => Err(Error::unprocessable("bad_weights", format!("the weights lack `{name}` in the right size"))),
    }
}
