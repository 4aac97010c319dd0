//! Bytes of packs beside the entropy bound and beside the delta tools that a user would pick otherwise.
//!
//! One million weights drawn from N(0, 0.05), of which a random share is changed by N(0, 0.001), or all by N(0, 0.0001): little
//! redundancy is left in floats, so this is the hard case for everyone. Then packs with rounded deltas, beside what they may
//! take; then real models that others fine-tuned from one another, and two that are
//! strangers to each other, where there is a folder of data (`TASKVEC_DATA`, else `../shared/data`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors};
use taskvec_pack::write::{self, Builder, Rounding, TensorDeltas};
use taskvec_pack::{Dtype, Fingerprint, Limits, Pack, bound};
use taskvec_packer::diff::diff;
use taskvec_packer::random::Random;
use taskvec_packer::recipe::Values;
use taskvec_packer::task_vector::RELATED_COSINE_MIN;

use super::Row;
use crate::beside::{zstd_alone, zstd_patch};
use crate::render;

const ELEMENTS: usize = 1_000_000;
const SEED: u64 = 1;
/// The first is what the others were trained from.
const WAIFU2X: [&str; 5] =
    ["scale2.0x", "noise0_scale2.0x", "noise1_scale2.0x", "noise2_scale2.0x", "noise3_scale2.0x"];

/// A made pair of checkpoints.
struct Case {
    name: &'static str,
    dtype: StoredDtype,
    percent: u64,
    /// Deviation of a change.
    change: f32,
    /// Largest ratio to each alternative that is wanted.
    goal: f64,
}

const CASES: [Case; 4] = [
    Case { name: "f32, random 10 % changed", dtype: StoredDtype::F32, percent: 10, change: 1e-3, goal: 1.0 },
    Case { name: "f32, random 1 % changed", dtype: StoredDtype::F32, percent: 1, change: 1e-3, goal: 1.0 },
    Case { name: "bf16, random 1 % changed", dtype: StoredDtype::Bf16, percent: 1, change: 1e-3, goal: 1.0 / 1.7 },
    Case { name: "f32, all changed a little", dtype: StoredDtype::F32, percent: 100, change: 1e-4, goal: 1.0 },
];

pub(super) fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let folder = tempfile::tempdir()?;
        let [base, tuned] = ["base", "tuned"].map(|name| folder.path().join(format!("{name}.safetensors")));
        write_pair(&base, &tuned, case)?;
        let pack = diff(&base, &tuned, Values::Lossless, None)?.encoded.bytes;
        let read = Pack::read(&pack, &Limits::default())?;
        let (mut index, mut index_bound, mut value_bound) = (0.0, 0.0, 0.0);
        for tensor in read.tensors() {
            index += tensor.index_bytes().len() as f64;
            index_bound += bound::index_bits(tensor.element_count(), tensor.entry_count()) / 8.0;
            value_bound += bound::value_bits(&tensor) / 8.0;
        }
        let (name, ours) = (case.name, pack.len() as f64);
        if case.percent < 100 {
            rows.push(Row::new(format!("mask alone, {name}, beside its bound"), index, index_bound, "bytes", 1.03));
        }
        let bound = index_bound + value_bound;
        rows.push(Row::new(format!("lossless pack, {name}, beside its bound"), ours, bound, "bytes", 1.05));
        let mut tools = alternatives(&base, &tuned, folder.path())?;
        tools.extend(by_xor(&base, &tuned)?);
        for (tool, size) in tools {
            rows.push(Row::new(format!("lossless pack, {name}, beside {tool}"), ours, size as f64, "bytes", case.goal));
        }
    }
    rows.extend(lossy_rows()?);
    rows.extend(real_pairs()?);
    Ok(rows)
}

/// Packs of a tenth of the size of ViT-B/32 (87.85 million parameters), beside a tenth of what that may take.
fn lossy_rows() -> anyhow::Result<Vec<Row>> {
    const ELEMENTS: u64 = 8_785_000;
    let cases = [
        ("10 % of 8.8 million entries, int8", 10, Rounding::INT8, 1_420_000.0),
        ("1 % of 8.8 million entries, int4", 1, Rounding::Levels(7), 0.015 * ELEMENTS as f64),
    ];
    let mut rows = Vec::new();
    for (name, percent, rounding, most) in cases {
        let mut random = Random::new(SEED, "lossy");
        let indices: Vec<u64> = (0..ELEMENTS).filter(|_| random.below(100) < percent).collect();
        let deltas: Vec<f32> = indices.iter().map(|_| 0.001 * random.normal()).collect();
        let mut builder = Builder::new(Fingerprint([0; 32]), "lossy");
        let entries = TensorDeltas { indices: &indices, values: write::Values::Deltas(&deltas, rounding) };
        let made = builder.tensor("w", Dtype::F32, &[ELEMENTS], entries)?;
        let norm = (deltas.iter().map(|delta| f64::from(*delta).powi(2)).sum::<f64>() / deltas.len() as f64).sqrt();
        let error = made.measured_error.map_or(0.0, |error| f64::from(error.rms)) / norm;
        let work = format!("pack, {name}, error {:.2} %, beside the most it may take", 100.0 * error);
        rows.push(Row::new(work, builder.finish()?.len() as f64, most, "bytes", 1.0));
    }
    Ok(rows)
}

