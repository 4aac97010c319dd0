//! Every layer of every family in f64: gradients, derivatives along a direction and squared gradients of single images, against
//! what they abbreviate. The networks are those of `tests/reference`, statistics and all.

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use safetensors::SafeTensors;
use taskvec_networks::{Network, Parameter, Recording, Squares, Tangent, is_statistic, parameters};

use crate::numbers;
use crate::reference::{CASES, Case};

/// Of finite differences in f64, of which steps of 1e-6 leave about ten digits.
const TOLERANCE: f64 = 1e-6;
/// So small that hardly a ReLU changes its mind on the way.
const STEP: f64 = 1e-6;

/// A network in f64 and some pictures for it.
struct Ground {
    name: &'static str,
    network: Network,
    /// The same in f32, with the same ids.
    single: Network,
    pixels: TensorData,
}

impl Ground {
    fn of(case: &Case) -> Ground {
        let file = SafeTensors::deserialize(case.file).unwrap();
        let single = case.network(&Device::flex());
        let network = single.clone().map(&mut ToDouble);
        let pixels = crate::reference::tensor(&file, "pixels").unwrap().convert::<f64>();
        Ground { name: case.name, network, single, pixels }
    }

    fn pixels(&self, device: &Device) -> Tensor<4> {
        Tensor::from_data(self.pixels.clone(), (device, DType::F64))
    }

    /// What learns: all but statistics.
    fn parameters(&self) -> Vec<Parameter> {
        parameters(&self.network).into_iter().filter(|parameter| !is_statistic(&parameter.name)).collect()
    }

    /// The network with `step` times `direction` added to one of its tensors.
    fn moved(&self, id: ParamId, direction: &[f64], step: f64) -> Network {
        self.network.clone().map(&mut Move { id, direction, step })
    }

    fn scores(&self, network: &Network) -> Vec<f64> {
        host(scores(network.features(self.pixels(&Device::flex()))))
    }
}

/// A number for each image: a smooth function of its features that treats each of them differently.
fn scores(features: Tensor<2>) -> Tensor<1> {
    let [_, width] = features.dims();
    let weights: Vec<f64> = numbers(7, width).into_iter().map(f64::from).collect();
    let device = features.device();
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [1, width]), (&device, features.dtype()));
    (features.clone() * weights + features.square().mul_scalar(0.1)).sum_dim(1).reshape([-1])
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().try_into_vec::<f64>().expect("computed in f64")
}

fn length(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum::<f64>().sqrt()
}

/// All tensors in f64.
struct ToDouble;

impl ModuleMapper for ToDouble {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        parameter.map(|values| values.cast(DType::F64))
    }
}

/// All tensors as leaves of a graph.
struct Track;

impl ModuleMapper for Track {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        parameter.map(|values| values.autodiff().require_grad())
    }
}

struct Move<'a> {
    id: ParamId,
    direction: &'a [f64],
    step: f64,
}

impl ModuleMapper for Move<'_> {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if parameter.id != self.id {
            return parameter;
        }
        parameter.map(|values| {
            let (shape, device) = (values.dims(), values.device());
            let direction = Tensor::from_data(TensorData::new(self.direction.to_vec(), shape), (&device, DType::F64));
            values + direction.mul_scalar(self.step)
        })
    }
}

struct Collect<'a>(&'a mut Gradients, HashMap<ParamId, Vec<f64>>);

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let gradient = parameter.val().grad_remove(self.0).expect("every tensor has a gradient");
        self.1.insert(parameter.id, host(gradient));
    }
}

/// The gradients of the sum of the scores of these pictures.
fn gradients(network: &Network, pixels: Tensor<4>) -> HashMap<ParamId, Vec<f64>> {
    let network = network.clone().map(&mut Track);
    let mut gradients = scores(network.features(pixels.autodiff())).sum().backward();
    let mut collect = Collect(&mut gradients, HashMap::new());
    network.visit(&mut collect);
    collect.1
}

