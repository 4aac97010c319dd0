//! What is in a pack, and how many bits each part costs beside its entropy bound.
//!
//! The bound of a mask is log2 of the number of masks with as many entries; the bound of the values is the empirical
//! entropy of their classes, as `FORMAT.md` states it for each encoding (6.13). The value is what `taskvec inspect` and
//! the Python package show; computing it decodes every entry once.

use std::collections::BTreeMap;

use serde::Serialize;
use taskvec_pack::{Pack, Signature, TensorEntry, bound};

use crate::trust::{Trust, Verdict};

/// Everything that a pack says about itself, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The name its maker gave it.
    pub name: String,
    /// The identity of the skill.
    pub digest: String,
    /// Version of the format, `major.minor`.
    pub version: String,
    /// Fingerprint of the only base that it may be applied to.
    pub base: String,
    /// Recommended coefficient.
    pub alpha: f32,
    /// Coefficients on which it was validated, both ends inclusive.
    pub alpha_range: [f32; 2],
    /// How the task vector was made.
    pub method: String,
    /// Seed of the run that made it.
    pub seed: u64,
    /// Share of the maskable parameters in the mask, as the packer was asked for it.
    pub density: f32,
    /// Granule of the mask.
    pub granule: String,
    /// What its maker wrote down, by key.
    pub provenance: BTreeMap<String, String>,
    /// Names of the head's classes; none without a head.
    pub labels: Vec<String>,
    /// Inputs with expected outputs.
    pub probes: u32,
    /// Its signatures, in the order of the file.
    pub signatures: Vec<InspectedSignature>,
    /// Size of the file.
    pub pack_bytes: u64,
    /// The tensors that it changes, in byte order of their names.
    pub tensors: Vec<InspectedTensor>,
    /// All tensors together.
    pub total: InspectedTotal,
}

/// A signature, and what the keys say about it that were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InspectedSignature {
    /// Which key made it, in hexadecimal.
    pub key_id: String,
    /// Registry 11.10 of `FORMAT.md`.
    pub algorithm: u16,
    /// None when the key was not given.
    pub fits: Option<bool>,
}

/// One tensor of a pack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InspectedTensor {
    /// Its name in the base.
    pub name: String,
    /// Type of its elements.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Elements that the pack changes.
    pub entries: u64,
    /// Their share of all elements.
    pub density: f64,
    /// How the mask is written down.
    pub index_encoding: String,
    /// What the mask costs.
    pub index_bits_per_entry: f64,
    /// What any mask with as many entries costs at least.
    pub index_bound_bits_per_entry: f64,
    /// How the deltas are written down.
    pub value_encoding: String,
    /// What the deltas cost.
    pub value_bits_per_entry: f64,
    /// Their empirical entropy.
    pub value_bound_bits_per_entry: f64,
    /// Largest error of the encoding, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_max: Option<f32>,
    /// Root of the mean squared error of the encoding, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rms: Option<f32>,
}

/// All tensors together. The rest of the file is manifest, head, preprocessing, probes and checksums.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct InspectedTotal {
    /// Elements that the pack changes.
    pub entries: u64,
    /// Elements of the tensors that it changes.
    pub elements: u64,
    /// Bytes of the masks.
    pub index_bytes: u64,
    /// Bytes of the deltas.
    pub value_bytes: u64,
    /// The bound of both together, in bytes.
    pub bound_bytes: f64,
    /// Index and value bytes divided by the bound.
    pub ratio: Option<f64>,
    /// Bytes of everything else in the file.
    pub other_bytes: u64,
}

impl Inspection {
    /// What is in `pack`, whose file has `pack_bytes` bytes; its signatures are held against the keys of `trust`.
    pub fn of(pack: &Pack<'_>, pack_bytes: u64, trust: &Trust) -> Self {
        let manifest = pack.manifest();
        let (mut tensors, mut total) = (Vec::new(), InspectedTotal::default());
        for entry in pack.tensors() {
            let bounds = [bound::index_bits(entry.element_count(), entry.entry_count()), bound::value_bits(&entry)];
            tensors.push(InspectedTensor::of(&entry, bounds));
            total.add(&entry, bounds);
        }
        total.finish(pack_bytes);
        let (major, minor) = pack.version();
        Self {
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
            signatures: trust.verdicts(pack).map(InspectedSignature::of).collect(),
            pack_bytes,
            tensors,
            total,
        }
    }
}

impl InspectedSignature {
    fn of((signature, verdict): (Signature<'_>, Verdict)) -> Self {
        Self {
            key_id: signature.key_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            algorithm: signature.algorithm,
            fits: match verdict {
                Verdict::Holds => Some(true),
                Verdict::Wrong => Some(false),
                Verdict::Unknown => None,
            },
        }
    }
}

impl InspectedTensor {
    /// `bounds`: of the mask and of the values, in bits.
    fn of(entry: &TensorEntry<'_>, bounds: [f64; 2]) -> Self {
        let entries = entry.entry_count() as f64;
        let per_entry = |bytes: &[u8]| 8.0 * bytes.len() as f64 / entries;
        Self {
            name: entry.name().to_owned(),
            dtype: entry.dtype().to_string(),
            shape: entry.shape().collect(),
            entries: entry.entry_count(),
            density: entries / entry.element_count() as f64,
            index_encoding: format!("{:?}", entry.index_encoding()),
            index_bits_per_entry: per_entry(entry.index_bytes()),
            index_bound_bits_per_entry: bounds[0] / entries,
            value_encoding: format!("{:?}", entry.value_encoding()),
            value_bits_per_entry: per_entry(entry.value_bytes()),
            value_bound_bits_per_entry: bounds[1] / entries,
            error_max: entry.measured_error().map(|error| error.max),
            error_rms: entry.measured_error().map(|error| error.rms),
        }
    }
}

impl InspectedTotal {
    fn add(&mut self, entry: &TensorEntry<'_>, bounds: [f64; 2]) {
        self.entries += entry.entry_count();
        self.elements += entry.element_count();
        self.index_bytes += entry.index_bytes().len() as u64;
        self.value_bytes += entry.value_bytes().len() as u64;
        self.bound_bytes += (bounds[0] + bounds[1]) / 8.0;
    }

    fn finish(&mut self, pack_bytes: u64) {
        let streams = self.index_bytes + self.value_bytes;
        self.ratio = (self.bound_bytes > 0.0).then(|| streams as f64 / self.bound_bytes);
        self.other_bytes = pack_bytes - streams;
    }
}
