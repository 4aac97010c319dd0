//! How much a foreign file may ask of the device before it is refused.

use std::mem::MaybeUninit;

use taskvec_runtime::{BundleLimits, PackLimits};

use crate::guard::guarded;
use crate::handle::output;
use crate::status::taskvec_status;

/// The most that is read and held on the word of a base bundle. Start from `taskvec_bundle_limits_default`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_bundle_limits {
    /// Bytes of `base.json`. Default: 16 MiB.
    pub base_json_bytes_max: u64,
    /// Bytes of the JSON header of `model.safetensors`. Default: 16 MiB.
    pub header_bytes_max: u64,
}

/// The most that is read and held on the word of a pack. Start from `taskvec_pack_limits_default`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_pack_limits {
    /// Size of the whole file. Default: 16 GiB.
    pub file_bytes_max: u64,
    /// Sections of the file. Default: 64.
    pub sections_max: u32,
    /// Tensors of the pack. Default: 65536.
    pub tensors_max: u64,
    /// Elements of one tensor. Default: 2^40.
    pub elements_per_tensor_max: u64,
    /// Entries of all tensors together. Default: 2^34.
    pub entries_max: u64,
    /// Size of each text. Default: 4096.
    pub string_bytes_max: u64,
    /// Provenance pairs of the manifest. Default: 256.
    pub provenance_pairs_max: u64,
    /// Classes of the head. Default: 1048576.
    pub classes_max: u64,
    /// Probes. Default: 4096.
    pub probes_max: u64,
}

/// Writes the defaults to `limits`.
#[no_mangle]
pub extern "C" fn taskvec_bundle_limits_default(
    limits: Option<&mut MaybeUninit<taskvec_bundle_limits>>,
) -> taskvec_status {
    guarded(|| {
        let BundleLimits { base_json_bytes_max, header_bytes_max, .. } = BundleLimits::default();
        output(limits, "limits")?.write(taskvec_bundle_limits { base_json_bytes_max, header_bytes_max });
        Ok(())
    })
}

/// Writes the defaults to `limits`.
#[no_mangle]
pub extern "C" fn taskvec_pack_limits_default(limits: Option<&mut MaybeUninit<taskvec_pack_limits>>) -> taskvec_status {
    guarded(|| {
        let defaults = PackLimits::default();
        output(limits, "limits")?.write(taskvec_pack_limits {
            file_bytes_max: defaults.max_file_bytes,
            sections_max: defaults.max_sections,
            tensors_max: defaults.max_tensors,
            elements_per_tensor_max: defaults.max_elements_per_tensor,
            entries_max: defaults.max_entries,
            string_bytes_max: defaults.max_string_bytes,
            provenance_pairs_max: defaults.max_provenance_pairs,
            classes_max: defaults.max_classes,
            probes_max: defaults.max_probes,
        });
        Ok(())
    })
}

/// The limits given, or the defaults.
pub(crate) fn of_bundle(limits: Option<&taskvec_bundle_limits>) -> BundleLimits {
    let mut wanted = BundleLimits::default();
    if let Some(limits) = limits {
        wanted.base_json_bytes_max = limits.base_json_bytes_max;
        wanted.header_bytes_max = limits.header_bytes_max;
    }
    wanted
}

/// The limits given, or the defaults.
pub(crate) fn of_pack(limits: Option<&taskvec_pack_limits>) -> PackLimits {
    let mut wanted = PackLimits::default();
    if let Some(limits) = limits {
        wanted.max_file_bytes = limits.file_bytes_max;
        wanted.max_sections = limits.sections_max;
        wanted.max_tensors = limits.tensors_max;
        wanted.max_elements_per_tensor = limits.elements_per_tensor_max;
        wanted.max_entries = limits.entries_max;
        wanted.max_string_bytes = limits.string_bytes_max;
        wanted.max_provenance_pairs = limits.provenance_pairs_max;
        wanted.max_classes = limits.classes_max;
        wanted.max_probes = limits.probes_max;
    }
    wanted
}
