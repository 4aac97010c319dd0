//! Times forward and backward of a ViT (65 tokens, width 192, 6 layers), the way the packer trains: the batch cut into
//! shards, each on one thread. Arguments: images per batch (16), shards (2), rounds (20).
//!
//! `tests/reference/time_vit.py` times PyTorch on the same step.

use std::time::Instant;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, activation::log_softmax};
use taskvec_networks::{Gelu, Network, NetworkConfig, VitConfig, parameters};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLASSES: usize = 10;

#[expect(clippy::print_stdout, reason = "an example's only output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let batch = arguments.next().unwrap_or(Ok(16))?;
    let shards = arguments.next().unwrap_or(Ok(2))?;
    let rounds = arguments.next().unwrap_or(Ok(20))?;
    let config = NetworkConfig::Vit(VitConfig {
        image_size: 64,
        patch_size: 8,
        channels: 1,
        width: 192,
        depth: 6,
        heads: 3,
        mlp_width: 768,
        gelu: Gelu::Exact,
        layer_norm_epsilon: 1e-6,
    });
    let device = Device::flex().autodiff();
    let mut state = 1u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut random = |_: &str, shape: &[usize]| (0..shape.iter().product()).map(|_| draw()).collect::<Vec<f32>>();
    let network = Network::init(&config, &mut random, &device)?;
    let pixels: Vec<f32> = random("pixels", &[batch, 64, 64]);
    let mut times: Vec<[f64; 2]> = Vec::new();
    for _ in 0..rounds + 3 {
        let start = Instant::now();
        let size = batch / shards;
        let seconds = std::thread::scope(|scope| {
            let workers = pixels.chunks(size * 64 * 64).map(|pixels| {
                let network = network.clone();
                let device = device.clone();
                scope.spawn(move || step(network.fork(&device), pixels, &device))
            });
            let workers: Vec<_> = workers.collect();
            workers.into_iter().map(|worker| worker.join().expect("a shard")).fold(0.0, f64::max)
        });
        times.push([start.elapsed().as_secs_f64(), seconds]);
    }
    let mut times = times.split_off(3);
    times.sort_by(|a, b| a[0].total_cmp(&b[0]));
    for (word, [step, forward]) in [("median", times[times.len() / 2]), ("best", times[0])] {
        println!("batch {batch}, {shards} shards, {word}: {:.1} ms (forward {:.1} ms)", step * 1e3, forward * 1e3);
    }
    Ok(())
}

/// Forward and backward; returns the seconds of the forward pass.
fn step(network: Network, pixels: &[f32], device: &Device) -> f64 {
    let start = Instant::now();
    let batch = pixels.len() / (64 * 64);
    let pixels = Tensor::<1>::from_floats(pixels, device).reshape([batch, 1, 64, 64]);
    let logits = network.features(pixels).narrow(1, 0, CLASSES);
    let labels = Tensor::<1, Int>::arange(0..batch as i64, device).remainder_scalar(CLASSES as i64);
    let loss = log_softmax(logits, 1).gather(1, labels.reshape([batch, 1])).mean().neg();
    let seconds = start.elapsed().as_secs_f64();
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    assert_eq!(gradients.len(), parameters(&network).len());
    seconds
}
