//! `taskvec inspect PACK`: shows what is in a pack, and how many bits each part costs beside its entropy bound.
//!
//! The bound of a mask is log2 of the number of masks with as many entries; the bound of the values is the empirical entropy
//! of their classes, as `FORMAT.md` states it for each encoding (6.12).
//!
//! With `--key PUBFILE` the signature of that key is verified. If it is not there or does not fit, the exit code is 3.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;
use taskvec_pack::{Limits, Pack, Signature, TensorEntry, bound};
use taskvec_runtime::{Trust, Verdict, read_public_key};

use super::Outcome;
use crate::args::Inspect;
use crate::render::{self, size};

#[derive(Serialize)]
struct Inspected {
    name: String,
    digest: String,
    version: String,
    base: String,
    alpha: f32,
    alpha_range: [f32; 2],
    method: String,
    seed: u64,
    density: f32,
    granule: String,
    provenance: BTreeMap<String, String>,
    labels: Vec<String>,
    probes: u32,
    signatures: Vec<Signed>,
    pack_bytes: u64,
    tensors: Vec<Tensor>,
    total: Total,
}

/// A signature, and what the keys say about it that were given.
#[derive(Serialize)]
struct Signed {
    key_id: String,
    /// Registry 11.10 of `FORMAT.md`.
    algorithm: u16,
    /// None when the key was not given.
    fits: Option<bool>,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    entries: u64,
    density: f64,
    index_encoding: String,
    index_bits_per_entry: f64,
    index_bound_bits_per_entry: f64,
    value_encoding: String,
    value_bits_per_entry: f64,
    value_bound_bits_per_entry: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_max: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_rms: Option<f32>,
}

/// All tensors together. The rest of the file is manifest, head, preprocessing, probes and checksums.
#[derive(Serialize)]
struct Total {
    entries: u64,
    elements: u64,
    index_bytes: u64,
    value_bytes: u64,
    bound_bytes: f64,
    /// Index and value bytes divided by the bound.
    ratio: Option<f64>,
    other_bytes: u64,
}

pub(crate) fn run(typed: &Inspect, json: bool) -> anyhow::Result<Outcome> {
    let attempt = || format!("open pack `{}`", typed.pack.display());
    let bytes = std::fs::read(&typed.pack).with_context(attempt)?;
    let pack = Pack::read(&bytes, &Limits::default()).with_context(attempt)?;
    let keys = typed.key.iter().map(|path| read_public_key(path)).collect::<Result<Vec<_>, _>>()?;
    let trust = if keys.is_empty() { Trust::default() } else { Trust::in_keys(keys.iter().copied(), 1)? };
    let inspected = inspected(&pack, bytes.len() as u64, &trust);
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

fn inspected(pack: &Pack<'_>, pack_bytes: u64, trust: &Trust) -> Inspected {
    let manifest = pack.manifest();
    let (mut tensors, mut total) = (Vec::new(), Total::default());
    for entry in pack.tensors() {
        total.add(&entry);
        tensors.push(tensor(&entry));
    }
    total.finish(pack_bytes);
    let (major, minor) = pack.version();
    Inspected {
        name: manifest.name.to_owned(),
        digest: pack.digest().to_string(),
        version: format!("{major}.{minor}"),
        base: manifest.base.to_string(),
        alpha: manifest.alpha,
        alpha_range: manifest.alpha_range,
        method: format!("{:?}", manifest.method),
        seed: manifest.seed,
        density: manifest.density,
        granule: format!("{:?}", manifest.granule),
        provenance: manifest.provenance().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        labels: pack.head().map(|head| head.labels().map(str::to_owned).collect()).unwrap_or_default(),
        probes: pack.probes().map_or(0, |probes| probes.count),
        signatures: trust.verdicts(pack).map(signed).collect(),
        pack_bytes,
        tensors,
        total,
    }
}

fn signed((signature, verdict): (Signature<'_>, Verdict)) -> Signed {
    Signed {
        key_id: signature.key_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        algorithm: signature.algorithm,
        fits: match verdict {
            Verdict::Holds => Some(true),
            Verdict::Wrong => Some(false),
            _ => None,
        },
    }
}

fn tensor(entry: &TensorEntry<'_>) -> Tensor {
    let entries = entry.entry_count() as f64;
    let per_entry = |bytes: &[u8]| 8.0 * bytes.len() as f64 / entries;
    Tensor {
        name: entry.name().to_owned(),
        dtype: entry.dtype().to_string(),
        shape: entry.shape().collect(),
        entries: entry.entry_count(),
        density: entries / entry.element_count() as f64,
        index_encoding: format!("{:?}", entry.index_encoding()),
        index_bits_per_entry: per_entry(entry.index_bytes()),
        index_bound_bits_per_entry: bound::index_bits(entry.element_count(), entry.entry_count()) / entries,
        value_encoding: format!("{:?}", entry.value_encoding()),
        value_bits_per_entry: per_entry(entry.value_bytes()),
        value_bound_bits_per_entry: bound::value_bits(entry) / entries,
        error_max: entry.measured_error().map(|error| error.max),
        error_rms: entry.measured_error().map(|error| error.rms),
    }
}

impl Default for Total {
    fn default() -> Self {
        Self { entries: 0, elements: 0, index_bytes: 0, value_bytes: 0, bound_bytes: 0.0, ratio: None, other_bytes: 0 }
    }
}

impl Total {
    fn add(&mut self, entry: &TensorEntry<'_>) {
        self.entries += entry.entry_count();
        self.elements += entry.element_count();
        self.index_bytes += entry.index_bytes().len() as u64;
        self.value_bytes += entry.value_bytes().len() as u64;
        let bits = bound::index_bits(entry.element_count(), entry.entry_count()) + bound::value_bits(entry);
        self.bound_bytes += bits / 8.0;
    }

    fn finish(&mut self, pack_bytes: u64) {
        let streams = self.index_bytes + self.value_bytes;
        self.ratio = (self.bound_bytes > 0.0).then(|| streams as f64 / self.bound_bytes);
        self.other_bytes = pack_bytes - streams;
    }
}

fn table(pack: &Inspected) -> String {
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
    let header = ["tensor", "dtype", "entries", "density", "mask", "bits", "bound", "values", "bits", "bound"];
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

fn signatures(signatures: &[Signed]) -> String {
    if signatures.is_empty() {
        return "not signed\n".to_owned();
    }
    let line = |signature: &Signed| {
        let verdict = match signature.fits {
            Some(true) => "fits",
            Some(false) => "DOES NOT FIT",
            None => "not verified (give its public key with --key)",
        };
        format!("signed by key {}: {verdict}\n", signature.key_id)
    };
    signatures.iter().map(line).collect()
}

fn row(tensor: &Tensor) -> Vec<String> {
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
    ]
}
