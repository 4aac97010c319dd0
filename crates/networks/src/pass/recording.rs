//! What each layer saw, for gradients of each image on its own.
//!
//! The gradient of one image in a linear layer is the product of what came in and of the gradient of what went out. So one backward
//! pass over a whole batch, which stops at the layers' outputs, is enough for all images: their gradients are small products, squared
//! and summed for sensitivities (diagonal of the Fisher information), or kept apart as the two Kronecker factors of curvature (Martens
//! and Grosse 2015). The parameters themselves ask for no gradient.
//!
//! An output is made a leaf of the graph's own by what is added to it: the bias, spread over the rows, or zeros.

use std::collections::HashSet;

use burn::module::{Param, ParamId};
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn::tensor::{Gradients, Tensor};

use super::{Affine, Pass, plain};
use crate::batch_norm::{BatchNorm, per_channel};
use crate::config::Gelu;
use crate::conv::Conv;
use crate::layer_norm::LayerNorm;
use crate::vector::vectorized;

/// Numbers that the gradients of some images take together, at most: 512 KiB, which stay in a core's cache while they are squared.
const NUMBERS_MAX: usize = 1 << 17;

/// Computes features and keeps what the layers of certain parameters saw.
pub struct Recording {
    batch: usize,
    wanted: HashSet<ParamId>,
    waiting: Vec<Waiting>,
}

/// A layer before the backward pass.
struct Waiting {
    weight: Option<(ParamId, Role)>,
    bias: Option<ParamId>,
    first_row: usize,
    groups: usize,
    /// Plain, `[batch * groups, places, in]`; nothing of it is looked at without a weight.
    inputs: Tensor<3>,
    output: Leaf,
}

/// What a layer does with its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Multiplies it as a matrix.
    Matrix,
    /// Multiplies number by number.
    Scale,
}

/// What was added to an output; its gradient is the output's.
enum Leaf {
    /// `[rows, out]`, image by image.
    Rows(Tensor<2>),
    /// `[batch, channels, height, width]`.
    Maps(Tensor<4>),
}

/// What a layer saw and what the score wants of its output, image by image.
pub struct LayerRecord {
    weight: Option<(ParamId, Role)>,
    bias: Option<ParamId>,
    first_row: usize,
    groups: usize,
    batch: usize,
    inputs: Tensor<3>,
    /// `[batch * groups, places, out]`
    gradients: Tensor<3>,
}

/// A run of the squared gradients of one parameter, summed over some images.
#[derive(Debug)]
pub struct Squares {
    /// Which parameter.
    pub parameter: ParamId,
    /// Its first element that this is about, row-major.
    pub first: usize,
    /// From there on.
    pub values: Vec<f32>,
}

impl Recording {
    /// For `batch` images, and the parameters in `wanted`.
    pub fn new(batch: usize, wanted: HashSet<ParamId>) -> Recording {
        Recording { batch, wanted, waiting: Vec::new() }
    }

    /// After the backward pass from a score that is a sum over images: what was recorded, in the order of the layers.
    pub fn finish(self, gradients: &mut Gradients) -> Vec<LayerRecord> {
        let batch = self.batch;
        let record = |waiting: Waiting| {
            let groups = waiting.groups;
            let gradients = match waiting.output {
                Leaf::Rows(leaf) => {
                    let gradient = leaf.grad_remove(gradients)?;
                    let [rows, out] = gradient.dims();
                    gradient.reshape([batch, rows / batch, out])
                }
                Leaf::Maps(leaf) => {
                    let gradient = leaf.grad_remove(gradients)?;
                    let [_, channels, height, width] = gradient.dims();
                    gradient.reshape([batch * groups, channels / groups, height * width]).swap_dims(1, 2)
                }
            };
            let Waiting { weight, bias, first_row, inputs, .. } = waiting;
            Some(LayerRecord { weight, bias, first_row, groups, batch, inputs, gradients })
        };
        self.waiting.into_iter().filter_map(record).collect()
    }

    fn wants(&self, id: ParamId) -> bool {
        self.wanted.contains(&id)
    }

    /// `rows` of numbers, `[rows, width]`, as `[batch, rows of an image, width]`.
    fn by_image(&self, rows: Tensor<2>) -> Tensor<3> {
        let [count, width] = rows.dims();
        rows.reshape([self.batch, count / self.batch, width])
    }
}

/// A leaf of a graph that has nothing before it.
fn leaf<const D: usize>(numbers: Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(numbers).set_require_grad(true)
}

