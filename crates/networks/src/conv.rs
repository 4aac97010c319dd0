//! A convolution over an image, with PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use crate::source::Source;

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

/// How a convolution goes over an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) groups: usize,
}

impl Conv {
    pub(crate) fn build(source: &mut Source<'_>, name: &str, shape: [usize; 4], geometry: Geometry) -> Conv {
        let Geometry { stride, padding, groups } = geometry;
        Conv { weight: source.parameter(&format!("{name}.weight"), shape), stride, padding, groups }
    }

    /// With `weight` in place of its own.
    pub(crate) fn with(&self, x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let [out, inside, height, width] = weight.dims();
        if (height, width, self.stride, self.padding, self.groups) == (1, 1, 1, 0, 1) {
            return mixed(x, weight.reshape([1, out, inside]));
        }
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        conv2d(x, weight, None, ConvOptions::new(stride, padding, [1, 1], self.groups))
    }
}

/// A 1 by 1 convolution is a matrix product, `[out, in] [in, pixels]` for each image.
fn mixed(x: Tensor<4>, weight: Tensor<3>) -> Tensor<4> {
    let [batch, inside, height, width] = x.dims();
    let [_, out, _] = weight.dims();
    weight.matmul(x.reshape([batch, inside, height * width])).reshape([batch, out, height, width])
}
