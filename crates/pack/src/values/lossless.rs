//! Value encoding 4: integer distances between bit patterns (`FORMAT.md`, 6.11).
//!
//! A magnitude is a bucket and raw low bits, as in Elias' gamma code; buckets are Huffman-coded, so that the code adapts to how
//! large the changes of this tensor are. The parameter m splits each bucket into 2^m: small distances, as in 16-bit weights,
//! then get codes of their own.

use super::code_lengths::CodeLengths;
use crate::bits::{BitReader, mask};
use crate::dtype::Dtype;
use crate::error::ErrorKind;
#[cfg(feature = "write")]
use crate::layout::SYMBOLS_MAX;
use crate::prefix_code::PrefixCode;
use crate::report::Wrong;
use crate::stream::Stream;
use crate::width::wide_u32;
#[cfg(feature = "write")]
use crate::width::{length, low_u32};

/// Largest m.
#[cfg(feature = "write")]
const FINENESS_MAX: u32 = 3;
const FINENESS_BITS: u8 = 0b0011;
const SIGN_APART_BIT: u8 = 0b0100;

/// How magnitudes are cut into buckets, and where the sign goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// The m of `FORMAT.md`: bits below the leading one that belong to the bucket.
    fineness: u32,
    /// Whether the sign is a bit of its own rather than part of the symbol.
    sign_apart: bool,
}

impl Form {
    fn from_code(code: u8) -> Option<Self> {
        let form = Self { fineness: u32::from(code & FINENESS_BITS), sign_apart: code & SIGN_APART_BIT != 0 };
        (code & !(FINENESS_BITS | SIGN_APART_BIT) == 0).then_some(form)
    }

    const fn symbols_per_bucket(self) -> usize {
        if self.sign_apart { 1 } else { 2 }
    }

    /// Raw bits of a magnitude whose leading one is bit `leading`.
    #[inline(always)]
    const fn raw_bits(self, leading: u32) -> u32 {
        leading.saturating_sub(self.fineness)
    }

    /// The leading bit of the magnitudes of a bucket, and the smallest of them; none if there are none.
    #[inline(always)]
    const fn start(self, bucket: u32) -> Option<(u32, u64)> {
        let leading = bucket.wrapping_shr(self.fineness);
        let raw = self.raw_bits(leading);
        let sub = wide_u32(bucket) & mask(self.fineness);
        let above = 1_u64.wrapping_shl(leading.wrapping_sub(raw));
        if sub < above { Some((leading, (above | sub).wrapping_shl(raw))) } else { None }
    }
}

/// Distances, none of them 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LosslessValues<'a> {
    bits: BitReader<'a>,
    code: PrefixCode,
    form: Form,
    first: u32,
    left: u64,
}

impl<'a> LosslessValues<'a> {
    /// Reads form and table.
    pub(crate) fn new(stream: Stream<'a, '_>, count: u64, dtype: Dtype) -> Result<Self, Wrong> {
        let truncated = || stream.error(ErrorKind::Truncated);
        let invalid = || stream.error(ErrorKind::Code);
        let ([form, first, last], rest) = stream.bytes.split_first_chunk::<3>().ok_or_else(truncated)?;
        let form = Form::from_code(*form).ok_or_else(invalid)?;
        if u32::from(*last).wrapping_shr(form.fineness) >= dtype.bits() {
            return Err(invalid());
        }
        let buckets = last.checked_sub(*first).map(|span| usize::from(span).saturating_add(1)).ok_or_else(invalid)?;
        let symbols = buckets.saturating_mul(form.symbols_per_bucket());
        let (table, distances) = CodeLengths::read(stream, rest, symbols)?;
        let lengths = table.as_slice();
        let (first, last) = (u32::from(*first), u32::from(*last));
        let mut ends_used = (false, false);
        for (bucket, lengths) in (first..=last).zip(lengths.chunks(form.symbols_per_bucket())) {
            if lengths.iter().all(|length| *length == 0) {
                continue;
            }
            if form.start(bucket).is_none() {
                return Err(invalid());
            }
            ends_used = (ends_used.0 || bucket == first, bucket == last);
        }
        if ends_used != (true, true) {
            return Err(invalid());
        }
        let code = PrefixCode::new(lengths).ok_or_else(invalid)?;
        Ok(Self { bits: BitReader::new(distances), code, form, first, left: count })
    }