#[test]
fn gradients_of_every_layer_of_every_family_agree_with_finite_differences() {
    for ground in CASES.iter().map(Ground::of) {
        let gradients = gradients(&ground.network, ground.pixels(&Device::flex()));
        for Parameter { name, id, .. } in ground.parameters() {
            let gradient = &gradients[&id];
            let length = length(gradient);
            let direction: Vec<f64> = gradient.iter().map(|slope| slope / length).collect();
            let at = |step| ground.scores(&ground.moved(id, &direction, step)).iter().sum::<f64>();
            let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let error = (slope - length).abs() / length;
            assert!(error < TOLERANCE, "{} {name}: gradient {length:e}, difference {slope:e}", ground.name);
        }
    }
}

#[test]
fn derivatives_along_a_direction_of_every_layer_of_every_family_agree_with_finite_differences() {
    for ground in CASES.iter().map(Ground::of) {
        let device = Device::flex();
        let base = host(ground.network.features(ground.pixels(&device)));
        for (seed, Parameter { name, id, shape }) in (0..).zip(ground.parameters()) {
            let count = shape.iter().product();
            let direction: Vec<f64> =
                numbers(1000 + seed, count).into_iter().map(|number| 0.1 * f64::from(number)).collect();
            let delta = Tensor::from_data(TensorData::new(direction.clone(), [count]), (&device, DType::F64));
            let mut tangent = Tangent::new(HashMap::from([(id, delta)]));
            let found = host(ground.network.linearized_features(&mut tangent, ground.pixels(&device)));
            let at = |step| host(ground.moved(id, &direction, step).features(ground.pixels(&device)));
            let slopes: Vec<f64> =
                at(STEP).iter().zip(at(-STEP)).map(|(up, down)| (up - down) / (2.0 * STEP)).collect();
            let off: Vec<f64> =
                found.iter().zip(&base).zip(&slopes).map(|((found, base), slope)| found - base - slope).collect();
            let error = length(&off) / length(&slopes);
            assert!(error < TOLERANCE, "{} {name}: {error:e}", ground.name);
        }
    }
}

#[test]
fn recorded_squares_of_every_layer_of_every_family_are_those_of_each_image_on_its_own() {
    /// What is recorded is squared in f32.
    const TOLERANCE: f64 = 1e-5;
    for ground in CASES.iter().map(Ground::of) {
        let pixels = ground.pixels.clone().convert::<f32>();
        let images = pixels.shape()[0];
        let wanted: HashSet<ParamId> = ground.parameters().iter().map(|parameter| parameter.id).collect();
        let mut recording = Recording::new(images, wanted);
        let features = ground.single.recorded_features(&mut recording, Tensor::from_data(pixels, &Device::flex()));
        let mut backward = scores(features).sum().backward();
        let mut found: HashMap<ParamId, Vec<f64>> = HashMap::new();
        let counts: HashMap<ParamId, usize> =
            ground.parameters().into_iter().map(|it| (it.id, it.shape.iter().product())).collect();
        for record in recording.finish(&mut backward) {
            record.squares(&mut |Squares { parameter, first, values }| {
                let sums = found.entry(parameter).or_insert_with(|| vec![0.0; counts[&parameter]]);
                sums[first..].iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
            });
        }
        let mut expected: HashMap<ParamId, Vec<f64>> = HashMap::new();
        for image in 0..images {
            let one = ground.pixels(&Device::flex()).narrow(0, image, 1);
            for (id, gradient) in gradients(&ground.network, one) {
                let sums = expected.entry(id).or_insert_with(|| vec![0.0; gradient.len()]);
                sums.iter_mut().zip(gradient).for_each(|(sum, slope)| *sum += slope * slope);
            }
        }
        for Parameter { name, id, .. } in ground.parameters() {
            let off: Vec<f64> =
                found[&id].iter().zip(&expected[&id]).map(|(found, expected)| found - expected).collect();
            let error = length(&off) / length(&expected[&id]);
            assert!(error < TOLERANCE, "{} {name}: {error:e}", ground.name);
        }
    }
}
