//! Magic, version, and the section table: which bytes of the file are what (`FORMAT.md`, 4).

use crate::checksum::checksum;
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind};
use crate::layout::{
    ALIGNMENT_BYTES, CHECKSUM_OFFSET, CONTENT_BYTES_OFFSET, HEADER_BYTES, HEADER_ZERO_OFFSET, Limits, MAGIC, MAJOR,
    MAJOR_OFFSET, SECTION_COUNT_OFFSET, SECTION_ENTRY_BYTES, section,
};
use crate::width::{length, wide};

/// A section whose checksum is right, and where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u64,
}

/// The parts of a file.
///
/// Having it tells you: magic and version are right; every section lies in the content, none overlap, nothing lies between
/// them but zeros; all checksums are right; the required sections are there and no unknown one is required.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) version: (u16, u16),
    /// What the pack digest covers.
    pub(crate) content: &'a [u8],
    /// What follows the content.
    pub(crate) after: &'a [u8],
    pub(crate) manifest: Section<'a>,
    pub(crate) tensors: Section<'a>,
    pub(crate) entries: Section<'a>,
    pub(crate) head: Option<Section<'a>>,
    pub(crate) preprocessing: Option<Section<'a>>,
    pub(crate) probes: Option<Section<'a>>,
}

const SUBJECT: &str = "header";

impl<'a> Parts<'a> {
    /// Steps 1 to 15 of `FORMAT.md`, 13; if the entries are known, theirs is the one checksum that is not computed.
    pub(crate) fn read(bytes: &'a [u8], limits: &Limits, entries_known: bool) -> Result<Self, Error> {
        let header = Header::read(bytes, limits)?;
        let table = header.table()?;
        for kind in [section::MANIFEST, section::TENSORS, section::ENTRIES] {
            if !table.clone().flatten().any(|entry| entry.kind == kind) {
                return Err(missing(kind));
            }
        }
        let mut found = [None; 6];
        for entry in table {
            let entry = entry?;
            let known = entries_known && entry.kind == section::ENTRIES;
            let section = Section { bytes: entry.cut(bytes, known)?, offset: entry.offset };
            let place = (section::MANIFEST..=section::PROBES).position(|kind| kind == entry.kind);
            if let Some(slot) = place.and_then(|place| found.get_mut(place)) {
                *slot = Some(section);
            }
        }
        let [manifest, tensors, entries, head, preprocessing, probes] = found;
        Ok(Self {
            version: header.version,
            content: header.content,
            after: header.after,
            manifest: manifest.ok_or(missing(section::MANIFEST))?,
            tensors: tensors.ok_or(missing(section::TENSORS))?,
            entries: entries.ok_or(missing(section::ENTRIES))?,
            head,
            preprocessing,
            probes,
        })
    }
}

struct Header<'a> {
    version: (u16, u16),
    content: &'a [u8],
    after: &'a [u8],
    table: &'a [u8],
    section_count: u32,
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let error = |kind, offset, expected, found| Err(Error::new(kind, offset, SUBJECT, expected, found));
        let file_bytes = wide(bytes.len());
        let mut file = Cursor::new(bytes, 0, SUBJECT);
        let mut cursor = file;
        let magic = cursor.u64()?;
        if magic != u64::from_le_bytes(MAGIC) {
            // Shown as it would be read in a hex editor.
            return error(ErrorKind::Magic, 0, u64::from_be_bytes(MAGIC), magic.swap_bytes());
        }
        file.take(wide(HEADER_BYTES))?;
        let version = (cursor.u16()?, cursor.u16()?);
        if version.0 != MAJOR {
            return error(ErrorKind::Version, wide(MAJOR_OFFSET), u64::from(MAJOR), u64::from(version.0));
        }
        if file_bytes > limits.max_file_bytes {
            return error(ErrorKind::Limit, 0, limits.max_file_bytes, file_bytes);
        }
        let (section_count, content_bytes) = (cursor.u32()?, cursor.u64()?);
        if content_bytes < wide(HEADER_BYTES) || !content_bytes.is_multiple_of(ALIGNMENT_BYTES) {
            return error(ErrorKind::Layout, wide(CONTENT_BYTES_OFFSET), wide(HEADER_BYTES), content_bytes);
        }
        let Some((content, after)) = bytes.split_at_checked(length(content_bytes)) else {
            return error(ErrorKind::Truncated, file_bytes, content_bytes, file_bytes);
        };
        let table_bytes = u64::from(section_count).saturating_mul(wide(SECTION_ENTRY_BYTES));
        if table_bytes > content_bytes.saturating_sub(wide(HEADER_BYTES)) {
            return error(ErrorKind::Count, wide(SECTION_COUNT_OFFSET), content_bytes, table_bytes);
        }
        if section_count > limits.max_sections {
            let (limit, found) = (u64::from(limits.max_sections), u64::from(section_count));
            return error(ErrorKind::Limit, wide(SECTION_COUNT_OFFSET), limit, found);
        }
        let table = file.take(table_bytes)?;
        let header = Self { version, content, after, table, section_count };
        header.check_sum(cursor)?;
        Ok(header)
    }

    fn check_sum(&self, mut cursor: Cursor<'a>) -> Result<(), Error> {
        let stored = cursor.u32()?;
        let before = self.content.get(..CHECKSUM_OFFSET).unwrap_or_default();
        let zero = self.content.get(HEADER_ZERO_OFFSET..HEADER_BYTES).unwrap_or_default();
        let found = checksum(&[before, zero, self.table]);
        if found != stored {
            return Err(Error::new(ErrorKind::Checksum, 0, SUBJECT, u64::from(stored), u64::from(found)));
        }
        cursor.zero(4)
    }

    /// The section table, once all of it is right and before any section is looked at.
    fn table(&self) -> Result<Table<'a>, Error> {
        let table = Table {
            cursor: Cursor::new(self.table, wide(HEADER_BYTES), "section table"),
            left: self.section_count,
            last_kind: None,
            next_offset: wide(HEADER_BYTES).saturating_add(wide(self.table.len())),
            content_bytes: wide(self.content.len()),
        };
        let mut checked = table.clone();
        checked.try_for_each(|entry| entry.map(|_| ()))?;
        checked.finish()?;
        Ok(table)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u32,
    checksum: u32,
    offset: u64,
    bytes: u64,
}

