//! `taskvec bundle MODEL.onnx -o BASE`: makes a base of a model that this project has never seen; `taskvec bundle RUN -o BASE`
//! makes one of a base that `taskvec train` has trained; `taskvec bundle CHECKPOINT --network FILE.yaml -o BASE` makes one of a
//! public checkpoint of a network that is computed here, so that skills can be trained on it. Then burn and ONNX Runtime have to
//! answer alike.
//!
//! `taskvec bundle BASE --linearized -o OUT` makes the bundle on which skills run that were trained with `linearized: true`: the same
//! weights and fingerprint, and the network's first-order approximation around them. It is held against burn as well, with every
//! editable weight changed, since at the base itself the two are the same network.
//!
//! The weights move into `model.safetensors` under the graph's own names, and those that may be edited become inputs of the
//! graph. Then ONNX Runtime answers with both, model and base, and the base is kept only if the answers agree. A pack is made by
//! `taskvec diff` of the base and another export of the same model.
//!
//! With `--of`, each weight is looked for in the checkpoint that the model was exported from, by its numbers: exporters turn
//! matrices, rename and quantize. What is found is attached to by packs that were made for the checkpoint; what is not was
//! folded by the exporter, and is named.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use taskvec_bundle::Base;
use taskvec_packer::Error;
use taskvec_packer::export::{bundle_run, linearized_bundle};
use taskvec_packer::import::{ImportSettings, Imported, import};
use taskvec_packer::import_network::{ImportedNetwork, NetworkDescription, import_network};
use taskvec_packer::recipe::Pattern;
use taskvec_runtime::{Agreement, BaseModel, OrtSettings, compare_with_burn, compare_with_model};

use super::Outcome;
use crate::args::Bundle;
use crate::render;

/// What answers may differ by, as a share of the largest number: kernels for weights that are inputs add in another order.
const SHARE_MAX: f32 = 1e-4;
/// The same where a rounding to 8 bits comes after each layer.
const QUANTIZED_SHARE_MAX: f32 = 2e-2;
/// Names that are written out before they are only counted.
const NAMES_SHOWN: usize = 8;

#[derive(Serialize)]
struct Made {
    base: String,
    fingerprint: String,
    /// Of the base that it stands for, if it does.
    stands_for: Option<String>,
    tensors: usize,
    editable: usize,
    turned: usize,
    quantized: usize,
    not_recognized: Vec<String>,
    absent: Vec<String>,
    /// With the model; for a public checkpoint, of ONNX Runtime with burn. None if there was no library to ask.
    agreement: Option<Agreement>,
    notes: Vec<String>,
}

pub(crate) fn run(typed: &Bundle, json: bool) -> anyhow::Result<Outcome> {
    if typed.out.exists() {
        let there = Error::usage(format!("`{}` is there already", typed.out.display()));
        return Err(there.with_help("name a folder that is not, or remove it first").into());
    }
    let parent = typed.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let aside = tempfile::tempdir_in(parent).with_context(|| format!("cannot write in `{}`", parent.display()))?;
    let folder = aside.path().join("base");
    let (imported, agreement) = if let Some(description) = &typed.network {
        of_checkpoint(typed, description, &folder)?
    } else if typed.linearized {
        let base = linearized_bundle(&typed.model, &folder)?;
        let agreement = agreement(typed, &folder, compare_with_burn)?;
        (of_ours(base), agreement)
    } else if typed.model.is_dir() {
        let is_plain = typed.of.is_none() && typed.editable.is_empty() && typed.name.is_none();
        if !is_plain || !typed.size.is_empty() || !typed.fill.is_empty() {
            let clause = format!("`{}` is the run of a base, whose recipe says all of this", typed.model.display());
            let error =
                Error::usage(format!("{clause}: --of, --editable, --size, --fill and --name are for ONNX models"));
            return Err(error.with_help("leave them out, or name an `.onnx` file").into());
        }
        let base = bundle_run(&typed.model, &folder)?;
        (of_ours(base), None)
    } else {
        let imported = import(&typed.model, &folder, &settings(typed))?;
        let agreement = agreement(typed, &folder, |settings, base| compare_with_model(settings, base, &typed.model))?;
        (imported, agreement)
    };
    std::fs::rename(&folder, &typed.out).with_context(|| format!("cannot move it to `{}`", typed.out.display()))?;
    tell(typed, imported, agreement, json)
}

/// A base of a network that is computed here: every tensor is known.
fn of_ours(base: Base) -> Imported {
    Imported { base, not_recognized: Vec::new(), absent: Vec::new(), notes: Vec::new() }
}

/// The base of a public checkpoint.
fn of_checkpoint(typed: &Bundle, description: &Path, folder: &Path) -> anyhow::Result<(Imported, Option<Agreement>)> {
    let mut description = NetworkDescription::open(description)?;
    if let Some(name) = &typed.name {
        description.name = name.clone();
    }
    let ImportedNetwork { base, notes } = import_network(&typed.model, &description, folder)?;
    let agreement = agreement(typed, folder, compare_with_burn)?;
    Ok((Imported { notes, ..of_ours(base) }, agreement))
}

