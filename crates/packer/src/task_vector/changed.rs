//! What changed in one tensor, gone through as often as need be, in less memory than the tensor has.
//!
//! Few entries are held. Where there are so many that they would take more memory than the tensor itself, they are not: the two
//! checkpoints are read again, which costs little beside encoding so many. What the first elements are like decides, so that a
//! tensor that changed everywhere does not fill the memory before that is known.

use taskvec_pack::Dtype;

use super::likeness::Likeness;
use super::pair::{Pair, Visitor};
use super::{Deltas, DeltasPart, Exactness, TensorDelta};
use crate::error::{Error, Result};

/// Entries that are held of a tensor of any size, and before anything is decided.
const HELD_BYTES_MIN: u64 = 4 << 20;

/// A tensor that changed.
#[derive(Clone, Debug)]
pub struct ChangedTensor<'a> {
    pair: Pair<'a>,
    dtype: Dtype,
    exactness: Exactness,
    entry_count: u64,
    /// Part by part, as they were read; none where the files are read again.
    held: Option<Vec<Entries>>,
}

/// One tensor after comparing it.
pub(super) struct Found<'a> {
    /// None if there are no entries.
    pub(super) changed: Option<ChangedTensor<'a>>,
    pub(super) likeness: Likeness,
    pub(super) not_finite_count: u64,
}

impl<'a> ChangedTensor<'a> {
    /// Compares a pair whose base is of this dtype.
    pub(super) fn find(pair: Pair<'a>, dtype: Dtype, exactness: Exactness) -> Result<Found<'a>> {
        let mut finder = Finder {
            exactness,
            element_count: pair.ours.element_count(),
            held_max: pair.ours.size_bytes().max(HELD_BYTES_MIN) / entry_bytes(exactness),
            likeness: Likeness::default(),
            not_finite_count: 0,
            first_not_finite: None,
            entry_count: 0,
            part: Entries::new(exactness),
            held: Some(Vec::new()),
        };
        pair.visit(&mut finder)?;
        if let Some(index) = finder.first_not_finite.filter(|_| exactness == Exactness::Rounded) {
            return Err(Error::damaged(format!(
                "tensor `{}`: the delta of element {index} is not a finite number",
                pair.ours.name()
            ))
            .with_help("a lossless pack can hold it; a checkpoint with NaN or infinite weights is seldom meant"));
        }
        let Finder { likeness, not_finite_count, entry_count, held, .. } = finder;
        let changed = ChangedTensor { pair, dtype, exactness, entry_count, held };
        Ok(Found { changed: (entry_count > 0).then_some(changed), likeness, not_finite_count })
    }

    /// Its name in the base's file.
    pub fn name(&self) -> &str {
        self.pair.ours.name()
    }

    /// Type of its elements there.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its dimensions, row-major.
    pub fn shape(&self) -> &[u64] {
        self.pair.ours.shape()
    }

    /// Elements that changed.
    pub fn entry_count(&self) -> u64 {
        self.entry_count
    }

    /// Whether its entries are in memory, and not read again.
    #[cfg(test)]
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Hands all entries to `take`, part by part: strictly ascending indices, and by how much each element changed.
    ///
    /// # Errors
    /// What `take` returns; `Io` when a file cannot be read any more.
    pub fn replay(&self, take: &mut dyn FnMut(&[u64], DeltasPart<'_>) -> Result<()>) -> Result<()> {
        match &self.held {
            Some(parts) => parts.iter().try_for_each(|part| take(&part.indices, part.deltas.as_part())),
            None => self.pair.visit(&mut Replay { at: 0, entries: Entries::new(self.exactness), take }),
        }
    }

    /// The tensor with all its entries in memory.
    ///
    /// # Errors
    /// `Io` when a file cannot be read any more.
    pub fn into_delta(self) -> Result<TensorDelta> {
        let mut all = Entries::new(self.exactness);
        self.replay(&mut |indices, deltas| {
            all.extend(indices, deltas);
            Ok(())
        })?;
        let (name, dtype, shape) = (self.name().to_owned(), self.dtype, self.shape().to_vec());
        Ok(TensorDelta { name, dtype, shape, indices: all.indices, deltas: all.deltas })
    }
}

/// Entries in memory.
#[derive(Clone, Debug)]
struct Entries {
    indices: Vec<u64>,
    deltas: Deltas,
}

/// Learns what there is to know of a pair, and holds its entries while they are few.
struct Finder {
    exactness: Exactness,
    /// Of the whole tensor.
    element_count: u64,
    /// Entries that are held at most.
    held_max: u64,
    likeness: Likeness,
    not_finite_count: u64,
    /// First index whose delta, as a number, is not finite.
    first_not_finite: Option<u64>,
    entry_count: u64,
    /// Those of one part.
    part: Entries,
    /// Those of the parts before; none once they were too many.
    held: Option<Vec<Entries>>,
}

/// Hands over the entries of a pair.
struct Replay<'t, 'f> {
    /// Index of the next element.
    at: u64,
    /// Those of one part.
    entries: Entries,
    take: &'t mut (dyn FnMut(&[u64], DeltasPart<'_>) -> Result<()> + 'f),
}

impl Entries {
    fn new(exactness: Exactness) -> Entries {
        let deltas = match exactness {
            Exactness::Lossless => Deltas::Distances(Vec::new()),
            Exactness::Rounded => Deltas::Numbers(Vec::new()),
        };
        Entries { indices: Vec::new(), deltas }
    }

