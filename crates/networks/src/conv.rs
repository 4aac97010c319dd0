//! A convolution over an image, with PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

/// A two-dimensional convolution without a bias: in the families here a batch norm follows.
///
/// With as many groups as channels it is depthwise.
#[derive(Module, Debug)]
pub struct Conv {
    /// `[out, in / groups, height, width]`
    pub weight: Param<Tensor<4>>,
    /// Pixels between two places that it looks at.
    pub stride: usize,
    /// Pixels of zeros on each side.
    pub padding: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Conv {
    /// With `weight` in place of its own.
    pub(crate) fn with(&self, x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        conv2d(x, weight, None, ConvOptions::new(stride, padding, [1, 1], self.groups))
    }
}
