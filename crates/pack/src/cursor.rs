//! Bounds-checked little-endian reads; the only place that cuts foreign bytes into fields.

use crate::error::ErrorKind;
use crate::report::{Report, Wrong};
use crate::width::{length, wide};

/// A position in a stretch of the file that knows where the stretch lies, and where errors are written down.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a, 'r> {
    rest: &'a [u8],
    offset: usize,
    subject: &'static str,
    report: &'r Report,
}

/// Bytes that were read without an error, to be read again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked<'a>(&'a [u8]);

impl<'a> Checked<'a> {
    /// What `read` makes of the next bytes.
    pub(crate) fn next<T>(&mut self, read: impl FnOnce(&mut Cursor<'a, '_>) -> Result<T, Wrong>) -> Option<T> {
        let report = Report::blank();
        let mut cursor = self.cursor(&report);
        let item = read(&mut cursor).ok()?;
        self.0 = cursor.rest;
        Some(item)
    }

    /// Reads them where an error is written down all the same.
    pub(crate) const fn cursor<'r>(&self, report: &'r Report) -> Cursor<'a, 'r> {
        Cursor::new(self.0, 0, "", report)
    }
}

impl<'a, 'r> Cursor<'a, 'r> {
    /// Reads `bytes`, whose first one lies at `offset` in the file; `subject` names the stretch in errors.
    pub(crate) const fn new(bytes: &'a [u8], offset: usize, subject: &'static str, report: &'r Report) -> Self {
        Self { rest: bytes, offset, subject, report }
    }

    /// Where the next byte lies in the file.
    pub(crate) const fn offset(&self) -> usize {
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

    /// What is left, to be read again once it was read without an error.
    pub(crate) const fn again(&self) -> Checked<'a> {
        Checked(self.rest)
    }

    /// Where errors are written down.
    pub(crate) const fn report(&self) -> &'r Report {
        self.report
    }

    /// An error about the field that starts at `offset`.
    pub(crate) fn error(&self, kind: ErrorKind, offset: usize, expected: u64, found: u64) -> Wrong {
        self.report.error(kind, offset, self.subject, expected, found)
    }

    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], Wrong> {
        let Some((taken, rest)) = self.rest.split_at_checked(length(count)) else {
            let end = self.offset.saturating_add(self.rest.len());
            return Err(self.error(ErrorKind::Truncated, end, count, self.remaining()));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(taken.len());
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        // What was taken has N bytes.
        Ok(self.take(wide(N))?.first_chunk().copied().unwrap_or([0; N]))
    }

    pub(crate) fn bytes32(&mut self) -> Result<[u8; 32], Wrong> {
        self.array()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Wrong> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Wrong> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Wrong> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Wrong> {
        self.array().map(u64::from_le_bytes)
    }

    /// A finite number between two finite ones, or one of them.
    pub(crate) fn f32(&mut self, low: f32, high: f32) -> Result<f32, Wrong> {
        let offset = self.offset;
        let number = f32::from_le_bytes(self.array()?);
        if number.is_finite() && (low..=high).contains(&number) {
            Ok(number)
        } else {
            Err(self.error(ErrorKind::Number, offset, 0, u64::from(number.to_bits())))
        }
    }

    /// `count` finite numbers of at least `low`, as the bytes that hold them.
    pub(crate) fn f32s(&mut self, count: u64, low: f32) -> Result<&'a [[u8; 4]], Wrong> {
        let numbers = self.rest;
        for _ in 0..count {
            self.f32(low, f32::MAX)?;
        }
        let read = numbers.len().saturating_sub(self.rest.len());
        Ok(numbers.get(..read).unwrap_or_default().as_chunks().0)
    }

    /// Bytes that must be zero.
    pub(crate) fn zero(&mut self, count: u64) -> Result<(), Wrong> {
        let offset = self.offset;
        let taken = self.take(count)?;
        match taken.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(position) => {
                let found = taken.get(position).copied().unwrap_or_default();
                Err(self.error(ErrorKind::Padding, offset.saturating_add(position), 0, u64::from(found)))
            }
        }
    }

    /// A number of 1 to 10 bytes, in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u64, Wrong> {
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
    pub(crate) fn text(&mut self, max_bytes: u64, may_be_empty: bool) -> Result<&'a str, Wrong> {
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
    pub(crate) fn finish(&self) -> Result<(), Wrong> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error(ErrorKind::Trailing, self.offset, 0, self.remaining()))
        }
    }
}

/// Whether a string is a text of the format.
pub(crate) fn is_text(text: &str, may_be_empty: bool) -> bool {
    let bytes = text.as_bytes();
    // The control characters from U+0080 on are the lower half of what the byte 0xc2 begins.
    let is_control =
        bytes.iter().any(u8::is_ascii_control) || bytes.windows(2).any(|pair| matches!(pair, [0xc2, ..0xa0]));
    (may_be_empty || !text.is_empty()) && !is_control
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
    use crate::report::reported;

    #[test]
    fn varints_come_back() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = alloc::vec::Vec::new();
            encode_varint(number, &mut bytes);
            let read = reported(|report| {
                let mut cursor = Cursor::new(&bytes, 0, "test", report);
                let number = cursor.varint()?;
                cursor.finish().map(|()| number)
            });
            assert_eq!(read, Ok(number));
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
            let error = reported(|report| Cursor::new(bytes, 7, "test", report).varint()).unwrap_err();
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
