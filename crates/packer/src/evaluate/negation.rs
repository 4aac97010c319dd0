//! How far a task can be taken away before the base forgets what else it knows.
//!
//! The rule (Ilharco et al. 2022, as their code has it): of the coefficients at which base - alpha * vector keeps 95 % of the base's
//! accuracy on the control, the one with the lowest accuracy on the task; of equal ones the smaller. Both are measured on images
//! that choose, and what is reported is measured on others.

use serde::{Deserialize, Serialize};

/// A coefficient that was tried, and what it does to the images that choose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The vector is subtracted so many times.
    pub alpha: f64,
    /// Accuracy on the task that is taken away.
    pub target: f64,
    /// Accuracy on the control.
    pub control: f64,
}

/// A task, taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Negation {
    /// Which.
    pub task: String,
    /// The coefficient chosen and what it does to the test images; none where no coefficient keeps enough of the control.
    pub chosen: Option<Candidate>,
}

/// Two accuracies that differ by less are the same: they are quotients of counts.
const SAME: f64 = 1e-9;

/// The candidate that the rule takes: the lowest target of those that keep `threshold` of `control_of_base`, the first of equal
/// ones; none if none keeps it.
pub fn choose(candidates: &[Candidate], control_of_base: f64, threshold: f64) -> Option<Candidate> {
    let kept = candidates.iter().filter(|candidate| candidate.control >= threshold * control_of_base - SAME);
    kept.copied().reduce(|best, next| if next.target < best.target { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(f64, f64, f64)]) -> Vec<Candidate> {
        rows.iter().map(|&(alpha, target, control)| Candidate { alpha, target, control }).collect()
    }

    #[test]
    fn the_lowest_target_is_taken_among_those_that_keep_95_percent_of_the_control() {
        let candidates = table(&[(0.0, 0.9, 0.80), (0.5, 0.6, 0.77), (0.9, 0.5, 0.76), (1.0, 0.1, 0.7599)]);
        assert_eq!(choose(&candidates, 0.8, 0.95), Some(candidates[2]), "0.76 is 95 % of 0.8, and counts");
        assert_eq!(choose(&candidates, 0.8, 0.0), Some(candidates[3]));
    }

    #[test]
    fn ties_keep_the_smaller_coefficient() {
        let candidates = table(&[(0.0, 0.9, 0.8), (0.5, 0.3, 0.8), (0.6, 0.3, 0.8), (0.7, 0.31, 0.8)]);
        assert_eq!(choose(&candidates, 0.8, 0.95).unwrap().alpha, 0.5);
    }

    #[test]
    fn none_qualifies_is_an_answer_of_its_own() {
        assert_eq!(choose(&table(&[(0.5, 0.3, 0.7), (1.0, 0.2, 0.5)]), 0.8, 0.95), None);
        assert_eq!(choose(&[], 0.8, 0.95), None);
    }
}
