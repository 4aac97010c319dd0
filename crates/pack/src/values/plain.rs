//! Value encodings of one number for each entry, and of them encoding 1: deltas as f32 (`FORMAT.md`, 6.9).

use core::marker::PhantomData;

use crate::report::Wrong;
use crate::stream::Stream;

/// How a number of so many bytes is written down.
pub(crate) trait Number<const BYTES: usize>: Copy {
    fn decode(bytes: [u8; BYTES]) -> f32;
}

/// Numbers one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainValues<'a, N, const BYTES: usize>(&'a [[u8; BYTES]], PhantomData<N>);

impl<'a, N: Number<BYTES>, const BYTES: usize> PlainValues<'a, N, BYTES> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks().0, PhantomData)
    }

    /// Decodes as many as there is room for, and returns how many.
    #[inline]
    pub(crate) fn fill(&mut self, out: &mut [f32]) -> usize {
        let (now, rest) = self.0.split_at_checked(out.len()).unwrap_or((self.0, &[]));
        for (out, bytes) in out.iter_mut().zip(now) {
            *out = N::decode(*bytes);
        }
        self.0 = rest;
        now.len()
    }
}

impl<N: Number<BYTES>, const BYTES: usize> Iterator for PlainValues<'_, N, BYTES> {
    type Item = f32;

    #[inline]
    fn next(&mut self) -> Option<f32> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(N::decode(*first))
    }
}

/// Four bytes of an f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F32;

/// Deltas as they are.
pub(crate) type F32Values<'a> = PlainValues<'a, F32, 4>;

impl Number<4> for F32 {
    #[inline]
    fn decode(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

pub(crate) fn check(stream: Stream<'_, '_>) -> Result<(), Wrong> {
    match F32Values::new(stream.bytes).position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(position) => Err(stream.number_error(position.saturating_mul(4))),
    }
}

/// Appends the values to a stream.
#[cfg(feature = "write")]
pub(crate) fn encode(values: &[f32], stream: &mut alloc::vec::Vec<u8>) {
    stream.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
