//! The signature block: step 16 of `FORMAT.md` section 13.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check};
use crate::contents::Signature;
use crate::crc32::crc32;
use crate::hex::hex;
use crate::limits::Limits;

/// Reads the block, if the file goes on behind the content.
pub(super) fn read(mut block: Cursor<'_>, file: &[u8], limits: &Limits) -> Result<Option<Signature>, Error> {
    let start = block.offset;
    let there = &file[start..];
    if there.is_empty() {
        return Ok(None);
    }
    let magic = [0x89, b'T', b'V', b'S', 0x0D, 0x0A, 0x1A, 0x0A];
    let magic_there = there.len().min(8);
    check(there[..magic_there] == magic[..magic_there], ErrorKind::Magic, start)?;
    check(there.len() >= 24, ErrorKind::Truncated, file.len())?;
    block.bytes(8)?;
    let block_bytes = u64::from(block.u32()?);
    let algorithm = block.u16()?;
    let key_id_bytes = u64::from(block.u16()?);
    let signature_bytes = u64::from(block.u32()?);
    let checksum = block.u32()?;
    let counts_agree = key_id_bytes != 0 && signature_bytes != 0 && block_bytes == 24 + key_id_bytes + signature_bytes;
    check(counts_agree, ErrorKind::Count, start + 8)?;
    let key_id = block.bytes(key_id_bytes)?;
    let signature = block.bytes(signature_bytes)?;
    block.end()?;
    check(checksum == crc32(&[&there[..20], &there[24..]]), ErrorKind::Checksum, start)?;
    check(key_id_bytes <= limits.max_string_bytes, ErrorKind::Limit, start + 14)?;
    Ok(Some(Signature { algorithm, key_id: hex(key_id), signature: hex(signature) }))
}
