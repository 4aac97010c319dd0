//! What may be typed after `taskvec`. Each command turns its arguments into library settings in its own file.

mod words;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use words::PackAtAlpha;
use words::{named, points, share, size};

/// Make, edit, measure and try packs: signed sparse task vectors that a device attaches to its base model.
#[derive(Debug, Parser)]
#[command(name = "taskvec", version, arg_required_else_help = true, propagate_version = true)]
pub(crate) struct Arguments {
    /// Print the result as JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a skill, pack it, attach it, detach it: the main job on data that the program carries
    Demo(Demo),
    /// Train a base model or a skill by a recipe
    Train(Train),
    /// Make a pack from two checkpoints, or from a LoRA adapter
    Diff(Diff),
    /// Write the tuned checkpoint that a base and packs make
    Apply(Apply),
    /// Make one model of several: merge, negate, analogy; a checkpoint, or a pack
    Merge(Merge),
    /// Make a pack from a finished training run
    Pack(Pack),
    /// Make a base bundle of an ONNX model, of a public checkpoint, or of a base that `taskvec train` has trained
    Bundle(Bundle),
    /// Show what is in a pack, and how many bits each part costs beside its bound; or compare two packs
    Inspect(Inspect),
    /// Check a pack: is it whole, who signed it, does it belong to a base and do there what it promises
    Verify(Verify),
    /// Make a key pair to sign packs with
    #[command(subcommand)]
    Key(Key),
    /// Sign a pack
    Sign(Sign),
    /// Make an update: what a device that has one pack needs to have another
    Update(Update),
    /// Answer for images with a base and any skills
    Run(Run),
    /// Train and judge methods on many tasks, by a suite: tables, pictures and a page
    Eval(Eval),
    /// Measure speed and size, each beside its alternative
    Bench(Bench),
}

/// Train a skill, pack it, attach it to the mapped base, infer, detach it, and compare every byte of the base.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where the demo leaves its files (made if missing; a demo that was there before is replaced)
    #[arg(short, long, value_name = "FOLDER", default_value = "taskvec-demo")]
    pub(crate) out: PathBuf,
    /// Which engine infers
    #[arg(long, value_enum, default_value_t = EngineName::Burn)]
    pub(crate) engine: EngineName,
}

/// Train by a recipe. Interrupted with Ctrl-C, the same command goes on from its checkpoint and ends with the same bytes.
#[derive(Debug, Args)]
pub(crate) struct Train {
    /// The recipe (YAML)
    pub(crate) recipe: PathBuf,
    /// Base bundle that the skill starts from, instead of the recipe's
    #[arg(long, value_name = "FOLDER")]
    pub(crate) base: Option<PathBuf>,
    /// Data set folder, instead of the recipe's; may be given several times for a base
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Vec<PathBuf>,
    /// Seed, instead of the recipe's
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// What computes, instead of the recipe's; GPUs need a program that was built with their feature
    #[arg(long, value_enum)]
    pub(crate) device: Option<DeviceName>,
    /// Round the deltas to this encoding in each step, so that the network learns with what the pack will hold; instead of the
    /// recipe's `pack.values` and `pack.rounded`
    #[arg(long, value_enum, value_name = "ENCODING")]
    pub(crate) values: Option<ValuesName>,
    /// Pack whose mask is taken, instead of the recipe's method: for a new version of a skill, or a sister that shares its mask
    #[arg(long, value_name = "PACK")]
    pub(crate) mask: Option<PathBuf>,
    /// Run folder (made if missing)
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
}

/// Make a pack from a base checkpoint and a tuned checkpoint of the same shape, or from a base and a LoRA adapter.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Base checkpoint: a safetensors, PyTorch, ONNX or GGUF file, an index of shards, or the folder of a model
    pub(crate) base: PathBuf,
    /// Tuned checkpoint: any of these, too
    #[arg(required_unless_present = "lora")]
    pub(crate) tuned: Option<PathBuf>,
    /// LoRA adapter in place of a tuned checkpoint: a file, or the folder that PEFT saved
    #[arg(long, value_name = "ADAPTER", conflicts_with_all = ["tuned", "lossless"])]
    pub(crate) lora: Option<PathBuf>,
    /// Keep the tuned weights bit for bit (the default unless --values or --lora is given)
    #[arg(long, conflicts_with_all = ["values", "budget"])]
    pub(crate) lossless: bool,
    /// Round the deltas to this encoding instead
    #[arg(long, value_enum, value_name = "ENCODING")]
    pub(crate) values: Option<ValuesName>,
    #[command(flatten)]
    pub(crate) budget: BudgetTyped,
    /// Name of the skill (default: the tuned file's name)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Sign the pack with the secret key in this file
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) sign: Option<PathBuf>,
    /// The pack to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// How small a pack must be, or how much it may lose: which entries stay, and in how many bits, is then searched for.
