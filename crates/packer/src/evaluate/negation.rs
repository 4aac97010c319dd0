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

/// The candidate that the rule takes: the lowest target of those that keep `least` on the control, the smaller coefficient of equal
/// ones; none if none keeps it.
///
/// `tried` are coefficients, ascending, each with its target. What a coefficient keeps of the control is asked of `control`, of the
/// best one first, and of no more than need be.
///
/// # Errors
/// Those of `control`.
pub fn choose<E>(
    tried: &[(f64, f64)],
    least: f64,
    mut control: impl FnMut(f64) -> Result<f64, E>,
) -> Result<Option<Candidate>, E> {
    let mut by_target = tried.to_vec();
    by_target.sort_by(|left, right| left.1.total_cmp(&right.1));
    for (alpha, target) in by_target {
        let control = control(alpha)?;
        if control >= least - SAME {
            return Ok(Some(Candidate { alpha, target, control }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn chosen(rows: &[(f64, f64, f64)], least: f64) -> Option<Candidate> {
        let tried: Vec<_> = rows.iter().map(|&(alpha, target, _)| (alpha, target)).collect();
        let control = |alpha: f64| Ok::<_, Infallible>(rows.iter().find(|row| row.0 == alpha).unwrap().2);
        choose(&tried, least, control).unwrap()
    }

    #[test]
    fn the_lowest_target_is_taken_among_those_that_keep_95_percent_of_the_control() {
        let rows = [(0.0, 0.9, 0.80), (0.5, 0.6, 0.77), (0.9, 0.5, 0.76), (1.0, 0.1, 0.7599)];
        let [kept, lowest] = [0.95 * 0.8, 0.0].map(|least| chosen(&rows, least).unwrap().alpha);
        assert_eq!(kept, 0.9, "0.76 is 95 % of 0.8, and counts");
        assert_eq!(lowest, 1.0);
    }

    #[test]
    fn ties_keep_the_smaller_coefficient() {
        let rows = [(0.0, 0.9, 0.8), (0.5, 0.3, 0.8), (0.6, 0.3, 0.8), (0.7, 0.31, 0.8)];
        assert_eq!(chosen(&rows, 0.76), Some(Candidate { alpha: 0.5, target: 0.3, control: 0.8 }));
    }

    #[test]
    fn none_qualifies_is_an_answer_of_its_own() {
        assert_eq!(chosen(&[(0.5, 0.3, 0.7), (1.0, 0.2, 0.5)], 0.76), None);
        assert_eq!(chosen(&[], 0.76), None);
    }

    #[test]
    fn the_control_is_asked_no_more_than_need_be() {
        let mut asked = Vec::new();
        let chosen = choose(&[(0.0, 0.9), (0.5, 0.4), (1.0, 0.2)], 0.5, |alpha| {
            asked.push(alpha);
            Ok::<_, Infallible>(if alpha < 1.0 { 0.6 } else { 0.3 })
        });
        assert_eq!(chosen.unwrap().unwrap().alpha, 0.5);
        assert_eq!(asked, [1.0, 0.5]);
    }
}
