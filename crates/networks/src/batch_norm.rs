//! Batch norm with fixed statistics, with PyTorch's parameter names.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::source::Source;

/// What the names of the statistics end with.
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

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

/// Whether the tensor of this name holds statistics: measured on the data that went through, and not learned by a gradient.
///
/// ```
/// assert!(taskvec_networks::is_statistic("layer1.0.bn1.running_var"));
/// assert!(!taskvec_networks::is_statistic("layer1.0.bn1.weight"));
/// ```
pub fn is_statistic(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|field| STATISTICS.contains(&field))
}

/// Names and shapes of the tensors of a batch norm.
pub(crate) fn tensors(name: &str, channels: usize) -> impl Iterator<Item = (String, Vec<usize>)> {
    ["weight", "bias"].into_iter().chain(STATISTICS).map(move |field| (format!("{name}.{field}"), vec![channels]))
}

impl BatchNorm {
    pub(crate) fn build(source: &mut Source<'_>, name: &str, channels: usize, epsilon: f64) -> BatchNorm {
        let [running_mean, running_var] =
            STATISTICS.map(|field| source.parameter(&format!("{name}.{field}"), [channels]));
        BatchNorm {
            weight: source.parameter(&format!("{name}.weight"), [channels]),
            bias: source.parameter(&format!("{name}.bias"), [channels]),
            running_mean,
            running_var,
            epsilon,
        }
    }

    /// `x` before weight and bias.
    pub(crate) fn normalized(&self, x: Tensor<4>) -> Tensor<4> {
        (x - per_channel(self.running_mean.val())) * per_channel(self.inverse_deviation())
    }

    pub(crate) fn inverse_deviation(&self) -> Tensor<1> {
        self.inverse_of(self.running_var.val())
    }

    fn inverse_of(&self, variance: Tensor<1>) -> Tensor<1> {
        variance.add_scalar(self.epsilon).sqrt().recip()
    }

    /// `x` times a factor for each channel, plus a number for each.
    pub(crate) fn applied(&self, x: Tensor<4>) -> Tensor<4> {
        self.applied_with(x, self.running_mean.val(), self.running_var.val())
    }

    /// The same by other statistics than its own.
    pub(crate) fn applied_with(&self, x: Tensor<4>, mean: Tensor<1>, variance: Tensor<1>) -> Tensor<4> {
        let scale = self.weight.val() * self.inverse_of(variance);
        let shift = self.bias.val() - mean * scale.clone();
        x * per_channel(scale) + per_channel(shift)
    }
}

/// `[channels]` to `[1, channels, 1, 1]`.
pub(crate) fn per_channel(numbers: Tensor<1>) -> Tensor<4> {
    let [channels] = numbers.dims();
    numbers.reshape([1, channels, 1, 1])
}
