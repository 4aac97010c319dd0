//! `taskvec inspect PACK`: shows what is in a pack, and how many bits each part costs beside its entropy bound.
//!
//! With `--key PUBFILE` the signature of that key is verified. If it is not there or does not fit, the exit code is 3.
//!
//! With a second pack for the same base the two are compared (`overlap.rs`): how much their masks share, beside what drawn masks
//! would; signs that oppose and the cosine of the deltas in common; bytes. Losslessly written deltas take `--base BASE`.
//! With `--data` for each of the two, what they cost each other is measured as well.

use anyhow::Context;
use taskvec_pack::{Limits, Pack};
use taskvec_runtime::{InspectedSignature, InspectedTensor, Inspection, Trust, read_public_key};

use super::Outcome;
use crate::args::Inspect;
use crate::render::{self, size};

pub(crate) fn run(typed: &Inspect, json: bool) -> anyhow::Result<Outcome> {
    if let Some(other) = &typed.other {
        return super::overlap::run(&typed.pack, other, typed.base.as_deref(), &typed.data, json);
    }
    let attempt = || format!("open pack `{}`", typed.pack.display());
    let bytes = std::fs::read(&typed.pack).with_context(attempt)?;
    let pack = Pack::read(&bytes, &Limits::default()).with_context(attempt)?;
    let keys = typed.key.iter().map(|path| read_public_key(path)).collect::<Result<Vec<_>, _>>()?;
    let trust = if keys.is_empty() { Trust::default() } else { Trust::in_keys(keys.iter().copied(), 1)? };
    let inspected = Inspection::of(&pack, bytes.len() as u64, &trust);
    let mut outcome = Outcome::Done;
    for id in keys.iter().map(|key| key.id().to_string()) {
        match inspected.signatures.iter().find(|signature| signature.key_id == id).and_then(|signature| signature.fits)
        {
            Some(true) => continue,
            Some(false) => render::warning(
                &format!("the signature by key {id} does not fit: the pack or the signature was changed"),
                "fetch the pack again from whoever made it",
            ),
            None => render::warning(
                &format!("the pack is not signed by key {id}"),
                "whoever has the secret key can sign it with `taskvec sign`",
            ),
        }
        outcome = Outcome::DoneWithWarnings;
    }
    render::result(json, &inspected, table)?;
    Ok(outcome)
}

fn table(pack: &Inspection) -> String {
    let mut text = format!(
        "skill `{}`, pack {}\nformat {}, {}\n{}base {}\nalpha {} (tried on {} to {}), {}, seed {}, density {}, granule {}\n",
        pack.name,
        pack.digest,
        pack.version,
        size(pack.pack_bytes),
        signatures(&pack.signatures),
        pack.base,
        pack.alpha,
        pack.alpha_range[0],
        pack.alpha_range[1],
        pack.method,
        pack.seed,
        pack.density,
        pack.granule
    );
    for (key, value) in &pack.provenance {
        text.push_str(&format!("{key}: {value}\n"));
    }
    text.push_str(&format!("{} classes, {} probes\n\n", pack.labels.len(), pack.probes));
    let header =
        ["tensor", "dtype", "entries", "density", "mask", "bits", "bound", "values", "bits", "bound", "rms error"];
    let rows: Vec<Vec<String>> = pack.tensors.iter().map(row).collect();
    text.push_str(&render::table(&header, &rows));
    let total = &pack.total;
    text.push_str(&format!(
        "\n{} entries of {} elements: masks {}, values {}, together {} the bound; everything else {}\n",
        total.entries,
        total.elements,
        size(total.index_bytes),
        size(total.value_bytes),
        total.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3} times")),
        size(total.other_bytes)
    ));
    text
}

fn signatures(signatures: &[InspectedSignature]) -> String {
    if signatures.is_empty() {
        return "not signed\n".to_owned();
    }
    let line = |signature: &InspectedSignature| {
        let verdict = match signature.fits {
            Some(true) => "fits",
            Some(false) => "DOES NOT FIT",
            None => "not verified (give its public key with --key)",
        };
        format!("signed by key {}: {verdict}\n", signature.key_id)
    };
    signatures.iter().map(line).collect()
}

fn row(tensor: &InspectedTensor) -> Vec<String> {
    vec![
        tensor.name.clone(),
        tensor.dtype.clone(),
        tensor.entries.to_string(),
        render::percent(tensor.density),
        tensor.index_encoding.clone(),
        format!("{:.2}", tensor.index_bits_per_entry),
        format!("{:.2}", tensor.index_bound_bits_per_entry),
        tensor.value_encoding.clone(),
        format!("{:.2}", tensor.value_bits_per_entry),
        format!("{:.2}", tensor.value_bound_bits_per_entry),
        tensor.error_rms.map_or("-".to_owned(), |error| format!("{error:.1e}")),
    ]
}
