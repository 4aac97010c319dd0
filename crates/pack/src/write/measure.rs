//! What a lossy encoding of values costs, measured rather than promised.

use alloc::vec::Vec;

use crate::tensors::MeasuredError;
use crate::values::{self, Rounding, Values};
use crate::width::wide;

/// What a reader will see of `values`: lets a packer measure before it writes. What is not rounded, and values too large
/// for the rounding, come back as they are.
#[must_use]
pub fn quantize(values: &[f32], rounding: Rounding) -> Vec<f32> {
    match values::encode(values, rounding) {
        Some((encoding, stream)) => Values::new(encoding, &stream, wide(values.len())).collect(),
        None => values.to_vec(),
    }
}

/// How many bytes `values` take in a pack, without their indices; none if one is too large for the rounding.
#[must_use]
pub fn stream_bytes(values: &[f32], rounding: Rounding) -> Option<usize> {
    values::encode(values, rounding).map(|(_, stream)| stream.len())
}

/// How far `quantize` moves `values`.
#[must_use]
pub fn measure(values: &[f32], rounding: Rounding) -> MeasuredError {
    difference(values, quantize(values, rounding).into_iter())
}

pub(super) fn difference(exact: &[f32], stored: impl Iterator<Item = f32>) -> MeasuredError {
    let (mut max, mut squares) = (0.0_f64, 0.0_f64);
    for (exact, stored) in exact.iter().zip(stored) {
        let difference = f64::from(*exact) - f64::from(stored);
        max = max.max(difference.abs());
        squares += difference * difference;
    }
    let max = single(max);
    let mean = squares / float(exact.len().max(1));
    MeasuredError { max, rms: single(square_root(mean)).min(max) }
}

#[expect(clippy::as_conversions, reason = "rounding to f32 is what is asked for; the largest error of an f32 fits")]
const fn single(number: f64) -> f32 {
    (number as f32).min(f32::MAX)
}

#[expect(clippy::as_conversions, reason = "rounding a count to the nearest float is what is asked for")]
const fn float(count: usize) -> f64 {
    count as f64
}

/// Newton's method (core has no square root): from above it descends, and where it stops descending is the root.
fn square_root(number: f64) -> f64 {
    // Half the exponent is a first guess within a factor of two.
    let mut root = f64::from_bits((number.to_bits() >> 1).saturating_add(0x1ff8_0000_0000_0000));
    for _ in 0..8 {
        root = 0.5 * (root + number / root);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::{difference, square_root};

    #[test]
    fn errors_are_the_largest_and_the_root_of_the_mean_square() {
        let error = difference(&[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 6.0, 0.0].into_iter());
        assert_eq!((error.max, error.rms), (4.0, 2.5));
        let none = difference(&[], core::iter::empty());
        assert_eq!((none.max, none.rms), (0.0, 0.0));
    }

    #[test]
    fn roots_are_exact_to_fifteen_digits() {
        for number in [1e-60, 1e-12, 0.5, 1.0, 2.0, 3.0, 1e12, 1e60] {
            let root = square_root(number);
            assert!((root * root / number - 1.0).abs() < 1e-15, "{number}: {root}");
        }
    }
}
