//! ResNets for small pictures: He et al. 2016, section 4.2, with the names of akamaster/pytorch_resnet_cifar10.
//!
//! Three stages of basic blocks; the first block of the second and of the third halves the picture and doubles the
//! channels. There the shortcut has no weights (option A of the paper): every second pixel of every second row, and channels
//! of zeros on both sides.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::batch_norm::{self, BatchNorm};
use crate::config::{SIDE_MAX, epsilon, parameter_count, side};
use crate::conv::{Conv, Geometry};
use crate::error::{Error, Result};
use crate::mobilenet_v1::channel_means;
use crate::pass::Pass;
use crate::source::Source;

/// The deepest network of the paper.
const DEPTH_MAX: usize = 1202;

/// A ResNet for small pictures (He et al. 2016): `resnet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
    /// Height and width of the image, in pixels; a multiple of 4. 32 in the paper.
    pub image_size: usize,
    /// Channels of the image: 1 for gray, 3 for RGB.
    pub channels: usize,
    /// Channels of the first stage, even; the others have twice and four times as many. 16 in the paper.
    pub width: usize,
    /// Layers, the head included: 6 for each block of a stage, and 2. 20, 32, 44, 56 and 110 in the paper.
    pub depth: usize,
    /// Added to the variance by each batch norm; positive. 1e-5 in PyTorch.
    pub batch_norm_epsilon: f64,
}

/// A ResNet without its head.
#[derive(Module, Debug)]
pub struct ResNet {
    /// `[width, channels of the image, 3, 3]`
    pub conv1: Conv,
    /// After it.
    pub bn1: BatchNorm,
    /// On the whole picture.
    pub layer1: Vec<BasicBlock>,
    /// On the half of each side.
    pub layer2: Vec<BasicBlock>,
    /// On the quarter of each side.
    pub layer3: Vec<BasicBlock>,
}

/// Two 3 by 3 convolutions, and what came in added to them.
#[derive(Module, Debug)]
pub struct BasicBlock {
    /// `[out, in, 3, 3]`
    pub conv1: Conv,
    /// After it.
    pub bn1: BatchNorm,
    /// `[out, out, 3, 3]`
    pub conv2: Conv,
    /// After it.
    pub bn2: BatchNorm,
}

impl ResNetConfig {
    /// Stages; each has as many blocks.
    pub const STAGES: usize = 3;

    /// Numbers per image that the network hands to a head.
    pub fn feature_width(&self) -> usize {
        self.width << (Self::STAGES - 1)
    }

    /// Blocks of each stage.
    pub fn blocks_per_stage(&self) -> usize {
        (self.depth - 2) / (2 * Self::STAGES)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        side("image_size", self.image_size, SIDE_MAX)?;
        side("channels", self.channels, SIDE_MAX)?;
        side("width", self.width, SIDE_MAX >> (Self::STAGES - 1))?;
        side("depth", self.depth, DEPTH_MAX)?;
        for (field, found, expected, fits) in [
            ("image_size", self.image_size, "a multiple of 4", self.image_size.is_multiple_of(4)),
            ("width", self.width, "even", self.width.is_multiple_of(2)),
            ("depth", self.depth, "6 n + 2", self.depth >= 8 && self.depth % 6 == 2),
        ] {
            if !fits {
                return Err(Error::usage(format!("network: `{field}` is {found}, it must be {expected}"))
                    .with_help("published are depths of 20, 32, 44, 56 and 110 at 32 by 32 pixels, 16 wide"));
            }
        }
        epsilon("batch_norm_epsilon", self.batch_norm_epsilon, "PyTorch uses 1e-5")?;
        let per_block = 2 * 9 * self.feature_width() * self.feature_width();
        parameter_count(Self::STAGES.saturating_mul(self.blocks_per_stage()).saturating_mul(per_block))
    }

    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![("conv1.weight".to_owned(), vec![self.width, self.channels, 3, 3])];
        tensors.extend(batch_norm::tensors("bn1", self.width));
        for stage in 0..Self::STAGES {
            for at in 0..self.blocks_per_stage() {
                let (inside, out) = self.channels_of(stage, at);
                let name = format!("layer{}.{at}", stage + 1);
                for (number, inside) in [(1, inside), (2, out)] {
                    tensors.push((format!("{name}.conv{number}.weight"), vec![out, inside, 3, 3]));
                    tensors.extend(batch_norm::tensors(&format!("{name}.bn{number}"), out));
                }
            }
        }
        tensors
    }

    /// Channels that go into a block of a stage, and that come out.
    pub fn channels_of(&self, stage: usize, block: usize) -> (usize, usize) {
        let out = self.width << stage;
        (if block == 0 && stage > 0 { out / 2 } else { out }, out)
    }
}

