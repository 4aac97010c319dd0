//! Value encoding 3: int8 codes with an f32 scale per block of 256 entries (`FORMAT.md`, 6.10).

use crate::layout::BLOCK_ENTRIES;
use crate::report::Wrong;
use crate::stream::Stream;
use crate::width::wide;

const SCALE_BYTES: usize = 4;

/// Deltas as code times scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int8Values<'a> {
    /// The codes left in this block, and the blocks after it.
    codes: &'a [u8],
    rest: &'a [u8],
    scale: f32,
}

impl<'a> Int8Values<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { codes: &[], rest: bytes, scale: 0.0 }
    }

    /// Decodes as many as there is room for, and returns how many.
    #[inline]
    pub(crate) fn fill(&mut self, out: &mut [f32]) -> usize {
        let mut filled = 0_usize;
        while let Some(room) = out.get_mut(filled..).filter(|room| !room.is_empty()) {
            if self.codes.is_empty() && self.open_block().is_none() {
                break;
            }
            let (now, rest) = self.codes.split_at_checked(room.len()).unwrap_or((self.codes, &[]));
            for (out, code) in room.iter_mut().zip(now) {
                *out = f32::from(i8::from_le_bytes([*code])) * self.scale;
            }
            self.codes = rest;
            if now.is_empty() {
                break;
            }
            filled = filled.saturating_add(now.len());
        }
        filled
    }

    fn open_block(&mut self) -> Option<()> {
        let (scale, rest) = self.rest.split_first_chunk::<SCALE_BYTES>()?;
        self.scale = f32::from_le_bytes(*scale);
        (self.codes, self.rest) = rest.split_at_checked(BLOCK_ENTRIES).unwrap_or((rest, &[]));
        Some(())
    }
}

impl Iterator for Int8Values<'_> {
    type Item = f32;

    #[inline]
    fn next(&mut self) -> Option<f32> {
        if self.codes.is_empty() {
            self.open_block()?;
        }
        let (code, codes) = self.codes.split_first()?;
        self.codes = codes;
        Some(f32::from(i8::from_le_bytes([*code])) * self.scale)
    }
}

pub(crate) const fn size_bytes(count: u64) -> u64 {
    count.saturating_add(count.div_ceil(wide(BLOCK_ENTRIES)).saturating_mul(wide(SCALE_BYTES)))
}

pub(crate) fn check(stream: Stream<'_, '_>) -> Result<(), Wrong> {
    let mut values = Int8Values::new(stream.bytes);
    loop {
        let position = stream.bytes.len().saturating_sub(values.rest.len());
        if values.open_block().is_none() {
            return Ok(());
        }
        if !(values.scale >= 0.0 && (values.scale * 127.0).is_finite()) {
            return Err(stream.number_error(position));
        }
        // All of a block at once first: a loop that may end early looks at one code at a time.
        let is_min = |code: &u8| i8::from_le_bytes([*code]) == i8::MIN;
        if values.codes.iter().fold(false, |found, code| found | is_min(code)) {
            let code = values.codes.iter().position(is_min).unwrap_or_default();
            return Err(stream.number_error(position.saturating_add(SCALE_BYTES).saturating_add(code)));
        }
    }
}

#[cfg(feature = "write")]
pub(crate) fn encode(values: &[f32]) -> alloc::vec::Vec<u8> {
    let mut bytes = alloc::vec::Vec::with_capacity(crate::width::length(size_bytes(wide(values.len()))));
    for block in values.chunks(BLOCK_ENTRIES) {
        let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = scale(largest);
        bytes.extend(scale.to_le_bytes());
        bytes.extend(block.iter().flat_map(|value| code(*value, scale).to_le_bytes()));
    }
    bytes
}

/// The largest magnitude over 127, so low that 127 scales are finite.
#[cfg(feature = "write")]
fn scale(largest: f32) -> f32 {
    let scale = largest / 127.0;
    if (scale * 127.0).is_finite() { scale } else { f32::from_bits(scale.to_bits().saturating_sub(1)) }
}

/// The nearest code, ties to even.
#[cfg(feature = "write")]
#[expect(clippy::as_conversions, reason = "a float between -127 and 127 that is an integer")]
fn code(value: f32, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    // Adding and subtracting 1.5 * 2^23 rounds to an integer, ties to even: core has no round_ties_even.
    const INTEGERS: f32 = 12_582_912.0;
    let clamped = (value / scale).clamp(-127.0, 127.0);
    ((clamped + INTEGERS) - INTEGERS) as i8
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use proptest::prelude::*;

    use super::{Int8Values, code, encode, size_bytes};

    /// Miri takes a thousand times as long, and wants fewer.
    const VALUES_MAX: usize = if cfg!(miri) { 20 } else { 600 };

    proptest! {
        #[test]
        fn values_come_back_within_half_a_scale(values in proptest::collection::vec(-1e30_f32..1e30, 1..VALUES_MAX)) {
            let bytes = encode(&values);
            prop_assert_eq!(crate::width::wide(bytes.len()), size_bytes(crate::width::wide(values.len())));
            let decoded: alloc::vec::Vec<f32> = Int8Values::new(&bytes).collect();
            prop_assert_eq!(decoded.len(), values.len());
            for (value, decoded) in values.iter().zip(&decoded) {
                prop_assert!((value - decoded).abs() <= 1e30 / 127.0 * 0.500_01);
            }
        }
    }

    #[test]
    fn codes_round_ties_to_even_and_stay_in_range() {
        for (value, expected) in [(0.5, 0), (1.5, 2), (-2.5, -2), (2.500_01, 3), (126.6, 127), (1e9, 127), (-1e9, -127)]
        {
            assert_eq!(code(value, 1.0), expected, "{value}");
        }
        assert_eq!(code(1.0, 0.0), 0);
    }

    #[test]
    fn the_largest_numbers_stay_finite() {
        for value in [f32::MAX, -f32::MAX, f32::MIN_POSITIVE, 1e-45] {
            assert!(Int8Values::new(&encode(&[value])).all(f32::is_finite), "{value}");
        }
    }
}
