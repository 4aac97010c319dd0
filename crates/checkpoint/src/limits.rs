//! How much a checkpoint may ask of its reader before it is refused.

/// The most that is read and held on the word of a file. A claim is first checked against the file, then against these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Tensors of a checkpoint. Default: 1,000,000.
    pub tensors_max: usize,
    /// Bytes of their names together; of the JSON of an index of shards; of a pickle without its tensors. Default: 16 MiB, more
    /// than 100,000 tensors.
    pub header_bytes_max: u64,
    /// Values that a pickle may make. Default: 4,000,000, thirty for each of 100,000 tensors; they take some 160 MB.
    pub pickle_values_max: usize,
    /// How many times the bytes of the files the tensors may take together: tensors may share their numbers (tied weights),
    /// and a hostile file could share them a million times. Default: 8.
    pub sharing_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { tensors_max: 1_000_000, header_bytes_max: 16 << 20, pickle_values_max: 4_000_000, sharing_max: 8 }
    }
}
