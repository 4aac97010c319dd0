//! The most memory that `taskvec diff` has, beside the size of the largest tensor.
//!
//! Measured in a child process of this program, by the system's own count, so everything is in it: the program, the pack that is
//! in memory at the end, and what it takes to make it. Every element of one tensor is changed, which is the hard case. `taskvec
//! pack` puts two networks together to measure what the pack is worth, and is not held against a tensor.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use taskvec_packer::random::Random;

use super::Row;
use crate::render;

const MIB: u64 = 1 << 20;
const TENSOR_BYTES: u64 = 64 * MIB;
const SEED: u64 = 1;

/// How the elements of a tensor lie in a file. They are numbers from 1 to 2, so that any mantissa will do.
struct Kind {
    dtype: &'static str,
    bytes: usize,
    mantissa_bits: u32,
    one: u32,
}

const KINDS: [Kind; 3] = [
    Kind { dtype: "F32", bytes: 4, mantissa_bits: 23, one: 0x3f80_0000 },
    Kind { dtype: "F16", bytes: 2, mantissa_bits: 10, one: 0x3c00 },
    Kind { dtype: "BF16", bytes: 2, mantissa_bits: 7, one: 0x3f80 },
];

pub(super) fn rows() -> anyhow::Result<Vec<Row>> {
    if !Path::new("/proc/self/status").exists() {
        render::note("left out: memory of `diff`, this system does not say how much a process had");
        return Ok(Vec::new());
    }
    let folder = tempfile::tempdir()?;
    let [base, tuned, pack] = ["base", "tuned", "pack"].map(|name| folder.path().join(name));
    let mut rows = Vec::new();
    for kind in &KINDS {
        write_pair(&base, &tuned, kind)?;
        for values in ["lossless", "int8"] {
            let mut diff = Command::new(std::env::current_exe()?);
            diff.arg("diff").arg(&base).arg(&tuned).args(["--values", values, "-o"]).arg(&pack);
            let (peak, tensor) = (peak_bytes(&mut diff)? as f64, TENSOR_BYTES as f64);
            let work = format!("peak memory of diff, {}, all changed, {values}, beside its tensor", kind.dtype);
            rows.push(Row::new(work, peak / MIB as f64, tensor / MIB as f64, "MiB", 3.0));
        }
    }
    Ok(rows)
}

/// Two checkpoints of one tensor; all mantissas differ, by up to a quarter of what they can.
fn write_pair(base: &Path, tuned: &Path, kind: &Kind) -> anyhow::Result<()> {
    let Kind { dtype, bytes, mantissa_bits, one } = *kind;
    let columns = TENSOR_BYTES / bytes as u64 / 1024;
    let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[1024,{columns}],"data_offsets":[0,{TENSOR_BYTES}]}}}}"#);
    let mut files = [BufWriter::new(File::create(base)?), BufWriter::new(File::create(tuned)?)];
    for file in &mut files {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
    }
    let mut random = Random::new(SEED, "memory");
    let mask = (1 << mantissa_bits) - 1;
    for _ in 0..1024 * columns {
        let (before, step) = (random.next_u32() & mask, (random.next_u32() & mask) >> 2);
        for (file, mantissa) in files.iter_mut().zip([before, before ^ step.max(1)]) {
            file.write_all(&(one | mantissa).to_le_bytes()[..bytes])?;
        }
    }
    files.iter_mut().try_for_each(|file| file.flush()).context("write a pair of checkpoints")
}

/// Runs the command to its end; the most memory that it had. What Linux keeps only rises, so it is read until there is no more.
fn peak_bytes(command: &mut Command) -> anyhow::Result<u64> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let said = fs::read_to_string(&status).unwrap_or_default();
        let kib = said.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait()? {
            ensure!(ended.success() && peak > 0, "{command:?} ended with {ended}, and a peak of {peak} bytes was seen");
            return Ok(peak);
        }
        thread::sleep(Duration::from_millis(2));
    }
}
