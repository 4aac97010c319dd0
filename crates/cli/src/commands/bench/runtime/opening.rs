//! From nothing to the first answer, beside plain ONNX Runtime; and the memory that a process does not share.

use std::fs;
use std::time::Instant;

use anyhow::Context;
use taskvec_runtime::{BaseModel, BundleLimits, EngineChoice, Session};

use super::super::{Row, median};
use super::bases::Bases;
use super::changes::idle;
use super::inference::pixels;

const ROUNDS: usize = 7;

/// Opening a base that was verified before, to the first answer, beside a plain session over the same weights. Both find
/// the file in the page cache.
pub(super) fn row(bases: &Bases, ort: &EngineChoice) -> anyhow::Result<Row> {
    let folder = bases.attention.folder();
    let pixels = pixels(&bases.attention)?;
    let note = loop {
        // Just written: the note is given once the file has settled.
        if let Some(note) = BaseModel::open(folder)?.verified() {
            break note.clone();
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let base = BaseModel::open_unless_verified(folder, &BundleLimits::default(), Some(&note))?;
        Session::open(&base, ort)?.features(&pixels, 1)?;
        ours.push(1e3 * began.elapsed().as_secs_f64());
        let began = Instant::now();
        Session::open(&bases.plain, ort)?.features(&pixels, 1)?;
        plain.push(1e3 * began.elapsed().as_secs_f64());
    }
    let work = "open to first answer, base verified before, beside a plain session";
    Ok(Row::new(work, median(ours), median(plain), "ms", 1.0))
}

/// What opening a base and a session adds to the memory that this process shares with nobody, beside the base's size: a
/// second process on the same base adds just this, since the rest is the page cache's.
pub(super) fn memory_row(bases: &Bases) -> anyhow::Result<Row> {
    let before = private_kib()?;
    let base = BaseModel::open(bases.all.folder())?;
    let session = idle(&base)?;
    // Every page of both mappings is looked at, so that none hides by not being there.
    let sum: u64 = session.look_at_weights(|weights| {
        base.bytes().iter().chain(weights.bytes()).step_by(4096).map(|&byte| u64::from(byte)).sum()
    });
    anyhow::ensure!(sum > 0, "the base is all zeros");
    let added = private_kib()?.saturating_sub(before) as f64;
    let whole = base.bytes().len() as f64 / 1024.0;
    Ok(Row::new("memory of another process on the base, beside the base", added, whole, "KiB", 0.05))
}

/// KiB of this process that are backed by no file, or differ from it.
fn private_kib() -> anyhow::Result<u64> {
    let path = "/proc/self/smaps_rollup";
    let text = fs::read_to_string(path).with_context(|| format!("read `{path}`"))?;
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).context("no line `Private_Dirty`")?;
    Ok(line.split_whitespace().nth(1).context("no number after `Private_Dirty`")?.parse()?)
}
