//! Damage by accident: the CRC-32 of IEEE 802.3.
//!
//! It finds every burst of up to 32 bits, so every damaged byte; damage on purpose is the signature's business.

/// The checksum of `parts`, one after the other.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_the_check_value_of_the_catalog() {
        // The check value of CRC-32/ISO-HDLC in the catalog of parametrised CRC algorithms (Cook).
        assert_eq!(super::checksum(&[b"1234", b"56789"]), 0xcbf4_3926);
    }
}