    #[inline(always)]
    fn read(&mut self) -> Result<i64, ErrorKind> {
        // A code, a sign and raw bits have at most 15 + 1 + 31 bits: one refill is enough.
        self.bits.refill();
        let (symbol, code_bits) = self.code.decode(self.bits.window()).ok_or(ErrorKind::Code)?;
        let symbol = u32::from(symbol);
        let after_code = self.bits.window().wrapping_shr(code_bits);
        let (bucket, negative, sign_bits) =
            if self.form.sign_apart { (symbol, after_code & 1 != 0, 1) } else { (symbol >> 1, symbol & 1 != 0, 0) };
        let (leading, start) = self.form.start(self.first.wrapping_add(bucket)).ok_or(ErrorKind::Code)?;
        let raw = self.form.raw_bits(leading);
        let magnitude = start | (after_code.wrapping_shr(sign_bits) & mask(raw));
        let used = code_bits.wrapping_add(sign_bits).wrapping_add(raw);
        if used > self.bits.available() {
            return Err(ErrorKind::Truncated);
        }
        self.bits.skip(used);
        let distance = magnitude.cast_signed();
        Ok(if negative { distance.wrapping_neg() } else { distance })
    }
}

impl Iterator for LosslessValues<'_> {
    type Item = i64;

    #[inline(always)]
    fn next(&mut self) -> Option<i64> {
        if self.left == 0 {
            return None;
        }
        self.left = self.left.wrapping_sub(1);
        match self.read() {
            Ok(distance) => Some(distance),
            Err(_) => {
                self.left = 0;
                None
            }
        }
    }
}

pub(crate) fn check(stream: Stream<'_, '_>, count: u64, dtype: Dtype) -> Result<(), Wrong> {
    let mut values = LosslessValues::new(stream, count, dtype)?;
    for _ in 0..count {
        values.read().map_err(|kind| stream.error(kind))?;
    }
    values.bits.finish().map_err(|kind| stream.error(kind))
}

/// What stands in front of the codes of a bucket-coded distance: for the bound that `inspect` prints.
pub(crate) const fn bit_length(distance: i64) -> u32 {
    64_u32.wrapping_sub(distance.unsigned_abs().leading_zeros())
}

/// How often each of the finest buckets occurs, by sign.
#[cfg(feature = "write")]
pub(crate) struct Histogram(alloc::vec::Vec<[u64; 2]>);

#[cfg(feature = "write")]
impl Histogram {
    const FORM: Form = Form { fineness: FINENESS_MAX, sign_apart: false };

    pub(crate) fn new() -> Self {
        // 32 leading bits, eight buckets each.
        Self(alloc::vec![[0_u64; 2]; SYMBOLS_MAX])
    }

    /// Counts distances other than 0.
    pub(crate) fn add(&mut self, distances: &[i64]) {
        for distance in distances {
            let [plus, minus] =
                self.0.get_mut(length(wide_u32(Self::FORM.bucket(*distance)))).map_or([None, None], pair);
            if let Some(count) = if *distance < 0 { minus } else { plus } {
                *count = count.saturating_add(1);
            }
        }
    }

    /// What writes the shortest stream for the distances that were counted; none if there were none.
    pub(crate) fn encoder(&self) -> Option<Encoder> {
        let forms = [false, true]
            .into_iter()
            .flat_map(|sign_apart| (0..=FINENESS_MAX).map(move |fineness| Form { fineness, sign_apart }));
        let tables = forms.filter_map(|form| Table::new(form, self));
        tables.min_by_key(|table| table.size_bytes).map(Encoder::new)
    }
}