#[derive(Debug, Args)]
pub(crate) struct BudgetTyped {
    /// The best pack of at most this size: 300KiB, 2MiB, 1000
    #[arg(long, value_name = "SIZE", value_parser = size, group = "budget", conflicts_with = "values")]
    pub(crate) max_bytes: Option<u64>,
    /// The smallest pack that loses at most this share of the vector (norm of what is lost / norm of the vector, 0 to 1)
    #[arg(long, value_name = "SHARE", value_parser = share, group = "budget", conflicts_with = "values")]
    pub(crate) max_error: Option<f64>,
    /// The smallest pack that loses at most so many points of accuracy (of a hundred) on held-out images; only of a run
    #[arg(long, value_name = "POINTS", value_parser = points, group = "budget", conflicts_with = "values")]
    pub(crate) max_accuracy_drop: Option<f64>,
    /// Scale what stays of each tensor, so that its magnitudes sum up to what they did before
    #[arg(long, requires = "budget")]
    pub(crate) rescale: bool,
    /// Show the curve of bytes against error, and draw it into this SVG file
    #[arg(long, value_name = "SVGFILE", requires = "budget")]
    pub(crate) curve: Option<PathBuf>,
}

/// Make a base bundle: weights in one file, the graph without them, and a description. The original is not changed.
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The model (a file that ends in `.onnx`), the run folder of a base, with --network any checkpoint, or with --linearized a base
    pub(crate) model: PathBuf,
    /// Make the bundle that runs skills trained with `linearized: true`, of a base bundle: same weights, same fingerprint
    #[arg(long, conflicts_with_all = ["network", "of", "editable", "size", "fill", "name"])]
    pub(crate) linearized: bool,
    /// What the checkpoint is (YAML): its network, what it wants of a picture, its head and labels
    #[arg(long, value_name = "FILE", conflicts_with_all = ["of", "editable", "size", "fill"])]
    pub(crate) network: Option<PathBuf>,
    /// The checkpoint that the model was exported or quantized from, or its bundle: packs made for that are then attached to
    /// this base too
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) of: Option<PathBuf>,
    /// Weights that packs may edit: `all`, `attention`, or a pattern such as `*.query.*` on their names and on their layers'; may
    /// be given several times (default: all; with a bundle in --of, those that may be edited there)
    #[arg(long, value_name = "PATTERN")]
    pub(crate) editable: Vec<String>,
    /// Size of a named side of an input when the base is tried (default: 1 for a batch, else 8)
    #[arg(long, value_name = "SIDE=SIZE", value_parser = named::<u64>)]
    pub(crate) size: Vec<(String, u64)>,
    /// What an input is filled with when the base is tried, where not any number will do
    #[arg(long, value_name = "INPUT=NUMBER", value_parser = named::<f64>)]
    pub(crate) fill: Vec<(String, f64)>,
    /// Name of the base (default: the description's, else the model's file name)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Path of the ONNX Runtime library that compares the answers, if it is not where it is looked for
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// The folder to write; it must not be there yet
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
}

/// Write base + sum of alpha * delta as a checkpoint.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Base checkpoint: anything that `diff` takes
    pub(crate) base: PathBuf,
    /// Packs, each with its alpha: FILE or FILE@ALPHA (default: the pack's recommended alpha)
    #[arg(required = true, value_name = "PACK[@ALPHA]")]
    pub(crate) packs: Vec<PackAtAlpha>,
    /// The checkpoint to write, in safetensors
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Merge models by a recipe in the shape that mergekit's users know.
#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The recipe (YAML): `merge_method`, `base_model`, `models` with their `parameters`; paths are seen from its folder
    pub(crate) recipe: PathBuf,
    /// How the deltas of a pack are written (default: f32)
    #[arg(long, value_enum, value_name = "ENCODING")]
    pub(crate) values: Option<ValuesName>,
    /// Name of the pack's skill (default: the recipe's file name)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Sign the pack with the secret key in this file
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) sign: Option<PathBuf>,
    /// What to write: a pack for the base (`.tvp`), or a checkpoint (`.safetensors`)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Make a pack from the run folder that `taskvec train` left.
#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// Run folder
    pub(crate) run: PathBuf,
    /// How deltas are written, instead of the recipe's
    #[arg(long, value_enum, value_name = "ENCODING")]
    pub(crate) values: Option<ValuesName>,
    #[command(flatten)]
    pub(crate) budget: BudgetTyped,
    /// Number of probes the pack carries, 0 to 64, instead of the recipe's
    #[arg(long, value_name = "COUNT")]
    pub(crate) probes: Option<u32>,
    /// Sign the pack with the secret key in this file
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) sign: Option<PathBuf>,
    /// The pack to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Show what is in a pack, or what two packs for one base have in common.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The pack
    pub(crate) pack: PathBuf,
    /// Another pack for the same base, to compare with
    pub(crate) other: Option<PathBuf>,
    /// Base that turns losslessly written entries into deltas that can be compared
    #[arg(long, value_name = "BASE", requires = "other")]
    pub(crate) base: Option<PathBuf>,
    /// Data set folder, given twice: on the first pack's task and on the second's, what do the skills cost each other?
    #[arg(long, value_name = "FOLDER", requires = "base")]
    pub(crate) data: Vec<PathBuf>,
    /// Public key file whose signature is verified; may be given several times
    #[arg(long, value_name = "PUBFILE", conflicts_with = "other")]
    pub(crate) key: Vec<PathBuf>,
}

