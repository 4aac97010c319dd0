//! Value encoding 1: deltas as f32 (`FORMAT.md`, 6.9).

use crate::report::Wrong;
use crate::stream::Stream;

/// Deltas as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F32Values<'a>(&'a [[u8; 4]]);

impl<'a> F32Values<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks().0)
    }

    /// Decodes as many as there is room for, and returns how many.
    #[inline]
    pub(crate) fn fill(&mut self, out: &mut [f32]) -> usize {
        let (now, rest) = self.0.split_at_checked(out.len()).unwrap_or((self.0, &[]));
        for (out, bytes) in out.iter_mut().zip(now) {
            *out = decode(*bytes);
        }
        self.0 = rest;
        now.len()
    }
}

impl Iterator for F32Values<'_> {
    type Item = f32;

    #[inline]
    fn next(&mut self) -> Option<f32> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(decode(*first))
    }
}

#[inline]
const fn decode(bytes: [u8; 4]) -> f32 {
    f32::from_le_bytes(bytes)
}

pub(crate) fn check(stream: Stream<'_, '_>) -> Result<(), Wrong> {
    match F32Values::new(stream.bytes).position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(position) => Err(stream.number_error(position.saturating_mul(4))),
    }
}

#[cfg(feature = "write")]
pub(crate) fn encode(values: &[f32]) -> alloc::vec::Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
