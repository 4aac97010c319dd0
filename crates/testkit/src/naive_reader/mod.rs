//! Reads a pack in the slowest, plainest way, straight from `FORMAT.md`.
//!
//! Every check of section 13 is made in the order of its table, one field after the other, and everything is copied into
//! owned values. It was written from the specification without a look at `taskvec-pack`, and stays that way: what the two
//! disagree on is a fault of one of them or of the specification. Nothing here is ever made fast.

mod bits;
mod cursor;
mod error;
mod head;
mod indices;
mod manifest;
mod preprocessing;
mod probes;
mod signature;
mod tensors;
mod values;

use sha2::{Digest, Sha256};

use self::cursor::Cursor;
pub use self::error::{Error, ErrorKind};
use self::error::{check, refuse};
use crate::contents::Contents;
use crate::crc32::crc32;
use crate::hex::hex;
use crate::limits::Limits;

/// Reads a whole pack.
///
/// # Errors
///
/// The first check of `FORMAT.md` section 13 that fails.
pub fn read(file: &[u8], limits: &Limits) -> Result<Contents, Error> {
    let header = read_header(file, limits)?;
    let sections = read_section_table(file, &header)?;
    for section in &sections {
        check_section(file, section)?;
    }
    let signatures = signature::read(Cursor::new(file, header.content_bytes, file.len()), file, limits)?;
    let find = |kind| sections.iter().find(|section| section.kind == kind);
    let part = |kind| find(kind).map(|section| Cursor::new(file, section.offset, section.offset + section.bytes));
    let [Some(manifest), Some(tensors), Some(entries)] = [1, 2, 3].map(part) else {
        return refuse(ErrorKind::Missing, 12);
    };
    let manifest = manifest::read(manifest, limits)?;
    let tensors = tensors::read(tensors, entries, limits)?;
    let head = part(4).map(|part| head::read(part, limits)).transpose()?;
    let preprocessing = part(5).map(preprocessing::read).transpose()?;
    let probes = part(6).map(|part| probes::read(part, head.as_ref(), preprocessing.as_ref(), limits)).transpose()?;
    let digest = hex(&Sha256::digest(&file[..header.content_bytes]));
    let (major, minor) = (header.major, header.minor);
    Ok(Contents { major, minor, digest, manifest, tensors, head, preprocessing, probes, signatures })
}

struct Header {
    major: u16,
    minor: u16,
    section_count: usize,
    content_bytes: usize,
}

/// An entry of the section table.
struct Section {
    kind: u32,
    checksum: u32,
    offset: usize,
    bytes: usize,
}

/// Steps 1 to 11.
fn read_header(file: &[u8], limits: &Limits) -> Result<Header, Error> {
    let length = file.len();
    check(length >= 8, ErrorKind::Truncated, length)?;
    check(file[..8] == [0x89, b'T', b'V', b'P', 0x0D, 0x0A, 0x1A, 0x0A], ErrorKind::Magic, 0)?;
    check(length >= 32, ErrorKind::Truncated, length)?;
    let mut fields = Cursor::new(file, 8, 32);
    let major = fields.u16()?;
    let minor = fields.u16()?;
    let section_count = u64::from(fields.u32()?);
    let content_bytes = fields.u64()?;
    let checksum = fields.u32()?;
    check(major == 1, ErrorKind::Version, 8)?;
    check(length as u64 <= limits.max_file_bytes, ErrorKind::Limit, 0)?;
    check(content_bytes >= 32 && content_bytes % 8 == 0, ErrorKind::Layout, 16)?;
    check(content_bytes <= length as u64, ErrorKind::Truncated, length)?;
    check(32 + 24 * section_count <= content_bytes, ErrorKind::Count, 12)?;
    check(section_count <= limits.max_sections, ErrorKind::Limit, 12)?;
    let (section_count, content_bytes) = (in_memory(section_count), in_memory(content_bytes));
    check(checksum == crc32(&[&file[..24], &file[28..32 + 24 * section_count]]), ErrorKind::Checksum, 0)?;
    fields.zeros(4)?;
    Ok(Header { major, minor, section_count, content_bytes })
}

/// Steps 12 to 14.
fn read_section_table(file: &[u8], header: &Header) -> Result<Vec<Section>, Error> {
    let mut sections: Vec<Section> = Vec::new();
    let mut next_offset = 32 + 24 * header.section_count;
    for entry in 0..header.section_count {
        let at = 32 + 24 * entry;
        let mut fields = Cursor::new(file, at, at + 24);
        let kind = fields.u32()?;
        let checksum = fields.u32()?;
        let offset = fields.u64()?;
        let bytes = fields.u64()?;
        check(sections.last().is_none_or(|before| before.kind < kind), ErrorKind::Order, at)?;
        check(matches!(kind, 1..=6 | 0x8000_0000..), ErrorKind::Section, at)?;
        check(offset == next_offset as u64, ErrorKind::Layout, at + 8)?;
        let section_end = (u128::from(offset) + u128::from(bytes)).next_multiple_of(8);
        check(section_end <= header.content_bytes as u128, ErrorKind::Layout, at + 16)?;
        sections.push(Section { kind, checksum, offset: next_offset, bytes: in_memory(bytes) });
        next_offset = usize::try_from(section_end).expect("the content lies in memory");
    }
    check(next_offset == header.content_bytes, ErrorKind::Layout, 16)?;
    let has = |kind| sections.iter().any(|section| section.kind == kind);
    check(has(1) && has(2) && has(3), ErrorKind::Missing, 12)?;
    Ok(sections)
}

/// Step 15.
fn check_section(file: &[u8], section: &Section) -> Result<(), Error> {
    let end = section.offset + section.bytes;
    check(section.checksum == crc32(&[&file[section.offset..end]]), ErrorKind::Checksum, section.offset)?;
    for (offset, &byte) in file.iter().enumerate().take(end.next_multiple_of(8)).skip(end) {
        check(byte == 0, ErrorKind::Padding, offset)?;
    }
    Ok(())
}

/// A count of bytes that were found to be in the file.
fn in_memory(count: u64) -> usize {
    usize::try_from(count).expect("the file lies in memory")
}
