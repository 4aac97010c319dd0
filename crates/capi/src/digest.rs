//! 32 bytes that name a pack, a base model or a composition.

use taskvec_runtime::{Digest, Fingerprint};

/// SHA-256 of a pack, of a base model's tensors, or of a composition.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct taskvec_digest {
    /// The bytes, in the order in which people write them in hexadecimal.
    pub bytes: [u8; 32],
}

impl From<Digest> for taskvec_digest {
    fn from(digest: Digest) -> Self {
        Self { bytes: digest.0 }
    }
}

impl From<Fingerprint> for taskvec_digest {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { bytes: fingerprint.0 }
    }
}

impl From<taskvec_digest> for Digest {
    fn from(digest: taskvec_digest) -> Self {
        Self(digest.bytes)
    }
}
