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
    /// # Shapes
    /// `x`: `[rows, width]`; the result has the same shape.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}
