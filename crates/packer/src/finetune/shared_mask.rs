//! The mask of another pack: a new version of a skill, or its sister, changes the very entries that the pack changes.
//!
//! What that is for: index streams of packs with one mask are equal byte for byte, so an update from one to the other
//! (`taskvec-update`) copies them, and between versions of a skill the numbers that lie at the same places are differenced.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use taskvec_networks::is_statistic;
use taskvec_pack::{Fingerprint, Granule, Limits, Pack};

use crate::error::{Error, Result};
use crate::mask::{Entries, Mask, TensorMask};

/// Whose mask a run took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedMask {
    /// Digest of the pack.
    pub pack: String,
    /// Name of its skill.
    pub name: String,
    /// Density in its manifest, 0 to 1.
    pub density: f32,
    /// Number of its granule (registry 11.6 of the format).
    pub granule: u16,
    /// Size of a granule that is a block of bytes, else 0.
    pub granule_bytes: u32,
}

/// The file of a pack whose mask a run takes.
#[derive(Debug)]
pub(crate) struct MaskSource {
    bytes: Vec<u8>,
    /// Who it is.
    pub(crate) shared: SharedMask,
}

impl SharedMask {
    /// The granule of the pack's mask.
    pub(crate) fn granule(&self) -> Granule {
        Granule::from_code(self.granule, self.granule_bytes).unwrap_or_default()
    }
}

impl MaskSource {
    /// The pack at `path`.
    ///
    /// # Errors
    /// `Io`; `Damaged`, `Unsupported`, `Limit` as the pack's reader says; `Mismatch` when it is for another base than `base`.
    pub(crate) fn open(path: &Path, base: Option<Fingerprint>) -> Result<MaskSource> {
        let bytes = fs::read(path).map_err(|cause| Error::io("read", path, cause))?;
        let pack = read(&bytes).map_err(|cause| cause.within(format!("take the mask of `{}`", path.display())))?;
        let manifest = pack.manifest();
        if base.is_some_and(|base| base != manifest.base) {
            return Err(Error::mismatch(format!(
                "pack `{}` is for base {}, the run starts from {}",
                path.display(),
                manifest.base,
                base.map_or_else(|| "none".to_owned(), |base| base.to_string())
            ))
            .with_help("a mask is taken from a pack for the same base"));
        }
        let shared = SharedMask {
            pack: pack.digest().to_string(),
            name: manifest.name.to_owned(),
            density: manifest.density,
            granule: manifest.granule.code(),
            granule_bytes: manifest.granule.bytes(),
        };
        Ok(MaskSource { bytes, shared })
    }

    /// Its mask over `tensors`, those that may be edited.
    ///
    /// # Errors
    /// `Mismatch` when it changes a tensor that may not be edited or has another shape; `Usage` when it changes none.
    pub(crate) fn mask(&self, tensors: &[(String, Vec<usize>)]) -> Result<Mask> {
        let pack = read(&self.bytes)?;
        // Statistics are measured, and no mask says which.
        for changed in pack.tensors().filter(|changed| !is_statistic(changed.name())) {
            let same_shape = |shape: &[usize]| shape.iter().map(|side| *side as u64).eq(changed.shape());
            if !tensors.iter().any(|(name, shape)| name == changed.name() && same_shape(shape)) {
                return Err(Error::mismatch(format!(
                    "the mask of pack `{}` has entries in tensor `{}`, which the base does not let be edited in that shape",
                    self.shared.name,
                    changed.name()
                ))
                .with_help("take the mask of a pack that was trained on this base"));
            }
        }
        let entries = |name: &str| {
            let Some(tensor) = pack.tensors().find(|tensor| tensor.name() == name) else { return Entries::None };
            if tensor.entry_count() == tensor.element_count() {
                return Entries::All;
            }
            // The base is in memory with fewer than 2^32 elements a tensor (`mask/candidates.rs`), and has this shape.
            Entries::Some(tensor.indices().map(|index| index as u32).collect::<Arc<[u32]>>())
        };
        let of = |(name, shape): &(String, Vec<usize>)| TensorMask {
            name: name.clone(),
            shape: shape.clone(),
            entries: entries(name),
        };
        let mask = Mask { tensors: tensors.iter().map(of).collect() };
        if mask.entry_count() == 0 {
            return Err(Error::usage(format!("pack `{}` changes no tensor, so its mask is empty", self.shared.name))
                .with_help("take the mask of a pack that changes some"));
        }
        Ok(mask)
    }
}

fn read(bytes: &[u8]) -> Result<Pack<'_>> {
    Pack::read(bytes, &Limits::default()).map_err(|cause| Error::from_pack(cause, "read the pack"))
}
