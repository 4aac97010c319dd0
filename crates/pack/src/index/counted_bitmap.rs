//! Index encoding 5: the bytes of the bitmap, each as its count of ones and its rank among those (`FORMAT.md`, 6.7).
//!
//! Enumerative coding (Cover 1973) in pieces of eight: the count is Huffman-coded, the rank is nearly uniform. It fills the
//! gap between Rice codes, which lose several percent at densities of 0.2 and 0.4, and the plain bitmap.

use super::bitmap::beyond;
use super::{Extent, Outcome};
use crate::bits::{BitReader, mask};
use crate::error::ErrorKind;
use crate::layout::CODE_LENGTH_BITS;
use crate::prefix_code::PrefixCode;
use crate::report::Wrong;
use crate::stream::Stream;
use crate::width::{length, low_byte, low_u32, wide};

/// Counts of ones in a byte: 0 to 8.
const COUNTS: usize = 9;

/// All byte values by count of ones, then by value.
const RANKED: [u8; 256] = ranked();

/// For each count: where its bytes start in `RANKED`; the bits b and the threshold u of truncated binary.
const GROUPS: [(u8, u8, u8); COUNTS] =
    [(0, 0, 1), (1, 3, 8), (9, 4, 4), (37, 5, 8), (93, 6, 58), (163, 5, 8), (219, 4, 4), (247, 3, 8), (255, 0, 1)];

/// The one bits of a counted bitmap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedBitmap<'a> {
    bits: BitReader<'a>,
    code: PrefixCode,
    /// The bits of the last byte that `next` has not given out, and the element of its lowest bit.
    byte: u8,
    byte_start: usize,
    /// The element of the first bit of the next byte.
    start: usize,
    end: usize,
}

impl<'a> CountedBitmap<'a> {
    pub(crate) fn new(stream: Stream<'a, '_>, extent: Extent) -> Result<Self, Wrong> {
        let mut bits = BitReader::new(stream.bytes);
        let mut lengths = [0; COUNTS];
        for length in &mut lengths {
            let field = bits.take_apart(CODE_LENGTH_BITS).ok_or_else(|| stream.error(ErrorKind::Truncated))?;
            *length = low_byte(field);
        }
        let code = PrefixCode::new(&lengths).ok_or_else(|| stream.error(ErrorKind::Code))?;
        Ok(Self { bits, code, byte: 0, byte_start: 0, start: 0, end: extent.elements })
    }

    #[inline]
    pub(crate) fn run<B>(mut self, init: B, mut f: impl FnMut(B, usize) -> B) -> (B, Result<BitReader<'a>, ErrorKind>) {
        let mut folded = init;
        loop {
            while let Some(index) = self.pop() {
                folded = f(folded, index);
            }
            if self.start >= self.end {
                return (folded, Ok(self.bits));
            }
            if let Err(kind) = self.open_byte() {
                return (folded, Err(kind));
            }
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<usize> {
        if self.byte == 0 {
            return None;
        }
        let index = self.byte_start.wrapping_add(length(u64::from(self.byte.trailing_zeros())));
        self.byte &= self.byte.wrapping_sub(1);
        Some(index)
    }

    #[inline]
    fn open_byte(&mut self) -> Outcome {
        self.byte_start = self.start;
        self.start = self.start.saturating_add(8);
        self.byte = self.read_byte()?;
        if self.end.wrapping_sub(self.byte_start) < 8 && self.byte & beyond(self.end) != 0 {
            self.byte = 0;
            return Err(ErrorKind::Padding);
        }
        Ok(())
    }

    /// As `open_byte`, for places where a call for each costs less than code of their own.
    #[inline(never)]
    fn open_byte_apart(&mut self) -> Outcome {
        self.open_byte()
    }

    #[inline]
    fn read_byte(&mut self) -> Result<u8, ErrorKind> {
        self.bits.refill();
        // A code and a rank have at most 15 + 7 bits: one refill is enough, and what is not there shows at the end.
        let (count, code_bits) = self.code.decode(self.bits.window()).ok_or(ErrorKind::Code)?;
        let (place, bits, threshold) = *GROUPS.get(usize::from(count)).ok_or(ErrorKind::Code)?;
        let (bits, threshold) = (u32::from(bits), u64::from(threshold));
        let window = self.bits.window().wrapping_shr(code_bits);
        let field = window & mask(bits);
        let (rank, rank_bits) = if field < threshold {
            (field, bits)
        } else {
            let more = window.wrapping_shr(bits) & 1;
            (field.wrapping_mul(2).wrapping_add(more).wrapping_sub(threshold), bits.wrapping_add(1))
        };
        let used = code_bits.wrapping_add(rank_bits);
        if used > self.bits.available() {
            return Err(ErrorKind::Truncated);
        }
        self.bits.skip(used);
        RANKED.get(usize::from(place.wrapping_add(low_byte(rank)))).copied().ok_or(ErrorKind::Code)
    }
}

impl Iterator for CountedBitmap<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some(index) = self.pop() {
                return Some(index);
            }
            if self.start >= self.end {
                return None;
            }
            if self.open_byte_apart().is_err() {
                self.start = self.end;
                return None;
            }
        }
    }
}

