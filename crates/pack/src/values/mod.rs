//! Ways to write deltas down: one file per encoding, decode beside encode.

mod bf16;
mod code_lengths;
#[cfg(feature = "write")]
mod difference;
#[cfg(feature = "write")]
mod encoder;
mod f16;
mod int8;
pub(crate) mod levels;
pub(crate) mod lossless;
mod plain;
#[cfg(feature = "write")]
mod rounding;

use core::fmt;

use self::bf16::Bf16Values;
#[cfg(feature = "write")]
pub(crate) use self::difference::Difference;
#[cfg(feature = "write")]
pub(crate) use self::encoder::DeltaEncoder;
use self::f16::F16Values;
use self::int8::Int8Values;
pub(crate) use self::levels::LevelValues;
pub(crate) use self::lossless::LosslessValues;
use self::plain::F32Values;
#[cfg(feature = "write")]
pub use self::rounding::Rounding;
use crate::dtype::Dtype;
use crate::index::Indices;
use crate::layout::value::{BF16, F16, F32, INT8, LEVELS, LOSSLESS};
use crate::report::{Report, Wrong};
use crate::stream::Stream;
use crate::width::length;

/// Entries that are decoded at once where they are neighbors: 1 KiB of stack, and a block of int8 values.
const RUN_ENTRIES_MAX: usize = 256;

/// How the deltas of a tensor are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ValueEncoding {
    /// Values as f32.
    F32,
    /// Values as bf16: lossy.
    Bf16,
    /// Values as int8 with a scale per block of 256: lossy.
    Int8,
    /// Distances between the bit patterns of base and fine-tuned values: the fine-tuned weights come back bit for bit.
    Lossless,
    /// Values as whole multiples of a scale per block of 256, the frequent ones in fewer bits: lossy.
    Levels,
    /// Values as f16: lossy.
    F16,
}

impl ValueEncoding {
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            F32 => Some(Self::F32),
            BF16 => Some(Self::Bf16),
            INT8 => Some(Self::Int8),
            LOSSLESS => Some(Self::Lossless),
            LEVELS => Some(Self::Levels),
            F16 => Some(Self::F16),
            _ => None,
        }
    }

    /// Its number in registry 11.4 of `FORMAT.md`.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::F32 => F32,
            Self::Bf16 => BF16,
            Self::Int8 => INT8,
            Self::Lossless => LOSSLESS,
            Self::Levels => LEVELS,
            Self::F16 => F16,
        }
    }

    /// Whether a stored delta may differ from the delta it stands for.
    #[must_use]
    pub const fn is_lossy(self) -> bool {
        matches!(self, Self::Bf16 | Self::Int8 | Self::Levels | Self::F16)
    }
}

impl fmt::Display for ValueEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Lossless => "lossless",
            Self::Levels => "coded levels",
            Self::F16 => "f16",
        })
    }
}

/// The numbers of a head or a tensor, without their indices.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a>(Decoder<'a>);

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is no heap to put the large one on")]
enum Decoder<'a> {
    F32(F32Values<'a>),
    Bf16(Bf16Values<'a>),
    Int8(Int8Values<'a>),
    Levels(LevelValues<'a>),
    F16(F16Values<'a>),
    Nothing,
}

impl<'a> Values<'a> {
    /// `count` values of a stream that has been checked.
    pub(crate) fn new(encoding: ValueEncoding, bytes: &'a [u8], count: u64) -> Self {
        Self(match encoding {
            ValueEncoding::F32 => Decoder::F32(F32Values::new(bytes)),
            ValueEncoding::Bf16 => Decoder::Bf16(Bf16Values::new(bytes)),
            ValueEncoding::F16 => Decoder::F16(F16Values::new(bytes)),
            ValueEncoding::Int8 => Decoder::Int8(Int8Values::new(bytes)),
            ValueEncoding::Levels => match LevelValues::new(Stream::again(bytes, &Report::blank()), count) {
                Ok(values) => Decoder::Levels(values),
                Err(_) => Decoder::Nothing,
            },
            ValueEncoding::Lossless => Decoder::Nothing,
        })
    }
}

impl Values<'_> {
    /// Decodes as many as there is room for, and returns how many.
    #[inline]
    fn fill(&mut self, out: &mut [f32]) -> usize {
        match &mut self.0 {
            Decoder::F32(values) => values.fill(out),
            Decoder::Bf16(values) => values.fill(out),
            Decoder::Int8(values) => values.fill(out),
            Decoder::Levels(values) => values.fill(out),
            Decoder::F16(values) => values.fill(out),
            Decoder::Nothing => 0,
        }
    }
}

impl Iterator for Values<'_> {
    type Item = f32;

    #[inline]
    fn next(&mut self) -> Option<f32> {
        match &mut self.0 {
            Decoder::F32(values) => values.next(),
            Decoder::Bf16(values) => values.next(),
            Decoder::Int8(values) => values.next(),
            Decoder::Levels(values) => values.next(),
            Decoder::F16(values) => values.next(),
            Decoder::Nothing => None,
        }
    }
}

/// Bytes that `count` values of a fixed-size encoding take; none where their size depends on them.
pub(crate) fn size_bytes(encoding: ValueEncoding, count: u64) -> Option<u64> {
    match encoding {
        ValueEncoding::F32 => Some(count.saturating_mul(4)),
        ValueEncoding::Bf16 | ValueEncoding::F16 => Some(count.saturating_mul(2)),
        ValueEncoding::Int8 => Some(int8::size_bytes(count)),
        ValueEncoding::Levels | ValueEncoding::Lossless => None,
    }
}

/// Every check that can be made on a value stream of a tensor.
pub(crate) fn check(encoding: ValueEncoding, stream: Stream<'_, '_>, count: u64, dtype: Dtype) -> Result<(), Wrong> {
    match size_bytes(encoding, count) {
        Some(size) => {
            stream.check_size(size)?;
            check_deltas(encoding, stream)
        }
        None if encoding == ValueEncoding::Levels => levels::check(stream, count),
        None => lossless::check(stream, count, dtype),
    }
}

/// The numbers of a stream of the right size are finite.
pub(crate) fn check_deltas(encoding: ValueEncoding, stream: Stream<'_, '_>) -> Result<(), Wrong> {
    match encoding {
        ValueEncoding::F32 => plain::check(stream),
        ValueEncoding::Bf16 => bf16::check(stream),
        ValueEncoding::F16 => f16::check(stream),
        ValueEncoding::Int8 => int8::check(stream),
        ValueEncoding::Levels | ValueEncoding::Lossless => Ok(()),
    }
}

/// Indices and values side by side, in the loop of the index encoding.
#[inline]
fn zip_fold<V: Iterator, B>(
    indices: Indices<'_>,
    mut values: V,
    init: B,
    mut f: impl FnMut(B, (usize, V::Item)) -> B,
) -> B {
    indices.run(init, |folded, index| match values.next() {
        Some(value) => f(folded, (index, value)),
        None => folded,
    })
}

/// Values that are decoded by the hundred.
struct Buffered<'a> {
    values: Values<'a>,
    decoded: [f32; RUN_ENTRIES_MAX],
    at: usize,
    filled: usize,
}

impl<'a> Buffered<'a> {
    const fn new(values: Values<'a>) -> Self {
        Self { values, decoded: [0.0; RUN_ENTRIES_MAX], at: 0, filled: 0 }
    }

    #[inline(never)]
    fn refill(&mut self) {
        (self.at, self.filled) = (0, self.values.fill(&mut self.decoded));
    }
}

impl Iterator for Buffered<'_> {
    type Item = f32;

    #[inline(always)]
    fn next(&mut self) -> Option<f32> {
        if self.at == self.filled {
            self.refill();
        }
        let value = self.decoded.get(..self.filled)?.get(self.at).copied();
        self.at = self.at.wrapping_add(1);
        value
    }
}

