//! A network of any of the families.

use std::collections::HashMap;

use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{LinearizedConfig, NetworkConfig};
use crate::error::Result;
use crate::mobilenet_v1::MobileNetV1;
use crate::pass::{Measured, Pass, Plain, Recording, Tangent, plain};
use crate::resnet::ResNet;
use crate::source::Source;
use crate::vit::Vit;

/// Standard deviation of a Transformer's fresh weights, before the cut at two deviations (as BERT and ViT have it).
const FRESH_DEVIATION: f32 = 0.02;

/// A network without its head: from pixels to features.
#[derive(Module, Debug)]
pub enum Network {
    /// A Vision Transformer.
    Vit(Vit),
    /// A MobileNetV1.
    MobileNetV1(MobileNetV1),
    /// A ResNet for small pictures.
    ResNet(ResNet),
}

impl Network {
    /// A fresh network: biases and running means 0, norm weights and running variances 1, all else drawn.
    ///
    /// `random` is given a tensor's name and shape and returns as many draws from the **standard normal distribution
    /// cut off at two deviations**; they are scaled here. It is called once for each drawn tensor, in a fixed order; with
    /// a stream of numbers for each name the order does not matter.
    ///
    /// # Errors
    /// Those of [`NetworkConfig::validate`]; `Usage` for a linearized network; `Mismatch` when `random` returns another number of
    /// draws.
    pub fn init(
        config: &NetworkConfig,
        random: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
        device: &Device,
    ) -> Result<Network> {
        let fresh = |name: &str, shape: &[usize]| {
            let values = match (name.rsplit('.').next(), shape) {
                (Some("bias" | "running_mean"), &[count]) => vec![0.0; count],
                (Some("weight" | "running_var"), &[count]) => vec![1.0; count],
                _ => {
                    let deviation = fresh_deviation(config, shape);
                    random(name, shape).into_iter().map(|draw| draw * deviation).collect()
                }
            };
            let count = values.len();
            let expected = shape.iter().product::<usize>();
            let shape = if count == expected { shape.to_vec() } else { vec![count] };
            Some(TensorData::new(values, shape))
        };
        let mut source = Source::gather(config.buildable()?.tensors()?, fresh, device)?;
        Ok(Network::build(config, &mut source))
    }

    /// The features that heads are applied to.
    ///
    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`, f32, normalized; the result: `[batch, feature_width]`.
    ///
    /// # Panics
    /// When `pixels` has another size than the network's description says.
    pub fn features(&self, pixels: Tensor<4>) -> Tensor<2> {
        self.run(&mut plain(), pixels)
    }

    /// The features of the first-order approximation of this network, which is plain: `features + J delta`, with the deltas of
    /// `tangent`. They are tracked where a delta is.
    ///
    /// # Shapes
    /// As [`Network::features`]; `pixels` is plain.
    pub fn linearized_features(&self, tangent: &mut Tangent, pixels: Tensor<4>) -> Tensor<2> {
        self.run(tangent, pixels).sum()
    }

    /// The two parts of [`Network::linearized_features`]: `features`, and `J delta`, which is none where no parameter has a delta.
    ///
    /// # Shapes
    /// As [`Network::features`], each; `pixels` is plain.
    pub fn features_and_derivative(&self, tangent: &mut Tangent, pixels: Tensor<4>) -> (Tensor<2>, Option<Tensor<2>>) {
        self.run(tangent, pixels).parts()
    }

    /// The features, tracked, while `recording` keeps what the layers see. The network is plain.
    ///
    /// # Shapes
    /// As [`Network::features`]; `pixels` is plain, and has as many images as `recording` was made for.
    pub fn recorded_features(&self, recording: &mut Recording, pixels: Tensor<4>) -> Tensor<2> {
        self.run(recording, pixels)
    }

    /// The statistics that batch norms have on these images, each behind those before it, which have theirs: by burn's name of
    /// `running_mean` and of `running_var`. Variances are the images' own, divided by their number (PyTorch's running ones by one
    /// less). Empty for a network without batch norms. The network is plain.
    ///
    /// # Shapes
    /// As [`Network::features`]; each statistic `[channels]`.
    pub fn measured_statistics(&self, pixels: Tensor<4>) -> HashMap<ParamId, Tensor<1>> {
        let mut pass = Plain(Measured::default());
        self.run(&mut pass, pixels);
        pass.0.0
    }

    /// Whether it has ReLUs, behind which a unit may be shut for good: then no image ever reaches the weights that make it and
    /// those that look at it, and public checkpoints do have such units.
    pub fn has_relus(&self) -> bool {
        match self {
            Network::Vit(_) => false,
            Network::MobileNetV1(_) | Network::ResNet(_) => true,
        }
    }

    fn run<P: Pass>(&self, pass: &mut P, pixels: Tensor<4>) -> P::Value<2> {
        match self {
            Network::Vit(network) => network.run(pass, pixels),
            Network::MobileNetV1(network) => network.run(pass, pixels),
            Network::ResNet(network) => network.run(pass, pixels),
        }
    }

    pub(crate) fn build(config: &NetworkConfig, source: &mut Source<'_>) -> Network {
        match config {
            NetworkConfig::Vit(config) => Network::Vit(Vit::build(config, source)),
            NetworkConfig::MobileNetV1(config) => Network::MobileNetV1(MobileNetV1::build(config, source)),
            NetworkConfig::ResNet(config) => Network::ResNet(ResNet::build(config, source)),
            NetworkConfig::Linearized(LinearizedConfig { of }) => Network::build(of, source),
        }
    }
}

/// Standard deviation of a fresh weight: where nothing but ReLUs follows a convolution, it must keep the size of what goes
/// through (He et al. 2015, equation 10).
fn fresh_deviation(config: &NetworkConfig, shape: &[usize]) -> f32 {
    match config {
        NetworkConfig::Vit(_) => FRESH_DEVIATION,
        NetworkConfig::MobileNetV1(_) | NetworkConfig::ResNet(_) => {
            let inside: usize = shape.iter().skip(1).product();
            (2.0 / inside as f32).sqrt()
        }
        NetworkConfig::Linearized(LinearizedConfig { of }) => fresh_deviation(of, shape),
    }
}
