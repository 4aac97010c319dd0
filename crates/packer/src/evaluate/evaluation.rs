//! A whole evaluation: every run of a suite, every row judged, every table made.
//!
//! | in the output folder | content |
//! |---|---|
//! | `base/`, `runs/` | what was trained, as `taskvec train` leaves it, and a pack beside each run |
//! | `judged/` | what was measured of each row with each seed |
//! | `results.json` | all outcomes and tables ([`Results`]); the same suite on the same data gives the same bytes |
//! | `costs.json` | what differs between two machines: seconds and memory ([`Costs`]) |
//! | `tables.md` | the tables of both |
//! | `tables.json` | the tables of `results.json` and its claims, and nothing else ([`Tables`]): small enough to keep |
//!
//! **Stopping.** The flag is looked at between two steps of a run, and before a network is asked. The same call again goes on from
//! there, and what it writes has the bytes that it would have had.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::analogy::analogy;
use super::claims::{Claim, claims};
use super::disentanglement::map;
use super::found::Found;
use super::ground::{Ground, Shelf};
use super::judge::{Outcome, judge, judge_merge};
use super::kernel::localizations;
use super::markdown::markdown;
use super::report::{Table, tables};
use super::row::{Row, kept};
use super::runs::{self, RunCost, Trained};
use super::suite::Suite;
use super::watch::{Part, Watch};
use crate::error::{Error, Result};
use crate::run_folder::{write_file, write_json};

/// All outcomes and tables.
pub const RESULTS_FILE: &str = "results.json";
/// Seconds and memory.
pub const COSTS_FILE: &str = "costs.json";
/// The tables of both.
pub const TABLES_FILE: &str = "tables.md";
/// The tables of what was measured, to be kept and compared with.
pub const TABLES_JSON_FILE: &str = "tables.json";

/// What was measured: the content of `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Name of the suite.
    pub suite: String,
    /// What it is about.
    pub about: String,
    /// Fingerprint of the base.
    pub base: String,
    /// Accuracy of the base on the control's images that judge.
    pub control_of_base: Option<f64>,
    /// For readers: means and spreads of what stands below.
    pub tables: Vec<Table>,
    /// Orderings that the suite checks.
    pub claims: Vec<Claim>,
    /// All that was measured.
    #[serde(flatten)]
    pub found: Found,
}

/// What readers see of the results: the content of `tables.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    /// Name of the suite.
    pub suite: String,
    /// Fingerprint of the base.
    pub base: String,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Orderings that it checks.
    pub claims: Vec<Claim>,
}

/// What differs between two machines: the content of `costs.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// For readers.
    pub table: Table,
    /// Each run.
    pub runs: Vec<RunCost>,
}

/// How a call of [`evaluate`] ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All results are in the output folder.
    Finished(Box<(Results, Costs)>),
    /// The stop flag was seen; what was done is in the output folder.
    Stopped,
}

/// Does what `suite` says and writes the results into `out`, which is made if need be.
///
/// # Errors
/// `Usage` for data that is not there, or too small to choose and to judge by; those of training, packing and merging.
pub fn evaluate(suite: &Suite, out: &Path, watch: &mut dyn Watch, stop: &AtomicBool) -> Result<Ending> {
    runs::check_folders(suite)?;
    let judged = out.join("judged");
    fs::create_dir_all(&judged).map_err(|cause| Error::io("create", &judged, cause))?;
    let Some(base) = runs::base(suite, out, watch, stop)? else { return Ok(Ending::Stopped) };
    match evaluated(suite, &base, out, watch, stop) {
        // What else may have failed after the flag was raised fails again when the evaluation goes on.
        Err(_) if stop.load(Ordering::Relaxed) => Ok(Ending::Stopped),
        ending => ending,
    }
}

