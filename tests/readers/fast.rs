//! What `taskvec-pack` reads, as the plain values that the naive reader gives.

use taskvec_pack::{Entries, Head, Manifest, Pack, Preprocessing, ProbeInput, Probes, Signature, TensorEntry};
use taskvec_testkit::contents::{self, Contents, Input, LossyError, Probe, Tensor, Values};
use taskvec_testkit::{Limits, hex};

use super::Verdict;

/// Reads a pack with the reader that devices use.
pub(super) fn read(file: &[u8], limits: &Limits) -> Verdict {
    match Pack::read(file, &limits_of(limits)) {
        Ok(pack) => Ok(contents(&pack)),
        Err(error) => {
            let class = match error.class() {
                taskvec_pack::ErrorClass::Damaged => "damaged",
                taskvec_pack::ErrorClass::Unsupported => "unsupported",
                taskvec_pack::ErrorClass::Limit => "limit",
                _ => "a class that the specification does not have",
            };
            Err((error.kind.name(), class, error.offset))
        }
    }
}

fn limits_of(limits: &Limits) -> taskvec_pack::Limits {
    taskvec_pack::Limits {
        max_file_bytes: limits.max_file_bytes,
        max_sections: u32::try_from(limits.max_sections).expect("a limit that a test has set"),
        max_tensors: limits.max_tensors,
        max_elements_per_tensor: limits.max_elements_per_tensor,
        max_entries: limits.max_entries,
        max_string_bytes: limits.max_string_bytes,
        max_provenance_pairs: limits.max_provenance_pairs,
        max_classes: limits.max_classes,
        max_probes: limits.max_probes,
        max_signatures: u32::try_from(limits.max_signatures).expect("a limit that a test has set"),
    }
}

fn contents(pack: &Pack<'_>) -> Contents {
    let (major, minor) = pack.version();
    Contents {
        major,
        minor,
        digest: pack.digest().to_string(),
        manifest: manifest(&pack.manifest()),
        tensors: pack.tensors().map(|entry| tensor(&entry)).collect(),
        head: pack.head().map(|found| head(&found)),
        preprocessing: pack.preprocessing().map(|found| preprocessing(&found)),
        probes: pack.probes().map(|found| probes(&found)),
        signatures: signatures(pack),
    }
}

fn manifest(manifest: &Manifest<'_>) -> contents::Manifest {
    let [alpha_min, alpha_max] = manifest.alpha_range;
    contents::Manifest {
        base: manifest.base.to_string(),
        alpha: manifest.alpha,
        alpha_min,
        alpha_max,
        density: manifest.density,
        seed: manifest.seed,
        method: manifest.method.code(),
        granule: manifest.granule.code(),
        granule_bytes: manifest.granule.bytes(),
        name: manifest.name.to_owned(),
        provenance: manifest.provenance().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

fn tensor(entry: &TensorEntry<'_>) -> Tensor {
    let (indices, values) = entries(entry);
    assert_eq!(entry.entry_count(), indices.len() as u64, "promised and given entries of `{}`", entry.name());
    assert_eq!(entry.element_count(), entry.shape().product::<u64>(), "elements of `{}`", entry.name());
    Tensor {
        name: entry.name().to_owned(),
        dtype: entry.dtype().code(),
        shape: entry.shape().collect(),
        index_encoding: entry.index_encoding().code(),
        value_encoding: entry.value_encoding().code(),
        index_bytes: entry.index_bytes().len() as u64,
        value_bytes: entry.value_bytes().len() as u64,
        error: entry.measured_error().map(|error| LossyError { max: error.max, rms: error.rms }),
        indices,
        values,
    }
}

/// The entries, which are given the same way one at a time and all at once.
fn entries(entry: &TensorEntry<'_>) -> (Vec<u64>, Values) {
    fn pairs<T: Copy + PartialEq>(one_by_one: impl Iterator<Item = (usize, T)> + Clone) -> (Vec<u64>, Vec<T>) {
        let mut at_once = Vec::new();
        one_by_one.clone().for_each(|pair| at_once.push(pair));
        let slowly: Vec<_> = std::iter::from_fn({
            let mut iterator = one_by_one;
            move || iterator.next()
        })
        .collect();
        assert!(at_once == slowly, "`for_each` and `next` differ");
        slowly.into_iter().map(|(index, value)| (index as u64, value)).unzip()
    }
    match entry.entries() {
        Entries::Deltas(deltas) => {
            let (indices, deltas) = pairs(deltas);
            (indices, Values::Deltas(deltas))
        }
        Entries::Distances(distances) => {
            let (indices, distances) = pairs(distances);
            (indices, Values::Distances(distances))
        }
    }
}

fn head(head: &Head<'_>) -> contents::Head {
    let labels: Vec<String> = head.labels().map(str::to_owned).collect();
    assert_eq!(head.class_count as usize, labels.len(), "promised and given labels");
    contents::Head {
        feature_width: head.feature_width,
        weight_encoding: head.weight_encoding.code(),
        labels,
        weight: head.weight().collect(),
        bias: head.bias().collect(),
    }
}

fn preprocessing(image: &Preprocessing<'_>) -> contents::Preprocessing {
    contents::Preprocessing {
        channels: image.channels,
        height: image.height,
        width: image.width,
        resize: image.resize.code(),
        mean: image.mean().collect(),
        std: image.std().collect(),
    }
}

fn probes(probes: &Probes<'_>) -> contents::Probes {
    let mut input_encoding = 0;
    let mut probe = |probe: taskvec_pack::Probe<'_>| {
        let input = match probe.input {
            ProbeInput::F32(numbers) => Input::Numbers(numbers.collect()),
            ProbeInput::U8(pixels) => Input::Pixels(pixels.to_vec()),
        };
        input_encoding = if matches!(input, Input::Numbers(_)) { 1 } else { 2 };
        Probe { input, output: probe.output.collect() }
    };
    let given: Vec<Probe> = probes.iter().map(&mut probe).collect();
    assert_eq!(probes.count as usize, given.len(), "promised and given probes");
    contents::Probes {
        input_len: probes.input_len,
        output_len: probes.output_len,
        input_encoding,
        tolerances: probes.tolerances().map(|(engine, tolerance)| (engine.code(), tolerance)).collect(),
        probes: given,
    }
}

fn signatures(pack: &Pack<'_>) -> Vec<contents::Signature> {
    let promised = pack.signatures().len();
    let signature = |signature: Signature<'_>| contents::Signature {
        algorithm: signature.algorithm,
        key_id: hex(signature.key_id),
        signature: hex(signature.bytes),
    };
    let given: Vec<_> = pack.signatures().map(signature).collect();
    assert_eq!(promised, given.len(), "promised and given signatures");
    given
}
