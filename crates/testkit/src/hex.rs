//! Bytes as hexadecimal digits, which is how digests and keys are compared and printed here.

use std::fmt::Write as _;

/// Two lower-case digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn keeps_leading_zeros() {
        assert_eq!(hex(&[0, 0x0A, 0xFF]), "000aff");
    }
}
