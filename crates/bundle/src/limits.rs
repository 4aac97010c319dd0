//! How much a bundle may ask of its reader before it is refused.

/// The most that is read and held on the word of a file.
///
/// A claim is first checked against the length of the file that makes it, then against these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of `base.json`. Default: 16 MiB, some 60,000 tensors.
    pub base_json_bytes_max: u64,
    /// Bytes of the JSON header of a safetensors file. Default: 16 MiB, more than 100,000 tensors.
    pub header_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { base_json_bytes_max: 16 << 20, header_bytes_max: 16 << 20 }
    }
}
