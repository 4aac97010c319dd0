//! Products of matrices on the host: what ways to train and penalties ask of a tensor between two steps.
//!
//! The tensor library multiplies, on the thread that asks; numbers go in and out as slices. A tensor of more dimensions than two is
//! the matrix of its first dimension by all the others, as in a convolution: that is how its elements lie.

use burn::tensor::{Device, Tensor, TensorData};

use super::leaves::to_host;

/// A matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// Number of rows.
    pub(crate) rows: usize,
    /// Number of columns.
    pub(crate) columns: usize,
    /// `rows * columns` numbers.
    pub(crate) values: Vec<f32>,
}

impl Matrix {
    /// # Panics
    /// When there are not `rows * columns` values.
    pub(crate) fn new(rows: usize, columns: usize, values: Vec<f32>) -> Matrix {
        assert_eq!(values.len(), rows * columns, "a matrix has all of its elements");
        Matrix { rows, columns, values }
    }

    /// The product with `other`.
    pub(crate) fn times(&self, other: &Matrix) -> Matrix {
        Matrix::of(self.to_tensor().matmul(other.to_tensor()))
    }

    /// The product with the transpose of `other`.
    pub(crate) fn times_transposed(&self, other: &Matrix) -> Matrix {
        Matrix::of(self.to_tensor().matmul(other.to_tensor().transpose()))
    }

    /// The product of its transpose with `other`.
    pub(crate) fn transposed_times(&self, other: &Matrix) -> Matrix {
        Matrix::of(self.to_tensor().transpose().matmul(other.to_tensor()))
    }

    /// Every element times `factor`.
    pub(crate) fn scaled(mut self, factor: f32) -> Matrix {
        self.values.iter_mut().for_each(|value| *value *= factor);
        self
    }

    /// Adds `other`, which has the same sides.
    pub(crate) fn add(&mut self, other: &Matrix) {
        self.values.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
    }

    /// The numbers of a tensor.
    pub(crate) fn of(tensor: Tensor<2>) -> Matrix {
        let [rows, columns] = tensor.dims();
        Matrix { rows, columns, values: to_host(tensor) }
    }

    fn to_tensor(&self) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.values.clone(), [self.rows, self.columns]), &Device::flex())
    }
}

/// Rows and columns of a tensor seen as a matrix; none for one of fewer than two dimensions.
pub(crate) fn sides(shape: &[usize]) -> Option<(usize, usize)> {
    match shape {
        [rows, rest @ ..] if !rest.is_empty() => Some((*rows, rest.iter().product())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_the_sums_as_they_are_written() {
        let left = Matrix::new(2, 3, vec![1.0, 2.0, 3.0, -1.0, 0.5, 4.0]);
        let right = Matrix::new(3, 2, vec![2.0, 1.0, -3.0, 0.25, 0.0, 1.0]);
        assert_eq!(left.times(&right), Matrix::new(2, 2, vec![-4.0, 4.5, -3.5, 3.125]));
        let turned = Matrix::new(2, 3, vec![2.0, -3.0, 0.0, 1.0, 0.25, 1.0]);
        assert_eq!(left.times_transposed(&turned), left.times(&right));
        let upright = Matrix::new(3, 2, vec![1.0, -1.0, 2.0, 0.5, 3.0, 4.0]);
        assert_eq!(upright.transposed_times(&right), left.times(&right));
        assert_eq!(left.scaled(-2.0).values, [-2.0, -4.0, -6.0, 2.0, -1.0, -8.0]);
    }

    #[test]
    fn a_kernel_is_a_matrix_of_outputs_by_all_that_comes_in() {
        assert_eq!(sides(&[8, 3, 5, 5]), Some((8, 75)));
        assert_eq!(sides(&[8, 3]), Some((8, 3)));
        assert_eq!(sides(&[8]), None);
        assert_eq!(sides(&[]), None);
    }
}
