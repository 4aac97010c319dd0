//! Features, and nothing beside them.

use burn::module::Param;
use burn::tensor::{Tensor, activation};

use super::{Affine, Pass};
use crate::batch_norm::BatchNorm;
use crate::config::Gelu;
use crate::conv::Conv;
use crate::gelu::gelu;
use crate::layer_norm::LayerNorm;

/// Computes on tensors as they are: plain ones for inference, tracked ones for gradients. `S` says by which statistics batches are
/// normalized.
pub(crate) struct Plain<S>(pub(crate) S);

/// By which statistics batches are normalized.
pub(crate) trait Statistics {
    /// See [`BatchNorm`]; `x`: `[batch, channels, height, width]`.
    fn normalize(&mut self, x: Tensor<4>, layer: &BatchNorm) -> Tensor<4>;
}

/// By the layer's own.
pub(crate) struct Own;

/// The usual pass.
pub(crate) fn plain() -> Plain<Own> {
    Plain(Own)
}

impl Statistics for Own {
    fn normalize(&mut self, x: Tensor<4>, layer: &BatchNorm) -> Tensor<4> {
        layer.applied(x)
    }
}

impl<S: Statistics> Pass for Plain<S> {
    type Value<const D: usize> = Tensor<D>;

    fn constant<const D: usize>(&mut self, numbers: Tensor<D>) -> Tensor<D> {
        numbers
    }

    fn through<const A: usize, const B: usize>(
        &mut self,
        x: Tensor<A>,
        map: impl Fn(Tensor<A>) -> Tensor<B>,
    ) -> Tensor<B> {
        map(x)
    }

    fn add<const D: usize>(&mut self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        a + b
    }

    fn join<const D: usize>(&mut self, a: Tensor<D>, b: Tensor<D>, side: usize) -> Tensor<D> {
        Tensor::cat(vec![a, b], side)
    }

    fn matmul<const D: usize>(&mut self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        a.matmul(b)
    }

    fn softmax<const D: usize>(&mut self, x: Tensor<D>, side: usize) -> Tensor<D> {
        activation::softmax(x, side)
    }

    fn gelu<const D: usize>(&mut self, x: Tensor<D>, kind: Gelu) -> Tensor<D> {
        gelu(x, kind)
    }

    fn relu<const D: usize>(&mut self, x: Tensor<D>, highest: Option<f64>) -> Tensor<D> {
        match highest {
            None => activation::relu(x),
            Some(highest) => x.clamp(0.0, highest),
        }
    }

    fn repeat(&mut self, parameter: &Param<Tensor<3>>, batch: usize) -> Tensor<3> {
        let [_, rows, width] = parameter.dims();
        parameter.val().expand([batch, rows, width])
    }

    fn affine<const D: usize>(&mut self, x: Tensor<2>, layer: &Affine<'_, D>) -> Tensor<2> {
        let y = x.matmul(layer.matrix(layer.weight.val()).transpose());
        match layer.bias {
            Some(bias) => y + layer.column(bias.val()).unsqueeze(),
            None => y,
        }
    }

    fn layer_norm(&mut self, x: Tensor<2>, layer: &LayerNorm) -> Tensor<2> {
        layer.applied(x)
    }

    fn conv(&mut self, x: Tensor<4>, layer: &Conv) -> Tensor<4> {
        layer.with(x, layer.weight.val())
    }

    fn batch_norm(&mut self, x: Tensor<4>, layer: &BatchNorm) -> Tensor<4> {
        self.0.normalize(x, layer)
    }
}
