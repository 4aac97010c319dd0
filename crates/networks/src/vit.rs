//! Vision Transformers: Dosovitskiy et al. 2021, with timm's names for the tensors.
//!
//! Tokens of all images stand as rows of one matrix through the whole network: matrix products and row-wise operations
//! are fastest so, and only attention looks at the images apart.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::attention::Attention;
use crate::config::{Gelu, VitConfig};
use crate::gelu::gelu;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
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
    pub fn features(&self, pixels: Tensor<4>) -> Tensor<2> {
        let [batch, ..] = pixels.dims();
        let [_, tokens, width] = self.pos_embed.dims();
        let patches = self.patch_embed.forward(pixels);
        let cls_token = self.cls_token.val().expand([batch, 1, width]);
        let x = Tensor::cat(vec![cls_token, patches], 1) + self.pos_embed.val();
        let x = x.reshape([batch * tokens, width]);
        let (last, before) = self.blocks.split_last().expect("a description has at least one block");
        let x = before.iter().fold(x, |x, block| block.forward(x, batch));
        self.norm.forward(last.forward_first(x, batch))
    }
}

/// `[batch * tokens, width]` to `[batch, width]`: the first token of each image.
fn first_tokens(x: Tensor<2>, batch: usize) -> Tensor<2> {
    let [rows, width] = x.dims();
    x.reshape([batch, rows / batch, width]).narrow(1, 0, 1).reshape([batch, width])
}

impl PatchEmbedding {
    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`; the result: `[batch, patches, width of a token]`, row by row.
    fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = pixels.dims();
        let [out, _, patch, _] = self.proj.weight.dims();
        let (down, across) = (height / patch, width / patch);
        let values = channels * patch * patch;
        let patches = pixels
            .reshape([batch, channels, down, patch, across, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * down * across, values]);
        let weight = self.proj.weight.val().reshape([out, values]).transpose();
        let tokens = patches.matmul(weight) + self.proj.bias.val().unsqueeze();
        tokens.reshape([batch, down * across, out])
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

    fn forward(&self, x: Tensor<2>, batch: usize) -> Tensor<2> {
        let normed = self.norm1.forward(x.clone());
        let x = self.attn.forward(normed.clone(), normed, batch) + x;
        self.mlp.forward(self.norm2.forward(x.clone())) + x
    }

    /// The first token of what `forward` gives. Of a last block nothing else is ever looked at, so only keys and values
    /// are computed for all tokens: five sixths of the block's work are left out, here and in the backward pass.
    fn forward_first(&self, x: Tensor<2>, batch: usize) -> Tensor<2> {
        let normed = self.norm1.forward(x.clone());
        let asking = first_tokens(normed.clone(), batch);
        let x = self.attn.forward(normed, asking, batch) + first_tokens(x, batch);
        self.mlp.forward(self.norm2.forward(x.clone())) + x
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.fc2.forward(gelu(self.fc1.forward(x), self.gelu))
    }
}
