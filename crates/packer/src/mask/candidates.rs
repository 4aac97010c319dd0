//! From scores to a mask: which parameters may differ from the base.
//!
//! What is chosen as one piece is a **granule**: an element, a row, 4 KiB of elements, or a tensor. The rules, all of them:
//!
//! - A tensor that the recipe freezes has no candidates. Neither have the key biases (the middle third of
//!   `attn.qkv.bias`): the softmax does not see them, so their gradient is rounding noise and they would always be chosen.
//! - A granule consists of its candidates only; where the last one of a tensor is shorter, it is a granule all the same.
//! - A granule's score is the **mean** of its elements' scores. The sum would prefer short granules.
//! - Granules are taken in the order of their scores until the next one would exceed the budget. Of equal scores the earlier in
//!   the file goes first. So a mask of elements has exactly the promised count, and a mask of longer granules falls short of
//!   it by less than one granule.
//! - The **scope** says where that is done: over all tensors alike with one budget, or in each tensor, or in each row of each
//!   tensor, with the share of the candidates that it began with, rounded. Which one a published figure had is often not said.
//! - At least one granule is taken of whatever is chosen from.
//!
//! The threshold over all tensors is found by counting, 16 bits of the score at a time (a radix select): no copy and no sort of
//! the scores. A single tensor is sorted.

use std::ops::Range;

use super::{Entries, Mask, TensorMask};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::recipe::{Granule, Pattern, Scope};

/// Elements in 4 KiB of f32.
const BLOCK_ELEMENTS: usize = 1024;
/// Ends the name of the joint bias of queries, keys and values.
const QKV_BIAS: &str = "attn.qkv.bias";

/// By what granules are ordered.
#[derive(Clone, Copy, Debug)]
pub enum Ranking<'a> {
    /// Lowest scores first. One list of scores for each tensor, none negative.
    Least(&'a [Vec<f64>]),
    /// Highest scores first.
    Most(&'a [Vec<f64>]),
    /// In an order drawn from this seed.
    Random(u64),
}

/// The elements that may still be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    tensors: Vec<CandidateTensor>,
}

/// The elements of one tensor that may still be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateTensor {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// For each element whether it may still be chosen.
    pub open: Vec<bool>,
}