/// Check a pack. Exit code 0 only if everything that is asked holds, else 1.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The pack
    pub(crate) pack: PathBuf,
    /// Base that it must belong to; in a bundle it must also answer its probes as promised
    #[arg(long, value_name = "BASE")]
    pub(crate) base: Option<PathBuf>,
    /// Public key file whose signature it must have; may be given several times
    #[arg(long, value_name = "PUBFILE", conflicts_with = "trust")]
    pub(crate) key: Vec<PathBuf>,
    /// Pinned keys that must have signed it, as many as a device asks for: the `trust.json` of its store
    #[arg(long, value_name = "TRUSTFILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Which engine answers the probes
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    pub(crate) engine: EngineName,
    /// Path of the ONNX Runtime library, if it is not where it is looked for
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
}

/// Keys that packs are signed with.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key pair: KEYFILE is the secret one, the public one is written beside it (`me.key` has `me.pub`)
    New(NewKey),
}

/// Make a key pair.
#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// The secret key file to write, for nobody else to read; one that is there is never overwritten
    #[arg(short, long, value_name = "KEYFILE")]
    pub(crate) out: PathBuf,
}

/// Sign a pack, beside the signatures that it has.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The pack
    pub(crate) pack: PathBuf,
    /// The secret key
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) key: PathBuf,
    /// The signed pack to write (default: in the place of the pack)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Make an update of a pack, for devices that have the parents; `taskvec-device install` makes the pack of it again.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The pack that devices shall have
    pub(crate) pack: PathBuf,
    /// A pack that they have: an old version of the skill, or another skill with the same mask; may be given several times
    #[arg(long, value_name = "PACK")]
    pub(crate) from: Vec<PathBuf>,
    /// The update to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Answer for images: base, skills, an engine.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Base bundle
    pub(crate) base: PathBuf,
    /// Skill to attach, FILE or FILE@ALPHA; may be given several times; the first one's head answers
    #[arg(long, value_name = "PACK[@ALPHA]")]
    pub(crate) pack: Vec<PackAtAlpha>,
    /// Head of the base that answers, instead of the first skill's
    #[arg(long, value_name = "NAME")]
    pub(crate) head: Option<String>,
    /// Data set whose test images are answered and counted
    #[arg(long, value_name = "FOLDER", conflicts_with = "images", required_unless_present = "images")]
    pub(crate) data: Option<PathBuf>,
    /// Images to answer for (PNG or JPEG)
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    /// Which engine infers
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    pub(crate) engine: EngineName,
    /// Path of the ONNX Runtime library, if it is not where it is looked for
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
}

/// Train every method of a suite on every task with every seed, merge, negate, judge. Interrupted, the same command goes on.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The suite (YAML)
    pub(crate) suite: PathBuf,
    /// Where the suite's paths of data begin, instead of where it says
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// `tables.json` of an earlier evaluation, with which this one has to agree within a tolerance; exit code 3 if it does not
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,
    /// Output folder (made if missing; default: `eval-NAME`, by the suite's name)
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

/// Measure each claim beside its alternative, in one run.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Which measurements
    #[arg(value_enum, default_values_t = [BenchPart::Packs, BenchPart::Runtime, BenchPart::Train])]
    pub(crate) parts: Vec<BenchPart>,
    /// Python with torch, onnxruntime and numpy, for the comparisons that need one
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
    /// Path of the ONNX Runtime library, if it is not where it is looked for
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
}

/// A group of measurements of `taskvec bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchPart {
    /// Bytes beside the entropy bound, zstd, xdelta3 and bsdiff
    Packs,
    /// Attach and detach beside memcpy; latency beside a plain ONNX Runtime session
    Runtime,
    /// Training steps and sensitivities beside PyTorch's; moments of a mask
    Train,
}

/// The engine behind a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// ONNX Runtime if its library is found, else burn
    Auto,
    /// ONNX Runtime
    Ort,
    /// burn on the CPU: pure Rust, always there
    Burn,
}

/// What a run computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceName {
    /// The processor: the same bytes on any machine
    Cpu,
    /// The first NVIDIA GPU
    Cuda,
    /// The best GPU that Vulkan, Metal or DirectX finds
    Wgpu,
}

/// How deltas are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValuesName {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    F16,
    /// 16-bit brain floats
    Bf16,
    /// 8-bit integers, one scale per block of 256
    Int8,
    /// 6-bit integers
    Int6,
    /// 4-bit integers
    Int4,
    /// 3-bit integers
    Int3,
    /// 2-bit integers: -1, 0 and 1
    Int2,
    /// Signs, one magnitude per block of 256
    Sign,
    /// Distances between bit patterns: the tuned weights come back bit for bit
    Lossless,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
