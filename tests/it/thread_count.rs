//! A pack has the same bytes, whatever the number of threads that made it.
//!
//! The knob is the one that the system has: a program takes as many threads as it may run on cores, and `taskset` leaves it one.
//! Training and measuring are spread over them, and so is digesting a base; comparing and encoding run on one in any case.

use std::fs;
use std::path::Path;

use crate::places::{handwriting, left_out};
use crate::programs::{started_by, taskvec, told};

/// What training a skill for a few steps, packing it and comparing its checkpoint with the base leave in `folder`.
fn made(folder: &Path, starter: Option<&[&str]>) -> Vec<(&'static str, Vec<u8>)> {
    fs::create_dir(folder).unwrap();
    let text = fs::read_to_string(handwriting().join("recipes/digits.yaml")).unwrap();
    let replaced = ["epochs:", "steps:", "checkpoint_steps:"];
    let kept: Vec<&str> = text.lines().filter(|line| !replaced.iter().any(|key| line.starts_with(key))).collect();
    let [recipe, run, pack, diff] = ["digits.yaml", "run", "run.tvp", "diff.tvp"].map(|name| folder.join(name));
    fs::write(&recipe, format!("{}\nsteps: 8\n", kept.join("\n"))).unwrap();
    let (base, tuned) = (handwriting(), run.join("tuned.safetensors"));

    let mut train = taskvec();
    train.arg("train").arg(&recipe).arg("--base").arg(&base);
    train.arg("--data").arg(base.join("data/digits8x8")).arg("-o").arg(&run);
    let mut packed = taskvec();
    packed.arg("pack").arg(&run).arg("-o").arg(&pack);
    let mut compared = taskvec();
    compared.arg("diff").arg(&base).arg(&tuned).args(["--name", "digits", "-o"]).arg(&diff);
    for mut command in [train, packed, compared] {
        if let Some(starter) = starter {
            command = started_by(starter, &command);
        }
        told(&mut command).ended_with(0);
    }
    [("tuned weights", tuned), ("pack of the run", pack), ("pack of the checkpoints", diff)]
        .map(|(what, path)| (what, fs::read(path).unwrap()))
        .into()
}

/// A core that this process may run on.
fn first_core() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim();
    list.split([',', '-']).next().map(str::to_owned)
}

#[test]
fn a_pack_has_the_same_bytes_on_one_core_and_on_all() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(core) = first_core().filter(|_| cores > 1) else {
        return left_out("packs on one core and on several: there is one here");
    };
    let folder = tempfile::tempdir().unwrap();
    let one = made(&folder.path().join("one"), Some(&["taskset", "-c", &core]));
    let all = made(&folder.path().join("all"), None);
    for ((what, one), (_, all)) in one.iter().zip(&all) {
        assert!(!one.is_empty() && one == all, "{what}: other bytes on one core than on {cores}");
    }
}
