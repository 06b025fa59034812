//! What computes a network: Kenyon's kernels on the CPU, or candle on a device. Trainings are placed by `fit::placement`, networks
//! that answer many rows here.

use super::Bundle;
use crate::data::warning::{Warning, WarningCode};
use crate::device::{DeviceName, free_bytes};
use crate::models::candle::TokenModule;
use crate::models::candle_network::{CandleNetwork, DeviceFailure, form_on};
use crate::{Detail, Error, Result};
use candle_core::Device;
use serde::{Deserialize, Serialize};

/// Bytes that a device needs beside weights, about: its own context and operations, and the values of some rows.
const BESIDE: u64 = 512 << 20;

/// What computes a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Candle on a device, the kernels on the CPU.
    #[default]
    Auto,
    /// The kernels, on the CPU whatever the device.
    Kernels,
    /// Candle, also on the CPU.
    Candle,
}

impl Engine {
    /// Whether it is the kernels where the device is `wanted`.
    pub(super) fn is_kernels(self, wanted: DeviceName) -> bool {
        self == Self::Kernels || (self == Self::Auto && wanted == DeviceName::Cpu)
    }
}

/// A model where it answers.
#[derive(Debug)]
pub struct PlacedBundle {
    /// The model.
    pub bundle: Bundle,
    /// Its device at first.
    pub device: DeviceName,
    wanted: DeviceName,
    /// Why it is not the requested device.
    absent: Option<String>,
    failure: DeviceFailure,
}

impl PlacedBundle {
    fn on_cpu(bundle: Bundle, wanted: DeviceName, absent: Option<String>) -> Self {
        Self { bundle, device: DeviceName::Cpu, wanted, absent, failure: DeviceFailure::default() }
    }

    /// Where rows were not answered on the requested device, so far.
    pub fn warning(&self) -> Option<Warning> {
        let reason = self.absent.as_ref().or_else(|| self.failure.get())?;
        let detail = format!("rows were answered on the CPU and not on {}: {reason}", self.wanted);
        Some(Warning::new(WarningCode::DeviceFallback, None, detail))
    }
}

impl Bundle {
    /// Places the network where it answers many rows: on the device `wanted`, as far as `engine` and the family allow.
    /// Calibration and novelty are those of the kernels, whose answers differ by rounding.
    ///
    /// # Errors
    /// `bad_setting` where `engine` requires candle and the network does not answer by it.
    pub fn placed(self, wanted: DeviceName, engine: Engine) -> Result<PlacedBundle> {
        let wanted = wanted.resolved();
        if engine.is_kernels(wanted) {
            return Ok(PlacedBundle::on_cpu(self, wanted, None));
        }
        let (device, name, absent) = match wanted.open() {
            Ok(device) => (device, wanted, None),
            Err(reason) => (Device::Cpu, DeviceName::Cpu, Some(reason)),
        };
        if absent.is_some() && engine == Engine::Auto {
            return Ok(PlacedBundle::on_cpu(self, wanted, absent));
        }
        match self.form_on(&device) {
            Ok(form) => {
                let mut failure = DeviceFailure::default();
                let bundle = self.with_network(|kernels| {
                    let network = CandleNetwork::new(kernels, form, device);
                    failure = network.failure();
                    Box::new(network)
                });
                Ok(PlacedBundle { bundle, device: name, wanted, absent, failure })
            }
            Err(reason) if engine == Engine::Candle => {
                let detail = format!("engine cannot be candle here: {reason}");
                Err(Error::unprocessable("bad_setting", detail).with_details([Detail::path("engine", reason)]))
            }
            Err(reason) => Ok(PlacedBundle::on_cpu(self, wanted, Some(reason))),
        }
    }

    fn form_on(&self, device: &Device) -> Result<Box<dyn TokenModule>, String> {
        let config = self.candle().map_err(|error| error.detail)?;
        let weights = self.network.save().map_err(|error| error.detail)?;
        let bytes: usize = weights.values().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum();
        let needed = bytes as u64 + BESIDE;
        if let Some(free) = free_bytes(device).filter(|&free| free < needed) {
            return Err(format!("it takes about {} MiB and {} MiB are free there", needed >> 20, free >> 20));
        }
        form_on(&*config, weights, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::fixtures::trained;

    fn placed(bundle: Bundle, wanted: DeviceName, engine: Engine) -> PlacedBundle {
        bundle.placed(wanted, engine).unwrap()
    }

    #[test]
    fn candle_answers_as_the_kernels_do_with_the_same_novelty() {
        for family in ["sparse_mlp", "attention", "memory"] {
            let (bundle, table) = trained(Some(family));
            let batch = bundle.encode(&table).unwrap();
            let kernels = bundle.run(&batch).unwrap();
            let candle = placed(bundle, DeviceName::Cpu, Engine::Candle);
            assert_eq!((candle.device, candle.warning()), (DeviceName::Cpu, None));
            let answers = candle.bundle.run(&batch).unwrap();
            let near = |a: &[f32], b: &[f32], most: f32| {
                assert_eq!(a.len(), b.len(), "{family}");
                let far = a.iter().zip(b).filter(|(a, b)| (*a - *b).abs() > most).count();
                assert!(far <= a.len() / 100, "{family}: {far} of {}", a.len());
            };
            near(&answers.values, &kernels.values, 1e-3);
            // Novelty is a rank among few rows: codes that differ by rounding may change places.
            let apart: f32 = answers.novelty.iter().zip(&kernels.novelty).map(|(a, b)| (a - b).abs()).sum();
            assert!(apart < 0.02 * kernels.novelty.len() as f32, "{family}: {apart}");
            assert_eq!(candle.bundle.run(&bundle_rows(&batch, 0)).unwrap().values, Vec::<f32>::new());
        }
    }

    fn bundle_rows(batch: &crate::data::Batch, rows: usize) -> crate::data::Batch {
        batch.select(&(0..rows).collect::<Vec<_>>())
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_there_is_a_warning_and_the_kernels_answer() {
        let (bundle, table) = trained(Some("sparse_mlp"));
        let batch = bundle.encode(&table).unwrap();
        let expected = bundle.run(&batch).unwrap();
        let absent = placed(bundle, DeviceName::Cuda(1), Engine::Auto);
        assert!(absent.warning().unwrap().detail.contains("not on cuda:1"), "{:?}", absent.warning());
        assert_eq!((absent.device, absent.bundle.run(&batch).unwrap()), (DeviceName::Cpu, expected));
        let kernels = placed(absent.bundle, DeviceName::Cuda(1), Engine::Kernels);
        assert_eq!(kernels.warning(), None);
    }

    #[test]
    fn a_family_that_a_device_does_not_help_refuses_candle() {
        let (bundle, _) = trained(Some("hybrid"));
        let refused = bundle.placed(DeviceName::Cpu, Engine::Candle).unwrap_err();
        assert_eq!((refused.code, refused.details[0].path.as_deref()), ("bad_setting", Some("engine")));
    }
}
