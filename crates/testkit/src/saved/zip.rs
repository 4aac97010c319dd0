//! Zip archives with stored entries (PKWARE's APPNOTE), each of which may lie about itself.

use crate::crc32;

/// An entry, and what the directory says of it.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bytes in the file.
    pub bytes: &'a [u8],
    /// 0 for stored, 8 for deflated.
    pub method: u16,
    /// The size that the directory claims.
    pub claimed_bytes: u64,
    /// Where the directory says that its local header lies; none for where it does.
    pub claimed_offset: Option<u64>,
}

impl<'a> Entry<'a> {
    /// One that tells the truth.
    #[must_use]
    pub fn new(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes, method: 0, claimed_bytes: bytes.len() as u64, claimed_offset: None }
    }
}

/// An archive of these names and bytes.
#[must_use]
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_of(&entries.iter().map(|(name, bytes)| Entry::new(name, bytes)).collect::<Vec<_>>())
}

/// An archive of entries. Sizes and offsets above 32 bits go to extra fields, as they must.
#[must_use]
pub fn zip_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let local = file.len() as u64;
        file.extend(b"PK\x03\x04");
        // Version, flags, method, time, date.
        [20, 0, entry.method, 0, 0].iter().for_each(|field: &u16| file.extend(field.to_le_bytes()));
        file.extend(crc32(&[entry.bytes]).to_le_bytes());
        file.extend((entry.bytes.len() as u32).to_le_bytes());
        file.extend((entry.bytes.len() as u32).to_le_bytes());
        file.extend((entry.name.len() as u16).to_le_bytes());
        file.extend(0u16.to_le_bytes());
        file.extend(entry.name.as_bytes());
        file.extend(entry.bytes);
        central(&mut directory, entry, entry.claimed_offset.unwrap_or(local));
    }
    let offset = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06");
    [0, 0, entries.len() as u16, entries.len() as u16].iter().for_each(|field: &u16| file.extend(field.to_le_bytes()));
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(offset.to_le_bytes());
    file.extend(0u16.to_le_bytes());
    file
}

fn central(directory: &mut Vec<u8>, entry: &Entry<'_>, local: u64) {
    let (mut extra, narrow) = (Vec::new(), |value: u64| u32::try_from(value).unwrap_or(u32::MAX));
    for value in [entry.claimed_bytes, entry.claimed_bytes, local] {
        if narrow(value) == u32::MAX {
            extra.extend(value.to_le_bytes());
        }
    }
    if !extra.is_empty() {
        extra.splice(0..0, [1, 0, extra.len() as u8, 0]);
    }
    directory.extend(b"PK\x01\x02");
    [20, 20, 0, entry.method, 0, 0].iter().for_each(|field: &u16| directory.extend(field.to_le_bytes()));
    directory.extend(crc32(&[entry.bytes]).to_le_bytes());
    directory.extend(narrow(entry.claimed_bytes).to_le_bytes());
    directory.extend(narrow(entry.claimed_bytes).to_le_bytes());
    [entry.name.len() as u16, extra.len() as u16, 0, 0, 0]
        .iter()
        .for_each(|field| directory.extend(field.to_le_bytes()));
    directory.extend(0u32.to_le_bytes());
    directory.extend(narrow(local).to_le_bytes());
    directory.extend(entry.name.as_bytes());
    directory.extend(&extra);
}
