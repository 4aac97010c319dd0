//! Lossless distances: the tuned bits come back when they can, and a rounded sum otherwise.

use crate::distance::{apply_f32, apply_u16};
use crate::narrow::Narrow16;
use crate::plain::sum;

/// Moves the element at each index by a distance between bit patterns, times alpha.
///
/// `base` is the tensor as the base model has it, `values` what has become of it so far. At alpha 1, an element that
/// nothing has changed yet gets the tuned bits. `alpha` is finite; 0 leaves every bit alone. Indices that are out of
/// range in either slice are skipped.
pub fn add_distances_f32(values: &mut [f32], base: &[f32], entries: impl Iterator<Item = (usize, i64)>, alpha: f32) {
    if alpha == 0.0 {
        return;
    }
    entries.for_each(|(index, distance)| {
        if let (Some(value), Some(&base)) = (values.get_mut(index), base.get(index)) {
            *value = moved(*value, base, apply_f32(base, distance), alpha);
        }
    });
}

/// As [`add_distances_f32`], on the scratch of a 16-bit tensor, see [`widen`](crate::widen).
pub fn add_distances_widened<N: Narrow16>(
    scratch: &mut [f32],
    base: &[u16],
    entries: impl Iterator<Item = (usize, i64)>,
    alpha: f32,
) {
    if alpha == 0.0 {
        return;
    }
    entries.for_each(|(index, distance)| {
        if let (Some(value), Some(&base)) = (scratch.get_mut(index), base.get(index)) {
            *value = moved(*value, N::widen(base), N::widen(apply_u16(base, distance)), alpha);
        }
    });
}

/// As [`add_distances_f32`], on a 16-bit tensor given as bit patterns, and rounds.
///
/// For one skill alone, as [`add_16`](crate::add_16): several go through [`add_distances_widened`].
pub fn add_distances_16<N: Narrow16>(
    values: &mut [u16],
    base: &[u16],
    entries: impl Iterator<Item = (usize, i64)>,
    alpha: f32,
) {
    if alpha == 0.0 {
        return;
    }
    entries.for_each(|(index, distance)| {
        if let (Some(value), Some(&base)) = (values.get_mut(index), base.get(index)) {
            let tuned = N::widen(apply_u16(base, distance));
            *value = N::narrow(moved(N::widen(*value), N::widen(base), tuned, alpha));
        }
    });
}

#[inline]
fn moved(running: f32, base: f32, tuned: f32, alpha: f32) -> f32 {
    if alpha == 1.0 && running.to_bits() == base.to_bits() { tuned } else { sum(running, alpha * (tuned - base)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance;
    use crate::narrow::{Bf16, F16};

    #[test]
    #[cfg_attr(miri, ignore = "hours: 4 million pairs")]
    fn alone_at_alpha_one_it_gives_every_tuned_pattern() {
        for base in (0..=u16::MAX).step_by(911) {
            for tuned in 0..=u16::MAX {
                let entry = || [(0, distance::u16(base, tuned))].into_iter();
                let (mut half, mut brain, mut single) = ([base], [base], [f32::from_bits(u32::from(base) << 16)]);
                let wide = single;
                add_distances_16::<F16>(&mut half, &[base], entry(), 1.0);
                add_distances_16::<Bf16>(&mut brain, &[base], entry(), 1.0);
                let tuned_wide = f32::from_bits(u32::from(tuned) << 16 | 0x1234);
                let far = distance::f32(wide[0], tuned_wide);
                add_distances_f32(&mut single, &wide, [(0, far)].into_iter(), 1.0);
                assert_eq!((half, brain), ([tuned], [tuned]));
                assert_eq!(single[0].to_bits(), tuned_wide.to_bits());
            }
        }
    }

    #[test]
    fn at_other_alphas_and_on_changed_elements_it_is_a_rounded_sum() {
        let base = [1.0f32];
        let entry = || [(0, distance::f32(1.0, 1.5))].into_iter();
        for (start, alpha, expected) in [(1.0, 0.5, 1.25), (1.0, -2.0, 0.0), (2.0, 1.0, 2.5)] {
            let mut values = [start];
            add_distances_f32(&mut values, &base, entry(), alpha);
            assert_eq!(values, [expected], "{start} {alpha}");
        }
    }

    #[test]
    fn indices_out_of_range_in_either_slice_are_skipped() {
        let entries = || [(2, 1), (1, 1), (usize::MAX, 1), (0, 1)].into_iter();
        let mut values = [1.0f32; 3];
        add_distances_f32(&mut values, &[1.0; 2], entries(), 1.0);
        assert_eq!(values, [1.0f32.next_up(), 1.0f32.next_up(), 1.0]);
        let mut patterns = [7u16; 2];
        add_distances_16::<F16>(&mut patterns, &[7; 3], entries(), 1.0);
        assert_eq!(patterns, [8, 8]);
        add_distances_widened::<F16>(&mut [], &[7; 3], entries(), 1.0);
    }
}
