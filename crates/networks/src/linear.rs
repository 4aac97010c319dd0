//! A linear layer that keeps PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// `y = x * weight^T + bias`, with `weight` of shape `[out, in]` as in the file.
///
/// The transpose is a strided view, which the matrix product reads as it is: nothing is ever copied or re-laid.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
}
