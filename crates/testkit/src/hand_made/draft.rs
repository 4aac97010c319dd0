//! The bytes of a pack, cut into named pieces whose lengths may still change.

use std::collections::BTreeMap;

use super::made::{Extent, Made};
use super::pieces::{self, Piece};
use crate::contents::Contents;

/// A pack in pieces. The names are those of the fields in `FORMAT.md`: `manifest.alpha`, `tensors.0.rank`,
/// `entries.0.index`, `head.labels.1`, `probes.tolerances.0.engine`, `signatures.0.key_id`.
#[derive(Clone, Debug)]
pub struct Draft {
    major: u16,
    minor: u16,
    sections: Vec<(u32, Vec<Piece>)>,
    /// The signature blocks, without their magics, sizes and checksums.
    signatures: Vec<(u16, Vec<u8>, Vec<u8>)>,
}

impl Draft {
    pub(super) fn new(contents: &Contents, streams: &[[Vec<u8>; 2]]) -> Self {
        let mut sections = vec![
            (1, pieces::manifest(&contents.manifest)),
            (2, pieces::tensors(&contents.tensors)),
            (3, pieces::entries(streams)),
        ];
        sections.extend(contents.head.as_ref().map(|head| (4, pieces::head(head))));
        sections.extend(contents.preprocessing.as_ref().map(|image| (5, pieces::preprocessing(image))));
        sections.extend(contents.probes.as_ref().map(|probes| (6, pieces::probes(probes))));
        let signatures = contents
            .signatures
            .iter()
            .map(|block| (block.algorithm, pieces::from_hex(&block.key_id), pieces::from_hex(&block.signature)));
        Self { major: contents.major, minor: contents.minor, sections, signatures: signatures.collect() }
    }

    /// A file that is in order, in as many pieces as it has sections: `section 1`, `section 2` and so on.
    ///
    /// # Panics
    ///
    /// If the file is not in order.
    pub fn of(file: &[u8]) -> Self {
        Self::found_in(file).expect("the file is laid out as a pack")
    }

