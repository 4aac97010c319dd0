//! The directory of a zip archive, as far as `torch.save` uses it: entries that are stored, not compressed.
//!
//! Offsets and sizes are those of PKWARE's APPNOTE 6.3.10. Nothing is decompressed, so there is no bomb; entries that overlap,
//! or reach outside what lies before the directory, are refused.

use std::collections::HashMap;
use std::ops::Range;

use taskvec_dataset::{Error, Result};

use crate::limits::Limits;
use crate::source::{Source, damaged};

const END_BYTES: u64 = 22;
const END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const END64_LOCATOR_BYTES: u64 = 20;
const END64_LOCATOR_MAGIC: [u8; 4] = *b"PK\x06\x07";
const END64_BYTES: u64 = 56;
const END64_MAGIC: [u8; 4] = *b"PK\x06\x06";
const CENTRAL_BYTES: usize = 46;
const CENTRAL_MAGIC: [u8; 4] = *b"PK\x01\x02";
const LOCAL_BYTES: u64 = 30;
const LOCAL_MAGIC: [u8; 4] = *b"PK\x03\x04";
/// The extra field with sizes and offsets of 64 bits, in place of those that are all ones.
const EXTRA_64: u16 = 1;
const COMMENT_BYTES_MAX: u64 = u16::MAX as u64;
const STORED: u16 = 0;
/// Flag of an encrypted entry.
const ENCRYPTED: u16 = 1;

/// Where each entry lies.
pub(super) struct Archive {
    entries: HashMap<String, Range<u64>>,
    /// The folder that all of it lies in, with its slash.
    root: String,
}

impl Archive {
    pub(super) fn read(source: &Source, limits: &Limits) -> Result<Archive> {
        let (directory_offset, directory_bytes) = find_directory(source)?;
        let directory = source.bytes("its directory", directory_offset, directory_bytes, limits.header_bytes_max)?;
        let mut entries = HashMap::new();
        let mut rest = directory.as_slice();
        while !rest.is_empty() {
            let (name, local, bytes);
            (name, local, bytes, rest) = central_entry(rest)?;
            let range = data_range(source, &name, local, bytes, directory_offset)?;
            if entries.insert(name.clone(), (local, range)).is_some() {
                return Err(damaged(format!("entry `{name}` is there twice")));
            }
        }
        refuse_overlap(&entries)?;
        let mut roots = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
        let root = roots.next().filter(|root| root.is_empty() || root.ends_with('/')).map(str::to_owned);
        let Some(root) = root else {
            return Err(Error::unsupported("as a zip archive: no entry `data.pkl`, so `torch.save` did not write it")
                .with_help("name a checkpoint that `torch.save` wrote"));
        };
        if roots.next().is_some() {
            return Err(damaged("as a zip archive: two entries `data.pkl`"));
        }
        Ok(Archive { entries: entries.into_iter().map(|(name, (_, range))| (name, range)).collect(), root })
    }

