//! Fine-tuned minus base, from two checkpoints: which elements differ, and by how much.
//!
//! One tensor of each file is in memory at a time. What is decided here:
//!
//! - **Changed** means other bits. A zero that changed its sign is changed, a NaN that kept its bits is not.
//! - A **lossless** task vector holds distances between bit patterns (`FORMAT.md`, 6.11) and brings every bit back, NaN
//!   included. One of **deltas** holds `tuned - base` in f32; a delta that is 0 or not finite is no entry: zeros are left out, and
//!   what is not finite is refused, since no coefficient could make sense of it.
//! - Heads (`heads.*`) are no part of a base model and are not compared.
//! - Two models that merely have the same architecture give a task vector too, but a useless one: as large as the model, and
//!   wrong at every coefficient but 1. The sign is the **cosine** between the two models' weights. It is taken over
//!   matrices (two or more dimensions above 1), because norm weights and biases of strangers agree as well: they all start at
//!   1 and 0. Fine-tuned pairs that were measured have 0.60 and more even where every weight moved by its own size
//!   (waifu2x, resumed for months); strangers have 0.00 (rnnoise, two trainings).

use half::{bf16, f16};
use taskvec_arithmetic::distance;
use taskvec_bundle::TensorInfo;
use taskvec_pack::{Dtype, Fingerprint};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// Weight cosine below which two checkpoints are taken for strangers: half of what the loosest related pair has.
pub const RELATED_COSINE_MIN: f64 = 0.3;

/// How many faults one message names.
const SHOWN_FAULTS: usize = 3;

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

/// Whether the tuned bits must come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Distances between bit patterns.
    Lossless,
    /// Differences in f32.
    Rounded,
}

/// What comparing two checkpoints found, beside the task vector itself.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One line for each tensor, in byte order of names.
    pub tensors: Vec<TensorComparison>,
    /// All of them together.
    pub whole: Likeness,
    /// Those with two or more dimensions above 1.
    pub matrices: Likeness,
    /// Tuned elements that are NaN or infinite and differ from the base's.
    pub non_finite_count: u64,
}

/// How one tensor differs.
#[derive(Clone, Debug)]
pub struct TensorComparison {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub likeness: Likeness,
}

/// How alike two sets of numbers are, pair by pair; pairs with a number that is not finite count as elements only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likeness {
    /// Elements compared.
    pub element_count: u64,
    /// Those with other bits.
    pub changed_count: u64,
    product: f64,
    base_square: f64,
    tuned_square: f64,
    delta_square: f64,
}

/// A finding that does not stop a comparison, but that its reader must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One clause.
    pub message: String,
    /// The next step.
    pub help: String,
}

impl TaskVector {
    /// Tuned minus base, with what the comparison found.
    ///
    /// # Errors
    /// As [`compare`].
    pub fn between(base: &Checkpoint, tuned: &Checkpoint, exactness: Exactness) -> Result<(TaskVector, Comparison)> {
        let mut tensors = Vec::new();
        let comparison = compare(base, tuned, exactness, |tensor| {
            tensors.push(tensor);
            Ok(())
        })?;
        Ok((TaskVector { base: base.fingerprint()?, tensors }, comparison))
    }

    /// Elements that it changes.
    pub fn entry_count(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.indices.len() as u64).sum()
    }
}

