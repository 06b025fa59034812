//! Where a network is trained: by the kernels on the CPU, or by candle on a device.

use crate::data::warning::{Warning, WarningCode};
use crate::device::{DeviceName, free_bytes};
use crate::learning::Engine;
use crate::models::Learner;
use crate::models::autograd::DeviceLearner;
use crate::{Detail, Error, Result};
use candle_core::Device;
use serde_json::{Map, Value};

/// A learner where it is trained.
pub(super) struct Placed {
    pub(super) learner: Box<dyn Learner>,
    pub(super) device: DeviceName,
    /// Why it is not the requested device.
    pub(super) warning: Option<Warning>,
}

/// What the setting `engine` selects.
fn engine(config: &Map<String, Value>) -> Engine {
    match config.get("engine").and_then(Value::as_str) {
        Some("kernels") => Engine::Kernels,
        Some("candle") => Engine::Candle,
        _ => Engine::Auto,
    }
}

/// The warning that a training is on the CPU because of `reason`.
pub(super) fn fallback(wanted: DeviceName, reason: &str) -> Warning {
    let detail = format!("the model was trained on the CPU and not on {wanted}: {reason}");
    Warning::new(WarningCode::DeviceFallback, None, detail)
}

/// Places what `make` makes on the device `wanted`, as far as `config` and the family allow; `meet` gives it the rows that it
/// will learn.
///
/// # Errors
/// `bad_setting` where `config` requires candle and the family cannot be trained by it.
pub(super) fn placed(
    wanted: DeviceName,
    config: &Map<String, Value>,
    make: impl Fn() -> Result<Box<dyn Learner>>,
    meet: impl Fn(&mut DeviceLearner) -> Result<()>,
) -> Result<Placed> {
    let (engine, wanted) = (engine(config), wanted.resolved());
    if engine.is_kernels(wanted) {
        return Ok(Placed { learner: make()?, device: DeviceName::Cpu, warning: None });
    }
    let (device, name, warning) = match wanted.open() {
        Ok(device) => (device, wanted, None),
        Err(reason) => (Device::Cpu, DeviceName::Cpu, Some(fallback(wanted, &reason))),
    };
    if warning.is_some() && engine == Engine::Auto {
        return Ok(Placed { learner: make()?, device: name, warning });
    }
    let mut learner = match DeviceLearner::new(make()?, device.clone()) {
        Ok(learner) => learner,
        Err(reason) if engine == Engine::Candle => {
            let detail = format!("engine cannot be candle here: {reason}");
            let details = [Detail::path("config.engine", reason)];
            return Err(Error::unprocessable("bad_setting", detail).with_details(details));
        }
        Err(reason) => {
            let warning = Some(fallback(wanted, reason));
            return Ok(Placed { learner: make()?, device: DeviceName::Cpu, warning });
        }
    };
    meet(&mut learner)?;
    let (needed, free) = (learner.device_bytes(), free_bytes(&device));
    if let Some(free) = free.filter(|&free| free < needed) {
        let mib = |bytes: u64| bytes >> 20;
        let reason = format!("it takes about {} MiB and {} MiB are free there", mib(needed), mib(free));
        let warning = Some(fallback(wanted, &reason));
        return Ok(Placed { learner: make()?, device: DeviceName::Cpu, warning });
    }
    Ok(Placed { learner: Box::new(learner), device: name, warning })
}