#[cfg(feature = "write")]
fn pair(counts: &mut [u64; 2]) -> [Option<&mut u64>; 2] {
    let [plus, minus] = counts;
    [Some(plus), Some(minus)]
}

#[cfg(feature = "write")]
impl Form {
    const fn code(self) -> u64 {
        wide_u32(self.fineness) | if self.sign_apart { 4 } else { 0 }
    }

    /// The bucket of a distance that is not 0.
    const fn bucket(self, distance: i64) -> u32 {
        let leading = bit_length(distance).wrapping_sub(1);
        let raw = self.raw_bits(leading);
        let above = distance.unsigned_abs().wrapping_shr(raw);
        let sub = low_u32(above.wrapping_sub(1_u64.wrapping_shl(leading.wrapping_sub(raw))));
        leading.wrapping_shl(self.fineness).wrapping_add(sub)
    }
}

/// A form with the code that fits the distances best.
#[cfg(feature = "write")]
struct Table {
    form: Form,
    first: u32,
    last: u32,
    lengths: alloc::vec::Vec<u8>,
    size_bytes: u64,
}

#[cfg(feature = "write")]
impl Table {
    /// None if there are more symbols than a table may have.
    fn new(form: Form, histogram: &Histogram) -> Option<Self> {
        let buckets = || {
            (0_u32..).zip(&histogram.0).filter(|(_, counts)| counts.iter().any(|count| *count > 0)).filter_map(
                move |(finest, counts)| {
                    let (_, start) = Histogram::FORM.start(finest)?;
                    Some((form.bucket(start.cast_signed()), counts))
                },
            )
        };
        let (first, last) = (buckets().next()?.0, buckets().last()?.0);
        let span = length(wide_u32(last.saturating_sub(first))).saturating_add(1);
        let symbols = span.saturating_mul(form.symbols_per_bucket());
        if symbols > SYMBOLS_MAX {
            return None;
        }
        let mut counts = alloc::vec![0_u64; symbols];
        let mut raw_bits = 0_u64;
        for (bucket, by_sign) in buckets() {
            let (leading, _) = form.start(bucket)?;
            let raw = wide_u32(form.raw_bits(leading)).saturating_add(u64::from(form.sign_apart));
            for (sign, count) in by_sign.iter().enumerate() {
                raw_bits = raw_bits.saturating_add(raw.saturating_mul(*count));
                let place = length(wide_u32(bucket.saturating_sub(first)));
                let symbol = if form.sign_apart { place } else { place.saturating_mul(2).saturating_add(sign) };
                let total = counts.get_mut(symbol)?;
                *total = total.saturating_add(*count);
            }
        }
        let lengths = crate::prefix_code::code_lengths(&counts);
        let code_bits = counts
            .iter()
            .zip(&lengths)
            .fold(0_u64, |sum, (count, bits)| sum.saturating_add(count.saturating_mul(u64::from(*bits))));
        let size_bytes =
            crate::width::wide(symbols.div_ceil(2)).saturating_add(code_bits.saturating_add(raw_bits).div_ceil(8));
        // Form, first and last bucket.
        let size_bytes = size_bytes.saturating_add(3);
        Some(Self { form, first, last, lengths, size_bytes })
    }
}

/// Writes distances in the code that was found for them.
#[cfg(feature = "write")]
pub(crate) struct Encoder {
    form: Form,
    first: u32,
    /// For each symbol the bits to write and how many.
    codewords: alloc::vec::Vec<(u64, u32)>,
    /// Size of the stream, and what has been written of it.
    size_bytes: u64,
    bits: crate::bits::BitWriter,
}

#[cfg(feature = "write")]
impl Encoder {
    fn new(table: Table) -> Self {
        use crate::bits::BitSink as _;

        let Table { form, first, last, lengths, size_bytes } = table;
        let mut bits = crate::bits::BitWriter::with_capacity(size_bytes);
        for field in [form.code(), wide_u32(first), wide_u32(last)] {
            bits.put(field, 8);
        }
        for pair in lengths.chunks(2) {
            bits.put(pair.iter().rev().fold(0, |byte, bits| byte << 4 | u64::from(*bits)), 8);
        }
        Self { form, first, codewords: crate::prefix_code::codewords(&lengths), size_bytes, bits }
    }

