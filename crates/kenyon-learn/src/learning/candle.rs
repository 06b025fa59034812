//! From a bundle to its candle form, and back with other weights.

use super::bundle::{Bundle, bad, is_finite};
use crate::Result;
use crate::models::candle::TokenConfig;
use candle_core::{Device, Tensor};

impl Bundle {
    /// The configuration of the model's candle form; its weights are in the bundle's `weights.safetensors` under
    /// `network.`.
    ///
    /// # Errors
    /// Networks that have none: those of streams that have not learned anything yet.
    pub fn candle(&self) -> Result<Box<dyn TokenConfig>> {
        let tensors = self.network.save()?;
        self.config.family.candle(&self.config.saved(&self.encoder, &tensors))
    }

    /// The same model with other weights, by their paths in `weights.safetensors` or without `network.`. Calibration,
    /// novelty and importance stay as they were measured before.
    ///
    /// # Errors
    /// Weights of another network.
    pub fn with_weights(self, weights: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self> {
        let mut tensors = self.network.save()?;
        // Members of an ensemble could no longer answer singly.
        tensors.retain(|name, _| !name.starts_with("members."));
        for (name, tensor) in weights {
            let name = name.strip_prefix("network.").unwrap_or(&name);
            match tensors.get_mut(name) {
                Some(own) if own.dims() == tensor.dims() && own.dtype() == tensor.dtype() && is_finite(&tensor) => {
                    *own = tensor.to_device(&Device::Cpu)?.detach().copy()?;
                }
                Some(own) => return Err(bad(format!("{name} is {:?} of finite numbers in this model", own.dims()))),
                None => return Err(bad(format!("the model has no weights named {name}"))),
            }
        }
        let network = self.config.family.load(&self.config.saved(&self.encoder, &tensors))?;
        Ok(Self::new(self.config, self.encoder, network, self.novelty).with_background(self.background))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::fixtures::trained;

    #[test]
    fn other_weights_replace_those_of_the_network_and_nothing_else_does() {
        let (bundle, cpu) = (trained(None).0, Device::Cpu);
        let before = bundle.network.save().unwrap();
        assert!(before.keys().any(|name| name.starts_with("members.")), "a cross-fitted ensemble");
        let twice = (&before["readout.weight"] * 2.0).unwrap();
        let changed = bundle.with_weights([("network.readout.weight".to_owned(), twice.clone())]).unwrap();
        let after = changed.network.save().unwrap();
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(&after["readout.weight"]), numbers(&twice));
        assert_eq!(numbers(&after["hidden.0.weight"]), numbers(&before["hidden.0.weight"]));
        assert!(after.keys().all(|name| !name.starts_with("members.")), "the members have other weights");
        let files = changed.files().unwrap();
        let file = |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, bytes)| bytes.as_slice());
        assert_eq!(numbers(&Bundle::load(file).unwrap().network.save().unwrap()["readout.weight"]), numbers(&twice));

        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &cpu).unwrap();
        for (name, tensor) in [
            ("readout.weight", zeros(&[3, 3])),
            ("readout.wait", zeros(twice.dims())),
            ("readout.weight", (&twice * f64::INFINITY).unwrap()),
        ] {
            assert!(trained(None).0.with_weights([(name.to_owned(), tensor)]).is_err(), "{name}");
        }
    }
}
