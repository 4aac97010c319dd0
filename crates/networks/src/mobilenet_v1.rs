//! MobileNetV1: Howard et al. 2017, with timm's names for the tensors.
//!
//! Thirteen blocks of a depthwise and a 1 by 1 convolution, each followed by batch norm and ReLU6; the features are the
//! means over what is left of the picture. The published weights are TensorFlow's, whose convolutions of stride 2 put
//! their zeros after the picture and not around it: `padding` says which.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::batch_norm::{self, BatchNorm};
use crate::config::{SIDE_MAX, epsilon, parameter_count, side};
use crate::conv::{Conv, Geometry};
use crate::error::{Error, Result};
use crate::pass::Pass;
use crate::source::Source;

/// The whole network's stride: five convolutions of stride 2.
const STRIDE: usize = 32;
/// Channels of the first convolution before the multiplier.
const STEM_WIDTH: usize = 32;
/// Blocks of each stage: stride of the first, channels before the multiplier, count (table 1 of the paper).
const STAGES: [(usize, usize, usize); 5] = [(1, 64, 1), (2, 128, 2), (2, 256, 2), (2, 512, 6), (2, 1024, 2)];
/// The largest multiplier: `1024 * 16` channels are [`SIDE_MAX`].
const WIDTH_MULTIPLIER_MAX: f64 = 16.0;

/// A MobileNetV1 (Howard et al. 2017): `mobilenet_v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV1Config {
    /// Height and width of the image, in pixels; a multiple of 32. The published weights know 128 to 224, and serve others.
    pub image_size: usize,
    /// Channels of the image: 1 for gray, 3 for RGB.
    pub channels: usize,
    /// Factor on the channels of every layer, rounded down; above 0, at most 16. Published: 0.25, 0.5, 0.75, 1.
    pub width_multiplier: f64,
    /// Where convolutions of stride 2 put their zeros.
    pub padding: StridedPadding,
    /// Added to the variance by each batch norm; positive. 1e-3 in Keras, 1e-5 in timm.
    pub batch_norm_epsilon: f64,
}

/// Where a 3 by 3 convolution of stride 2 puts its zeros around a picture of even size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StridedPadding {
    /// One row below and one column to the right: `SAME` in TensorFlow and Keras.
    TensorFlow,
    /// On all sides, of which only those above and to the left are looked at: `padding=1` in PyTorch.
    PyTorch,
}

/// A MobileNetV1 without its head.
#[derive(Module, Debug)]
pub struct MobileNetV1 {
    /// `[channels of the stem, channels of the image, 3, 3]`
    pub conv_stem: Conv,
    /// After the stem.
    pub bn1: BatchNorm,
    /// By stage, in order.
    pub blocks: Vec<Vec<SeparableBlock>>,
    /// Whether the zeros of a convolution of stride 2 are after the picture.
    pub pads_after: bool,
}

/// A depthwise separable convolution: space first, channels then.
#[derive(Module, Debug)]
pub struct SeparableBlock {
    /// `[in, 1, 3, 3]`
    pub conv_dw: Conv,
    /// After it.
    pub bn1: BatchNorm,
    /// `[out, in, 1, 1]`
    pub conv_pw: Conv,
    /// After it.
    pub bn2: BatchNorm,
}

/// What a block takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlan {
    /// Channels that come in.
    pub inside: usize,
    /// Channels that go out.
    pub out: usize,
    /// Stride of its depthwise convolution.
    pub stride: usize,
}

impl MobileNetV1Config {
    /// Stride of the first convolution.
    pub const STEM_STRIDE: usize = 2;

    /// Numbers per image that the network hands to a head.
    pub fn feature_width(&self) -> usize {
        self.width(STAGES[STAGES.len() - 1].1)
    }

    /// All blocks by stage, in order.
    pub fn stages(&self) -> Vec<Vec<BlockPlan>> {
        let mut inside = self.width(STEM_WIDTH);
        let mut block = |out: usize, stride: usize| {
            let plan = BlockPlan { inside, out, stride };
            inside = out;
            plan
        };
        let stage = |&(stride, channels, count): &(usize, usize, usize)| {
            let out = self.width(channels);
            (0..count).map(|at| block(out, if at == 0 { stride } else { 1 })).collect()
        };
        STAGES.iter().map(stage).collect()
    }

    /// Zeros above the picture and below it, to the left and to the right, for a 3 by 3 convolution of this stride.
    pub fn padding(&self, stride: usize) -> (usize, usize) {
        match (stride, self.padding) {
            (2, StridedPadding::TensorFlow) => (0, 1),
            _ => (1, 1),
        }
    }

    /// Channels of the first convolution.
    pub fn stem_width(&self) -> usize {
        self.width(STEM_WIDTH)
    }

    /// Channels of a layer that the paper gives `channels`; it is below 2^15.
    fn width(&self, channels: usize) -> usize {
        (channels as f64 * self.width_multiplier) as usize
    }

