//! Conversion of a `hybrid` to named tensors and back; they are untrusted.

use super::SegmentPlan;
use crate::Result;
use crate::models::tensors::{bad, get, put};
use crate::nn::Tensors;
use crate::nn::layers::local_groups::{CodeSegment, LocalGroups, Patches};
use crate::nn::readouts::Readout;
use crate::nn::readouts::discriminant::{Sums, SumsParts};

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
    save_named_sums(sums, "sums", out)
}

pub(super) fn save_named_sums(sums: &Sums, name: &str, out: &mut Tensors) -> Result<()> {
    let parts = sums.to_parts();
    put(out, &format!("{name}.width"), &[parts.width as u32])?;
    put(out, &format!("{name}.scatter"), &parts.scatter)?;
    put(out, &format!("{name}.classes"), &parts.sums)?;
    put(out, &format!("{name}.counts"), &parts.counts)?;
    put(out, &format!("{name}.unlabelled"), &parts.unlabelled)?;
    put(out, &format!("{name}.waiting"), &parts.waiting)?;
    put(out, &format!("{name}.moments"), &parts.moments)
}

pub(super) fn load_sums(tensors: &Tensors) -> Result<Option<Sums>> {
    load_named_sums(tensors, "sums")
}

pub(super) fn load_named_sums(tensors: &Tensors, name: &str) -> Result<Option<Sums>> {
    if !tensors.contains_key(&format!("{name}.width")) {
        return Ok(None);
    }
    let width: Vec<u32> = get(tensors, &format!("{name}.width"))?;
    let parts = SumsParts {
        width: width.first().copied().unwrap_or(0) as usize,
        scatter: get(tensors, &format!("{name}.scatter"))?,
        sums: get(tensors, &format!("{name}.classes"))?,
        counts: get(tensors, &format!("{name}.counts"))?,
        unlabelled: get(tensors, &format!("{name}.unlabelled"))?,
        waiting: get(tensors, &format!("{name}.waiting"))?,
        moments: get(tensors, &format!("{name}.moments"))?,
    };
    Sums::from_parts(parts).map(Some)
}