/// Everything on a base that is there.
fn evaluated(suite: &Suite, base: &Path, out: &Path, watch: &mut dyn Watch, stop: &AtomicBool) -> Result<Ending> {
    // All that the suite names is opened once before anything is trained on it.
    let ground = Ground::open(suite, base, stop)?;
    let digests = digests(suite, &ground, base)?;
    let Some(trained) = train_all(suite, (base, &ground.base), &digests, out, watch, stop)? else {
        return Ok(Ending::Stopped);
    };
    let found = measure_all(suite, &ground, &trained, &out.join("judged"), watch)?;
    let control_of_base = ground.control.as_ref().map(|control| control.of_base[1]);
    let results = Results {
        suite: suite.name.clone(),
        about: suite.about.clone(),
        base: ground.start.fingerprint().map(|fingerprint| fingerprint.to_string()).unwrap_or_default(),
        control_of_base,
        tables: tables(suite, control_of_base, &found),
        claims: claims(suite, control_of_base, &found.outcomes),
        found,
    };
    let costs = costs(suite, trained);
    write_json(&out.join(RESULTS_FILE), &results)?;
    write_json(&out.join(TABLES_JSON_FILE), &results.readable())?;
    write_json(&out.join(COSTS_FILE), &costs)?;
    write_file(&out.join(TABLES_FILE), markdown(&results, &costs).as_bytes())?;
    Ok(Ending::Finished(Box::new((results, costs))))
}

impl Results {
    fn readable(&self) -> Tables {
        Tables {
            suite: self.suite.clone(),
            base: self.base.clone(),
            tables: self.tables.clone(),
            claims: self.claims.clone(),
        }
    }
}

fn measure_all(
    suite: &Suite,
    ground: &Ground<'_>,
    trained: &[Made],
    folder: &Path,
    watch: &mut dyn Watch,
) -> Result<Found> {
    let mut found = Found::default();
    for &seed in &suite.seeds {
        let mut shelf = Shelf::default();
        for name in suite.methods.names() {
            watch.part(&Part::Judge { row: name.to_owned(), seed });
            let of_row = trained.iter().filter(|made| made.method == name && made.seed == seed);
            let runs = of_row.map(|made| (made.task.as_str(), &made.trained)).collect();
            let (shelf, opened) = (&mut shelf, HashMap::new());
            let mut row = Row { suite, ground, shelf, name, seed, is_linearized: false, runs, folder, opened };
            measure_row(&mut row, &mut found)?;
        }
        if let (Some(settings), Some(control)) = (&suite.kernel, &ground.control) {
            watch.part(&Part::Kernel { seed });
            for task in &settings.tasks {
                let Some(made) = trained.iter().find(|made| made.task == *task && made.seed == seed) else { continue };
                let images = shelf.images(ground, &made.trained.recipe, suite.search_images)?;
                let parts = [format!("{settings:?} {task} {seed}"), ground.identity(), made.trained.run.data.clone()];
                let file = folder.join(format!("kernel of {task}, seed {seed}.json"));
                found.localizations.extend(kept(&file, &parts, || {
                    localizations(ground, settings, (task, seed), [&images.test, &control.test])
                })?);
            }
        }
    }
    Ok(found)
}