impl Entry {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }

    /// The section's bytes, its checksum, unless it is known, and the padding after it checked.
    fn cut<'a>(&self, file: &'a [u8], known: bool) -> Result<&'a [u8], Error> {
        let subject = name(self.kind);
        let mut cursor = Cursor::new(file, 0, subject);
        cursor.take(self.offset)?;
        let section = cursor.take(self.bytes)?;
        if !known {
            let found = checksum(&[section]);
            if found != self.checksum {
                let (expected, found) = (u64::from(self.checksum), u64::from(found));
                return Err(Error::new(ErrorKind::Checksum, self.offset, subject, expected, found));
            }
        }
        cursor.zero(align(self.end()).saturating_sub(self.end()))?;
        Ok(section)
    }
}

#[derive(Clone)]
struct Table<'a> {
    cursor: Cursor<'a>,
    left: u32,
    last_kind: Option<u32>,
    next_offset: u64,
    content_bytes: u64,
}

impl Table<'_> {
    fn read(&mut self) -> Result<Entry, Error> {
        let at = self.cursor.offset();
        let entry = Entry {
            kind: self.cursor.u32()?,
            checksum: self.cursor.u32()?,
            offset: self.cursor.u64()?,
            bytes: self.cursor.u64()?,
        };
        let kind = u64::from(entry.kind);
        if let Some(last) = self.last_kind.filter(|last| *last >= entry.kind) {
            return Err(self.cursor.error(ErrorKind::Order, at, u64::from(last), kind));
        }
        if !(section::MANIFEST..=section::PROBES).contains(&entry.kind) && entry.kind < section::OPTIONAL {
            return Err(self.cursor.error(ErrorKind::Section, at, 0, kind));
        }
        if entry.offset != self.next_offset {
            return Err(self.cursor.error(ErrorKind::Layout, at.saturating_add(8), self.next_offset, entry.offset));
        }
        let room = self.content_bytes.saturating_sub(entry.offset);
        if entry.bytes > room {
            return Err(self.cursor.error(ErrorKind::Layout, at.saturating_add(16), room, entry.bytes));
        }
        self.last_kind = Some(entry.kind);
        self.next_offset = align(entry.end());
        Ok(entry)
    }

    const fn finish(&self) -> Result<(), Error> {
        if self.next_offset == self.content_bytes {
            Ok(())
        } else {
            let at = wide(CONTENT_BYTES_OFFSET);
            Err(Error::new(ErrorKind::Layout, at, SUBJECT, self.next_offset, self.content_bytes))
        }
    }
}

impl Iterator for Table<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Result<Entry, Error>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

const fn missing(kind: u32) -> Error {
    Error::new(ErrorKind::Missing, wide(SECTION_COUNT_OFFSET), SUBJECT, crate::width::wide_u32(kind), 0)
}

/// The next multiple of eight.
pub(crate) const fn align(offset: u64) -> u64 {
    offset.saturating_add(7) & !7
}

/// The name of a kind of section.
const fn name(kind: u32) -> &'static str {
    match kind {
        section::MANIFEST => "manifest",
        section::TENSORS => "tensors",
        section::ENTRIES => "entries",
        section::HEAD => "head",
        section::PREPROCESSING => "preprocessing",
        section::PROBES => "probes",
        _ => "optional section",
    }
}
