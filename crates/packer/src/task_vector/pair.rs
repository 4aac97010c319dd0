//! One tensor of two checkpoints, part by part.

use std::borrow::Cow;

use half::{bf16, f16};
use taskvec_arithmetic::distance;
use taskvec_bundle::StoredDtype;
use taskvec_checkpoint::{Checkpoint, StoredTensor};

use crate::error::Result;

/// Elements that are gone through at a time: what is made of them stays in the cache of a core.
const PART_ELEMENTS: usize = 1 << 16;

/// A tensor of the base and the same one tuned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) base: &'a Checkpoint,
    pub(super) ours: &'a StoredTensor,
    pub(super) tuned: &'a Checkpoint,
    pub(super) theirs: &'a StoredTensor,
}

/// What is done with the elements of a pair.
pub(super) trait Visitor {
    /// The next elements of both, which are `BYTES` long; how they are read as numbers, and how far they are apart.
    fn part<const BYTES: usize>(
        &mut self,
        base: &[[u8; BYTES]],
        tuned: &[[u8; BYTES]],
        number: impl Fn([u8; BYTES]) -> f32,
        distance: impl Fn([u8; BYTES], [u8; BYTES]) -> i64,
    ) -> Result<()>;
}

impl Pair<'_> {
    /// Shows all elements to `visitor`, in their own dtype if both have the same, else widened to f32.
    pub(super) fn visit(&self, visitor: &mut impl Visitor) -> Result<()> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let (mut base, mut tuned) = (self.base.reader(self.ours)?, self.tuned.reader(self.theirs)?);
        let [ours, theirs] = [self.ours.dtype(), self.theirs.dtype()];
        while base.read(PART_ELEMENTS, &mut from)? && tuned.read(PART_ELEMENTS, &mut to)? {
            match ours {
                StoredDtype::F16 if ours == theirs => {
                    let number = |bytes| f16::from_le_bytes(bytes).to_f32();
                    visitor.part(from.as_chunks().0, to.as_chunks().0, number, distance_16)?;
                }
                StoredDtype::Bf16 if ours == theirs => {
                    let number = |bytes| bf16::from_le_bytes(bytes).to_f32();
                    visitor.part(from.as_chunks().0, to.as_chunks().0, number, distance_16)?;
                }
                _ => {
                    let (from, to) = (widened(ours, &from), widened(theirs, &to));
                    visitor.part(from.as_chunks().0, to.as_chunks().0, f32::from_le_bytes, distance_32)?;
                }
            }
        }
        Ok(())
    }
}

fn distance_16(from: [u8; 2], to: [u8; 2]) -> i64 {
    distance::u16(u16::from_le_bytes(from), u16::from_le_bytes(to))
}

fn distance_32(from: [u8; 4], to: [u8; 4]) -> i64 {
    distance::f32(f32::from_le_bytes(from), f32::from_le_bytes(to))
}

/// The elements as f32, which holds every number of f16 and bf16.
fn widened(dtype: StoredDtype, part: &[u8]) -> Cow<'_, [u8]> {
    let halves = part.as_chunks().0.iter();
    match dtype {
        StoredDtype::F16 => halves.flat_map(|&bytes| f16::from_le_bytes(bytes).to_f32().to_le_bytes()).collect(),
        StoredDtype::Bf16 => halves.flat_map(|&bytes| bf16::from_le_bytes(bytes).to_f32().to_le_bytes()).collect(),
        _ => Cow::Borrowed(part),
    }
}
