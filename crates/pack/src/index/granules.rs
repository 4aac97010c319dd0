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

/// The stream for strictly ascending indices; none if no granule of two or more elements fits them.
#[cfg(feature = "write")]
pub(crate) fn encode(indices: &[u64], elements: u64) -> Option<alloc::vec::Vec<u8>> {
    let granule_elements = largest_granule(indices, elements);
    if granule_elements < 2 {
        return None;
    }
    let granules = || indices.iter().copied().filter(|index| index.is_multiple_of(granule_elements));
    let mut stream = alloc::vec::Vec::new();
    crate::cursor::encode_varint(granule_elements, &mut stream);
    crate::cursor::encode_varint(wide(granules().count()), &mut stream);
    let numbers = granules().map(|index| index.checked_div(granule_elements).unwrap_or_default());
    stream.extend(super::rice_gaps::encode(numbers));
    Some(stream)
}

/// The greatest common divisor of the starts and ends of all runs, an end at the end of the tensor left out.
#[cfg(feature = "write")]
fn largest_granule(indices: &[u64], elements: u64) -> u64 {
    let mut divisor = 0;
    let mut run_end = 0;
    for index in indices {
        if *index != run_end {
            divisor = greatest_common_divisor(divisor, run_end);
            divisor = greatest_common_divisor(divisor, *index);
            if divisor == 1 {
                return 1;
            }
        }
        run_end = index.saturating_add(1);
    }
    if run_end == elements { divisor } else { greatest_common_divisor(divisor, run_end) }
}

#[cfg(feature = "write")]
fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while let Some(remainder) = a.checked_rem(b) {
        (a, b) = (b, remainder);
    }
    a
}
