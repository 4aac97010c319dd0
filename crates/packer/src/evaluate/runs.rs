//! Every run of a suite: trained, or found trained; packed; with what it cost.
//!
//! A run lies in `runs/METHOD/TASK/seed-N-DIGEST` of the output folder, `DIGEST` the beginning of one of its recipe, of the base and of
//! the data, so that a suite may change and finds again what has not. Only base and control are in memory besides while runs are
//! made, so that what they take can be measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use taskvec_pack::Digest;

use super::suite::Suite;
use super::watch::{Part, Watch};
use crate::error::{Error, Result};
use crate::pack_run::{PackWishes, pack_run};
use crate::recipe::Recipe;
use crate::run_folder::{TIMING_FILE, read_json, write_file, write_json};
use crate::train::{Ending, Run, Timing, train};

/// The pack of a run, beside it.
const PACK_FILE: &str = "pack.tvp";
/// What its pack is worth.
const PACKED_FILE: &str = "packed.json";
/// The most memory that the process had while it trained.
const MEMORY_FILE: &str = "memory.json";

/// A finished run.
#[derive(Clone, Debug)]
pub(crate) struct Trained {
    pub(crate) folder: PathBuf,
    pub(crate) recipe: Recipe,
    pub(crate) run: Run,
    pub(crate) packed: Packed,
    pub(crate) cost: Cost,
}

/// A pack that was written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Test accuracy of base and pack.
    pub(crate) accuracy: Option<f64>,
}

/// What a run cost on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds of an optimizer step.
    pub seconds_per_step: f64,
    /// The most memory that the process had while it trained, program and data and all; none where the system does not say.
    pub peak_bytes: Option<u64>,
}

/// What a run cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunCost {
    /// The row.
    pub method: String,
    /// What it learned.
    pub task: String,
    /// With which seed.
    pub seed: u64,
    /// What it took.
    #[serde(flatten)]
    pub cost: Cost,
}

/// Trains and packs the run of `recipe` in its folder under `out`; none if it was stopped. `identity` says of which base and data.
pub(crate) fn run(
    recipe: Recipe,
    [method, task]: [&str; 2],
    identity: &str,
    out: &Path,
    watch: &mut dyn Watch,
    stop: &AtomicBool,
) -> Result<Option<Trained>> {
    let seed = recipe.seed;
    let digest = Digest(Sha256::digest(format!("{} {identity}", recipe.digest())).into()).to_string();
    let name = format!("seed-{seed}-{}", &digest[..8]);
    let folder = out.join("runs").join(method).join(task).join(name);
    let part = Part::Run { method: method.to_owned(), task: task.to_owned(), seed };
    watch.part(&part);
    reset_peak();
    let Ending::Finished(run) =
        train(&recipe, &folder, watch.training(), stop).map_err(|error| error.within(part.to_string()))?
    else {
        return Ok(None);
    };
    let memory = folder.join(MEMORY_FILE);
    if !memory.exists() {
        write_json(&memory, &peak_bytes())?;
    }
    let timing: Timing = read_json(&folder.join(TIMING_FILE))?;
    let cost = Cost { seconds_per_step: timing.seconds_per_step, peak_bytes: read_json(&memory)? };
    let packed = packed(&folder).map_err(|error| error.within(format!("pack the run of {part}")))?;
    Ok(Some(Trained { folder, recipe, run: *run, packed, cost }))
}

/// The pack of the run in `folder`, made if it is not there.
fn packed(folder: &Path) -> Result<Packed> {
    let described = folder.join(PACKED_FILE);
    if described.exists() {
        return read_json(&described);
    }
    let made = pack_run(folder, &PackWishes { probes: Some(0), ..PackWishes::default() })?;
    write_file(&folder.join(PACK_FILE), &made.encoded.bytes)?;
    let packed = Packed { bytes: made.encoded.bytes.len() as u64, accuracy: made.accuracy.test };
    write_json(&described, &packed)?;
    Ok(packed)
}

/// Where Linux lets a process forget how much memory it once had.
const FORGET: &str = "/proc/self/clear_refs";
/// What is written there for it.
const FORGET_PEAK: &str = "5";

/// Where the system does not know of it, the peak is that of the whole process, and a later run's is no smaller.
fn reset_peak() {
    fs::write(FORGET, FORGET_PEAK).ok();
}

/// The most memory that this process had since [`reset_peak`], where the system says.
fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The bundle of the suite's base, trained first if the suite names a recipe; none if it was stopped.
pub(crate) fn base(suite: &Suite, out: &Path, watch: &mut dyn Watch, stop: &AtomicBool) -> Result<Option<PathBuf>> {
    let Some(recipe) = suite.base_recipe()? else { return Ok(Some(suite.base_path())) };
    let folder = out.join("base").join(&recipe.digest().to_string()[..8]);
    watch.part(&Part::Base);
    let Ending::Finished(run) =
        train(&recipe, &folder, watch.training(), stop).map_err(|error| error.within("train the base"))?
    else {
        return Ok(None);
    };
    let bundle = folder.join("bundle");
    if !bundle.join(taskvec_bundle::BASE_FILE).exists() {
        crate::export::bundle_run(&folder, &bundle)?;
    }
    debug_assert!(run.base.is_none());
    Ok(Some(bundle))
}

/// That all folders of data are there, before anything is trained.
pub(crate) fn check_folders(suite: &Suite) -> Result<()> {
    let tasks = suite.tasks.iter().map(|(name, task)| (format!("task `{name}`"), &task.data));
    let control = suite.control.iter().flat_map(|control| &control.data).map(|folder| ("`control`".to_owned(), folder));
    let base = suite.base_data.iter().map(|folder| ("`base_data`".to_owned(), folder));
    for (who, folder) in tasks.chain(control).chain(base) {
        let path = suite.data_path(folder);
        if !path.is_dir() {
            return Err(Error::usage(format!("{who}: there is no folder `{}`", path.display()))
                .with_help("`--data ROOT` says where the suite's data begins"));
        }
    }
    if !suite.base_path().exists() {
        return Err(Error::usage(format!("`base`: there is no `{}`", suite.base_path().display()))
            .with_help("name the folder of a base bundle, or the recipe of a base"));
    }
    Ok(())
}
