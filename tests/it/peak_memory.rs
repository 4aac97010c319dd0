//! What comparing two large checkpoints takes of memory: of the program itself, by the system's own count.
//!
//! The pair is sparse on disk (holes are zeros), so that it takes no room. Linux keeps the peak of a process in `VmHWM`, which
//! only rises; it is read again and again while the program runs.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::taskvec;

const MIB: u64 = 1 << 20;
/// Of each tensor that is changed.
const CHANGED: u64 = 1000;

/// A checkpoint of `count` tensors of `tensor_bytes`, all zero but for a few numbers if it is tuned.
fn write(path: &Path, count: u64, tensor_bytes: u64, is_tuned: bool) {
    let entry = |index: u64| {
        let (start, end) = (index * tensor_bytes, (index + 1) * tensor_bytes);
        format!(
            r#""w{index:02}":{{"dtype":"F32","shape":[1024,{}],"data_offsets":[{start},{end}]}}"#,
            tensor_bytes / 4096
        )
    };
    let header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let data = 8 + header.len() as u64;
    file.set_len(data + count * tensor_bytes).unwrap();
    for index in 0..count {
        // What both have, so that they are related; and what one of them has.
        let changed = if is_tuned { CHANGED } else { 0 };
        for step in 0..CHANGED + changed {
            let number = if step < CHANGED { 1.0_f32 } else { 0.001 };
            // Prime, so that the numbers lie all over the tensor.
            let at = step * 7919 * 4096 % tensor_bytes + step / CHANGED * 4;
            file.seek(SeekFrom::Start(data + index * tensor_bytes + at)).unwrap();
            file.write_all(&number.to_le_bytes()).unwrap();
        }
    }
}

/// Runs the program to its end; the most memory that it had, in bytes, and how long it ran.
fn peak(command: &mut Command) -> (u64, Duration) {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let read = fs::read_to_string(&status).unwrap_or_default();
        let kib =
            read.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{command:?} ended with {ended}");
            return (peak, start.elapsed());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Compares a pair of `count` tensors of `tensor_bytes` each; the peak is at most `peak_max`. What it took, in words.
fn compare(count: u64, tensor_bytes: u64, peak_max: u64) -> String {
    let folder = tempfile::tempdir().unwrap();
    let [base, tuned, pack] = ["base", "tuned", "pack"].map(|name| folder.path().join(name));
    write(&base, count, tensor_bytes, false);
    write(&tuned, count, tensor_bytes, true);
    let (peak, took) = peak(taskvec().arg("diff").arg(&base).arg(&tuned).arg("-o").arg(&pack));
    let (size, peak_mib, limit) = (count * tensor_bytes / MIB, peak / MIB, peak_max / MIB);
    assert!(peak > 0 && peak <= peak_max, "{peak_mib} MiB, expected at most {limit}");
    let tensor = tensor_bytes / MIB;
    format!("2 x {size} MiB, tensors of {tensor} MiB: peak {peak_mib} MiB, {:.1} s", took.as_secs_f64())
}

#[test]
fn a_pair_is_compared_in_less_memory_than_one_of_its_tensors() {
    println!("{}", compare(5, 40 * MIB, 40 * MIB));
}

#[test]
#[ignore = "minutes: reads three times 10 GB"]
fn ten_gigabytes_are_compared_in_less_than_one_of_memory() {
    println!("{}", compare(10, 1024 * MIB, 1024 * MIB));
}
