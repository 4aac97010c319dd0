//! Index encoding 3: one bit for each element (`FORMAT.md`, 6.5).

use super::Extent;
use crate::error::ErrorKind;
use crate::report::Wrong;
use crate::stream::Stream;
use crate::width::{length, wide};

/// The one bits of a bitmap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitmap<'a> {
    rest: &'a [u8],
    /// The bits of the last word that `next` has not given out, and the element of its lowest bit.
    word: u64,
    word_start: usize,
    /// The element of the first bit of `rest`.
    rest_start: usize,
    end: usize,
}

impl<'a> Bitmap<'a> {
    pub(crate) const fn new(bytes: &'a [u8], extent: Extent) -> Self {
        Self { rest: bytes, word: 0, word_start: 0, rest_start: 0, end: extent.elements }
    }

    #[inline]
    pub(crate) fn run<B>(mut self, init: B, mut f: impl FnMut(B, usize) -> B) -> B {
        let mut folded = init;
        loop {
            while let Some(index) = self.pop() {
                folded = f(folded, index);
            }
            if self.open_word().is_none() {
                return folded;
            }
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<usize> {
        if self.word == 0 {
            return None;
        }
        let index = self.word_start.wrapping_add(length(u64::from(self.word.trailing_zeros())));
        self.word &= self.word.wrapping_sub(1);
        (index < self.end).then_some(index)
    }

    #[inline]
    fn open_word(&mut self) -> Option<()> {
        self.word_start = self.rest_start;
        if let Some((word, rest)) = self.rest.split_first_chunk::<8>() {
            (self.word, self.rest) = (u64::from_le_bytes(*word), rest);
            self.rest_start = self.rest_start.wrapping_add(64);
        } else {
            let (byte, rest) = self.rest.split_first()?;
            (self.word, self.rest) = (u64::from(*byte), rest);
            self.rest_start = self.rest_start.wrapping_add(8);
        }
        Some(())
    }
}

impl Iterator for Bitmap<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some(index) = self.pop() {
                return Some(index);
            }
            self.open_word()?;
        }
    }
}

pub(crate) fn check(stream: Stream<'_, '_>, extent: Extent) -> Result<(), Wrong> {
    let expected = extent.elements.div_ceil(8);
    let found = stream.bytes.len();
    if found < expected {
        return Err(stream.error(ErrorKind::Truncated));
    }
    // Unused bits come before the end of the stream, whatever follows there (`FORMAT.md`, 13).
    let last = stream.bytes.get(expected.wrapping_sub(1));
    if last.is_some_and(|last| *last & beyond(extent.elements) != 0) {
        return Err(stream.error(ErrorKind::Padding));
    }
    if found > expected {
        return Err(stream.error(ErrorKind::Trailing));
    }
    let ones = stream.bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_add(length(u64::from(byte.count_ones()))));
    if ones == extent.entries { Ok(()) } else { Err(stream.count_error(wide(extent.entries), wide(ones))) }
}

/// The bits of the last byte of a bitmap that lie beyond its elements.
pub(crate) const fn beyond(elements: usize) -> u8 {
    match crate::width::low_u32(wide(elements)) & 7 {
        0 => 0,
        used => u8::MAX.wrapping_shl(used),
    }
}

/// The bytes of a bitmap, as its strictly ascending indices come.
#[cfg(feature = "write")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bytes {
    /// The bytes before this one are complete.
    place: u64,
    byte: u8,
}

#[cfg(feature = "write")]
impl Bytes {
    /// Tells `f` each byte that is complete now, and how many bytes of zero follow it.
    #[inline]
    pub(crate) fn push(&mut self, index: u64, f: impl FnMut(u8, u64)) {
        let place = index >> 3;
        if place != self.place {
            self.skip_to(place, f);
        }
        self.byte |= 1_u8.wrapping_shl(crate::width::low_u32(index & 7));
    }

    /// Tells `f` the last bytes of the bitmap of so many elements.
    pub(crate) fn finish(mut self, elements: u64, f: impl FnMut(u8, u64)) {
        self.skip_to(elements.div_ceil(8), f);
    }

    fn skip_to(&mut self, place: u64, mut f: impl FnMut(u8, u64)) {
        f(self.byte, place.saturating_sub(self.place).saturating_sub(1));
        (self.place, self.byte) = (place, 0);
    }
}

/// Appends a byte of a bitmap and the bytes of zero that follow it.
#[cfg(feature = "write")]
pub(crate) fn put(stream: &mut alloc::vec::Vec<u8>, byte: u8, zeros: u64) {
    stream.push(byte);
    stream.resize(stream.len().saturating_add(length(zeros)), 0);
}