impl LayerRecord {
    /// Squares of the gradients of each image, summed over the images; in runs, which `add` has to sum up.
    pub fn squares(&self, add: &mut dyn FnMut(Squares)) {
        if let Some((parameter, role)) = self.weight {
            match role {
                Role::Matrix => self.squares_of_matrix(parameter, add),
                Role::Scale => {
                    let of_images = (self.inputs.clone() * self.gradients.clone()).sum_dim(1);
                    add(self.run(parameter, 1, of_images.square().sum_dim(0).reshape([-1])));
                }
            }
        }
        if let Some(parameter) = self.bias {
            add(self.run(parameter, 1, self.gradients.clone().sum_dim(1).square().sum_dim(0).reshape([-1])));
        }
    }

    /// The two factors of the layer's curvature where it multiplies a matrix: the parameter, the matrix' first row here, what came in,
    /// `[batch * places, in]`, and what the score wants of what went out, `[batch * places, out]`.
    pub fn factors(&self) -> Option<(ParamId, usize, Tensor<2>, Tensor<2>)> {
        let (parameter, role) = self.weight?;
        let flat = |tensor: &Tensor<3>| {
            let [batch, places, width] = tensor.dims();
            tensor.clone().reshape([batch * places, width])
        };
        let is_matrix = role == Role::Matrix && self.groups == 1;
        is_matrix.then(|| (parameter, self.first_row, flat(&self.inputs), flat(&self.gradients)))
    }

    fn squares_of_matrix(&self, parameter: ParamId, add: &mut dyn FnMut(Squares)) {
        let [images, places, inside] = self.inputs.dims();
        let out = self.gradients.dims()[2];
        let groups = self.groups;
        if places == 1 && groups == 1 {
            // The square of a product of two numbers is the product of their squares.
            let inputs = self.inputs.clone().reshape([images, inside]).square();
            let gradients = self.gradients.clone().reshape([images, out]).square();
            return add(self.run(parameter, inside, gradients.transpose().matmul(inputs).reshape([-1])));
        }
        let numbers = groups * out * inside;
        let mut values = vec![0.0; numbers];
        let together = (NUMBERS_MAX / numbers).clamp(1, self.batch);
        for first in (0..self.batch).step_by(together) {
            let count = together.min(self.batch - first);
            let part = |tensor: &Tensor<3>| tensor.clone().narrow(0, first * groups, count * groups);
            let of_images = to_host(part(&self.gradients).swap_dims(1, 2).matmul(part(&self.inputs)));
            vectorized(
                #[inline(always)]
                || of_images.chunks_exact(numbers).for_each(|of_image| add_squares(&mut values, of_image)),
            );
        }
        add(Squares { parameter, first: self.first_row * inside, values });
    }

    fn run(&self, parameter: ParamId, row: usize, values: Tensor<1>) -> Squares {
        Squares { parameter, first: self.first_row * row, values: to_host(values) }
    }
}

fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().expect("networks compute in f32")
}

#[inline(always)]
fn add_squares(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * value);
}

impl Pass for Recording {
    type Value<const D: usize> = Tensor<D>;

    fn constant<const D: usize>(&mut self, numbers: Tensor<D>) -> Tensor<D> {
        Tensor::from_inner(numbers)
    }

    fn through<const A: usize, const B: usize>(
        &mut self,
        x: Tensor<A>,
        map: impl Fn(Tensor<A>) -> Tensor<B>,
    ) -> Tensor<B> {
        map(x)
    }

    fn add<const D: usize>(&mut self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        plain().add(a, b)
    }

    fn join<const D: usize>(&mut self, a: Tensor<D>, b: Tensor<D>, side: usize) -> Tensor<D> {
        plain().join(a, b, side)
    }

    fn matmul<const D: usize>(&mut self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        plain().matmul(a, b)
    }

    fn softmax<const D: usize>(&mut self, x: Tensor<D>, side: usize) -> Tensor<D> {
        plain().softmax(x, side)
    }

    fn gelu<const D: usize>(&mut self, x: Tensor<D>, kind: Gelu) -> Tensor<D> {
        plain().gelu(x, kind)
    }

    fn relu<const D: usize>(&mut self, x: Tensor<D>, highest: Option<f64>) -> Tensor<D> {
        plain().relu(x, highest)
    }

