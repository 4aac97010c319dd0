//! Plain deltas: `running + alpha * delta`.

use crate::narrow::Narrow16;

/// What every sum that is not a number becomes: quiet, positive, no payload.
pub const CANONICAL_NAN: f32 = f32::from_bits(0x7fc0_0000);

/// Adds `alpha * delta` to the element at each index.
///
/// The same function adds to the scratch of a 16-bit tensor, see [`widen`](crate::widen). `alpha` is finite; 0 leaves
/// every bit alone. Indices out of range are skipped.
pub fn add_f32(values: &mut [f32], entries: impl Iterator<Item = (usize, f32)>, alpha: f32) {
    if alpha == 0.0 {
        return;
    }
    entries.for_each(|(index, delta)| {
        if let Some(value) = values.get_mut(index) {
            *value = sum(*value, alpha * delta);
        }
    });
}

/// Adds `alpha * delta` to neighboring elements, the first at `start`: as [`add_f32`], entry by entry, but a loop without
/// decisions.
///
/// `alpha` is finite; 0 leaves every bit alone. What is out of range is skipped.
pub fn add_run_f32(values: &mut [f32], start: usize, deltas: &[f32], alpha: f32) {
    if alpha == 0.0 {
        return;
    }
    for (value, delta) in values.get_mut(start..).unwrap_or_default().iter_mut().zip(deltas) {
        *value = sum(*value, alpha * delta);
    }
}

/// Adds `alpha * delta` to the element at each index of a 16-bit tensor, given as bit patterns, and rounds.
///
/// For one skill alone: a second call would round a second time. Several skills go through [`widen`](crate::widen),
/// [`add_f32`] and [`narrow_changed`](crate::narrow_changed). `alpha` is finite; 0 leaves every bit alone. Indices out
/// of range are skipped.
pub fn add_16<N: Narrow16>(values: &mut [u16], entries: impl Iterator<Item = (usize, f32)>, alpha: f32) {
    if alpha == 0.0 {
        return;
    }
    entries.for_each(|(index, delta)| {
        if let Some(value) = values.get_mut(index) {
            *value = N::narrow(sum(N::widen(*value), alpha * delta));
        }
    });
}

/// One rounded addition, with the one NaN if there is no number.
#[inline]
pub(crate) fn sum(running: f32, step: f32) -> f32 {
    let sum = running + step;
    if sum.is_nan() { CANONICAL_NAN } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::narrow::{Bf16, F16};

    #[test]
    fn two_roundings_and_never_a_fused_one() {
        // 1 + 2^-12 squared is 1 + 2^-11 + 2^-24: the product loses the last bit, a fused operation would keep it.
        let factor = 1.0 + 1.0 / 4096.0;
        let mut values = [-1.0f32];
        add_f32(&mut values, [(0, factor)].into_iter(), factor);
        assert_eq!(values, [1.0 / 2048.0]);
    }

    #[test]
    fn alpha_zero_keeps_even_the_sign_of_zero_and_the_payload_of_nan() {
        let patterns = [0x8000_0000, 0x7f80_0001, 0xffc1_2345];
        for alpha in [0.0, -0.0] {
            let mut values = patterns.map(f32::from_bits);
            add_f32(&mut values, (0..3).map(|index| (index, 1.0)), alpha);
            assert_eq!(values.map(f32::to_bits), patterns);
            let mut halves = [0x8000, 0x7c01];
            add_16::<F16>(&mut halves, (0..2).map(|index| (index, 1.0)), alpha);
            assert_eq!(halves, [0x8000, 0x7c01]);
        }
    }

    #[test]
    fn indices_out_of_range_are_skipped() {
        let entries = || [(0, 1.0), (3, 1.0), (usize::MAX, 1.0), (1, 1.0)].into_iter();
        let mut values = [0.0; 3];
        add_f32(&mut values, entries(), 2.0);
        assert_eq!(values, [2.0, 2.0, 0.0]);
        let mut halves = [0; 3];
        add_16::<Bf16>(&mut halves, entries(), 2.0);
        assert_eq!(halves, [0x4000, 0x4000, 0]);
        add_f32(&mut [], entries(), 2.0);
    }

    #[test]
    fn a_run_is_its_entries() {
        let deltas = [0.1, f32::MAX, -0.0, 1e-45, f32::INFINITY];
        let start = [f32::from_bits(0xffff_ffff), f32::MAX, -0.0, 1.0, f32::NEG_INFINITY, 2.0, 3.0];
        for (first, alpha) in [(0, 1.0), (1, -0.3), (2, 2.0), (4, 1.0), (7, 1.0), (usize::MAX, 1.0), (0, 0.0)] {
            let (mut in_run, mut by_entry) = (start, start);
            add_run_f32(&mut in_run, first, &deltas, alpha);
            let entries = deltas.iter().enumerate().map(|(i, delta)| (first.saturating_add(i), *delta));
            add_f32(&mut by_entry, entries, alpha);
            assert_eq!(in_run.map(f32::to_bits), by_entry.map(f32::to_bits));
        }
    }

    #[test]
    fn what_is_not_a_number_has_one_pattern() {
        let mut values = [f32::from_bits(0xffff_ffff), f32::INFINITY, f32::from_bits(0x7f80_0001)];
        add_f32(&mut values, (0..3).map(|index| (index, f32::MAX)), -2.0);
        assert_eq!(values.map(f32::to_bits), [0x7fc0_0000; 3]);
        let mut halves = [0xffff, 0x7c00];
        add_16::<F16>(&mut halves, (0..2).map(|index| (index, f32::MAX)), -2.0);
        assert_eq!(halves, [0x7e00; 2]);
    }
}
