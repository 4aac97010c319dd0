//! How a writer rounds deltas before it writes them (`FORMAT.md`, 6.10 and 14).
//!
//! Levels are whole multiples of a scale, one for each block of 256 entries. With 127 levels on each side the scale is the
//! largest magnitude over 127: nothing is cut off, and what is rounded is small. With few levels that scale would waste them
//! on a rare large delta, so the scale is looked for that makes the sum of squared errors smallest.
//!
//! **What is rounded stays as it is when it is rounded again**, to the bit: whoever trains with rounded deltas packs the numbers
//! that were trained with. A scale is a quotient of some magnitude and the topmost level, and a quotient comes back when it is
//! multiplied and divided again, as long as it is a normal number; a test holds that.

use alloc::vec::Vec;

use super::difference::Difference;
use crate::layout::BLOCK_ENTRIES;
use crate::width::length;

/// How deltas are rounded to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rounding {
    /// Not at all.
    F32,
    /// To f16: 11 significant bits from 6.1e-5 to 65504, below that steps of 6e-8.
    F16,
    /// To bf16: 8 significant bits.
    Bf16,
    /// To whole multiples of a scale for each 256 entries, from minus this many to plus this many, 1 to 127 (0 is taken as
    /// 1): 127 is int8, 7 is int4, 1 is ternary.
    Levels(u8),
    /// To plus or minus one scale for each 256 entries.
    Sign,
}

impl Rounding {
    /// 255 levels: eight bits before they are coded.
    pub const INT8: Self = Self::Levels(127);
}

/// Rounds values to levels, block by block.
pub(super) struct Leveller {
    /// The topmost level; none for signs.
    top: Option<f32>,
    levels: Vec<i8>,
    scales: Vec<f32>,
    /// The values of a block that is not full yet.
    block: Vec<f32>,
}

impl Leveller {
    /// For `count` values, to levels up to `top`, or to signs.
    pub(super) fn new(top: Option<u8>, count: u64) -> Self {
        Self {
            top: top.map(|top| f32::from(top.clamp(1, 127))),
            levels: Vec::with_capacity(length(count)),
            scales: Vec::with_capacity(length(count).div_ceil(BLOCK_ENTRIES)),
            block: Vec::with_capacity(BLOCK_ENTRIES),
        }
    }

    /// The next values; what rounding them costs goes into `difference`.
    pub(super) fn add(&mut self, mut values: &[f32], difference: &mut Difference) {
        while !values.is_empty() {
            let room = BLOCK_ENTRIES.saturating_sub(self.block.len());
            let (now, rest) = values.split_at_checked(room).unwrap_or((values, &[]));
            self.block.extend_from_slice(now);
            values = rest;
            if self.block.len() == BLOCK_ENTRIES {
                self.close_block(difference);
            }
        }
    }

    /// The level of each value, and the scale of each block.
    pub(super) fn finish(mut self, difference: &mut Difference) -> (Vec<i8>, Vec<f32>) {
        if !self.block.is_empty() {
            self.close_block(difference);
        }
        (self.levels, self.scales)
    }

    fn close_block(&mut self, difference: &mut Difference) {
        let Self { top, levels, scales, block } = self;
        let start = levels.len();
        let scale = match *top {
            Some(top) => {
                let scale = if top < 127.0 { closest_scale(block, top) } else { scale(largest(block), top) };
                levels.extend(block.iter().map(|value| level(*value, scale, top)));
                scale
            }
            None => {
                levels.extend(block.iter().map(|value| if value.is_sign_negative() { -1 } else { 1 }));
                mean_magnitude(block)
            }
        };
        let stored = levels.iter().skip(start).map(|level| f32::from(*level) * scale);
        difference.add(block, stored);
        scales.push(scale);
        block.clear();
    }
}

/// The scale of signs, which is closest to all magnitudes.
fn mean_magnitude(block: &[f32]) -> f32 {
    let sum: f64 = block.iter().map(|value| f64::from(value.abs())).sum();
    writable(single(sum / f64::from(u16::try_from(block.len()).unwrap_or(u16::MAX))))
}

fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()))
}

/// A magnitude over the levels; 0 if that has less than the 24 bits of a normal number, since it would not come back.
fn scale(magnitude: f32, top: f32) -> f32 {
    let scale = writable(magnitude / top);
    if scale < f32::MIN_POSITIVE { 0.0 } else { scale }
}

/// The scale, or the largest one that int8 can have: 127 times it is finite.
fn writable(scale: f32) -> f32 {
    const LARGEST: f32 = f32::from_bits(0x7c01_0203);
    scale.min(LARGEST)
}

