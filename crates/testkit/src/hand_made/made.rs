//! The finished file, in which each piece is found by its name.

use std::collections::BTreeMap;

use crate::crc32::crc32;

/// A file made by hand.
#[derive(Clone, Debug)]
pub struct Made {
    /// The file.
    pub bytes: Vec<u8>,
    /// Where the content ended when the file was laid out.
    pub content_bytes: usize,
    pub(super) marks: BTreeMap<String, usize>,
    pub(super) extents: Vec<Extent>,
}

/// Where a section lies, and where its checksum.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) checksum: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Made {
    /// Overwrites bytes from the start of a piece on. The checksums stay as they are.
    pub fn overwrite(&mut self, name: &str, bytes: &[u8]) {
        let start = self.place(name);
        self.put(start, bytes);
    }

    /// Makes all checksums right again: sections, header, signature blocks.
    pub fn fix_checksums(&mut self) {
        for Extent { checksum, start, end } in self.extents.clone() {
            let sum = crc32(&[&self.bytes[start..end]]);
            self.put(checksum, &sum.to_le_bytes());
        }
        // The header's checksum ends where the count that stands in the file says, even if a test has damaged it.
        let count = u32::from_le_bytes([12, 13, 14, 15].map(|place| self.bytes[place]));
        if let Some(table) = self.bytes.get(28..32 + 24 * count as usize) {
            let sum = crc32(&[&self.bytes[..24], table]);
            self.put(24, &sum.to_le_bytes());
        }
        for (start, end) in self.signatures().collect::<Vec<_>>() {
            let block = &self.bytes[start..end];
            let sum = crc32(&[&block[..20], &block[24..]]);
            self.put(start + 20, &sum.to_le_bytes());
        }
    }

    /// Where a piece starts, counted from the start of the file.
    ///
    /// # Panics
    ///
    /// If there is no piece of this name.
    pub fn offset(&self, name: &str) -> u64 {
        self.place(name) as u64
    }

    /// Where each section lies: its first byte and the first byte behind it.
    pub fn sections(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.extents.iter().map(|extent| extent.start..extent.end)
    }

    /// Where each signature block lies that the file still has.
    fn signatures(&self) -> impl Iterator<Item = (usize, usize)> {
        let mark = |place: usize, name: &str| self.marks.get(&format!("signatures.{place}.{name}")).copied();
        let blocks = (0..).map_while(move |place| Some((mark(place, "magic")?, mark(place, "end")?)));
        blocks.filter(|(_, end)| *end <= self.bytes.len())
    }

    pub(super) fn mark(&mut self, name: &str, place: usize) {
        self.marks.insert(name.to_owned(), place);
    }

    pub(super) fn put(&mut self, place: usize, bytes: &[u8]) {
        self.bytes[place..place + bytes.len()].copy_from_slice(bytes);
    }

    fn place(&self, name: &str) -> usize {
        *self.marks.get(name).unwrap_or_else(|| panic!("no piece `{name}`"))
    }
}