    fn clear(&mut self) {
        self.indices.clear();
        match &mut self.deltas {
            Deltas::Numbers(numbers) => numbers.clear(),
            Deltas::Distances(distances) => distances.clear(),
        }
    }

    #[inline]
    fn push(&mut self, index: u64, delta: f32, distance: impl Fn() -> i64) {
        self.indices.push(index);
        match &mut self.deltas {
            Deltas::Numbers(numbers) => numbers.push(delta),
            Deltas::Distances(distances) => distances.push(distance()),
        }
    }

    fn extend(&mut self, indices: &[u64], deltas: DeltasPart<'_>) {
        self.indices.extend_from_slice(indices);
        match (&mut self.deltas, deltas) {
            (Deltas::Numbers(numbers), DeltasPart::Numbers(more)) => numbers.extend_from_slice(more),
            (Deltas::Distances(distances), DeltasPart::Distances(more)) => distances.extend_from_slice(more),
            // Both are of the exactness of one tensor.
            _ => {}
        }
    }
}

impl Finder {
    /// Holds the entries of this part too, or no entries any more.
    fn hold(&mut self) {
        let Some(held) = &mut self.held else { return };
        // What there will be if it goes on like this.
        let seen = u128::from(self.likeness.element_count.max(1));
        let expected = u128::from(self.entry_count) * u128::from(self.element_count) / seen;
        let is_decided = self.entry_count > HELD_BYTES_MIN / entry_bytes(self.exactness);
        if is_decided && expected > u128::from(self.held_max) {
            self.held = None;
        } else if !self.part.indices.is_empty() {
            // Of their own length: what is pushed to grows ahead.
            held.push(self.part.clone());
        }
        self.part.clear();
    }
}

impl Visitor for Finder {
    fn part<const BYTES: usize>(
        &mut self,
        base: &[[u8; BYTES]],
        tuned: &[[u8; BYTES]],
        number: impl Fn([u8; BYTES]) -> f32,
        distance: impl Fn([u8; BYTES], [u8; BYTES]) -> i64,
    ) -> Result<()> {
        for (index, (&from, &to)) in (self.likeness.element_count..).zip(base.iter().zip(tuned)) {
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
            if self.exactness == Exactness::Rounded && delta == 0.0 {
                continue;
            }
            self.entry_count += 1;
            if self.held.is_some() {
                self.part.push(index, delta, || distance(from, to));
            }
        }
        self.hold();
        Ok(())
    }
}

impl Visitor for Replay<'_, '_> {
    fn part<const BYTES: usize>(
        &mut self,
        base: &[[u8; BYTES]],
        tuned: &[[u8; BYTES]],
        number: impl Fn([u8; BYTES]) -> f32,
        distance: impl Fn([u8; BYTES], [u8; BYTES]) -> i64,
    ) -> Result<()> {
        self.entries.clear();
        let pairs = (self.at..).zip(base.iter().zip(tuned)).filter(|(_, (from, to))| from != to);
        match &mut self.entries.deltas {
            Deltas::Numbers(numbers) => {
                for (index, (&from, &to)) in pairs {
                    let delta = number(to) - number(from);
                    if delta != 0.0 {
                        self.entries.indices.push(index);
                        numbers.push(delta);
                    }
                }
            }
            Deltas::Distances(distances) => {
                for (index, (&from, &to)) in pairs {
                    self.entries.indices.push(index);
                    distances.push(distance(from, to));
                }
            }
        }
        self.at += base.len() as u64;
        (self.take)(&self.entries.indices, self.entries.deltas.as_part())
    }
}

/// What one entry takes in memory.
fn entry_bytes(exactness: Exactness) -> u64 {
    let delta_bytes = match exactness {
        Exactness::Lossless => size_of::<i64>(),
        Exactness::Rounded => size_of::<f32>(),
    };
    (size_of::<u64>() + delta_bytes) as u64
}
