//! The linearized network and the recorded pass, against what they abbreviate.

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use taskvec_networks::{Gelu, Network, NetworkConfig, Recording, Squares, Tangent, parameters};

use crate::gradients::shifted;
use crate::{host, network, numbers, pixels, tiny};

const BATCH: usize = 3;

/// A number for each image: a smooth function of its features that treats each of them differently.
fn scores(features: Tensor<2>) -> Tensor<1> {
    let [_, width] = features.dims();
    let weights = Tensor::<1>::from_floats(numbers(7, width).as_slice(), &features.device()).unsqueeze::<2>();
    (features.clone() * weights + features.square().mul_scalar(0.1)).sum_dim(1).reshape([-1])
}

/// A direction for each parameter, as long as it.
fn directions(network: &Network) -> HashMap<ParamId, Vec<f32>> {
    let direction = |(seed, parameter): (u32, &taskvec_networks::Parameter)| {
        let count = parameter.shape.iter().product();
        (parameter.id, numbers(1000 + seed, count).into_iter().map(|number| 0.1 * number).collect())
    };
    (0..).zip(&parameters(network)).map(direction).collect()
}

fn tangent(directions: &HashMap<ParamId, Vec<f32>>, device: &Device) -> Tangent {
    let tensor = |(id, values): (&ParamId, &Vec<f32>)| (*id, Tensor::from_floats(values.as_slice(), device));
    Tangent::new(directions.iter().map(tensor).collect())
}

fn linearized(network: &Network, config: &NetworkConfig, directions: &HashMap<ParamId, Vec<f32>>) -> Vec<f32> {
    let device = Device::flex();
    host(network.linearized_features(&mut tangent(directions, &device), pixels(config, BATCH, &device)))
}

#[test]
fn the_derivative_along_each_parameter_agrees_with_finite_differences() {
    const STEP: f32 = 0.02;
    for gelu in [Gelu::Exact, Gelu::Quick] {
        let config = tiny(gelu);
        let network = network(&config, &Device::flex());
        let base = host(network.features(pixels(&config, BATCH, &Device::flex())));
        for (name, id) in parameters(&network).into_iter().map(|parameter| (parameter.name, parameter.id)) {
            let direction = directions(&network).remove(&id).unwrap();
            let at = |step| {
                host(shifted(&network, &name, &direction, step).features(pixels(&config, BATCH, &Device::flex())))
            };
            let derivative = linearized(&network, &config, &HashMap::from([(id, direction.clone())]));
            // Fourth order, so that a large step can drown the rounding of f32.
            let (near, far) = ((at(STEP), at(-STEP)), (at(2.0 * STEP), at(-2.0 * STEP)));
            let slope = |at: usize| {
                let near = f64::from(near.0[at]) - f64::from(near.1[at]);
                let far = f64::from(far.0[at]) - f64::from(far.1[at]);
                (8.0 * near - far) / (12.0 * f64::from(STEP))
            };
            let largest = (0..base.len()).map(|at| slope(at).abs()).fold(0.0, f64::max);
            for at in 0..base.len() {
                let found = f64::from(derivative[at]) - f64::from(base[at]);
                assert!((found - slope(at)).abs() < 2e-3 * largest + 2e-5, "{gelu:?} {name}: {found} by {}", slope(at));
            }
        }
    }
}

#[test]
fn the_linearized_network_is_linear_in_the_deltas_and_the_base_at_none() {
    let config = tiny(Gelu::Exact);
    let network = network(&config, &Device::flex());
    let base = host(network.features(pixels(&config, BATCH, &Device::flex())));
    let none = linearized(&network, &config, &HashMap::new());
    let directions = directions(&network);
    let twice = directions.iter().map(|(id, values)| (*id, values.iter().map(|value| 2.0 * value).collect())).collect();
    let (once, twice) = (linearized(&network, &config, &directions), linearized(&network, &config, &twice));
    for at in 0..base.len() {
        assert!((none[at] - base[at]).abs() < 1e-5 * base[at].abs().max(1.0));
        let (one, two) = (once[at] - base[at], twice[at] - base[at]);
        assert!((two - 2.0 * one).abs() < 1e-4 * two.abs().max(1.0), "{one} {two}");
    }
}

