//! Reads the type `bits` of `FORMAT.md` section 2, one bit after the other.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check, refuse};
use crate::prefix_code;

/// A place in a sequence of bits. Every fault is told at the first byte of the stream, whatever the bit.
pub(super) struct Bits<'a> {
    cursor: Cursor<'a>,
    stream: usize,
    byte: u8,
    /// Bits of `byte` that were not yet read.
    left: u32,
}

impl<'a> Bits<'a> {
    /// Reads from the cursor's place to its end; `stream` is where the stream starts of which the bits are a part.
    pub(super) fn new(cursor: Cursor<'a>, stream: usize) -> Self {
        Self { cursor, stream, byte: 0, left: 0 }
    }

    pub(super) fn bit(&mut self) -> Result<bool, Error> {
        if self.left == 0 {
            let Ok(byte) = self.cursor.u8() else { return refuse(ErrorKind::Truncated, self.stream) };
            self.byte = byte;
            self.left = 8;
        }
        let bit = self.byte & 1 == 1;
        self.byte >>= 1;
        self.left -= 1;
        Ok(bit)
    }

    /// An integer of `count` bits.
    pub(super) fn field(&mut self, count: u32) -> Result<u64, Error> {
        let mut value = 0;
        for place in 0..count {
            value |= u64::from(self.bit()?) << place;
        }
        Ok(value)
    }

    /// How many zero bits come before the next one bit, which is read too.
    pub(super) fn unary(&mut self) -> Result<u64, Error> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
        }
        Ok(zeros)
    }

    /// Code lengths of `count` symbols.
    pub(super) fn lengths(&mut self, count: usize) -> Result<Vec<u8>, Error> {
        (0..count).map(|_| Ok(self.field(4)?.to_le_bytes()[0])).collect()
    }

    /// The rest of the current byte is zero.
    pub(super) fn fill_up(&mut self) -> Result<(), Error> {
        self.left = 0;
        check(self.byte == 0, ErrorKind::Padding, self.stream)
    }

    /// The rest of the current byte is zero, and nothing is left behind it.
    pub(super) fn end(mut self) -> Result<(), Error> {
        self.fill_up()?;
        check(self.cursor.left() == 0, ErrorKind::Trailing, self.stream)
    }
}

/// A prefix code that can be read.
pub(super) struct PrefixCode {
    /// Length, code and symbol of each symbol that occurs.
    codes: Vec<(u8, u32, usize)>,
}

impl PrefixCode {
    /// The code that these lengths give; `stream` is where a fault is told.
    pub(super) fn new(lengths: &[u8], stream: usize) -> Result<Self, Error> {
        let Some(codes) = prefix_code::codes(lengths) else { return refuse(ErrorKind::Code, stream) };
        let codes = codes.into_iter().zip(lengths).enumerate();
        Ok(Self { codes: codes.filter_map(|(symbol, (code, &length))| Some((length, code?, symbol))).collect() })
    }

    /// The next symbol.
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<usize, Error> {
        let mut code = 0;
        for length in 1..=15 {
            code = code << 1 | u32::from(bits.bit()?);
            if let Some(found) = self.codes.iter().find(|found| (found.0, found.1) == (length, code)) {
                return Ok(found.2);
            }
            let only_symbol = self.codes.len() == 1;
            check(!only_symbol, ErrorKind::Code, bits.stream)?;
        }
        unreachable!("15 bits start with a code of a complete prefix code")
    }
}
