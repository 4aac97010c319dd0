//! Curvature of other tasks (TAK; "Dataless weight disentanglement", arXiv 2602.17385): `factor * sum tr(S D A D^T)`.
//!
//! To second order a delta changes what other tasks compute by `tau^T G tau`, where `G` is the generalized Gauss-Newton matrix of
//! their losses at the base. In a linear layer it is nearly a Kronecker product (Martens and Grosse 2015): `A` is the mean outer
//! product of what comes in, over images and places, and `S` that of the gradients of what goes out, over images and summed over
//! places, at labels that are drawn from the base's own predictions. Both are small and are all that is needed of the other
//! tasks: their data is looked at once, and a delta that such a task does not feel costs nothing.
//!
//! **Merged to one size**: of several tasks one `A` is kept, the mean weighted by the trace of each task's `S`, and one `S`, the sum. For
//! tasks whose inputs to a layer look alike, or whose gradients do, that is exact; the sum of all traces is kept in any case.
//!
//! A layer of which only some rows are computed for some places (`crates/networks`, the last block of a ViT) has factors for each such
//! run of rows: between runs no curvature is known.

use super::Slope;
use crate::finetune::matrix::Matrix;

/// The two factors for a run of rows of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Factors {
    /// The first of the rows.
    pub(crate) first_row: usize,
    /// `[columns, columns]`
    pub(crate) inputs: Matrix,
    /// `[rows of the run, rows of the run]`
    pub(crate) outputs: Matrix,
}

/// The penalty of `delta`, and its gradient `2 factor S D A`.
pub(crate) fn slope(delta: &Matrix, factors: &[Factors], factor: f64) -> Slope {
    let mut sum = Slope { value: 0.0, gradient: vec![0.0; delta.values.len()] };
    for run in factors {
        let (rows, columns) = (run.outputs.rows, delta.columns);
        let elements = run.first_row * columns..(run.first_row + rows) * columns;
        let part = Matrix::new(rows, columns, delta.values[elements.clone()].to_vec());
        let product = run.outputs.times(&part).times(&run.inputs);
        let along = product.values.iter().zip(&part.values);
        sum.value += factor * along.map(|(product, delta)| f64::from(*product) * f64::from(*delta)).sum::<f64>();
        let into = sum.gradient[elements].iter_mut().zip(&product.values);
        into.for_each(|(sum, product)| *sum += (2.0 * factor * f64::from(*product)) as f32);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// A mean of outer products: symmetric, and no direction below zero.
    fn drawn(side: usize, random: &mut Random) -> Matrix {
        let rows = Matrix::new(2 * side, side, (0..2 * side * side).map(|_| random.normal()).collect());
        rows.transposed_times(&rows).scaled(0.5 / side as f32)
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_trace() {
        const STEP: f64 = 1e-4;
        let mut random = Random::new(3, "curvature");
        let (rows, columns) = (5, 3);
        let run = |first_row: usize, rows: usize, random: &mut Random| Factors {
            first_row,
            inputs: drawn(columns, random),
            outputs: drawn(rows, random),
        };
        let factors = [run(0, 2, &mut random), run(2, 3, &mut random)];
        let values: Vec<f32> = (0..rows * columns).map(|_| random.normal()).collect();
        let delta: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        // `sum S[a][b] D[b][i] A[i][j] D[a][j]` in f64.
        let naive = |delta: &[f64]| {
            let mut sum = 0.0;
            for run in &factors {
                let at = |row: usize, column: usize| delta[(run.first_row + row) * columns + column];
                for (ab, s) in run.outputs.values.iter().enumerate() {
                    for (ij, a) in run.inputs.values.iter().enumerate() {
                        let (a_row, b_row) = (ab / run.outputs.rows, ab % run.outputs.rows);
                        sum += f64::from(*s) * f64::from(*a) * at(b_row, ij / columns) * at(a_row, ij % columns);
                    }
                }
            }
            0.3 * sum
        };
        let found = slope(&Matrix::new(rows, columns, values), &factors, 0.3);
        assert!((found.value - naive(&delta)).abs() < 1e-5 * found.value && found.value > 0.0);
        for (at, found) in found.gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut delta = delta.clone();
                delta[at] += by;
                naive(&delta)
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            assert!((f64::from(*found) - slope).abs() < 1e-4 * slope.abs().max(1.0), "{at}: {found}, {slope}");
        }
    }
}
