//! Two checkpoints side by side, tensor by tensor.

use taskvec_bundle::StoredDtype;
use taskvec_checkpoint::{Checkpoint, Faults, PART_ELEMENTS, StoredTensor};
use taskvec_pack::Dtype;

use super::Exactness;
use super::changed::ChangedTensor;
use super::likeness::Comparison;
use super::pair::Pair;
use crate::error::{Error, Result};

/// Compares tensor by tensor and hands each changed one to `sink`, in byte order of names, so that a task vector of any size
/// passes through less memory than its largest tensor has.
///
/// # Errors
/// `Mismatch` when names, shapes or dtypes differ (the message names the tensors), `Unsupported` for a dtype that packs do
/// not know, `Damaged` for a delta that is not finite (only [`Exactness::Rounded`]), `Io`, and whatever `sink` returns.
pub fn compare(
    base: &Checkpoint,
    tuned: &Checkpoint,
    exactness: Exactness,
    mut sink: impl FnMut(ChangedTensor<'_>) -> Result<()>,
) -> Result<Comparison> {
    check_same_form(base, tuned, exactness)?;
    let mut comparison = Comparison { changed_integers: changed_integers(base, tuned)?, ..Comparison::default() };
    for (ours, theirs) in base.body().zip(tuned.body()) {
        let dtype = base.editable_dtype(ours)?;
        tuned.editable_dtype(theirs)?;
        if ours.dtype() != theirs.dtype() {
            comparison.widened_count += 1;
            comparison.narrowed_count += u64::from(dtype != Dtype::F32);
        }
        let found = ChangedTensor::find(Pair { base, ours, tuned, theirs }, dtype, exactness)?;
        comparison.add(ours, found.likeness, found.not_finite_count);
        found.changed.map_or(Ok(()), &mut sink)?;
    }
    Ok(comparison)
}

/// That both have the same tensors, heads and integers aside: names, shapes, dtypes that can be compared.
fn check_same_form(base: &Checkpoint, tuned: &Checkpoint, exactness: Exactness) -> Result<()> {
    let mut faults = Faults::default();
    for ours in base.body() {
        let name = ours.name();
        let Some(theirs) = tuned.tensor(name) else {
            faults.add(format!("tensor `{name}` is in the base only"));
            continue;
        };
        if theirs.shape() != ours.shape() {
            faults.add(format!("tensor `{name}`: base has shape {:?}, tuned has {:?}", ours.shape(), theirs.shape()));
        } else if !are_comparable(ours.dtype(), theirs.dtype(), exactness) {
            let (from, to) = (ours.dtype().name(), theirs.dtype().name());
            faults.add(format!("tensor `{name}`: base has dtype {from}, tuned has {to}"));
        }
    }
    let unknown = tuned.body().filter(|theirs| base.tensor(theirs.name()).is_none_or(StoredTensor::is_integer));
    unknown.for_each(|theirs| faults.add(format!("tensor `{}` is in the tuned checkpoint only", theirs.name())));
    let Some(message) = faults.message() else { return Ok(()) };
    Err(Error::mismatch(message)
        .with_help(
            "a task vector is a difference of two checkpoints with the same tensors, of the same shapes; a base of 16 bits and \
             a tuned checkpoint of another dtype need `--values f32`, or a base of f32",
        )
        .within(format!("`{}` and `{}` are not of one form", base.path().display(), tuned.path().display())))
}

/// Whether the difference of these two can be told, as exactly as is asked.
fn are_comparable(ours: StoredDtype, theirs: StoredDtype, exactness: Exactness) -> bool {
    let both_widen = ours.editable().is_some() && theirs.editable().is_some();
    ours == theirs || (both_widen && (ours == StoredDtype::F32 || exactness == Exactness::Rounded))
}

/// The tensors of integers that both have and that differ.
fn changed_integers(base: &Checkpoint, tuned: &Checkpoint) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for ours in base.tensors().iter().filter(|tensor| tensor.is_integer()) {
        let Some(theirs) = tuned.tensor(ours.name()) else { continue };
        let same_form = (ours.dtype(), ours.shape()) == (theirs.dtype(), theirs.shape());
        if !same_form || !have_same_bytes(base, ours, tuned, theirs)? {
            changed.push(ours.name().to_owned());
        }
    }
    Ok(changed)
}

fn have_same_bytes(base: &Checkpoint, ours: &StoredTensor, tuned: &Checkpoint, theirs: &StoredTensor) -> Result<bool> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let (mut base, mut tuned) = (base.reader(ours)?, tuned.reader(theirs)?);
    while base.read(PART_ELEMENTS, &mut from)? | tuned.read(PART_ELEMENTS, &mut to)? {
        if from != to {
            return Ok(false);
        }
    }
    Ok(true)
}
