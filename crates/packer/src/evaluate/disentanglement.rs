//! Where two tasks leave each other alone: the disentanglement error over a grid of two coefficients.
//!
//! At coefficients (a, b) of two vectors, for each of the two tasks: the share of its images that the model with both vectors
//! answers otherwise than the model with its own vector alone, at the same coefficient. The error is the sum of the two shares, 0 to
//! 2 (Ortiz-Jimenez et al. 2023, with the distance 1 where answers differ). A share is of the images that were asked. (A
//! published script asks 16 batches and divides by the number of batches that the loader would have had, so its errors are too
//! small by that quotient.)

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::addition::Learned;
use super::answers::answers;
use super::coefficient::mean;
use super::ground::Ground;
use super::suite::MapSettings;
use crate::error::Result;
use crate::examples::spread;

/// The error over the grid, of one pair of tasks, as one row has learned them with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorMap {
    /// The row.
    pub row: String,
    /// Seed of its runs.
    pub seed: u64,
    /// The first task and the second one.
    pub pair: [String; 2],
    /// Coefficients along both sides.
    pub alphas: Vec<f64>,
    /// One for each pair of coefficients: those of the first task follow each other, for each of the second in turn.
    pub errors: Vec<f64>,
    /// Test images of each that were asked.
    pub images: [u64; 2],
    /// Mean over the grid from 0 to 1, where coefficients are searched; none if the grid has no point there.
    pub in_box: Option<f64>,
}

/// The map of `pair`.
pub(crate) fn map(
    ground: &Ground<'_>,
    settings: &MapSettings,
    (row, seed): (&str, u64),
    names: &[String; 2],
    pair: [&Learned; 2],
) -> Result<ErrorMap> {
    let alphas = settings.grid().values();
    let images = pair.map(|learned| Arc::new(spread(&learned.images.test, settings.images)));
    let times = |task: usize, alpha: f64| (alpha, Arc::clone(&pair[task].vector));
    let alone = |task: usize, alpha: &f64| pair[task].question(&[times(task, *alpha)], &images[task]);
    let alone = [0, 1].map(|task| answers(ground, &alphas.iter().map(|alpha| alone(task, alpha)).collect::<Vec<_>>()));
    let [first, second] = alone;
    let alone = [first?, second?];
    let mut errors = Vec::with_capacity(alphas.len() * alphas.len());
    for (of_second, b) in alphas.iter().enumerate() {
        for (of_first, a) in alphas.iter().enumerate() {
            let both = [times(0, *a), times(1, *b)];
            let both = [0, 1].map(|task| pair[task].question(&both, &images[task]));
            let answered = answers(ground, &both)?;
            errors.push(differing(&answered[0], &alone[0][of_first]) + differing(&answered[1], &alone[1][of_second]));
        }
    }
    Ok(ErrorMap {
        row: row.to_owned(),
        seed,
        pair: names.clone(),
        in_box: in_box(&alphas, &errors),
        alphas,
        errors,
        images: images.map(|examples| examples.len() as u64),
    })
}

/// The share of answers that are not the same.
fn differing(answers: &[u32], others: &[u32]) -> f64 {
    let count = answers.iter().zip(others).filter(|(answer, other)| answer != other).count();
    count as f64 / (answers.len() as f64).max(1.0)
}

/// The mean where both coefficients are from 0 to 1.
fn in_box(alphas: &[f64], errors: &[f64]) -> Option<f64> {
    // Grids are made by dividing, and 1 may come out a little more.
    let is_in = |alpha: f64| (-1e-9..=1.0 + 1e-9).contains(&alpha);
    let inside = errors
        .iter()
        .enumerate()
        .filter(|(at, _)| is_in(alphas[at % alphas.len()]) && is_in(alphas[at / alphas.len()]));
    let inside: Vec<f64> = inside.map(|(_, error)| *error).collect();
    (!inside.is_empty()).then(|| mean(&inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_share_of_the_images_that_were_asked() {
        assert_eq!(differing(&[1, 2, 3, 4], &[1, 2, 0, 0]), 0.5);
        assert_eq!(differing(&[], &[]), 0.0);
    }

    #[test]
    fn the_box_is_where_both_coefficients_are_searched() {
        let alphas = [-1.0, 0.0, 1.0];
        let errors = [9.0, 9.0, 9.0, 9.0, 0.0, 0.2, 9.0, 0.4, 1.0];
        assert!((in_box(&alphas, &errors).unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(in_box(&[-2.0, -1.0], &[1.0; 4]), None);
    }
}
