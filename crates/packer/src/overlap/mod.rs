//! Two packs for one base, side by side: how much their masks share, and whether their deltas pull the same way there.
//!
//! Skills with disjoint masks, or with deltas at right angles, can be in force together without changing each other's
//! weights; signs that oppose are what merging methods argue about (Yadav et al. 2023, TIES). How much two masks would share
//! if both were drawn at random is told beside what they share.
//!
//! Deltas are compared as a reader sees them, whatever their encodings. A lossless pack holds distances between bit patterns,
//! and only the base makes deltas of them: without it such a tensor is compared by its mask alone.

mod interference;

use std::cmp::Ordering;
use std::path::Path;

use serde::Serialize;
use taskvec_arithmetic::{Bf16, F16, Narrow16, distance};
use taskvec_checkpoint::Checkpoint;
use taskvec_pack::{Dtype, Limits, Pack, TensorEntry};

use crate::apply::check_belongs;
use crate::error::{Error, Result};
use crate::task_vector::{Deltas, TensorDelta};

pub use interference::{Interference, Standing, TaskInterference, interference};

/// Two packs compared. In every pair the first pack comes first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// The packs.
    pub packs: [OverlapPack; 2],
    /// Fingerprint of the base that both were made for.
    pub base: String,
    /// Each tensor that one of them changes, in byte order of names.
    pub tensors: Vec<TensorOverlap>,
    /// All tensors together, those too that only one of the packs changes.
    pub total: Shared,
}

/// One of two packs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OverlapPack {
    /// The name its maker gave it.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// Size of the file.
    pub pack_bytes: u64,
}

/// One tensor in two packs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorOverlap {
    /// Its name.
    pub name: String,
    /// What the two have there.
    #[serde(flatten)]
    pub shared: Shared,
}

/// What two packs have in one tensor, or in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shared {
    /// Elements of the tensor.
    pub elements: u64,
    /// Entries of each.
    pub entries: [u64; 2],
    /// Bytes of masks and values of each.
    pub bytes: [u64; 2],
    /// Elements that are entries of both.
    pub common: u64,
    /// As many as two masks of these sizes share on average when they are drawn at random, tensor by tensor.
    pub common_by_chance: f64,
    /// Elements in common divided by elements in either, 0 to 1; 0 without any.
    pub jaccard: f64,
    /// Elements in common whose deltas have opposite signs; none where deltas are not known.
    pub opposed: Option<u64>,
    /// Cosine of the deltas in common, -1 to 1; none where they are not known, or one side has none but zeros.
    pub cosine_in_common: Option<f64>,
    /// Cosine of the two task vectors, an element without an entry being 0; none as above.
    pub cosine: Option<f64>,
}

/// Compares two packs tensor by tensor; `base` is read only for tensors that are written losslessly.
///
/// # Errors
/// `Mismatch` when the packs were made for different bases, disagree about a tensor, or `base` is another one; `Damaged`,
/// `Unsupported` or `Limit` for a pack or base that cannot be read, `Io`.
pub fn overlap(first: &[u8], second: &[u8], base: Option<&Path>) -> Result<Overlap> {
    let base = base.map(Checkpoint::open).transpose()?;
    if let Some(base) = &base {
        [first, second].into_iter().try_for_each(|pack| check_belongs(base, pack))?;
    }
    let read = |bytes, which| {
        Pack::read(bytes, &Limits::default())
            .map_err(|cause| Error::from_pack(cause, format!("the {which} pack cannot be read")))
    };
    let (ours, theirs) = (read(first, "first")?, read(second, "second")?);
    check_same_base(&ours, &theirs)?;
    let (mut tensors, mut total) = (Vec::new(), Counts::default());
    for (ours, theirs) in pairs(&ours, &theirs) {
        let counts = Counts::of(base.as_ref(), ours, theirs)?;
        let name = ours.or(theirs).map_or("", |entry| entry.name()).to_owned();
        tensors.push(TensorOverlap { name, shared: counts.shared() });
        total.add(&counts);
    }
    let about = |pack: &Pack<'_>, bytes: &[u8]| OverlapPack {
        name: pack.manifest().name.to_owned(),
        digest: pack.digest().to_string(),
        pack_bytes: bytes.len() as u64,
    };
    let packs = [about(&ours, first), about(&theirs, second)];
    Ok(Overlap { packs, base: ours.manifest().base.to_string(), tensors, total: total.shared() })
}