pub(crate) fn check(stream: Stream<'_, '_>, extent: Extent) -> Result<(), Wrong> {
    let mut counted = CountedBitmap::new(stream, extent)?;
    let mut entries = 0_usize;
    while counted.start < counted.end {
        counted.open_byte_apart().map_err(|kind| stream.error(kind))?;
        entries = entries.wrapping_add(length(u64::from(counted.byte.count_ones())));
    }
    counted.bits.finish().map_err(|kind| stream.error(kind))?;
    if entries == extent.entries { Ok(()) } else { Err(stream.count_error(wide(extent.entries), wide(entries))) }
}

#[expect(clippy::indexing_slicing, clippy::as_conversions, reason = "evaluated by the compiler, which would refuse it")]
const fn ranked() -> [u8; 256] {
    let mut ranked = [0; 256];
    let (mut place, mut count) = (0_usize, 0);
    while count <= 8 {
        let mut byte = 0_u16;
        while byte < 256 {
            if byte.count_ones() == count {
                ranked[place] = low_byte(byte as u64);
                place = place.wrapping_add(1);
            }
            byte = byte.wrapping_add(1);
        }
        count = low_u32((count as u64).wrapping_add(1));
    }
    ranked
}

/// How often each byte occurs in a bitmap.
#[cfg(feature = "write")]
#[derive(Debug)]
pub(crate) struct ByteCounts([u64; 256]);

#[cfg(feature = "write")]
impl ByteCounts {
    pub(crate) const fn new() -> Self {
        Self([0; 256])
    }

    /// Counts a byte of the bitmap and the bytes of zero that follow it.
    #[inline]
    pub(crate) fn add(&mut self, byte: u8, zeros: u64) {
        for (byte, more) in [(byte, 1), (0, zeros)] {
            if let Some(count) = self.0.get_mut(usize::from(byte)) {
                *count = count.saturating_add(more);
            }
        }
    }
}

/// The bits of each byte of a bitmap: the code of its count, and its rank.
#[cfg(feature = "write")]
#[derive(Debug)]
pub(crate) struct ByteCode {
    lengths: alloc::vec::Vec<u8>,
    /// For each byte: the bits to write, at most 15 and 7, and how many.
    fields: alloc::vec::Vec<(u64, u32)>,
    size_bytes: u64,
}

#[cfg(feature = "write")]
impl ByteCode {
    /// The code that fits these counts best.
    pub(crate) fn new(counts: &ByteCounts) -> Self {
        use crate::prefix_code::{code_lengths, codewords};

        let mut by_ones = [0_u64; COUNTS];
        for (byte, count) in (0_u8..=u8::MAX).zip(counts.0) {
            if let Some(sum) = by_ones.get_mut(length(u64::from(byte.count_ones()))) {
                *sum = sum.saturating_add(count);
            }
        }
        let lengths = code_lengths(&by_ones);
        let words = codewords(&lengths);
        let fields: alloc::vec::Vec<(u64, u32)> =
            (0_u8..=u8::MAX).zip(ranks()).map(|(byte, rank)| field(byte, rank, &words)).collect();
        let mut bits = u64::from(CODE_LENGTH_BITS).saturating_mul(wide(COUNTS));
        for (count, (_, field_bits)) in counts.0.iter().zip(&fields) {
            bits = bits.saturating_add(count.saturating_mul(u64::from(*field_bits)));
        }
        Self { lengths, fields, size_bytes: bits.div_ceil(8) }
    }

    /// Size of the stream.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What stands before the bytes.
    pub(crate) fn start(&self, bits: &mut crate::bits::BitWriter) {
        use crate::bits::BitSink as _;

        for length in &self.lengths {
            bits.put(u64::from(*length), CODE_LENGTH_BITS);
        }
    }

    /// Appends a byte of the bitmap and the bytes of zero that follow it.
    #[inline]
    pub(crate) fn put(&self, bits: &mut crate::bits::BitWriter, byte: u8, zeros: u64) {
        use crate::bits::BitSink as _;

        if let (Some((byte, byte_bits)), Some((zero, zero_bits))) =
            (self.fields.get(usize::from(byte)), self.fields.first())
        {
            bits.put(*byte, *byte_bits);
            (0..zeros).for_each(|_| bits.put(*zero, *zero_bits));
        }
    }
}

/// The bits of a byte with this rank among those with the same count, and how many they are.
#[cfg(feature = "write")]
fn field(byte: u8, rank: u64, words: &[(u64, u32)]) -> (u64, u32) {
    let ones = length(u64::from(byte.count_ones()));
    let (Some((word, word_bits)), Some((_, rank_bits, threshold))) = (words.get(ones), GROUPS.get(ones)) else {
        return (0, 0);
    };
    let (rank_bits, threshold) = (u32::from(*rank_bits), u64::from(*threshold));
    let (rank, rank_bits) = if rank < threshold {
        (rank, rank_bits)
    } else {
        // Truncated binary: the upper bits come first, and the lowest one after them.
        let doubled = rank.saturating_add(threshold);
        ((doubled & 1).wrapping_shl(rank_bits) | doubled >> 1, rank_bits.wrapping_add(1))
    };
    (rank.wrapping_shl(*word_bits) | word, word_bits.wrapping_add(rank_bits))
}

/// For each byte its rank among those with the same count.
#[cfg(feature = "write")]
fn ranks() -> [u64; 256] {
    let mut ranks = [0; 256];
    for (place, byte) in (0_u64..).zip(RANKED) {
        let start = GROUPS.get(length(u64::from(byte.count_ones()))).map_or(0, |group| group.0);
        if let Some(rank) = ranks.get_mut(usize::from(byte)) {
            *rank = place.saturating_sub(u64::from(start));
        }
    }
    ranks
}
