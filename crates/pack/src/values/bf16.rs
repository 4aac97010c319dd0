//! Value encoding 2: deltas as bf16, the upper half of an f32 (`FORMAT.md`, 6.9).

use super::plain::{Number, PlainValues};
use crate::report::Wrong;
use crate::stream::Stream;

/// The upper half of an f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16;

/// Deltas rounded to bf16.
pub(crate) type Bf16Values<'a> = PlainValues<'a, Bf16, 2>;

impl Number<2> for Bf16 {
    #[inline]
    fn decode(bytes: [u8; 2]) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
    }
}

pub(crate) fn check(stream: Stream<'_, '_>) -> Result<(), Wrong> {
    match Bf16Values::new(stream.bytes).position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(position) => Err(stream.number_error(position.saturating_mul(2))),
    }
}

/// Appends the values to a stream; none if one is too large for bf16.
#[cfg(feature = "write")]
pub(crate) fn encode(values: &[f32], stream: &mut alloc::vec::Vec<u8>) -> Option<()> {
    for value in values {
        let upper = round(*value);
        if !f32::from_bits(u32::from(upper) << 16).is_finite() {
            return None;
        }
        stream.extend(upper.to_le_bytes());
    }
    Some(())
}

/// The nearest bf16 of a finite number, ties to even.
#[cfg(feature = "write")]
fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    let tie_to_even = (bits >> 16) & 1;
    let [_, _, low, high] = bits.saturating_add(0x7fff).saturating_add(tie_to_even).to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use super::{Bf16Values, encode};

    #[test]
    fn rounds_to_nearest_even() {
        // One unit in the last place of bf16 at 1.0 is 2^-7.
        let cases = [
            (1.0, 1.0),
            (1.0 + 0.003_906_25, 1.0),
            (1.0 + 0.007_812_5 + 0.003_906_25, 1.015_625),
            (-1.003_91, -1.007_812_5),
            (-0.0, -0.0),
            (1e-45, 0.0),
        ];
        for (value, expected) in cases {
            let mut bytes = alloc::vec::Vec::new();
            assert_eq!(encode(&[value], &mut bytes), Some(()));
            let decoded = Bf16Values::new(&bytes).next();
            assert_eq!(decoded.map(f32::to_bits), Some(f32::to_bits(expected)), "{value}");
        }
        assert_eq!(encode(&[f32::MAX], &mut alloc::vec::Vec::new()), None);
    }
}
