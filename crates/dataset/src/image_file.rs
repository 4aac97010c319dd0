//! One encoded image, decoded within limits.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder as _, ImageReader};
use taskvec_bundle::Image;

use crate::DatasetLimits;
use crate::error::{Error, Result};

/// Whether a file name ends as an image that can be decoded here.
pub(crate) fn is_image_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with('.') && [".png", ".jpg", ".jpeg"].iter().any(|end| name.ends_with(end))
}

/// The image in `bytes`: gray stays gray, everything else becomes RGB, transparency is dropped, 16 bits become 8.
/// `spent` counts the decoded bytes of a split and is checked before pixels are decoded.
pub(crate) fn decode(bytes: &[u8], subject: &str, limits: &DatasetLimits, spent: &mut u64) -> Result<Image> {
    let broken =
        |cause: image::ImageError| Error::damaged(format!("image {subject} cannot be decoded")).caused_by(cause);
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|cause| Error::damaged(format!("image {subject} cannot be decoded")).caused_by(cause))?;
    let mut reader = reader;
    // Sides and pixels are held against our own limits below; this one is for what lies beside them, such as a color
    // profile that unfolds to gigabytes.
    let mut beside = image::Limits::no_limits();
    beside.max_alloc = Some(limits.max_decoded_bytes);
    reader.limits(beside);
    let decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let most = limits.max_side_pixels;
    if width > most || height > most {
        return Err(Error::limit(format!("image {subject} has {width} x {height} pixels, the limit is {most} a side")));
    }
    if width == 0 || height == 0 {
        return Err(Error::damaged(format!("image {subject} has no pixels")));
    }
    let gray = matches!(decoder.color_type(), ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16);
    let channels = if gray { 1 } else { 3 };
    *spent += u64::from(width) * u64::from(height) * channels;
    if *spent > limits.max_decoded_bytes {
        let limit = limits.max_decoded_bytes;
        return Err(Error::limit(format!("the images up to {subject} decode to {spent} bytes, the limit is {limit}"))
            .with_help("use fewer or smaller images"));
    }
    let decoded = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let data = if gray { decoded.into_luma8().into_raw() } else { decoded.into_rgb8().into_raw() };
    Ok(Image { width, height, channels: channels as u32, data })
}
