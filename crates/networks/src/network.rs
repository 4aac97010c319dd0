//! A network of any of the families.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::config::NetworkConfig;
use crate::error::Result;
use crate::pass::{Pass, Plain, Recording, Tangent};
use crate::source::Source;
use crate::vit::Vit;

/// Standard deviation of fresh weights, before the cut at two deviations (as BERT and ViT have it).
const FRESH_DEVIATION: f32 = 0.02;

/// A network without its head: from pixels to features.
#[derive(Module, Debug)]
pub enum Network {
    /// A Vision Transformer.
    Vit(Vit),
}

impl Network {
    /// A fresh network: biases 0, norm weights 1, all else drawn.
    ///
    /// `random` is given a tensor's name and shape and returns as many draws from the **standard normal distribution
    /// cut off at two deviations**; they are scaled here. It is called once for each drawn tensor, in a fixed order; with
    /// a stream of numbers for each name the order does not matter.
    ///
    /// # Errors
    /// Those of [`NetworkConfig::validate`]; `Mismatch` when `random` returns another number of draws.
    pub fn init(
        config: &NetworkConfig,
        random: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
        device: &Device,
    ) -> Result<Network> {
        let fresh = |name: &str, shape: &[usize]| {
            let values = match (name.rsplit('.').next(), shape) {
                (Some("bias"), &[count]) => vec![0.0; count],
                (Some("weight"), &[count]) => vec![1.0; count],
                _ => random(name, shape).into_iter().map(|draw| draw * FRESH_DEVIATION).collect(),
            };
            let count = values.len();
            let expected = shape.iter().product::<usize>();
            let shape = if count == expected { shape.to_vec() } else { vec![count] };
            Some(TensorData::new(values, shape))
        };
        let mut source = Source::gather(config.tensors()?, fresh, device)?;
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
        self.run(&mut Plain, pixels)
    }

    /// The features of the first-order approximation of this network, which is plain: `features + J delta`, with the deltas of
    /// `tangent`. They are tracked where a delta is.
    ///
    /// # Shapes
    /// As [`Network::features`]; `pixels` is plain.
    pub fn linearized_features(&self, tangent: &mut Tangent, pixels: Tensor<4>) -> Tensor<2> {
        self.run(tangent, pixels).sum()
    }

    /// The features, tracked, while `recording` keeps what the layers see. The network is plain.
    ///
    /// # Shapes
    /// As [`Network::features`]; `pixels` is plain, and has as many images as `recording` was made for.
    pub fn recorded_features(&self, recording: &mut Recording, pixels: Tensor<4>) -> Tensor<2> {
        self.run(recording, pixels)
    }

    fn run<P: Pass>(&self, pass: &mut P, pixels: Tensor<4>) -> P::Value<2> {
        match self {
            Network::Vit(vit) => vit.run(pass, pixels),
        }
    }

    pub(crate) fn build(config: &NetworkConfig, source: &mut Source<'_>) -> Network {
        match config {
            NetworkConfig::Vit(config) => Network::Vit(Vit::build(config, source)),
        }
    }
}
