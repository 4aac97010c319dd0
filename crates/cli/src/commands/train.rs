//! `taskvec train RECIPE -o FOLDER`: trains a base model or a skill by a recipe.
//!
//! The recipe, the seed and the run folder are printed first. Ctrl-C stops between two steps and keeps a checkpoint; the
//! same command goes on from there and ends with the same bytes. A finished run is not trained again. A recipe with
//! `network` leaves a base bundle in `FOLDER/bundle`; one with `base` leaves what `taskvec pack FOLDER` makes a pack of.
//!
//! With `--values ENCODING` (or `pack: {values: ENCODING, rounded: in_training}` in the recipe) the network computes with rounded
//! deltas all along, and the pack will hold those very deltas: the accuracy that is shown is the pack's.

use taskvec_packer::export::bundle_run;
use taskvec_packer::recipe::{Compute, Recipe, Rounded, Values};
use taskvec_packer::train::{Accuracy, Ending, Run, train};

use super::Outcome;
use crate::args::{DeviceName, Train};
use crate::interrupt;
use crate::render::{self, Reporter, percent};

pub(crate) fn run(typed: &Train, json: bool) -> anyhow::Result<Outcome> {
    let mut recipe = Recipe::open(&typed.recipe)?;
    if let Some(base) = &typed.base {
        recipe.replace_base(base)?;
    }
    if !typed.data.is_empty() {
        recipe.replace_data(&typed.data)?;
    }
    if let Some(pack) = &typed.mask {
        recipe.share_mask(pack)?;
    }
    recipe.device = match typed.device {
        Some(DeviceName::Cpu) => Compute::Cpu,
        Some(DeviceName::Cuda) => Compute::Cuda,
        Some(DeviceName::Wgpu) => Compute::Wgpu,
        None => recipe.device,
    };
    recipe.seed = typed.seed.unwrap_or(recipe.seed);
    if let Some(values) = typed.values {
        (recipe.pack.values, recipe.pack.rounded) = (super::values(values), Rounded::InTraining);
    }
    recipe.check()?;
    let (out, digest) = (typed.out.display(), recipe.digest());
    render::note(&format!("recipe `{}` {digest}, seed {}, run folder `{out}`", recipe.name, recipe.seed));

    let stop = interrupt::stop_flag()?;
    let ending = train(&recipe, &typed.out, &mut Reporter::new(), &stop)?;
    let Ending::Finished(run) = ending else {
        render::note("stopped; the checkpoint is in the run folder, and the same command goes on from it");
        return Ok(Outcome::DoneWithWarnings);
    };
    if recipe.network.is_some() {
        let bundle = typed.out.join("bundle");
        let base = bundle_run(&typed.out, &bundle)?;
        render::note(&format!("base bundle `{}`, fingerprint {}", bundle.display(), base.fingerprint()));
    }
    let values = Some(recipe.pack.values).filter(|_| recipe.pack.rounded == Rounded::InTraining);
    render::result(json, &*run, |run| table(run, values))?;
    Ok(Outcome::Done)
}

/// `values` is what deltas were rounded to in training, if they were.
fn table(run: &Run, values: Option<Values>) -> String {
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let row = |name: &str, accuracy: &Accuracy| vec![name.to_owned(), share(accuracy.held_out), share(accuracy.test)];
    let mut rows: Vec<_> = run.base_accuracy.iter().map(|accuracy| row("base, class means", accuracy)).collect();
    let skill = values.map_or("with the skill".to_owned(), |values| format!("with the skill in {}", values.name()));
    rows.push(row(if run.base.is_some() { &skill } else { "base" }, &run.accuracy));
    let entries =
        format!("{} of {} editable parameters learned, {} steps\n", run.mask.entries, run.mask.elements, run.steps);
    render::table(&["accuracy", "held out", "test"], &rows) + "\n" + &entries
}
