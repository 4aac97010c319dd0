//! Value encoding 6: deltas as binary16 (`FORMAT.md`, 6.9).

use super::plain::{Number, PlainValues};
use crate::report::Wrong;
use crate::stream::Stream;

/// Two bytes of a binary16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F16;

/// Deltas rounded to binary16.
pub(crate) type F16Values<'a> = PlainValues<'a, F16, 2>;

impl Number<2> for F16 {
    /// The exponent is moved into place with the mantissa, and a multiplication corrects its bias, also where it is 0: numbers
    /// below 2^-14 come out normal. Infinity and NaN come out finite, and are not asked for: `check` refuses them.
    #[inline]
    fn decode(bytes: [u8; 2]) -> f32 {
        /// 2^112: from the bias of 127 to that of 15.
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(u16::from_le_bytes(bytes));
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
        f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
    }
}

pub(crate) fn check(stream: Stream<'_, '_>) -> Result<(), Wrong> {
    const EXPONENT: u16 = 0x7c00;
    let numbers = stream.bytes.as_chunks().0;
    match numbers.iter().position(|bytes| u16::from_le_bytes(*bytes) & EXPONENT == EXPONENT) {
        None => Ok(()),
        Some(position) => Err(stream.number_error(position.saturating_mul(2))),
    }
}

/// Appends the values to a stream; none if one is too large for binary16.
#[cfg(feature = "write")]
pub(crate) fn encode(values: &[f32], stream: &mut alloc::vec::Vec<u8>) -> Option<()> {
    for value in values {
        stream.extend(round(*value)?.to_le_bytes());
    }
    Some(())
}

/// The nearest binary16 of a finite number, ties to even; none where that is infinite.
#[cfg(feature = "write")]
fn round(value: f32) -> Option<u16> {
    /// From here on the nearest binary16 is infinite: halfway from the largest number, 65504, to 65536.
    const TOO_LARGE: f32 = 65_520.0;
    /// The smallest normal binary16.
    const NORMAL_MIN: f32 = 6.103_515_6e-5;
    /// Above it f32 are 2^-24 apart, as binary16 are below `NORMAL_MIN`: adding it rounds to them, ties to even.
    const STEP_OF_SUBNORMAL: f32 = 0.5;
    let magnitude = value.abs();
    if magnitude >= TOO_LARGE {
        return None;
    }
    let rounded = if magnitude < NORMAL_MIN {
        (magnitude + STEP_OF_SUBNORMAL).to_bits().wrapping_sub(STEP_OF_SUBNORMAL.to_bits())
    } else {
        let bits = magnitude.to_bits();
        let rebiased = bits.wrapping_sub(112 << 23);
        let tie_to_even = (rebiased >> 13) & 1;
        rebiased.wrapping_add(0xfff).wrapping_add(tie_to_even) >> 13
    };
    let sign = (value.to_bits() >> 16) & 0x8000;
    u16::try_from(rounded | sign).ok()
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use super::{F16, F16Values, encode, round};
    use crate::values::plain::Number as _;

    #[test]
    fn every_number_comes_back() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00) {
            assert_eq!(round(F16::decode(bits.to_le_bytes())), Some(bits), "{bits:04x}");
        }
    }

    #[test]
    fn rounds_to_nearest_even() {
        // One unit in the last place of binary16 at 1.0 is 2^-10, and below 2^-14 it is 2^-24.
        let cases = [
            (1.0, 1.0),
            (1.0 + 0.000_488_281_25, 1.0),
            (1.0 + 0.000_976_562_5 + 0.000_488_281_25, 1.001_953_1),
            (-0.0, -0.0),
            (2.9e-8, 0.0),
            (3.0e-8, 5.960_464_5e-8),
            (8.940_697e-8, 1.192_092_9e-7),
            (6.103_4e-5, 6.103_515_6e-5),
            (-65_519.9, -65_504.0),
        ];
        for (value, expected) in cases {
            let mut bytes = alloc::vec::Vec::new();
            assert_eq!(encode(&[value], &mut bytes), Some(()));
            let decoded = F16Values::new(&bytes).next();
            assert_eq!(decoded.map(f32::to_bits), Some(f32::to_bits(expected)), "{value}");
        }
        assert_eq!(encode(&[65_520.0], &mut alloc::vec::Vec::new()), None);
        assert_eq!(encode(&[f32::MAX], &mut alloc::vec::Vec::new()), None);
    }
}
