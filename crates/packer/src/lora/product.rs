//! The product of two factors.

/// Two factors as f64, and what their product is multiplied with.
pub(super) struct Factors<'a> {
    /// `[rank, columns]`, row-major.
    pub(super) a: &'a [f64],
    /// `[rows, rank]`, row-major.
    pub(super) b: &'a [f64],
    pub(super) rank: usize,
    pub(super) scale: f64,
}

impl Factors<'_> {
    /// `scale * B A` as f32, row-major; or its transpose. Each number is summed in f64 in the order of the rank.
    pub(super) fn product(&self, is_transposed: bool) -> Vec<f32> {
        let (columns, rows) = (self.a.len() / self.rank, self.b.len() / self.rank);
        let (outer, inner) = if is_transposed { (columns, rows) } else { (rows, columns) };
        let mut product = Vec::with_capacity(outer * inner);
        let mut sums = vec![0.0; inner];
        for at in 0..outer {
            sums.fill(0.0);
            for k in 0..self.rank {
                let (a, b) = (&self.a[k * columns..][..columns], &self.b[k..]);
                if is_transposed {
                    sums.iter_mut().enumerate().for_each(|(row, sum)| *sum += b[row * self.rank] * a[at]);
                } else {
                    let b = b[at * self.rank];
                    sums.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
                }
            }
            product.extend(sums.iter().map(|sum| (self.scale * sum) as f32));
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_sum_as_it_is_written() {
        let (a, b) = ([1.0, 2.0, 3.0, -1.0, 0.5, 4.0], [2.0, 1.0, -3.0, 0.25]);
        let factors = Factors { a: &a, b: &b, rank: 2, scale: 0.5 };
        let expected =
            |row: usize, column: usize| (0.5 * (b[2 * row] * a[column] + b[2 * row + 1] * a[3 + column])) as f32;
        let straight: Vec<f32> = (0..6).map(|at| expected(at / 3, at % 3)).collect();
        let transposed: Vec<f32> = (0..6).map(|at| expected(at % 2, at / 2)).collect();
        assert_eq!(factors.product(false), straight);
        assert_eq!(factors.product(true), transposed);
    }
}
