//! Fine-tuned minus base, from two checkpoints: which elements differ, and by how much.
//!
//! A part of one tensor of each file is in memory at a time, and what changed in that tensor where that is little; where it is
//! much, the files are read again (`changed.rs`). What is decided here:
//!
//! - **Changed** means other bits. A zero that changed its sign is changed, a NaN that kept its bits is not.
//! - A **lossless** task vector holds distances between bit patterns (`FORMAT.md`, 6.11) and brings every bit back, NaN
//!   included. One of **deltas** holds `tuned - base` in f32; a delta that is 0 or not finite is no entry: zeros are left out,
//!   and what is not finite is refused, since no coefficient could make sense of it.
//! - Heads (`heads.*`) are no part of a base model and are not compared. Integers (counters of batches) are no weights: one
//!   that differs is said, and stays the base's.
//! - Where the two have **other dtypes**, both are widened to f32. A base of f32 gets every tuned number back, so a lossless task
//!   vector holds; a base of 16 bits cannot, so it is refused losslessly, and its deltas are rounded when they are applied.
//! - Two models that merely have the same architecture give a task vector too, but a useless one: as large as the model, and
//!   wrong at every coefficient but 1. The sign is the **cosine** between the two models' weights. It is taken over
//!   matrices (two or more dimensions above 1), because norm weights and biases of strangers agree as well: they all start at
//!   1 and 0. Fine-tuned pairs that were measured have 0.60 and more even where every weight moved by its own size
//!   (waifu2x, resumed for months); strangers have 0.00 (rnnoise, two trainings).

mod changed;
mod compare;
mod likeness;
mod of_pack;
mod pair;

use taskvec_checkpoint::Checkpoint;
use taskvec_pack::{Dtype, Fingerprint};

use crate::error::Result;
use crate::recipe::Values;

pub use changed::ChangedTensor;
pub use compare::compare;
pub use likeness::{Comparison, Likeness, RELATED_COSINE_MIN, TensorComparison, Warning};

/// What a fine-tuning changed, in byte order of tensor names; tensors that did not change are absent.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskVector {
    /// The base model that this is a difference from.
    pub base: Fingerprint,
    /// The changed tensors.
    pub tensors: Vec<TensorDelta>,
}

/// What changed in one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDelta {
    /// Name in the base's file.
    pub name: String,
    /// Type of its elements there.
    pub dtype: Dtype,
    /// Its dimensions, row-major.
    pub shape: Vec<u64>,
    /// Which elements, strictly ascending row-major indices.
    pub indices: Vec<u64>,
    /// By how much, one number for each index.
    pub deltas: Deltas,
}

/// By how much elements changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Deltas {
    /// Tuned minus base.
    Numbers(Vec<f32>),
    /// Steps between bit patterns, none of them 0.
    Distances(Vec<i64>),
}

/// By how much some of the elements of a tensor changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DeltasPart<'a> {
    /// Tuned minus base.
    Numbers(&'a [f32]),
    /// Steps between bit patterns, none of them 0.
    Distances(&'a [i64]),
}

/// Whether the tuned bits must come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Distances between bit patterns.
    Lossless,
    /// Differences in f32.
    Rounded,
}

impl Exactness {
    /// What a pack with such values needs.
    pub fn of(values: Values) -> Exactness {
        match values {
            Values::Lossless => Exactness::Lossless,
            _ => Exactness::Rounded,
        }
    }
}

impl Deltas {
    /// All of them.
    pub fn as_part(&self) -> DeltasPart<'_> {
        match self {
            Deltas::Numbers(numbers) => DeltasPart::Numbers(numbers),
            Deltas::Distances(distances) => DeltasPart::Distances(distances),
        }
    }
}

impl TensorDelta {
    /// The same tensor, unchanged.
    pub(crate) fn without_entries(&self) -> TensorDelta {
        let (name, dtype, shape) = (self.name.clone(), self.dtype, self.shape.clone());
        TensorDelta { name, dtype, shape, indices: Vec::new(), deltas: Deltas::Numbers(Vec::new()) }
    }
}

impl TaskVector {
    /// Tuned minus base, with what the comparison found.
    ///
    /// # Errors
    /// As [`compare`].
    pub fn between(base: &Checkpoint, tuned: &Checkpoint, exactness: Exactness) -> Result<(TaskVector, Comparison)> {
        let mut tensors = Vec::new();
        let comparison = compare(base, tuned, exactness, |tensor| {
            tensors.push(tensor.into_delta()?);
            Ok(())
        })?;
        Ok((TaskVector { base: base.fingerprint()?, tensors }, comparison))
    }

    /// Elements that it changes.
    pub fn entry_count(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.indices.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests;
