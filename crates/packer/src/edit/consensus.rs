//! TALL masks and their consensus (Wang et al. 2024): which entries of a sum of task vectors each task needs.
//!
//! A task's mask is `|tau_t| > threshold |tau_mtl - tau_t|`, with `tau_mtl` the sum of all task vectors: its own delta against what the
//! others make of it. The sum under one mask stands for that task; under the entries that enough of the masks share it stands for
//! all of them, without what helps one task alone and what helps none.
//!
//! Three ways to get this wrong have been published, and each has a test here: the difference without its absolute value, so that
//! where it is negative every delta passes; the mask of the last task over the masks of all; and the base's weights in place of the
//! sum. The sum is in f64, so that masks do not depend on the order of the models.

/// Sums under the entries that at least `tasks_min` of the masks have, times `lambda`. Each task has its threshold.
pub(super) fn consensus(deltas: &[&[f32]], thresholds: &[f64], tasks_min: usize, lambda: f64) -> Vec<f32> {
    let element = |at: usize| {
        let sum = sum_at(deltas, at);
        let needs = |(deltas, threshold): &(&&[f32], &f64)| is_needed(deltas[at], sum, **threshold);
        if deltas.iter().zip(thresholds).filter(needs).count() < tasks_min { 0.0 } else { (sum * lambda) as f32 }
    };
    (0..deltas.first().map_or(0, |deltas| deltas.len())).map(element).collect()
}

/// Sums under the mask of one task, times `lambda`.
pub(super) fn of_one_task(deltas: &[&[f32]], task: usize, threshold: f64, lambda: f64) -> Vec<f32> {
    let element = |at: usize| {
        let sum = sum_at(deltas, at);
        if is_needed(deltas[task][at], sum, threshold) { (sum * lambda) as f32 } else { 0.0 }
    };
    (0..deltas[task].len()).map(element).collect()
}

fn sum_at(deltas: &[&[f32]], at: usize) -> f64 {
    deltas.iter().map(|deltas| f64::from(deltas[at])).sum()
}

/// Whether a task's mask has an entry there.
fn is_needed(delta: f32, sum: f64, threshold: f64) -> bool {
    let delta = f64::from(delta);
    delta.abs() > threshold * (sum - delta).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defect of a published baseline: without the absolute value a delta passes wherever the others pull down.
    #[test]
    fn others_that_pull_down_count_as_much_as_others_that_pull_up() {
        // A small delta under a large sum of the others, of either sign.
        for others in [8.0, -8.0] {
            let deltas: [&[f32]; 2] = [&[1.0], &[others]];
            assert_eq!(of_one_task(&deltas, 0, 0.5, 1.0), [0.0], "{others}");
            assert_eq!(of_one_task(&deltas, 1, 0.5, 1.0), [1.0 + others]);
            assert_eq!(consensus(&deltas, &[0.5; 2], 2, 1.0), [0.0]);
            assert_eq!(consensus(&deltas, &[0.1; 2], 2, 1.0), [1.0 + others]);
        }
    }

    /// Trap 6 of the field: every task was multiplied by the mask of the last one as well.
    #[test]
    fn the_mask_of_the_last_task_is_no_more_than_one_vote() {
        // The last task needs nothing of the first element, the first two agree on it.
        let deltas: [&[f32]; 3] = [&[1.0, 0.0], &[1.0, 0.0], &[0.0, 1.0]];
        assert_eq!(consensus(&deltas, &[0.5; 3], 2, 1.0), [2.0, 0.0]);
        assert_eq!(consensus(&deltas, &[0.5; 3], 1, 1.0), [2.0, 1.0]);
        assert_eq!(consensus(&deltas, &[0.5; 3], 3, 1.0), [0.0, 0.0]);
    }

    #[test]
    fn each_task_has_its_own_threshold_and_lambda_scales_what_stays() {
        let deltas: [&[f32]; 2] = [&[1.0, 3.0], &[2.0, 1.0]];
        // 1 against 2 and 2 against 1; 3 against 1 and 1 against 3.
        assert_eq!(consensus(&deltas, &[0.4, 0.4], 2, 1.0), [3.0, 0.0]);
        assert_eq!(consensus(&deltas, &[0.4, 0.3], 2, 0.5), [1.5, 2.0]);
        assert_eq!(consensus(&deltas, &[0.6, 0.3], 2, 1.0), [0.0, 4.0]);
        assert_eq!(of_one_task(&deltas, 1, 0.4, 0.5), [1.5, 0.0]);
    }

    #[test]
    fn what_no_task_changed_stays_as_it_is_and_one_task_alone_is_itself() {
        assert_eq!(consensus(&[&[0.0, 2.0]], &[0.4], 1, 1.0), [0.0, 2.0]);
        assert_eq!(of_one_task(&[&[0.0, 2.0], &[0.0, 0.0]], 0, 0.0, 1.0), [0.0, 2.0]);
        assert_eq!(consensus(&[&[0.0], &[0.0]], &[0.0; 2], 1, 1.0), [0.0]);
    }
}
