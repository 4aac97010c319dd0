//! Reads the primitive types of `FORMAT.md` section 2 one after the other and knows where in the file it is.

use super::error::{Error, ErrorKind, check, refuse};

/// A place in a part of the file (a section, a stream) that ends somewhere.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    file: &'a [u8],
    /// Offset of the next byte, from the start of the file.
    pub(super) offset: usize,
    /// Offset of the first byte that no longer belongs to the part.
    pub(super) end: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor over the bytes from `offset` to `end`, which lie in the file.
    pub(super) fn new(file: &'a [u8], offset: usize, end: usize) -> Self {
        assert!(offset <= end && end <= file.len(), "the caller has checked where the part lies");
        Self { file, offset, end }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.end - self.offset
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: u64) -> Result<&'a [u8], Error> {
        match usize::try_from(count) {
            Ok(count) if count <= self.left() => {
                let start = self.offset;
                self.offset += count;
                Ok(&self.file[start..self.offset])
            }
            _ => refuse(ErrorKind::Truncated, self.end),
        }
    }

    /// A part of its own from the next `count` bytes.
    pub(super) fn part(&mut self, count: u64) -> Result<Self, Error> {
        let start = self.offset;
        self.bytes(count)?;
        Ok(Self::new(self.file, start, self.offset))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.bytes(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A finite `f32` for which `in_range` holds.
    pub(super) fn f32_that(&mut self, in_range: impl Fn(f32) -> bool) -> Result<f32, Error> {
        let at = self.offset;
        let number = f32::from_le_bytes(self.array()?);
        check(number.is_finite() && in_range(number), ErrorKind::Number, at)?;
        Ok(number)
    }

    /// A finite `f32`.
    pub(super) fn f32(&mut self) -> Result<f32, Error> {
        self.f32_that(|_| true)
    }

    /// So many finite `f32` for which `in_range` holds, each a field of its own.
    pub(super) fn f32s_that(&mut self, count: u32, in_range: impl Fn(f32) -> bool) -> Result<Vec<f32>, Error> {
        (0..count).map(|_| self.f32_that(&in_range)).collect()
    }

    /// A finite `bf16`, as the `f32` whose upper half it is.
    pub(super) fn bf16(&mut self) -> Result<f32, Error> {
        let at = self.offset;
        let number = f32::from_bits(u32::from(self.u16()?) << 16);
        check(number.is_finite(), ErrorKind::Number, at)?;
        Ok(number)
    }

    /// A finite `f16`: sign, five bits of exponent, ten of mantissa.
    pub(super) fn f16(&mut self) -> Result<f32, Error> {
        let at = self.offset;
        let bits = self.u16()?;
        let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
        check(exponent != 31, ErrorKind::Number, at)?;
        let magnitude = match exponent {
            0 => mantissa * 2_f32.powi(-24),
            _ => (1024.0 + mantissa) * 2_f32.powi(exponent - 25),
        };
        Ok(if bits >> 15 == 1 { -magnitude } else { magnitude })
    }

    /// `count` bytes that are zero; a fault is told at the first one that is not.
    pub(super) fn zeros(&mut self, count: u64) -> Result<(), Error> {
        let at = self.offset;
        match self.bytes(count)?.iter().position(|&byte| byte != 0) {
            Some(place) => refuse(ErrorKind::Padding, at + place),
            None => Ok(()),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let at = self.offset;
        let mut value = 0_u128;
        for group in 0..10 {
            let byte = self.u8()?;
            value += u128::from(byte & 0x7F) << (7 * group);
            if byte & 0x80 == 0 {
                let shortest = group == 0 || byte != 0;
                return match u64::try_from(value) {
                    Ok(value) if shortest => Ok(value),
                    _ => refuse(ErrorKind::Varint, at),
                };
            }
        }
        refuse(ErrorKind::Varint, at)
    }

    /// A `varint` for the length and a `text` of that length.
    pub(super) fn text(&mut self, max_bytes: u64, may_be_empty: bool) -> Result<String, Error> {
        let length_at = self.offset;
        let length = self.varint()?;
        let at = self.offset;
        let bytes = self.bytes(length)?;
        check(length <= max_bytes, ErrorKind::Limit, length_at)?;
        let Ok(text) = std::str::from_utf8(bytes) else { return refuse(ErrorKind::Text, at) };
        // U+0000 to U+001F and U+007F to U+009F: Unicode's category of control characters, to the character.
        let is_text = !text.chars().any(|character| matches!(character as u32, 0..=0x1F | 0x7F..=0x9F));
        check(is_text && (may_be_empty || !text.is_empty()), ErrorKind::Text, at)?;
        Ok(text.to_owned())
    }

    /// Nothing is left.
    pub(super) fn end(&self) -> Result<(), Error> {
        check(self.left() == 0, ErrorKind::Trailing, self.offset)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        for byte in &mut array {
            // A number of which only some bytes are there ends, like every field, where the part ends.
            *byte = self.u8()?;
        }
        Ok(array)
    }
}
