//! Batch norm with fixed statistics, with PyTorch's parameter names.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias`, per channel (Ioffe and Szegedy 2015), with the statistics that came with
/// the base: what an image's features are does not depend on the images beside it.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// `[channels]`
    pub weight: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
    /// `[channels]`; a statistic, and no parameter.
    pub running_mean: Param<Tensor<1>>,
    /// `[channels]`; a statistic, and no parameter.
    pub running_var: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl BatchNorm {
    /// `x` before weight and bias.
    pub(crate) fn normalized(&self, x: Tensor<4>) -> Tensor<4> {
        (x - per_channel(self.running_mean.val())) * per_channel(self.inverse_deviation())
    }

    pub(crate) fn inverse_deviation(&self) -> Tensor<1> {
        self.running_var.val().add_scalar(self.epsilon).sqrt().recip()
    }

    /// `x` times a factor for each channel, plus a number for each.
    pub(crate) fn applied(&self, x: Tensor<4>) -> Tensor<4> {
        let scale = self.weight.val() * self.inverse_deviation();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        x * per_channel(scale) + per_channel(shift)
    }
}

/// `[channels]` to `[1, channels, 1, 1]`.
pub(crate) fn per_channel(numbers: Tensor<1>) -> Tensor<4> {
    let [channels] = numbers.dims();
    numbers.reshape([1, channels, 1, 1])
}
