//! The signature blocks: step 16 of `FORMAT.md` section 13.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check};
use crate::contents::Signature;
use crate::crc32::crc32;
use crate::hex::hex;
use crate::limits::Limits;

/// Reads the blocks behind the content, which `blocks` stands at the end of.
pub(super) fn read(mut blocks: Cursor<'_>, file: &[u8], limits: &Limits) -> Result<Vec<Signature>, Error> {
    let mut signatures: Vec<Signature> = Vec::new();
    let mut key_id_before: &[u8] = &[];
    while blocks.offset < file.len() {
        let start = blocks.offset;
        let there = &file[start..];
        let magic = [0x89, b'T', b'V', b'S', 0x0D, 0x0A, 0x1A, 0x0A];
        let magic_there = there.len().min(8);
        check(there[..magic_there] == magic[..magic_there], ErrorKind::Magic, start)?;
        check(there.len() >= 24, ErrorKind::Truncated, file.len())?;
        blocks.bytes(8)?;
        let block_bytes = u64::from(blocks.u32()?);
        let algorithm = blocks.u16()?;
        let key_id_bytes = u64::from(blocks.u16()?);
        let signature_bytes = u64::from(blocks.u32()?);
        let checksum = blocks.u32()?;
        let not_empty = key_id_bytes != 0 && signature_bytes != 0;
        let as_the_algorithm_says = algorithm != 1 || (key_id_bytes == 16 && signature_bytes == 64);
        let counts_agree = not_empty && as_the_algorithm_says && block_bytes == 24 + key_id_bytes + signature_bytes;
        check(counts_agree, ErrorKind::Count, start + 8)?;
        let key_id = blocks.bytes(key_id_bytes)?;
        let signature = blocks.bytes(signature_bytes)?;
        let block = &file[start..blocks.offset];
        check(checksum == crc32(&[&block[..20], &block[24..]]), ErrorKind::Checksum, start)?;
        check(key_id_bytes <= limits.max_string_bytes, ErrorKind::Limit, start + 14)?;
        check(key_id > key_id_before, ErrorKind::Order, start + 24)?;
        key_id_before = key_id;
        signatures.push(Signature { algorithm, key_id: hex(key_id), signature: hex(signature) });
        check(signatures.len() as u64 <= limits.max_signatures, ErrorKind::Limit, start)?;
    }
    Ok(signatures)
}