impl Candidates {
    /// The elements of the tensors that fit one of `maskable`, less those that fit one of `frozen`, less the key biases.
    ///
    /// # Errors
    /// `Usage` when nothing is left, and for a pattern that fits no tensor; `Limit` for a tensor of 2^32 elements.
    pub fn new(tensors: &[(String, Vec<usize>)], maskable: &[Pattern], frozen: &[Pattern]) -> Result<Candidates> {
        if let Some(pattern) = maskable.iter().find(|pattern| !tensors.iter().any(|(name, _)| pattern.matches(name))) {
            let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).take(8).collect();
            return Err(Error::usage(format!(
                "`mask.maskable` names `{pattern}`, which fits no tensor that may be edited"
            ))
            .with_help(format!("the base's tensors begin with {}", names.join(", "))));
        }
        let mut candidates = Vec::new();
        for (name, shape) in tensors {
            let count: usize = shape.iter().product();
            if u32::try_from(count).is_err() {
                return Err(Error::limit(format!(
                    "tensor `{name}` has {count} elements, a mask takes at most 4294967295"
                )));
            }
            let fits = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
            let mut open = vec![fits(maskable) && !fits(frozen); count];
            if name.ends_with(QKV_BIAS) {
                open[count / 3..count / 3 * 2].fill(false);
            }
            candidates.push(CandidateTensor { name: name.clone(), shape: shape.clone(), open });
        }
        let candidates = Candidates { tensors: candidates };
        if candidates.count() == 0 {
            return Err(Error::usage("`mask.maskable` and `mask.frozen` together leave nothing that could learn")
                .with_help("take a pattern out of `mask.frozen`, or add one to `mask.maskable`"));
        }
        Ok(candidates)
    }

    /// The candidates tensor by tensor, in the order of the network.
    pub fn tensors(&self) -> &[CandidateTensor] {
        &self.tensors
    }

    /// Number of elements that may still be chosen.
    pub fn count(&self) -> u64 {
        self.tensors.iter().map(|tensor| count_open(&tensor.open)).sum()
    }

    /// Closes the candidates for which `closes(tensor, element)` is true, and says how many those were.
    pub fn close(&mut self, mut closes: impl FnMut(usize, usize) -> bool) -> u64 {
        let mut count = 0;
        for (at, tensor) in self.tensors.iter_mut().enumerate() {
            for (index, open) in tensor.open.iter_mut().enumerate().filter(|(_, open)| **open) {
                *open = !closes(at, index);
                count += u64::from(!*open);
            }
        }
        count
    }

    /// Closes the granules that have only zeros for scores, and says how many elements those were.
    pub(crate) fn close_zeros(&mut self, scores: &[Vec<f64>], granule: Granule) -> u64 {
        let mut zeros = Vec::new();
        self.each_granule(Ranking::Least(scores), granule, |tensor, range, key, _| {
            if key == 0 {
                zeros.push((tensor, range));
            }
        });
        let mut count = 0;
        for (tensor, range) in zeros {
            let open = &mut self.tensors[tensor].open[range];
            count += count_open(open);
            open.fill(false);
        }
        count
    }

    /// Keeps the share of the candidates of `first`, an earlier state, that comes first in `ranking`: over all tensors, in each
    /// tensor or in each row.
    pub(crate) fn narrow_within(
        &mut self,
        scope: Scope,
        ranking: Ranking<'_>,
        granule: Granule,
        first: &Candidates,
        share: f64,
    ) {
        if scope == Scope::Global {
            return self.narrow(ranking, granule, share_of(first.count(), share));
        }
        let mut fields: Vec<Field> = Vec::new();
        self.each_granule(ranking, granule, |tensor, range, key, size| {
            let elements = first.tensors[tensor].field(scope, &range);
            if fields.last().is_none_or(|last| last.tensor != tensor || last.elements != elements) {
                fields.push(Field { tensor, elements, granules: Vec::new() });
            }
            fields.last_mut().expect("one was just pushed").granules.push((key, range, size));
        });
        for mut field in fields {
            let open = &mut self.tensors[field.tensor].open;
            let mut left = share_of(count_open(&first.tensors[field.tensor].open[field.elements]), share);
            field.granules.sort_by_key(|(key, ..)| *key);
            let mut is_full = false;
            for (number, (_, range, size)) in field.granules.into_iter().enumerate() {
                is_full |= size > left && number > 0;
                left = left.saturating_sub(size);
                if is_full {
                    open[range].fill(false);
                }
            }
        }
    }

    /// Keeps the granules that come first in `ranking`, as many as have no more than `budget` elements together, and at
    /// least one.
    pub fn narrow(&mut self, ranking: Ranking<'_>, granule: Granule, budget: u64) {
        let (boundary, mut left) = self.boundary(ranking, granule, budget);
        let mut chosen: Vec<Vec<bool>> = self.tensors.iter().map(|tensor| vec![false; tensor.open.len()]).collect();
        let mut first: Option<(u64, usize, Range<usize>)> = None;
        let mut is_empty = true;
        self.each_granule(ranking, granule, |tensor, range, key, size| {
            if first.as_ref().is_none_or(|(lowest, ..)| key < *lowest) {
                first = Some((key, tensor, range.clone()));
            }
            let fits = key < boundary || (key == boundary && size <= left);
            if key == boundary {
                // The first one that does not fit any more is the last one that is looked at.
                left = if fits { left - size } else { 0 };
            }
            if fits {
                chosen[tensor][range].fill(true);
                is_empty = false;
            }
        });
        if let (true, Some((_, tensor, range))) = (is_empty, first) {
            chosen[tensor][range].fill(true);
        }
        for (tensor, chosen) in self.tensors.iter_mut().zip(&chosen) {
            tensor.open.iter_mut().zip(chosen).for_each(|(open, chosen)| *open &= chosen);
        }
    }

    /// The candidates that are left, as a mask.
    pub fn to_mask(&self) -> Mask {
        let mask = |tensor: &CandidateTensor| TensorMask {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            entries: Entries::from_flags(&tensor.open),
        };
        Mask { tensors: self.tensors.iter().map(mask).collect() }
    }

    /// Goes to an earlier state: for each tensor, by name, which elements were open.
    pub(crate) fn restore(&mut self, open: impl Fn(&str) -> Option<Vec<bool>>) -> Result<()> {
        for tensor in &mut self.tensors {
            let restored = open(&tensor.name).filter(|open| open.len() == tensor.open.len());
            tensor.open = restored.ok_or_else(|| {
                Error::mismatch(format!("the checkpoint has no mask that fits tensor `{}`", tensor.name))
            })?;
        }
        Ok(())
    }

    /// The key at which the budget ends, and how much of the budget the granules with that very key may have: those with
    /// a smaller key all fit.
    fn boundary(&self, ranking: Ranking<'_>, granule: Granule, budget: u64) -> (u64, u64) {
        const DIGITS: usize = 1 << 16;
        let (mut prefix, mut left) = (0u64, budget);
        for shift in [48, 32, 16, 0] {
            let mut sizes = vec![0u64; DIGITS];
            self.each_granule(ranking, granule, |_, _, key, size| {
                if shift == 48 || key >> (shift + 16) == prefix {
                    sizes[(key >> shift) as usize % DIGITS] += size;
                }
            });
            let mut digit = 0;
            while digit + 1 < DIGITS && sizes[digit] <= left {
                left -= sizes[digit];
                digit += 1;
            }
            prefix = prefix << 16 | digit as u64;
        }
        (prefix, left)
    }

    /// Calls `visit(tensor, elements, key, candidates)` for each granule that has a candidate, in file order.
    fn each_granule(
        &self,
        ranking: Ranking<'_>,
        granule: Granule,
        mut visit: impl FnMut(usize, Range<usize>, u64, u64),
    ) {
        for (at, tensor) in self.tensors.iter().enumerate() {
            let mut random = match ranking {
                Ranking::Random(seed) => Some(Random::new(seed, &format!("mask/{}", tensor.name))),
                Ranking::Least(_) | Ranking::Most(_) => None,
            };
            let length = granule_length(granule, &tensor.shape);
            for (number, open) in tensor.open.chunks(length).enumerate() {
                let drawn = random.as_mut().map_or(0, Random::next_u64);
                let size = count_open(open);
                if size == 0 {
                    continue;
                }
                let range = number * length..number * length + open.len();
                let key = match ranking {
                    Ranking::Least(scores) => mean(&scores[at][range.clone()], open).to_bits(),
                    Ranking::Most(scores) => u64::MAX - mean(&scores[at][range.clone()], open).to_bits(),
                    Ranking::Random(_) => drawn,
                };
                visit(at, range, key, size);
            }
        }
    }
}

