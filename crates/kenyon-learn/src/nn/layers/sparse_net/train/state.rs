//! The complete state of a training, as tensors.

use super::trainer::Trainer;
use crate::Result;
use crate::nn::Tensors;
use crate::nn::kernels::Lane;
use crate::nn::layers::sparse_net::layer::UnitBlock;
use crate::nn::layers::sparse_net::saved::values;
use candle_core::{Device, Tensor};

impl Trainer {
    /// The complete state of this training.
    pub(crate) fn state(&self) -> Result<Tensors> {
        let device = &Device::Cpu;
        let mut tensors = self.net.save()?;
        for (name, layer) in self.net.layers() {
            if layer.has_moments() {
                let [first, second] = layer.plain_moments();
                let shape = (layer.inputs, layer.units);
                tensors.insert(format!("{name}.first"), Tensor::from_vec(first, shape, device)?);
                tensors.insert(format!("{name}.second"), Tensor::from_vec(second, shape, device)?);
            }
            for (what, lane) in LANES {
                let plain = layer.plain_lane(lane);
                tensors.insert(format!("{name}.{what}"), Tensor::from_vec(plain, layer.units, device)?);
            }
        }
        let counters = vec![u32::from(self.scaled), self.adam_steps as u32, (self.adam_steps >> 32) as u32];
        tensors.insert("counters".to_owned(), Tensor::new(counters, device)?);
        tensors.insert("line_scale".to_owned(), Tensor::new(&[self.line_scale], device)?);
        Ok(tensors)
    }

    /// Continues from [`Self::state`]; sizes must be the same.
    pub(crate) fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.net.load(state)?;
        for (name, layer) in self.net.layers_mut() {
            if state.contains_key(&format!("{name}.first")) {
                let size = layer.inputs * layer.units;
                let first = values(state, &format!("{name}.first"), size)?;
                let second = values(state, &format!("{name}.second"), size)?;
                layer.set_plain_moments(&first, &second);
            }
            for (what, lane) in LANES_MUT {
                layer.set_plain_lane(&values(state, &format!("{name}.{what}"), layer.units)?, lane);
            }
        }
        let counters = state.get("counters").map(Tensor::to_vec1::<u32>).transpose()?;
        if let Some([scaled, low, high]) = counters.as_deref() {
            self.scaled = *scaled != 0;
            self.adam_steps = u64::from(*high) << 32 | u64::from(*low);
        }
        self.line_scale = values(state, "line_scale", 1)?[0];
        Ok(())
    }
}

/// The numbers of a unit apart from its weights.
const LANES: [(&str, fn(&UnitBlock) -> &Lane); 5] = [
    ("duty", |unit_block| &unit_block.duty),
    ("boost", |unit_block| &unit_block.boost),
    ("wins", |unit_block| &unit_block.wins),
    ("bias_first", |unit_block| &unit_block.bias_moments[0]),
    ("bias_second", |unit_block| &unit_block.bias_moments[1]),
];

/// As [`LANES`], to change.
const LANES_MUT: [(&str, fn(&mut UnitBlock) -> &mut Lane); 5] = [
    ("duty", |unit_block| &mut unit_block.duty),
    ("boost", |unit_block| &mut unit_block.boost),
    ("wins", |unit_block| &mut unit_block.wins),
    ("bias_first", |unit_block| &mut unit_block.bias_moments[0]),
    ("bias_second", |unit_block| &mut unit_block.bias_moments[1]),
];
