//! Every offset, size, number and limit of an update; `FORMAT.md` says what they mean.

/// First bytes of an update.
pub const MAGIC: [u8; 8] = *b"\x89TVU\r\n\x1a\n";
/// The only major version that is read.
pub const MAJOR: u16 = 1;
/// Minor version that is written.
pub const MINOR: u16 = 0;
/// Size of the header, before the names and the parents.
pub const HEADER_BYTES: usize = 96;
/// Offset of the checksum, which covers all of the file but itself.
pub const CHECKSUM_OFFSET: usize = 16;
/// What follows the checksum.
pub const AFTER_CHECKSUM_OFFSET: usize = 20;
/// Smallest record of a parent: digest, size, a name of one byte.
pub const PARENT_BYTES_MIN: usize = 32 + 8 + 2;
/// Largest window of the frame: what every decoder of zstd should have room for (RFC 8878, 3.1.1.1.2).
pub const WINDOW_BYTES_MAX: u64 = 1 << 23;

/// What a reader is willing to take; all of it can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the pack that is made. Default: 256 MiB; what is larger is better fetched whole, since it is made in memory.
    pub max_pack_bytes: u64,
    /// Parents. Default: 16.
    pub max_parents: u32,
    /// Size of the operations, unpacked. Default: 4 MiB.
    pub max_operation_bytes: u32,
    /// Size of each text. Default: 4096.
    pub max_string_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pack_bytes: 1 << 28, max_parents: 16, max_operation_bytes: 1 << 22, max_string_bytes: 4096 }
    }
}
