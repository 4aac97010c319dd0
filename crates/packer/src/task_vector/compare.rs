//! Two checkpoints side by side, tensor by tensor and part by part.

use half::{bf16, f16};
use taskvec_arithmetic::distance;
use taskvec_bundle::StoredDtype;
use taskvec_checkpoint::{Checkpoint, Faults, PART_ELEMENTS, StoredTensor};
use taskvec_pack::Dtype;

use super::likeness::{Comparison, Likeness};
use super::{Deltas, Exactness, TensorDelta};
use crate::error::{Error, Result};

/// Compares tensor by tensor and hands each changed one to `sink`, in byte order of names, so that a task vector of any size
/// passes through the memory of what changed in one tensor.
///
/// # Errors
/// `Mismatch` when names, shapes or dtypes differ (the message names the tensors), `Unsupported` for a dtype that packs do
/// not know, `Damaged` for a delta that is not finite (only [`Exactness::Rounded`]), `Io`, and whatever `sink` returns.
pub fn compare(
    base: &Checkpoint,
    tuned: &Checkpoint,
    exactness: Exactness,
    mut sink: impl FnMut(TensorDelta) -> Result<()>,
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
        let found = differences(base, ours, tuned, theirs, exactness)?;
        if let Some(index) = found.first_not_finite.filter(|_| exactness == Exactness::Rounded) {
            return Err(Error::damaged(format!(
                "tensor `{}`: the delta of element {index} is not a finite number",
                ours.name()
            ))
            .with_help("a lossless pack can hold it; a checkpoint with NaN or infinite weights is seldom meant"));
        }
        comparison.add(ours, found.likeness, found.not_finite_count);
        if !found.indices.is_empty() {
            sink(TensorDelta {
                name: ours.name().to_owned(),
                dtype,
                shape: ours.shape().to_vec(),
                deltas: match exactness {
                    Exactness::Lossless => Deltas::Distances(found.distances),
                    Exactness::Rounded => Deltas::Numbers(found.numbers),
                },
                indices: found.indices,
            })?;
        }
    }
    Ok(comparison)
}

/// The changed elements of one tensor.
struct Differences {
    exactness: Exactness,
    indices: Vec<u64>,
    /// One of the two is filled, by exactness.
    numbers: Vec<f32>,
    distances: Vec<i64>,
    likeness: Likeness,
    not_finite_count: u64,
    /// First index whose delta, as a number, is not finite.
    first_not_finite: Option<u64>,
}

fn differences(
    base: &Checkpoint,
    ours: &StoredTensor,
    tuned: &Checkpoint,
    theirs: &StoredTensor,
    exactness: Exactness,
) -> Result<Differences> {
    let mut found = Differences {
        exactness,
        indices: Vec::new(),
        numbers: Vec::new(),
        distances: Vec::new(),
        likeness: Likeness::default(),
        not_finite_count: 0,
        first_not_finite: None,
    };
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let (mut base, mut tuned) = (base.reader(ours)?, tuned.reader(theirs)?);
    let same_dtype = ours.dtype() == theirs.dtype();
    while base.read(PART_ELEMENTS, &mut from)? && tuned.read(PART_ELEMENTS, &mut to)? {
        match ours.dtype() {
            StoredDtype::F16 if same_dtype => {
                found.add_part(&from, &to, |bytes| f16::from_le_bytes(bytes).to_f32(), distance_16);
            }
            StoredDtype::Bf16 if same_dtype => {
                found.add_part(&from, &to, |bytes| bf16::from_le_bytes(bytes).to_f32(), distance_16);
            }
            _ if same_dtype => found.add_part(&from, &to, f32::from_le_bytes, distance_32),
            _ => {
                let [from, to] = [(ours, &from), (theirs, &to)].map(|(tensor, part)| widened(tensor.dtype(), part));
                found.add_part(&from, &to, f32::from_le_bytes, distance_32);
            }
        }
    }
    Ok(found)
}

impl Differences {
    /// The next elements of both, which are `BYTES` long.
    fn add_part<const BYTES: usize>(
        &mut self,
        base: &[u8],
        tuned: &[u8],
        number: impl Fn([u8; BYTES]) -> f32,
        distance: impl Fn([u8; BYTES], [u8; BYTES]) -> i64,
    ) {
        let pairs = base.as_chunks::<BYTES>().0.iter().zip(tuned.as_chunks::<BYTES>().0);
        for (index, (&from, &to)) in (self.likeness.element_count..).zip(pairs) {
            let (base, tuned) = (number(from), number(to));
            self.likeness.add_pair(f64::from(base), f64::from(tuned), from != to);
            if from == to {
                continue;
            }
            self.not_finite_count += u64::from(!tuned.is_finite());
            let delta = tuned - base;
            if !delta.is_finite() {
                self.first_not_finite = self.first_not_finite.or(Some(index));
            }
            match self.exactness {
                Exactness::Lossless => self.distances.push(distance(from, to)),
                Exactness::Rounded if delta == 0.0 => continue,
                Exactness::Rounded => self.numbers.push(delta),
            }
            self.indices.push(index);
        }
    }
}

fn distance_16(from: [u8; 2], to: [u8; 2]) -> i64 {
    distance::u16(u16::from_le_bytes(from), u16::from_le_bytes(to))
}

fn distance_32(from: [u8; 4], to: [u8; 4]) -> i64 {
    distance::f32(f32::from_le_bytes(from), f32::from_le_bytes(to))
}

/// The elements as f32, which holds every number of f16 and bf16.
fn widened(dtype: StoredDtype, part: &[u8]) -> Vec<u8> {
    let halves = part.as_chunks().0.iter();
    match dtype {
        StoredDtype::F16 => halves.flat_map(|&bytes| f16::from_le_bytes(bytes).to_f32().to_le_bytes()).collect(),
        StoredDtype::Bf16 => halves.flat_map(|&bytes| bf16::from_le_bytes(bytes).to_f32().to_le_bytes()).collect(),
        _ => part.to_vec(),
    }
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
