//! Entropy bounds, in bits: what `inspect` prints beside the size of each stream (`FORMAT.md`, 6.13).
//!
//! Works without a standard library, and so brings its own logarithm.

use crate::report::Report;
use crate::stream::Stream;
use crate::tensors::{Entries, TensorEntry};
use crate::values::levels::scales_and_levels;
use crate::values::lossless::bit_length;
use crate::values::{LevelValues, ValueEncoding};
use crate::width::{length, wide};

/// Bits that a mask needs of which only the number of entries is known: log2 of `elements` over `entries`.
#[must_use]
pub fn index_bits(elements: u64, entries: u64) -> f64 {
    let entries = entries.min(elements);
    log2_factorial(elements) - log2_factorial(entries) - log2_factorial(elements.saturating_sub(entries))
}

/// Bits that the values of a tensor need if each class of values has the frequency that it has here.
#[must_use]
pub fn value_bits(tensor: &TensorEntry<'_>) -> f64 {
    let entries = float(tensor.entry_count());
    match (tensor.entries(), tensor.value_encoding()) {
        (Entries::Distances(distances), _) => distance_bits(distances.map(|(_, distance)| distance)),
        (Entries::Deltas(_), ValueEncoding::Int8) => {
            let (blocks, codes) = int8_codes(tensor.value_bytes());
            Histogram::of(codes.map(usize::from)).bits() + float(blocks) * 32.0
        }
        (Entries::Deltas(_), ValueEncoding::Levels) => {
            let report = Report::blank();
            match LevelValues::new(Stream::again(tensor.value_bytes(), &report), tensor.entry_count()) {
                Ok(values) => {
                    let (scales, levels) = scales_and_levels(values);
                    Histogram::of(levels.map(|level| usize::from(level.cast_unsigned()))).bits() + float(scales) * 32.0
                }
                // Reading the pack has ruled this out.
                Err(_) => 0.0,
            }
        }
        (Entries::Deltas(deltas), encoding) => {
            let mantissa_bits = match encoding {
                ValueEncoding::Bf16 => 7.0,
                ValueEncoding::F16 => 10.0,
                _ => 23.0,
            };
            let classes = deltas.map(|(_, delta)| length(u64::from(delta.to_bits() >> 23)));
            Histogram::of(classes).bits() + entries * mantissa_bits
        }
    }
}

/// Bits that distances other than 0 need: the entropy of sign and bit length, and the bits below the leading one.
pub fn distance_bits(distances: impl Iterator<Item = i64>) -> f64 {
    let mut raw = 0_u64;
    let classes = distances.map(|distance| {
        let bits = bit_length(distance);
        raw = raw.saturating_add(u64::from(bits.saturating_sub(1)));
        length(u64::from(bits)).saturating_mul(2).saturating_add(usize::from(distance < 0))
    });
    let histogram = Histogram::of(classes);
    histogram.bits() + float(raw)
}

/// How many blocks an int8 stream has, and its codes.
fn int8_codes(stream: &[u8]) -> (u64, impl Iterator<Item = u8>) {
    const BLOCK_BYTES: usize = 260;
    let blocks = stream.chunks(BLOCK_BYTES);
    (wide(blocks.len()), blocks.flat_map(|block| block.iter().skip(4).copied()))
}

/// Counts of at most 512 classes.
struct Histogram([u64; 512]);

impl Histogram {
    fn of(classes: impl Iterator<Item = usize>) -> Self {
        let mut counts = [0_u64; 512];
        classes.for_each(|class| {
            if let Some(count) = counts.get_mut(class) {
                *count = count.saturating_add(1);
            }
        });
        Self(counts)
    }

    /// Empirical entropy, times the number of values.
    fn bits(&self) -> f64 {
        let total = self.0.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let log2_total = log2(float(total));
        let used = self.0.iter().filter(|count| **count > 0);
        used.fold(0.0, |sum, count| sum + float(*count) * (log2_total - log2(float(*count))))
    }
}

/// Stirling's series from 16 on, where its error is below 1e-9 bits (Abramowitz and Stegun, 6.1.40).
fn log2_factorial(number: u64) -> f64 {
    if number < 16 {
        return (2..=number).fold(0.0, |sum, factor| sum + log2(float(factor)));
    }
    let n = float(number);
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n * n * n) + 1.0 / (1260.0 * n * n * n * n * n);
    (n + 0.5) * log2(n) - (n - series) * core::f64::consts::LOG2_E + 0.5 * log2(core::f64::consts::TAU)
}

/// Logarithm of a positive, normal number: the exponent, and atanh's series for the mantissa.
fn log2(number: f64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
    const EXPONENT_OF_ONE: u64 = 1023 << MANTISSA_BITS;
    let bits = number.to_bits();
    let exponent = bits >> MANTISSA_BITS;
    // Between 1 and 2; from the square root of 2 on it is halved, so that the series converges fast.
    let mantissa = f64::from_bits(bits & MANTISSA | EXPONENT_OF_ONE);
    let (mantissa, carry) = if mantissa > core::f64::consts::SQRT_2 { (mantissa / 2.0, 1.0) } else { (mantissa, 0.0) };
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let series = (0..14_u8).rev().fold(0.0, |sum, k| sum * square + 1.0 / (2.0 * f64::from(k) + 1.0));
    float(exponent) - 1023.0 + carry + 2.0 * ratio * series * core::f64::consts::LOG2_E
}

#[expect(clippy::as_conversions, reason = "rounding a count to the nearest float is what is asked for")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{distance_bits, index_bits, log2, log2_factorial};

    #[test]
    fn logarithms_are_exact_to_nine_digits() {
        for (number, expected) in [(1.0, 0.0), (2.0, 1.0), (3.0, 1.584_962_500_721_156), (1e9, 29.897_352_853_986_263)]
        {
            assert!((log2(number) - expected).abs() < 1e-12, "{number}: {}", log2(number));
        }
        // 20! = 2432902008176640000, and the series against the sum where they meet.
        assert!((log2_factorial(20) - log2(2_432_902_008_176_640_000.0)).abs() < 1e-9);
        assert!((log2_factorial(16) - log2_factorial(15) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn bounds_of_small_cases() {
        assert!((index_bits(4, 2) - log2(6.0)).abs() < 1e-12);
        assert!(index_bits(1000, 1000).abs() < 1e-9);
        assert!(index_bits(1000, 0).abs() < 1e-9);
        // Two signs, equally often, one bit length, two raw bits.
        assert!((distance_bits([4, -5, 6, -7].into_iter()) - 12.0).abs() < 1e-12);
        assert!(distance_bits(core::iter::empty()).abs() < 1e-12);
    }
}
