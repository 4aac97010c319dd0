//! Damage on purpose: room for a signature over the pack digest, after the content (`FORMAT.md`, 8).
//!
//! It is not verified here: this crate holds no keys and knows no cryptography but digests.

use crate::checksum::checksum;
use crate::cursor::Cursor;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::layout::{
    KEY_ID_SIZE_OFFSET, Limits, SIGNATURE_CHECKSUM_OFFSET, SIGNATURE_DOMAIN, SIGNATURE_HEADER_BYTES, SIGNATURE_MAGIC,
    SIGNATURE_SIZE_OFFSET,
};
use crate::width::wide;

/// A signature that nobody has verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature<'a> {
    /// Number of the algorithm in registry 11.10 of `FORMAT.md`.
    pub algorithm: u16,
    /// Which key.
    pub key_id: &'a [u8],
    /// What the key made of [`signed_message`].
    pub bytes: &'a [u8],
}

/// Number of Ed25519 (RFC 8032) in registry 11.10 of `FORMAT.md`.
pub const ED25519: u16 = 1;

/// What is signed: a domain tag, and the pack digest.
#[must_use]
pub fn signed_message(digest: &Digest) -> [u8; 48] {
    let mut message = [0; 48];
    let (domain, rest) = message.split_at_mut(SIGNATURE_DOMAIN.len());
    domain.copy_from_slice(&SIGNATURE_DOMAIN);
    rest.copy_from_slice(&digest.0);
    message
}

const SUBJECT: &str = "signature block";

impl<'a> Signature<'a> {
    /// Step 16 of `FORMAT.md`, 13: what follows the content, `content_bytes` into the file.
    pub(crate) fn read(after: &'a [u8], content_bytes: u64, limits: &Limits) -> Result<Option<Self>, Error> {
        if after.is_empty() {
            return Ok(None);
        }
        if after.iter().zip(SIGNATURE_MAGIC).any(|(found, expected)| *found != expected) {
            return Err(Error::new(ErrorKind::Magic, content_bytes, SUBJECT, u64::from_be_bytes(SIGNATURE_MAGIC), 0));
        }
        let at = |offset: usize| content_bytes.saturating_add(wide(offset));
        let mut cursor = Cursor::new(after, content_bytes, SUBJECT);
        let mut fields = Cursor::new(cursor.take(wide(SIGNATURE_HEADER_BYTES))?, content_bytes, SUBJECT);
        fields.take(wide(SIGNATURE_MAGIC.len()))?;
        let block_bytes = u64::from(fields.u32()?);
        let algorithm = fields.u16()?;
        let key_id_bytes = u64::from(fields.u16()?);
        let signature_bytes = u64::from(fields.u32()?);
        let stored = fields.u32()?;
        let expected = wide(SIGNATURE_HEADER_BYTES).saturating_add(key_id_bytes).saturating_add(signature_bytes);
        if key_id_bytes == 0 || signature_bytes == 0 || block_bytes != expected {
            return Err(cursor.error(ErrorKind::Count, at(SIGNATURE_SIZE_OFFSET), expected, block_bytes));
        }
        let key_id = cursor.take(key_id_bytes)?;
        let bytes = cursor.take(signature_bytes)?;
        cursor.finish()?;
        let before = after.get(..SIGNATURE_CHECKSUM_OFFSET).unwrap_or_default();
        let found = checksum(&[before, key_id, bytes]);
        if found != stored {
            return Err(cursor.error(ErrorKind::Checksum, content_bytes, u64::from(stored), u64::from(found)));
        }
        if key_id_bytes > limits.max_string_bytes {
            let limit = limits.max_string_bytes;
            return Err(cursor.error(ErrorKind::Limit, at(KEY_ID_SIZE_OFFSET), limit, key_id_bytes));
        }
        Ok(Some(Self { algorithm, key_id, bytes }))
    }

    /// The block as it stands in the file.
    #[cfg(feature = "write")]
    pub(crate) fn encode(&self) -> Option<alloc::vec::Vec<u8>> {
        let key_id_bytes = u16::try_from(self.key_id.len()).ok().filter(|count| *count > 0)?;
        let signature_bytes = u32::try_from(self.bytes.len()).ok().filter(|count| *count > 0)?;
        let block_bytes = SIGNATURE_HEADER_BYTES.checked_add(self.key_id.len())?.checked_add(self.bytes.len())?;
        let mut block = SIGNATURE_MAGIC.to_vec();
        block.extend(u32::try_from(block_bytes).ok()?.to_le_bytes());
        block.extend(self.algorithm.to_le_bytes());
        block.extend(key_id_bytes.to_le_bytes());
        block.extend(signature_bytes.to_le_bytes());
        let checksum = checksum(&[&block, self.key_id, self.bytes]);
        block.extend(checksum.to_le_bytes());
        block.extend(self.key_id);
        block.extend(self.bytes);
        Some(block)
    }
}
