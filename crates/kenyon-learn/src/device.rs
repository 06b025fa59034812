//! The device that tensors of a training are on: its name in settings, whether it is there, and its memory.

use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A device by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU where this build has one, else the processor.
    Auto,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
    /// The GPU of an Apple computer.
    Metal,
}

impl DeviceName {
    /// The name of a device: for [`Self::Auto`] the first one that can be opened.
    #[must_use]
    pub fn resolved(self) -> Self {
        let open = |name: &Self| name.open().is_ok();
        match self {
            Self::Auto => [Self::Cuda(0), Self::Metal].into_iter().find(open).unwrap_or(Self::Cpu),
            name => name,
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// Why it is not there, for a person.
    pub fn open(self) -> Result<Device, String> {
        let without = |feature: &str| Err(format!("{self} needs a build with --features {feature}"));
        let opened = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Auto => return self.resolved().open(),
            Self::Cuda(_) if !cfg!(feature = "cuda") => return without("cuda"),
            Self::Metal if !cfg!(feature = "metal") => return without("metal"),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal => Device::new_metal(0),
        };
        opened.map_err(|error| format!("{self} cannot be opened: {error}"))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Auto => f.write_str("auto"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("'{text}' is no device: cpu, cuda, cuda:N, metal or auto");
        Ok(match text {
            "cpu" => Self::Cpu,
            "auto" => Self::Auto,
            "metal" => Self::Metal,
            "cuda" => Self::Cuda(0),
            _ => Self::Cuda(text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(unknown)?),
        })
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

/// Bytes of memory that are free on `device`, where it reports them.
pub fn free_bytes(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let stream = device.cuda_stream();
            let context = stream.context();
            context.mem_get_info().ok().map(|(free, _)| free as u64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        for (text, name) in [
            ("cpu", DeviceName::Cpu),
            ("auto", DeviceName::Auto),
            ("cuda:3", DeviceName::Cuda(3)),
            ("metal", DeviceName::Metal),
        ] {
            assert_eq!((text.parse(), name.to_string()), (Ok(name), text.to_owned()));
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<DeviceName>(&json).unwrap(), name);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert!("cuda:x".parse::<DeviceName>().unwrap_err().contains("cuda:N"));
        assert!(serde_json::from_str::<DeviceName>("\"tpu\"").is_err());
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_build_without_a_device_says_so() {
        assert_eq!(DeviceName::Auto.resolved(), DeviceName::Cpu);
        assert!(DeviceName::Cpu.open().unwrap().is_cpu());
        assert!(DeviceName::Cuda(1).open().unwrap_err().contains("--features cuda"));
        assert!(DeviceName::Metal.open().unwrap_err().contains("--features metal"));
        assert_eq!(free_bytes(&Device::Cpu), None);
    }
}
