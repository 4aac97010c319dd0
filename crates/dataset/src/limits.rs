//! How much of a data set is believed and kept.

/// Bounds on what opening a data set may cost. Each is checked before memory is taken for what it bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetLimits {
    /// Images of one split. Default 2,000,000.
    pub max_images: u64,
    /// Distinct classes. Default 65,536.
    pub max_classes: u64,
    /// Width or height of an image. Default 8192.
    pub max_side_pixels: u32,
    /// Bytes of one encoded image file. Default 64 MiB.
    pub max_image_file_bytes: u64,
    /// Bytes of all decoded images of one split together. Default 4 GiB.
    pub max_decoded_bytes: u64,
    /// Bytes of a text file: class names, labelled lines. Default 256 MiB.
    pub max_text_bytes: u64,
}

impl Default for DatasetLimits {
    fn default() -> Self {
        Self {
            max_images: 2_000_000,
            max_classes: 65_536,
            max_side_pixels: 8192,
            max_image_file_bytes: 64 << 20,
            max_decoded_bytes: 4 << 30,
            max_text_bytes: 256 << 20,
        }
    }
}