    /// The next distances, the same ones as were counted.
    pub(crate) fn add(&mut self, distances: &[i64]) {
        use crate::bits::BitSink as _;

        for distance in distances {
            let bucket = self.form.bucket(*distance);
            let place = length(wide_u32(bucket.saturating_sub(self.first)));
            let negative = usize::from(*distance < 0);
            let apart = self.form.sign_apart;
            let symbol = if apart { place } else { place.saturating_mul(2).saturating_add(negative) };
            let (word, word_bits) = self.codewords.get(symbol).copied().unwrap_or_default();
            let (sign, sign_bits) = if apart { (u64::from(*distance < 0), 1) } else { (0, 0) };
            let raw = self.form.raw_bits(bit_length(*distance).wrapping_sub(1));
            // A code, a sign and raw bits have at most 15 + 1 + 31 bits: one field.
            let after = sign | (distance.unsigned_abs() & mask(raw)).wrapping_shl(sign_bits);
            let bits = word_bits.wrapping_add(sign_bits).wrapping_add(raw);
            self.bits.put(word | after.wrapping_shl(word_bits), bits);
        }
    }

    /// The stream; none if other distances were written than were counted.
    pub(crate) fn finish(self) -> Option<alloc::vec::Vec<u8>> {
        let stream = self.bits.finish();
        (crate::width::wide(stream.len()) == self.size_bytes).then_some(stream)
    }
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{Form, Histogram, LosslessValues, check};
    use crate::dtype::Dtype;
    use crate::error::{Error, ErrorKind};
    use crate::report::{Report, reported};
    use crate::stream::Stream;
    use crate::width::wide;

    fn stream<'a, 'r>(bytes: &'a [u8], report: &'r Report) -> Stream<'a, 'r> {
        Stream { bytes, offset: 100, subject: "value stream", report }
    }

    fn checked(bytes: &[u8], count: usize, dtype: Dtype) -> Result<(), Error> {
        reported(|report| check(stream(bytes, report), wide(count), dtype))
    }

    fn comes_back(distances: &[i64]) {
        let mut histogram = Histogram::new();
        distances.chunks(7).for_each(|part| histogram.add(part));
        let Some(mut encoder) = histogram.encoder() else { panic!("there are distances") };
        distances.chunks(11).for_each(|part| encoder.add(part));
        let Some(bytes) = encoder.finish() else { panic!("another size than was planned") };
        assert_eq!(checked(&bytes, distances.len(), Dtype::F32), Ok(()));
        let report = Report::blank();
        let values = LosslessValues::new(stream(&bytes, &report), wide(distances.len()), Dtype::F32);
        let decoded: Vec<i64> = values.into_iter().flatten().collect();
        assert_eq!(decoded, distances);
    }

    fn any_distance() -> impl Strategy<Value = i64> {
        (0_u32..32, 0_i64..=i64::from(u32::MAX), any::<bool>()).prop_map(|(shift, number, negative)| {
            let magnitude = (number >> shift).max(1);
            if negative { -magnitude } else { magnitude }
        })
    }

    /// Miri takes a thousand times as long, and wants fewer.
    const DISTANCES_MAX: usize = if cfg!(miri) { 20 } else { 400 };

