//! CRC-32 of IEEE 802.3, one bit at a time.

/// The checksum of these pieces, as if they were one.
pub fn crc32(pieces: &[&[u8]]) -> u32 {
    let mut register = 0xFFFF_FFFF_u32;
    for byte in pieces.iter().copied().flatten() {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = register & 1;
            register >>= 1;
            if carry == 1 {
                register ^= 0xEDB8_8320;
            }
        }
    }
    register ^ 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn gives_the_check_value_of_the_catalogue() {
        // Catalogue of parametrised CRC algorithms (Greg Cook), entry CRC-32/ISO-HDLC.
        assert_eq!(crc32(&[b"123456789"]), 0xCBF4_3926);
        assert_eq!(crc32(&[b"1234", b"", b"56789"]), 0xCBF4_3926);
        assert_eq!(crc32(&[]), 0);
    }
}
