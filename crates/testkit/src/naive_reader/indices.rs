//! Index streams: `FORMAT.md` 6.3 to 6.7, and the first half of step 19 of section 13.

use super::bits::{Bits, PrefixCode};
use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check, refuse};
use super::tensors::Record;

/// Reads all indices of a tensor.
pub(super) fn read(stream: Cursor<'_>, record: &Record) -> Result<Vec<u64>, Error> {
    let at = stream.offset;
    let indices = match record.index_encoding {
        1 => read_rice_coded(stream, at, record.entry_count, record.element_count)?,
        2 => read_granule_mask(stream, record)?,
        3 => read_bitmap(stream, record.element_count)?,
        4 => read_dense(&stream, record)?,
        _ => read_counted_bitmap(stream, record.element_count)?,
    };
    check(indices.len() as u64 == record.entry_count, ErrorKind::Count, at)?;
    Ok(indices)
}

/// 6.3: `count` ascending numbers below `bound`, from the cursor to its end.
fn read_rice_coded(cursor: Cursor<'_>, stream: usize, count: u64, bound: u64) -> Result<Vec<u64>, Error> {
    let mut bits = Bits::new(cursor, stream);
    let mut numbers: Vec<u64> = Vec::new();
    let mut k = 0;
    for place in 0..count {
        if place % 256 == 0 {
            k = u32::try_from(bits.field(5)?).expect("five bits");
        }
        let quotient = u128::from(bits.unary()?);
        let remainder = u128::from(bits.field(k)?);
        let gap = (quotient << k) + remainder;
        let number = numbers.last().map_or(gap, |&before| u128::from(before) + 1 + gap);
        match u64::try_from(number) {
            Ok(number) if number < bound => numbers.push(number),
            _ => return refuse(ErrorKind::Index, stream),
        }
    }
    bits.end()?;
    Ok(numbers)
}

/// 6.4.
fn read_granule_mask(mut cursor: Cursor<'_>, record: &Record) -> Result<Vec<u64>, Error> {
    let stream = cursor.offset;
    let granule_elements = read_stream_varint(&mut cursor, stream)?;
    check((2..=record.element_count).contains(&granule_elements), ErrorKind::Count, stream)?;
    let granule_count = read_stream_varint(&mut cursor, stream)?;
    check(granule_count >= 1, ErrorKind::Count, stream)?;
    let bound = record.element_count.div_ceil(granule_elements);
    let granules = read_rice_coded(cursor, stream, granule_count, bound)?;
    let elements = |granule: u64| {
        let start = granule * granule_elements;
        start..record.element_count.min(start.saturating_add(granule_elements))
    };
    // Counted before they are written out: a few bits can stand for very many elements.
    let total: u128 = granules.iter().map(|&granule| elements(granule)).map(|e| u128::from(e.end - e.start)).sum();
    check(total == u128::from(record.entry_count), ErrorKind::Count, stream)?;
    Ok(granules.into_iter().flat_map(elements).collect())
}

/// A `varint` of the stream; its faults are told at the stream's first byte, too.
fn read_stream_varint(cursor: &mut Cursor<'_>, stream: usize) -> Result<u64, Error> {
    cursor.varint().or_else(|error| refuse(error.kind, stream))
}

/// 6.5.
fn read_bitmap(cursor: Cursor<'_>, element_count: u64) -> Result<Vec<u64>, Error> {
    let stream = cursor.offset;
    let mut bits = Bits::new(cursor, stream);
    let mut indices = Vec::new();
    for index in 0..element_count {
        if bits.bit()? {
            indices.push(index);
        }
    }
    bits.end()?;
    Ok(indices)
}

/// 6.6.
fn read_dense(cursor: &Cursor<'_>, record: &Record) -> Result<Vec<u64>, Error> {
    check(record.entry_count == record.element_count, ErrorKind::Count, cursor.offset)?;
    cursor.end()?;
    Ok((0..record.element_count).collect())
}

/// 6.7.
fn read_counted_bitmap(cursor: Cursor<'_>, element_count: u64) -> Result<Vec<u64>, Error> {
    let stream = cursor.offset;
    let mut bits = Bits::new(cursor, stream);
    let code = PrefixCode::new(&bits.lengths(9)?, stream)?;
    let mut indices = Vec::new();
    for byte_index in 0..element_count.div_ceil(8) {
        let ones = code.symbol(&mut bits)?;
        let alike: Vec<u8> = (0..=255_u8).filter(|byte| byte.count_ones() as usize == ones).collect();
        let byte = alike[read_truncated_binary(&mut bits, alike.len())?];
        for place in (0..8).filter(|place| byte >> place & 1 == 1) {
            let index = 8 * byte_index + place;
            check(index < element_count, ErrorKind::Padding, stream)?;
            indices.push(index);
        }
    }
    bits.end()?;
    Ok(indices)
}

/// A number below `count`.
fn read_truncated_binary(bits: &mut Bits<'_>, count: usize) -> Result<usize, Error> {
    let b = count.ilog2();
    let u = (1 << (b + 1)) - count;
    let x = usize::try_from(bits.field(b)?).expect("at most six bits");
    if x < u {
        return Ok(x);
    }
    let y = usize::from(bits.bit()?);
    Ok(2 * x + y - u)
}
