//! What a change of the composition did, and what it took.

use taskvec_runtime::{Change, Proof};

use crate::digest::taskvec_digest;

/// Nothing is in force: the weights are the base's.
pub const TASKVEC_PROOF_BASE: u32 = 0;
/// Each probe of the one skill in force was answered as its maker saw it.
pub const TASKVEC_PROOF_PROBES: u32 = 1;
/// Each skill changes the weights, and the features of `inputs` inputs are finite (none without an engine).
pub const TASKVEC_PROOF_FELT: u32 = 2;
/// A proof that this interface has no name for.
pub const TASKVEC_PROOF_OTHER: u32 = 3;

/// What a change did, and what it took.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_change {
    /// Digest of what is in force now.
    pub composition: taskvec_digest,
    /// Skills in force now.
    pub skill_count: usize,
    /// What was proved before it came into force: one of `TASKVEC_PROOF_...`.
    pub proof: u32,
    /// Inputs that the proof was made with.
    pub inputs: u32,
    /// Largest difference from an expected number. With `TASKVEC_PROOF_PROBES` only, else 0.
    pub difference_max: f32,
    /// What the pack allows on this engine. With `TASKVEC_PROOF_PROBES` only, else 0.
    pub tolerance: f32,
    /// Tensors whose weights were composed.
    pub tensors: usize,
    /// Entries of packs that were applied.
    pub entries: u64,
    /// Pages of 4 KiB that the composition has written: the memory that it owns.
    pub touched_pages: usize,
    /// Their size in bytes.
    pub touched_bytes: u64,
    /// Time spent waiting for another change to end, in ms.
    pub wait_ms: f64,
    /// Time spent writing weights, in ms.
    pub weights_ms: f64,
    /// Time spent on the engine's preparations and on the proof, in ms. After it the new composition serves.
    pub proof_ms: f64,
    /// Time spent on taking back the old composition's memory while the new one serves, in ms.
    pub settle_ms: f64,
}

impl From<&Change> for taskvec_change {
    fn from(change: &Change) -> Self {
        let (proof, inputs, difference_max, tolerance) = match change.proof {
            Proof::Base => (TASKVEC_PROOF_BASE, 0, 0.0, 0.0),
            Proof::Probes { count, difference_max, tolerance } => {
                (TASKVEC_PROOF_PROBES, count, difference_max, tolerance)
            }
            Proof::Felt { inputs, .. } => (TASKVEC_PROOF_FELT, inputs, 0.0, 0.0),
            _ => (TASKVEC_PROOF_OTHER, 0, 0.0, 0.0),
        };
        Self {
            composition: change.composition.digest.into(),
            skill_count: change.composition.skills.len(),
            proof,
            inputs,
            difference_max,
            tolerance,
            tensors: change.tensors,
            entries: change.entries,
            touched_pages: change.touched_pages,
            touched_bytes: change.touched_bytes,
            wait_ms: change.wait_ms,
            weights_ms: change.weights_ms,
            proof_ms: change.proof_ms,
            settle_ms: change.settle_ms,
        }
    }
}