    proptest! {
        #[test]
        fn distances_come_back(distances in proptest::collection::vec(any_distance(), 1..DISTANCES_MAX)) {
            comes_back(&distances);
        }

        #[test]
        fn foreign_bytes_end_and_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..60), form in 0_u8..8) {
            if let Some(first) = bytes.first_mut() {
                *first = form;
            }
            let report = Report::blank();
            let seen = LosslessValues::new(stream(&bytes, &report), 1000, Dtype::F32).into_iter().flatten().count();
            prop_assert!(seen <= bytes.len() * 8);
            prop_assert!(checked(&bytes, 1000, Dtype::F32).is_err());
        }
    }

    #[test]
    fn every_kind_of_table_comes_back() {
        comes_back(&[1]);
        comes_back(&[-1, -1, -1]);
        comes_back(&[i64::from(u32::MAX), -i64::from(u32::MAX), 1, -1]);
        // Miri takes a thousand times as long: the kinds above are enough.
        if cfg!(miri) {
            return;
        }
        comes_back(&(1..=300).flat_map(|distance| [distance, -distance]).collect::<Vec<_>>());
        comes_back(&(1..=5000).map(|distance| distance * 800_000).collect::<Vec<_>>());
    }

    #[test]
    fn buckets_are_those_of_the_formula() {
        for fineness in 0..=3 {
            let form = Form { fineness, sign_apart: false };
            let mut last = None;
            for magnitude in 1..if cfg!(miri) { 50 } else { 5000 } {
                let bucket = form.bucket(magnitude);
                let Some((leading, start)) = form.start(bucket) else { panic!("bucket {bucket} has no magnitudes") };
                let raw = form.raw_bits(leading);
                assert_eq!(start | (magnitude.unsigned_abs() & super::mask(raw)), magnitude.unsigned_abs());
                assert!(last <= Some(bucket), "buckets ascend with the magnitude");
                last = Some(bucket);
            }
        }
    }

    #[test]
    fn rejects_what_is_no_table() {
        struct Case {
            what: &'static str,
            bytes: &'static [u8],
            kind: ErrorKind,
        }
        // A table of one bucket, d = 1 and d = -1 with one bit each: 00 00 00 11; two distances in the byte after it.
        let cases = [
            Case { what: "nothing", bytes: &[], kind: ErrorKind::Truncated },
            Case { what: "no table", bytes: &[0, 0, 0], kind: ErrorKind::Truncated },
            Case { what: "unknown form", bytes: &[8, 0, 0, 0x11, 0], kind: ErrorKind::Code },
            Case { what: "last below first", bytes: &[0, 1, 0, 0x11, 0], kind: ErrorKind::Code },
            Case { what: "too many symbols", bytes: &[0, 0, 255, 0x11, 0], kind: ErrorKind::Code },
            Case { what: "incomplete code", bytes: &[0, 0, 0, 0x21, 0], kind: ErrorKind::Code },
            Case { what: "first bucket unused", bytes: &[0, 0, 1, 0x00, 0x11, 0], kind: ErrorKind::Code },
            Case { what: "last bucket unused", bytes: &[0, 0, 1, 0x11, 0x00, 0], kind: ErrorKind::Code },
            Case { what: "bucket without magnitudes", bytes: &[1, 0, 1, 0x01, 0x01, 0], kind: ErrorKind::Code },
            Case { what: "wider than the dtype", bytes: &[0, 16, 16, 0x11, 0, 0, 0, 0, 0], kind: ErrorKind::Code },
            Case { what: "unused half byte", bytes: &[4, 0, 0, 0x11, 0], kind: ErrorKind::Padding },
            Case { what: "no distances", bytes: &[0, 0, 0, 0x11], kind: ErrorKind::Truncated },
            Case { what: "bytes left", bytes: &[0, 0, 0, 0x11, 0, 0], kind: ErrorKind::Trailing },
            Case { what: "bits left", bytes: &[0, 0, 0, 0x11, 4], kind: ErrorKind::Padding },
            Case { what: "code without symbol", bytes: &[0, 0, 0, 0x01, 1], kind: ErrorKind::Code },
        ];
        assert_eq!(checked(&[0, 0, 0, 0x11, 2], 2, Dtype::F16), Ok(()));
        for Case { what, bytes, kind } in cases {
            let found = checked(bytes, 2, Dtype::F16).map_err(|error| (error.kind, error.offset));
            assert_eq!(found, Err((kind, 100)), "{what}");
        }
    }
}
