//! Sizes against the entropy bounds that `inspect` prints.

use std::hint::black_box;
use std::time::Instant;

use taskvec_pack::write::{Builder, Rounding, TensorDeltas, Values};
use taskvec_pack::{Dtype, Entries, Fingerprint, Limits, Pack, bound};

use crate::numbers::Numbers;

fn pack(dtype: Dtype, elements: u64, indices: &[u64], values: Values<'_>) -> Vec<u8> {
    let mut builder = Builder::new(Fingerprint([0; 32]), "sizes");
    builder.tensor("weight", dtype, &[elements], TensorDeltas { indices, values }).unwrap();
    builder.finish().unwrap()
}

/// Sizes of index, and of index and values together, over their bounds. Printed as well.
#[expect(clippy::print_stdout, reason = "what a test prints is seen when somebody asks for it")]
fn ratios(bytes: &[u8]) -> (f64, f64) {
    let pack = Pack::read(bytes, &Limits::default()).unwrap();
    let tensor = pack.tensors().next().unwrap();
    let index_bound = bound::index_bits(tensor.element_count(), tensor.entry_count());
    let index_bits = tensor.index_bytes().len() as f64 * 8.0;
    let value_bits = tensor.value_bytes().len() as f64 * 8.0;
    let value_bound = bound::value_bits(&tensor);
    println!(
        "{:>9} of {:>9}  {:<14} index {:>8.4} bound {:>8.4} x{:.4}   {:<8} value {:>8.4} bound {:>8.4} x{:.4}   both x{:.4}",
        tensor.entry_count(),
        tensor.element_count(),
        tensor.index_encoding().to_string(),
        index_bits / tensor.entry_count() as f64,
        index_bound / tensor.entry_count() as f64,
        index_bits / index_bound,
        tensor.value_encoding().to_string(),
        value_bits / tensor.entry_count() as f64,
        value_bound / tensor.entry_count() as f64,
        value_bits / value_bound,
        (index_bits + value_bits) / (index_bound + value_bound),
    );
    (index_bits / index_bound, (index_bits + value_bits) / (index_bound + value_bound))
}

#[test]
#[cfg_attr(miri, ignore = "hours: millions of elements")]
fn index_costs_at_most_three_percent_more_than_the_entropy() {
    let densities = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.0585, 0.08, 0.1, 0.115, 0.13, 0.16, 0.2, 0.21, 0.25, 0.3, 0.35, 0.38,
        0.4, 0.45, 0.5, 0.6, 0.7, 0.8,
    ];
    let mut numbers = Numbers::new(1);
    for density in densities {
        let elements = 2_000_000;
        let indices = numbers.mask(elements, density);
        let values = vec![1.0; indices.len()];
        let bytes = pack(Dtype::F32, elements, &indices, Values::Deltas(&values, Rounding::Bf16));
        let (ratio, _) = ratios(&bytes);
        assert!(ratio <= 1.03, "density {density}: {ratio}");
    }
}

fn ordered32(bits: u32) -> i64 {
    i64::from(if bits >> 31 == 1 { !bits } else { bits | 1 << 31 })
}

fn ordered16(bits: u16) -> i64 {
    i64::from(if bits >> 15 == 1 { !bits } else { bits | 1 << 15 })
}

