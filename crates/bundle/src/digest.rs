//! Digests of tensors, and the fingerprint that they make together.

use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use taskvec_pack::fingerprint::{RecordedDtype, TensorRecord, fingerprint};
use taskvec_pack::layout::HEAD_PREFIX;
use taskvec_pack::{Digest, Fingerprint};

use crate::error::{Error, ErrorKind};
use crate::tensors::{StoredDtype, TensorFile};

/// Below this, starting threads takes longer than digesting.
const PARALLEL_BYTES_MIN: usize = 1 << 20;

/// SHA-256 of a tensor's bytes as they lie in the file.
pub fn digest_tensor(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

/// The fingerprint of the tensors in `file`, whose bytes are `bytes`: all but the heads.
///
/// # Errors
///
/// `Usage` if `bytes` is not the file that was parsed; `Unsupported` if a tensor has a dtype that fingerprints do not
/// know.
pub fn fingerprint_of(file: &TensorFile, bytes: &[u8]) -> Result<Fingerprint, Error> {
    let digests = digest_all(file, bytes)?;
    let tensors = file.tensors().iter().zip(digests);
    fingerprint_of_records(tensors.map(|(tensor, digest)| (tensor.name(), tensor.dtype(), tensor.shape(), digest)))
}

/// The fingerprint of tensors in byte order of their names, leaving out the heads.
pub(crate) fn fingerprint_of_records<'a>(
    sorted: impl Iterator<Item = (&'a str, StoredDtype, &'a [u64], Digest)>,
) -> Result<Fingerprint, Error> {
    let mut records = Vec::new();
    for (name, dtype, shape, digest) in sorted.filter(|(name, ..)| !name.starts_with(HEAD_PREFIX)) {
        let dtype = match (dtype, dtype.editable()) {
            (_, Some(dtype)) => RecordedDtype::Float(dtype),
            (StoredDtype::I8, _) => RecordedDtype::I8,
            (StoredDtype::U8, _) => RecordedDtype::U8,
            (StoredDtype::I32, _) => RecordedDtype::I32,
            _ => {
                let clause = format!("dtype {}, a fingerprint covers F32, F16, BF16, I8, U8 and I32", dtype.name());
                return Err(Error::new(ErrorKind::Unsupported, format!("tensor `{name}`"), clause));
            }
        };
        records.push(TensorRecord { name, dtype, shape, sha256: digest.0 });
    }
    Ok(fingerprint(records.into_iter()))
}

/// The digest of every tensor, in the order of the file's list, on as many threads as there are cores.
pub(crate) fn digest_all(file: &TensorFile, bytes: &[u8]) -> Result<Vec<Digest>, Error> {
    let tensors = file.tensors().iter().map(|tensor| tensor.bytes(bytes)).collect::<Result<Vec<_>, Error>>()?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = if bytes.len() < PARALLEL_BYTES_MIN { 1 } else { cores.min(tensors.len()) };
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Digest)> {
        let indices = iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        indices.map_while(|index| tensors.get(index).map(|bytes| (index, digest_tensor(bytes)))).collect()
    };
    let mut done = thread::scope(|scope| {
        // A thread that cannot be started is one less: this one does what is left.
        let others: Vec<_> =
            (1..threads).filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|&(index, _)| index);
    Ok(done.into_iter().map(|(_, digest)| digest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{NamedTensor, write};

    fn file(tensors: &[(&str, StoredDtype, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let shapes: Vec<_> =
            tensors.iter().map(|(_, dtype, bytes)| [bytes.len() as u64 * 8 / dtype.size_bits()]).collect();
        let named: Vec<_> = tensors
            .iter()
            .zip(&shapes)
            .map(|(&(name, dtype, bytes), shape)| NamedTensor { name, dtype, shape, bytes })
            .collect();
        write(&mut bytes, &named).unwrap();
        bytes
    }

    #[test]
    fn digests_are_sha_256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_tensor(b"abc").to_string(), expected);
    }

    #[test]
    fn many_threads_give_what_one_gives() {
        let big: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; 60_000 + usize::from(i) * 4]).collect();
        let names: Vec<String> = (0..40).map(|i| format!("t{i:02}")).collect();
        let tensors: Vec<_> =
            names.iter().zip(&big).map(|(n, b)| (n.as_str(), StoredDtype::F32, b.as_slice())).collect();
        let bytes = file(&tensors);
        let parsed = TensorFile::parse(&bytes).unwrap();
        let expected: Vec<_> = big.iter().map(|bytes| digest_tensor(bytes)).collect();
        assert!(bytes.len() > PARALLEL_BYTES_MIN);
        assert_eq!(digest_all(&parsed, &bytes).unwrap(), expected);
    }

    #[test]
    fn the_fingerprint_covers_names_and_numbers_but_no_heads() {
        let of = |tensors: &[(&str, StoredDtype, &[u8])]| {
            let bytes = file(tensors);
            fingerprint_of(&TensorFile::parse(&bytes).unwrap(), &bytes)
        };
        let (a, b) = (("a", StoredDtype::F32, &[0u8, 0, 0, 0][..]), ("b", StoredDtype::F16, &[1u8, 2][..]));
        let fingerprint = of(&[a, b]).unwrap();
        assert_eq!(of(&[a, b, ("heads.x.weight", StoredDtype::F32, &[9; 4])]).unwrap(), fingerprint);
        assert_ne!(of(&[a, ("c", b.1, b.2)]).unwrap(), fingerprint);
        assert_ne!(of(&[a, ("b", StoredDtype::Bf16, b.2)]).unwrap(), fingerprint);
        assert_ne!(of(&[a, ("b", b.1, &[1, 3])]).unwrap(), fingerprint);
        assert_ne!(of(&[a]).unwrap(), fingerprint);
        let error = of(&[a, ("ids", StoredDtype::I64, &[0; 8])]).unwrap_err();
        assert_eq!(error.to_string(), "tensor `ids`: dtype I64, a fingerprint covers F32, F16, BF16, I8, U8 and I32");
    }
}
