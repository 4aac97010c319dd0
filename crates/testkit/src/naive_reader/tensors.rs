//! Tensors and entries: steps 18 and 19 of `FORMAT.md` section 13.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check};
use super::{indices, values};
use crate::contents::{LossyError, Tensor, Values};
use crate::limits::Limits;

/// Reads sections 2 and 3.
pub(super) fn read(mut section: Cursor<'_>, mut entries: Cursor<'_>, limits: &Limits) -> Result<Vec<Tensor>, Error> {
    let records = read_records(&mut section, entries.left() as u64, limits)?;
    let mut tensors = Vec::new();
    for record in records {
        let indices = indices::read(entries.part(record.index_bytes)?, &record)?;
        let values = values::read(entries.part(record.value_bytes)?, &record)?;
        tensors.push(record.with_entries(indices, values));
    }
    entries.end()?;
    Ok(tensors)
}

/// A tensor before its entries are read.
pub(super) struct Record {
    name: String,
    pub(super) dtype: u8,
    shape: Vec<u64>,
    pub(super) element_count: u64,
    pub(super) index_encoding: u8,
    pub(super) value_encoding: u8,
    pub(super) entry_count: u64,
    index_bytes: u64,
    value_bytes: u64,
    error: Option<LossyError>,
}

impl Record {
    fn with_entries(self, indices: Vec<u64>, values: Values) -> Tensor {
        Tensor {
            name: self.name,
            dtype: self.dtype,
            shape: self.shape,
            index_encoding: self.index_encoding,
            value_encoding: self.value_encoding,
            index_bytes: self.index_bytes,
            value_bytes: self.value_bytes,
            error: self.error,
            indices,
            values,
        }
    }
}

fn read_records(section: &mut Cursor<'_>, entries_bytes: u64, limits: &Limits) -> Result<Vec<Record>, Error> {
    let count_at = section.offset;
    let tensor_count = section.varint()?;
    check(tensor_count <= section.left() as u64 / 8, ErrorKind::Count, count_at)?;
    check(tensor_count <= limits.max_tensors, ErrorKind::Limit, count_at)?;
    let mut records: Vec<Record> = Vec::new();
    let mut total = Totals { entries_bytes, entries: 0, stream_bytes: 0 };
    for _ in 0..tensor_count {
        let name_before = records.last().map(|before| before.name.clone());
        records.push(read_record(section, name_before, &mut total, limits)?);
    }
    section.end()?;
    Ok(records)
}

/// What counts over all records.
struct Totals {
    /// Size of the entries section.
    entries_bytes: u64,
    /// Entries of the records so far.
    entries: u64,
    /// Bytes of the streams so far.
    stream_bytes: u64,
}

fn read_record(
    section: &mut Cursor<'_>,
    name_before: Option<String>,
    total: &mut Totals,
    limits: &Limits,
) -> Result<Record, Error> {
    let mut length = section.clone();
    length.varint()?;
    let name_at = length.offset;
    let name = section.text(limits.max_string_bytes, false)?;
    check(name_before.is_none_or(|before| before < name), ErrorKind::Order, name_at)?;
    let dtype = read_registered(section, 1..=3)?;
    let (shape, element_count) = read_shape(section, limits)?;
    let index_encoding = read_registered(section, 1..=5)?;
    let value_encoding = read_registered(section, 1..=6)?;

    let entry_count_at = section.offset;
    let entry_count = section.varint()?;
    check((1..=element_count).contains(&entry_count), ErrorKind::Count, entry_count_at)?;
    check(entry_count <= 8 * total.entries_bytes, ErrorKind::Count, entry_count_at)?;
    total.entries += entry_count;
    check(total.entries <= limits.max_entries, ErrorKind::Limit, entry_count_at)?;

    let index_bytes = read_stream_bytes(section, total)?;
    let value_bytes = read_stream_bytes(section, total)?;
    let lossy = matches!(value_encoding, 2 | 3 | 5 | 6);
    let error = if lossy { Some(read_lossy_error(section)?) } else { None };
    Ok(Record {
        name,
        dtype,
        shape,
        element_count,
        index_encoding,
        value_encoding,
        entry_count,
        index_bytes,
        value_bytes,
        error,
    })
}

fn read_registered(section: &mut Cursor<'_>, known: std::ops::RangeInclusive<u8>) -> Result<u8, Error> {
    let at = section.offset;
    let number = section.u8()?;
    check(known.contains(&number), ErrorKind::Encoding, at)?;
    Ok(number)
}

fn read_shape(section: &mut Cursor<'_>, limits: &Limits) -> Result<(Vec<u64>, u64), Error> {
    let rank_at = section.offset;
    let rank = section.u8()?;
    check(rank <= 8, ErrorKind::Count, rank_at)?;
    let mut shape = Vec::new();
    let mut element_count = 1_u64;
    for _ in 0..rank {
        let at = section.offset;
        let dimension = section.varint()?;
        let product = u128::from(element_count) * u128::from(dimension);
        check(dimension != 0 && product < 1 << 63, ErrorKind::Number, at)?;
        element_count *= dimension;
        shape.push(dimension);
    }
    let addressable = usize::try_from(element_count).is_ok();
    check(addressable && element_count <= limits.max_elements_per_tensor, ErrorKind::Limit, rank_at)?;
    Ok((shape, element_count))
}

fn read_stream_bytes(section: &mut Cursor<'_>, total: &mut Totals) -> Result<u64, Error> {
    let at = section.offset;
    let bytes = section.varint()?;
    check(bytes <= total.entries_bytes - total.stream_bytes, ErrorKind::Count, at)?;
    total.stream_bytes += bytes;
    Ok(bytes)
}

fn read_lossy_error(section: &mut Cursor<'_>) -> Result<LossyError, Error> {
    let max = section.f32_that(|max| max >= 0.0)?;
    let rms = section.f32_that(|rms| (0.0..=max).contains(&rms))?;
    Ok(LossyError { max, rms })
}
