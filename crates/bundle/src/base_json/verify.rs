//! Whether `model.safetensors` is what `base.json` says, tensor by tensor.

use std::cmp::Ordering;

use taskvec_pack::Digest;

use super::{BASE_FILE, Base, ListedTensor, MODEL_FILE};
use crate::digest;
use crate::error::Error;
use crate::tensors::{TensorFile, TensorInfo};

impl Base {
    /// That `file`, whose bytes are `bytes`, holds exactly the tensors listed, bit for bit: heads too. Digests every
    /// byte, on as many threads as there are cores.
    ///
    /// With [`Base::parse`] having held the fingerprint against the listed digests, a file that passes has that
    /// fingerprint.
    ///
    /// # Errors
    ///
    /// `Damaged`, with the first tensor in byte order of names that differs as its subject; `Usage` if `bytes` is not
    /// the file that was parsed.
    pub fn verify(&self, file: &TensorFile, bytes: &[u8]) -> Result<(), Error> {
        self.verify_list(file)?;
        let digests = digest::digest_all(file, bytes)?;
        for (listed, found) in self.tensors().iter().zip(digests) {
            if listed.sha256 != found {
                let clause = format!(
                    "{BASE_FILE} expects SHA-256 {}, {MODEL_FILE} has {}",
                    abbreviated(listed.sha256),
                    abbreviated(found)
                );
                return Err(Error::damaged(subject(&listed.name), clause));
            }
        }
        Ok(())
    }

    /// That `file` lists exactly the tensors listed: names, dtypes and shapes, without touching the tensors' bytes.
    ///
    /// # Errors
    ///
    /// `Damaged`, with the first tensor in byte order of names that differs as its subject.
    pub fn verify_list(&self, file: &TensorFile) -> Result<(), Error> {
        let (mut listed, mut found) = (self.tensors().iter().peekable(), file.tensors().iter().peekable());
        loop {
            // Both lists are in byte order of names: walk them side by side.
            let order = match (listed.peek(), found.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(listed), Some(found)) => listed.name.as_str().cmp(found.name()),
            };
            let listed = if order.is_le() { listed.next() } else { None };
            let found = if order.is_ge() { found.next() } else { None };
            match (listed, found) {
                (Some(listed), Some(found)) => verify_kind(listed, found)?,
                (Some(listed), None) => {
                    return Err(Error::damaged(subject(&listed.name), format!("is missing from {MODEL_FILE}")));
                }
                (None, Some(found)) => {
                    return Err(Error::damaged(subject(found.name()), format!("is not listed in {BASE_FILE}")));
                }
                (None, None) => unreachable!("one of the lists has advanced"),
            }
        }
    }
}

fn verify_kind(listed: &ListedTensor, found: &TensorInfo) -> Result<(), Error> {
    if listed.dtype != found.dtype() || listed.shape != found.shape() {
        let clause = format!(
            "{BASE_FILE} expects {} {:?}, {MODEL_FILE} has {} {:?}",
            listed.dtype.name(),
            listed.shape,
            found.dtype().name(),
            found.shape()
        );
        return Err(Error::damaged(subject(&listed.name), clause));
    }
    Ok(())
}

fn subject(name: &str) -> String {
    format!("tensor `{name}`")
}

/// The first eight digits: enough to tell two apart in a message.
fn abbreviated(digest: Digest) -> String {
    format!("{:.8}..", digest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::base_json::tests::{MODEL, bundle, model};
    use crate::tensors::{NamedTensor, StoredDtype};

    fn verify(change: impl FnOnce(&mut Vec<NamedTensor<'_>>)) -> Result<(), Error> {
        let (base, _) = bundle();
        let mut tensors = MODEL.to_vec();
        change(&mut tensors);
        let bytes = model(&tensors);
        base.verify(&TensorFile::parse(&bytes).unwrap(), &bytes)
    }

    #[test]
    fn the_file_that_was_described_passes() {
        verify(|_| {}).unwrap();
    }

    #[test]
    fn every_flipped_bit_of_every_tensor_is_found() {
        let (base, mut bytes) = bundle();
        let file = TensorFile::parse(&bytes).unwrap();
        for tensor in file.tensors() {
            for at in tensor.range() {
                for bit in 0..8 {
                    bytes[at] ^= 1 << bit;
                    let error = base.verify(&file, &bytes).unwrap_err();
                    assert_eq!(error.subject(), format!("tensor `{}`", tensor.name()));
                    assert_eq!(error.kind(), ErrorKind::Damaged);
                    bytes[at] ^= 1 << bit;
                }
            }
        }
        base.verify(&file, &bytes).unwrap();
    }

    #[test]
    fn names_the_first_tensor_that_differs() {
        let message = |result: Result<(), Error>| result.unwrap_err().to_string();
        assert_eq!(
            message(verify(|tensors| tensors.retain(|tensor| tensor.name != "a.weight"))),
            "tensor `a.weight`: is missing from model.safetensors"
        );
        let last = MODEL.len() - 1;
        let missing = format!("tensor `{}`: is missing from model.safetensors", MODEL[last].name);
        assert_eq!(message(verify(|tensors| tensors.truncate(last))), missing);
        let extra = NamedTensor { name: "zz", dtype: StoredDtype::U8, shape: &[1], bytes: &[0] };
        assert_eq!(message(verify(|tensors| tensors.push(extra))), "tensor `zz`: is not listed in base.json");
        let turned = message(verify(|tensors| tensors[0].shape = &[1, 2]));
        assert_eq!(turned, "tensor `a.weight`: base.json expects F32 [2, 1], model.safetensors has F32 [1, 2]");
        let cast = message(verify(|tensors| tensors[1].dtype = StoredDtype::F16));
        assert_eq!(cast, "tensor `b.weight`: base.json expects BF16 [2], model.safetensors has F16 [2]");
        let other = message(verify(|tensors| tensors[1].bytes = &[1, 2, 3, 5]));
        assert!(other.starts_with("tensor `b.weight`: base.json expects SHA-256 9f64a747.., "), "{other}");
    }
}
