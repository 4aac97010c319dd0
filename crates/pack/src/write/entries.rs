//! A tensor's entries, and the streams that are made of them.
//!
//! Entries are not kept: whoever has them is asked for them again. The first time they are checked and counted, the second time
//! they are written; where the mask is one of granules they are asked for in between as well, and a second time is spared where the
//! first one has written everything.

use alloc::string::String;
use alloc::vec::Vec;

use super::error::WriteError;
use crate::dtype::Dtype;
use crate::index::IndexEncoding;
use crate::index::encoder::{Plan, Survey};
use crate::tensors::MeasuredError;
use crate::values::lossless::{self, Histogram};
use crate::values::{DeltaEncoder, Rounding, ValueEncoding};
use crate::width::wide;

/// A tensor's entries as they go into a pack, or a part of them.
#[derive(Clone, Copy, Debug)]
pub struct TensorDeltas<'a> {
    /// Row-major positions in the tensor, strictly ascending.
    pub indices: &'a [u64],
    /// One number for each index.
    pub values: Values<'a>,
}

/// The numbers of a tensor's entries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Values<'a> {
    /// Differences, fine-tuned minus base, and how they are rounded.
    Deltas(&'a [f32], Rounding),
    /// Distances between bit patterns, none of them 0 (`FORMAT.md`, 6.11).
    Distances(&'a [i64]),
}

/// Whoever can hand over a tensor's entries, part by part, as often as asked: [`TensorDeltas`], which has them all in memory, or
/// a reader of files that holds but a few.
pub trait EntrySource {
    /// Why entries cannot be handed over, or were refused.
    type Error: From<WriteError>;

    /// How many entries there are: memory for the values of so many is taken at once.
    fn entry_count(&self) -> u64;

    /// Hands all entries to `take`, ascending, in parts of any size: the same entries each time, and values of one kind.
    ///
    /// # Errors
    ///
    /// What `take` returns, and whatever keeps the source from handing over the rest.
    fn replay(&self, take: &mut Take<'_>) -> Result<(), Self::Error>;
}

/// What takes the parts of [`EntrySource::replay`].
pub type Take<'a> = dyn FnMut(TensorDeltas<'_>) -> Result<(), WriteError> + 'a;

impl EntrySource for TensorDeltas<'_> {
    type Error = WriteError;

    fn entry_count(&self) -> u64 {
        wide(self.indices.len())
    }

    fn replay(&self, take: &mut Take<'_>) -> Result<(), WriteError> {
        take(*self)
    }
}

/// The packed form of a tensor's entries.
pub(super) struct Streams {
    pub(super) index_encoding: IndexEncoding,
    pub(super) index: Vec<u8>,
    pub(super) value_encoding: ValueEncoding,
    pub(super) value: Vec<u8>,
    pub(super) measured_error: Option<MeasuredError>,
}

/// The streams of a tensor with so many elements; `fail` says of which tensor a problem is one.
pub(super) fn encode<S: EntrySource>(
    entries: &S,
    elements: u64,
    dtype: Dtype,
    fail: impl Fn(&str) -> WriteError,
) -> Result<Streams, S::Error> {
    let count = entries.entry_count();
    let mut first = FirstPass::new(elements, count, dtype);
    entries.replay(&mut |part| first.add(part).map_err(|problem| fail(&problem)))?;
    if first.taken != count {
        return Err(fail(&alloc::format!("{} entries for {count} that were announced", first.taken)).into());
    }
    let plan = match first.indices {
        None => Plan::dense(elements),
        Some(survey) => {
            let mut granules = survey.granules();
            if let Some(granules) = &mut granules {
                entries.replay(&mut |part| {
                    granules.add(part.indices);
                    Ok(())
                })?;
            }
            survey.plan(granules)
        }
    };
    let (index_encoding, index_bytes) = (plan.encoding(), plan.size_bytes());
    let (mut index, mut values) = (plan.encoder(), first.values.second());
    if index_encoding != IndexEncoding::Dense || matches!(values, SecondValues::Distances(_)) {
        entries.replay(&mut |part| {
            index.add(part.indices);
            if let (SecondValues::Distances(encoder), Values::Distances(distances)) = (&mut values, part.values) {
                encoder.add(distances);
            }
            Ok(())
        })?;
    }
    let changed = || fail("its entries changed while they were gone through");
    let index = index.finish();
    if wide(index.len()) != index_bytes {
        return Err(changed().into());
    }
    let (value_encoding, value, measured_error) = match values {
        SecondValues::Written(encoding, stream, error) => (encoding, stream, error),
        SecondValues::Distances(encoder) => (ValueEncoding::Lossless, encoder.finish().ok_or_else(changed)?, None),
    };
    Ok(Streams { index_encoding, index, value_encoding, value, measured_error })
}

