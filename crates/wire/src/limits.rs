//! How much of one request is believed.

/// Bounds on what reading one request may cost. The length of its body is bounded by whoever receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Images of one request. Default: 16, what `taskvec-device run` gives the engine at once.
    pub images_max: usize,
    /// Width or height of an encoded image, in pixels. Default: 4096, the largest input of any network here.
    pub image_side_max: u32,
    /// Bytes that an encoded image may decode to. Default: 64 MiB, which is 4096 x 4096 in color and some room.
    pub image_bytes_max: u64,
    /// Skills of one composition that is asked for. Default: 64, as in a session.
    pub skills_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { images_max: 16, image_side_max: 4096, image_bytes_max: 64 << 20, skills_max: 64 }
    }
}