/// The entries of a tensor with deltas: `(index, delta)`, indices strictly ascending.
///
/// `for_each` and `fold` run in a loop made for the encoding and are several times faster than `next`.
#[derive(Clone, Copy, Debug)]
pub struct Deltas<'a> {
    indices: Indices<'a>,
    values: Values<'a>,
    left: u64,
}

impl<'a> Deltas<'a> {
    pub(crate) const fn new(indices: Indices<'a>, values: Values<'a>, count: u64) -> Self {
        Self { indices, values, left: count }
    }

    /// Calls `f` with runs of neighboring entries, ascending: the index of the first, and the deltas.
    ///
    /// The same entries as `for_each`, where whole granules or all elements are in the mask several times faster: the loop
    /// inside `f` has no decisions. A long run comes in pieces. Masks of single elements give runs of one, and `for_each`
    /// is the faster way.
    #[inline]
    pub fn for_each_run(self, mut f: impl FnMut(usize, &[f32])) {
        let mut values = self.values;
        let mut decoded = [0.0_f32; RUN_ENTRIES_MAX];
        self.indices.for_each_run(|start, stop| {
            let mut at = start;
            while at < stop {
                let room = decoded.len().min(stop.saturating_sub(at));
                let count = values.fill(decoded.get_mut(..room).unwrap_or_default());
                let Some(run) = decoded.get(..count).filter(|run| !run.is_empty()) else { return };
                f(at, run);
                at = at.saturating_add(count);
            }
        });
    }
}

impl Iterator for Deltas<'_> {
    type Item = (usize, f32);

    #[inline]
    fn next(&mut self) -> Option<(usize, f32)> {
        let entry = (self.indices.next()?, self.values.next()?);
        self.left = self.left.saturating_sub(1);
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (length(self.left), Some(length(self.left)))
    }

    #[inline]
    fn fold<B, F: FnMut(B, (usize, f32)) -> B>(self, init: B, f: F) -> B {
        match self.values.0 {
            Decoder::F32(values) => zip_fold(self.indices, values, init, f),
            Decoder::Int8(values) => zip_fold(self.indices, values, init, f),
            // One loop for all others: each has one for each index encoding, and small machines hold them all.
            _ => zip_fold(self.indices, Buffered::new(self.values), init, f),
        }
    }
}

/// The entries of a lossless tensor: `(index, distance)`, indices strictly ascending, no distance 0.
///
/// `for_each` and `fold` run in a loop made for the encoding and are several times faster than `next`.
#[derive(Clone, Copy, Debug)]
pub struct Distances<'a> {
    indices: Indices<'a>,
    values: LosslessValues<'a>,
    left: u64,
}

impl<'a> Distances<'a> {
    pub(crate) const fn new(indices: Indices<'a>, values: LosslessValues<'a>, count: u64) -> Self {
        Self { indices, values, left: count }
    }
}

impl Iterator for Distances<'_> {
    type Item = (usize, i64);

    #[inline]
    fn next(&mut self) -> Option<(usize, i64)> {
        let entry = (self.indices.next()?, self.values.next()?);
        self.left = self.left.saturating_sub(1);
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (length(self.left), Some(length(self.left)))
    }

    #[inline]
    fn fold<B, F: FnMut(B, (usize, i64)) -> B>(self, init: B, f: F) -> B {
        zip_fold(self.indices, self.values, init, f)
    }
}
