//! Damage on purpose: signatures over the pack digest, after the content (`FORMAT.md`, 8).
//!
//! They are not verified here: this crate holds no keys and knows no cryptography but digests.

use crate::checksum::checksum;
use crate::cursor::{Checked, Cursor};
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::layout::{
    ED25519_SIGNATURE_BYTES, KEY_ID_BYTES, KEY_ID_SIZE_OFFSET, Limits, SIGNATURE_CHECKSUM_OFFSET, SIGNATURE_DOMAIN,
    SIGNATURE_HEADER_BYTES, SIGNATURE_MAGIC, SIGNATURE_SIZE_OFFSET,
};
use crate::report::{Report, Wrong};
use crate::width::wide;

/// A signature that nobody has verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature<'a> {
    /// Number of the algorithm in registry 11.10 of `FORMAT.md`.
    pub algorithm: u16,
    /// Which key: 16 bytes if the algorithm is [`ED25519`], see [`KeyId`](crate::KeyId).
    pub key_id: &'a [u8],
    /// What the key made of [`signed_message`]: 64 bytes if the algorithm is [`ED25519`].
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

/// The signatures of a pack, in ascending order of their key ids, none of which is there twice.
#[derive(Clone, Copy, Debug)]
pub struct Signatures<'a> {
    blocks: Checked<'a>,
    left: u32,
}

impl<'a> Signatures<'a> {
    /// Step 16 of `FORMAT.md`, 13: what follows the content, `content_bytes` into the file.
    pub(crate) fn read(after: &'a [u8], content_bytes: usize, limits: &Limits, report: &Report) -> Result<Self, Wrong> {
        let mut cursor = Cursor::new(after, content_bytes, SUBJECT, report);
        let blocks = cursor.again();
        let (mut count, mut last): (u32, &[u8]) = (0, &[]);
        while cursor.remaining() > 0 {
            let offset = cursor.offset();
            let signature = Signature::read(&mut cursor, limits)?;
            if signature.key_id <= last {
                let key_id = offset.saturating_add(SIGNATURE_HEADER_BYTES);
                return Err(cursor.error(ErrorKind::Order, key_id, 0, 0));
            }
            last = signature.key_id;
            count = count.saturating_add(1);
            if count > limits.max_signatures {
                let (limit, count) = (u64::from(limits.max_signatures), u64::from(count));
                return Err(cursor.error(ErrorKind::Limit, offset, limit, count));
            }
        }
        Ok(Self { blocks, left: count })
    }
}

impl<'a> Iterator for Signatures<'a> {
    type Item = Signature<'a>;

    fn next(&mut self) -> Option<Signature<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.blocks.next(|cursor| Signature::read(cursor, &Limits::UNLIMITED))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = crate::width::narrow(u64::from(self.left));
        (left, Some(left))
    }
}

impl ExactSizeIterator for Signatures<'_> {}

impl<'a> Signature<'a> {
    /// One block, with every check that needs no other.
    fn read(cursor: &mut Cursor<'a, '_>, limits: &Limits) -> Result<Self, Wrong> {
        let (block, offset) = (cursor.rest(), cursor.offset());
        let at = |place: usize| offset.saturating_add(place);
        if block.iter().zip(SIGNATURE_MAGIC).any(|(found, expected)| *found != expected) {
            return Err(cursor.error(ErrorKind::Magic, offset, u64::from_be_bytes(SIGNATURE_MAGIC), 0));
        }
        let mut fields = Cursor::new(cursor.take(wide(SIGNATURE_HEADER_BYTES))?, offset, SUBJECT, cursor.report());
        fields.take(wide(SIGNATURE_MAGIC.len()))?;
        let block_bytes = u64::from(fields.u32()?);
        let algorithm = fields.u16()?;
        let key_id_bytes = u64::from(fields.u16()?);
        let signature_bytes = u64::from(fields.u32()?);
        let stored = fields.u32()?;
        let expected = wide(SIGNATURE_HEADER_BYTES).saturating_add(key_id_bytes).saturating_add(signature_bytes);
        if !sizes_fit(algorithm, key_id_bytes, signature_bytes) || block_bytes != expected {
            return Err(cursor.error(ErrorKind::Count, at(SIGNATURE_SIZE_OFFSET), expected, block_bytes));
        }
        let key_id = cursor.take(key_id_bytes)?;
        let bytes = cursor.take(signature_bytes)?;
        let before = block.get(..SIGNATURE_CHECKSUM_OFFSET).unwrap_or_default();
        let found = checksum(&[before, key_id, bytes]);
        if found != stored {
            return Err(cursor.error(ErrorKind::Checksum, offset, u64::from(stored), u64::from(found)));
        }
        if key_id_bytes > limits.max_string_bytes {
            let limit = limits.max_string_bytes;
            return Err(cursor.error(ErrorKind::Limit, at(KEY_ID_SIZE_OFFSET), limit, key_id_bytes));
        }
        Ok(Self { algorithm, key_id, bytes })
    }

    /// The block as it stands in the file, if its sizes are those of its algorithm.
    #[cfg(feature = "write")]
    pub(crate) fn encode(&self) -> Option<alloc::vec::Vec<u8>> {
        let key_id_bytes = u16::try_from(self.key_id.len()).ok()?;
        let signature_bytes = u32::try_from(self.bytes.len()).ok()?;
        if !sizes_fit(self.algorithm, u64::from(key_id_bytes), u64::from(signature_bytes)) {
            return None;
        }
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

/// Whether an algorithm has key ids and signatures of these sizes; of one that is not known only that there are any.
const fn sizes_fit(algorithm: u16, key_id_bytes: u64, signature_bytes: u64) -> bool {
    match algorithm {
        ED25519 => key_id_bytes == wide(KEY_ID_BYTES) && signature_bytes == wide(ED25519_SIGNATURE_BYTES),
        _ => key_id_bytes > 0 && signature_bytes > 0,
    }
}