/// What is counted over the elements of one tensor, or of all.
#[derive(Clone, Copy, Debug)]
struct Counts {
    elements: u64,
    entries: [u64; 2],
    bytes: [u64; 2],
    common: u64,
    common_by_chance: f64,
    /// False once a tensor was met whose deltas are not known.
    known: bool,
    opposed: u64,
    /// Sum of products.
    product: f64,
    /// Sums of squares of the entries in common.
    squares_in_common: [f64; 2],
    /// Sums of squares of all entries.
    squares: [f64; 2],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            elements: 0,
            entries: [0; 2],
            bytes: [0; 2],
            common: 0,
            common_by_chance: 0.0,
            known: true,
            opposed: 0,
            product: 0.0,
            squares_in_common: [0.0; 2],
            squares: [0.0; 2],
        }
    }
}

impl Counts {
    /// Of one tensor, which at least one pack has.
    fn of(base: Option<&Checkpoint>, ours: Option<TensorEntry<'_>>, theirs: Option<TensorEntry<'_>>) -> Result<Counts> {
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            check_same_form(&ours, &theirs)?;
        }
        let both = [ours, theirs];
        let entries = both.map(|entry| entry.map_or(0, |entry| entry.entry_count()));
        let bytes = |entry: TensorEntry<'_>| (entry.index_bytes().len() + entry.value_bytes().len()) as u64;
        let elements = ours.or(theirs).map_or(0, |entry| entry.element_count());
        let mut counts = Counts {
            elements,
            entries,
            bytes: both.map(|entry| entry.map_or(0, bytes)),
            common_by_chance: entries[0] as f64 * entries[1] as f64 / elements.max(1) as f64,
            ..Counts::default()
        };
        let [ours, theirs] = [known(base, ours)?, known(base, theirs)?];
        counts.walk(&ours, &theirs);
        Ok(counts)
    }

    /// Goes through the indices of both, ascending.
    fn walk(&mut self, ours: &Known, theirs: &Known) {
        self.known = ours.deltas.is_some() && theirs.deltas.is_some();
        let delta = |known: &Known, at: usize| known.deltas.as_ref().map_or(0.0, |deltas| f64::from(deltas[at]));
        let all = |known: &Known| known.deltas.iter().flatten().map(|delta| f64::from(*delta).powi(2)).sum();
        self.squares = [all(ours), all(theirs)];
        let (mut at, mut place) = (0, 0);
        while let (Some(index), Some(other)) = (ours.indices.get(at), theirs.indices.get(place)) {
            match index.cmp(other) {
                Ordering::Less => at += 1,
                Ordering::Greater => place += 1,
                Ordering::Equal => {
                    let (a, b) = (delta(ours, at), delta(theirs, place));
                    self.common += 1;
                    self.opposed += u64::from(a * b < 0.0);
                    self.product += a * b;
                    self.squares_in_common[0] += a * a;
                    self.squares_in_common[1] += b * b;
                    (at, place) = (at + 1, place + 1);
                }
            }
        }
    }

    fn add(&mut self, other: &Counts) {
        self.elements += other.elements;
        self.common += other.common;
        self.common_by_chance += other.common_by_chance;
        self.known &= other.known;
        self.opposed += other.opposed;
        self.product += other.product;
        for side in 0..2 {
            self.entries[side] += other.entries[side];
            self.bytes[side] += other.bytes[side];
            self.squares_in_common[side] += other.squares_in_common[side];
            self.squares[side] += other.squares[side];
        }
    }

    fn shared(&self) -> Shared {
        let cosine = |squares: [f64; 2]| {
            let cosine = self.product / (squares[0].sqrt() * squares[1].sqrt());
            Some(cosine.clamp(-1.0, 1.0)).filter(|cosine| self.known && cosine.is_finite())
        };
        let either = self.entries[0] + self.entries[1] - self.common;
        Shared {
            elements: self.elements,
            entries: self.entries,
            bytes: self.bytes,
            common: self.common,
            common_by_chance: self.common_by_chance,
            jaccard: self.common as f64 / either.max(1) as f64,
            opposed: self.known.then_some(self.opposed),
            cosine_in_common: cosine(self.squares_in_common),
            cosine: cosine(self.squares),
        }
    }
}

