//! Orthogonal deltas (OrthoReg, arXiv 2604.17078): `factor * ||D^T D - c^2 I||^2` for the delta `D` of each matrix.
//!
//! As published, `c` is 1. That takes a scale of its own: a delta of a fine-tuned matrix is far shorter, `||D||` well below 1, so
//! what the penalty asks for first is length, `-4 c^2 D` of its gradient, and directions come when singular values are near 1. With
//! small rates and many steps that keeps deltas from shrinking; with large ones it is most of what is learned. `length: own` takes
//! for `c` the length that the delta has by itself, the root of `||D||^2 / k` for its `k` singular values: then the penalty is zero for
//! every delta whose singular values are equal, however short, and asks for nothing but that.
//!
//! `D^T D` has as many rows as the matrix has columns. Of its spectrum only the smaller side counts, so the product that is made is
//! the one of the smaller side; the gradient is `4 factor (D D^T D - c^2 D)` either way. With the length of its own that gradient is
//! exact, too: `c^2` is where the penalty is smallest, and has no slope there.

use super::Slope;
use crate::finetune::matrix::Matrix;
use crate::recipe::{DeltaLength, OrthogonalityRecipe};

/// The penalty of `delta`.
pub(super) fn slope(delta: &Matrix, recipe: &OrthogonalityRecipe) -> Slope {
    let is_wide = delta.columns > delta.rows;
    let (gram, product) = if is_wide {
        let gram = delta.times_transposed(delta);
        let product = gram.times(delta);
        (gram, product)
    } else {
        let gram = delta.transposed_times(delta);
        let product = delta.times(&gram);
        (gram, product)
    };
    let squares = |values: &[f32]| values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
    let norm = squares(&delta.values);
    let singular_values = gram.rows as f64;
    let (target, sides) = match recipe.length {
        DeltaLength::One => (1.0, delta.columns as f64),
        DeltaLength::Own => (norm / singular_values, singular_values),
    };
    let value = squares(&gram.values) - 2.0 * target * norm + sides * target * target;
    let along = |(product, delta): (f32, &f32)| {
        (4.0 * recipe.factor * (f64::from(product) - target * f64::from(*delta))) as f32
    };
    Slope { value: recipe.factor * value, gradient: product.values.into_iter().zip(&delta.values).map(along).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The penalty as it is written, in f64.
    fn naive(delta: &[f64], rows: usize, columns: usize, recipe: &OrthogonalityRecipe) -> f64 {
        // With a length of its own the smaller side is the one that can be orthogonal.
        let by_columns = recipe.length == DeltaLength::One || columns <= rows;
        let (sides, inner) = if by_columns { (columns, rows) } else { (rows, columns) };
        let element =
            |side: usize, at: usize| if by_columns { delta[at * columns + side] } else { delta[side * columns + at] };
        let norm: f64 = delta.iter().map(|value| value * value).sum();
        let target = if recipe.length == DeltaLength::One { 1.0 } else { norm / sides as f64 };
        let mut sum = 0.0;
        for a in 0..sides {
            for b in 0..sides {
                let product: f64 = (0..inner).map(|at| element(a, at) * element(b, at)).sum();
                sum += (product - if a == b { target } else { 0.0 }).powi(2);
            }
        }
        recipe.factor * sum
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_sum_as_it_is_written() {
        const STEP: f64 = 1e-5;
        let mut random = Random::new(2, "orthogonality");
        for (rows, columns) in [(3, 5), (6, 4), (4, 4)] {
            for length in [DeltaLength::One, DeltaLength::Own] {
                let recipe = OrthogonalityRecipe { factor: 0.7, length };
                let values: Vec<f32> = (0..rows * columns).map(|_| 0.5 * random.normal()).collect();
                let delta: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
                let found = slope(&Matrix::new(rows, columns, values), &recipe);
                let value = naive(&delta, rows, columns, &recipe);
                assert!((found.value - value).abs() < 1e-5 * value, "{length:?}: {} {value}", found.value);
                for (at, found) in found.gradient.iter().enumerate() {
                    let moved = |by: f64| {
                        let mut delta = delta.clone();
                        delta[at] += by;
                        naive(&delta, rows, columns, &recipe)
                    };
                    let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                    assert!((f64::from(*found) - slope).abs() < 1e-4 * slope.abs().max(1.0), "{length:?} {at}");
                }
            }
        }
    }

    #[test]
    fn a_delta_of_equal_singular_values_costs_nothing_at_its_own_length() {
        // Rows that are orthogonal, all of length 0.01.
        let delta = Matrix::new(2, 3, vec![0.008, 0.006, 0.0, 0.0, 0.0, 0.01]);
        let own = slope(&delta, &OrthogonalityRecipe { factor: 1.0, length: DeltaLength::Own });
        assert!(own.value.abs() < 1e-12 && own.gradient.iter().all(|value| value.abs() < 1e-8), "{own:?}");
        let one = slope(&delta, &OrthogonalityRecipe { factor: 1.0, length: DeltaLength::One });
        // It wants to be longer.
        assert!(one.gradient[0] < -0.01 && one.value > 2.9, "{one:?}");
        let nothing = slope(&Matrix::new(2, 3, vec![0.0; 6]), &OrthogonalityRecipe::default());
        assert_eq!((nothing.value, &nothing.gradient[..]), (3.0, &[0.0; 6][..]));
    }
}
