//! CART (Choi et al. 2024): the mean of the models, and what each of them has beside it in few directions.
//!
//! Task vectors are seen from the mean of the fine-tuned models and not from the base. Those centered vectors sum up to nothing, and so do
//! most of the directions in which they disagree; what is left of each matrix at a low rank is added to the mean. Tensors that
//! are no matrix, or no matrix that is meant, become the mean.

use nalgebra::DMatrix;

use super::singular::truncated;
use super::spread::each;

/// The mean of `deltas`, and for matrices (`sides`: rows and columns) `lambda` times what the centered vectors are at this rank.
pub(super) fn cart(deltas: &[&[f32]], sides: Option<[usize; 2]>, rank: f64, lambda: f64) -> Vec<f32> {
    let mean = mean(deltas);
    let Some([rows, columns]) = sides else { return mean.into_iter().map(|delta| delta as f32).collect() };
    let rank = ((rank * rows.min(columns) as f64) as usize).max(1);
    let centered = |deltas: &&[f32]| {
        let centered = deltas.iter().zip(&mean).map(|(delta, mean)| f64::from(*delta) - mean);
        truncated(&DMatrix::from_row_iterator(rows, columns, centered), rank)
    };
    let sum = each(deltas, centered).into_iter().fold(DMatrix::zeros(rows, columns), |sum, one| sum + one);
    // A row of the matrix is a column of its transpose, and these lie one after the other.
    sum.transpose().iter().zip(&mean).map(|(centered, mean)| (mean + lambda * centered) as f32).collect()
}

/// The mean of each element.
pub(super) fn mean(deltas: &[&[f32]]) -> Vec<f64> {
    let count = deltas.first().map_or(0, |deltas| deltas.len());
    let element = |at: usize| deltas.iter().map(|deltas| f64::from(deltas[at])).sum::<f64>() / deltas.len() as f64;
    (0..count).map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The published steps, on whole fine-tuned models and with another decomposition.
    #[test]
    fn the_published_steps_with_another_decomposition_give_the_same() {
        let (rows, columns) = (9, 6);
        let drawn = |name: &str| {
            let mut random = Random::new(3, name);
            (0..rows * columns).map(|_| random.normal()).collect::<Vec<f32>>()
        };
        let (base, deltas) = (drawn("base"), ["one", "two", "three"].map(drawn));
        let matrix = |numbers: Vec<f64>| DMatrix::from_row_iterator(rows, columns, numbers);
        let base = matrix(base.iter().map(|weight| f64::from(*weight)).collect());
        let tuned =
            deltas.each_ref().map(|deltas| &base + matrix(deltas.iter().map(|delta| f64::from(*delta)).collect()));
        let mean = tuned.iter().fold(DMatrix::zeros(rows, columns), |sum, one| sum + one) / 3.0;
        let mut merged = mean.clone();
        for tuned in &tuned {
            let mut svd = (tuned - &mean).svd(true, true);
            // A third of the smaller side.
            let mut order: Vec<usize> = (0..columns).collect();
            order.sort_by(|a, b| svd.singular_values[*b].total_cmp(&svd.singular_values[*a]));
            order[2..].iter().for_each(|at| svd.singular_values[*at] = 0.0);
            merged += 0.8 * svd.recompose().unwrap();
        }
        let each = deltas.each_ref().map(|deltas| &deltas[..]);
        let found = cart(&each, Some([rows, columns]), 0.34, 0.8);
        let off = (matrix(found.into_iter().map(f64::from).collect()) - (merged - base)).abs().max();
        assert!(off < 1e-6, "off by {off}");
    }

    #[test]
    fn what_is_no_matrix_becomes_the_mean() {
        assert_eq!(cart(&[&[1.0, 2.0], &[3.0, -2.0]], None, 0.5, 0.3), [2.0, 0.0]);
    }
}
