//! Which coefficient a sum of task vectors gets: chosen on held-out images, never on those that judge.
//!
//! The score is the mean over the tasks of accuracy divided by that of the task's own model (Ilharco et al. 2022 and all after
//! them). It is a score to choose by: as a result it flatters methods whose own models are weak, and never stands alone in a table.

/// Accuracy divided by that of the task's own model; none where that has nothing right.
pub(crate) fn normalized(accuracy: f64, of_own_model: f64) -> Option<f64> {
    (of_own_model > 0.0).then(|| accuracy / of_own_model)
}

/// The mean of [`normalized`] over the tasks that have one, 0 if none has.
pub(crate) fn mean_normalized(accuracies: &[f64], of_own_models: &[f64]) -> f64 {
    let each = accuracies.iter().zip(of_own_models).filter_map(|(merged, own)| normalized(*merged, *own));
    mean(&each.collect::<Vec<f64>>())
}

/// The place of the highest score; of equal ones the first, which is the smaller coefficient.
pub(crate) fn highest(scores: &[f64]) -> usize {
    let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
    (0..scores.len()).reduce(better).unwrap_or(0)
}

/// Coefficients of their own, one for each task, from `start` on: in the order of the tasks each is tried at `candidates` while
/// the others stay, and moves only for a strictly better score.
pub(crate) fn one_by_one<E>(
    start: &[f64],
    candidates: &[f64],
    mut score: impl FnMut(&[Vec<f64>]) -> Result<Vec<f64>, E>,
) -> Result<Vec<f64>, E> {
    let mut best = start.to_vec();
    for task in 0..start.len() {
        let moved = |alpha: &f64| {
            let mut moved = best.clone();
            moved[task] = *alpha;
            moved
        };
        // Where it stands comes first, so that it stays unless another is better.
        let tried: Vec<Vec<f64>> = [best.clone()].into_iter().chain(candidates.iter().map(moved)).collect();
        best = tried[highest(&score(&tried)?)].clone();
    }
    Ok(best)
}

/// The mean, 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / (values.len() as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_smaller_coefficient_is_kept() {
        assert_eq!(highest(&[0.1, 0.7, 0.7, 0.2]), 1);
        assert_eq!(highest(&[0.5, 0.5]), 0);
        assert_eq!(highest(&[]), 0);
    }

    #[test]
    fn accuracy_is_normalized_by_the_own_model_of_the_task() {
        assert_eq!(normalized(0.4, 0.8), Some(0.5));
        assert_eq!(normalized(0.9, 0.6), Some(1.5));
        assert_eq!(normalized(0.4, 0.0), None);
        assert_eq!(mean_normalized(&[0.4, 0.9, 0.7], &[0.8, 0.6, 0.0]), 1.0);
        assert_eq!(mean_normalized(&[0.4], &[0.0]), 0.0);
    }

    #[test]
    fn coefficients_of_their_own_move_one_by_one_and_only_for_the_better() {
        let candidates = [0.0, 0.5, 1.0];
        let score = |tried: &[Vec<f64>]| -> Result<Vec<f64>, ()> {
            Ok(tried.iter().map(|alphas| -(alphas[0] - 1.0).abs() - (alphas[1] - 0.3).abs()).collect())
        };
        assert_eq!(one_by_one(&[0.3, 0.3], &candidates, score), Ok(vec![1.0, 0.3]));
        let same = |tried: &[Vec<f64>]| -> Result<Vec<f64>, ()> { Ok(vec![1.0; tried.len()]) };
        assert_eq!(one_by_one(&[0.3, 0.3], &candidates, same), Ok(vec![0.3, 0.3]));
    }
}
