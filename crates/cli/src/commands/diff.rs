//! `taskvec diff BASE TUNED -o FILE`: makes a pack from two checkpoints of the same shape.
//!
//! Lossless unless `--values` is given: `taskvec apply BASE FILE -o OUT` then gives the tuned tensors back bit for bit. Two
//! checkpoints that do not look like one fine-tuned from the other are packed all the same, with a warning and exit code 3.

use serde::Serialize;
use taskvec_packer::diff::diff;
use taskvec_packer::recipe::Values;
use taskvec_packer::run_folder::write_file;

use super::Outcome;
use crate::args::Diff;
use crate::render::{self, size};

#[derive(Serialize)]
struct Made {
    pack: String,
    pack_bytes: u64,
    lossless: bool,
    entries: u64,
    elements: u64,
    /// Cosine of base and tuned weights, -1 to 1.
    cosine: f64,
    /// Norm of the difference divided by the norm of the base.
    relative_change: f64,
    warnings: Vec<String>,
}

pub(crate) fn run(typed: &Diff, json: bool) -> anyhow::Result<Outcome> {
    let values = typed.values.map_or(Values::Lossless, super::values);
    let made = diff(&typed.base, &typed.tuned, values, typed.name.as_deref())?;
    let pack = super::signed(made.encoded.bytes, typed.sign.as_deref())?;
    write_file(&typed.out, &pack)?;
    let warnings = made.comparison.warnings();
    for warning in &warnings {
        render::warning(&warning.message, &warning.help);
    }
    let likeness = made.comparison.judged();
    let value = Made {
        pack: typed.out.display().to_string(),
        pack_bytes: pack.len() as u64,
        lossless: values == Values::Lossless,
        entries: made.comparison.whole.changed_count,
        elements: made.comparison.whole.element_count,
        cosine: likeness.cosine(),
        relative_change: likeness.relative_change(),
        warnings: warnings.iter().map(|warning| warning.message.clone()).collect(),
    };
    render::result(json, &value, |value| {
        format!(
            "{}: {}, {} of {} elements changed, weight cosine {:.4}{}\n",
            value.pack,
            size(value.pack_bytes),
            value.entries,
            value.elements,
            value.cosine,
            if value.lossless { ", lossless" } else { "" }
        )
    })?;
    Ok(if warnings.is_empty() { Outcome::Done } else { Outcome::DoneWithWarnings })
}
