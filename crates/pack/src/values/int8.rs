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

/// The stream for codes and the scale of each block of 256 of them.
#[cfg(feature = "write")]
pub(crate) fn encode(codes: &[i8], scales: &[f32]) -> alloc::vec::Vec<u8> {
    let mut bytes = alloc::vec::Vec::with_capacity(crate::width::length(size_bytes(wide(codes.len()))));
    for (block, scale) in codes.chunks(BLOCK_ENTRIES).zip(scales) {
        bytes.extend(scale.to_le_bytes());
        bytes.extend(block.iter().flat_map(|code| code.to_le_bytes()));
    }
    bytes
}

#[cfg(all(test, feature = "write"))]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{Int8Values, encode, size_bytes};
    use crate::width::wide;

    /// Miri takes a thousand times as long, and wants fewer.
    const VALUES_MAX: usize = if cfg!(miri) { 20 } else { 600 };

    proptest! {
        #[test]
        fn codes_come_back(codes in proptest::collection::vec(-127_i8..=127, 1..VALUES_MAX)) {
            let scales = [0.5, 0.0, 1e-30];
            let bytes = encode(&codes, &scales);
            prop_assert_eq!(wide(bytes.len()), size_bytes(wide(codes.len())));
            let expected = codes.chunks(256).zip(scales);
            let expected: Vec<f32> =
                expected.flat_map(|(block, scale)| block.iter().map(move |code| f32::from(*code) * scale)).collect();
            prop_assert_eq!(Int8Values::new(&bytes).collect::<Vec<_>>(), expected);
        }
    }
}