/// Of the scales that put the topmost level at 1/32 to 32/32 of the largest magnitude, the one with the smallest sum of
/// squared errors, the largest among equals.
fn closest_scale(block: &[f32], top: f32) -> f32 {
    const PARTS: u8 = 32;
    let largest = largest(block);
    let mut closest = (f64::INFINITY, 0.0);
    for part in (1..=PARTS).rev() {
        let scale = scale(largest * (f32::from(part) / f32::from(PARTS)), top);
        let error = block.iter().fold(0.0_f64, |sum, value| {
            let off = f64::from(*value) - f64::from(f32::from(level(*value, scale, top)) * scale);
            sum + off * off
        });
        if error < closest.0 {
            closest = (error, scale);
        }
    }
    closest.1
}

/// The nearest level, ties to even.
#[expect(clippy::as_conversions, reason = "a float between -127 and 127 that is an integer")]
fn level(value: f32, scale: f32, top: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    // Adding and subtracting 1.5 * 2^23 rounds to an integer, ties to even: core has no round_ties_even.
    const INTEGERS: f32 = 12_582_912.0;
    let clamped = (value / scale).clamp(-top, top);
    ((clamped + INTEGERS) - INTEGERS) as i8
}

#[expect(clippy::as_conversions, reason = "rounding to f32 is what is asked for; a mean of f32 fits")]
const fn single(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{Leveller, level};
    use crate::values::difference::Difference;

    fn to_levels(values: &[f32], top: u8) -> (Vec<i8>, Vec<f32>) {
        in_parts(Leveller::new(Some(top), 0), values)
    }

    fn to_signs(values: &[f32]) -> (Vec<i8>, Vec<f32>) {
        in_parts(Leveller::new(None, 0), values)
    }

    /// Parts do not matter: blocks begin where they would without.
    fn in_parts(mut leveller: Leveller, values: &[f32]) -> (Vec<i8>, Vec<f32>) {
        let mut difference = Difference::default();
        values.chunks(100).for_each(|part| leveller.add(part, &mut difference));
        leveller.finish(&mut difference)
    }

    fn squared_error(values: &[f32], levels: &[i8], scale: f32) -> f64 {
        values
            .iter()
            .zip(levels)
            .map(|(value, level)| (f64::from(*value) - f64::from(f32::from(*level) * scale)).powi(2))
            .sum()
    }

    proptest! {
        #[test]
        fn int8_is_within_half_a_scale(values in proptest::collection::vec(-1e30_f32..1e30, 1..600)) {
            let (levels, scales) = to_levels(&values, 127);
            for (block, (levels, scale)) in values.chunks(256).zip(levels.chunks(256).zip(scales)) {
                for (value, level) in block.iter().zip(levels) {
                    prop_assert!((value - f32::from(*level) * scale).abs() <= scale * 0.500_01);
                }
            }
        }

        #[test]
        fn fewer_levels_are_no_worse_than_those_of_the_largest_magnitude(
            values in proptest::collection::vec(-2.0_f32..2.0, 1..200), top in 1_u8..127,
        ) {
            let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let scale = largest / f32::from(top);
            let plain: Vec<i8> = values.iter().map(|value| level(*value, scale, f32::from(top))).collect();
            let (levels, scales) = to_levels(&values, top);
            prop_assert!(levels.iter().all(|level| level.unsigned_abs() <= top));
            prop_assert!(squared_error(&values, &levels, scales[0]) <= squared_error(&values, &plain, scale));
        }
    }

    #[test]
    fn levels_round_ties_to_even_and_stay_in_range() {
        for (value, expected) in [(0.5, 0), (1.5, 2), (-2.5, -2), (2.500_01, 3), (126.6, 127), (1e9, 127), (-1e9, -127)]
        {
            assert_eq!(level(value, 1.0, 127.0), expected, "{value}");
        }
        assert_eq!(level(9.0, 1.0, 7.0), 7);
        assert_eq!(level(1.0, 0.0, 7.0), 0);
    }

    #[test]
    fn the_largest_numbers_stay_finite() {
        for value in [f32::MAX, -f32::MAX, f32::MIN_POSITIVE, 1e-45] {
            for top in [1, 7, 127] {
                assert!((127.0 * to_levels(&[value], top).1[0]).is_finite(), "{value} in {top}");
            }
            assert!((127.0 * to_signs(&[value]).1[0]).is_finite(), "{value} as a sign");
        }
    }

    #[test]
    fn signs_have_the_mean_magnitude() {
        assert_eq!(to_signs(&[0.5, -1.5, 0.0, -2.0]), (vec![1, -1, 1, -1], vec![1.0]));
    }
}
