//! What this crate promises, seen from outside.

mod families;
mod gradients;
mod init;
mod passes;
mod reference;
mod weights;

use burn::tensor::{Device, Tensor};
use taskvec_networks::{Gelu, Network, NetworkConfig, VitConfig};

/// A Vision Transformer that is small in every direction.
fn tiny(gelu: Gelu) -> NetworkConfig {
    NetworkConfig::Vit(VitConfig {
        image_size: 6,
        patch_size: 3,
        channels: 2,
        width: 8,
        depth: 2,
        heads: 2,
        mlp_width: 12,
        gelu,
        layer_norm_epsilon: 1e-5,
    })
}

/// `count` numbers between -1 and 1 that look random enough: a linear congruential generator (Numerical Recipes).
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let draw = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(draw).collect()
}

/// A network whose weights are far from zero: draws of 15 become weights of up to 0.3.
fn network(config: &NetworkConfig, device: &Device) -> Network {
    let mut seed = 0;
    let mut random = |_: &str, shape: &[usize]| {
        seed += 1;
        numbers(seed, shape.iter().product()).into_iter().map(|number| 15.0 * number).collect()
    };
    Network::init(config, &mut random, device).unwrap()
}

fn pixels(config: &NetworkConfig, batch: usize, device: &Device) -> Tensor<4> {
    let [channels, height, width] = config.input_shape();
    let values = numbers(99, batch * channels * height * width);
    Tensor::<1>::from_floats(values.as_slice(), device).reshape([batch, channels, height, width])
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().unwrap()
}
