//! Bounds-checked little-endian reads; the only place that cuts foreign bytes into fields.

use taskvec_pack::Digest;

use crate::error::Error;

/// What is left of some bytes.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    /// What the bytes are, for messages.
    subject: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rest: &'a [u8], subject: &'static str) -> Self {
        Self { rest, subject }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], Error> {
        let split = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let Some((taken, rest)) = split else {
            let found = self.rest.len();
            return Err(Error::damaged(format!("{} ends after {found} bytes, expected {count} more", self.subject)));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        // What was taken has N bytes.
        Ok(self.take(N as u64)?.first_chunk().copied().unwrap_or([0; N]))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, Error> {
        self.array().map(Digest)
    }

    /// A number of 1 to 10 bytes, in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        let mut number = 0_u64;
        for shift in (0_u32..64).step_by(7) {
            let byte = self.u8()?;
            let group = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit; a last byte of zero adds nothing.
            if (shift == 63 && group > 1) || (shift > 0 && byte == 0) {
                break;
            }
            number |= group << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::damaged(format!("{} holds a number that is not in its shortest form", self.subject)))
    }

    /// A varint and as many bytes of text without control characters, not empty.
    pub(crate) fn text(&mut self, max_bytes: u64) -> Result<&'a str, Error> {
        let count = self.varint()?;
        if count > max_bytes && count <= self.rest.len() as u64 {
            return Err(Error::limit("the size in bytes of a name is", count, max_bytes));
        }
        match std::str::from_utf8(self.take(count)?) {
            Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => Ok(text),
            _ => Err(Error::damaged(format!("{} holds a name that is no text", self.subject))),
        }
    }
}

/// Appends a varint.
#[cfg(feature = "write")]
pub(crate) fn encode_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_in_their_shortest_form_only() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            encode_varint(number, &mut bytes);
            let mut cursor = Cursor::new(&bytes, "the test");
            assert_eq!(cursor.varint().unwrap(), number);
            assert!(cursor.is_empty());
        }
        for bytes in [&[0x80, 0][..], &[0xff; 10], &[0x80], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert!(Cursor::new(bytes, "the test").varint().is_err(), "{bytes:x?}");
        }
    }
}
