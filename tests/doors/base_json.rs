//! `base.json`: what was read is written, and what was written is read as the same.

use std::collections::BTreeMap;

use serde_json::Value;
use taskvec_bundle::{Base, ErrorKind};
use taskvec_pack::Dtype;
use taskvec_pack::fingerprint::{RecordedDtype, TensorRecord, fingerprint};

/// Reads the bytes as they are, and once more with the fingerprint of the tensors that they list, so that damage reaches
/// what lies behind it.
///
/// # Panics
///
/// If what was accepted changes when it is written and read again, or if the reader panics.
pub fn base_json(bytes: &[u8]) {
    read(bytes);
    if let Some(mended) = with_its_fingerprint(bytes) {
        let refusal = read(mended.as_bytes());
        let of_the_fingerprint = refusal.is_some_and(|refusal| refusal.contains("its tensors have"));
        assert!(!of_the_fingerprint, "its fingerprint is not that of its tensors: {mended}");
    }
}

/// Why it was refused, if it was.
fn read(bytes: &[u8]) -> Option<String> {
    let base = match Base::parse(bytes) {
        Ok(base) => base,
        Err(error) => {
            let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported];
            assert!(kinds.contains(&error.kind()), "a file gives {error:?}");
            return Some(error.to_string());
        }
    };
    let written = base.to_json();
    let again = Base::parse(written.as_bytes()).expect("what is written can be read");
    assert_eq!(again, base, "read again from {written}");
    assert_eq!(again.to_json(), written);
    for name in base.editable() {
        assert!(base.is_editable(name) && base.tensor(name).is_some(), "editable tensor `{name}`");
    }
    None
}

/// The JSON with the fingerprint of its tensors; nothing if it is not the JSON of a base.
fn with_its_fingerprint(bytes: &[u8]) -> Option<String> {
    let mut json: Value = serde_json::from_slice(bytes).ok()?;
    let mut listed = BTreeMap::new();
    for tensor in json.get("tensors")?.as_array()? {
        let dtype = match tensor.get("dtype")?.as_str()? {
            "f32" => RecordedDtype::Float(Dtype::F32),
            "f16" => RecordedDtype::Float(Dtype::F16),
            "bf16" => RecordedDtype::Float(Dtype::BF16),
            "i8" => RecordedDtype::I8,
            "u8" => RecordedDtype::U8,
            "i32" => RecordedDtype::I32,
            _ => return None,
        };
        let shape: Vec<u64> = tensor.get("shape")?.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
        let digest: taskvec_pack::Digest = tensor.get("sha256")?.as_str()?.parse().ok()?;
        listed.insert(tensor.get("name")?.as_str()?.to_owned(), (dtype, shape, digest.0));
    }
    let records = listed.iter().map(|(name, (dtype, shape, sha256))| TensorRecord {
        name,
        dtype: *dtype,
        shape,
        sha256: *sha256,
    });
    json["fingerprint"] = fingerprint(records).to_string().into();
    Some(json.to_string())
}