fn settings(typed: &Bundle) -> ImportSettings<'_> {
    let patterns = typed.editable.iter().map(|text| match text.as_str() {
        "all" => vec![Pattern::new("*")],
        // As BERT, ViT and their relatives call it.
        "attention" => vec![Pattern::new("*attention*"), Pattern::new("*attn*")],
        text => vec![Pattern::new(text)],
    });
    ImportSettings {
        name: typed.name.as_deref(),
        of: typed.of.as_deref(),
        editable: patterns.collect(),
        sizes: typed.size.clone(),
        fills: typed.fill.clone(),
    }
}

/// How well the base agrees with what `compare` holds it against; none if there is no library to ask.
fn agreement(
    typed: &Bundle,
    folder: &Path,
    compare: impl FnOnce(&OrtSettings, &BaseModel) -> Result<Agreement, taskvec_runtime::Error>,
) -> anyhow::Result<Option<Agreement>> {
    let settings = super::onnx_runtime(typed.onnxruntime.as_deref());
    if let Err(cause) = settings.check() {
        let message = format!("the answers of the base were not compared: {}", cause.chain());
        render::warning(&message, "install the wheel `onnxruntime` (pip), or name a library with `--onnxruntime`");
        return Ok(None);
    }
    let base = BaseModel::open(folder)?;
    let agreement = compare(&settings, &base)?;
    let is_quantized = base.tensors().iter().any(|tensor| tensor.quantization.is_some());
    check(&agreement, if is_quantized { QUANTIZED_SHARE_MAX } else { SHARE_MAX })?;
    Ok(Some(agreement))
}

/// That the answers differ by at most this share of the largest number.
fn check(agreement: &Agreement, share: f32) -> Result<(), Error> {
    let (found, largest) = (agreement.difference_max, agreement.answer_max);
    if found <= share * largest {
        return Ok(());
    }
    let clause = format!(
        "base and model answer differently: by {found:e}, where the largest number is {largest:e}; expected at most {share:e} of it"
    );
    Err(Error::mismatch(clause)
        .with_help("try it with other `--size` or `--fill`, or with fewer weights in `--editable`"))
}

fn tell(typed: &Bundle, imported: Imported, agreement: Option<Agreement>, json: bool) -> anyhow::Result<Outcome> {
    let Imported { base, not_recognized, absent, notes } = imported;
    let counterparts = base.stands_for().map_or(&[][..], |it| &it.tensors);
    let value = Made {
        base: typed.out.display().to_string(),
        fingerprint: base.fingerprint().to_string(),
        stands_for: base.stands_for().map(|it| it.fingerprint.to_string()),
        tensors: base.tensors().len(),
        editable: base.editable().len(),
        turned: counterparts.iter().filter(|it| it.turned).count(),
        quantized: counterparts.iter().filter(|it| it.grid.is_some()).count(),
        not_recognized,
        absent,
        agreement,
        notes,
    };
    value.notes.iter().for_each(|note| render::note(note));
    let is_ours = typed.network.is_some() || typed.linearized;
    let compared = if is_ours { "burn" } else { "the model" };
    render::result(json, &value, |value| story(value, compared))?;
    let is_unchecked = value.agreement.is_none() && (is_ours || !typed.model.is_dir());
    Ok(if is_unchecked { Outcome::DoneWithWarnings } else { Outcome::Done })
}

/// `compared` is what the answers were held against.
fn story(value: &Made, compared: &str) -> String {
    let mut text = format!(
        "{}: {} tensors, {} of them editable\nfingerprint {}\n",
        value.base, value.tensors, value.editable, value.fingerprint
    );
    if let Some(fingerprint) = &value.stands_for {
        text.push_str(&format!(
            "stands for base {fingerprint}: {} turned, {} quantized\n",
            value.turned, value.quantized
        ));
    }
    for (what, names) in [
        ("made by the exporter, not editable", &value.not_recognized),
        ("of the checkpoint, not in the graph", &value.absent),
    ] {
        if !names.is_empty() {
            let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
            let more = names.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text.push_str(&format!("{what}: {}{more}\n", shown.join(", ")));
        }
    }
    if let Some(it) = &value.agreement {
        text.push_str(&format!(
            "answers as {compared} does: {} numbers, largest {:.4}, largest difference {:.1e}\n\
             an answer takes {:.1} ms, of {compared} {:.1} ms: fewer editable weights cost less, the tier `packed` nothing\n",
            it.numbers, it.answer_max, it.difference_max, it.base_ms, it.model_ms
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_agree_up_to_a_share_of_the_largest_number() {
        let with = |difference_max, answer_max| {
            let agreement = Agreement { numbers: 3, difference_max, answer_max, model_ms: 1.0, base_ms: 1.0 };
            check(&agreement, 0.01).map_err(|error| error.to_string())
        };
        assert_eq!((with(0.0, 0.0), with(0.02, 2.0)), (Ok(()), Ok(())));
        for (difference, largest) in [(0.03, 2.0), (1e-9, 0.0), (f32::INFINITY, 2.0), (f32::NAN, 2.0)] {
            assert!(with(difference, largest).unwrap_err().contains("base and model answer differently"));
        }
    }
}
