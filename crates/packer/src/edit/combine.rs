//! From the weights or the deltas of several models to those of one, tensor by tensor.

use super::method::MergeMethod;

/// Above this cosine two tensors point the same way, and the line between them is as good as the great circle.
const SAME_WAY: f64 = 0.9995;
/// Below this a length, a sum of weights or a denominator is none.
const NOTHING: f64 = 1e-8;

/// The weighted sum of `deltas`, times `lambda`; each comes with its weight. With `elects`, only deltas of the sign that their sum
/// has count, where a sum of 0 is positive and a delta of 0 has no sign. With `normalize`, divided by the weights of what counts.
pub(super) fn sum(deltas: &[(f32, Vec<f32>)], method: MergeMethod, normalize: bool, lambda: f32) -> Vec<f32> {
    let count = deltas.first().map_or(0, |(_, deltas)| deltas.len());
    let all: f32 = deltas.iter().map(|(weight, _)| weight).sum();
    let element = |at: usize| {
        let weighted = deltas.iter().map(|(weight, deltas)| (*weight, weight * deltas[at]));
        let (sum, weights) = if method.elects_signs() {
            let is_positive = weighted.clone().map(|(_, delta)| delta).sum::<f32>() >= 0.0;
            let agreeing = weighted.filter(|(_, delta)| if is_positive { *delta > 0.0 } else { *delta < 0.0 });
            agreeing.fold((0.0, 0.0), |(sum, weights), (weight, delta)| (sum + delta, weights + weight))
        } else {
            (weighted.map(|(_, delta)| delta).sum::<f32>(), all)
        };
        let divisor = if !normalize || f64::from(weights.abs()) < NOTHING { 1.0 } else { weights };
        sum / divisor * lambda
    };
    (0..count).map(element).collect()
}

/// The weighted sum of `weights`, each with its coefficient; with `normalize` divided by the sum of the coefficients.
pub(super) fn linear(weights: &[(f32, Vec<f32>)], normalize: bool) -> Vec<f32> {
    let count = weights.first().map_or(0, |(_, weights)| weights.len());
    let divisor: f32 = if normalize { weights.iter().map(|(coefficient, _)| coefficient).sum() } else { 1.0 };
    let element =
        |at: usize| weights.iter().map(|(coefficient, weights)| coefficient * weights[at]).sum::<f32>() / divisor;
    (0..count).map(element).collect()
}

/// The point at `t` on the great circle from `base` to `other`, or on the line where the two point the same way, or opposite
/// ways, or one is 0.
pub(super) fn slerp(base: &[f32], other: &[f32], t: f64) -> Vec<f32> {
    let length = |values: &[f32]| {
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if length > NOTHING { length } else { 1.0 }
    };
    let pairs = || base.iter().zip(other).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let cosine = (pairs().map(|(a, b)| a * b).sum::<f64>() / (length(base) * length(other))).clamp(-1.0, 1.0);
    let (of_base, of_other) = if cosine.abs() > SAME_WAY {
        (1.0 - t, t)
    } else {
        let angle = libm::acos(cosine);
        (libm::sin((1.0 - t) * angle) / libm::sin(angle), libm::sin(t * angle) / libm::sin(angle))
    };
    pairs().map(|(a, b)| (of_base * a + of_other * b) as f32).collect()
}

/// The sum of `deltas`, each times its coefficient and all times `lambda`.
pub(super) fn mixture(deltas: &[&[f32]], coefficients: &[f64], lambda: f64) -> Vec<f32> {
    let element = |at: usize| {
        let sum: f64 = deltas.iter().zip(coefficients).map(|(deltas, factor)| factor * f64::from(deltas[at])).sum();
        (lambda * sum) as f32
    };
    (0..deltas.first().map_or(0, |deltas| deltas.len())).map(element).collect()
}

/// The mean of `deltas`, as far towards them as they agree: `n c / (1 + (n - 1) c)` of it, with `c` the mean cosine of their
/// pairs. Where that has no value, nothing.
pub(super) fn model_stock(deltas: &[&[f32]]) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths: Vec<f64> = deltas.iter().map(|deltas| dot(deltas, deltas).sqrt()).collect();
    let mut cosines = Vec::new();
    for (at, one) in deltas.iter().enumerate() {
        for (beside, other) in deltas.iter().enumerate().skip(at + 1) {
            let lengths = (lengths[at] * lengths[beside]).max(1e-6);
            cosines.push((dot(one, other) / lengths).clamp(-1.0, 1.0));
        }
    }
    let (count, cosine) = (deltas.len() as f64, cosines.iter().sum::<f64>() / cosines.len().max(1) as f64);
    let denominator = 1.0 + (count - 1.0) * cosine;
    let towards = if denominator.abs() < 1e-6 { 0.0 } else { count * cosine / denominator };
    let element = |at: usize| {
        let mean = deltas.iter().map(|deltas| f64::from(deltas[at])).sum::<f64>() / count;
        (towards * mean) as f32
    };
    (0..deltas.first().map_or(0, |deltas| deltas.len())).map(element).collect()
}