/// What is done with entries that come for the first time.
struct FirstPass {
    elements: u64,
    count: u64,
    dtype: Dtype,
    taken: u64,
    /// The smallest index that can come next.
    next: u64,
    /// None where all elements are in the mask.
    indices: Option<Survey>,
    values: FirstValues,
}

enum FirstValues {
    /// There was no part yet.
    Unknown,
    Deltas(Rounding, DeltaEncoder),
    Distances(Histogram),
}

/// What there is to be done with the values when they come for the second time.
enum SecondValues {
    /// Nothing: everything is written.
    Written(ValueEncoding, Vec<u8>, Option<MeasuredError>),
    Distances(lossless::Encoder),
}

impl FirstPass {
    fn new(elements: u64, count: u64, dtype: Dtype) -> Self {
        let indices = (count != elements).then(|| Survey::new(elements));
        Self { elements, count, dtype, taken: 0, next: 0, indices, values: FirstValues::Unknown }
    }

    /// The next entries.
    fn add(&mut self, part: TensorDeltas<'_>) -> Result<(), String> {
        for index in part.indices {
            if *index < self.next {
                return Err(alloc::format!("index {index} does not ascend"));
            }
            if *index >= self.elements {
                return Err(alloc::format!("index {index} lies beyond its {} elements", self.elements));
            }
            self.next = index.saturating_add(1);
        }
        let found = match part.values {
            Values::Deltas(deltas, _) => deltas.len(),
            Values::Distances(distances) => distances.len(),
        };
        if found != part.indices.len() {
            return Err(alloc::format!("{found} values for {} indices", part.indices.len()));
        }
        if let Some(survey) = &mut self.indices {
            survey.add(part.indices);
        }
        self.add_values(part.values)?;
        self.taken = self.taken.saturating_add(wide(found));
        Ok(())
    }

    fn add_values(&mut self, values: Values<'_>) -> Result<(), String> {
        if matches!(self.values, FirstValues::Unknown) {
            self.values = match values {
                Values::Deltas(_, rounding) => FirstValues::Deltas(rounding, DeltaEncoder::new(rounding, self.count)),
                Values::Distances(_) => FirstValues::Distances(Histogram::new()),
            };
        }
        match (&mut self.values, values) {
            (FirstValues::Deltas(as_before, encoder), Values::Deltas(deltas, rounding)) if *as_before == rounding => {
                if let Some(place) = deltas.iter().position(|delta| !delta.is_finite()) {
                    let place = self.taken.saturating_add(wide(place));
                    return Err(alloc::format!("delta number {place} is not finite"));
                }
                encoder.add(deltas).ok_or("a delta is too large for 16 bits")?;
            }
            (FirstValues::Distances(histogram), Values::Distances(distances)) => {
                let limit = u64::MAX.wrapping_shr(64_u32.saturating_sub(self.dtype.bits()));
                let bad = |distance: &i64| !(1..=limit).contains(&distance.unsigned_abs());
                if let Some(distance) = distances.iter().copied().find(bad) {
                    return Err(alloc::format!("a distance of {distance} is 0 or wider than {}", self.dtype));
                }
                histogram.add(distances);
            }
            _ => return Err("its values are of two kinds".into()),
        }
        Ok(())
    }
}

impl FirstValues {
    fn second(self) -> SecondValues {
        let nothing = SecondValues::Written(ValueEncoding::Lossless, Vec::new(), None);
        match self {
            Self::Unknown => nothing,
            Self::Deltas(_, encoder) => {
                let (encoding, stream, error) = encoder.finish();
                SecondValues::Written(encoding, stream, error)
            }
            Self::Distances(histogram) => histogram.encoder().map_or(nothing, SecondValues::Distances),
        }
    }
}
