//! Bytes of packs beside the entropy bound and beside the delta tools that a user would pick otherwise.
//!
//! One million f32 weights drawn from N(0, 0.05), of which a random share is changed by N(0, 0.001): little redundancy is
//! left in f32, so this is the hard case for everyone. Then real models that others fine-tuned from one another, and two that are
//! strangers to each other, where there is a folder of data (`TASKVEC_DATA`, else `../shared/data`).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors};
use taskvec_pack::{Limits, Pack, bound};
use taskvec_packer::diff::diff;
use taskvec_packer::random::Random;
use taskvec_packer::recipe::Values;
use taskvec_packer::task_vector::RELATED_COSINE_MIN;

use super::Row;
use crate::render;

const ELEMENTS: usize = 1_000_000;
const SEED: u64 = 1;
/// The first is what the others were trained from.
const WAIFU2X: [&str; 5] =
    ["scale2.0x", "noise0_scale2.0x", "noise1_scale2.0x", "noise2_scale2.0x", "noise3_scale2.0x"];

pub(super) fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for percent in [10, 1] {
        let folder = tempfile::tempdir()?;
        let [base, tuned] = ["base", "tuned"].map(|name| folder.path().join(format!("{name}.safetensors")));
        write_pair(&base, &tuned, percent)?;
        let pack = diff(&base, &tuned, Values::Lossless, None)?.encoded.bytes;
        let read = Pack::read(&pack, &Limits::default())?;
        let (mut index, mut index_bound, mut value_bound) = (0.0, 0.0, 0.0);
        for tensor in read.tensors() {
            index += tensor.index_bytes().len() as f64;
            index_bound += bound::index_bits(tensor.element_count(), tensor.entry_count()) / 8.0;
            value_bound += bound::value_bits(&tensor) / 8.0;
        }
        let case = format!("f32, random {percent} % changed");
        let ours = pack.len() as f64;
        rows.push(Row::new(format!("mask alone, {case}, beside its bound"), index, index_bound, "bytes", 1.03));
        rows.push(Row::new(
            format!("lossless pack, {case}, beside its bound"),
            ours,
            index_bound + value_bound,
            "bytes",
            1.08,
        ));
        for (tool, size) in alternatives(&base, &tuned, folder.path())? {
            rows.push(Row::new(format!("lossless pack, {case}, beside {tool}"), ours, size as f64, "bytes", 1.0));
        }
    }
    rows.extend(real_pairs()?);
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

fn write_pair(base: &Path, tuned: &Path, percent: u64) -> anyhow::Result<()> {
    let (mut weights, mut changes) = (Random::new(SEED, "weights"), Random::new(SEED, "changes"));
    let before: Vec<f32> = (0..ELEMENTS).map(|_| 0.05 * weights.normal()).collect();
    let after = before
        .iter()
        .map(|weight| if changes.below(100) < percent { weight + 0.001 * changes.normal() } else { *weight });
    for (path, values) in [(base, before.clone()), (tuned, after.collect())] {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = NamedTensor { name: "w", dtype: StoredDtype::F32, shape: &[1000, 1000], bytes: &bytes };
        write_tensors(&mut fs::File::create(path)?, &[tensor])?;
    }
    Ok(())
}

/// The tools that are here, each with the size of its delta.
fn alternatives(base: &Path, tuned: &Path, folder: &Path) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let mut found = vec![("zstd -19 --patch-from", zstd_patch(base, tuned)?)];
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

/// What `zstd -19 --patch-from=BASE TUNED` writes: the base as a prefix, in a window that covers both.
fn zstd_patch(base: &Path, tuned: &Path) -> anyhow::Result<u64> {
    let (base, tuned) = (fs::read(base)?, fs::read(tuned)?);
    let mut encoder = zstd::stream::Encoder::with_ref_prefix(Vec::new(), 19, &base)?;
    encoder.window_log(24)?;
    encoder.long_distance_matching(true)?;
    encoder.write_all(&tuned)?;
    Ok(encoder.finish()?.len() as u64)
}
