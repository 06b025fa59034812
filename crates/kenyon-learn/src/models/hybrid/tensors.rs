//! Conversion of a `hybrid` to named tensors and back; they are untrusted.

use super::SegmentPlan;
use crate::nn::Tensors;
use crate::nn::layers::local_groups::{CodeSegment, LocalGroups, Patches};
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::{Sums, SumsParts};
use crate::{Error, Result};
use candle_core::{Device, Tensor, WithDType};

pub(super) fn save_readout(readout: &Readout, seed: u64) -> Result<Tensors> {
    let mut out = Tensors::new();
    put(&mut out, "readout.weights", &readout.weights)?;
    put(&mut out, "readout.bias", &readout.bias)?;
    put(&mut out, "seed", &seed.to_le_bytes())?;
    Ok(out)
}

pub(super) fn save_filters(groups: &LocalGroups, out: &mut Tensors) -> Result<()> {
    for (number, part) in groups.parts.iter().enumerate() {
        if let CodeSegment::Patches(patches) = part {
            put(out, &format!("filters.{number}"), &patches.filters)?;
            put(out, &format!("floor.{number}"), &[patches.floor])?;
        }
    }
    Ok(())
}

pub(super) fn load_groups(plans: &[SegmentPlan], tensors: &Tensors) -> Result<LocalGroups> {
    let mut parts = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        parts.push(match plan {
            SegmentPlan::Ready(part) => part.clone(),
            SegmentPlan::Patches(shape) => {
                let filters: Vec<f32> = get(tensors, &format!("filters.{number}"))?;
                let floor: Vec<f32> = get(tensors, &format!("floor.{number}"))?;
                if filters.len() != shape.inputs() * shape.units || floor.len() != 1 {
                    return Err(bad("filters"));
                }
                CodeSegment::Patches(Patches { shape: shape.clone(), filters, floor: floor[0] })
            }
        });
    }
    Ok(LocalGroups { parts })
}

pub(super) fn save_sums(sums: &Sums, out: &mut Tensors) -> Result<()> {
    let parts = sums.to_parts();
    put(out, "sums.width", &[parts.width as u32])?;
    put(out, "sums.scatter", &parts.scatter)?;
    put(out, "sums.classes", &parts.sums)?;
    put(out, "sums.counts", &parts.counts)?;
    put(out, "sums.unlabelled", &parts.unlabelled)?;
    put(out, "sums.waiting", &parts.waiting)?;
    put(out, "sums.moments", &parts.moments)
}

pub(super) fn load_sums(tensors: &Tensors) -> Result<Option<Sums>> {
    if !tensors.contains_key("sums.width") {
        return Ok(None);
    }
    let width: Vec<u32> = get(tensors, "sums.width")?;
    let parts = SumsParts {
        width: width.first().copied().unwrap_or(0) as usize,
        scatter: get(tensors, "sums.scatter")?,
        sums: get(tensors, "sums.classes")?,
        counts: get(tensors, "sums.counts")?,
        unlabelled: get(tensors, "sums.unlabelled")?,
        waiting: get(tensors, "sums.waiting")?,
        moments: get(tensors, "sums.moments")?,
    };
    Sums::from_parts(parts).map(Some)
}

/// Adds numbers under a name. An empty list is left out, because some readers do not accept it.
pub(super) fn put<T: WithDType>(out: &mut Tensors, name: &str, values: &[T]) -> Result<()> {
    if !values.is_empty() {
        out.insert(name.to_owned(), Tensor::from_slice(values, values.len(), &Device::Cpu)?);
    }
    Ok(())
}

pub(super) fn get<T: WithDType>(tensors: &Tensors, name: &str) -> Result<Vec<T>> {
    let Some(tensor) = tensors.get(name) else { return Ok(Vec::new()) };
    tensor.flatten_all().and_then(|t| t.to_vec1()).map_err(|_| bad(name))
}

pub(super) fn bad(what: &str) -> Error {
    Error::unprocessable("bad_model", format!("the hybrid's {what} does not fit"))
}
