//! What a lossy encoding of values costs, measured rather than promised.

use alloc::vec::Vec;

use crate::tensors::MeasuredError;
use crate::values::{DeltaEncoder, Difference, Rounding, ValueEncoding, Values};
use crate::width::wide;

/// What a reader will see of `values`: lets a packer measure before it writes. What is not rounded, and values too large
/// for the rounding, come back as they are.
#[must_use]
pub fn quantize(values: &[f32], rounding: Rounding) -> Vec<f32> {
    match encode(values, rounding) {
        Some((encoding, stream)) => Values::new(encoding, &stream, wide(values.len())).collect(),
        None => values.to_vec(),
    }
}

/// How many bytes `values` take in a pack, without their indices; none if one is too large for the rounding.
#[must_use]
pub fn stream_bytes(values: &[f32], rounding: Rounding) -> Option<usize> {
    encode(values, rounding).map(|(_, stream)| stream.len())
}

/// How far `quantize` moves `values`.
#[must_use]
pub fn measure(values: &[f32], rounding: Rounding) -> MeasuredError {
    let mut difference = Difference::default();
    difference.add(values, quantize(values, rounding).into_iter());
    difference.measured()
}

fn encode(values: &[f32], rounding: Rounding) -> Option<(ValueEncoding, Vec<u8>)> {
    let mut encoder = DeltaEncoder::new(rounding, wide(values.len()));
    encoder.add(values)?;
    let (encoding, stream, _) = encoder.finish();
    Some((encoding, stream))
}
