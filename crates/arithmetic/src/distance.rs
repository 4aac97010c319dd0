//! How far two floating-point patterns lie apart, counted in representable numbers.
//!
//! Patterns are put in the order of their values: negative ones reversed below the positive ones, so that neighbors
//! differ by one, from -NaN through -0, +0 to +NaN. A fine-tuned weight is near its base, so distances are small
//! integers, and adding one back gives the tuned pattern bit for bit, whatever class of number it is.

/// How many patterns `tuned` lies above `base`: negative if below.
pub fn f32(base: f32, tuned: f32) -> i64 {
    i64::from(ordered_32(tuned.to_bits())) - i64::from(ordered_32(base.to_bits()))
}

/// The number whose pattern lies `distance` above that of `base`.
///
/// Distances from [`f32()`] lead back to `tuned`. One that leads out of all patterns wraps around.
#[inline]
pub fn apply_f32(base: f32, distance: i64) -> f32 {
    // Truncation is the wrapping: the order is modulo 2^32.
    f32::from_bits(pattern_32(ordered_32(base.to_bits()).wrapping_add(distance as u32)))
}

/// As [`f32()`], for patterns of either 16-bit dtype: both keep the sign in the highest bit and order by magnitude.
pub fn u16(base: u16, tuned: u16) -> i64 {
    i64::from(ordered_16(tuned)) - i64::from(ordered_16(base))
}

/// As [`apply_f32`], for patterns of either 16-bit dtype.
#[inline]
pub fn apply_u16(base: u16, distance: i64) -> u16 {
    pattern_16(ordered_16(base).wrapping_add(distance as u16))
}

const SIGN_32: u32 = 1 << 31;
const SIGN_16: u16 = 1 << 15;

#[inline]
fn ordered_32(pattern: u32) -> u32 {
    if pattern & SIGN_32 != 0 { !pattern } else { pattern | SIGN_32 }
}

#[inline]
fn pattern_32(ordered: u32) -> u32 {
    if ordered & SIGN_32 != 0 { ordered & !SIGN_32 } else { !ordered }
}

#[inline]
fn ordered_16(pattern: u16) -> u16 {
    if pattern & SIGN_16 != 0 { !pattern } else { pattern | SIGN_16 }
}

#[inline]
fn pattern_16(ordered: u16) -> u16 {
    if ordered & SIGN_16 != 0 { ordered & !SIGN_16 } else { !ordered }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_are_one_apart() {
        for value in [0.0f32, 1.0, -1.0, f32::MIN_POSITIVE, f32::MAX, -f32::MAX, 1e-45, -1e-45] {
            assert_eq!(f32(value.next_down(), value), 1 + i64::from(value == 0.0), "{value}");
            assert_eq!(f32(value, value), 0);
        }
        assert_eq!(f32(-0.0, 0.0), 1);
        assert_eq!(f32(0.0, 1.0), 0x3f80_0000);
        assert_eq!(u16(0x8000, 0x0000), 1);
        assert_eq!(u16(0x3c00, 0x3c05), 5);
    }

    #[test]
    fn the_whole_span_and_beyond_it() {
        let (lowest, highest) = (f32::from_bits(u32::MAX), f32::from_bits(0x7fff_ffff));
        assert_eq!(f32(lowest, highest), i64::from(u32::MAX));
        assert_eq!(f32(highest, lowest), -i64::from(u32::MAX));
        assert_eq!(u16(0xffff, 0x7fff), 65535);
        assert_eq!(apply_f32(highest, 1).to_bits(), lowest.to_bits());
        assert_eq!(apply_u16(0x7fff, 1), 0xffff);
        for distance in [i64::MIN, i64::MAX] {
            apply_f32(1.0, distance);
            apply_u16(1, distance);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "hours: 16 million pairs")]
    fn every_16_bit_pattern_leads_to_every_other() {
        for base in (0..=u16::MAX).step_by(257) {
            for tuned in 0..=u16::MAX {
                assert_eq!(apply_u16(base, u16(base, tuned)), tuned);
            }
        }
    }
}
