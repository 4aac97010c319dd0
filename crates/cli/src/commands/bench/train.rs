//! Training of ours beside PyTorch's, on the same shapes and as many threads, and the ways to train beside each other.
//!
//! A Vision Transformer of 65 tokens, width 192, 6 layers, batch 16. A dense step is forward, backward, clip, AdamW; sensitivities are
//! measured on 64 images, in PyTorch as published code does it (a batch forward, then a backward pass for each image). Both sides take
//! turns, and the faster of two rounds counts. PyTorch runs in the Python that `--python` names (`bench/run` sets one up); what has
//! nothing to do with it is measured without.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use taskvec_packer::export::bundle_run;
use taskvec_packer::recipe::Recipe;
use taskvec_packer::train::{Ending, Phase, Progress, Run, Timing, train};

use super::{Row, images, median};
use crate::render;

const STEPS: usize = 24;
const ROUNDS: usize = 2;
const BATCH: usize = 16;
const SIDE: usize = 32;
/// Compared with ours: what it does is written there.
const TORCH: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/torch_step.py"));

#[derive(Deserialize)]
struct Torch {
    seconds_per_step: Vec<f64>,
    seconds_per_image: Vec<f64>,
    version: String,
}

/// What a run of ours took.
struct Measured {
    seconds_per_step: f64,
    seconds_per_image: f64,
    optimizer_bytes: u64,
}

pub(super) fn rows(python: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir()?;
    let base = base(folder.path(), threads)?;
    let skill = |settings: &str| measured(folder.path(), &base, threads, settings);
    let (mut dense, mut tangent, mut talos) = (Vec::new(), Vec::new(), Vec::new());
    let mut torch: Vec<Torch> = Vec::new();
    for _ in 0..ROUNDS {
        dense.push(skill("method: dense")?);
        tangent.push(skill("method: dense, linearized: true")?);
        talos.push(skill("method: talos, mask: {density: 0.1, rounds: 1}")?);
        torch.extend(python.map(|python| torch_step(python, threads)).transpose()?);
    }
    let least = |runs: &[Measured], of: fn(&Measured) -> f64| runs.iter().map(of).fold(f64::INFINITY, f64::min);
    let step = |runs: &[Measured]| least(runs, |run| run.seconds_per_step);
    let shapes = format!("ViT 65 x 192 x 6, batch {BATCH}, {threads} threads");
    let mut rows = Vec::new();
    if let Some(version) = torch.first().map(|torch| torch.version.clone()) {
        let fastest = |of: fn(&Torch) -> f64| torch.iter().map(of).fold(f64::INFINITY, f64::min);
        let theirs = fastest(|torch| median(torch.seconds_per_step.clone()));
        let work = format!("dense training step, {shapes}, beside PyTorch {version}");
        rows.push(Row::new(work, 1e3 * step(&dense), 1e3 * theirs, "ms", 1.5));
        let theirs = fastest(|torch| torch.seconds_per_image.iter().copied().fold(f64::INFINITY, f64::min));
        let work = format!("sensitivities, an image, {shapes}, beside a backward pass for each in PyTorch {version}");
        rows.push(Row::new(work, 1e3 * least(&talos, |run| run.seconds_per_image), 1e3 * theirs, "ms", 0.1));
    } else {
        render::note("left out: training beside PyTorch (name a Python that has torch with --python)");
    }
    let work = format!("linearized training step, {shapes}, beside a dense one");
    rows.push(Row::new(work, 1e3 * step(&tangent), 1e3 * step(&dense), "ms", 1.6));
    let bytes = |runs: &[Measured]| least(runs, |run| run.optimizer_bytes as f64) / 1024.0;
    rows.push(Row::new(
        "moments at a density of 10 %, beside those of all weights",
        bytes(&talos),
        bytes(&dense),
        "KiB",
        0.15,
    ));
    Ok(rows)
}

/// A base to begin with, and images.
fn base(folder: &Path, threads: usize) -> anyhow::Result<std::path::PathBuf> {
    images::write(folder, SIDE)?;
    let text = format!(
        "name: base\nnetwork: {{family: vit, image_size: {SIDE}, patch_size: 4, channels: 3, width: 192, depth: 6, \
         heads: 3, mlp_width: 768, gelu: exact, layer_norm_epsilon: 1.0e-6}}\ndata: .\nsteps: 1\nbatch: {BATCH}\n\
         shards: {threads}\nheld_out: 0\n"
    );
    let run = folder.join("base run");
    train(&Recipe::parse(&text, folder)?, &run, &mut (), &AtomicBool::new(false))?;
    let base = folder.join("base");
    bundle_run(&run, &base)?;
    Ok(base)
}

/// A skill on the base, by its own clock.
fn measured(folder: &Path, base: &Path, threads: usize, settings: &str) -> anyhow::Result<Measured> {
    let text = format!(
        "{{name: skill, base: '{}', data: ., steps: {STEPS}, batch: {BATCH}, shards: {threads}, held_out: 0, \
         checkpoint_steps: 1000000, head: {{kind: class_means}}, {settings}}}",
        base.display()
    );
    let run_folder = tempfile::tempdir()?;
    let mut clock = Clock::default();
    let ending = train(&Recipe::parse(&text, folder)?, run_folder.path(), &mut clock, &AtomicBool::new(false))?;
    let Ending::Finished(run) = ending else { bail!("the run was stopped") };
    let timing: Timing = serde_json::from_slice(&fs::read(run_folder.path().join("timing.json"))?)?;
    let Run { optimizer_bytes, .. } = *run;
    Ok(Measured {
        seconds_per_step: timing.seconds_per_step,
        seconds_per_image: clock.seconds_per_image(),
        optimizer_bytes,
    })
}

/// When the phases of a run began.
#[derive(Default)]
struct Clock(Vec<(Phase, u64, Instant)>);

impl Progress for Clock {
    fn phase(&mut self, phase: Phase, total: u64) {
        self.0.push((phase, total, Instant::now()));
    }
}

impl Clock {
    /// Of the calibration; nothing if there was none.
    fn seconds_per_image(&self) -> f64 {
        let mut pairs = self.0.iter().zip(self.0.iter().skip(1));
        let calibration = pairs.find(|((phase, ..), _)| matches!(phase, Phase::Calibrating { .. }));
        calibration.map_or(0.0, |((_, images, began), (.., ended))| (*ended - *began).as_secs_f64() / *images as f64)
    }
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
        ("--rounds", 3),
        ("--threads", threads),
    ];
    let shapes = shapes.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]);
    let output = Command::new(python).args(["-c", TORCH]).args(shapes).output();
    let output = output.with_context(|| format!("run `{}`", python.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "PyTorch's step failed: {}", said.lines().last().unwrap_or("no message"));
    serde_json::from_slice(&output.stdout).context("read what PyTorch's step printed")
}
