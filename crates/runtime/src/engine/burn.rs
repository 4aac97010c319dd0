//! burn on the CPU: pure Rust, no shared library to find, its tensors over the composed mapping.
//!
//! A network is built over the mapping of each composition, which costs less than a millisecond. f32 tensors lie over the
//! mapping without a copy. burn computes in f32: f16 and bf16 tensors are widened when the network is built, which takes
//! 4 bytes of memory for each of their elements and each composition; ONNX Runtime is the better engine for such a base.

use bytes::Bytes;
use taskvec_networks::{Network, NetworkConfig, over_mapped};
use taskvec_pack::Dtype;

use burn::tensor::{Device, Tensor, TensorData};

use super::{Engine, EngineKind, EngineReport, Fallback, Inference};
use crate::base_model::{BaseModel, BaseTensor};
use crate::error::{Error, ErrorKind};
use crate::weights::Weights;

/// burn, and the network that a base describes.
pub(super) struct BurnEngine {
    config: NetworkConfig,
    image: [usize; 3],
    device: Device,
    report: EngineReport,
}

/// A network of burn over the mapping of one composition.
struct Built {
    network: Network,
    image: [usize; 3],
    device: Device,
}

impl BurnEngine {
    /// Opens it for `base`; `in_place_of` is why another engine, which was preferred, is not used.
    ///
    /// # Errors
    /// `Unsupported` when the base's network is of no family that this version has; `Mismatch` when it takes or gives
    /// other shapes than the base says.
    pub(super) fn open(base: &BaseModel, in_place_of: Option<&Error>) -> Result<Self, Error> {
        let config: NetworkConfig = serde_json::from_value(base.network().clone()).map_err(|cause| {
            Error::new(ErrorKind::Unsupported, "`base.json`: the network is not one that the burn engine has")
                .with_help("use ONNX Runtime, or a newer version of taskvec")
                .with_source(cause)
        })?;
        let pictures = base.pictures()?;
        let (network, described) = (config.input_shape(), pictures.shape());
        if network != described || config.feature_width() != pictures.feature_width() {
            let clause = format!(
                "`base.json`: the network takes {network:?} and gives {} features, expected {described:?} and {}",
                config.feature_width(),
                pictures.feature_width()
            );
            return Err(Error::new(ErrorKind::Mismatch, clause).with_help("copy the bundle again"));
        }
        let mut report = EngineReport { threads: Some(1), ..EngineReport::named("burn") };
        if let Some(cause) = in_place_of {
            report.reason = "ONNX Runtime cannot be used".to_owned();
            report.fallbacks = vec![Fallback { tried: "ONNX Runtime".to_owned(), reason: cause.chain() }];
        }
        Ok(Self { config, image: described, device: Device::flex(), report })
    }
}

impl Engine for BurnEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Burn
    }

    fn describe(&self) -> String {
        match self.report.fallbacks.first() {
            None => "burn on the CPU, 1 thread".to_owned(),
            Some(Fallback { reason, .. }) => format!("burn on the CPU, 1 thread (ONNX Runtime is not used: {reason})"),
        }
    }

    fn report(&self) -> EngineReport {
        self.report.clone()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        let network = build(&self.config, weights, &self.device)?;
        Ok(Box::new(Built { network, image: self.image, device: self.device.clone() }))
    }
}

impl Inference for Built {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        let [channels, height, width] = self.image;
        let pixels = TensorData::new(pixels.to_vec(), [batch, channels, height, width]);
        let features = self.network.features(Tensor::from_data(pixels, &self.device));
        features.into_data().try_into_vec::<f32>().map_err(|cause| {
            Error::new(ErrorKind::Unsupported, "burn gave features that are no f32").with_source(format!("{cause:?}"))
        })
    }
}

fn build(config: &NetworkConfig, weights: &Weights, device: &Device) -> Result<Network, Error> {
    let all = Bytes::from_owner(weights.reader());
    let give = |name: &str| {
        let tensor = weights.base().tensor(name)?;
        let shape = tensor.shape.iter().map(|&side| usize::try_from(side)).collect::<Result<_, _>>().ok()?;
        Some((values_of(tensor, &all)?, shape))
    };
    over_mapped(config, give, device).map_err(|cause| {
        Error::new(ErrorKind::Mismatch, "the base's weights and its network do not belong together")
            .with_help("copy the bundle again")
            .with_source(cause)
    })
}

/// The tensor's values as f32 bytes: the mapping itself, or a widened copy.
fn values_of(tensor: &BaseTensor, all: &Bytes) -> Option<Bytes> {
    let bytes = all.slice(tensor.place.clone());
    match tensor.dtype {
        _ if tensor.quantization.is_some() => None,
        Dtype::F32 => Some(bytes),
        Dtype::F16 => Some(widened::<taskvec_arithmetic::F16>(&bytes)),
        Dtype::BF16 => Some(widened::<taskvec_arithmetic::Bf16>(&bytes)),
        _ => None,
    }
}

fn widened<N: taskvec_arithmetic::Narrow16>(bytes: &Bytes) -> Bytes {
    let narrow: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let mut wide = vec![0.0f32; narrow.len()];
    taskvec_arithmetic::widen::<N>(&narrow, &mut wide);
    Bytes::from_owner(Widened(wide))
}

/// Keeps widened values at an address that suits f32.
struct Widened(Vec<f32>);

impl AsRef<[u8]> for Widened {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}
