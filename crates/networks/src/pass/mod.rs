//! One forward pass for each family, and what it can be made with.
//!
//! A family says in which order its layers come; a [`Pass`] says what is computed on the way. [`Plain`] computes the features, for
//! inference and for gradients. [`Tangent`] carries a directional derivative along with each number, for the linearized network.
//! [`Recording`] keeps what each layer saw, from which gradients follow for each image on its own. So a family is written once,
//! and a new one can do everything that the others can.
//!
//! What has no parameters and is linear in its input (cutting, turning, scaling, averaging) goes by [`Pass::through`].

mod measured;
mod plain;
mod recording;
mod tangent;

use std::ops::Range;

use burn::module::Param;
use burn::tensor::Tensor;

use crate::batch_norm::BatchNorm;
use crate::config::Gelu;
use crate::conv::Conv;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;

pub(crate) use measured::Measured;
pub(crate) use plain::{Plain, plain};
pub use recording::{LayerRecord, Recording, Squares};
pub use tangent::Tangent;

/// A weight of any shape seen as a matrix `[out, in]` (its first side, and all others), with its bias; or some rows of both.
pub(crate) struct Affine<'a, const D: usize> {
    pub(crate) weight: &'a Param<Tensor<D>>,
    pub(crate) bias: Option<&'a Param<Tensor<1>>>,
    pub(crate) rows: Range<usize>,
}

impl<'a, const D: usize> Affine<'a, D> {
    /// All rows.
    pub(crate) fn whole(weight: &'a Param<Tensor<D>>, bias: Option<&'a Param<Tensor<1>>>) -> Affine<'a, D> {
        Affine { weight, bias, rows: 0..weight.dims()[0] }
    }

    /// The rows of `weight`, which has this layer's shape or is flat: `[rows, in]`.
    pub(crate) fn matrix<const N: usize>(&self, weight: Tensor<N>) -> Tensor<2> {
        let out = self.weight.dims()[0];
        let inside = self.weight.dims()[1..].iter().product::<usize>();
        let matrix = weight.reshape([out, inside]);
        if self.rows.len() == out { matrix } else { matrix.narrow(0, self.rows.start, self.rows.len()) }
    }

    /// The rows of `bias`.
    pub(crate) fn column(&self, bias: Tensor<1>) -> Tensor<1> {
        if self.rows.len() == bias.dims()[0] { bias } else { bias.narrow(0, self.rows.start, self.rows.len()) }
    }
}

impl Linear {
    pub(crate) fn affine(&self) -> Affine<'_, 2> {
        Affine::whole(&self.weight, Some(&self.bias))
    }

    pub(crate) fn affine_rows(&self, rows: Range<usize>) -> Affine<'_, 2> {
        Affine { rows, ..self.affine() }
    }
}

/// What is computed on the way through a network.
pub(crate) trait Pass {
    /// An array on the way.
    type Value<const D: usize>: Clone;

    /// Numbers that no parameter has touched.
    fn constant<const D: usize>(&mut self, numbers: Tensor<D>) -> Self::Value<D>;

    /// What `map` makes of `x`. It must be linear: `map(a + b) = map(a) + map(b)`, and each image must stay its own.
    fn through<const A: usize, const B: usize>(
        &mut self,
        x: Self::Value<A>,
        map: impl Fn(Tensor<A>) -> Tensor<B>,
    ) -> Self::Value<B>;

    /// The sum of two arrays of one shape.
    fn add<const D: usize>(&mut self, a: Self::Value<D>, b: Self::Value<D>) -> Self::Value<D>;

    /// `a`, then `b`, along `side`.
    fn join<const D: usize>(&mut self, a: Self::Value<D>, b: Self::Value<D>, side: usize) -> Self::Value<D>;

    /// The product of matrices, batch by batch.
    fn matmul<const D: usize>(&mut self, a: Self::Value<D>, b: Self::Value<D>) -> Self::Value<D>;

    /// Shares along `side`.
    fn softmax<const D: usize>(&mut self, x: Self::Value<D>, side: usize) -> Self::Value<D>;

    /// GELU of each number.
    fn gelu<const D: usize>(&mut self, x: Self::Value<D>, kind: Gelu) -> Self::Value<D>;

    /// Each number, but nothing below 0, nor above `highest` if there is one.
    fn relu<const D: usize>(&mut self, x: Self::Value<D>, highest: Option<f64>) -> Self::Value<D>;

    /// A parameter `[1, ..]` that every image gets: `[batch, ..]`.
    fn repeat(&mut self, parameter: &Param<Tensor<3>>, batch: usize) -> Self::Value<3>;

    /// `x weight^T + bias`; `x`: `[rows, in]`, as many rows for each image.
    fn affine<const D: usize>(&mut self, x: Self::Value<2>, layer: &Affine<'_, D>) -> Self::Value<2>;

    /// See [`LayerNorm`]; `x`: `[rows, width]`, as many rows for each image.
    fn layer_norm(&mut self, x: Self::Value<2>, layer: &LayerNorm) -> Self::Value<2>;

    /// See [`Conv`]; `x`: `[batch, channels, height, width]`.
    fn conv(&mut self, x: Self::Value<4>, layer: &Conv) -> Self::Value<4>;

    /// See [`BatchNorm`]; `x`: `[batch, channels, height, width]`.
    fn batch_norm(&mut self, x: Self::Value<4>, layer: &BatchNorm) -> Self::Value<4>;
}
