//! The models of a merge, opened: weights and deltas of one tensor at a time.

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use taskvec_arithmetic::{Bf16, F16, Narrow16, add_distances_f32, add_distances_widened, add_f32};
use taskvec_bundle::StoredDtype;
use taskvec_checkpoint::{Checkpoint, Faults};
use taskvec_pack::{Dtype, Limits, Pack};

use crate::apply::check_belongs;
use crate::error::{Error, Result};
use crate::run_folder::f32s;
use crate::task_vector::{Deltas, TensorDelta};

/// A model that was tuned from the base.
pub(super) enum Source {
    /// All of its weights.
    Checkpoint(Checkpoint),
    /// What it changed, by the name of the tensor.
    Pack(HashMap<String, TensorDelta>),
}

impl Source {
    /// # Errors
    /// As [`Checkpoint::open`]; for a pack `Damaged` when it cannot be read, `Mismatch` when it is for another base.
    pub(super) fn open(path: &Path, base: &Checkpoint) -> Result<Source> {
        if path.extension().is_none_or(|ending| ending != "tvp") {
            let checkpoint = Checkpoint::open(path)?;
            check_tensors(base, &checkpoint)?;
            return Ok(Source::Checkpoint(checkpoint));
        }
        let bytes = std::fs::read(path).map_err(|cause| Error::io("read", path, cause))?;
        let within = || format!("pack `{}`", path.display());
        check_belongs(base, &bytes).map_err(|cause| cause.within(within()))?;
        let pack = Pack::read(&bytes, &Limits::default()).map_err(|cause| Error::from_pack(cause, within()))?;
        let by_name = pack.tensors().map(|entry| (entry.name().to_owned(), TensorDelta::of_entry(&entry)));
        Ok(Source::Pack(by_name.collect()))
    }

    /// What it changed of `tensor`, whose weights are `base`, in f32: a number for each element.
    ///
    /// # Errors
    /// `Io` when a file cannot be read any more.
    pub(super) fn deltas(&self, tensor: &str, base: &[f32]) -> Result<Vec<f32>> {
        if let Source::Pack(by_name) = self {
            let mut deltas = vec![0.0; base.len()];
            match by_name.get(tensor) {
                None => return Ok(deltas),
                Some(TensorDelta { indices, deltas: Deltas::Numbers(numbers), .. }) => {
                    indices.iter().zip(numbers).for_each(|(&index, &delta)| deltas[index as usize] = delta);
                    return Ok(deltas);
                }
                // Distances become deltas by way of the weights.
                Some(_) => {}
            }
        }
        Ok(self.weights(tensor, base)?.iter().zip(base).map(|(tuned, base)| tuned - base).collect())
    }

    /// Its weights in `tensor`, in f32; those of the base are `base`.
    ///
    /// # Errors
    /// As [`Source::deltas`].
    pub(super) fn weights(&self, tensor: &str, base: &[f32]) -> Result<Vec<f32>> {
        let by_name = match self {
            Source::Checkpoint(checkpoint) => return weights(checkpoint, tensor),
            Source::Pack(by_name) => by_name,
        };
        let mut tuned = base.to_vec();
        let Some(changed) = by_name.get(tensor) else { return Ok(tuned) };
        let indices = changed.indices.iter().map(|&index| index as usize);
        match &changed.deltas {
            Deltas::Numbers(numbers) => add_f32(&mut tuned, indices.zip(numbers.iter().copied()), 1.0),
            Deltas::Distances(steps) => {
                let entries = indices.zip(steps.iter().copied());
                match changed.dtype {
                    Dtype::F16 => add_distances_widened::<F16>(&mut tuned, &narrow::<F16>(base), entries, 1.0),
                    Dtype::BF16 => add_distances_widened::<Bf16>(&mut tuned, &narrow::<Bf16>(base), entries, 1.0),
                    _ => add_distances_f32(&mut tuned, base, entries, 1.0),
                }
            }
        }
        Ok(tuned)
    }
}

/// The weights of a checkpoint in one tensor, in f32.
///
/// # Errors
/// `Io` when the file cannot be read any more.
pub(super) fn weights(checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>> {
    let missing = || Error::mismatch(format!("`{}` has no tensor `{name}`", checkpoint.path().display()));
    let tensor = checkpoint.tensor(name).ok_or_else(missing)?;
    checkpoint.editable_dtype(tensor)?;
    let bytes = checkpoint.read(tensor)?;
    let halves = || bytes.as_chunks::<2>().0.iter();
    Ok(match tensor.dtype() {
        StoredDtype::F16 => halves().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        StoredDtype::Bf16 => halves().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
        _ => f32s(&bytes),
    })
}

/// That every tensor of the base is there, with its sides; all that are not are named.
fn check_tensors(base: &Checkpoint, other: &Checkpoint) -> Result<()> {
    let mut faults = Faults::default();
    for tensor in base.body() {
        match other.tensor(tensor.name()) {
            None => faults.add(format!("it has no tensor `{}`", tensor.name())),
            Some(found) if found.shape() != tensor.shape() => {
                faults.add(format!("tensor `{}` is {:?}, expected {:?}", tensor.name(), found.shape(), tensor.shape()))
            }
            Some(_) => {}
        }
    }
    match faults.message() {
        None => Ok(()),
        Some(message) => Err(Error::mismatch(format!("checkpoint `{}`: {message}", other.path().display()))
            .with_help(format!("merge models of one architecture; the layout is that of `{}`", base.path().display()))),
    }
}

/// The patterns of numbers that are all of this dtype.
fn narrow<N: Narrow16>(values: &[f32]) -> Vec<u16> {
    values.iter().map(|value| N::narrow(*value)).collect()
}