    fn repeat(&mut self, parameter: &Param<Tensor<3>>, batch: usize) -> Tensor<3> {
        let repeated = plain().repeat(parameter, batch);
        let [_, rows, width] = repeated.dims();
        if !self.wants(parameter.id) {
            return Tensor::from_inner(repeated);
        }
        let leaf = leaf(repeated.reshape([batch, rows * width]));
        self.waiting.push(Waiting {
            weight: None,
            bias: Some(parameter.id),
            first_row: 0,
            groups: 1,
            inputs: Tensor::zeros([1, 1, 1], &leaf.device().inner()),
            output: Leaf::Rows(leaf.clone()),
        });
        leaf.reshape([batch, rows, width])
    }

    fn affine<const D: usize>(&mut self, x: Tensor<2>, layer: &Affine<'_, D>) -> Tensor<2> {
        let weight = self.wants(layer.weight.id).then_some((layer.weight.id, Role::Matrix));
        let bias = layer.bias.filter(|bias| self.wants(bias.id)).map(|bias| bias.id);
        if weight.is_none() && bias.is_none() {
            return plain().affine(x, layer);
        }
        let [rows, _] = x.dims();
        let added = match layer.bias {
            Some(bias) => layer.column(bias.val()).unsqueeze::<2>().repeat_dim(0, rows),
            None => Tensor::zeros([rows, layer.rows.len()], &x.device().inner()),
        };
        let leaf = leaf(added);
        self.waiting.push(Waiting {
            weight,
            bias,
            first_row: layer.rows.start,
            groups: 1,
            inputs: self.by_image(x.clone().inner()),
            output: Leaf::Rows(leaf.clone()),
        });
        x.matmul(layer.matrix(layer.weight.val()).transpose()) + leaf
    }

    fn layer_norm(&mut self, x: Tensor<2>, layer: &LayerNorm) -> Tensor<2> {
        let weight = self.wants(layer.weight.id).then_some((layer.weight.id, Role::Scale));
        let bias = self.wants(layer.bias.id).then_some(layer.bias.id);
        if weight.is_none() && bias.is_none() {
            return plain().layer_norm(x, layer);
        }
        let [rows, _] = x.dims();
        let leaf = leaf(layer.bias.val().unsqueeze::<2>().repeat_dim(0, rows));
        let normalized = layer.normalized(x);
        self.waiting.push(Waiting {
            weight,
            bias,
            first_row: 0,
            groups: 1,
            inputs: self.by_image(normalized.clone().inner()),
            output: Leaf::Rows(leaf.clone()),
        });
        normalized * layer.weight.val().unsqueeze() + leaf
    }

    fn conv(&mut self, x: Tensor<4>, layer: &Conv) -> Tensor<4> {
        if !self.wants(layer.weight.id) {
            return plain().conv(x, layer);
        }
        let [_, _, high, wide] = layer.weight.dims();
        let options = UnfoldOptions::new([layer.stride; 2], [layer.padding; 2], [1, 1]);
        let patches = unfold4d(x.clone().inner(), [high, wide], options);
        let [batch, inside, places] = patches.dims();
        let inputs = patches.reshape([batch * layer.groups, inside / layer.groups, places]).swap_dims(1, 2);
        let y = plain().conv(x, layer);
        let leaf = leaf(y.clone().inner().zeros_like());
        self.waiting.push(Waiting {
            weight: Some((layer.weight.id, Role::Matrix)),
            bias: None,
            first_row: 0,
            groups: layer.groups,
            inputs,
            output: Leaf::Maps(leaf.clone()),
        });
        y + leaf
    }

    fn batch_norm(&mut self, x: Tensor<4>, layer: &BatchNorm) -> Tensor<4> {
        let weight = self.wants(layer.weight.id).then_some((layer.weight.id, Role::Scale));
        let bias = self.wants(layer.bias.id).then_some(layer.bias.id);
        if weight.is_none() && bias.is_none() {
            return plain().batch_norm(x, layer);
        }
        let [batch, channels, height, width] = x.dims();
        let leaf = leaf(per_channel(layer.bias.val()).expand([batch, channels, height, width]).mul_scalar(1.0));
        let normalized = layer.normalized(x);
        let inputs = normalized.clone().inner().reshape([batch, channels, height * width]).swap_dims(1, 2);
        let output = Leaf::Maps(leaf.clone());
        self.waiting.push(Waiting { weight, bias, first_row: 0, groups: 1, inputs, output });
        normalized * per_channel(layer.weight.val()) + leaf
    }
}
