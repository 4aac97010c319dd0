//! `taskvec pack RUN -o FILE`: makes a pack from the run folder that `taskvec train` left.
//!
//! Deltas are rounded as the recipe (or `--values`) says, or entries and roundings are searched for that keep to a budget
//! (`--max-bytes`, `--max-error`, `--max-accuracy-drop`). Accuracy and probes are taken from the rounded ones: what was measured is what ships.
//! A run that rounded in training (`taskvec train --values`) has its very deltas packed; with other `--values` or a budget they are
//! rounded again, and that is said.

use serde::Serialize;
use taskvec_packer::budget::CurvePoint;
use taskvec_packer::pack_run::{PackWishes, pack_run};
use taskvec_packer::recipe::Values;
use taskvec_packer::run_folder::write_file;
use taskvec_packer::train::Accuracy;

use super::{Outcome, budget};
use crate::args::Pack;
use crate::render::{self, percent, size};

#[derive(Serialize)]
struct Packed {
    pack: String,
    pack_bytes: u64,
    name: String,
    entries: u64,
    /// Norm of what is lost divided by the norm of the task vector; none where no budget was given.
    error: Option<f64>,
    /// What the deltas were rounded to in training; none if training knew nothing of it.
    trained_with: Option<Values>,
    /// Whether the pack's deltas are those that were trained, bit for bit.
    as_trained: bool,
    /// What the run reached: before rounding, or with deltas rounded in training.
    run_accuracy: Accuracy,
    /// What the pack reaches.
    pack_accuracy: Accuracy,
    /// Other packs that could have been made.
    curve: Vec<CurvePoint>,
}

pub(crate) fn run(typed: &Pack, json: bool) -> anyhow::Result<Outcome> {
    let wishes = PackWishes {
        values: typed.values.map(super::values),
        budget: budget::wanted(&typed.budget, typed.sign.as_deref()),
        probes: typed.probes,
    };
    let packed = pack_run(&typed.run, &wishes)?;
    if let Some(trained) = packed.trained_with.filter(|_| !packed.as_trained) {
        render::note(&again(trained, wishes.values.filter(|_| wishes.budget.is_none())));
    }
    let entries = packed.encoded.tensors.iter().map(|tensor| tensor.entry_count).sum();
    let pack = super::signed(packed.encoded.bytes, typed.sign.as_deref())?;
    write_file(&typed.out, &pack)?;
    if let (Some(file), Some(error)) = (&typed.budget.curve, packed.error) {
        let accuracy = packed.accuracy.held_out;
        let made = CurvePoint { pack_bytes: pack.len() as u64, error, entries, accuracy };
        budget::draw(file, &format!("{}: bytes against error", typed.out.display()), &packed.curve, made)?;
    }
    let value = Packed {
        pack: typed.out.display().to_string(),
        pack_bytes: pack.len() as u64,
        name: packed.run.name.clone(),
        entries,
        error: packed.error,
        trained_with: packed.trained_with,
        as_trained: packed.as_trained,
        run_accuracy: packed.run.accuracy,
        pack_accuracy: packed.accuracy,
        curve: packed.curve,
    };
    render::result(json, &value, |value| {
        let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
        format!(
            "{}: skill `{}`, {}, {} entries{}, test accuracy {} ({} {})\n{}",
            value.pack,
            value.name,
            size(value.pack_bytes),
            value.entries,
            value.error.map_or_else(String::new, |error| format!(", error {error:.4}")),
            share(value.pack_accuracy.test),
            if value.trained_with.is_some() { "in training" } else { "before rounding" },
            share(value.run_accuracy.test),
            budget::lines(&value.curve)
        )
    })?;
    Ok(Outcome::Done)
}

/// What becomes of deltas that were trained in one rounding and are packed in another, or within a budget.
fn again(trained: Values, values: Option<Values>) -> String {
    let what = match values {
        Some(Values::Lossless) => "the pack holds the distances to the weights that these made, bit for bit".to_owned(),
        Some(values) => format!("the pack rounds them again, to {}", values.name()),
        None => "the budget rounds them again".to_owned(),
    };
    format!("the run learned with deltas rounded to {}; {what}", trained.name())
}