    /// The bytes of an entry, by its name within the folder of the archive.
    pub(super) fn entry(&self, name: &str) -> Result<Range<u64>> {
        let found = self.entries.get(&format!("{}{name}", self.root));
        found.cloned().ok_or_else(|| damaged(format!("entry `{name}` is named and not there")))
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Offset and length of the directory, from the record at the end of the file.
fn find_directory(source: &Source) -> Result<(u64, u64)> {
    let none = || damaged("as a zip archive: no end of the directory, the file was cut short");
    let size = source.size_bytes();
    let tail_bytes = size.min(END_BYTES + COMMENT_BYTES_MAX);
    let tail = source.bytes("its end", size - tail_bytes, tail_bytes, tail_bytes)?;
    let fits = |at: &usize| {
        let comment = u16_at(&tail, at + 20).map(usize::from);
        tail[*at..].starts_with(&END_MAGIC)
            && comment.is_some_and(|comment| at + END_BYTES as usize + comment == tail.len())
    };
    let last = tail.len().checked_sub(END_BYTES as usize).ok_or_else(none)?;
    let at = (0..=last).rev().find(fits).ok_or_else(none)?;
    let end = &tail[at..];
    let (bytes, offset) = u32_at(end, 12).zip(u32_at(end, 16)).ok_or_else(none)?;
    let end_offset = size - tail_bytes + at as u64;
    let (offset, bytes) = match end_offset.checked_sub(END64_LOCATOR_BYTES) {
        Some(locator) => end64(source, locator)?.unwrap_or((u64::from(offset), u64::from(bytes))),
        None => (u64::from(offset), u64::from(bytes)),
    };
    if offset.checked_add(bytes).is_none_or(|end| end > end_offset) {
        return Err(damaged(format!("its directory of {bytes} bytes at byte {offset} ends after byte {end_offset}")));
    }
    Ok((offset, bytes))
}

/// Offset and length of the directory by the record of 64 bits, if its locator is there.
fn end64(source: &Source, locator: u64) -> Result<Option<(u64, u64)>> {
    let locator = source.bytes("its locator", locator, END64_LOCATOR_BYTES, END64_LOCATOR_BYTES)?;
    let Some(record) = u64_at(&locator, 8).filter(|_| locator.starts_with(&END64_LOCATOR_MAGIC)) else {
        return Ok(None);
    };
    let record = source.bytes("its end record", record, END64_BYTES, END64_BYTES)?;
    if !record.starts_with(&END64_MAGIC) {
        return Err(damaged("as a zip archive: its end record of 64 bits is not where it is said to be"));
    }
    Ok(u64_at(&record, 48).zip(u64_at(&record, 40)))
}

/// Name, offset of the local header, bytes of the first entry of a directory; and the rest of the directory.
fn central_entry(directory: &[u8]) -> Result<(String, u64, u64, &[u8])> {
    let entry = || {
        let name_bytes = usize::from(u16_at(directory, 28)?);
        let extra_bytes = usize::from(u16_at(directory, 30)?);
        let comment_bytes = usize::from(u16_at(directory, 32)?);
        let name = directory.get(CENTRAL_BYTES..CENTRAL_BYTES + name_bytes)?;
        let extra = directory.get(CENTRAL_BYTES + name_bytes..)?.get(..extra_bytes)?;
        let rest = directory.get(CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes..)?;
        let sizes = [u32_at(directory, 24)?, u32_at(directory, 20)?, u32_at(directory, 42)?];
        let [bytes, packed_bytes, local] = wide(sizes, extra)?;
        let (flags, method) = (u16_at(directory, 8)?, u16_at(directory, 10)?);
        directory.starts_with(&CENTRAL_MAGIC).then_some((name, flags, method, bytes, packed_bytes, local, rest))
    };
    let Some((name, flags, method, bytes, packed_bytes, local, rest)) = entry() else {
        return Err(damaged("as a zip archive: its directory is cut short or no directory"));
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if method != STORED || flags & ENCRYPTED != 0 {
        return Err(Error::unsupported(format!(
            "entry `{name}` is compressed or encrypted (method {method}, flags {flags:#x})"
        ))
        .with_help("`torch.save` stores entries as they are: save the checkpoint again, or unpack and store it"));
    }
    if bytes != packed_bytes {
        return Err(damaged(format!("entry `{name}` is stored in {packed_bytes} bytes and has {bytes}")));
    }
    Ok((name, local, bytes, rest))
}

/// Sizes of an entry (unpacked, packed, offset), each from the extra field where 32 bits cannot say it.
fn wide(sizes: [u32; 3], mut extra: &[u8]) -> Option<[u64; 3]> {
    let mut wide = sizes.map(u64::from);
    if !sizes.contains(&u32::MAX) {
        return Some(wide);
    }
    while let Some((id, count)) = u16_at(extra, 0).zip(u16_at(extra, 2)) {
        let field = extra.get(4..4 + usize::from(count))?;
        if id == EXTRA_64 {
            let mut at = 0;
            for (size, wide) in sizes.iter().zip(&mut wide).filter(|(size, _)| **size == u32::MAX) {
                debug_assert_eq!(*size, u32::MAX);
                *wide = u64_at(field, at)?;
                at += 8;
            }
            return Some(wide);
        }
        extra = extra.get(4 + usize::from(count)..)?;
    }
    None
}

/// Where the bytes of an entry lie, by its local header; all of it before the directory.
fn data_range(source: &Source, name: &str, local: u64, bytes: u64, directory: u64) -> Result<Range<u64>> {
    let header = source.bytes(&format!("entry `{name}`"), local, LOCAL_BYTES, LOCAL_BYTES)?;
    let lengths = u16_at(&header, 26).zip(u16_at(&header, 28));
    let Some((name_bytes, extra_bytes)) = lengths.filter(|_| header.starts_with(&LOCAL_MAGIC)) else {
        return Err(damaged(format!("entry `{name}` does not begin at byte {local}")));
    };
    // Lies in the file: `local` is at least the header's length before its end.
    let start = local + LOCAL_BYTES + u64::from(name_bytes) + u64::from(extra_bytes);
    match start.checked_add(bytes).filter(|&end| end <= directory) {
        Some(end) => Ok(start..end),
        None => Err(damaged(format!("entry `{name}` of {bytes} bytes at byte {start} reaches into the directory"))),
    }
}

fn refuse_overlap(entries: &HashMap<String, (u64, Range<u64>)>) -> Result<()> {
    let mut sorted: Vec<_> = entries.iter().map(|(name, (local, range))| (*local, range.end, name)).collect();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(damaged(format!("entries `{}` and `{}` overlap", pair[0].2, pair[1].2))),
        None => Ok(()),
    }
}