/// Elements of a tensor that are compared with each other.
struct Field {
    tensor: usize,
    elements: Range<usize>,
    /// Key, elements and number of candidates of each granule.
    granules: Vec<(u64, Range<usize>, u64)>,
}

impl CandidateTensor {
    /// The elements that a granule is compared with.
    fn field(&self, scope: Scope, granule: &Range<usize>) -> Range<usize> {
        let length = match scope {
            // A vector is one row, though its granules are its elements.
            Scope::PerRow if self.shape.len() > 1 => granule_length(Granule::Row, &self.shape),
            Scope::PerRow => self.open.len(),
            Scope::Global | Scope::PerTensor => self.open.len(),
        };
        let start = granule.start / length * length;
        start..start + length
    }
}

/// A share of so many candidates, rounded, and at least one.
fn share_of(count: u64, share: f64) -> u64 {
    ((count as f64 * share).round() as u64).max(1)
}

/// Elements of a granule in a tensor of this shape.
fn granule_length(granule: Granule, shape: &[usize]) -> usize {
    match granule {
        Granule::Element => 1,
        Granule::Row => shape.iter().skip(1).product::<usize>().max(1),
        Granule::Block4k => BLOCK_ELEMENTS,
        Granule::Tensor => shape.iter().product::<usize>().max(1),
    }
}

/// Mean score of the candidates. Scores are not negative, so the order of the means is the order of their bits.
fn mean(scores: &[f64], open: &[bool]) -> f64 {
    if let ([score], [true]) = (scores, open) {
        return score.abs();
    }
    let sum: f64 = scores.iter().zip(open).filter(|(_, open)| **open).map(|(score, _)| score.abs()).sum();
    sum / count_open(open) as f64
}

fn count_open(open: &[bool]) -> u64 {
    open.iter().filter(|open| **open).count() as u64
}

#[cfg(test)]
mod tests;