/// The entries of one tensor in one pack.
#[derive(Default)]
struct Known {
    indices: Vec<u64>,
    /// None where only the base would tell them.
    deltas: Option<Vec<f32>>,
}

fn known(base: Option<&Checkpoint>, entry: Option<TensorEntry<'_>>) -> Result<Known> {
    // A tensor that a pack does not have is one of no entries.
    let Some(entry) = entry else { return Ok(Known { indices: Vec::new(), deltas: Some(Vec::new()) }) };
    let TensorDelta { indices, deltas, .. } = TensorDelta::of_entry(&entry);
    let deltas = match (deltas, base) {
        (Deltas::Numbers(numbers), _) => Some(numbers),
        (Deltas::Distances(_), None) => None,
        (Deltas::Distances(distances), Some(base)) => Some(differences(base, &entry, &indices, &distances)?),
    };
    Ok(Known { indices, deltas })
}

/// Tuned minus base at these indices. (The base has the tensor: that was checked.)
fn differences(base: &Checkpoint, entry: &TensorEntry<'_>, indices: &[u64], distances: &[i64]) -> Result<Vec<f32>> {
    let Some(tensor) = base.tensor(entry.name()) else { return Ok(Vec::new()) };
    let bytes = base.read(tensor)?;
    let steps = indices.iter().map(|index| *index as usize).zip(distances.iter().copied());
    Ok(match entry.dtype() {
        Dtype::F16 => differences_16::<F16>(&bytes, steps),
        Dtype::BF16 => differences_16::<Bf16>(&bytes, steps),
        _ => {
            let base = bytes.as_chunks().0;
            let from = |index: usize| f32::from_le_bytes(base[index]);
            steps.map(|(index, distance)| distance::apply_f32(from(index), distance) - from(index)).collect()
        }
    })
}

fn differences_16<N: Narrow16>(bytes: &[u8], steps: impl Iterator<Item = (usize, i64)>) -> Vec<f32> {
    let base = bytes.as_chunks().0;
    let from = |index: usize| u16::from_le_bytes(base[index]);
    steps
        .map(|(index, distance)| N::widen(distance::apply_u16(from(index), distance)) - N::widen(from(index)))
        .collect()
}

/// The tensors of both, in byte order of names, which is theirs.
fn pairs<'a>(ours: &Pack<'a>, theirs: &Pack<'a>) -> Vec<(Option<TensorEntry<'a>>, Option<TensorEntry<'a>>)> {
    let (mut ours, mut theirs) = (ours.tensors().peekable(), theirs.tensors().peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (ours.peek(), theirs.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(ours), Some(theirs)) => ours.name().cmp(theirs.name()),
        };
        let first = if order == Ordering::Greater { None } else { ours.next() };
        let second = if order == Ordering::Less { None } else { theirs.next() };
        pairs.push((first, second));
    }
}

fn check_same_base(ours: &Pack<'_>, theirs: &Pack<'_>) -> Result<()> {
    let [ours, theirs] = [ours, theirs].map(|pack| pack.manifest());
    if ours.base == theirs.base {
        return Ok(());
    }
    Err(Error::mismatch(format!(
        "pack `{}` was made for base {}, pack `{}` for {}",
        ours.name, ours.base, theirs.name, theirs.base
    ))
    .with_help("masks and deltas of different bases have nothing in common; name two packs for one base"))
}

/// Packs for one base cannot disagree about a tensor, unless one of them lies.
fn check_same_form(ours: &TensorEntry<'_>, theirs: &TensorEntry<'_>) -> Result<()> {
    if ours.dtype() == theirs.dtype() && ours.shape().eq(theirs.shape()) {
        return Ok(());
    }
    let shape = |entry: &TensorEntry<'_>| format!("{} {:?}", entry.dtype(), entry.shape().collect::<Vec<_>>());
    Err(Error::mismatch(format!(
        "tensor `{}` is {} in the first pack, {} in the second",
        ours.name(),
        shape(ours),
        shape(theirs)
    ))
    .with_help("one of the packs does not belong to the base that it names; `taskvec verify --base` tells which"))
}

#[cfg(test)]
mod tests;