/// All that is measured of a method with a seed.
fn measure_row(row: &mut Row<'_>, found: &mut Found) -> Result<()> {
    let (suite, method) = (row.suite, row.name);
    let tasks: Vec<&str> = suite.merged_tasks().map(|(task, _)| task).collect();
    let alphas = format!("{:?} {}", suite.alphas, suite.search_images);
    found.outcomes.push(row.kept("", &alphas, &tasks, judge)?);
    for (name, of) in suite.linearized_afterwards.iter().filter(|(_, of)| *of == method) {
        let (ground, folder, seed, runs) = (row.ground, row.folder, row.seed, row.runs.clone());
        let (shelf, opened) = (&mut *row.shelf, HashMap::new());
        let mut afterwards = Row { suite, ground, shelf, name, seed, is_linearized: true, runs, folder, opened };
        let settings = format!("linearized {alphas}");
        let outcome = afterwards.kept("", &settings, &tasks, judge)?;
        found.outcomes.push(Outcome { of: Some(of.clone()), ..outcome });
    }
    for (name, merge) in suite.merges.iter().filter(|(_, merge)| merge.of == method) {
        let settings = format!("{name} {merge:?} {alphas}");
        let what = format!("-merge-{name}");
        found.outcomes.push(row.kept(&what, &settings, &tasks, |row| judge_merge(row, name, merge))?);
    }
    for (name, settings) in suite.analogies.iter() {
        if settings.methods.iter().any(|method| method == row.name) {
            let names = [&settings.a, &settings.b, &settings.c, &settings.d].map(String::as_str);
            found.analogies.push(row.kept(&format!("-analogy-{name}"), &alphas, &names, |row| {
                let learned =
                    [row.learned(names[0])?, row.learned(names[1])?, row.learned(names[2])?, row.learned(names[3])?];
                let learned = [&*learned[0], &*learned[1], &*learned[2], &*learned[3]];
                analogy(row.ground, &suite.alphas.values(), (name, row.name, row.seed), names, learned)
            })?);
        }
    }
    let Some(settings) =
        suite.disentanglement.as_ref().filter(|maps| maps.methods.iter().any(|method| method == row.name))
    else {
        return Ok(());
    };
    let grid = format!("{:?} {}", settings.grid(), settings.images);
    for pair in &settings.pairs {
        let what = format!("-map-{}-{}", pair[0], pair[1]);
        found.maps.push(row.kept(&what, &grid, &[&pair[0], &pair[1]], |row| {
            let learned = [row.learned(&pair[0])?, row.learned(&pair[1])?];
            map(row.ground, settings, (row.name, row.seed), pair, [&learned[0], &learned[1]])
        })?);
    }
    Ok(())
}

/// What identifies the data of each task.
fn digests<'s>(suite: &'s Suite, ground: &Ground<'_>, base: &Path) -> Result<Vec<(&'s str, String)>> {
    let mut shelf = Shelf::default();
    let mut digests: Vec<(&str, String)> = Vec::new();
    for (method, task) in suite.runs() {
        let recipe = suite.recipe(method, task, suite.seeds[0], base)?;
        let images = shelf.images(ground, &recipe, suite.search_images)?;
        if !digests.iter().any(|(known, _)| *known == task) {
            digests.push((task, images.digest.to_string()));
        }
    }
    Ok(digests)
}

/// A run, and whose it is.
struct Made {
    method: String,
    task: String,
    seed: u64,
    trained: Trained,
}

fn train_all(
    suite: &Suite,
    (base, base_digest): (&Path, &str),
    digests: &[(&str, String)],
    out: &Path,
    watch: &mut dyn Watch,
    stop: &AtomicBool,
) -> Result<Option<Vec<Made>>> {
    let mut all = Vec::new();
    for &seed in &suite.seeds {
        for (method, task) in suite.runs() {
            let recipe = suite.recipe(method, task, seed, base)?;
            let is_other = |other: &str| suite.merged_tasks().any(|(merged, _)| merged == other);
            let is_felt = |other: &str| other == task || recipe.curvature().is_some() && is_other(other);
            let data = digests.iter().filter(|(other, _)| is_felt(other)).map(|(_, digest)| digest.as_str());
            let identity = [base_digest].into_iter().chain(data).collect::<Vec<_>>().join(" ");
            let trained = runs::run(recipe, [method, task], &identity, out, watch, stop)?;
            let Some(trained) = trained else { return Ok(None) };
            all.push(Made { method: method.to_owned(), task: task.to_owned(), seed, trained });
        }
    }
    Ok(Some(all))
}

fn costs(suite: &Suite, trained: Vec<Made>) -> Costs {
    let run = |made: Made| RunCost { method: made.method, task: made.task, seed: made.seed, cost: made.trained.cost };
    let runs: Vec<RunCost> = trained.into_iter().map(run).collect();
    Costs { table: super::report::cost_table(suite, &runs), runs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_is_up_before_anything_is_opened_stops_it_and_is_no_error() {
        let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../suites");
        let suite = Suite::open(&suites.join("small.yaml"), None).unwrap();
        let out = tempfile::tempdir().unwrap();
        let ending = evaluate(&suite, out.path(), &mut (), &AtomicBool::new(true)).unwrap();
        assert_eq!(ending, Ending::Stopped);
        assert!(!out.path().join("runs").exists());
    }
}
