//! The parameters of a network as the leaves of a gradient graph.
//!
//! The network that lives through a run is plain: its tensors know of no gradient. Each graph gets leaves of its own,
//! made here on the thread that uses them. Two threads must never share leaves: burn's autodiff takes its locks in
//! opposite orders when graphs merge and when one is cleaned up, and the two threads wait for each other for ever.
//! Leaves share the numbers with the plain network, so making them costs nothing.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor, TensorData};
use taskvec_networks::{Network, parameters, to_safetensors};

/// One tensor of a network, on the host.
#[derive(Clone, Debug)]
pub(crate) struct HostTensor {
    /// Its name in the file.
    pub(crate) name: String,
    /// What burn calls it.
    pub(crate) id: ParamId,
    /// Its shape in the file.
    pub(crate) shape: Vec<usize>,
    /// Its numbers, row-major.
    pub(crate) values: Vec<f32>,
}

/// All tensors of `network`, in its order.
pub(crate) fn host_tensors(network: &Network) -> Vec<HostTensor> {
    let tensors = parameters(network).into_iter().zip(to_safetensors(network));
    let host = |(parameter, (_, _, bytes)): (taskvec_networks::Parameter, (String, Vec<usize>, Vec<u8>))| HostTensor {
        name: parameter.name,
        id: parameter.id,
        shape: parameter.shape,
        values: bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect(),
    };
    tensors.map(host).collect()
}

/// `network` as leaves of a new graph; a gradient is computed for those for which `learns` is true, and for nothing else.
pub(crate) fn tracked(network: Network, learns: impl Fn(ParamId) -> bool) -> Network {
    network.map(&mut Track { learns })
}

/// `network` with new numbers in some of its parameters.
pub(crate) fn replaced(network: Network, values: HashMap<ParamId, TensorData>) -> Network {
    network.map(&mut Replace { values })
}

/// Takes the gradients out of `gradients` and hands each to `take`, in the order of the network.
pub(crate) fn each_gradient(network: &Network, gradients: &mut Gradients, take: impl FnMut(ParamId, Vec<f32>)) {
    network.visit(&mut Collect { gradients, take });
}

/// The numbers of a tensor, row-major.
pub(crate) fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("networks compute in f32")
}

struct Track<F> {
    learns: F,
}

impl<F: Fn(ParamId) -> bool> ModuleMapper for Track<F> {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let learns = (self.learns)(parameter.id);
        parameter.map(|values| values.autodiff().set_require_grad(learns))
    }
}

struct Replace {
    values: HashMap<ParamId, TensorData>,
}

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.values.remove(&parameter.id) {
            Some(values) => parameter.map(|old| Tensor::from_data(values, &old.device())),
            None => parameter,
        }
    }
}

struct Collect<'a, F> {
    gradients: &'a mut Gradients,
    take: F,
}

impl<F: FnMut(ParamId, Vec<f32>)> ModuleVisitor for Collect<'_, F> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = parameter.val().grad_remove(self.gradients) {
            (self.take)(parameter.id, to_host(gradient));
        }
    }
}
