//! The statistics that images have in a network, and the network with these.

use std::collections::HashMap;

use burn::module::ParamId;
use burn::tensor::Tensor;

use super::plain::Statistics;
use crate::batch_norm::{BatchNorm, per_channel};

/// Normalizes by what the images at hand have themselves, and keeps that: flat, by burn's name of the parameter.
#[derive(Default)]
pub(crate) struct Measured(pub(crate) HashMap<ParamId, Tensor<1>>);

impl Statistics for Measured {
    fn normalize(&mut self, x: Tensor<4>, layer: &BatchNorm) -> Tensor<4> {
        let [_, channels, ..] = x.dims();
        let of_channels =
            |x: Tensor<4>| x.swap_dims(0, 1).reshape([channels as i32, -1]).mean_dim(1).reshape([channels]);
        let mean = of_channels(x.clone());
        let apart = x.clone() - per_channel(mean.clone());
        let variance = of_channels(apart.clone() * apart);
        self.0.insert(layer.running_mean.id, mean.clone());
        self.0.insert(layer.running_var.id, variance.clone());
        layer.applied_with(x, mean, variance)
    }
}