/// Compares tensor by tensor and hands each changed one to `sink`, in byte order of names, so that a task vector of any size
/// passes through the memory of its largest tensor.
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
    check_same_form(base, tuned)?;
    let mut comparison = Comparison {
        tensors: Vec::new(),
        whole: Likeness::default(),
        matrices: Likeness::default(),
        non_finite_count: 0,
    };
    for (ours, theirs) in base.body().zip(tuned.body()) {
        let dtype = base.editable_dtype(ours)?;
        let (from, to) = (base.read(ours)?, tuned.read(theirs)?);
        let found = match dtype {
            Dtype::F16 => {
                let number = |bytes| f16::from_le_bytes(bytes).to_f32();
                differences(&from, &to, exactness, number, |a, b| {
                    distance::u16(u16::from_le_bytes(a), u16::from_le_bytes(b))
                })
            }
            Dtype::BF16 => {
                let number = |bytes| bf16::from_le_bytes(bytes).to_f32();
                differences(&from, &to, exactness, number, |a, b| {
                    distance::u16(u16::from_le_bytes(a), u16::from_le_bytes(b))
                })
            }
            _ => differences(&from, &to, exactness, f32::from_le_bytes, |a, b| {
                distance::f32(f32::from_le_bytes(a), f32::from_le_bytes(b))
            }),
        };
        if let Some(index) = found.first_not_finite.filter(|_| exactness == Exactness::Rounded) {
            return Err(Error::damaged(format!(
                "tensor `{}`: the delta of element {index} is not a finite number",
                ours.name()
            ))
            .with_help("a lossless pack can hold it; a checkpoint with NaN or infinite weights is seldom meant"));
        }
        comparison.add(ours, &found);
        if !found.indices.is_empty() {
            sink(TensorDelta {
                name: ours.name().to_owned(),
                dtype,
                shape: ours.shape().to_vec(),
                indices: found.indices,
                deltas: found.deltas,
            })?;
        }
    }
    Ok(comparison)
}

impl Comparison {
    /// What its reader must know: strangers, numbers that are not finite, nothing changed at all.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let judged = self.judged();
        if !judged.is_related() {
            warnings.push(Warning {
                message: format!(
                    "the checkpoints look unrelated: weight cosine {:.2}, norm of difference / norm of base {:.2}, {:.1} % of \
                     the elements differ",
                    // Not "-0.00".
                    (judged.cosine() * 100.0).round() / 100.0 + 0.0,
                    judged.relative_change(),
                    100.0 * judged.changed_share()
                ),
                help: format!(
                    "a fine-tuned model keeps a cosine above {RELATED_COSINE_MIN} with its base: name the checkpoint that this \
                     one was trained from; this pack replaces the base model at alpha 1 and breaks it at any other"
                ),
            });
        }
        if self.non_finite_count > 0 {
            warnings.push(Warning {
                message: format!("{} tuned elements are NaN or infinite", self.non_finite_count),
                help: "the pack brings them back at alpha 1; check the training run that made them".to_owned(),
            });
        }
        if self.whole.changed_count == 0 {
            warnings.push(Warning {
                message: "the checkpoints are equal: the pack changes nothing".to_owned(),
                help: "check that the second file is the tuned one".to_owned(),
            });
        }
        warnings
    }

    /// What the verdict is taken from: the matrices, or everything where there is none.
    pub fn judged(&self) -> &Likeness {
        if self.matrices.element_count > 0 { &self.matrices } else { &self.whole }
    }

    fn add(&mut self, tensor: &TensorInfo, found: &Differences) {
        self.whole.add(&found.likeness);
        if tensor.shape().iter().filter(|&&size| size > 1).count() >= 2 {
            self.matrices.add(&found.likeness);
        }
        self.non_finite_count += found.not_finite_count;
        self.tensors.push(TensorComparison { name: tensor.name().to_owned(), likeness: found.likeness });
    }
}

impl Likeness {
    /// Cosine of the angle between base and tuned, -1 to 1; 1 for two that are equal, 0 where one of them is all zero.
    pub fn cosine(&self) -> f64 {
        if self.changed_count == 0 {
            return 1.0;
        }
        let norms = (self.base_square * self.tuned_square).sqrt();
        if norms > 0.0 { self.product / norms } else { 0.0 }
    }

    /// Norm of the difference divided by the norm of the base; infinite where only the base is all zero.
    pub fn relative_change(&self) -> f64 {
        if self.delta_square == 0.0 { 0.0 } else { (self.delta_square / self.base_square).sqrt() }
    }

    /// Share of the elements with other bits, 0 to 1.
    pub fn changed_share(&self) -> f64 {
        if self.element_count == 0 { 0.0 } else { self.changed_count as f64 / self.element_count as f64 }
    }

    /// Whether one can be a fine-tuned form of the other.
    pub fn is_related(&self) -> bool {
        self.cosine() >= RELATED_COSINE_MIN
    }

