//! A dense training step of ours beside PyTorch's, on the same shapes and as many threads.
//!
//! A Vision Transformer of 65 tokens, width 192, 6 layers, batch 16: forward, backward, clip, AdamW. Both sides take turns,
//! and the faster of two rounds counts. PyTorch runs in the Python that `--python` names (`bench/run` sets one up).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use serde::Deserialize;
use taskvec_packer::recipe::Recipe;
use taskvec_packer::train::{Timing, train};

use super::{Row, images, median};
use crate::render;

const STEPS: usize = 24;
const BATCH: usize = 16;
const SIDE: usize = 32;
/// Compared with ours: what it does is written there.
const TORCH: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/torch_step.py"));

#[derive(Deserialize)]
struct Torch {
    seconds_per_step: Vec<f64>,
    version: String,
}

pub(super) fn rows(python: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let Some(python) = python else {
        render::note("left out: a training step beside PyTorch (name a Python that has torch with --python)");
        return Ok(Vec::new());
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut ours, mut theirs, mut version) = (f64::INFINITY, f64::INFINITY, String::new());
    for round in 0..2 {
        ours = ours.min(our_step(threads, round)?);
        let torch = torch_step(python, threads)?;
        theirs = theirs.min(median(torch.seconds_per_step));
        version = torch.version;
    }
    let work =
        format!("dense training step, ViT 65 x 192 x 6, batch {BATCH}, {threads} threads, beside PyTorch {version}");
    Ok(vec![Row::new(work, 1e3 * ours, 1e3 * theirs, "ms", 1.5)])
}

/// Mean seconds of a step, by the run's own clock.
fn our_step(threads: usize, round: u64) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    images::write(folder.path(), SIDE)?;
    let recipe = format!(
        "name: step\nseed: {round}\nnetwork: {{family: vit, image_size: {SIDE}, patch_size: 4, channels: 3, width: 192, depth: 6, \
         heads: 3, mlp_width: 768, gelu: exact, layer_norm_epsilon: 1.0e-6}}\ndata: .\nsteps: {STEPS}\nbatch: {BATCH}\n\
         shards: {threads}\nheld_out: 0\ncheckpoint_steps: 1000000\n"
    );
    let recipe = Recipe::parse(&recipe, folder.path())?;
    let out = folder.path().join("run");
    train(&recipe, &out, &mut (), &AtomicBool::new(false))?;
    let timing: Timing = serde_json::from_slice(&fs::read(out.join("timing.json"))?)?;
    Ok(timing.seconds_per_step)
}

fn torch_step(python: &Path, threads: usize) -> anyhow::Result<Torch> {
    let shapes = [
        ("--image", SIDE),
        ("--patch", 4),
        ("--channels", 3),
        ("--width", 192),
        ("--depth", 6),
        ("--heads", 3),
        ("--mlp-width", 768),
        ("--classes", images::CLASSES),
        ("--batch", BATCH),
        ("--steps", STEPS),
        ("--threads", threads),
    ];
    let shapes = shapes.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]);
    let output = Command::new(python).args(["-c", TORCH]).args(shapes).output();
    let output = output.with_context(|| format!("run `{}`", python.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "PyTorch's step failed: {}", said.lines().last().unwrap_or("no message"));
    serde_json::from_slice(&output.stdout).context("read what PyTorch's step printed")
}
