//! Training of ours beside PyTorch's, on the same shapes and as many threads, and the ways to train beside each other.
//!
//! A Vision Transformer of 65 tokens, width 192, 6 layers, batch 16. A dense step is forward, backward, clip, AdamW; sensitivities are
//! measured on 64 images, in PyTorch as published code does it (a batch forward, then a backward pass for each image), and also on a
//! Vision Transformer of the size that the repository embeds. Both sides take turns, and the faster of two rounds counts. PyTorch runs in the Python that `--python` names (`bench/run` sets one up); what has
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
use taskvec_packer::train::{Ending, Phase, Progress, Timing, train};

use super::{Row, images, median};
use crate::render;

const STEPS: usize = 24;
const ROUNDS: usize = 2;
const BATCH: usize = 16;
/// What steps are timed on.
const MEDIUM: Shapes = Shapes { side: 32, patch: 4, width: 192, depth: 6, heads: 3 };
/// The size of the handwriting base.
const SMALL: Shapes = Shapes { side: 28, patch: 7, width: 96, depth: 4, heads: 4 };
/// Compared with ours: what it does is written there.
const TORCH: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/torch_step.py"));

/// A Vision Transformer of three channels.
struct Shapes {
    side: usize,
    patch: usize,
    width: usize,
    depth: usize,
    heads: usize,
}

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
    let medium = Ground::new(&MEDIUM, threads)?;
    let (mut dense, mut tangent, mut talos) = (Vec::new(), Vec::new(), Vec::new());
    let mut torch: Vec<Torch> = Vec::new();
    for _ in 0..ROUNDS {
        dense.push(medium.measured("method: dense")?);
        tangent.push(medium.measured("method: dense, linearized: true")?);
        talos.push(medium.measured(TALOS)?);
        torch.extend(python.map(|python| torch_times(python, &MEDIUM, threads)).transpose()?);
    }
    let step = |runs: &[Measured]| least(runs, |run| run.seconds_per_step);
    let shapes = format!("{}, batch {BATCH}, {threads} threads", MEDIUM.words());
    let mut rows = Vec::new();
    match python {
        Some(python) => {
            let version = torch.first().map(|torch| torch.version.clone()).unwrap_or_default();
            let theirs = least(&torch, |torch| median(torch.seconds_per_step.clone()));
            let work = format!("dense training step, {shapes}, beside PyTorch {version}");
            rows.push(Row::new(work, 1e3 * step(&dense), 1e3 * theirs, "ms", 1.5));
            rows.push(sensitivities(&MEDIUM, threads, &talos, &torch));
            let small = Ground::new(&SMALL, threads)?;
            let (mut talos, mut torch) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                talos.push(small.measured(TALOS)?);
                torch.push(torch_times(python, &SMALL, threads)?);
            }
            rows.push(sensitivities(&SMALL, threads, &talos, &torch));
        }
        None => render::note("left out: training beside PyTorch (name a Python that has torch with --python)"),
    }
    let work = format!("linearized training step, {shapes}, beside a dense one");
    rows.push(Row::new(work, 1e3 * step(&tangent), 1e3 * step(&dense), "ms", 1.6));
    let bytes = |runs: &[Measured]| least(runs, |run| run.optimizer_bytes as f64) / 1024.0;
    let work = "moments at a density of 10 %, beside those of all weights";
    rows.push(Row::new(work, bytes(&talos), bytes(&dense), "KiB", 0.15));
    Ok(rows)
}

/// How a mask is found.
const TALOS: &str = "method: talos, mask: {density: 0.1, granule: element, rounds: 1}";

fn sensitivities(shapes: &Shapes, threads: usize, ours: &[Measured], torch: &[Torch]) -> Row {
    let work = format!(
        "sensitivities, an image, {}, {threads} threads, beside a backward pass for each in PyTorch",
        shapes.words()
    );
    let theirs = least(torch, |torch| torch.seconds_per_image.iter().copied().fold(f64::INFINITY, f64::min));
    Row::new(work, 1e3 * least(ours, |run| run.seconds_per_image), 1e3 * theirs, "ms", 0.1)
}

fn least<T>(runs: &[T], of: impl Fn(&T) -> f64) -> f64 {
    runs.iter().map(of).fold(f64::INFINITY, f64::min)
}

impl Shapes {
    fn words(&self) -> String {
        format!("ViT {} x {} x {}", (self.side / self.patch).pow(2) + 1, self.width, self.depth)
    }
}

/// A folder with images, and a base to begin with.
struct Ground {
    folder: tempfile::TempDir,
    threads: usize,
}

impl Ground {
    fn new(shapes: &Shapes, threads: usize) -> anyhow::Result<Ground> {
        let Shapes { side, patch, width, depth, heads } = shapes;
        let ground = Ground { folder: tempfile::tempdir()?, threads };
        let folder = ground.folder.path();
        images::write(folder, *side)?;
        let text = format!(
            "name: base\nnetwork: {{family: vit, image_size: {side}, patch_size: {patch}, channels: 3, width: {width}, \
             depth: {depth}, heads: {heads}, mlp_width: {}, gelu: exact, layer_norm_epsilon: 1.0e-6}}\ndata: .\n\
             steps: 1\nbatch: {BATCH}\nshards: {threads}\nheld_out: 0\n",
            4 * width
        );
        let run = folder.join("base run");
        train(&Recipe::parse(&text, folder)?, &run, &mut (), &AtomicBool::new(false))?;
        bundle_run(&run, &folder.join("base"))?;
        Ok(ground)
    }

    /// A skill on the base, by its own clock.
    fn measured(&self, settings: &str) -> anyhow::Result<Measured> {
        let text = format!(
            "{{name: skill, base: base, data: ., steps: {STEPS}, batch: {BATCH}, shards: {}, held_out: 0, \
             checkpoint_steps: 1000000, head: {{kind: class_means}}, {settings}}}",
            self.threads
        );
        let run_folder = tempfile::tempdir()?;
        let mut clock = Clock::default();
        let recipe = Recipe::parse(&text, self.folder.path())?;
        let ending = train(&recipe, run_folder.path(), &mut clock, &AtomicBool::new(false))?;
        let Ending::Finished(run) = ending else { bail!("the run was stopped") };
        let timing: Timing = serde_json::from_slice(&fs::read(run_folder.path().join("timing.json"))?)?;
        Ok(Measured {
            seconds_per_step: timing.seconds_per_step,
            seconds_per_image: clock.seconds_per_image(),
            optimizer_bytes: run.optimizer_bytes,
        })
    }
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

fn torch_times(python: &Path, shapes: &Shapes, threads: usize) -> anyhow::Result<Torch> {
    let shapes = [
        ("--image", shapes.side),
        ("--patch", shapes.patch),
        ("--channels", 3),
        ("--width", shapes.width),
        ("--depth", shapes.depth),
        ("--heads", shapes.heads),
        ("--mlp-width", 4 * shapes.width),
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
