//! The file around the entries: header, section table, and the sections, each at a multiple of eight.

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::borrow::Borrow;

use super::Record;
use super::error::WriteError;
use crate::checksum::checksum;
use crate::header::align;
use crate::layout::{CHECKSUM_OFFSET, HEADER_BYTES, Limits, MAGIC, MAJOR, MINOR, SECTION_ENTRY_BYTES};
use crate::read::Pack;
use crate::width::{length, low_u32, wide};

/// All of a file but the entries, which are large: they are put in when there is a place for them.
pub(super) struct Outline {
    start: Vec<u8>,
    /// The section of entries is none.
    sections: Vec<Option<Vec<u8>>>,
    size_bytes: u64,
}

impl Outline {
    /// Of sections with these kinds, in order; the one without bytes is that of the entries, which are `entries`, one after the
    /// other.
    pub(super) fn new(sections: Vec<(u32, Option<Vec<u8>>)>, entries: &[&[u8]]) -> Self {
        let table_bytes = sections.len().saturating_mul(SECTION_ENTRY_BYTES);
        let start = wide(HEADER_BYTES.saturating_add(table_bytes));
        let entries_bytes = entries.iter().fold(0_u64, |sum, stream| sum.saturating_add(wide(stream.len())));
        let (mut table, mut end) = (Vec::new(), start);
        for (kind, bytes) in &sections {
            let (sum, size_bytes) = match bytes {
                Some(bytes) => (checksum(&[bytes]), wide(bytes.len())),
                None => (checksum(entries), entries_bytes),
            };
            table.extend(kind.to_le_bytes());
            table.extend(sum.to_le_bytes());
            table.extend(end.to_le_bytes());
            table.extend(size_bytes.to_le_bytes());
            end = end.saturating_add(wide(align(length(size_bytes))));
        }
        let mut file = MAGIC.to_vec();
        file.extend(MAJOR.to_le_bytes());
        file.extend(MINOR.to_le_bytes());
        file.extend(low_u32(wide(sections.len())).to_le_bytes());
        file.extend(end.to_le_bytes());
        debug_assert_eq!(file.len(), CHECKSUM_OFFSET);
        let zero = [0; 4];
        file.extend(checksum(&[&file, &zero, &table]).to_le_bytes());
        file.extend(zero);
        file.extend(table);
        let sections = sections.into_iter().map(|(_, bytes)| bytes).collect();
        Self { start: file, sections, size_bytes: end }
    }

    /// The file, with the entries of these records. Records that are handed over, and not lent, are let go one by one.
    pub(super) fn file(self, mut records: impl Iterator<Item = impl Borrow<Record>>) -> Result<Vec<u8>, WriteError> {
        let mut file = Vec::with_capacity(length(self.size_bytes));
        file.extend(self.start);
        for section in self.sections {
            match section {
                Some(bytes) => file.extend(bytes),
                None => records.by_ref().for_each(|record| {
                    record.borrow().streams().into_iter().for_each(|stream| file.extend_from_slice(stream));
                }),
            }
            file.resize(align(file.len()), 0);
        }
        // The last word on what a reader takes is the reader's.
        match Pack::read(&file, &Limits::DEFAULT) {
            Ok(_) => Ok(file),
            Err(error) => Err(WriteError::new("pack", error.to_string())),
        }
    }
}
