//! Execution providers of ONNX Runtime by name, and what is known of each before it is asked.
//!
//! What is known is little on purpose: whether its weights can be edited is found out on the device (see
//! `capability.rs`), never read from a table.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

#[cfg(feature = "ort")]
use super::Tier;
use crate::error::{Error, ErrorKind};

/// Which execution provider computes, and on which of its devices: `cpu`, `openvino`, `openvino:NPU`, `cuda:1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Provider {
    /// The provider.
    pub name: ProviderName,
    /// Which of its devices, in its own words; none for its default. For OpenVINO a device type (default: `CPU`), for
    /// QNN the path of a backend library (default: what the library takes), for CUDA, TensorRT, DirectML and WebGPU a
    /// number. The others have no choice of devices.
    pub device: Option<String>,
}

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProviderName {
    /// The library's own kernels, in every library.
    Cpu,
    /// Intel's CPUs, GPUs and NPUs.
    OpenVino,
    /// Google's kernels for ARM and x86.
    Xnnpack,
    /// Qualcomm's NPUs.
    Qnn,
    /// Android's neural networks interface.
    Nnapi,
    /// Apple's neural engine and GPUs.
    CoreMl,
    /// NVIDIA's optimizing compiler for its GPUs.
    TensorRt,
    /// NVIDIA's GPUs.
    Cuda,
    /// Windows' GPUs and NPUs.
    DirectMl,
    /// GPUs through Vulkan, Metal or Direct3D.
    WebGpu,
}

impl ProviderName {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Cpu,
        Self::OpenVino,
        Self::Xnnpack,
        Self::Qnn,
        Self::Nnapi,
        Self::CoreMl,
        Self::TensorRt,
        Self::Cuda,
        Self::DirectMl,
        Self::WebGpu,
    ];

    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Xnnpack => "xnnpack",
            Self::Qnn => "qnn",
            Self::Nnapi => "nnapi",
            Self::CoreMl => "coreml",
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::DirectMl => "directml",
            Self::WebGpu => "webgpu",
        }
    }

    /// Tiers in the order in which they are tried.
    ///
    /// The CPU provider gives inputs precedence over their defaults, as ONNX Runtime's contract has it. OpenVINO takes
    /// the defaults for constants and is not alone in being allowed to: a provider compiles what it is given. So the
    /// others are not given any.
    #[cfg(feature = "ort")]
    pub(crate) fn tiers(self) -> &'static [Tier] {
        match self {
            Self::Cpu => &[Tier::Inputs],
            _ => &[Tier::BareInputs, Tier::Rebuild],
        }
    }

    /// Whether one session may compute for several callers at once. Where that is not said, one waits for the other.
    ///
    /// XNNPACK, DirectML and WebGPU say in their sources that they cannot (`ConcurrentRunSupported`); QNN, NNAPI and
    /// CoreML do not say it and were not tried.
    #[cfg(feature = "ort")]
    pub(crate) fn computes_for_several(self) -> bool {
        matches!(self, Self::Cpu | Self::OpenVino | Self::Cuda | Self::TensorRt)
    }
}

impl Provider {
    /// The provider of every library.
    pub const CPU: Self = Self { name: ProviderName::Cpu, device: None };
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Self {
        Self { name, device: None }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            None => self.name.fmt(f),
            Some(device) => write!(f, "{}:{device}", self.name),
        }
    }
}

impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Provider {
    type Err = Error;

    /// `NAME` or `NAME:DEVICE`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, device) = match text.split_once(':') {
            Some((name, device)) => (name, Some(device)),
            None => (text, None),
        };
        let known = ProviderName::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name));
        let Some(name) = known else {
            let names = ProviderName::ALL.map(ProviderName::as_str).join(", ");
            return Err(Error::new(ErrorKind::Usage, format!("execution provider `{name}`, expected one of {names}")));
        };
        let refused = |expected: &str| {
            let clause = format!("execution provider `{name}`: device `{}`, expected {expected}", device.unwrap_or(""));
            Error::new(ErrorKind::Usage, clause)
        };
        match (name, device) {
            (_, None) => {}
            // A NUL ends the text too early on its way into the library.
            (_, Some(device)) if device.is_empty() || device.contains('\0') => return Err(refused("a name")),
            (ProviderName::OpenVino | ProviderName::Qnn, Some(_)) => {}
            (
                ProviderName::Cuda | ProviderName::TensorRt | ProviderName::DirectMl | ProviderName::WebGpu,
                Some(number),
            ) => {
                number.parse::<u16>().map_err(|_| refused("its number, from 0"))?;
            }
            (_, Some(_)) => return Err(refused("none: it has no choice of devices")),
        }
        Ok(Self { name, device: device.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        let typed = ["cpu", "openvino:NPU", "cuda:1", "qnn:/opt/libQnnHtp.so", "webgpu"];
        for text in typed.into_iter().chain(ProviderName::ALL.map(ProviderName::as_str)) {
            assert_eq!(text.parse::<Provider>().unwrap().to_string(), text);
        }
        assert_eq!("OpenVINO".parse::<Provider>().unwrap().to_string(), "openvino");
    }

    #[test]
    fn unknown_names_and_devices_that_cannot_be_are_refused() {
        for text in ["", "gpu", "cpu:0", "openvino:", "cuda:first", "cuda:-1", "nnapi:0", "openvino:N\0PU"] {
            assert_eq!(text.parse::<Provider>().unwrap_err().kind(), ErrorKind::Usage, "{text:?}");
        }
    }
}
