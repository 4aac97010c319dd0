//! A picture as it comes out of a file or a camera: bytes, not yet made ready for a network.

use crate::error::Error;

/// Rows of pixels from the top, each pixel's channels side by side, one byte each.
///
/// # Shapes
///
/// `data: [height, width, channels]`, row-major; 1 channel is gray, 3 are red, green and blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1 for gray, 3 for red, green and blue.
    pub channels: u32,
    /// The bytes, 0 for dark and 255 for bright.
    pub data: Vec<u8>,
}

impl Image {
    /// That the bytes are as many as the sizes say, and that the channels are known.
    ///
    /// # Errors
    ///
    /// `Usage` otherwise.
    pub fn check(&self) -> Result<(), Error> {
        let Image { width, height, channels, ref data } = *self;
        if channels != 1 && channels != 3 {
            return Err(Error::usage("image", format!("has {channels} channels, expected 1 (gray) or 3 (RGB)")));
        }
        if width == 0 || height == 0 {
            return Err(Error::usage("image", format!("of {width} by {height} pixels has nothing to see")));
        }
        let expected = u128::from(width) * u128::from(height) * u128::from(channels);
        if data.len() as u128 != expected {
            let clause = format!("of {width} x {height} x {channels} takes {expected} bytes, found {}", data.len());
            return Err(Error::usage("image", clause));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_sizes_that_do_not_fit_the_bytes() {
        let image = |width, height, channels, len| Image { width, height, channels, data: vec![0; len] };
        assert!(image(2, 3, 3, 18).check().is_ok());
        assert!(image(2, 3, 1, 6).check().is_ok());
        for wrong in [image(2, 3, 1, 5), image(2, 3, 2, 12), image(0, 3, 1, 0), image(u32::MAX, u32::MAX, 3, 1)] {
            assert_eq!(wrong.check().unwrap_err().kind(), crate::ErrorKind::Usage);
        }
    }
}
