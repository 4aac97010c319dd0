//! Weights in and out, by the names and in the layout of the safetensors file.
//!
//! Nothing here transposes or renames: a tensor in a network, in a file and in a pack is the same row-major array.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{AllocationProperty, Bytes, DType, Device, Tensor, TensorData};

use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::source::{Source, check, complete};

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the file.
    pub name: String,
    /// What burn calls it, in gradients for instance; the same in clones and forks of the network.
    pub id: ParamId,
    /// Its shape in the file.
    pub shape: Vec<usize>,
}

/// All tensors of `network`, in the order of [`NetworkConfig::tensors`].
pub fn parameters(network: &Network) -> Vec<Parameter> {
    let mut list = Listing::default();
    visit(network, &mut list);
    list.parameters
}

/// All tensors of `network` as a safetensors file holds them: name, shape, little-endian f32 bytes.
pub fn to_safetensors(network: &Network) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let mut list = Export::default();
    visit(network, &mut list);
    list.tensors
}

/// `network` with every tensor replaced by what `give` has under its name. Ids, devices and what is frozen stay.
///
/// # Errors
/// `Mismatch` when a tensor is missing, has another shape or holds no floats.
pub fn with_weights(network: Network, give: impl FnMut(&str) -> Option<TensorData>) -> Result<Network> {
    let mut replace = Replace { path: Path::default(), give, missing: Vec::new(), wrong: None };
    let network = match network {
        Network::Vit(network) => Network::Vit(network.map(&mut replace)),
        Network::MobileNetV1(network) => Network::MobileNetV1(network.map(&mut replace)),
        Network::ResNet(network) => Network::ResNet(network.map(&mut replace)),
    };
    if let Some(error) = replace.wrong {
        return Err(error);
    }
    complete(&replace.missing)?;
    Ok(network)
}

/// A network whose tensors lie over the byte ranges that `give` has under their names, without a copy.
///
/// The bytes are row-major little-endian f32, a mapped file for instance. They must stay as they are while an inference
/// runs; a tensor whose bytes do not start at a multiple of 4 is copied. burn copies a tensor before writing into it.
///
/// # Errors
/// `Mismatch` when a tensor is missing or has another shape or length; `Usage` for a linearized network; those of
/// [`NetworkConfig::validate`].
pub fn over_mapped(
    config: &NetworkConfig,
    mut give: impl FnMut(&str) -> Option<(bytes::Bytes, Vec<usize>)>,
    device: &Device,
) -> Result<Network> {
    let mut wrong = None;
    let give = |name: &str, _: &[usize]| {
        let (bytes, shape) = give(name)?;
        over(name, bytes, shape).map_err(|error| wrong.get_or_insert(error).clone()).ok()
    };
    let source = Source::gather(config.buildable()?.tensors()?, give, device);
    if let Some(error) = wrong {
        return Err(error);
    }
    Ok(Network::build(config, &mut source?))
}

fn over(name: &str, bytes: bytes::Bytes, shape: Vec<usize>) -> Result<TensorData> {
    let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
    if count.and_then(|count| count.checked_mul(size_of::<f32>())) != Some(bytes.len()) {
        let found = bytes.len();
        return Err(Error::mismatch(format!("tensor `{name}`: shape {shape:?} in f32 does not take {found} bytes")));
    }
    if cfg!(target_endian = "little") && bytes.as_ptr().align_offset(align_of::<f32>()) == 0 {
        let shared = Bytes::from_shared(bytes, AllocationProperty::File);
        return Ok(TensorData::from_bytes(shared, shape, DType::F32));
    }
    let values = bytes.chunks_exact(4).map(|number| f32::from_le_bytes([number[0], number[1], number[2], number[3]]));
    Ok(TensorData::new(values.collect::<Vec<f32>>(), shape))
}

fn visit(network: &Network, visitor: &mut impl ModuleVisitor) {
    match network {
        Network::Vit(network) => network.visit(visitor),
        Network::MobileNetV1(network) => network.visit(visitor),
        Network::ResNet(network) => network.visit(visitor),
    }
}

/// Where a visitor stands: the names of the fields it went through.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str) {
        self.0.push(name.to_string());
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct Listing {
    path: Path,
    parameters: Vec<Parameter>,
}

impl ModuleVisitor for Listing {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let shape = parameter.lazy_shape().to_vec();
        self.parameters.push(Parameter { name: self.path.name(), id: parameter.id, shape });
    }
}

#[derive(Default)]
struct Export {
    path: Path,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl ModuleVisitor for Export {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let values = parameter.val().into_data().convert::<f32>();
        let bytes = values.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        self.tensors.push((self.path.name(), values.shape().to_vec(), bytes));
    }
}

struct Replace<F> {
    path: Path,
    give: F,
    missing: Vec<String>,
    wrong: Option<Error>,
}

impl<F: FnMut(&str) -> Option<TensorData>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let Some(data) = (self.give)(&name) else {
            self.missing.push(name);
            return parameter;
        };
        if let Err(error) = check(&name, &parameter.lazy_shape().to_vec(), &data) {
            self.wrong.get_or_insert(error);
            return parameter;
        }
        parameter.map(|old| Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad()))
    }
}
