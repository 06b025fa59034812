//! Numbers as named tensors and back; those that are read are untrusted.

use crate::nn::Tensors;
use crate::{Error, Result};
use candle_core::{Device, Tensor, WithDType};

/// Adds numbers under a name. An empty list is left out, because some readers do not accept it.
pub(in crate::models) fn put<T: WithDType>(out: &mut Tensors, name: &str, values: &[T]) -> Result<()> {
    if !values.is_empty() {
        out.insert(name.to_owned(), Tensor::from_slice(values, values.len(), &Device::Cpu)?);
    }
    Ok(())
}

/// The numbers under a name; none where there is no such tensor.
pub(in crate::models) fn get<T: WithDType>(tensors: &Tensors, name: &str) -> Result<Vec<T>> {
    let Some(tensor) = tensors.get(name) else { return Ok(Vec::new()) };
    tensor.flatten_all().and_then(|t| t.to_vec1()).map_err(|_| bad(name))
}

/// An imported tensor that does not fit.
pub(in crate::models) fn bad(what: &str) -> Error {
    Error::unprocessable("bad_model", format!("the model's {what} does not fit"))
}