    /// As [`Draft::of`], of any bytes: nothing unless the sections that they name and their signature blocks lie in them.
    pub fn found_in(file: &[u8]) -> Option<Self> {
        let number = |offset: usize, byte_count: usize| {
            let bytes = file.get(offset..offset.checked_add(byte_count)?)?.iter().rev();
            Some(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
        };
        let place = |offset: usize, byte_count: usize| usize::try_from(number(offset, byte_count)?).ok();
        let section = |entry: usize| {
            let entry = 32 + 24 * entry;
            let (kind, offset) = (u32::try_from(number(entry, 4)?).ok()?, place(entry + 8, 8)?);
            let bytes = file.get(offset..offset.checked_add(place(entry + 16, 8)?)?)?;
            Some((kind, vec![Piece::new(format!("section {kind}"), bytes)]))
        };
        let count = place(12, 4).filter(|count| *count <= file.len() / 24)?;
        let (mut signatures, mut block) = (Vec::new(), place(16, 8)?);
        while block < file.len() {
            let end = block.checked_add(place(block.checked_add(8)?, 4)?)?;
            let (key_id, signature) = file.get(block + 24..end)?.split_at_checked(place(block + 14, 2)?)?;
            signatures.push((u16::try_from(number(block + 12, 2)?).ok()?, key_id.to_vec(), signature.to_vec()));
            block = end;
        }
        Some(Self {
            major: 1,
            minor: u16::try_from(number(10, 2)?).ok()?,
            sections: (0..count).map(section).collect::<Option<_>>()?,
            signatures,
        })
    }

    /// Changes the bytes of one of the pieces; the last one, if there are not as many.
    pub fn change(&mut self, place: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let count = self.sections.iter().map(|section| section.1.len()).sum::<usize>();
        let mut pieces = self.sections.iter_mut().flat_map(|section| &mut section.1);
        if let Some(piece) = pieces.nth(place.min(count.saturating_sub(1))) {
            change(&mut piece.bytes);
        }
    }

    /// Puts other bytes in the place of a piece.
    ///
    /// # Panics
    ///
    /// If there is no piece of this name.
    pub fn replace(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let mut pieces = self.sections.iter_mut().flat_map(|section| &mut section.1);
        let piece = pieces.find(|piece| piece.name == name).unwrap_or_else(|| panic!("no piece `{name}`"));
        piece.bytes = bytes.into();
        self
    }

    /// Adds a section behind those that are there, whatever its kind; the piece is named `extra`.
    pub fn add_section(mut self, kind: u32, bytes: &[u8]) -> Self {
        self.sections.push((kind, vec![Piece::new("extra".to_owned(), bytes)]));
        self
    }

    /// Leaves a section out.
    pub fn remove_section(mut self, kind: u32) -> Self {
        self.sections.retain(|section| section.0 != kind);
        self
    }

    /// Adds a piece `extra` to the end of a section.
    pub fn lengthen(mut self, kind: u32, bytes: &[u8]) -> Self {
        self.section(kind).push(Piece::new("extra".to_owned(), bytes));
        self
    }

    /// Cuts bytes off the end of a section.
    ///
    /// # Panics
    ///
    /// If the section has fewer bytes.
    pub fn shorten(mut self, kind: u32, byte_count: usize) -> Self {
        let pieces = self.section(kind);
        for _ in 0..byte_count {
            while pieces.last().is_some_and(|piece| piece.bytes.is_empty()) {
                pieces.pop();
            }
            pieces.last_mut().expect("the section has so many bytes").bytes.pop();
        }
        self
    }

    /// Lays the pieces out as a file, with all sizes, offsets and checksums.
    pub fn build(&self) -> Made {
        let table_end = 32 + 24 * self.sections.len();
        let mut made =
            Made { bytes: vec![0; table_end], content_bytes: 0, marks: BTreeMap::new(), extents: Vec::new() };
        for (name, offset) in
            [("header.magic", 0), ("header.major", 8), ("header.minor", 10), ("header.section_count", 12)]
        {
            made.mark(name, offset);
        }
        for (name, offset) in [("header.content_bytes", 16), ("header.checksum", 24), ("header.zero", 28)] {
            made.mark(name, offset);
        }
        for (place, (kind, pieces)) in self.sections.iter().enumerate() {
            made.lay_section(place, *kind, pieces);
        }
        made.content_bytes = made.bytes.len();
        made.put(0, &[0x89, b'T', b'V', b'P', 0x0D, 0x0A, 0x1A, 0x0A]);
        made.put(8, &self.major.to_le_bytes());
        made.put(10, &self.minor.to_le_bytes());
        made.put(12, &super::count(self.sections.len()).to_le_bytes());
        made.put(16, &(made.content_bytes as u64).to_le_bytes());
        for (place, (algorithm, key_id, signature)) in self.signatures.iter().enumerate() {
            made.lay_signature(place, *algorithm, key_id, signature);
        }
        made.fix_checksums();
        made
    }

    fn section(&mut self, kind: u32) -> &mut Vec<Piece> {
        let section = self.sections.iter_mut().find(|section| section.0 == kind);
        &mut section.unwrap_or_else(|| panic!("no section {kind}")).1
    }
}

impl Made {
    fn lay_section(&mut self, place: usize, kind: u32, pieces: &[Piece]) {
        let start = self.bytes.len();
        self.mark(&format!("section {kind}"), start);
        for piece in pieces {
            self.mark(&piece.name, self.bytes.len());
            self.bytes.extend(&piece.bytes);
        }
        let end = self.bytes.len();
        self.mark(&format!("section {kind}.end"), end);
        self.bytes.resize(end.next_multiple_of(8), 0);
        let entry = 32 + 24 * place;
        for (name, offset) in [("kind", 0), ("checksum", 4), ("offset", 8), ("bytes", 16)] {
            self.mark(&format!("table.{place}.{name}"), entry + offset);
        }
        self.put(entry, &kind.to_le_bytes());
        self.put(entry + 8, &(start as u64).to_le_bytes());
        self.put(entry + 16, &((end - start) as u64).to_le_bytes());
        self.extents.push(Extent { checksum: entry + 4, start, end });
    }

    fn lay_signature(&mut self, place: usize, algorithm: u16, key_id: &[u8], signature: &[u8]) {
        let start = self.bytes.len();
        let names = ["magic", "block_bytes", "algorithm", "key_id_bytes", "signature_bytes", "checksum", "key_id"];
        for (name, offset) in names.into_iter().zip([0, 8, 12, 14, 16, 20, 24]) {
            self.mark(&format!("signatures.{place}.{name}"), start + offset);
        }
        self.bytes.extend([0x89, b'T', b'V', b'S', 0x0D, 0x0A, 0x1A, 0x0A]);
        self.bytes.extend(super::count(24 + key_id.len() + signature.len()).to_le_bytes());
        self.bytes.extend(algorithm.to_le_bytes());
        self.bytes.extend(u16::try_from(key_id.len()).expect("hand-made packs are small").to_le_bytes());
        self.bytes.extend(super::count(signature.len()).to_le_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(key_id);
        self.mark(&format!("signatures.{place}.signature"), self.bytes.len());
        self.bytes.extend(signature);
        self.mark(&format!("signatures.{place}.end"), self.bytes.len());
    }
}
