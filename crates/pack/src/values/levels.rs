//! Value encoding 5: whole multiples of a scale per block of 256 entries, prefix-coded (`FORMAT.md`, 6.12).
//!
//! The numbers are those of int8 with fewer levels or as many; what is saved is that frequent levels get short codes. With 15
//! levels a code has less than four bits, with three less than two, with a sign alone one.

use super::code_lengths::CodeLengths;
use crate::bits::BitReader;
use crate::error::ErrorKind;
use crate::layout::BLOCK_ENTRIES;
use crate::prefix_code::PrefixCode;
use crate::report::Wrong;
use crate::stream::Stream;
use crate::width::{length, wide};

const SCALE_BYTES: usize = 4;

/// Deltas as level times scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LevelValues<'a> {
    bits: BitReader<'a>,
    code: PrefixCode,
    first: i8,
    /// Of the blocks to come.
    scales: &'a [[u8; SCALE_BYTES]],
    scale: f32,
    /// Entries left in this block.
    in_block: usize,
    left: u64,
}

impl<'a> LevelValues<'a> {
    /// Reads what comes before the codes.
    pub(crate) fn new(stream: Stream<'a, '_>, count: u64) -> Result<Self, Wrong> {
        let truncated = || stream.error(ErrorKind::Truncated);
        let invalid = || stream.error(ErrorKind::Code);
        let ([first, last], rest) = stream.bytes.split_first_chunk::<2>().ok_or_else(truncated)?;
        let (first, last) = (i8::from_le_bytes([*first]), i8::from_le_bytes([*last]));
        let levels = i16::from(last).saturating_sub(i16::from(first));
        let levels = usize::try_from(levels).ok().filter(|_| first != i8::MIN).ok_or_else(invalid)?.saturating_add(1);
        let (table, rest) = CodeLengths::read(stream, rest, levels)?;
        let lengths = table.as_slice();
        if [lengths.first(), lengths.last()].contains(&Some(&0)) {
            return Err(invalid());
        }
        let code = PrefixCode::new(lengths).ok_or_else(invalid)?;
        let blocks = length(count.div_ceil(wide(BLOCK_ENTRIES)));
        let (scales, codes) = rest.split_at_checked(blocks.saturating_mul(SCALE_BYTES)).ok_or_else(truncated)?;
        let position = stream.bytes.len().saturating_sub(rest.len());
        let scales = scales.as_chunks().0;
        let largest = f32::from(first.unsigned_abs().max(last.unsigned_abs()));
        let fits = |scale: &[u8; SCALE_BYTES]| {
            let scale = f32::from_le_bytes(*scale);
            scale >= 0.0 && (scale * largest).is_finite()
        };
        if let Some(block) = scales.iter().position(|scale| !fits(scale)) {
            return Err(stream.number_error(position.saturating_add(block.saturating_mul(SCALE_BYTES))));
        }
        Ok(Self { bits: BitReader::new(codes), code, first, scales, scale: 0.0, in_block: 0, left: count })
    }

    /// None if there is no block left.
    #[inline]
    fn open_block(&mut self) -> Option<()> {
        let (scale, rest) = self.scales.split_first()?;
        self.scale = f32::from_le_bytes(*scale);
        self.scales = rest;
        self.in_block = BLOCK_ENTRIES;
        Some(())
    }

    #[inline(always)]
    fn read(&mut self) -> Result<i8, ErrorKind> {
        self.bits.refill();
        let (symbol, used) = self.code.decode(self.bits.window()).ok_or(ErrorKind::Code)?;
        if used > self.bits.available() {
            return Err(ErrorKind::Truncated);
        }
        self.bits.skip(used);
        // A symbol counts from the first level, and the table ends with the last one.
        Ok(self.first.wrapping_add(i8::from_le_bytes([symbol])))
    }

    /// Decodes as many as there is room for, and returns how many.
    #[inline]
    pub(crate) fn fill(&mut self, out: &mut [f32]) -> usize {
        let mut filled = 0_usize;
        for (out, value) in out.iter_mut().zip(self) {
            *out = value;
            filled = filled.saturating_add(1);
        }
        filled
    }
}

