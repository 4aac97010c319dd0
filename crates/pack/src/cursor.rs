//! Bounds-checked little-endian reads; the only place that cuts foreign bytes into fields.

use crate::error::{Error, ErrorKind};
use crate::width::{length, wide};

/// A position in a stretch of the file that knows where the stretch lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: u64,
    subject: &'static str,
}

impl<'a> Cursor<'a> {
    /// Reads `bytes`, whose first one lies at `offset` in the file; `subject` names the stretch in errors.
    pub(crate) const fn new(bytes: &'a [u8], offset: u64, subject: &'static str) -> Self {
        Self { rest: bytes, offset, subject }
    }

    /// Where the next byte lies in the file.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes are left.
    pub(crate) const fn remaining(&self) -> u64 {
        wide(self.rest.len())
    }

    /// What is left, where it is looked at before it is taken.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An error about the field that starts at `offset`.
    pub(crate) const fn error(&self, kind: ErrorKind, offset: u64, expected: u64, found: u64) -> Error {
        Error::new(kind, offset, self.subject, expected, found)
    }

    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(length(count)) else {
            let end = self.offset.saturating_add(self.remaining());
            return Err(self.error(ErrorKind::Truncated, end, count, self.remaining()));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(wide(taken.len()));
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(wide(N))?);
        Ok(array)
    }

    pub(crate) fn bytes32(&mut self) -> Result<[u8; 32], Error> {
        self.array()
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

    /// A finite number for which `allowed` holds.
    pub(crate) fn f32(&mut self, allowed: impl FnOnce(f32) -> bool) -> Result<f32, Error> {
        let offset = self.offset;
        let number = f32::from_le_bytes(self.array()?);
        if number.is_finite() && allowed(number) {
            Ok(number)
        } else {
            Err(self.error(ErrorKind::Number, offset, 0, u64::from(number.to_bits())))
        }
    }

    /// `count` finite numbers, for each of which `allowed` holds, as the bytes that hold them.
    pub(crate) fn f32s(&mut self, count: u64, allowed: impl Fn(f32) -> bool) -> Result<&'a [[u8; 4]], Error> {
        let numbers = self.rest;
        for _ in 0..count {
            self.f32(&allowed)?;
        }
        let read = numbers.len().saturating_sub(self.rest.len());
        Ok(numbers.get(..read).unwrap_or_default().as_chunks().0)
    }

    /// Bytes that must be zero.
    pub(crate) fn zero(&mut self, count: u64) -> Result<(), Error> {
        let offset = self.offset;
        let taken = self.take(count)?;
        match taken.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(position) => {
                let found = taken.get(position).copied().unwrap_or_default();
                Err(self.error(ErrorKind::Padding, offset.saturating_add(wide(position)), 0, u64::from(found)))
            }
        }
    }

    /// A number of 1 to 10 bytes, in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        let offset = self.offset;
        let mut number = 0_u64;
        for shift in (0_u32..64).step_by(7) {
            let byte = self.u8()?;
            let group = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit; a last byte of zero adds nothing.
            if (shift == 63 && group > 1) || (shift > 0 && byte == 0) {
                return Err(self.error(ErrorKind::Varint, offset, 0, group));
            }
            number |= group.wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.error(ErrorKind::Varint, offset, 10, 11))
    }

    /// A varint and as many bytes of text; `max_bytes` limits it.
    pub(crate) fn text(&mut self, max_bytes: u64, may_be_empty: bool) -> Result<&'a str, Error> {
        let length_offset = self.offset;
        let count = self.varint()?;
        if count > self.remaining() {
            self.take(count)?;
        }
        if count > max_bytes {
            return Err(self.error(ErrorKind::Limit, length_offset, max_bytes, count));
        }
        let offset = self.offset;
        let taken = self.take(count)?;
        match core::str::from_utf8(taken) {
            Ok(text) if is_text(text, may_be_empty) => Ok(text),
            _ => Err(self.error(ErrorKind::Text, offset, 0, 0)),
        }
    }

    /// Nothing may be left.
    pub(crate) const fn finish(&self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error(ErrorKind::Trailing, self.offset, 0, self.remaining()))
        }
    }
}

/// Whether a string is a text of the format.
pub(crate) fn is_text(text: &str, may_be_empty: bool) -> bool {
    (may_be_empty || !text.is_empty()) && !text.chars().any(char::is_control)
}

/// Appends a varint.
#[cfg(feature = "write")]
pub(crate) fn encode_varint(mut number: u64, out: &mut alloc::vec::Vec<u8>) {
    while number >= 0x80 {
        out.push(crate::width::low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(crate::width::low_byte(number));
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use super::{Cursor, encode_varint};
    use crate::error::ErrorKind;

    #[test]
    fn varints_come_back() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = alloc::vec::Vec::new();
            encode_varint(number, &mut bytes);
            let mut cursor = Cursor::new(&bytes, 0, "test");
            assert_eq!(cursor.varint(), Ok(number));
            assert_eq!(cursor.finish(), Ok(()));
        }
    }

    #[test]
    fn rejects_varints_that_are_too_long() {
        struct Case {
            bytes: &'static [u8],
            kind: ErrorKind,
        }
        let cases = [
            Case { bytes: &[0x80, 0x00], kind: ErrorKind::Varint },
            Case { bytes: &[0xff, 0x80, 0x00], kind: ErrorKind::Varint },
            Case { bytes: &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], kind: ErrorKind::Varint },
            Case { bytes: &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81], kind: ErrorKind::Varint },
            Case { bytes: &[0x80], kind: ErrorKind::Truncated },
        ];
        for Case { bytes, kind } in cases {
            let error = Cursor::new(bytes, 7, "test").varint().unwrap_err();
            assert_eq!(error.kind, kind, "{bytes:x?}");
            assert_eq!(error.offset, if kind == ErrorKind::Varint { 7 } else { 8 });
        }
    }

    #[test]
    fn control_characters_are_no_text() {
        for text in ["a\nb", "\u{7f}", "\u{85}", ""] {
            assert!(!super::is_text(text, false), "{text:?}");
        }
        assert!(super::is_text("blocks.0 \u{ac00}", false));
        assert!(super::is_text("", true));
    }
}