fn bf16(value: f64) -> u16 {
    let bits = (value as f32).to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[test]
#[cfg_attr(miri, ignore = "hours: millions of elements")]
fn lossless_costs_at_most_eight_percent_more_than_the_entropy() {
    let mut numbers = Numbers::new(2);
    let elements = 1_000_000;
    for (density, change) in [(0.1, 1e-3), (0.1, 1e-5), (0.01, 1e-3), (1.0, 1e-4)] {
        let (mut indices, mut distances) = (Vec::new(), Vec::new());
        for index in 0..elements {
            let base = (numbers.normal() * 0.05) as f32;
            let tuned = (f64::from(base) + numbers.normal() * change) as f32;
            if numbers.unit() < density && base.to_bits() != tuned.to_bits() {
                indices.push(index);
                distances.push(ordered32(tuned.to_bits()) - ordered32(base.to_bits()));
            }
        }
        let (_, ratio) = ratios(&pack(Dtype::F32, elements, &indices, Values::Distances(&distances)));
        assert!(ratio <= 1.08, "f32, {density}, {change}: {ratio}");
    }
    for (density, change) in [(0.01, 1e-3), (0.1, 1e-3), (1.0, 1e-5), (1.0, 1e-4), (0.01, 1e-1)] {
        let (mut indices, mut distances) = (Vec::new(), Vec::new());
        for index in 0..elements {
            let value = numbers.normal() * 0.05;
            let (base, tuned) = (bf16(value), bf16(value + numbers.normal() * change));
            if numbers.unit() < density && base != tuned {
                indices.push(index);
                distances.push(ordered16(tuned) - ordered16(base));
            }
        }
        let (_, ratio) = ratios(&pack(Dtype::BF16, elements, &indices, Values::Distances(&distances)));
        assert!(ratio <= 1.08, "bf16, {density}, {change}: {ratio}");
    }
}

#[test]
fn a_small_pack_has_little_around_its_entries() {
    let mut builder = Builder::new(Fingerprint([0; 32]), "small");
    let (mut entries, tensors) = (0, 48);
    for tensor in 0..tensors {
        let deltas = TensorDeltas { indices: &[1, 7, 300], values: Values::Deltas(&[0.5; 3], Rounding::INT8) };
        let name = format!("blocks.{tensor}.mlp.fc1.weight");
        let summary = builder.tensor(&name, Dtype::F32, &[384, 96], deltas).unwrap();
        entries += summary.index_bytes + summary.value_bytes;
    }
    let bytes = builder.finish().unwrap().len();
    println!("{bytes} bytes, {entries} of them entries");
    assert!(bytes - entries < 250 + 60 * tensors);
}

/// Prints how fast packs are opened and decoded. The goal is 100 million entries a second for Rice-coded gaps; half of it is
/// asked for, since other work on the machine is not ours to forbid.
#[test]
#[ignore = "a stopwatch: run it alone, with --ignored --nocapture"]
fn decoding_is_fast() {
    let mut numbers = Numbers::new(3);
    let elements = 20_000_000;
    for density in [0.01, 0.1, 0.3, 0.5, 1.0] {
        let indices = numbers.mask(elements, density);
        let deltas: Vec<f32> = indices.iter().map(|_| numbers.unit() as f32 - 0.5).collect();
        let distances: Vec<i64> = indices.iter().map(|_| (numbers.normal() * 3e5) as i64 | 1).collect();
        let cases = [
            Values::Deltas(&deltas, Rounding::F32),
            Values::Deltas(&deltas, Rounding::INT8),
            Values::Distances(&distances),
        ];
        for values in cases {
            let bytes = pack(Dtype::F32, elements, &indices, values);
            let start = Instant::now();
            let pack = Pack::read(&bytes, &Limits::default()).unwrap();
            let read = start.elapsed();
            let tensor = pack.tensors().next().unwrap();
            let start = Instant::now();
            let mut sum = (0_usize, 0.0_f32, 0_i64);
            match tensor.entries() {
                Entries::Deltas(deltas) => deltas.for_each(|(index, delta)| {
                    sum.0 ^= index;
                    sum.1 += delta;
                }),
                Entries::Distances(distances) => distances.for_each(|(index, distance)| {
                    sum.0 ^= index;
                    sum.2 ^= distance;
                }),
            }
            let decode = start.elapsed();
            black_box(sum);
            let start = Instant::now();
            black_box(tensor.indices().fold(0, |sum, index| sum ^ index));
            let mask = start.elapsed();
            let rate = |seconds: f64| indices.len() as f64 / seconds / 1e6;
            println!(
                "density {density:<5} {:<14} {:<8}  open {:>6.0}  entries {:>6.0}  indices {:>6.0}  million a second",
                tensor.index_encoding().to_string(),
                tensor.value_encoding().to_string(),
                rate(read.as_secs_f64()),
                rate(decode.as_secs_f64()),
                rate(mask.as_secs_f64()),
            );
            assert!(rate(decode.as_secs_f64()) > 50.0);
        }
    }
}
