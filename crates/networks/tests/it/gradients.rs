//! Gradients against finite differences, in every tensor.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use taskvec_networks::{Gelu, Network, NetworkConfig, parameters, to_safetensors, with_weights};

use crate::{host, network, numbers, pixels, tiny};

const BATCH: usize = 3;

/// A smooth function of the features that treats each of them differently.
fn loss(network: &Network, config: &NetworkConfig, device: &Device) -> Tensor<1> {
    let features = network.features(pixels(config, BATCH, device));
    let [batch, width] = features.dims();
    let weights = Tensor::<1>::from_floats(numbers(7, batch * width).as_slice(), device).reshape([batch, width]);
    (features.clone() * weights + features.square().mul_scalar(0.1)).sum()
}

#[derive(Default)]
struct Collect {
    gradients: GradientsParams,
    host: Vec<Vec<f32>>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let gradient = self.gradients.remove::<D>(parameter.id).expect("every tensor has a gradient");
        assert_eq!(gradient.shape(), parameter.shape());
        self.host.push(host(gradient));
    }
}

/// Weights along one direction per tensor: `base + step * direction` for the tensor called `moved`.
pub(crate) fn shifted(network: &Network, moved: &str, direction: &[f32], step: f32) -> Network {
    let tensors = to_safetensors(network);
    let give = |name: &str| {
        let (_, shape, bytes) = tensors.iter().find(|(given, ..)| given == name)?;
        let values = bytes.chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap()));
        let values: Vec<f32> = match name == moved {
            true => values.zip(direction).map(|(value, direction)| value + step * direction).collect(),
            false => values.collect(),
        };
        Some(TensorData::new(values, shape.clone()))
    };
    with_weights(network.clone(), give).unwrap()
}

#[test]
fn gradients_agree_with_finite_differences_in_every_tensor() {
    for gelu in [Gelu::Exact, Gelu::Quick] {
        let config = tiny(gelu);
        let (plain, tracked) = (Device::flex(), Device::flex().autodiff());
        let trained = network(&config, &tracked);
        let gradients = loss(&trained, &config, &tracked).backward();
        let mut collect = Collect { gradients: GradientsParams::from_grads(gradients, &trained), host: Vec::new() };
        trained.visit(&mut collect);
        let still = trained.valid();
        for (parameter, gradient) in parameters(&trained).iter().zip(&collect.host) {
            // Along the gradient the difference is largest, so that rounding matters least.
            let length = gradient.iter().map(|slope| f64::from(slope * slope)).sum::<f64>().sqrt();
            let direction: Vec<f32> = gradient.iter().map(|slope| (f64::from(*slope) / length) as f32).collect();
            let step = 0.02f32;
            let at = |step| {
                let network = shifted(&still, &parameter.name, &direction, step);
                f64::from(host(loss(&network, &config, &plain))[0])
            };
            // Fourth order, so that a large step can drown the rounding of f32.
            let slope = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * f64::from(step));
            let error = (slope - length).abs() / length;
            assert!(error < 2e-3, "{gelu:?} {}: gradient {length:e}, difference {slope:e}", parameter.name);
        }
    }
}

#[test]
fn a_fork_has_the_same_ids_and_the_same_gradients() {
    let config = tiny(Gelu::Exact);
    let device = Device::flex().autodiff();
    let network = network(&config, &device);
    let gradients = |network: Network| {
        let backward = loss(&network, &config, &device).backward();
        let mut collect = Collect { gradients: GradientsParams::from_grads(backward, &network), host: Vec::new() };
        network.visit(&mut collect);
        collect.host
    };
    let fork = network.clone().fork(&device);
    assert_eq!(parameters(&fork), parameters(&network));
    assert_eq!(gradients(fork), gradients(network));
}