/// The super-resolution models of waifu2x, each pair of them; and two noise suppressors that only look alike.
fn real_pairs() -> anyhow::Result<Vec<Row>> {
    let Some(pairs) = data().map(|data| data.join("pairs")).filter(|pairs| pairs.is_dir()) else {
        render::note("left out: real pairs, no folder of data is here (set TASKVEC_DATA to it)");
        return Ok(Vec::new());
    };
    let (mut rows, folder) = (Vec::new(), tempfile::tempdir()?);
    for (place, from) in WAIFU2X.iter().enumerate() {
        for to in &WAIFU2X[place + 1..] {
            let [base, tuned] =
                [from, to].map(|name| pairs.join(format!("waifu2x_upconv7_photo/{name}_model.safetensors")));
            let ours = diff(&base, &tuned, Values::Lossless, None)?.encoded.bytes.len() as f64;
            for (tool, size) in alternatives(&base, &tuned, folder.path())? {
                let work = format!("lossless pack, waifu2x f16, {from} to {to}, beside {tool}");
                rows.push(Row::new(work, ours, size as f64, "bytes", 1.0));
            }
        }
    }
    let [base, tuned] = ["beguiling_drafter", "marathon_prescription"]
        .map(|name| pairs.join(format!("negative_control_rnnoise/{name}.safetensors")));
    let stranger = diff(&base, &tuned, Values::Lossless, None)?.comparison;
    let work = "weight cosine of strangers (rnnoise), beside the least of a related pair";
    rows.push(Row::new(work, stranger.judged().cosine().abs(), RELATED_COSINE_MIN, "cosine", 1.0));
    stranger.warnings().iter().for_each(|warning| render::note(&format!("rnnoise: {}", warning.message)));
    Ok(rows)
}

fn data() -> Option<PathBuf> {
    let named = std::env::var_os("TASKVEC_DATA").map(PathBuf::from);
    named.into_iter().chain([PathBuf::from("../shared/data")]).find(|folder| folder.is_dir())
}

fn write_pair(base: &Path, tuned: &Path, case: &Case) -> anyhow::Result<()> {
    let (mut weights, mut changes) = (Random::new(SEED, "weights"), Random::new(SEED, "changes"));
    let before: Vec<f32> = (0..ELEMENTS).map(|_| 0.05 * weights.normal()).collect();
    let changed = |weight: &f32| {
        if changes.below(100) < case.percent { weight + case.change * changes.normal() } else { *weight }
    };
    let after = before.iter().map(changed).collect();
    for (path, values) in [(base, before.clone()), (tuned, after)] {
        let bytes: Vec<u8> = match case.dtype {
            StoredDtype::Bf16 => values.iter().flat_map(|value| bf16(*value).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        let tensor = NamedTensor { name: "w", dtype: case.dtype, shape: &[1000, 1000], bytes: &bytes };
        write_tensors(&mut fs::File::create(path)?, &[tensor])?;
    }
    Ok(())
}

/// The nearest bf16 of a small number, ties to even.
fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The bits that differ, compressed as they lie, and byte by byte of an element (as ZipNN does; Hershcovitch et al., 2024).
fn by_xor(base: &Path, tuned: &Path) -> anyhow::Result<[(&'static str, u64); 2]> {
    let [base, tuned] = [base, tuned].map(fs::read);
    let (base, tuned) = (base?, tuned?);
    ensure!(base.len() == tuned.len(), "the two checkpoints of a case are of one shape");
    let width = if base.len() > 3 * ELEMENTS { 4 } else { 2 };
    let differing: Vec<u8> = base.iter().zip(&tuned).map(|(a, b)| a ^ b).collect();
    let planes =
        (0..width).map(|plane| zstd_alone(&differing.iter().skip(plane).step_by(width).copied().collect::<Vec<_>>()));
    Ok([
        ("XOR and zstd -19", zstd_alone(&differing)?),
        ("XOR in byte planes and zstd -19", planes.sum::<anyhow::Result<u64>>()?),
    ])
}

/// The tools that are here, each with the size of its delta.
fn alternatives(base: &Path, tuned: &Path, folder: &Path) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let mut found = vec![("zstd -19 --patch-from", zstd_patch(&fs::read(base)?, &fs::read(tuned)?)?)];
    let delta = folder.join("delta");
    let mut xdelta3 = Command::new("xdelta3");
    xdelta3.args(["-9", "-e", "-f", "-s"]).args([base, tuned, &delta]);
    let mut bsdiff = Command::new("bsdiff");
    bsdiff.args([base, tuned, &delta]);
    for (tool, mut command) in [("xdelta3 -9", xdelta3), ("bsdiff", bsdiff)] {
        match command.stdout(Stdio::null()).status() {
            Ok(status) => {
                ensure!(status.success(), "{tool} ended with {status}");
                found.push((tool, fs::metadata(&delta)?.len()));
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                render::note(&format!("left out: {tool} is not installed"));
            }
            Err(cause) => return Err(cause).with_context(|| format!("run {tool}")),
        }
    }
    Ok(found)
}
