//! The digest of named tensors in canonical order: how a base model is recognised.

use core::fmt;
use core::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::digest::{HexError, parse_hex, write_hex};
use crate::dtype::Dtype;
use crate::layout::{FINGERPRINT_DOMAIN, HEAD_PREFIX};
use crate::width::{low_byte, low_u32, wide};

/// Identifies a base model by its tensors, heads left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}

/// Type of elements, as far as a fingerprint knows it: packs edit floats, and a quantized base model has whole numbers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedDtype {
    /// What packs edit.
    Float(Dtype),
    /// Signed bytes.
    I8,
    /// Unsigned bytes.
    U8,
    /// Signed numbers of 32 bits.
    I32,
}

impl RecordedDtype {
    /// Its number in registry 11.2 of `FORMAT.md`.
    const fn code(self) -> u8 {
        match self {
            Self::Float(dtype) => dtype.code(),
            Self::I8 => 4,
            Self::U8 => 5,
            Self::I32 => 6,
        }
    }
}

/// What a fingerprint depends on, for one tensor.
#[derive(Clone, Copy, Debug)]
pub struct TensorRecord<'a> {
    /// Name in the base's safetensors file.
    pub name: &'a str,
    /// Type of its elements.
    pub dtype: RecordedDtype,
    /// Its dimensions.
    pub shape: &'a [u64],
    /// SHA-256 of its elements as they lie in the file, little-endian, row-major.
    pub sha256: [u8; 32],
}

/// The fingerprint of a base model with these tensors, which come in ascending byte order of their names.
///
/// Tensors whose names start with `heads.` are skipped: a base model with one more head is the same base model.
pub fn fingerprint<'a>(sorted: impl Iterator<Item = TensorRecord<'a>>) -> Fingerprint {
    let mut hasher = Sha256::new();
    hasher.update(FINGERPRINT_DOMAIN);
    for tensor in sorted.filter(|tensor| !tensor.name.starts_with(HEAD_PREFIX)) {
        hasher.update(low_u32(wide(tensor.name.len())).to_le_bytes());
        hasher.update(tensor.name.as_bytes());
        hasher.update([tensor.dtype.code(), low_byte(wide(tensor.shape.len()))]);
        for dimension in tensor.shape {
            hasher.update(dimension.to_le_bytes());
        }
        hasher.update(tensor.sha256);
    }
    Fingerprint(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::{RecordedDtype, TensorRecord, fingerprint};
    use crate::dtype::Dtype;

    const A: TensorRecord<'_> =
        TensorRecord { name: "a", dtype: RecordedDtype::Float(Dtype::F32), shape: &[2, 3], sha256: [1; 32] };
    const HEAD: TensorRecord<'_> = TensorRecord { name: "heads.x.bias", ..A };

    #[test]
    fn heads_are_left_out() {
        assert_eq!(fingerprint([A, HEAD].into_iter()), fingerprint([A].into_iter()));
    }

    #[test]
    fn depends_on_everything_else() {
        let changed = [
            TensorRecord { name: "b", ..A },
            TensorRecord { dtype: RecordedDtype::Float(Dtype::F16), ..A },
            TensorRecord { dtype: RecordedDtype::I8, ..A },
            TensorRecord { dtype: RecordedDtype::U8, ..A },
            TensorRecord { dtype: RecordedDtype::I32, ..A },
            TensorRecord { shape: &[3, 2], ..A },
            TensorRecord { shape: &[6], ..A },
            TensorRecord { sha256: [2; 32], ..A },
        ];
        for tensor in changed {
            assert_ne!(fingerprint([tensor].into_iter()), fingerprint([A].into_iter()), "{tensor:?}");
        }
        assert_ne!(fingerprint([A, A].into_iter()), fingerprint([A].into_iter()));
    }
}
