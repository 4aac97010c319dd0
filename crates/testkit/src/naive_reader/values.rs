//! Value streams: `FORMAT.md` 6.9 to 6.12, and the second half of step 19 of section 13.

use super::bits::{Bits, PrefixCode};
use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check, refuse};
use super::tensors::Record;
use crate::contents::Values;

/// Reads all values of a tensor.
pub(super) fn read(mut stream: Cursor<'_>, record: &Record) -> Result<Values, Error> {
    if record.value_encoding == 4 {
        return Ok(Values::Distances(read_distances(stream, record)?));
    }
    if record.value_encoding == 5 {
        return Ok(Values::Deltas(read_levels(stream, record.entry_count)?));
    }
    let expected = delta_bytes(record.value_encoding, record.entry_count);
    check(stream.left() as u128 >= expected, ErrorKind::Truncated, stream.end)?;
    let expected = usize::try_from(expected).expect("not more than is left");
    check(stream.left() == expected, ErrorKind::Trailing, stream.offset + expected)?;
    Ok(Values::Deltas(read_deltas(&mut stream, record.value_encoding, record.entry_count)?))
}

/// How many bytes so many deltas take in the value encodings 1, 2, 3 and 6.
pub(super) fn delta_bytes(value_encoding: u8, count: u64) -> u128 {
    let count = u128::from(count);
    match value_encoding {
        1 => 4 * count,
        2 | 6 => 2 * count,
        _ => 4 * count.div_ceil(256) + count,
    }
}

/// 6.9 and 6.10.
pub(super) fn read_deltas(stream: &mut Cursor<'_>, value_encoding: u8, count: u64) -> Result<Vec<f32>, Error> {
    let mut deltas = Vec::new();
    let mut scale = 0.0;
    for place in 0..count {
        if value_encoding == 3 && place % 256 == 0 {
            scale = stream.f32_that(|scale| scale >= 0.0 && (127.0 * scale).is_finite())?;
        }
        deltas.push(match value_encoding {
            1 => stream.f32()?,
            2 => stream.bf16()?,
            6 => stream.f16()?,
            _ => read_code(stream)? * scale,
        });
    }
    Ok(deltas)
}

fn read_code(stream: &mut Cursor<'_>) -> Result<f32, Error> {
    let at = stream.offset;
    let code = i8::from_le_bytes([stream.u8()?]);
    check(code != -128, ErrorKind::Number, at)?;
    Ok(f32::from(code))
}

/// 6.12.
fn read_levels(mut cursor: Cursor<'_>, count: u64) -> Result<Vec<f32>, Error> {
    let stream = cursor.offset;
    let Ok(&[first, last]) = cursor.bytes(2).map(|bytes| bytes.as_array::<2>().expect("two bytes")) else {
        return refuse(ErrorKind::Truncated, stream);
    };
    let (first, last) = (i32::from(first.cast_signed()), i32::from(last.cast_signed()));
    check(first != -128 && first <= last, ErrorKind::Code, stream)?;
    let level_count = usize::try_from(last - first + 1).expect("at least one");
    let Ok(table) = cursor.part(level_count.div_ceil(2) as u64) else { return refuse(ErrorKind::Truncated, stream) };
    let mut bits = Bits::new(table, stream);
    let lengths = bits.lengths(level_count)?;
    bits.fill_up()?;
    check(lengths[0] != 0 && lengths[level_count - 1] != 0, ErrorKind::Code, stream)?;
    let code = PrefixCode::new(&lengths, stream)?;
    let Ok(mut scales) = cursor.part(4 * count.div_ceil(256)) else { return refuse(ErrorKind::Truncated, stream) };
    let largest = first.abs().max(last.abs()) as f32;
    let blocks = u32::try_from(count.div_ceil(256)).expect("as many as there are bytes");
    let scales = scales.f32s_that(blocks, |scale| scale >= 0.0 && (largest * scale).is_finite())?;
    let mut bits = Bits::new(cursor, stream);
    let mut deltas = Vec::new();
    for place in 0..usize::try_from(count).expect("fits the address type") {
        let symbol = i32::try_from(code.symbol(&mut bits)?).expect("at most 255");
        deltas.push((first + symbol) as f32 * scales[place / 256]);
    }
    bits.end()?;
    Ok(deltas)
}

/// 6.11.
fn read_distances(mut cursor: Cursor<'_>, record: &Record) -> Result<Vec<i64>, Error> {
    let stream = cursor.offset;
    let Ok(&[form, first, last]) = cursor.bytes(3).map(|bytes| bytes.as_array::<3>().expect("three bytes")) else {
        return refuse(ErrorKind::Truncated, stream);
    };
    check(form < 8 && first <= last, ErrorKind::Code, stream)?;
    let table = Table { m: u32::from(form & 3), own_sign: form & 4 != 0, first: u32::from(first) };
    let width = if record.dtype == 1 { 32 } else { 16 };
    check(table.bits_of(u32::from(last)) <= width, ErrorKind::Code, stream)?;
    let bucket_count = usize::from(last - first) + 1;
    let symbol_count = bucket_count * table.symbols_per_bucket();
    check(symbol_count <= 256, ErrorKind::Code, stream)?;

    let mut bits = Bits::new(cursor, stream);
    let lengths = bits.lengths(symbol_count)?;
    bits.fill_up()?;
    let buckets: Vec<&[u8]> = lengths.chunks(table.symbols_per_bucket()).collect();
    let occurs = |place: usize| buckets[place].iter().any(|&length| length != 0);
    check(occurs(0) && occurs(bucket_count - 1), ErrorKind::Code, stream)?;
    for place in 0..bucket_count {
        let possible = table.can_arise(table.first + u32::try_from(place).expect("at most 255"));
        check(possible || !occurs(place), ErrorKind::Code, stream)?;
    }
    let code = PrefixCode::new(&lengths, stream)?;
    let distances = (0..record.entry_count).map(|_| table.read_distance(&code, &mut bits)).collect::<Result<_, _>>()?;
    bits.end()?;
    Ok(distances)
}

/// The head of a stream of distances, without the code.
struct Table {
    m: u32,
    own_sign: bool,
    /// First bucket.
    first: u32,
}

impl Table {
    fn symbols_per_bucket(&self) -> usize {
        if self.own_sign { 1 } else { 2 }
    }

    /// The `b` of a bucket's magnitudes.
    fn bits_of(&self, bucket: u32) -> u32 {
        bucket / (1 << self.m) + 1
    }

    /// Whether any magnitude lies in this bucket.
    fn can_arise(&self, bucket: u32) -> bool {
        let b = self.bits_of(bucket);
        let place = bucket - (b - 1) * (1 << self.m);
        b > self.m || place < 1 << (b - 1)
    }

    fn read_distance(&self, code: &PrefixCode, bits: &mut Bits<'_>) -> Result<i64, Error> {
        let symbol = code.symbol(bits)?;
        let bucket = self.first + u32::try_from(symbol / self.symbols_per_bucket()).expect("at most 256 symbols");
        let negative = if self.own_sign { bits.bit()? } else { symbol % 2 == 1 };
        let b = self.bits_of(bucket);
        let raw = (b - 1).saturating_sub(self.m);
        // The formula for the bucket, solved for floor(v / 2^raw).
        let leading = u64::from(bucket - (b - 1) * (1 << self.m)) + (1 << (b - 1 - raw));
        let magnitude = (leading << raw) + bits.field(raw)?;
        let magnitude = i64::try_from(magnitude).expect("b is at most 32");
        Ok(if negative { -magnitude } else { magnitude })
    }
}