impl Iterator for LevelValues<'_> {
    type Item = f32;

    #[inline(always)]
    fn next(&mut self) -> Option<f32> {
        if self.left == 0 {
            return None;
        }
        if self.in_block == 0 {
            self.open_block()?;
        }
        let level = self.read().ok()?;
        self.left = self.left.wrapping_sub(1);
        self.in_block = self.in_block.wrapping_sub(1);
        Some(f32::from(level) * self.scale)
    }
}

pub(crate) fn check(stream: Stream<'_, '_>, count: u64) -> Result<(), Wrong> {
    let mut values = LevelValues::new(stream, count)?;
    for _ in 0..count {
        values.read().map_err(|kind| stream.error(kind))?;
    }
    values.bits.finish().map_err(|kind| stream.error(kind))
}

/// How many scales a stream has that was read without an error, and its levels.
pub(crate) fn scales_and_levels(mut values: LevelValues<'_>) -> (u64, impl Iterator<Item = i8>) {
    let scales = wide(values.scales.len());
    (scales, (0..values.left).map_while(move |_| values.read().ok()))
}

/// The code that fits some levels best, none of which is -128.
#[cfg(feature = "write")]
pub(crate) struct LevelCode {
    first: i8,
    last: i8,
    lengths: alloc::vec::Vec<u8>,
    /// Size of the stream.
    size_bytes: u64,
}

#[cfg(feature = "write")]
impl LevelCode {
    /// None for no levels.
    pub(crate) fn new(levels: &[i8]) -> Option<Self> {
        let mut counts = [0_u64; 256];
        for level in levels {
            if let Some(count) = counts.get_mut(symbol(*level, i8::MIN)) {
                *count = count.saturating_add(1);
            }
        }
        let mut used = (i8::MIN..=i8::MAX).zip(&counts).filter(|(_, count)| **count > 0).map(|(level, _)| level);
        let first = used.next()?;
        let last = used.next_back().unwrap_or(first);
        let counts = counts.get(symbol(first, i8::MIN)..=symbol(last, i8::MIN))?;
        let lengths = crate::prefix_code::code_lengths(counts);
        let bits = counts
            .iter()
            .zip(&lengths)
            .fold(0_u64, |sum, (count, bits)| sum.saturating_add(count.saturating_mul(u64::from(*bits))));
        let scales = wide(levels.len().div_ceil(BLOCK_ENTRIES).saturating_mul(SCALE_BYTES));
        let table = wide(lengths.len().div_ceil(2)).saturating_add(2);
        Some(Self { first, last, lengths, size_bytes: bits.div_ceil(8).saturating_add(scales).saturating_add(table) })
    }

    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The stream for those levels and the scale of each block of 256 of them.
    pub(crate) fn encode(&self, levels: &[i8], scales: &[f32]) -> alloc::vec::Vec<u8> {
        use crate::bits::BitSink as _;

        let codewords = crate::prefix_code::codewords(&self.lengths);
        let mut bits = crate::bits::BitWriter::with_capacity(self.size_bytes);
        let table = self.lengths.chunks(2).map(|pair| pair.iter().rev().fold(0, |byte, bits| byte << 4 | *bits));
        for byte in [self.first, self.last].map(i8::cast_unsigned).into_iter().chain(table) {
            bits.put(u64::from(byte), 8);
        }
        for scale in scales {
            bits.put(u64::from(scale.to_bits()), 32);
        }
        for level in levels {
            if let Some((word, word_bits)) = codewords.get(symbol(*level, self.first)) {
                bits.put(*word, *word_bits);
            }
        }
        bits.finish()
    }
}

