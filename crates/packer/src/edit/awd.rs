//! Adaptive weight disentanglement (Xiong et al. 2024): one vector `d` is taken off every task vector, so that what remains is as
//! near to right angles as can be had, and is then added up.
//!
//! `d` minimizes the mean of `|cos(tau_i - d, tau_j - d)|` over all pairs, plus `penalty` times the length of `d`, by gradient descent
//! from 0. The gradient is a sum of task vectors wherever `d` is one, and 0 is one. So `d` never leaves their span: it is
//! `sum c_i tau_i`, every cosine and every step follow from the Gram matrix, and no dense state exists. The dense twin in the
//! tests finds the same `d`.
//!
//! `rate` and `penalty` are in the units of the deltas: for task vectors twice as long, the same `d` takes four times the rate and half the
//! penalty. With the published defaults short task vectors overshoot, and of long ones hardly anything is taken off. With `normalize:
//! true` lengths are measured by those of the task vectors, and the defaults mean the same for any model.
//!
//! Where `d` is 0 its length has no gradient; 0 is taken, as for `|cos|` at a cosine of 0.

use super::gram::Gram;

/// How `d` is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Descent {
    /// What the length of `d` costs.
    pub(super) penalty: f64,
    /// How far a step goes.
    pub(super) rate: f64,
    /// How many steps.
    pub(super) steps: usize,
}

/// The coefficients of `d`, one for each task vector. A task vector of zeros has no angles, and is left out.
///
/// Near a right angle steps go to and fro, and the last bit of a sum decides where they end. So task vectors are taken in the order of
/// their lengths, and that of the models changes nothing.
pub(super) fn redundant(gram: &Gram, descent: Descent) -> Vec<f64> {
    let mut order: Vec<usize> = (0..gram.count()).collect();
    order.sort_by(|a, b| gram.product(*a, *a).total_cmp(&gram.product(*b, *b)));
    let sorted = gram.in_order(&order);
    let mut redundant = vec![0.0; gram.count()];
    for _ in 0..descent.steps {
        let gradient = gradient(&sorted, &redundant, descent.penalty);
        redundant.iter_mut().zip(gradient).for_each(|(factor, slope)| *factor -= descent.rate * slope);
    }
    let mut in_place = vec![0.0; gram.count()];
    order.iter().zip(redundant).for_each(|(at, factor)| in_place[*at] = factor);
    in_place
}

/// The gradient by `d`, by its coefficients.
fn gradient(gram: &Gram, redundant: &[f64], penalty: f64) -> Vec<f64> {
    let count = gram.count();
    let residual = |task: usize| -> Vec<f64> {
        redundant.iter().enumerate().map(|(at, factor)| f64::from(u8::from(at == task)) - factor).collect()
    };
    let tasks = (0..count).filter(|task| gram.product(*task, *task) > 0.0);
    let residuals: Vec<Vec<f64>> = tasks.map(residual).collect();
    let squares: Vec<f64> = residuals.iter().map(|residual| gram.between(residual, residual)).collect();
    let pairs = residuals.len() * residuals.len().saturating_sub(1) / 2;
    let mut gradient = vec![0.0; count];
    for (one, a) in residuals.iter().enumerate() {
        for (other, b) in residuals.iter().enumerate().skip(one + 1) {
            let lengths = (squares[one] * squares[other]).sqrt();
            if lengths <= 0.0 {
                continue;
            }
            let cosine = gram.between(a, b) / lengths;
            let sign = if cosine == 0.0 { 0.0 } else { cosine.signum() };
            for at in 0..count {
                let towards = (a[at] + b[at]) / lengths - cosine * (a[at] / squares[one] + b[at] / squares[other]);
                gradient[at] -= sign * towards / pairs as f64;
            }
        }
    }
    let length = gram.between(redundant, redundant).max(0.0).sqrt();
    if length > 0.0 {
        gradient.iter_mut().zip(redundant).for_each(|(slope, factor)| *slope += penalty * factor / length);
    }
    gradient
}