    pub(crate) fn validate(&self) -> Result<()> {
        side("image_size", self.image_size, SIDE_MAX)?;
        side("channels", self.channels, SIDE_MAX)?;
        if !self.image_size.is_multiple_of(STRIDE) {
            let found = self.image_size;
            return Err(Error::usage(format!("network: `image_size` is {found}, it must be a multiple of {STRIDE}"))
                .with_help("the published weights were trained at 128, 160, 192 and 224"));
        }
        let multiplier = self.width_multiplier;
        if !(multiplier <= WIDTH_MULTIPLIER_MAX && multiplier * STEM_WIDTH as f64 >= 1.0) {
            return Err(Error::usage(format!(
                "network: `width_multiplier` is {multiplier}, expected 1/{STEM_WIDTH} to {WIDTH_MULTIPLIER_MAX}"
            ))
            .with_help("published are 0.25, 0.5, 0.75 and 1"));
        }
        epsilon("batch_norm_epsilon", self.batch_norm_epsilon, "Keras uses 1e-3, PyTorch 1e-5")?;
        parameter_count(self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum())
    }

    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let stem = self.stem_width();
        let mut tensors = vec![("conv_stem.weight".to_owned(), vec![stem, self.channels, 3, 3])];
        tensors.extend(batch_norm::tensors("bn1", stem));
        for (stage, blocks) in self.stages().iter().enumerate() {
            for (at, &BlockPlan { inside, out, .. }) in blocks.iter().enumerate() {
                let name = format!("blocks.{stage}.{at}");
                tensors.push((format!("{name}.conv_dw.weight"), vec![inside, 1, 3, 3]));
                tensors.extend(batch_norm::tensors(&format!("{name}.bn1"), inside));
                tensors.push((format!("{name}.conv_pw.weight"), vec![out, inside, 1, 1]));
                tensors.extend(batch_norm::tensors(&format!("{name}.bn2"), out));
            }
        }
        tensors
    }
}

impl MobileNetV1 {
    /// A network of this description, its tensors asked of `source` by name. The description has been validated.
    pub(crate) fn build(config: &MobileNetV1Config, source: &mut Source<'_>) -> MobileNetV1 {
        let (stem, epsilon) = (config.stem_width(), config.batch_norm_epsilon);
        let spatial = |stride: usize, groups: usize| {
            // Zeros on one side only are added before the convolution.
            let padding = match config.padding(stride) {
                (before, after) if before == after => before,
                _ => 0,
            };
            Geometry { stride, padding, groups }
        };
        let mixing = Geometry { stride: 1, padding: 0, groups: 1 };
        let image = [stem, config.channels, 3, 3];
        let conv_stem = Conv::build(source, "conv_stem", image, spatial(MobileNetV1Config::STEM_STRIDE, 1));
        let bn1 = BatchNorm::build(source, "bn1", stem, epsilon);
        let mut block = |stage: usize, at: usize, plan: &BlockPlan| {
            let (name, &BlockPlan { inside, out, stride }) = (format!("blocks.{stage}.{at}"), plan);
            let at = |part: &str| format!("{name}.{part}");
            SeparableBlock {
                conv_dw: Conv::build(source, &at("conv_dw"), [inside, 1, 3, 3], spatial(stride, inside)),
                bn1: BatchNorm::build(source, &at("bn1"), inside, epsilon),
                conv_pw: Conv::build(source, &at("conv_pw"), [out, inside, 1, 1], mixing),
                bn2: BatchNorm::build(source, &at("bn2"), out, epsilon),
            }
        };
        let blocks = (config.stages().iter().enumerate())
            .map(|(stage, plans)| plans.iter().enumerate().map(|(at, plan)| block(stage, at, plan)).collect())
            .collect();
        MobileNetV1 { conv_stem, bn1, blocks, pads_after: config.padding == StridedPadding::TensorFlow }
    }

    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`; the result: `[batch, feature_width]`.
    ///
    /// # Panics
    /// When `pixels` has another number of channels than the description says.
    pub(crate) fn run<P: Pass>(&self, pass: &mut P, pixels: Tensor<4>) -> P::Value<2> {
        let pixels = pass.constant(pixels);
        let mut x = self.layer(pass, pixels, &self.conv_stem, &self.bn1);
        for block in self.blocks.iter().flatten() {
            x = self.layer(pass, x, &block.conv_dw, &block.bn1);
            x = self.layer(pass, x, &block.conv_pw, &block.bn2);
        }
        pass.through(x, channel_means)
    }

    /// A convolution, its batch norm, and ReLU6.
    fn layer<P: Pass>(&self, pass: &mut P, x: P::Value<4>, conv: &Conv, norm: &BatchNorm) -> P::Value<4> {
        let x = match conv.stride == 2 && self.pads_after {
            true => pass.through(x, |x| x.pad((0, 1, 0, 1), 0.0)),
            false => x,
        };
        let x = pass.conv(x, conv);
        let x = pass.batch_norm(x, norm);
        pass.relu(x, Some(6.0))
    }
}

/// The mean of each channel over the picture: `[batch, channels, height, width]` to `[batch, channels]`.
pub(crate) fn channel_means(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
}
