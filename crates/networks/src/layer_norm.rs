//! Layer norm over the last dimension, with PyTorch's parameter names.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, module::layer_norm};

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias`, per row (Ba, Kiros and Hinton 2016; biased variance).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Param<Tensor<1>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    pub(crate) fn applied(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }

    /// `x` before weight and bias.
    pub(crate) fn normalized(&self, x: Tensor<2>) -> Tensor<2> {
        let centered = x.clone() - x.mean_dim(1);
        let inverse = centered.clone().square().mean_dim(1).add_scalar(self.epsilon).sqrt().recip();
        centered * inverse
    }
}
