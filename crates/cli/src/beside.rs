//! What other tools make of the same bytes, for numbers that stand beside ours.

use std::io::Write as _;

/// Bytes of what `zstd -19` writes.
pub(crate) fn zstd_alone(bytes: &[u8]) -> anyhow::Result<u64> {
    Ok(zstd::encode_all(bytes, 19)?.len() as u64)
}

/// Bytes of what `zstd -19 --patch-from=BEFORE AFTER` writes: what was before as a prefix, in a window that covers both.
pub(crate) fn zstd_patch(before: &[u8], after: &[u8]) -> anyhow::Result<u64> {
    let mut encoder = zstd::stream::Encoder::with_ref_prefix(Vec::new(), 19, before)?;
    encoder.window_log(24)?;
    encoder.long_distance_matching(true)?;
    encoder.write_all(after)?;
    Ok(encoder.finish()?.len() as u64)
}
