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

/// The stream for strictly ascending indices.
#[cfg(feature = "write")]
pub(crate) fn encode(indices: &[u64], elements: u64) -> alloc::vec::Vec<u8> {
    bytes(indices, elements).collect()
}

/// The bytes of the bitmap, one after the other.
#[cfg(feature = "write")]
pub(crate) fn bytes(indices: &[u64], elements: u64) -> impl Iterator<Item = u8> {
    let mut indices = indices.iter().copied().peekable();
    (0..elements.div_ceil(8)).map(move |place| {
        let mut byte = 0_u8;
        while let Some(index) = indices.next_if(|index| *index >> 3 == place) {
            byte |= 1_u8.wrapping_shl(crate::width::low_u32(index & 7));
        }
        byte
    })
}
