//! Every offset, size, number and limit of the format, as constants.
//!
//! `FORMAT.md` says the same in words; `tests/it/document.rs` holds the two together.

/// First bytes of a pack: 0x89, `TVP`, CR LF, SUB, LF (the idea of PNG's magic).
pub const MAGIC: [u8; 8] = [0x89, b'T', b'V', b'P', 0x0d, 0x0a, 0x1a, 0x0a];
/// First bytes of a signature block.
pub const SIGNATURE_MAGIC: [u8; 8] = [0x89, b'T', b'V', b'S', 0x0d, 0x0a, 0x1a, 0x0a];
/// The major version that this crate reads and writes.
pub const MAJOR: u16 = 1;
/// The minor version that this crate writes; it reads any.
pub const MINOR: u16 = 0;

/// Size of the header.
pub const HEADER_BYTES: usize = 32;
/// Size of one entry of the section table.
pub const SECTION_ENTRY_BYTES: usize = 24;
/// Every section starts at a multiple of this.
pub const ALIGNMENT_BYTES: u64 = 8;
/// Size of a signature block before the key id.
pub const SIGNATURE_HEADER_BYTES: usize = 24;
/// Size of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Size of the key id of an Ed25519 key.
pub const KEY_ID_BYTES: usize = 16;
/// First line of a public key file.
pub const PUBLIC_KEY_FILE_TITLE: &str = "taskvec public key v1";
/// Size of an Ed25519 signature.
pub const ED25519_SIGNATURE_BYTES: usize = 64;
/// What is signed starts with this; the pack digest follows.
pub const SIGNATURE_DOMAIN: [u8; 16] = *b"taskvec pack v1\0";
/// What is digested into a fingerprint starts with this.
pub const FINGERPRINT_DOMAIN: [u8; 16] = *b"taskvec base v1\0";
/// Tensors whose names start with this are no part of a base's fingerprint.
pub const HEAD_PREFIX: &str = "heads.";

/// Offset of `major` in the header.
pub const MAJOR_OFFSET: usize = 8;
/// Offset of `section_count` in the header.
pub const SECTION_COUNT_OFFSET: usize = 12;
/// Offset of `content_bytes` in the header.
pub const CONTENT_BYTES_OFFSET: usize = 16;
/// Offset of the header's checksum.
pub const CHECKSUM_OFFSET: usize = 24;
/// Offset of the header's zero bytes; the checksum goes on here.
pub const HEADER_ZERO_OFFSET: usize = 28;
/// Offset of `block_bytes` in a signature block.
pub const SIGNATURE_SIZE_OFFSET: usize = 8;
/// Offset of `key_id_bytes` in a signature block.
pub const KEY_ID_SIZE_OFFSET: usize = 14;
/// Offset of the checksum in a signature block.
pub const SIGNATURE_CHECKSUM_OFFSET: usize = 20;

/// Kinds of sections (registry 11.1).
pub mod section {
    /// What describes the pack.
    pub const MANIFEST: u32 = 1;
    /// One record for each tensor.
    pub const TENSORS: u32 = 2;
    /// Index and value streams.
    pub const ENTRIES: u32 = 3;
    /// The task's output layer.
    pub const HEAD: u32 = 4;
    /// From pixels to what the network is given.
    pub const PREPROCESSING: u32 = 5;
    /// Inputs with expected outputs.
    pub const PROBES: u32 = 6;
    /// Sections of this kind and above are skipped when unknown.
    pub const OPTIONAL: u32 = 0x8000_0000;
}

/// Index encodings (registry 11.3).
pub mod index {
    /// Rice-coded gaps.
    pub const RICE_GAPS: u8 = 1;
    /// Granule mask.
    pub const GRANULES: u8 = 2;
    /// Bitmap.
    pub const BITMAP: u8 = 3;
    /// Dense.
    pub const DENSE: u8 = 4;
    /// Counted bitmap.
    pub const COUNTED_BITMAP: u8 = 5;
}

/// Value encodings (registry 11.4).
pub mod value {
    /// Deltas as f32.
    pub const F32: u8 = 1;
    /// Deltas as bf16.
    pub const BF16: u8 = 2;
    /// Deltas as int8 with a scale per block.
    pub const INT8: u8 = 3;
    /// Distances between bit patterns.
    pub const LOSSLESS: u8 = 4;
    /// Deltas as prefix-coded levels with a scale per block.
    pub const LEVELS: u8 = 5;
    /// Deltas as binary16.
    pub const F16: u8 = 6;
}

/// Entries of a block of Rice-coded gaps, and of a block of values with one scale.
pub const BLOCK_ENTRIES: usize = 256;
/// Bits of the Rice parameter of a block.
pub const RICE_PARAMETER_BITS: u32 = 5;
/// Largest Rice parameter.
pub const RICE_PARAMETER_MAX: u32 = 31;
/// Bits of a code length in a table.
pub const CODE_LENGTH_BITS: u32 = 4;
/// Longest code of a prefix code.
pub const CODE_LENGTH_MAX: u32 = 15;
/// Most symbols of a prefix code.
pub const SYMBOLS_MAX: usize = 256;
/// Largest magnitude of an int8 code.
pub const INT8_CODE_MAX: i8 = 127;
/// Most dimensions of a tensor.
pub const RANK_MAX: u8 = 8;
/// Most elements of a tensor, by the format.
pub const ELEMENT_COUNT_MAX: u64 = i64::MAX.unsigned_abs();
/// Smallest record of a tensor: a name of one byte, rank 0.
pub const TENSOR_RECORD_BYTES_MIN: usize = 8;
/// Smallest provenance pair: a key of one byte, an empty value.
pub const PAIR_BYTES_MIN: usize = 3;
/// Smallest label: one byte.
pub const LABEL_BYTES_MIN: usize = 2;

/// What a reader is willing to take; all of it can be set, none of it is allocated.
///
/// Counts are checked against the bytes that are there before they are checked against these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the whole file. Default: 16 GiB.
    pub max_file_bytes: u64,
    /// Sections of the file. Default: 64.
    pub max_sections: u32,
    /// Tensors of the pack. Default: 65536.
    pub max_tensors: u64,
    /// Elements of one tensor. Default: 2^40.
    pub max_elements_per_tensor: u64,
    /// Entries of all tensors together. Default: 2^34.
    pub max_entries: u64,
    /// Size of each text, and of each key id. Default: 4096.
    pub max_string_bytes: u64,
    /// Provenance pairs of the manifest. Default: 256.
    pub max_provenance_pairs: u64,
    /// Classes of the head. Default: 1048576.
    pub max_classes: u64,
    /// Probes. Default: 4096.
    pub max_probes: u64,
    /// Signatures. Default: 32.
    pub max_signatures: u32,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        max_file_bytes: 1 << 34,
        max_sections: 64,
        max_tensors: 65_536,
        max_elements_per_tensor: 1 << 40,
        max_entries: 1 << 34,
        max_string_bytes: 4096,
        max_provenance_pairs: 256,
        max_classes: 1_048_576,
        max_probes: 4096,
        max_signatures: 32,
    };

    /// For reading again what has been read within its limits.
    pub(crate) const UNLIMITED: Self = Self {
        max_file_bytes: u64::MAX,
        max_sections: u32::MAX,
        max_tensors: u64::MAX,
        max_elements_per_tensor: u64::MAX,
        max_entries: u64::MAX,
        max_string_bytes: u64::MAX,
        max_provenance_pairs: u64::MAX,
        max_classes: u64::MAX,
        max_probes: u64::MAX,
        max_signatures: u32::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
