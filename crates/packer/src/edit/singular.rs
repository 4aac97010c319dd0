//! Singular vectors of matrices, from the eigenvectors of the smaller of their two Gram matrices.
//!
//! Everything is in f64, and the numbers come from f32: squaring them costs half of the digits of f64, which is as many as f32 has.
//! Singular values below a ten-millionth of the largest are rounding noise of the deltas themselves, and count as 0: their
//! vectors could be any. Every sum has a fixed order, on one thread.

use nalgebra::{DMatrix, SymmetricEigen};

/// A singular value below this share of the largest is none.
const NOTHING: f64 = 1e-7;

/// A matrix as the sum of `left * right^T`, most of it first.
pub(super) struct Singular {
    /// Left vectors, a column each: of length 1.
    pub(super) left: DMatrix<f64>,
    /// How much of each there is, the largest first.
    pub(super) values: Vec<f64>,
    /// Right vectors, a column each: of length 1.
    pub(super) right: DMatrix<f64>,
}

/// The first `rank` singular values of a matrix, and their vectors; fewer where it has fewer.
pub(super) fn singular(matrix: &DMatrix<f64>, rank: usize) -> Singular {
    if matrix.nrows() < matrix.ncols() {
        let Singular { left, values, right } = singular(&matrix.transpose(), rank);
        return Singular { left: right, values, right: left };
    }
    let (squares, vectors) = eigen(matrix.tr_mul(matrix));
    let values: Vec<f64> = squares.iter().map(|square| square.max(0.0).sqrt()).collect();
    let largest = values.first().copied().unwrap_or(0.0);
    let count = values.iter().take(rank).filter(|value| **value > NOTHING * largest).count();
    let right = vectors.columns(0, count).into_owned();
    let mut left = matrix * &right;
    for (mut column, value) in left.column_iter_mut().zip(&values) {
        column /= *value;
    }
    Singular { left, values: values[..count].to_vec(), right }
}

/// The best matrix of this rank.
pub(super) fn truncated(matrix: &DMatrix<f64>, rank: usize) -> DMatrix<f64> {
    let Singular { mut left, values, right } = singular(matrix, rank);
    for (mut column, value) in left.column_iter_mut().zip(&values) {
        column *= *value;
    }
    left * right.transpose()
}

/// The nearest columns that stand at right angles to each other and have length 1 (the Procrustes problem, Schonemann 1966). Where
/// columns depend on each other there are several; then it is the one without anything beside what the columns span.
pub(super) fn orthogonalized(columns: &DMatrix<f64>) -> DMatrix<f64> {
    let Singular { left, right, .. } = singular(columns, columns.ncols());
    left * right.transpose()
}

/// Eigenvalues of a symmetric matrix, the largest first, and their vectors.
fn eigen(matrix: DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let eigen = SymmetricEigen::new(matrix);
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]).then(a.cmp(b)));
    let values = order.iter().map(|at| eigen.eigenvalues[*at]).collect();
    (values, eigen.eigenvectors.select_columns(&order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn drawn(rows: usize, columns: usize) -> DMatrix<f64> {
        let mut random = Random::new(5, &format!("{rows} by {columns}"));
        DMatrix::from_fn(rows, columns, |_, _| f64::from(random.normal()))
    }

    fn off(found: &DMatrix<f64>, expected: &DMatrix<f64>) -> f64 {
        (found - expected).abs().max()
    }

    /// Beside nalgebra's own decomposition, which takes another way: by bidiagonals of the matrix itself.
    #[test]
    fn values_and_the_best_matrix_of_a_rank_are_those_of_another_way() {
        for (rows, columns) in [(7, 4), (4, 7), (6, 6), (1, 5), (30, 20)] {
            let matrix = drawn(rows, columns);
            let svd = matrix.clone().svd(true, true);
            let mut order: Vec<usize> = (0..svd.singular_values.len()).collect();
            order.sort_by(|a, b| svd.singular_values[*b].total_cmp(&svd.singular_values[*a]));
            let found = singular(&matrix, rows.min(columns));
            for (value, at) in found.values.iter().zip(&order) {
                assert!((value - svd.singular_values[*at]).abs() < 1e-7, "{rows} by {columns}");
            }
            let (left, right) = (svd.u.unwrap(), svd.v_t.unwrap());
            for rank in [1, 2, rows.min(columns)] {
                let part = |at: &usize| left.column(*at) * svd.singular_values[*at] * right.row(*at);
                let best =
                    order.iter().take(rank).map(part).fold(DMatrix::zeros(rows, columns), |sum, part| sum + part);
                assert!(off(&truncated(&matrix, rank), &best) < 1e-7, "{rows} by {columns}, rank {rank}");
            }
        }
    }

    #[test]
    fn orthogonalized_columns_are_the_nearest() {
        let columns = drawn(9, 4);
        let found = orthogonalized(&columns);
        assert!(off(&found.tr_mul(&found), &DMatrix::identity(4, 4)) < 1e-9);
        // What is nearest has a symmetric product with what it is near to.
        let product = found.tr_mul(&columns);
        assert!(off(&product, &product.transpose()) < 1e-9);
        // Already there.
        assert!(off(&orthogonalized(&found), &found) < 1e-7);
    }

    #[test]
    fn zeros_have_no_singular_vectors_and_equal_columns_share_one() {
        assert!(singular(&DMatrix::zeros(3, 2), 2).values.is_empty());
        assert_eq!(truncated(&DMatrix::zeros(3, 2), 2), DMatrix::zeros(3, 2));
        let found = orthogonalized(&DMatrix::from_column_slice(2, 2, &[1.0, 0.0, 1.0, 0.0]));
        let half = 0.5f64.sqrt();
        assert!(off(&found, &DMatrix::from_column_slice(2, 2, &[half, 0.0, half, 0.0])) < 1e-9);
    }
}
