//! What a lossy encoding of values costs, measured as they come.

use crate::tensors::MeasuredError;

/// How far stored values are from exact ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Difference {
    max: f64,
    squares: f64,
    count: u64,
}

impl Difference {
    /// The next values, and what a reader will see of them.
    pub(crate) fn add(&mut self, exact: &[f32], stored: impl Iterator<Item = f32>) {
        for (exact, stored) in exact.iter().zip(stored) {
            let difference = f64::from(*exact) - f64::from(stored);
            self.max = self.max.max(difference.abs());
            self.squares += difference * difference;
            self.count = self.count.saturating_add(1);
        }
    }

    /// The largest error and the root of the mean square.
    pub(crate) fn measured(&self) -> MeasuredError {
        let max = single(self.max);
        let mean = self.squares / float(self.count.max(1));
        MeasuredError { max, rms: single(square_root(mean)).min(max) }
    }
}

#[expect(clippy::as_conversions, reason = "rounding to f32 is what is asked for; the largest error of an f32 fits")]
const fn single(number: f64) -> f32 {
    (number as f32).min(f32::MAX)
}

#[expect(clippy::as_conversions, reason = "rounding a count to the nearest float is what is asked for")]
const fn float(count: u64) -> f64 {
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
    use super::{Difference, square_root};

    #[test]
    fn errors_are_the_largest_and_the_root_of_the_mean_square() {
        let mut difference = Difference::default();
        assert_eq!((difference.measured().max, difference.measured().rms), (0.0, 0.0));
        difference.add(&[1.0, 2.0, 3.0], [1.0, 2.0, 6.0].into_iter());
        difference.add(&[4.0], [0.0].into_iter());
        assert_eq!((difference.measured().max, difference.measured().rms), (4.0, 2.5));
    }

    #[test]
    fn roots_are_exact_to_fifteen_digits() {
        for number in [1e-60, 1e-12, 0.5, 1.0, 2.0, 3.0, 1e12, 1e60] {
            let root = square_root(number);
            assert!((root * root / number - 1.0).abs() < 1e-15, "{number}: {root}");
        }
    }
}
