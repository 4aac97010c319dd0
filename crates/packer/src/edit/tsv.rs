//! TSV-Merge (Gargiulo et al. 2025): the singular vectors that matter most to each task, moved until those of different tasks are at
//! right angles.
//!
//! Of each task's matrix, `1 / T` of the singular values stay, so that those of all tasks fit beside each other. Their left vectors
//! stand in one matrix and their right vectors in another; each is replaced by the nearest matrix with orthogonal columns, and the
//! merged matrix is `lambda` times the product of the three. Tensors that are no matrix become the mean.
//!
//! As published wherever vectors are well defined. A task that left a matrix alone has no singular vectors there, and pushes
//! nobody else's away; vectors that tasks share entirely count once (`singular.rs`), so that equal models merge to what each is.

use nalgebra::DMatrix;

use super::cart::mean;
use super::singular::{Singular, orthogonalized, singular};
use super::spread::each;

/// The merged deltas of a tensor, a matrix if it has `sides`; `rank` is the share of singular values that stay of each task.
pub(super) fn tsv(deltas: &[&[f32]], sides: Option<[usize; 2]>, rank: Option<f64>, lambda: f64) -> Vec<f32> {
    let Some([rows, columns]) = sides else {
        return mean(deltas).into_iter().map(|delta| (lambda * delta) as f32).collect();
    };
    let smaller = rows.min(columns);
    let rank = match rank {
        Some(share) => (share * smaller as f64) as usize,
        None => smaller / deltas.len(),
    };
    let parts = each(deltas, |deltas| {
        let numbers = deltas.iter().map(|delta| f64::from(*delta));
        singular(&DMatrix::from_row_iterator(rows, columns, numbers), rank.max(1))
    });
    let beside = |side: fn(&Singular) -> &DMatrix<f64>, length: usize| {
        let columns: Vec<_> = parts.iter().flat_map(|part| side(part).column_iter()).collect();
        if columns.is_empty() { DMatrix::zeros(length, 0) } else { orthogonalized(&DMatrix::from_columns(&columns)) }
    };
    let (mut left, right) = (beside(|part| &part.left, rows), beside(|part| &part.right, columns));
    let values = parts.iter().flat_map(|part| &part.values);
    for (mut column, value) in left.column_iter_mut().zip(values) {
        column *= lambda * value;
    }
    // A row of the matrix is a column of its transpose, and these lie one after the other.
    (right * left.transpose()).iter().map(|delta| *delta as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const ROWS: usize = 12;
    const COLUMNS: usize = 9;

    fn drawn(name: &str) -> Vec<f32> {
        let mut random = Random::new(4, name);
        (0..ROWS * COLUMNS).map(|_| random.normal()).collect()
    }

    fn matrix(numbers: &[f32]) -> DMatrix<f64> {
        DMatrix::from_row_iterator(ROWS, COLUMNS, numbers.iter().map(|number| f64::from(*number)))
    }

    /// The published steps, with another decomposition: three tasks, three of nine singular values each.
    #[test]
    fn the_published_steps_with_another_decomposition_give_the_same() {
        let deltas = ["one", "two", "three"].map(drawn);
        let (mut left, mut right) = (DMatrix::zeros(ROWS, 9), DMatrix::zeros(9, COLUMNS));
        let mut values = DMatrix::zeros(9, 9);
        for (task, deltas) in deltas.iter().enumerate() {
            let svd = matrix(deltas).svd(true, true);
            let mut order: Vec<usize> = (0..COLUMNS).collect();
            order.sort_by(|a, b| svd.singular_values[*b].total_cmp(&svd.singular_values[*a]));
            for (place, at) in order[..3].iter().enumerate() {
                let place = 3 * task + place;
                left.set_column(place, &svd.u.as_ref().unwrap().column(*at));
                right.set_row(place, &svd.v_t.as_ref().unwrap().row(*at));
                values[(place, place)] = svd.singular_values[*at];
            }
        }
        let nearest = |matrix: DMatrix<f64>| {
            let svd = matrix.svd(true, true);
            svd.u.unwrap() * svd.v_t.unwrap()
        };
        let expected = nearest(left) * values * nearest(right);
        let each = deltas.each_ref().map(|deltas| &deltas[..]);
        let found = matrix(&tsv(&each, Some([ROWS, COLUMNS]), None, 1.0));
        assert!((found - expected).abs().max() < 1e-6);
    }

    /// A skill that trained other tensors must not turn this one.
    #[test]
    fn a_task_that_left_a_matrix_alone_moves_nobody_there() {
        let (one, nothing) = (drawn("one"), vec![0.0; ROWS * COLUMNS]);
        let beside = tsv(&[&one, &nothing], Some([ROWS, COLUMNS]), Some(1.0), 1.0);
        assert!((matrix(&beside) - matrix(&one)).abs().max() < 1e-5);
        assert_eq!(tsv(&[&nothing, &nothing], Some([ROWS, COLUMNS]), None, 1.0), nothing);
        assert_eq!(tsv(&[&[1.0, 2.0], &[3.0, -2.0]], None, None, 0.5), [1.0, 0.0]);
    }

    #[test]
    fn more_tasks_than_rows_keep_one_direction_each() {
        let tasks: Vec<Vec<f32>> =
            (0..4).map(|at| (0..6).map(|number| ((at * 7 + number * 5) % 11) as f32 - 5.0).collect()).collect();
        let each: Vec<&[f32]> = tasks.iter().map(|task| &task[..]).collect();
        let merged = tsv(&each, Some([2, 3]), None, 1.0);
        assert!(merged.iter().all(|delta| delta.is_finite()) && merged.iter().any(|delta| *delta != 0.0), "{merged:?}");
    }
}
