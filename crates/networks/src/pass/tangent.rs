//! The linearized network: features at the base, and their directional derivative.
//!
//! `f(x; base) + J(x; base) delta` (Ortiz-Jimenez et al. 2023), where `delta` is what the weights differ by from the base. Value and
//! derivative go through the layers together (dual numbers; forward mode), and reverse mode over the derivative gives the gradient
//! with respect to `delta`: burn differentiates once, and once is enough. The value is at the base and has no gradient, so that its
//! half of the work is that of an inference. A parameter that has no delta costs nothing, and before the first that has one no
//! derivative is computed at all.

use std::collections::HashMap;

use burn::module::{Param, ParamId};
use burn::tensor::{Tensor, activation};

use super::{Affine, Pass};
use crate::batch_norm::{BatchNorm, per_channel};
use crate::config::Gelu;
use crate::conv::Conv;
use crate::gelu::with_slope;
use crate::layer_norm::LayerNorm;

/// Carries the derivative along the deltas that it was given.
#[derive(Clone, Debug, Default)]
pub struct Tangent {
    deltas: HashMap<ParamId, Tensor<1>>,
}

/// An array and its derivative; none where no delta has come in.
#[derive(Clone)]
pub(crate) struct Dual<const D: usize> {
    value: Tensor<D>,
    tangent: Option<Tensor<D>>,
}

impl Tangent {
    /// `deltas`: what parameters differ by from the base, flat and row-major, by burn's name of the parameter. Gradients are taken of
    /// those that ask for one; the network itself stays plain.
    pub fn new(deltas: HashMap<ParamId, Tensor<1>>) -> Tangent {
        Tangent { deltas }
    }

    fn delta<const D: usize>(&self, parameter: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        self.deltas.get(&parameter.id).map(|delta| delta.clone().reshape(parameter.dims()))
    }
}

impl Dual<2> {
    /// Value plus derivative.
    pub(crate) fn sum(self) -> Tensor<2> {
        match self.tangent {
            Some(tangent) => tangent + self.value,
            None => self.value,
        }
    }

    pub(crate) fn parts(self) -> (Tensor<2>, Option<Tensor<2>>) {
        (self.value, self.tangent)
    }
}

impl Pass for Tangent {
    type Value<const D: usize> = Dual<D>;

    fn constant<const D: usize>(&mut self, numbers: Tensor<D>) -> Dual<D> {
        Dual { value: numbers, tangent: None }
    }

    fn through<const A: usize, const B: usize>(&mut self, x: Dual<A>, map: impl Fn(Tensor<A>) -> Tensor<B>) -> Dual<B> {
        Dual { value: map(x.value), tangent: x.tangent.map(map) }
    }

    fn add<const D: usize>(&mut self, a: Dual<D>, b: Dual<D>) -> Dual<D> {
        Dual { value: a.value + b.value, tangent: plus(a.tangent, b.tangent) }
    }

    fn join<const D: usize>(&mut self, a: Dual<D>, b: Dual<D>, side: usize) -> Dual<D> {
        let tangent = (a.tangent.is_some() || b.tangent.is_some()).then(|| {
            let or_zeros =
                |tangent: Option<Tensor<D>>, value: &Tensor<D>| tangent.unwrap_or_else(|| value.zeros_like());
            Tensor::cat(vec![or_zeros(a.tangent, &a.value), or_zeros(b.tangent, &b.value)], side)
        });
        Dual { value: Tensor::cat(vec![a.value, b.value], side), tangent }
    }

    fn matmul<const D: usize>(&mut self, a: Dual<D>, b: Dual<D>) -> Dual<D> {
        let left = a.tangent.map(|tangent| tangent.matmul(b.value.clone()));
        let right = b.tangent.map(|tangent| a.value.clone().matmul(tangent));
        Dual { value: a.value.matmul(b.value), tangent: plus(left, right) }
    }

    fn softmax<const D: usize>(&mut self, x: Dual<D>, side: usize) -> Dual<D> {
        let value = activation::softmax(x.value, side);
        let tangent = x.tangent.map(|tangent| {
            let moved = tangent * value.clone();
            moved.clone() - value.clone() * moved.sum_dim(side)
        });
        Dual { value, tangent }
    }

