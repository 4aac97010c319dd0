//! The limits of a reader, `FORMAT.md` section 12.

/// How much a reader is willing to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the file.
    pub max_file_bytes: u64,
    /// Entries of the section table.
    pub max_sections: u64,
    /// Tensor records.
    pub max_tensors: u64,
    /// Elements of one tensor.
    pub max_elements_per_tensor: u64,
    /// Entries of all tensors together.
    pub max_entries: u64,
    /// Bytes of one text or of a key id.
    pub max_string_bytes: u64,
    /// Pairs in the manifest.
    pub max_provenance_pairs: u64,
    /// Classes of the head.
    pub max_classes: u64,
    /// Probes.
    pub max_probes: u64,
    /// Signature blocks.
    pub max_signatures: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
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
        }
    }
}

impl Limits {
    /// The defaults, with one limit set by its name in the table of `FORMAT.md`; nothing for an unknown name.
    pub fn with(name: &str, value: u64) -> Option<Self> {
        let mut limits = Self::default();
        let limit = match name {
            "max_file_bytes" => &mut limits.max_file_bytes,
            "max_sections" => &mut limits.max_sections,
            "max_tensors" => &mut limits.max_tensors,
            "max_elements_per_tensor" => &mut limits.max_elements_per_tensor,
            "max_entries" => &mut limits.max_entries,
            "max_string_bytes" => &mut limits.max_string_bytes,
            "max_provenance_pairs" => &mut limits.max_provenance_pairs,
            "max_classes" => &mut limits.max_classes,
            "max_probes" => &mut limits.max_probes,
            "max_signatures" => &mut limits.max_signatures,
            _ => return None,
        };
        *limit = value;
        Some(limits)
    }
}