impl ResNet {
    /// A network of this description, its tensors asked of `source` by name. The description has been validated.
    pub(crate) fn build(config: &ResNetConfig, source: &mut Source<'_>) -> ResNet {
        let (width, epsilon) = (config.width, config.batch_norm_epsilon);
        let conv1 = Conv::build(source, "conv1", [width, config.channels, 3, 3], geometry(1));
        let bn1 = BatchNorm::build(source, "bn1", width, epsilon);
        let mut layer = |stage: usize| {
            (0..config.blocks_per_stage())
                .map(|at| {
                    let (inside, out) = config.channels_of(stage, at);
                    BasicBlock::build(source, &format!("layer{}.{at}", stage + 1), inside, out, epsilon)
                })
                .collect()
        };
        ResNet { conv1, bn1, layer1: layer(0), layer2: layer(1), layer3: layer(2) }
    }

    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`; the result: `[batch, feature_width]`.
    ///
    /// # Panics
    /// When `pixels` has another number of channels than the description says.
    pub(crate) fn run<P: Pass>(&self, pass: &mut P, pixels: Tensor<4>) -> P::Value<2> {
        let pixels = pass.constant(pixels);
        let x = pass.conv(pixels, &self.conv1);
        let x = pass.batch_norm(x, &self.bn1);
        let mut x = pass.relu(x, None);
        for block in self.layer1.iter().chain(&self.layer2).chain(&self.layer3) {
            x = block.run(pass, x);
        }
        pass.through(x, channel_means)
    }
}

/// How a 3 by 3 convolution of this stride goes over a picture.
fn geometry(stride: usize) -> Geometry {
    Geometry { stride, padding: 1, groups: 1 }
}

impl BasicBlock {
    fn build(source: &mut Source<'_>, name: &str, inside: usize, out: usize, epsilon: f64) -> BasicBlock {
        let stride = if inside == out { 1 } else { 2 };
        BasicBlock {
            conv1: Conv::build(source, &format!("{name}.conv1"), [out, inside, 3, 3], geometry(stride)),
            bn1: BatchNorm::build(source, &format!("{name}.bn1"), out, epsilon),
            conv2: Conv::build(source, &format!("{name}.conv2"), [out, out, 3, 3], geometry(1)),
            bn2: BatchNorm::build(source, &format!("{name}.bn2"), out, epsilon),
        }
    }

    fn run<P: Pass>(&self, pass: &mut P, x: P::Value<4>) -> P::Value<4> {
        let out = pass.conv(x.clone(), &self.conv1);
        let out = pass.batch_norm(out, &self.bn1);
        let out = pass.relu(out, None);
        let out = pass.conv(out, &self.conv2);
        let out = pass.batch_norm(out, &self.bn2);
        let shortcut = if self.conv1.stride == 1 { x } else { pass.through(x, narrowed) };
        let sum = pass.add(out, shortcut);
        pass.relu(sum, None)
    }
}

/// Half the picture with twice the channels, without a weight.
///
/// # Shapes
/// `x`: `[batch, channels, height, width]`; the result: `[batch, 2 channels, height / 2, width / 2]`.
fn narrowed(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let (rows, columns) = (height / 2, width / 2);
    let x = x.reshape([batch, channels, rows, 2, columns * 2]).narrow(3, 0, 1);
    let x = x.reshape([batch, channels, rows, columns, 2]).narrow(4, 0, 1);
    let x = x.reshape([batch, channels, rows, columns]);
    let nothing = x.clone().narrow(1, 0, channels / 2).zeros_like();
    Tensor::cat(vec![nothing.clone(), x, nothing], 1)
}