/// The place of a level among those from the first on.
#[cfg(feature = "write")]
fn symbol(level: i8, first: i8) -> usize {
    usize::from(level.wrapping_sub(first).cast_unsigned())
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{LevelCode, LevelValues, check, scales_and_levels};
    use crate::error::{Error, ErrorKind};
    use crate::report::{Report, reported};
    use crate::stream::Stream;
    use crate::width::wide;

    fn stream<'a, 'r>(bytes: &'a [u8], report: &'r Report) -> Stream<'a, 'r> {
        Stream { bytes, offset: 100, subject: "value stream", report }
    }

    fn checked(bytes: &[u8], count: usize) -> Result<(), Error> {
        reported(|report| check(stream(bytes, report), wide(count)))
    }

    fn encode(levels: &[i8], scales: &[f32]) -> Vec<u8> {
        let Some(code) = LevelCode::new(levels) else { panic!("there are levels") };
        let bytes = code.encode(levels, scales);
        assert_eq!(wide(bytes.len()), code.size_bytes(), "another size than was planned");
        bytes
    }

    fn comes_back(levels: &[i8], scales: &[f32]) {
        let bytes = encode(levels, scales);
        assert_eq!(checked(&bytes, levels.len()), Ok(()));
        let report = Report::blank();
        let Ok(values) = LevelValues::new(stream(&bytes, &report), wide(levels.len())) else { panic!("unreadable") };
        let (found, decoded) = scales_and_levels(values);
        assert_eq!((found, decoded.collect::<Vec<_>>()), (wide(scales.len()), levels.to_vec()));
        let expected =
            levels.chunks(256).zip(scales).flat_map(|(block, scale)| block.iter().map(move |x| (*x, *scale)));
        let expected: Vec<f32> = expected.map(|(level, scale)| f32::from(level) * scale).collect();
        assert_eq!(values.collect::<Vec<_>>(), expected);
        let mut filled = Vec::from([0.0; 700]);
        let mut values = values;
        assert_eq!(values.fill(&mut filled), levels.len());
        assert_eq!(filled.get(..levels.len()), Some(&expected[..]));
    }

    /// Miri takes a thousand times as long, and wants fewer.
    const LEVELS_MAX: usize = if cfg!(miri) { 20 } else { 600 };

    proptest! {
        #[test]
        fn levels_come_back(levels in proptest::collection::vec(-127_i8..=127, 1..LEVELS_MAX), top in 1_i8..=127) {
            let scales = [0.5, 0.0, 1e-30];
            let blocks = levels.len().div_ceil(256);
            comes_back(&levels, &scales[..blocks]);
            let few: Vec<i8> = levels.iter().map(|level| level % top).collect();
            comes_back(&few, &scales[..blocks]);
        }
    }

    #[test]
    fn one_level_takes_a_bit_for_each_entry() {
        let bytes = encode(&[-3; 20], &[0.25]);
        assert_eq!(bytes.len(), 2 + 1 + 4 + 3);
        comes_back(&[-3; 20], &[0.25]);
    }

    #[test]
    fn each_fault_has_its_kind() {
        let good = encode(&[-1, 0, 1, 1, 1, 0], &[0.5]);
        // First, last; lengths 2, 2 and 1; the scale; the codes 10, 11, 0, 0, 0, 11.
        assert_eq!(good, [0xff, 1, 0x22, 1, 0, 0, 0, 0x3f, 0b1000_1101, 1]);
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            bad
        };
        let cases = [
            ("the last level is below the first", with(1, 0xfe), ErrorKind::Code),
            ("a level of -128", with(0, 0x80), ErrorKind::Code),
            ("a code that is not complete", with(2, 0x32), ErrorKind::Code),
            ("the first level does not occur", with(2, 0x10), ErrorKind::Code),
            ("unused bits of the table", with(3, 0x11), ErrorKind::Padding),
            ("a negative scale", with(7, 0xbf), ErrorKind::Number),
            ("unused bits of the codes", with(9, 0x81), ErrorKind::Padding),
        ];
        for (fault, bytes, kind) in cases {
            assert_eq!(checked(&bytes, 6).map_err(|error| error.kind), Err(kind), "{fault}");
        }
        for end in 0..good.len() {
            assert_eq!(checked(&good[..end], 6).map_err(|error| error.kind), Err(ErrorKind::Truncated), "cut at {end}");
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(checked(&longer, 6).map_err(|error| error.kind), Err(ErrorKind::Trailing));
    }
}
