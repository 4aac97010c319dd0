//! What is chosen, against sorting, and the traps of published code.

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

/// Elements of a row of each tensor.
fn lengths() -> [usize; 4] {
    [8, 8, 1, 8]
}

/// The rule of the module's documentation, by sorting.
fn naive(candidates: &Candidates, scores: &[Vec<f64>], length: impl Fn(usize) -> usize, budget: u64) -> Vec<Vec<bool>> {
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
    let mut chosen: Vec<Vec<bool>> = candidates.tensors.iter().map(|tensor| vec![false; tensor.open.len()]).collect();
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
    for seed in 0..20 {
        let scores = scores(seed);
        for budget in [1, 7, 8, 100, 777, 2000, 5000] {
            let cases: [(Granule, &dyn Fn(usize) -> usize); 4] = [
                (Granule::Element, &|_| 1),
                (Granule::Row, &|at| lengths()[at]),
                (Granule::Block4k, &|_| BLOCK_ELEMENTS),
                (Granule::Tensor, &|_| 2400),
            ];
            for (granule, length) in cases {
                let mut narrowed = candidates();
                narrowed.narrow(Ranking::Least(&scores), granule, budget);
                let expected = naive(&candidates(), &scores, length, budget);
                for (tensor, expected) in narrowed.tensors.iter().zip(expected) {
                    assert_eq!(tensor.open, expected, "seed {seed}, budget {budget}, {granule:?}, `{}`", tensor.name);
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
                if self::candidates().tensors[at].open[index] {
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
    for granule in [Granule::Element, Granule::Row, Granule::Block4k, Granule::Tensor] {
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

/// Trap: whether a threshold is global or per tensor is often not said, and changes the mask.
#[test]
fn a_threshold_within_each_tensor_or_row_is_another_than_the_global_one() {
    let scores = scores(5);
    let first = candidates();
    // What each tensor, or each of its rows, has of candidates: no class token, and no key biases. A vector is one row.
    let rows = [vec![8; 24], vec![16], vec![8; 300]].concat();
    for (scope, fields) in [(Scope::PerTensor, vec![192, 16, 2400]), (Scope::PerRow, rows)] {
        for share in [0.02, 0.3, 0.5, 1.0] {
            let mut narrowed = candidates();
            narrowed.narrow_within(scope, Ranking::Least(&scores), Granule::Element, &first, share);
            let expected: u64 = fields.iter().map(|count| ((*count as f64 * share).round() as u64).max(1)).sum();
            assert_eq!(narrowed.count(), expected, "{scope:?} {share}");
            for (at, tensor) in narrowed.tensors.iter().enumerate() {
                let has_rows = scope == Scope::PerRow && tensor.shape.len() > 1;
                let length = if has_rows { lengths()[at] } else { tensor.open.len() };
                for (number, open) in tensor.open.chunks(length).enumerate() {
                    let elements = number * length..(number + 1) * length;
                    let of = |chosen: bool| {
                        let candidates = elements.clone().filter(|index| first.tensors[at].open[*index]);
                        let kept = candidates.filter(|index| open[index - elements.start] == chosen);
                        kept.map(|index| scores[at][index]).collect::<Vec<f64>>()
                    };
                    let highest = of(true).into_iter().fold(f64::MIN, f64::max);
                    assert!(of(false).into_iter().all(|score| score >= highest), "{scope:?} {share} {number}");
                }
            }
        }
    }
    let mut whole = candidates();
    whole.narrow_within(Scope::Global, Ranking::Least(&scores), Granule::Element, &first, 0.3);
    assert_eq!(whole.count(), (0.3 * first.count() as f64).round() as u64);
    let mut apart = candidates();
    apart.narrow_within(Scope::PerTensor, Ranking::Least(&scores), Granule::Element, &first, 0.3);
    assert_ne!(whole, apart);
}

/// Rows that are longer than the budget of their tensor: one is taken all the same.
#[test]
fn each_tensor_gives_at_least_one_granule() {
    let scores = scores(6);
    let mut narrowed = candidates();
    narrowed.narrow_within(Scope::PerTensor, Ranking::Most(&scores), Granule::Row, &candidates(), 0.01);
    let counts: Vec<u64> = narrowed.to_mask().tensors.iter().map(TensorMask::entry_count).collect();
    assert_eq!(counts, [0, 8, 1, 24]);
}
