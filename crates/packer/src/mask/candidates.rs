//! From scores to a mask: which parameters may differ from the base.
//!
//! What is chosen as one piece is a **granule**: an element, a row, or 4 KiB of elements. The rules, all of them:
//!
//! - A tensor that the recipe freezes has no candidates. Neither have the key biases (the middle third of
//!   `attn.qkv.bias`): the softmax does not see them, so their gradient is rounding noise and they would always be chosen.
//! - A granule consists of its candidates only; where the last one of a tensor is shorter, it is a granule all the same.
//! - A granule's score is the **mean** of its elements' scores. The sum would prefer short granules.
//! - The threshold is global: granules are taken in the order of their scores, over all tensors alike, until the next
//!   one would exceed the budget. Of equal scores the earlier in the file goes first. So a mask of elements has
//!   exactly the promised count, and a mask of longer granules falls short of it by less than one granule.
//! - At least one granule is taken.
//!
//! The threshold is found by counting, 16 bits of the score at a time (a radix select): no copy and no sort of the scores.

use std::ops::Range;

use super::{Entries, Mask, TensorMask};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::recipe::{Granule, Pattern};

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

/// Elements of a granule in a tensor of this shape.
fn granule_length(granule: Granule, shape: &[usize]) -> usize {
    match granule {
        Granule::Element => 1,
        Granule::Row => shape.iter().skip(1).product::<usize>().max(1),
        Granule::Block4k => BLOCK_ELEMENTS,
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
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, Vec<usize>)> {
        let tensor = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
        vec![
            tensor("cls_token", &[1, 1, 8]),
            tensor("attn.qkv.weight", &[24, 8]),
            tensor("attn.qkv.bias", &[24]),
            tensor("mlp.fc1.weight", &[300, 8]),
        ]
    }

    fn candidates() -> Candidates {
        Candidates::new(&tensors(), &[Pattern::new("*")], &[Pattern::new("cls_token")]).unwrap()
    }

    /// Scores with many ties: multiples of 1/8 below 4.
    fn scores(seed: u64) -> Vec<Vec<f64>> {
        let mut random = Random::new(seed, "scores");
        let mut draw = |count: usize| (0..count).map(|_| random.below(32) as f64 / 8.0).collect();
        tensors().iter().map(|(_, shape)| draw(shape.iter().product())).collect()
    }

    /// The rule of the module's documentation, by sorting.
    fn naive(
        candidates: &Candidates,
        scores: &[Vec<f64>],
        length: impl Fn(usize) -> usize,
        budget: u64,
    ) -> Vec<Vec<bool>> {
        let mut granules = Vec::new();
        for (at, tensor) in candidates.tensors.iter().enumerate() {
            for start in (0..tensor.open.len()).step_by(length(at)) {
                let end = (start + length(at)).min(tensor.open.len());
                let members: Vec<usize> = (start..end).filter(|&index| tensor.open[index]).collect();
                if !members.is_empty() {
                    let sum: f64 = members.iter().map(|&index| scores[at][index]).sum();
                    granules.push((sum / members.len() as f64, at, members));
                }
            }
        }
        granules.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut chosen: Vec<Vec<bool>> =
            candidates.tensors.iter().map(|tensor| vec![false; tensor.open.len()]).collect();
        let mut left = budget;
        for (number, (_, at, members)) in granules.iter().enumerate() {
            if members.len() as u64 > left && number > 0 {
                break;
            }
            left = left.saturating_sub(members.len() as u64);
            members.iter().for_each(|&index| chosen[*at][index] = true);
        }
        chosen
    }

    #[test]
    fn the_radix_threshold_chooses_what_sorting_chooses() {
        let lengths = [8, 8, 1, 8];
        for seed in 0..20 {
            let scores = scores(seed);
            for budget in [1, 7, 8, 100, 777, 2000, 5000] {
                let cases: [(Granule, &dyn Fn(usize) -> usize); 3] = [
                    (Granule::Element, &|_| 1),
                    (Granule::Row, &|at| lengths[at]),
                    (Granule::Block4k, &|_| BLOCK_ELEMENTS),
                ];
                for (granule, length) in cases {
                    let mut narrowed = candidates();
                    narrowed.narrow(Ranking::Least(&scores), granule, budget);
                    let expected = naive(&candidates(), &scores, length, budget);
                    for (tensor, expected) in narrowed.tensors.iter().zip(expected) {
                        assert_eq!(
                            tensor.open, expected,
                            "seed {seed}, budget {budget}, {granule:?}, `{}`",
                            tensor.name
                        );
                    }
                }
            }
        }
    }

    /// Trap of the published code: every score at the threshold was kept, so ties made the mask larger than asked.
    #[test]
    fn a_mask_of_k_elements_has_exactly_k_entries_also_with_ties() {
        let equal: Vec<Vec<f64>> = scores(0).into_iter().map(|scores| vec![1.0; scores.len()]).collect();
        let total = candidates().count();
        for scores in [equal, scores(1)] {
            for ranking in [Ranking::Least(&scores), Ranking::Most(&scores), Ranking::Random(3)] {
                for budget in [1, 2, 100, total - 1, total] {
                    let mut candidates = candidates();
                    candidates.narrow(ranking, Granule::Element, budget);
                    assert_eq!(candidates.to_mask().entry_count(), budget, "{ranking:?}");
                }
            }
        }
    }

    #[test]
    fn most_takes_the_highest_scores_and_least_the_lowest() {
        let scores = scores(2);
        let chosen = |ranking| {
            let mut candidates = candidates();
            candidates.narrow(ranking, Granule::Element, 200);
            let (mut inside, mut outside) = (Vec::new(), Vec::new());
            for (at, tensor) in candidates.tensors.iter().enumerate() {
                for (index, open) in tensor.open.iter().enumerate() {
                    if super::tests::candidates().tensors[at].open[index] {
                        if *open { &mut inside } else { &mut outside }.push(scores[at][index]);
                    }
                }
            }
            (inside, outside)
        };
        let highest = |values: &[f64]| values.iter().copied().fold(f64::MIN, f64::max);
        let lowest = |values: &[f64]| values.iter().copied().fold(f64::MAX, f64::min);
        let (inside, outside) = chosen(Ranking::Least(&scores));
        assert!(highest(&inside) <= lowest(&outside));
        let (inside, outside) = chosen(Ranking::Most(&scores));
        assert!(lowest(&inside) >= highest(&outside));
    }

    #[test]
    fn a_random_mask_follows_its_seed_and_nothing_else() {
        let chosen = |seed| {
            let mut candidates = candidates();
            candidates.narrow(Ranking::Random(seed), Granule::Element, 300);
            candidates
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
    }

    /// Trap of a merge tool: `int(density * n) == 0` on a tiny tensor is a crash or an empty mask.
    #[test]
    fn a_budget_below_one_granule_still_takes_one() {
        let scores = scores(3);
        for granule in [Granule::Element, Granule::Row, Granule::Block4k] {
            let mut candidates = candidates();
            candidates.narrow(Ranking::Least(&scores), granule, 0);
            assert!(candidates.count() >= 1, "{granule:?}");
        }
    }

    #[test]
    fn a_tail_shorter_than_a_block_is_a_block_and_closed_elements_do_not_count() {
        let mut scores: Vec<Vec<f64>> = scores(4).into_iter().map(|scores| vec![5.0; scores.len()]).collect();
        // 2400 elements are two blocks and a tail of 352; the tail is best, but for elements that are closed.
        scores[3][2048..].fill(0.5);
        scores[3][2100..2110].fill(1e9);
        let mut candidates = candidates();
        candidates.close(|tensor, index| tensor == 3 && (2100..2110).contains(&index));
        candidates.narrow(Ranking::Least(&scores), Granule::Block4k, 342);
        let mask = candidates.to_mask();
        assert_eq!(mask.entry_count(), 342);
        let mut indices = Vec::new();
        mask.tensors[3].entries.for_each(2400, |index| indices.push(index));
        assert_eq!(indices, (2048..2100).chain(2110..2400).collect::<Vec<usize>>());
    }

    /// Traps of the published code: parameters outside leaf modules learn densely by accident, and key biases, whose
    /// gradient is noise, are always chosen.
    #[test]
    fn class_token_and_key_biases_are_never_candidates() {
        let mut candidates = candidates();
        let scores = vec![vec![0.0; 8], vec![1.0; 192], vec![0.0; 24], vec![1.0; 2400]];
        candidates.narrow(Ranking::Least(&scores), Granule::Element, 100);
        let mask = candidates.to_mask();
        assert_eq!(mask.tensors[0].entries, Entries::None);
        assert_eq!(mask.tensors[2].entries, Entries::Some((0..8).chain(16..24).collect()));
        assert_eq!(mask.entry_count(), 100);
    }

    /// Trap of a published repository: a type test that freezes everything, and nobody notices.
    #[test]
    fn patterns_that_fit_nothing_or_leave_nothing_are_refused() {
        let error = Candidates::new(&tensors(), &[Pattern::new("mlp.fc9.*")], &[]).unwrap_err();
        assert!(error.to_string().contains("`mlp.fc9.*`"), "{error}");
        let error = Candidates::new(&tensors(), &[Pattern::new("cls_token")], &[Pattern::new("cls*")]).unwrap_err();
        assert!(error.help().is_some(), "{error}");
    }
}
