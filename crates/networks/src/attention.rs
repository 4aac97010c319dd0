//! Multi-head self-attention.

use crate::linear::Linear;
use crate::pass::Pass;
use burn::module::Module;

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
    /// `x`: `[batch * tokens, width]`; `asking`: `[batch * asking tokens, width]`, `rows` of them; the result has the shape of
    /// `asking`.
    pub(crate) fn run<P: Pass>(
        &self,
        pass: &mut P,
        x: P::Value<2>,
        asking: (P::Value<2>, usize),
        (batch, tokens): (usize, usize),
    ) -> P::Value<2> {
        let (asking, rows) = asking;
        let [width, _] = self.proj.weight.dims();
        let queries = self.part(pass, 0, asking, (batch, rows / batch));
        let keys = self.part(pass, 1, x.clone(), (batch, tokens));
        let values = self.part(pass, 2, x, (batch, tokens));
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let keys = pass.through(keys, |keys| keys.transpose());
        let scores = pass.matmul(queries, keys);
        let scores = pass.through(scores, |scores| scores.mul_scalar(scale));
        let shares = pass.softmax(scores, 3);
        let mixed = pass.matmul(shares, values);
        let mixed = pass.through(mixed, |mixed| mixed.swap_dims(1, 2).reshape([rows, width]));
        pass.affine(mixed, &self.proj.affine())
    }

    /// Queries, keys or values (0, 1, 2) of all heads: `[batch, heads, tokens, width of a head]`, a strided view.
    fn part<P: Pass>(
        &self,
        pass: &mut P,
        which: usize,
        x: P::Value<2>,
        (batch, tokens): (usize, usize),
    ) -> P::Value<4> {
        let [width, _] = self.proj.weight.dims();
        let part = pass.affine(x, &self.qkv.affine_rows(which * width..(which + 1) * width));
        let heads = self.heads;
        pass.through(part, |part| part.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2))
    }
}
