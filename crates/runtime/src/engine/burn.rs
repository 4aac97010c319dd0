//! burn on the CPU: pure Rust, no shared library to find, its tensors over the composed mapping.
//!
//! A network is built over the mapping of each composition, which costs less than a millisecond. f32 tensors lie over the
//! mapping without a copy. burn computes in f32: f16 and bf16 tensors are widened when the network is built, which takes
//! 4 bytes of memory for each of their elements and each composition; ONNX Runtime is the better engine for such a base.
//!
//! Of a **linearized** base the network lies over the base's own mapping, once for all compositions; a composition is what its tensors
//! differ by, computed when it is made: 4 bytes of memory for each element of the tensors that a skill touches, beside the pages
//! that it has written. Where nothing differs no derivative is computed.

use std::collections::HashMap;

use burn::module::ParamId;
use bytes::Bytes;
use taskvec_networks::{LinearizedConfig, Network, NetworkConfig, Tangent, over_mapped, parameters};
use taskvec_pack::Dtype;

use burn::tensor::{Device, Tensor, TensorData};

use super::{Engine, EngineKind, EngineReport, Fallback, Inference};
use crate::base_model::{BaseModel, BaseTensor};
use crate::error::{Error, ErrorKind};
use crate::weights::Weights;

/// burn, and the network that a base describes.
pub(super) struct BurnEngine {
    kind: Kind,
    image: [usize; 3],
    device: Device,
    report: EngineReport,
}

/// What is computed for a composition.
enum Kind {
    /// The network that is described.
    Whole(NetworkConfig),
    /// This network's linearization; it lies over the base.
    Linearized(Box<Network>),
}

/// A network of burn over the mapping of one composition.
struct Built {
    network: Network,
    /// What its tensors, which are the base's, differ by, flat; those that do not are not there. None unless it is linearized.
    deltas: Option<HashMap<ParamId, Tensor<1>>>,
    image: [usize; 3],
    device: Device,
}

/// Keeps a base mapped.
struct Mapped(BaseModel);

impl BurnEngine {
    /// Opens it for `base`; `in_place_of` is why another engine, which was preferred, is not used.
    ///
    /// # Errors
    /// `Unsupported` when the base's network is of no family that this version has, or linearized and quantized; `Mismatch` when it
    /// takes or gives other shapes than the base says.
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
        let device = Device::flex();
        let kind = match config {
            NetworkConfig::Linearized(_) if base.is_quantized() => {
                let clause = "`base.json`: a quantized base is not linearized, its weights take steps";
                return Err(
                    Error::new(ErrorKind::Unsupported, clause).with_help("use the float base that it stands for")
                );
            }
            NetworkConfig::Linearized(LinearizedConfig { of }) => {
                Kind::Linearized(Box::new(build(&of, base, &Bytes::from_owner(Mapped(base.clone())), &device)?))
            }
            config => Kind::Whole(config),
        };
        Ok(Self { kind, image: described, device, report })
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
        let composed = Bytes::from_owner(weights.reader());
        let (network, deltas) = match &self.kind {
            Kind::Whole(config) => (build(config, weights.base(), &composed, &self.device)?, None),
            Kind::Linearized(base) => ((**base).clone(), Some(deltas(base, weights, &composed, &self.device))),
        };
        Ok(Box::new(Built { network, deltas, image: self.image, device: self.device.clone() }))
    }
}

impl Inference for Built {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        let [channels, height, width] = self.image;
        let pixels = TensorData::new(pixels.to_vec(), [batch, channels, height, width]);
        let pixels = Tensor::from_data(pixels, &self.device);
        let features = match &self.deltas {
            None => self.network.features(pixels),
            Some(deltas) => self.network.linearized_features(&mut Tangent::new(deltas.clone()), pixels),
        };
        features.into_data().try_into_vec::<f32>().map_err(|cause| {
            Error::new(ErrorKind::Unsupported, "burn gave features that are no f32").with_source(format!("{cause:?}"))
        })
    }
}

/// The network over `all`, which is laid out as the base's file is.
fn build(config: &NetworkConfig, base: &BaseModel, all: &Bytes, device: &Device) -> Result<Network, Error> {
    let give = |name: &str| {
        let tensor = base.tensor(name)?;
        let shape = tensor.shape.iter().map(|&side| usize::try_from(side)).collect::<Result<_, _>>().ok()?;
        Some((values_of(tensor, all)?, shape))
    };
    over_mapped(config, give, device).map_err(|cause| {
        Error::new(ErrorKind::Mismatch, "the base's weights and its network do not belong together")
            .with_help("copy the bundle again")
            .with_source(cause)
    })
}

/// What `composed` differs by from the base, by burn's names in `network`, for the tensors that differ at all.
fn deltas(network: &Network, weights: &Weights, composed: &Bytes, device: &Device) -> HashMap<ParamId, Tensor<1>> {
    let base = Bytes::from_owner(Mapped(weights.base().clone()));
    let delta = |parameter: taskvec_networks::Parameter| {
        let number = weights.base().tensor_number(&parameter.name)?;
        weights.touched(number).next()?;
        let tensor = &weights.base().tensors()[number];
        let (now, then) = (values_of(tensor, composed)?, values_of(tensor, &base)?);
        let values: Vec<f32> = numbers(&now).zip(numbers(&then)).map(|(now, then)| now - then).collect();
        let differs = values.iter().any(|&delta| delta != 0.0);
        differs.then(|| (parameter.id, Tensor::from_floats(values.as_slice(), device)))
    };
    parameters(network).into_iter().filter_map(delta).collect()
}

fn numbers(bytes: &Bytes) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|&number| f32::from_le_bytes(number))
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

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
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
