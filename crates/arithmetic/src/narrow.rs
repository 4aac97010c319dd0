//! 16-bit tensors: computed in f32, rounded once.
//!
//! Widening here keeps every pattern apart, NaNs with their payloads included, so that `narrow(widen(x))` is `x` for
//! all 65,536 of them. The conversions of `half` make every NaN quiet, which would lose the bits of a lossless skill.

use half::{bf16, f16};

/// The smallest f16 above zero, 2^-24: its subnormals are so many of it.
const F16_UNIT: f32 = f32::from_bits((127 - 24) << 23);

/// Elements that are compared at once before any is looked at alone.
const BLOCK: usize = 16;

mod sealed {
    pub trait Sealed {}
}

/// A 16-bit floating-point dtype: [`F16`] or [`Bf16`].
pub trait Narrow16: sealed::Sealed {
    /// The number with this pattern, exactly; a NaN keeps its sign and payload.
    fn widen(pattern: u16) -> f32;

    /// The pattern nearest to `value`, of two equally near ones the even one; a NaN stays one, and keeps its sign and
    /// as much of its payload as there is room for.
    fn narrow(value: f32) -> u16;
}

/// IEEE 754 half precision: 5 bits of exponent, 10 of fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum F16 {}

/// The upper half of an f32: 8 bits of exponent, 7 of fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16 {}

impl sealed::Sealed for F16 {}
impl sealed::Sealed for Bf16 {}

impl Narrow16 for F16 {
    /// Without branches, so that eight go through a register at a time, and without subnormal f32, so that it is right
    /// on threads that flush those to zero.
    #[inline]
    fn widen(pattern: u16) -> f32 {
        let magnitude = u32::from(pattern & 0x7fff);
        let subnormal = (magnitude as i32 as f32 * F16_UNIT).to_bits();
        let normal = (magnitude << 13) + ((127 - 15) << 23);
        let infinite_or_nan = magnitude << 13 | 0x7f80_0000;
        let bits = if magnitude < 0x0400 { subnormal } else { normal };
        let bits = if magnitude < 0x7c00 { bits } else { infinite_or_nan };
        f32::from_bits(u32::from(pattern & 0x8000) << 16 | bits)
    }

    #[inline]
    fn narrow(value: f32) -> u16 {
        if value.is_nan() {
            return narrow_nan(value, 0x7c00, (value.to_bits() >> 13 & 0x03ff) as u16);
        }
        f16::from_f32(value).to_bits()
    }
}

impl Narrow16 for Bf16 {
    #[inline]
    fn widen(pattern: u16) -> f32 {
        f32::from_bits(u32::from(pattern) << 16)
    }

    #[inline]
    fn narrow(value: f32) -> u16 {
        if value.is_nan() {
            return narrow_nan(value, 0x7f80, (value.to_bits() >> 16 & 0x007f) as u16);
        }
        bf16::from_f32(value).to_bits()
    }
}

/// A NaN with this exponent and payload; a payload of nothing would be an infinity, so it becomes the smallest one.
fn narrow_nan(value: f32, exponent: u16, payload: u16) -> u16 {
    (value.to_bits() >> 16 & 0x8000) as u16 | exponent | payload.max(1)
}

/// Fills `scratch` with the numbers of a 16-bit tensor: what several skills then add to, rounded only at the end.
///
/// What is longer in one of the two stays as it is.
pub fn widen<N: Narrow16>(base: &[u16], scratch: &mut [f32]) {
    for (value, &pattern) in scratch.iter_mut().zip(base) {
        *value = N::widen(pattern);
    }
}

/// Writes the elements of `scratch` that are no longer those of `base` to `out`, rounded; leaves all others alone.
///
/// So pages of `out` without a changed element stay clean. What is longer in one of the three stays as it is.
pub fn narrow_changed<N: Narrow16>(scratch: &[f32], base: &[u16], out: &mut [u16]) {
    let blocks = out.chunks_mut(BLOCK).zip(base.chunks(BLOCK)).zip(scratch.chunks(BLOCK));
    for ((out, base), scratch) in blocks {
        let elements =
            || base.iter().zip(scratch).map(|(&pattern, value)| value.to_bits() ^ N::widen(pattern).to_bits());
        if elements().fold(0, |differences, difference| differences | difference) == 0 {
            continue;
        }
        for ((out, difference), &value) in out.iter_mut().zip(elements()).zip(scratch) {
            if difference != 0 {
                *out = N::narrow(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pattern; under Miri, which takes a thousand times as long, one in a few hundred.
    fn patterns() -> impl Iterator<Item = u16> {
        (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 })
    }

    #[test]
    fn every_pattern_survives_widening() {
        for pattern in patterns() {
            assert_eq!(F16::narrow(F16::widen(pattern)), pattern);
            assert_eq!(Bf16::narrow(Bf16::widen(pattern)), pattern);
        }
    }

    #[test]
    fn a_nan_never_becomes_an_infinity() {
        for pattern in [0x7f80_0001, 0xff80_0001, 0x7fc0_0000] {
            let value = f32::from_bits(pattern);
            assert!(F16::widen(F16::narrow(value)).is_nan() && Bf16::widen(Bf16::narrow(value)).is_nan());
        }
    }

    #[test]
    fn widening_is_that_of_half_for_every_number() {
        for pattern in patterns() {
            let (half, brain) = (f16::from_bits(pattern).to_f32(), bf16::from_bits(pattern).to_f32());
            assert!(half.is_nan() == F16::widen(pattern).is_nan() && brain.is_nan() == Bf16::widen(pattern).is_nan());
            assert!(half.is_nan() || half.to_bits() == F16::widen(pattern).to_bits(), "{pattern:#06x}");
            assert!(brain.is_nan() || brain.to_bits() == Bf16::widen(pattern).to_bits(), "{pattern:#06x}");
        }
    }

    #[test]
    fn a_single_change_is_found_at_every_place() {
        let base: [u16; 3 * BLOCK + 5] = core::array::from_fn(|index| index as u16 * 0x0305);
        for changed in 0..base.len() {
            let mut scratch = [0.0; 3 * BLOCK + 5];
            widen::<F16>(&base, &mut scratch);
            scratch[changed] = -1.0;
            let mut out = base;
            narrow_changed::<F16>(&scratch, &base, &mut out);
            let mut expected = base;
            expected[changed] = 0xbc00;
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        let base = [0x3f80, 0x4000, 0x7f81, 0x8000];
        let mut scratch = [0.0; 4];
        widen::<Bf16>(&base, &mut scratch);
        scratch[1] = 3.0;
        let mut out = [0xaaaa; 4];
        narrow_changed::<Bf16>(&scratch, &base, &mut out);
        assert_eq!(out, [0xaaaa, 0x4040, 0xaaaa, 0xaaaa]);
    }

    #[test]
    fn slices_of_different_lengths_are_no_panic() {
        let mut scratch = [5.0; 1];
        widen::<F16>(&[0x3c00, 0x3c00], &mut scratch);
        assert_eq!(scratch, [1.0]);
        narrow_changed::<F16>(&[2.0, 2.0], &[0x3c00], &mut []);
    }
}
