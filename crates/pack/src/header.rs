//! Magic, version, and the section table: which bytes of the file are what (`FORMAT.md`, 4).

use crate::checksum::checksum;
use crate::cursor::Cursor;
use crate::error::ErrorKind;
use crate::layout::{
    ALIGNMENT_BYTES, CHECKSUM_OFFSET, CONTENT_BYTES_OFFSET, HEADER_BYTES, HEADER_ZERO_OFFSET, Limits, MAGIC, MAJOR,
    MAJOR_OFFSET, SECTION_COUNT_OFFSET, SECTION_ENTRY_BYTES, section,
};
use crate::report::{Report, Wrong};
use crate::width::{length, wide};

/// A section whose checksum is right, and where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: usize,
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

/// How many kinds of sections this reader knows: `section::MANIFEST` to `section::PROBES`.
const SECTIONS: usize = 6;

/// What they are called in errors.
const NAMES: [&str; SECTIONS] = ["manifest", "tensors", "entries", "head", "preprocessing", "probes"];

impl<'a> Parts<'a> {
    /// Steps 1 to 15 of `FORMAT.md`, 13; if the entries are known, theirs is the one checksum that is not computed.
    pub(crate) fn read(bytes: &'a [u8], limits: &Limits, entries_known: bool, report: &Report) -> Result<Self, Wrong> {
        let header = Header::read(bytes, limits, report)?;
        let mut table = header.table(report);
        // All of the table is right, and the required sections are there, before any section is looked at.
        let mut listed = table;
        let mut is_there = [false; SECTIONS];
        while let Some(entry) = listed.next()? {
            if let Some(is_there) = is_there.get_mut(place(entry.kind)) {
                *is_there = true;
            }
        }
        listed.finish()?;
        let missing = |kind| report.error(ErrorKind::Missing, SECTION_COUNT_OFFSET, SUBJECT, u64::from(kind), 0);
        for (kind, is_there) in (section::MANIFEST..=section::ENTRIES).zip(is_there) {
            if !is_there {
                return Err(missing(kind));
            }
        }
        let mut found = [None; SECTIONS];
        while let Some(entry) = table.next()? {
            let known = entries_known && entry.kind == section::ENTRIES;
            let section = Section { bytes: entry.cut(bytes, known, report)?, offset: entry.offset };
            if let Some(slot) = found.get_mut(place(entry.kind)) {
                *slot = Some(section);
            }
        }
        let [manifest, tensors, entries, head, preprocessing, probes] = found;
        Ok(Self {
            version: header.version,
            content: header.content,
            after: header.after,
            manifest: manifest.ok_or_else(|| missing(section::MANIFEST))?,
            tensors: tensors.ok_or_else(|| missing(section::TENSORS))?,
            entries: entries.ok_or_else(|| missing(section::ENTRIES))?,
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
    fn read(bytes: &'a [u8], limits: &Limits, report: &Report) -> Result<Self, Wrong> {
        let error = |kind, offset, expected, found| Err(report.error(kind, offset, SUBJECT, expected, found));
        let file_bytes = wide(bytes.len());
        let mut file = Cursor::new(bytes, 0, SUBJECT, report);
        let mut cursor = file;
        let magic = cursor.u64()?;
        if magic != u64::from_le_bytes(MAGIC) {
            // Shown as it would be read in a hex editor.
            return error(ErrorKind::Magic, 0, u64::from_be_bytes(MAGIC), magic.swap_bytes());
        }
        file.take(wide(HEADER_BYTES))?;
        let version = (cursor.u16()?, cursor.u16()?);
        if version.0 != MAJOR {
            return error(ErrorKind::Version, MAJOR_OFFSET, u64::from(MAJOR), u64::from(version.0));
        }
        if file_bytes > limits.max_file_bytes {
            return error(ErrorKind::Limit, 0, limits.max_file_bytes, file_bytes);
        }
        let (section_count, content_bytes) = (cursor.u32()?, cursor.u64()?);
        if content_bytes < wide(HEADER_BYTES) || !content_bytes.is_multiple_of(ALIGNMENT_BYTES) {
            return error(ErrorKind::Layout, CONTENT_BYTES_OFFSET, wide(HEADER_BYTES), content_bytes);
        }
        let Some((content, after)) = bytes.split_at_checked(length(content_bytes)) else {
            return error(ErrorKind::Truncated, bytes.len(), content_bytes, file_bytes);
        };
        let table_bytes = u64::from(section_count).saturating_mul(wide(SECTION_ENTRY_BYTES));
        if table_bytes > content_bytes.saturating_sub(wide(HEADER_BYTES)) {
            return error(ErrorKind::Count, SECTION_COUNT_OFFSET, content_bytes, table_bytes);
        }
        if section_count > limits.max_sections {
            let (limit, found) = (u64::from(limits.max_sections), u64::from(section_count));
            return error(ErrorKind::Limit, SECTION_COUNT_OFFSET, limit, found);
        }
        let table = file.take(table_bytes)?;
        let header = Self { version, content, after, table, section_count };
        header.check_sum(cursor)?;
        Ok(header)
    }

    fn check_sum(&self, mut cursor: Cursor<'a, '_>) -> Result<(), Wrong> {
        let stored = cursor.u32()?;
        let before = self.content.get(..CHECKSUM_OFFSET).unwrap_or_default();
        let zero = self.content.get(HEADER_ZERO_OFFSET..HEADER_BYTES).unwrap_or_default();
        let found = checksum(&[before, zero, self.table]);
        if found != stored {
            return Err(cursor.error(ErrorKind::Checksum, 0, u64::from(stored), u64::from(found)));
        }
        cursor.zero(4)
    }

    const fn table<'r>(&self, report: &'r Report) -> Table<'a, 'r> {
        Table {
            cursor: Cursor::new(self.table, HEADER_BYTES, "section table", report),
            left: self.section_count,
            last_kind: None,
            next_offset: HEADER_BYTES.saturating_add(self.table.len()),
            content_bytes: self.content.len(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u32,
    checksum: u32,
    offset: usize,
    bytes: usize,
}

impl Entry {
    const fn end(self) -> usize {
        self.offset.saturating_add(self.bytes)
    }

    /// The section's bytes, its checksum, unless it is known, and the padding after it checked.
    fn cut<'a>(&self, file: &'a [u8], known: bool, report: &Report) -> Result<&'a [u8], Wrong> {
        let subject = NAMES.get(place(self.kind)).copied().unwrap_or("optional section");
        let mut cursor = Cursor::new(file, 0, subject, report);
        cursor.take(wide(self.offset))?;
        let section = cursor.take(wide(self.bytes))?;
        if !known {
            let found = checksum(&[section]);
            if found != self.checksum {
                let (expected, found) = (u64::from(self.checksum), u64::from(found));
                return Err(cursor.error(ErrorKind::Checksum, self.offset, expected, found));
            }
        }
        cursor.zero(wide(align(self.end()).saturating_sub(self.end())))?;
        Ok(section)
    }
}

/// The entries of the section table that are left; each is checked when its turn comes.
#[derive(Clone, Copy)]
struct Table<'a, 'r> {
    cursor: Cursor<'a, 'r>,
    left: u32,
    last_kind: Option<u32>,
    next_offset: usize,
    content_bytes: usize,
}

impl Table<'_, '_> {
    fn next(&mut self) -> Result<Option<Entry>, Wrong> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left = self.left.saturating_sub(1);
        let at = self.cursor.offset();
        let (kind, checksum) = (self.cursor.u32()?, self.cursor.u32()?);
        let (offset, bytes) = (self.cursor.u64()?, self.cursor.u64()?);
        if let Some(last) = self.last_kind.filter(|last| *last >= kind) {
            return Err(self.cursor.error(ErrorKind::Order, at, u64::from(last), u64::from(kind)));
        }
        if place(kind) >= SECTIONS && kind < section::OPTIONAL {
            return Err(self.cursor.error(ErrorKind::Section, at, 0, u64::from(kind)));
        }
        if offset != wide(self.next_offset) {
            return Err(self.cursor.error(ErrorKind::Layout, at.saturating_add(8), wide(self.next_offset), offset));
        }
        let room = wide(self.content_bytes.saturating_sub(self.next_offset));
        if bytes > room {
            return Err(self.cursor.error(ErrorKind::Layout, at.saturating_add(16), room, bytes));
        }
        let entry = Entry { kind, checksum, offset: self.next_offset, bytes: length(bytes) };
        self.last_kind = Some(kind);
        self.next_offset = align(entry.end());
        Ok(Some(entry))
    }

    fn finish(&self) -> Result<(), Wrong> {
        if self.next_offset == self.content_bytes {
            Ok(())
        } else {
            let (report, at) = (self.cursor.report(), CONTENT_BYTES_OFFSET);
            let (expected, found) = (wide(self.next_offset), wide(self.content_bytes));
            Err(report.error(ErrorKind::Layout, at, SUBJECT, expected, found))
        }
    }
}

/// Where a known kind of section stands among them; beyond them for all others.
fn place(kind: u32) -> usize {
    length(u64::from(kind.wrapping_sub(section::MANIFEST)))
}

/// The next multiple of eight.
pub(crate) const fn align(offset: usize) -> usize {
    offset.saturating_add(7) & !7
}
