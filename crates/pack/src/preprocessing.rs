//! From the pixels of an image to what the network is given (`FORMAT.md`, 7.2).

use crate::cursor::Cursor;
use crate::error::ErrorKind;
use crate::head::nonzero;
use crate::header::Section;
use crate::report::{Report, Wrong};

/// From the pixels of an image to what the network is given.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Preprocessing<'a> {
    /// Planes of an image, at least 1.
    pub channels: u32,
    /// Rows of pixels, at least 1.
    pub height: u32,
    /// Pixels in a row, at least 1.
    pub width: u32,
    /// How an image of another size is brought to this one.
    pub resize: Resize,
    mean: &'a [[u8; 4]],
    std: &'a [[u8; 4]],
}

/// The smallest number above 0.
const SMALLEST: f32 = f32::from_bits(1);

impl<'a> Preprocessing<'a> {
    /// What is subtracted from a pixel between 0 and 1, for each channel.
    pub fn mean(&self) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        self.mean.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// What the difference is then divided by, for each channel; above 0.
    pub fn std(&self) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        self.std.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// Numbers of one input: channels times height times width, below 2^32.
    #[must_use]
    pub fn input_len(&self) -> u32 {
        self.channels.saturating_mul(self.height).saturating_mul(self.width)
    }

    /// Step 21 of `FORMAT.md`, 13.
    pub(crate) fn read(section: Section<'a>, report: &Report) -> Result<Self, Wrong> {
        let mut cursor = Cursor::new(section.bytes, section.offset, "preprocessing", report);
        let (channels, height, width) = (nonzero(&mut cursor)?, nonzero(&mut cursor)?, nonzero(&mut cursor)?);
        let pixels = channels.checked_mul(height).and_then(|pixels| pixels.checked_mul(width));
        if pixels.is_none() {
            return Err(cursor.error(ErrorKind::Count, section.offset, u64::from(u32::MAX), u64::from(channels)));
        }
        let at = cursor.offset();
        let code = cursor.u16()?;
        let resize =
            Resize::from_code(code).ok_or_else(|| cursor.error(ErrorKind::Encoding, at, 0, u64::from(code)))?;
        cursor.zero(2)?;
        let mean = cursor.f32s(u64::from(channels), f32::MIN)?;
        let std = cursor.f32s(u64::from(channels), SMALLEST)?;
        cursor.finish()?;
        Ok(Self { channels, height, width, resize, mean, std })
    }
}

/// How an image is brought to the size that the network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Resize {
    /// Bilinear, pixel centers at half integers, antialiased when shrinking.
    #[default]
    Bilinear,
}

impl Resize {
    /// Its number in registry 11.7 of `FORMAT.md`.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Bilinear => 1,
        }
    }

    const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Bilinear),
            _ => None,
        }
    }
}
