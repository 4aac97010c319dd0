//! `taskvec diff BASE TUNED -o FILE`: makes a pack from two checkpoints of the same shape; `taskvec diff BASE --lora ADAPTER -o
//! FILE` makes one from a LoRA adapter.
//!
//! A checkpoint is a safetensors file, shards with their index, what `torch.save` wrote, an ONNX model or a GGUF file of floats;
//! the two need not be of one form. Nothing in them is run: a pickle that names anything but the parts of a state dict is
//! refused.
//!
//! Within a budget (`--max-bytes`, `--max-error`) the entries that stay and their bits are searched for, tensor by tensor.
//! Else lossless unless `--values` is given: `taskvec apply BASE FILE -o OUT` then gives the tuned tensors back bit for bit. Two
//! checkpoints that do not look like one fine-tuned from the other are packed all the same, with a warning and exit code 3. An
//! adapter becomes `alpha / rank * B A` in f32 (or as `--values` says).

use std::path::Path;

use serde::Serialize;
use taskvec_packer::budget::{CurvePoint, Wanted};
use taskvec_packer::diff::{diff, diff_within};
use taskvec_packer::lora::{lora, lora_within};
use taskvec_packer::recipe::Values;
use taskvec_packer::run_folder::write_file;
use taskvec_packer::task_vector::Warning;

use super::{Outcome, budget};
use crate::args::Diff;
use crate::render::{self, size};

#[derive(Default, Serialize)]
struct Made {
    pack: String,
    pack_bytes: u64,
    lossless: bool,
    /// Norm of what is lost divided by the norm of the difference; none where no budget was given.
    error: Option<f64>,
    /// Entries of the pack.
    entries: u64,
    /// Elements with other bits; with an adapter, as many as there are entries.
    changed: u64,
    /// Of the tensors that were compared; with an adapter, of those that it changes.
    elements: u64,
    /// Cosine of base and tuned weights, -1 to 1; none with an adapter.
    cosine: Option<f64>,
    /// Norm of the difference divided by the norm of the base; none with an adapter.
    relative_change: Option<f64>,
    /// Other packs that could have been made.
    curve: Vec<CurvePoint>,
    /// What was decided on the way.
    notes: Vec<String>,
    warnings: Vec<String>,
}

pub(crate) fn run(typed: &Diff, json: bool) -> anyhow::Result<Outcome> {
    let values = typed.values.map(super::values);
    let wanted = budget::wanted(&typed.budget, typed.sign.as_deref());
    let (pack, warnings, made) = match (&typed.lora, &typed.tuned) {
        (None, Some(tuned)) if let Some(wanted) = wanted => within(typed, tuned, &wanted)?,
        (None, Some(tuned)) => of_checkpoints(typed, tuned, values.unwrap_or(Values::Lossless))?,
        (Some(adapter), _) if let Some(wanted) = wanted => adapter_within(typed, adapter, &wanted)?,
        (Some(adapter), _) => of_adapter(typed, adapter, values.unwrap_or(Values::F32))?,
        (None, None) => anyhow::bail!("no tuned checkpoint and no adapter was named"),
    };
    let pack = super::signed(pack, typed.sign.as_deref())?;
    write_file(&typed.out, &pack)?;
    if let (Some(file), Some(error)) = (&typed.budget.curve, made.error) {
        let point = CurvePoint { pack_bytes: pack.len() as u64, error, entries: made.entries, accuracy: None };
        budget::draw(file, &format!("{}: bytes against error", typed.out.display()), &made.curve, point)?;
    }
    made.notes.iter().for_each(|note| render::note(note));
    warnings.iter().for_each(|warning| render::warning(&warning.message, &warning.help));
    let value = Made {
        pack: typed.out.display().to_string(),
        pack_bytes: pack.len() as u64,
        warnings: warnings.iter().map(|warning| warning.message.clone()).collect(),
        ..made
    };
    render::result(json, &value, |value| {
        let exactness = match (value.lossless, value.error) {
            (true, _) => ", lossless".to_owned(),
            (false, Some(error)) => format!(", {} entries kept, error {error:.4}", value.entries),
            (false, None) => String::new(),
        };
        format!(
            "{}: {}, {} of {} elements changed{}{exactness}\n{}",
            value.pack,
            size(value.pack_bytes),
            value.changed,
            value.elements,
            value.cosine.map_or_else(String::new, |cosine| format!(", weight cosine {cosine:.4}")),
            budget::lines(&value.curve)
        )
    })?;
    Ok(if warnings.is_empty() { Outcome::Done } else { Outcome::DoneWithWarnings })
}

/// The pack, its warnings, and what is said of it as far as it is known before it is written.
type Parts = (Vec<u8>, Vec<Warning>, Made);

fn of_checkpoints(typed: &Diff, tuned: &Path, values: Values) -> anyhow::Result<Parts> {
    let made = diff(&typed.base, tuned, values, typed.name.as_deref())?;
    let (whole, judged) = (&made.comparison.whole, made.comparison.judged());
    let said = Made {
        lossless: values == Values::Lossless,
        entries: made.encoded.tensors.iter().map(|tensor| tensor.entry_count).sum(),
        changed: whole.changed_count,
        elements: whole.element_count,
        cosine: Some(judged.cosine()),
        relative_change: Some(judged.relative_change()),
        notes: made.notes,
        ..Made::default()
    };
    Ok((made.encoded.bytes, made.comparison.warnings(), said))
}

fn within(typed: &Diff, tuned: &Path, wanted: &Wanted) -> anyhow::Result<Parts> {
    let made = diff_within(&typed.base, tuned, wanted, typed.name.as_deref())?;
    let (whole, judged) = (&made.comparison.whole, made.comparison.judged());
    let said = Made {
        error: Some(made.fitted.error),
        entries: made.fitted.entry_count,
        changed: whole.changed_count,
        elements: whole.element_count,
        cosine: Some(judged.cosine()),
        relative_change: Some(judged.relative_change()),
        curve: made.curve,
        notes: made.notes,
        ..Made::default()
    };
    Ok((made.fitted.encoded.bytes, made.comparison.warnings(), said))
}

fn of_adapter(typed: &Diff, adapter: &Path, values: Values) -> anyhow::Result<Parts> {
    let made = lora(&typed.base, adapter, values, typed.name.as_deref())?;
    let entries = made.encoded.tensors.iter().map(|tensor| tensor.entry_count).sum();
    let said = Made { entries, changed: entries, elements: made.element_count, notes: made.notes, ..Made::default() };
    Ok((made.encoded.bytes, made.warnings, said))
}

fn adapter_within(typed: &Diff, adapter: &Path, wanted: &Wanted) -> anyhow::Result<Parts> {
    let made = lora_within(&typed.base, adapter, wanted, typed.name.as_deref())?;
    let said = Made {
        error: Some(made.fitted.error),
        entries: made.fitted.entry_count,
        changed: made.fitted.entry_count,
        elements: made.element_count,
        curve: made.curve,
        notes: made.notes,
        ..Made::default()
    };
    Ok((made.fitted.encoded.bytes, made.warnings, said))
}
