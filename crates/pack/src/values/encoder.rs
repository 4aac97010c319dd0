//! From deltas that come in parts to their stream.
//!
//! They are gone through once: plain numbers are written as they come, and of levels, which are chosen block by block, one byte
//! is kept for each entry until it is known how frequent each is. What the rounding costs is measured on the way.

use alloc::vec::Vec;

use super::difference::Difference;
use super::levels::LevelCode;
use super::rounding::Leveller;
use super::{Rounding, ValueEncoding, Values, bf16, f16, int8, plain, size_bytes};
use crate::tensors::MeasuredError;
use crate::width::{length, wide};

/// Takes deltas, and makes the stream of their values.
pub(crate) struct DeltaEncoder {
    form: Form,
    difference: Difference,
}

enum Form {
    Plain(Plain, Vec<u8>),
    Levels(Leveller),
}

#[derive(Clone, Copy)]
enum Plain {
    F32,
    F16,
    Bf16,
}

impl DeltaEncoder {
    /// For `count` deltas that are rounded in this way.
    pub(crate) fn new(rounding: Rounding, count: u64) -> Self {
        let plain = |plain: Plain| {
            let size_bytes = size_bytes(plain.encoding(), count).unwrap_or_default();
            Form::Plain(plain, Vec::with_capacity(length(size_bytes)))
        };
        let form = match rounding {
            Rounding::F32 => plain(Plain::F32),
            Rounding::F16 => plain(Plain::F16),
            Rounding::Bf16 => plain(Plain::Bf16),
            Rounding::Levels(top) => Form::Levels(Leveller::new(Some(top), count)),
            Rounding::Sign => Form::Levels(Leveller::new(None, count)),
        };
        Self { form, difference: Difference::default() }
    }

    /// The next deltas; none if one is too large for the rounding.
    pub(crate) fn add(&mut self, deltas: &[f32]) -> Option<()> {
        match &mut self.form {
            Form::Plain(plain, stream) => {
                let start = stream.len();
                match plain {
                    Plain::F32 => plain::encode(deltas, stream),
                    Plain::F16 => f16::encode(deltas, stream)?,
                    Plain::Bf16 => bf16::encode(deltas, stream)?,
                }
                if plain.encoding().is_lossy() {
                    let stored = stream.get(start..).unwrap_or_default();
                    self.difference.add(deltas, Values::new(plain.encoding(), stored, wide(deltas.len())));
                }
            }
            Form::Levels(leveller) => leveller.add(deltas, &mut self.difference),
        }
        Some(())
    }

    /// The stream, its encoding, and what it cost. Levels are coded where that saves an eighth: decoding takes twice as long.
    pub(crate) fn finish(self) -> (ValueEncoding, Vec<u8>, Option<MeasuredError>) {
        self.finish_as(|code, plain_bytes| code.size_bytes().saturating_mul(8) <= plain_bytes.saturating_mul(7))
    }

    /// As `finish`, in an encoding whose size the number of values says.
    pub(crate) fn finish_in_fixed_size(self) -> (ValueEncoding, Vec<u8>) {
        let (encoding, stream, _) = self.finish_as(|_, _| false);
        (encoding, stream)
    }

    fn finish_as(self, is_coded: impl Fn(&LevelCode, u64) -> bool) -> (ValueEncoding, Vec<u8>, Option<MeasuredError>) {
        let Self { form, mut difference } = self;
        let (encoding, stream) = match form {
            Form::Plain(plain, stream) => (plain.encoding(), stream),
            Form::Levels(leveller) => {
                let (levels, scales) = leveller.finish(&mut difference);
                let code = LevelCode::new(&levels);
                match code.filter(|code| is_coded(code, int8::size_bytes(wide(levels.len())))) {
                    Some(code) => (ValueEncoding::Levels, code.encode(&levels, &scales)),
                    None => (ValueEncoding::Int8, int8::encode(&levels, &scales)),
                }
            }
        };
        (encoding, stream, encoding.is_lossy().then(|| difference.measured()))
    }
}

impl Plain {
    const fn encoding(self) -> ValueEncoding {
        match self {
            Self::F32 => ValueEncoding::F32,
            Self::F16 => ValueEncoding::F16,
            Self::Bf16 => ValueEncoding::Bf16,
        }
    }
}
