//! Damage by accident: the CRC-32 of IEEE 802.3.
//!
//! It finds every burst of up to 32 bits, so every damaged byte; damage on purpose is the signature's business. There are
//! two ways to the same number: a fast one with 16 KiB of tables, and one with 64 bytes for devices where that is most of
//! the program.

/// The checksum of `parts`, one after the other.
#[cfg(feature = "fast-checksums")]
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The checksum of `parts`, one after the other.
#[cfg(not(feature = "fast-checksums"))]
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    small(parts)
}

/// Four bits at a time.
#[cfg(any(test, not(feature = "fast-checksums")))]
fn small(parts: &[&[u8]]) -> u32 {
    /// What each value of four bits leaves, shifted out: the polynomial 0xedb88320 on itself.
    #[rustfmt::skip]
    const LEFT: [u32; 16] = [
        0x0000_0000, 0x1db7_1064, 0x3b6e_20c8, 0x26d9_30ac, 0x76dc_4190, 0x6b6b_51f4, 0x4db2_6158, 0x5005_713c,
        0xedb8_8320, 0xf00f_9344, 0xd6d6_a3e8, 0xcb61_b38c, 0x9b64_c2b0, 0x86d3_d2d4, 0xa00a_e278, 0xbdbd_f21c,
    ];
    let left = |sum: u32| {
        // Below 16, so that there is one.
        let low = crate::width::length(u64::from(sum & 15));
        LEFT.get(low).copied().unwrap_or_default()
    };
    let mut sum = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        sum ^= u32::from(*byte);
        sum = (sum >> 4) ^ left(sum);
        sum = (sum >> 4) ^ left(sum);
    }
    !sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_the_check_value_of_the_catalog() {
        // The check value of CRC-32/ISO-HDLC in the catalog of parametrised CRC algorithms (Cook).
        assert_eq!(super::checksum(&[b"1234", b"56789"]), 0xcbf4_3926);
        assert_eq!(super::small(&[b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn both_ways_lead_to_the_same_number() {
        // 251 is prime, so that no period of a table hides a swapped entry.
        let bytes: [u8; 1000] = core::array::from_fn(|index| u8::try_from(index % 251).unwrap());
        // Miri takes a thousand times as long.
        for end in 0..if cfg!(miri) { 40 } else { bytes.len() } {
            let parts = [&bytes[..end / 3], &bytes[end / 3..end]];
            assert_eq!(super::small(&parts), super::checksum(&parts), "{end} bytes");
        }
    }
}
