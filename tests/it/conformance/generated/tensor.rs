//! Random tensors, and the streams that hold them.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use taskvec_testkit::contents::{LossyError, Values};
use taskvec_testkit::hand_made::streams::{self, DistanceTable};

/// What a tensor is made from.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) dtype: u8,
    /// One byte for each granule: it is present if the byte is below the threshold.
    granules: Vec<u8>,
    threshold: u8,
    granule_elements: u8,
    /// 0 to 2: deltas, 3: distances.
    pub(super) kind: u8,
    numbers: Vec<u32>,
}

pub(super) fn tensor() -> impl Strategy<Value = Seed> {
    let threshold = prop_oneof![Just(2), Just(20), Just(100), Just(230), Just(255)];
    let granules = prop_oneof![vec(any::<u8>(), 1..40), vec(any::<u8>(), 200..900)];
    (1_u8..=3, granules, threshold, 1_u8..5, 0_u8..4, vec(any::<u32>(), 1..50)).prop_map(
        |(dtype, granules, threshold, granule_elements, kind, numbers)| Seed {
            dtype,
            granules,
            threshold,
            granule_elements,
            kind,
            numbers,
        },
    )
}

impl Seed {
    pub(super) fn element_count(&self) -> u64 {
        self.granules.len() as u64 * u64::from(self.granule_elements)
    }

    /// Indices and values, if there are any.
    pub(super) fn entries(&self) -> Option<(Vec<u64>, Values)> {
        let present = |element: &u64| {
            let granule = usize::try_from(element / u64::from(self.granule_elements)).expect("a small tensor");
            self.granules[granule] <= self.threshold
        };
        let indices: Vec<u64> = (0..self.element_count()).filter(present).collect();
        let numbers = self.numbers.iter().copied().cycle().take(indices.len());
        let values = if self.kind == 3 {
            Values::Distances(numbers.map(|number| self.distance(number)).collect())
        } else {
            // Multiples of a power of two, exact in each value encoding with the scale that `value_stream` takes.
            Values::Deltas(numbers.map(|number| f32::from(number.to_le_bytes()[0] as i8 / 2) * 0.125).collect())
        };
        (!indices.is_empty()).then_some((indices, values))
    }

    /// A distance of any number of bits that the dtype has.
    fn distance(&self, number: u32) -> i64 {
        let width = if self.dtype == 1 { 32 } else { 16 };
        let magnitude = (i64::from(number) >> (number % width)) & ((1 << width) - 1);
        let magnitude = magnitude.max(1);
        if number & 1 == 0 { magnitude } else { -magnitude }
    }
}

/// The indices in each encoding that can hold them.
pub(super) fn index_streams(element_count: u64, indices: &[u64], parameters: &[u32]) -> Vec<(u8, Vec<u8>)> {
    let parameters_of = |numbers: &[u64]| -> Vec<u32> {
        parameters.iter().copied().cycle().take(numbers.len().div_ceil(256)).collect()
    };
    let mut found = vec![
        (1, streams::rice_coded(&parameters_of(indices), indices)),
        (3, streams::bitmap(element_count, indices)),
        (5, counted_bitmap(element_count, indices)),
    ];
    if indices.len() as u64 == element_count {
        found.push((4, Vec::new()));
    }
    for granule_elements in 2..=4.min(element_count) {
        let granules: BTreeSet<u64> = indices.iter().map(|index| index / granule_elements).collect();
        let elements = |granule: u64| granule * granule_elements..element_count.min((granule + 1) * granule_elements);
        if granules.iter().flat_map(|&granule| elements(granule)).eq(indices.iter().copied()) {
            let granules = Vec::from_iter(granules);
            found.push((2, streams::granule_mask(granule_elements, &parameters_of(&granules), &granules)));
            break;
        }
    }
    found.sort();
    found
}

fn counted_bitmap(element_count: u64, indices: &[u64]) -> Vec<u8> {
    let bytes = streams::bitmap(element_count, indices);
    let counts: BTreeSet<usize> = bytes.iter().map(|byte| byte.count_ones() as usize).collect();
    let lengths = streams::even_lengths(9, &Vec::from_iter(counts));
    streams::counted_bitmap(lengths.try_into().expect("nine lengths"), element_count, indices)
}

/// The values in one of the encodings that can hold them, and the error that is written beside them.
pub(super) fn value_stream(values: &Values, choice: u32) -> ((u8, Vec<u8>), Option<LossyError>) {
    let error = LossyError { max: 0.5, rms: 0.25 };
    match values {
        Values::Distances(distances) => ((4, distance_stream(distances, choice % 4, choice < 4)), None),
        Values::Deltas(deltas) if choice.is_multiple_of(4) => ((1, streams::f32s(deltas)), None),
        Values::Deltas(deltas) if choice % 4 == 1 => ((2, streams::bf16s(deltas)), Some(error)),
        Values::Deltas(deltas) => {
            let codes: Vec<i8> = deltas.iter().map(|delta| (delta * 8.0) as i8).collect();
            if choice % 4 == 2 {
                let blocks: Vec<(f32, &[i8])> = codes.chunks(256).map(|codes| (0.125, codes)).collect();
                ((3, streams::int8(&blocks)), Some(error))
            } else {
                ((5, level_stream(&codes)), Some(error))
            }
        }
    }
}

fn level_stream(levels: &[i8]) -> Vec<u8> {
    let first = *levels.iter().min().expect("a tensor has entries");
    let place = |level: &i8| usize::try_from(i16::from(*level) - i16::from(first)).expect("none is below the first");
    let used: BTreeSet<usize> = levels.iter().map(place).collect();
    let lengths = streams::even_lengths(used.last().expect("a tensor has entries") + 1, &Vec::from_iter(used));
    streams::levels(first, &lengths, &vec![0.125; levels.len().div_ceil(256)], levels)
}

fn distance_stream(distances: &[i64], m: u32, own_sign: bool) -> Vec<u8> {
    let buckets = distances.iter().map(|&distance| streams::split(distance, m).0);
    let first = buckets.clone().min().expect("a tensor has entries");
    let last = buckets.clone().max().expect("a tensor has entries");
    // More than 128 buckets do not fit into a table with the sign in the symbol.
    let own_sign = own_sign || last - first >= 128;
    let symbol = |(bucket, &distance): (u64, &i64)| {
        let place = usize::try_from(bucket - first).expect("a bucket");
        if own_sign { place } else { 2 * place + usize::from(distance < 0) }
    };
    let used: BTreeSet<usize> = buckets.zip(distances).map(symbol).collect();
    let symbol_count = usize::try_from(last - first + 1).expect("a bucket") * if own_sign { 1 } else { 2 };
    let lengths = streams::even_lengths(symbol_count, &Vec::from_iter(used));
    let first = u8::try_from(first).expect("a bucket of at most 32 bits");
    streams::distances(&DistanceTable { m, own_sign, first, lengths }, distances)
}
