//! Multi-head self-attention.

use burn::module::Module;
use burn::tensor::{Tensor, activation::softmax};

use crate::linear::Linear;

/// Self-attention of `heads` heads over all tokens of an image (Vaswani et al. 2017), timm's parameter layout: the rows
/// of `qkv` are the queries of all heads, then the keys, then the values.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[3 width, width]`
    pub qkv: Linear,
    /// `[width, width]`
    pub proj: Linear,
    /// Attention heads.
    pub heads: usize,
}

impl Attention {
    /// What the tokens in `asking` gather from the tokens in `x`.
    ///
    /// Queries, keys and values are three products with row ranges of one weight. One product cut into three would put
    /// three zero-filled copies of its gradient into the backward pass, and those are larger than the weight.
    ///
    /// # Shapes
    /// `x`: `[batch * tokens, width]`; `asking`: `[batch * asking tokens, width]`; the result has the shape of `asking`.
    pub fn forward(&self, x: Tensor<2>, asking: Tensor<2>, batch: usize) -> Tensor<2> {
        let [rows, width] = asking.dims();
        let queries = self.part(0, asking, batch);
        let (keys, values) = (self.part(1, x.clone(), batch), self.part(2, x, batch));
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let scores = queries.matmul(keys.transpose()).mul_scalar(scale);
        let mixed = softmax(scores, 3).matmul(values);
        self.proj.forward(mixed.swap_dims(1, 2).reshape([rows, width]))
    }

    /// Queries, keys or values (0, 1, 2) of all heads: `[batch, heads, tokens, width of a head]`, a strided view.
    fn part(&self, which: usize, x: Tensor<2>, batch: usize) -> Tensor<4> {
        let [rows, width] = x.dims();
        let weight = self.qkv.weight.val().narrow(0, which * width, width);
        let bias = self.qkv.bias.val().narrow(0, which * width, width);
        let part = x.matmul(weight.transpose()) + bias.unsqueeze();
        part.reshape([batch, rows / batch, self.heads, width / self.heads]).swap_dims(1, 2)
    }
}