/// In exact arithmetic the two are one: the derivative at no delta is the gradient of the network itself.
#[test]
fn at_no_delta_the_gradient_is_that_of_the_network() {
    let config = tiny(Gelu::Exact);
    let (plain, tracked) = (Device::flex(), Device::flex().autodiff());
    let trained = network(&config, &tracked);
    let still = trained.valid();
    let leaf = |parameter: &taskvec_networks::Parameter| {
        let zeros = Tensor::<1>::zeros([parameter.shape.iter().product::<usize>()], &tracked);
        (parameter.id, zeros.require_grad())
    };
    let leaves: HashMap<ParamId, Tensor<1>> = parameters(&still).iter().map(leaf).collect();
    let features = still.linearized_features(&mut Tangent::new(leaves.clone()), pixels(&config, BATCH, &plain));
    let linearized = scores(features).sum().backward();
    let backward = scores(trained.features(pixels(&config, BATCH, &tracked))).sum().backward();
    let mut collect = Collect { gradients: GradientsParams::from_grads(backward, &trained), host: HashMap::new() };
    trained.visit(&mut collect);
    for parameter in parameters(&still) {
        let found = host(leaves[&parameter.id].grad(&linearized).unwrap());
        let expected = &collect.host[&parameter.id];
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4 * largest.max(1e-3), "{}: {found} {expected}", parameter.name);
        }
    }
}

#[test]
fn recorded_squares_are_those_of_each_image_on_its_own() {
    let config = tiny(Gelu::Exact);
    let (plain, tracked) = (Device::flex(), Device::flex().autodiff());
    let trained = network(&config, &tracked);
    let still = trained.valid();
    let wanted: HashSet<ParamId> = parameters(&still).iter().map(|parameter| parameter.id).collect();
    let mut recording = Recording::new(BATCH, wanted);
    let features = still.recorded_features(&mut recording, pixels(&config, BATCH, &plain));
    let mut gradients = scores(features).sum().backward();
    let mut found: HashMap<ParamId, Vec<f32>> = parameters(&still)
        .iter()
        .map(|parameter| (parameter.id, vec![0.0; parameter.shape.iter().product()]))
        .collect();
    for record in recording.finish(&mut gradients) {
        record.squares(&mut |Squares { parameter, first, values }| {
            let sums = &mut found.get_mut(&parameter).unwrap()[first..first + values.len()];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        });
    }
    let mut expected: HashMap<ParamId, Vec<f32>> = HashMap::new();
    for image in 0..BATCH {
        let one = pixels(&config, BATCH, &tracked).narrow(0, image, 1);
        let backward = scores(trained.features(one)).sum().backward();
        let mut collect = Collect { gradients: GradientsParams::from_grads(backward, &trained), host: HashMap::new() };
        trained.visit(&mut collect);
        for (id, gradient) in collect.host {
            let sums = expected.entry(id).or_insert_with(|| vec![0.0; gradient.len()]);
            sums.iter_mut().zip(gradient).for_each(|(sum, slope)| *sum += slope * slope);
        }
    }
    for parameter in parameters(&still) {
        let (found, expected) = (&found[&parameter.id], &expected[&parameter.id]);
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(*value));
        assert!(largest > 0.0, "{}", parameter.name);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4 * largest, "{}: {found} {expected}", parameter.name);
        }
    }
}

#[test]
fn what_is_not_wanted_is_not_recorded() {
    let config = tiny(Gelu::Exact);
    let still = network(&config, &Device::flex());
    let one = parameters(&still).into_iter().find(|parameter| parameter.name == "blocks.0.mlp.fc1.bias").unwrap();
    let mut recording = Recording::new(BATCH, HashSet::from([one.id]));
    let features = still.recorded_features(&mut recording, pixels(&config, BATCH, &Device::flex()));
    let mut gradients = scores(features).sum().backward();
    let records = recording.finish(&mut gradients);
    let mut seen = Vec::new();
    records.iter().for_each(|record| record.squares(&mut |squares| seen.push(squares.parameter)));
    assert_eq!(seen, [one.id]);
}

struct Collect {
    gradients: GradientsParams,
    host: HashMap<ParamId, Vec<f32>>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let gradient = self.gradients.remove::<D>(parameter.id).expect("every tensor has a gradient");
        self.host.insert(parameter.id, host(gradient));
    }
}
