//! Index encoding 2: runs of elements of one length, each wholly in the mask (`FORMAT.md`, 6.4).
//!
//! Masks trained in rows or in blocks of a memory page cost next to nothing this way.

use super::{Extent, RiceGaps};
use crate::bits::BitReader;
use crate::cursor::Cursor;
use crate::error::ErrorKind;
use crate::report::Wrong;
use crate::stream::Stream;
use crate::width::{length, narrow, wide};

/// All elements of the granules present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granules<'a> {
    granules: RiceGaps<'a>,
    granule_elements: usize,
    elements: usize,
    /// What is left of the granule that `next` is in.
    position: usize,
    stop: usize,
}

impl<'a> Granules<'a> {
    pub(crate) fn new(stream: Stream<'a, '_>, extent: Extent) -> Result<Self, Wrong> {
        let mut cursor = Cursor::new(stream.bytes, 0, stream.subject, stream.report);
        let mut varint = || cursor.varint().map_err(|wrong| stream.as_a_whole(wrong));
        let granule_elements = varint()?;
        if granule_elements < 2 || granule_elements > wide(extent.elements) {
            return Err(stream.count_error(wide(extent.elements), granule_elements));
        }
        let granule_count = varint()?;
        if granule_count == 0 {
            return Err(stream.count_error(1, granule_count));
        }
        let granule_elements = narrow(granule_elements);
        let granules_in_all = extent.elements.div_ceil(granule_elements);
        let rest = cursor.take(cursor.remaining())?;
        Ok(Self {
            granules: RiceGaps::new(rest, granules_in_all, length(granule_count)),
            granule_elements,
            elements: extent.elements,
            position: 0,
            stop: 0,
        })
    }

    #[inline]
    pub(crate) fn run<B>(self, init: B, mut f: impl FnMut(B, usize) -> B) -> (B, Result<BitReader<'a>, ErrorKind>) {
        let mut folded = init;
        for element in self.position..self.stop {
            folded = f(folded, element);
        }
        let (granule_elements, elements) = (self.granule_elements, self.elements);
        self.granules.run(folded, |mut folded, granule| {
            let (start, stop) = bounds(granule, granule_elements, elements);
            for element in start..stop {
                folded = f(folded, element);
            }
            folded
        })
    }

    /// The granules that are left, one after the other: first element, and the one after the last.
    #[inline]
    pub(crate) fn runs(self, mut f: impl FnMut(usize, usize)) {
        if self.position < self.stop {
            f(self.position, self.stop);
        }
        let (granule_elements, elements) = (self.granule_elements, self.elements);
        let ((), _end) = self.granules.run((), |(), granule| {
            let (start, stop) = bounds(granule, granule_elements, elements);
            f(start, stop);
        });
    }
}

/// First element of a granule, and the one after its last.
#[inline]
fn bounds(granule: usize, granule_elements: usize, elements: usize) -> (usize, usize) {
    let start = granule.saturating_mul(granule_elements);
    (start, start.saturating_add(granule_elements).min(elements))
}

impl Iterator for Granules<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.position >= self.stop {
            let granule = self.granules.next()?;
            (self.position, self.stop) = bounds(granule, self.granule_elements, self.elements);
        }
        let element = self.position;
        self.position = element.saturating_add(1);
        Some(element)
    }
}

pub(crate) fn check(stream: Stream<'_, '_>, extent: Extent) -> Result<(), Wrong> {
    let Granules { mut granules, granule_elements, elements, .. } = Granules::new(stream, extent)?;
    let mut entries = 0_usize;
    while let Some(granule) = granules.step().map_err(|kind| stream.error(kind))? {
        let (start, stop) = bounds(granule, granule_elements, elements);
        entries = entries.saturating_add(stop.saturating_sub(start));
    }
    granules.rest().finish().map_err(|kind| stream.error(kind))?;
    if entries == extent.entries { Ok(()) } else { Err(stream.count_error(wide(extent.entries), wide(entries))) }
}

/// Finds the largest granule that strictly ascending indices consist of: the greatest common divisor of the starts and ends of
/// all runs, an end at the end of the tensor left out.
#[cfg(feature = "write")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LargestGranule {
    divisor: u64,
    run_end: u64,
}

#[cfg(feature = "write")]
impl LargestGranule {
    #[inline]
    pub(crate) fn push(&mut self, index: u64) {
        if index != self.run_end && self.divisor != 1 {
            self.divisor = greatest_common_divisor(self.divisor, self.run_end);
            self.divisor = greatest_common_divisor(self.divisor, index);
        }
        self.run_end = index.saturating_add(1);
    }

    /// Elements of the granule, two or more; none if there is none for a tensor of so many elements.
    pub(crate) fn finish(self, elements: u64) -> Option<u64> {
        let divisor =
            if self.run_end == elements { self.divisor } else { greatest_common_divisor(self.divisor, self.run_end) };
        (divisor >= 2).then_some(divisor)
    }
}

/// Takes the strictly ascending indices of granules, and writes the granules down or counts the bits of that.
#[cfg(feature = "write")]
#[derive(Debug)]
pub(crate) struct Encoder<S> {
    granule_elements: u64,
    granule_count: u64,
    numbers: super::rice_gaps::Encoder<S>,
}

#[cfg(feature = "write")]
impl<S: crate::bits::BitSink> Encoder<S> {
    pub(crate) fn new(granule_elements: u64, bits: S) -> Self {
        Self { granule_elements, granule_count: 0, numbers: super::rice_gaps::Encoder::new(bits) }
    }

    #[inline]
    pub(crate) fn push(&mut self, index: u64) {
        if index.is_multiple_of(self.granule_elements) {
            self.numbers.push(index.checked_div(self.granule_elements).unwrap_or_default());
            self.granule_count = self.granule_count.saturating_add(1);
        }
    }

    /// What was made of their numbers, and how many granules there are.
    pub(crate) fn finish(self) -> (S, u64) {
        (self.numbers.finish(), self.granule_count)
    }
}

/// What stands before the numbers of the granules.
#[cfg(feature = "write")]
pub(crate) fn header(granule_elements: u64, granule_count: u64) -> alloc::vec::Vec<u8> {
    let mut header = alloc::vec::Vec::new();
    crate::cursor::encode_varint(granule_elements, &mut header);
    crate::cursor::encode_varint(granule_count, &mut header);
    header
}

#[cfg(feature = "write")]
fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while let Some(remainder) = a.checked_rem(b) {
        (a, b) = (b, remainder);
    }
    a
}