    fn gelu<const D: usize>(&mut self, x: Dual<D>, kind: Gelu) -> Dual<D> {
        let (value, slope) = with_slope(x.value, kind);
        Dual { value, tangent: x.tangent.map(|tangent| tangent * slope) }
    }

    fn relu<const D: usize>(&mut self, x: Dual<D>, highest: Option<f64>) -> Dual<D> {
        let tangent = x.tangent.map(|tangent| {
            let above = x.value.clone().greater_elem(0.0);
            let inside = match highest {
                None => above,
                Some(highest) => above.bool_and(x.value.clone().lower_elem(highest)),
            };
            tangent * inside.float().cast(x.value.dtype())
        });
        let value = match highest {
            None => activation::relu(x.value),
            Some(highest) => x.value.clamp(0.0, highest),
        };
        Dual { value, tangent }
    }

    fn repeat(&mut self, parameter: &Param<Tensor<3>>, batch: usize) -> Dual<3> {
        let [_, rows, width] = parameter.dims();
        let expand = |tensor: Tensor<3>| tensor.expand([batch, rows, width]);
        Dual { value: expand(parameter.val()), tangent: self.delta(parameter).map(expand) }
    }

    fn affine<const D: usize>(&mut self, x: Dual<2>, layer: &Affine<'_, D>) -> Dual<2> {
        let weight = layer.matrix(layer.weight.val()).transpose();
        let moved = x.tangent.map(|tangent| tangent.matmul(weight.clone()));
        let turned = self.delta(layer.weight).map(|delta| x.value.clone().matmul(layer.matrix(delta).transpose()));
        let mut tangent = plus(moved, turned);
        let mut value = x.value.matmul(weight);
        if let Some(bias) = layer.bias {
            value = value + layer.column(bias.val()).unsqueeze();
            tangent = shifted(tangent, self.delta(bias).map(|delta| layer.column(delta).unsqueeze()), &value);
        }
        Dual { value, tangent }
    }

    fn layer_norm(&mut self, x: Dual<2>, layer: &LayerNorm) -> Dual<2> {
        let centered = x.value.clone() - x.value.mean_dim(1);
        let inverse = centered.clone().square().mean_dim(1).add_scalar(layer.epsilon).sqrt().recip();
        let normalized = centered * inverse.clone();
        let weight = layer.weight.val().unsqueeze::<2>();
        let moved = x.tangent.map(|tangent| {
            let along = (tangent.clone() * normalized.clone()).mean_dim(1);
            (tangent.clone() - tangent.mean_dim(1) - normalized.clone() * along) * (inverse * weight.clone())
        });
        let scaled = self.delta(&layer.weight).map(|delta| normalized.clone() * delta.unsqueeze());
        let value = normalized * weight + layer.bias.val().unsqueeze();
        let shift = self.delta(&layer.bias).map(|delta| delta.unsqueeze());
        let tangent = shifted(plus(moved, scaled), shift, &value);
        Dual { value, tangent }
    }

    fn conv(&mut self, x: Dual<4>, layer: &Conv) -> Dual<4> {
        let moved = x.tangent.map(|tangent| layer.with(tangent, layer.weight.val()));
        let turned = self.delta(&layer.weight).map(|delta| layer.with(x.value.clone(), delta));
        Dual { value: layer.with(x.value, layer.weight.val()), tangent: plus(moved, turned) }
    }

    fn batch_norm(&mut self, x: Dual<4>, layer: &BatchNorm) -> Dual<4> {
        let scale = layer.weight.val() * layer.inverse_deviation();
        let moved = x.tangent.map(|tangent| tangent * per_channel(scale));
        let scaled = self.delta(&layer.weight).map(|delta| layer.normalized(x.value.clone()) * per_channel(delta));
        let value = layer.applied(x.value);
        let tangent = shifted(plus(moved, scaled), self.delta(&layer.bias).map(per_channel), &value);
        Dual { value, tangent }
    }
}

fn plus<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (one, other) => one.or(other),
    }
}

/// `tangent` and a `shift` that is spread over it; `value` has its shape.
fn shifted<const D: usize>(
    tangent: Option<Tensor<D>>,
    shift: Option<Tensor<D>>,
    value: &Tensor<D>,
) -> Option<Tensor<D>> {
    match (tangent, shift) {
        (Some(tangent), Some(shift)) => Some(tangent + shift),
        (None, Some(shift)) => Some(shift.expand(value.dims())),
        (tangent, None) => tangent,
    }
}