    fn add(&mut self, other: &Likeness) {
        self.element_count += other.element_count;
        self.changed_count += other.changed_count;
        self.product += other.product;
        self.base_square += other.base_square;
        self.tuned_square += other.tuned_square;
        self.delta_square += other.delta_square;
    }

    fn add_pair(&mut self, base: f64, tuned: f64) {
        if base.is_finite() && tuned.is_finite() {
            self.product += base * tuned;
            self.base_square += base * base;
            self.tuned_square += tuned * tuned;
            self.delta_square += (tuned - base) * (tuned - base);
        }
    }
}

struct Differences {
    indices: Vec<u64>,
    deltas: Deltas,
    likeness: Likeness,
    not_finite_count: u64,
    /// First index whose delta, as a number, is not finite.
    first_not_finite: Option<u64>,
}

/// The changed elements of one tensor, whose elements are `BYTES` long.
fn differences<const BYTES: usize>(
    base: &[u8],
    tuned: &[u8],
    exactness: Exactness,
    number: impl Fn([u8; BYTES]) -> f32,
    distance: impl Fn([u8; BYTES], [u8; BYTES]) -> i64,
) -> Differences {
    let (mut indices, mut numbers, mut distances) = (Vec::new(), Vec::new(), Vec::new());
    let mut likeness = Likeness::default();
    let (mut not_finite_count, mut first_not_finite) = (0, None);
    let pairs = base.as_chunks::<BYTES>().0.iter().zip(tuned.as_chunks::<BYTES>().0);
    for (index, (&from, &to)) in (0u64..).zip(pairs) {
        let (base, tuned) = (number(from), number(to));
        likeness.element_count += 1;
        likeness.add_pair(f64::from(base), f64::from(tuned));
        if from == to {
            continue;
        }
        likeness.changed_count += 1;
        not_finite_count += u64::from(!tuned.is_finite());
        let delta = tuned - base;
        if !delta.is_finite() {
            first_not_finite = first_not_finite.or(Some(index));
        }
        match exactness {
            Exactness::Lossless => distances.push(distance(from, to)),
            Exactness::Rounded if delta == 0.0 => continue,
            Exactness::Rounded => numbers.push(delta),
        }
        indices.push(index);
    }
    let deltas = match exactness {
        Exactness::Lossless => Deltas::Distances(distances),
        Exactness::Rounded => Deltas::Numbers(numbers),
    };
    Differences { indices, deltas, likeness, not_finite_count, first_not_finite }
}

/// That both have the same tensors, heads aside: names, shapes, dtypes.
fn check_same_form(base: &Checkpoint, tuned: &Checkpoint) -> Result<()> {
    let mut faults = Vec::new();
    for ours in base.body() {
        match tuned.tensor(ours.name()) {
            None => faults.push(format!("tensor `{}` is in the base only", ours.name())),
            Some(theirs) if theirs.shape() != ours.shape() => {
                let (from, to) = (ours.shape(), theirs.shape());
                faults.push(format!("tensor `{}`: base has shape {from:?}, tuned has {to:?}", ours.name()));
            }
            Some(theirs) if theirs.dtype() != ours.dtype() => {
                let (from, to) = (ours.dtype().name(), theirs.dtype().name());
                faults.push(format!("tensor `{}`: base has dtype {from}, tuned has {to}", ours.name()));
            }
            Some(_) => {}
        }
    }
    let unknown = tuned.body().filter(|theirs| base.tensor(theirs.name()).is_none());
    faults.extend(unknown.map(|theirs| format!("tensor `{}` is in the tuned checkpoint only", theirs.name())));
    if faults.is_empty() {
        return Ok(());
    }
    let mut message = faults[..faults.len().min(SHOWN_FAULTS)].join("; ");
    if faults.len() > SHOWN_FAULTS {
        message.push_str(&format!("; and {} more", faults.len() - SHOWN_FAULTS));
    }
    Err(Error::mismatch(message)
        .with_help(
            "a task vector is a difference of two checkpoints with the same tensors, of the same shapes and dtypes",
        )
        .within(format!("`{}` and `{}` are not of one form", base.path().display(), tuned.path().display())))
}

#[cfg(test)]
mod tests;
