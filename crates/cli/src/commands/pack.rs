//! `taskvec pack RUN -o FILE`: makes a pack from the run folder that `taskvec train` left.
//!
//! Deltas are rounded as the recipe (or `--values`) says, and accuracy and probes are taken from the rounded ones: what was
//! measured is what ships.

use serde::Serialize;
use taskvec_packer::pack_run::pack_run;
use taskvec_packer::run_folder::write_file;
use taskvec_packer::train::Accuracy;

use super::Outcome;
use crate::args::Pack;
use crate::render::{self, percent, size};

#[derive(Serialize)]
struct Packed {
    pack: String,
    pack_bytes: u64,
    name: String,
    entries: u64,
    /// What the run reached before rounding.
    run_accuracy: Accuracy,
    /// What the pack reaches.
    pack_accuracy: Accuracy,
}

pub(crate) fn run(typed: &Pack, json: bool) -> anyhow::Result<Outcome> {
    let packed = pack_run(&typed.run, typed.values.map(super::values), typed.probes)?;
    let pack = super::signed(packed.encoded.bytes, typed.sign.as_deref())?;
    write_file(&typed.out, &pack)?;
    let value = Packed {
        pack: typed.out.display().to_string(),
        pack_bytes: pack.len() as u64,
        name: packed.run.name.clone(),
        entries: packed.encoded.tensors.iter().map(|tensor| tensor.entry_count).sum(),
        run_accuracy: packed.run.accuracy,
        pack_accuracy: packed.accuracy,
    };
    render::result(json, &value, |value| {
        let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
        format!(
            "{}: skill `{}`, {}, {} entries, test accuracy {} (before rounding {})\n",
            value.pack,
            value.name,
            size(value.pack_bytes),
            value.entries,
            share(value.pack_accuracy.test),
            share(value.run_accuracy.test)
        )
    })?;
    Ok(Outcome::Done)
}