/// Coefficients of the task vectors in `sum weight_i (tau_i - d)`.
pub(super) fn coefficients(weights: &[f64], redundant: &[f64]) -> Vec<f64> {
    let all: f64 = weights.iter().sum();
    weights.iter().zip(redundant).map(|(weight, factor)| weight - all * factor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::gram::dot;
    use crate::random::Random;

    const DESCENT: Descent = Descent { penalty: 0.1, rate: 0.01, steps: 300 };

    /// Task vectors with something in common, at this scale.
    fn vectors(scale: f32) -> Vec<Vec<f32>> {
        let mut shared = Random::new(1, "shared");
        let shared: Vec<f32> = (0..40).map(|_| shared.normal()).collect();
        let vector = |at: usize| {
            let mut own = Random::new(2, &format!("own {at}"));
            shared.iter().map(|shared| scale * (0.7 * shared + own.normal())).collect()
        };
        (0..4).map(vector).collect()
    }

    fn gram(vectors: &[Vec<f32>]) -> Gram {
        let products = vectors.iter().flat_map(|one| vectors.iter().map(|other| dot(one, other))).collect();
        Gram::from_products(vectors.len(), products)
    }

    fn objective(vectors: &[Vec<f64>], redundant: &[f64], penalty: f64) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let residuals: Vec<Vec<f64>> =
            vectors.iter().map(|vector| vector.iter().zip(redundant).map(|(a, d)| a - d).collect()).collect();
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (one, a) in residuals.iter().enumerate() {
            for b in &residuals[one + 1..] {
                sum += (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).abs();
                pairs += 1.0;
            }
        }
        sum / pairs + penalty * dot(redundant, redundant).sqrt()
    }

    /// The dense twin: `d` is as long as the model, and its gradient comes from differences of the objective.
    #[test]
    fn the_span_of_the_task_vectors_holds_what_dense_descent_finds() {
        let vectors = vectors(0.25);
        let wide: Vec<Vec<f64>> =
            vectors.iter().map(|vector| vector.iter().map(|delta| f64::from(*delta)).collect()).collect();
        let mut dense = vec![0.0; 40];
        for _ in 0..DESCENT.steps {
            // At 0 the length of `d` has no gradient.
            let penalty = if dense.iter().all(|d| *d == 0.0) { 0.0 } else { DESCENT.penalty };
            let slope = |at: usize| {
                let moved = |by: f64| {
                    let mut moved = dense.clone();
                    moved[at] += by;
                    objective(&wide, &moved, penalty)
                };
                (moved(1e-6) - moved(-1e-6)) / 2e-6
            };
            let gradient: Vec<f64> = (0..40).map(slope).collect();
            dense.iter_mut().zip(gradient).for_each(|(d, slope)| *d -= DESCENT.rate * slope);
        }
        let found = redundant(&gram(&vectors), DESCENT);
        let spanned = |at: usize| found.iter().zip(&wide).map(|(factor, vector)| factor * vector[at]).sum::<f64>();
        let off = (0..40).map(|at| (spanned(at) - dense[at]).abs()).fold(0.0, f64::max);
        assert!(off < 1e-6, "off by {off}");
        let spanned: Vec<f64> = (0..40).map(spanned).collect();
        let (before, after) = (objective(&wide, &[0.0; 40], 0.1), objective(&wide, &spanned, 0.1));
        assert!(after < before - 0.01, "{before} became {after}");
    }

    /// Trap 20 of the field: in bf16 and f32 the products of small deltas underflow, and cosines with them.
    #[test]
    fn deltas_whose_squares_underflow_still_have_angles() {
        let scale = f32::powi(2.0, -80);
        let small = vectors(scale);
        let product: f32 = small[0].iter().zip(&small[1]).map(|(a, b)| a * b).sum();
        assert_eq!(product, 0.0, "f32 does not see them");
        let scale = f64::from(scale);
        // The objective in other units of length.
        let descent = Descent { penalty: DESCENT.penalty / scale, rate: DESCENT.rate * scale * scale, ..DESCENT };
        let (found, expected) = (redundant(&gram(&small), descent), redundant(&gram(&vectors(1.0)), DESCENT));
        assert!(expected.iter().all(|factor| *factor > 1e-3), "{expected:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        }
    }

    #[test]
    fn right_angles_have_nothing_in_common_and_zeros_no_angle() {
        let gram = Gram::from_products(3, vec![2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(redundant(&gram, DESCENT), [0.0; 3]);
        assert_eq!(coefficients(&[1.0, 2.0], &[0.1, 0.2]), [1.0 - 0.3 * 1.0, 2.0 - 3.0 * 0.2]);
        let alone = Gram::from_products(1, vec![2.0]);
        assert_eq!(redundant(&alone, DESCENT), [0.0]);
    }
}
