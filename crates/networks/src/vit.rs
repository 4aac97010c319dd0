//! Vision Transformers: Dosovitskiy et al. 2021, with timm's names for the tensors.
//!
//! Tokens of all images stand as rows of one matrix through the whole network: matrix products and row-wise operations
//! are fastest so, and only attention looks at the images apart.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::attention::Attention;
use crate::config::{Gelu, VitConfig};
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::pass::{Affine, Pass};
use crate::source::Source;

/// A Vision Transformer without its head: from pixels to the features of the class token.
#[derive(Module, Debug)]
pub struct Vit {
    /// `[1, 1, width]`
    pub cls_token: Param<Tensor<3>>,
    /// `[1, tokens, width]`; the class token's is the first.
    pub pos_embed: Param<Tensor<3>>,
    /// From patches to tokens.
    pub patch_embed: PatchEmbedding,
    /// In order.
    pub blocks: Vec<Block>,
    /// The last layer norm.
    pub norm: LayerNorm,
}

/// Cuts an image into patches and projects each to a token.
#[derive(Module, Debug)]
pub struct PatchEmbedding {
    /// The projection, stored as the convolution that it is in PyTorch.
    pub proj: PatchProjection,
}

/// A convolution whose stride is its size.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[width, channels, patch, patch]`
    pub weight: Param<Tensor<4>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
}

/// Attention and MLP, each behind its own layer norm and added to what came in.
#[derive(Module, Debug)]
pub struct Block {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Among the tokens.
    pub attn: Attention,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// Within each token.
    pub mlp: Mlp,
}

/// Two linear layers with a GELU between them.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[mlp_width, width]`
    pub fc1: Linear,
    /// `[width, mlp_width]`
    pub fc2: Linear,
    /// Between the two.
    #[module(skip)]
    pub gelu: Gelu,
}

impl Vit {
    /// A network of this description, its tensors asked of `source` by name. The description has been validated.
    pub(crate) fn build(config: &VitConfig, source: &mut Source<'_>) -> Vit {
        let width = config.width;
        let patch = config.patch_size;
        Vit {
            cls_token: source.parameter("cls_token", [1, 1, width]),
            pos_embed: source.parameter("pos_embed", [1, config.tokens(), width]),
            patch_embed: PatchEmbedding {
                proj: PatchProjection {
                    weight: source.parameter("patch_embed.proj.weight", [width, config.channels, patch, patch]),
                    bias: source.parameter("patch_embed.proj.bias", [width]),
                },
            },
            blocks: (0..config.depth).map(|index| Block::build(config, source, &format!("blocks.{index}"))).collect(),
            norm: LayerNorm::build(source, "norm", width, config.layer_norm_epsilon),
        }
    }

    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`; the result: `[batch, feature_width]`.
    ///
    /// # Panics
    /// When `pixels` has another size than the description says.
    pub(crate) fn run<P: Pass>(&self, pass: &mut P, pixels: Tensor<4>) -> P::Value<2> {
        let [batch, ..] = pixels.dims();
        let [_, tokens, width] = self.pos_embed.dims();
        let patches = self.patch_embed.run(pass, pixels);
        let cls_token = pass.repeat(&self.cls_token, batch);
        let places = pass.repeat(&self.pos_embed, batch);
        let x = pass.join(cls_token, patches, 1);
        let x = pass.add(x, places);
        let mut x = pass.through(x, |x| x.reshape([batch * tokens, width]));
        let (last, before) = self.blocks.split_last().expect("a description has at least one block");
        for block in before {
            x = block.run(pass, x, (batch, tokens));
        }
        let first = last.run_first(pass, x, (batch, tokens));
        pass.layer_norm(first, &self.norm)
    }
}

/// `[batch * tokens, width]` to `[batch, width]`: the first token of each image.
fn first_tokens<P: Pass>(pass: &mut P, x: P::Value<2>, (batch, tokens): (usize, usize)) -> P::Value<2> {
    pass.through(x, |x| {
        let [_, width] = x.dims();
        x.reshape([batch, tokens, width]).narrow(1, 0, 1).reshape([batch, width])
    })
}

impl PatchEmbedding {
    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`; the result: `[batch, patches, width of a token]`, row by row.
    fn run<P: Pass>(&self, pass: &mut P, pixels: Tensor<4>) -> P::Value<3> {
        let [batch, channels, height, width] = pixels.dims();
        let [out, _, patch, _] = self.proj.weight.dims();
        let (down, across) = (height / patch, width / patch);
        let values = channels * patch * patch;
        let patches = pixels
            .reshape([batch, channels, down, patch, across, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * down * across, values]);
        let patches = pass.constant(patches);
        let tokens = pass.affine(patches, &Affine::whole(&self.proj.weight, Some(&self.proj.bias)));
        pass.through(tokens, |tokens| tokens.reshape([batch, down * across, out]))
    }
}

impl Block {
    fn build(config: &VitConfig, source: &mut Source<'_>, name: &str) -> Block {
        let (width, epsilon) = (config.width, config.layer_norm_epsilon);
        Block {
            norm1: LayerNorm::build(source, &format!("{name}.norm1"), width, epsilon),
            attn: Attention {
                qkv: Linear::build(source, &format!("{name}.attn.qkv"), 3 * width, width),
                proj: Linear::build(source, &format!("{name}.attn.proj"), width, width),
                heads: config.heads,
            },
            norm2: LayerNorm::build(source, &format!("{name}.norm2"), width, epsilon),
            mlp: Mlp {
                fc1: Linear::build(source, &format!("{name}.mlp.fc1"), config.mlp_width, width),
                fc2: Linear::build(source, &format!("{name}.mlp.fc2"), width, config.mlp_width),
                gelu: config.gelu,
            },
        }
    }

    fn run<P: Pass>(&self, pass: &mut P, x: P::Value<2>, (batch, tokens): (usize, usize)) -> P::Value<2> {
        let normed = pass.layer_norm(x.clone(), &self.norm1);
        let mixed = self.attn.run(pass, normed.clone(), (normed, batch * tokens), (batch, tokens));
        let x = pass.add(mixed, x);
        self.add_mlp(pass, x)
    }

    /// The first token of what `run` gives. Of a last block nothing else is ever looked at, so only keys and values
    /// are computed for all tokens: five sixths of the block's work are left out, here and in the backward pass.
    fn run_first<P: Pass>(&self, pass: &mut P, x: P::Value<2>, (batch, tokens): (usize, usize)) -> P::Value<2> {
        let normed = pass.layer_norm(x.clone(), &self.norm1);
        let asking = first_tokens(pass, normed.clone(), (batch, tokens));
        let mixed = self.attn.run(pass, normed, (asking, batch), (batch, tokens));
        let first = first_tokens(pass, x, (batch, tokens));
        let x = pass.add(mixed, first);
        self.add_mlp(pass, x)
    }

    fn add_mlp<P: Pass>(&self, pass: &mut P, x: P::Value<2>) -> P::Value<2> {
        let normed = pass.layer_norm(x.clone(), &self.norm2);
        let inside = pass.affine(normed, &self.mlp.fc1.affine());
        let inside = pass.gelu(inside, self.mlp.gelu);
        let out = pass.affine(inside, &self.mlp.fc2.affine());
        pass.add(out, x)
    }
}
