//! Laws of all index encodings: they say the same, whichever way they are asked, and foreign bytes cannot hurt them.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::encoder::{GranuleSurvey, Plan, Survey};
use super::{Extent, IndexEncoding, Indices};
use crate::error::{Error, ErrorKind};
use crate::report::reported;
use crate::stream::Stream;
use crate::width::{narrow, wide};

const ALL: [IndexEncoding; 5] = [
    IndexEncoding::RiceGaps,
    IndexEncoding::Granules,
    IndexEncoding::Bitmap,
    IndexEncoding::Dense,
    IndexEncoding::CountedBitmap,
];

fn check(encoding: IndexEncoding, bytes: &[u8], extent: Extent) -> Result<(), Error> {
    reported(|report| Indices::check(encoding, Stream { bytes, offset: 100, subject: "index stream", report }, extent))
}

/// Every encoding that can write this mask.
fn every_encoding(indices: &[u64], elements: u64) -> Vec<(IndexEncoding, Vec<u8>)> {
    let (gaps, others) = plans(indices, elements, 7);
    let mut plans: Vec<Plan> = [gaps].into_iter().chain(others.into_iter().flatten()).collect();
    if wide(indices.len()) == elements {
        plans.retain(|plan| plan.encoding() != IndexEncoding::Granules);
        plans.push(Plan::dense(elements));
    }
    // A bitmap of a huge tensor takes what it takes.
    let short = plans.into_iter().filter(|plan| plan.size_bytes() < 1 << 20);
    short.map(|plan| (plan.encoding(), written(plan, indices))).collect()
}

/// What each encoding would take, of indices that come in parts of this size.
fn plans(indices: &[u64], elements: u64, part_len: usize) -> (Plan, [Option<Plan>; 3]) {
    let (survey, granules) = survey(indices, elements, part_len);
    survey.plans(granules)
}

fn survey(indices: &[u64], elements: u64, part_len: usize) -> (Survey, Option<GranuleSurvey>) {
    let mut survey = Survey::new(elements);
    indices.chunks(part_len).for_each(|part| survey.add(part));
    let mut granules = survey.granules();
    if let Some(granules) = &mut granules {
        indices.chunks(part_len).for_each(|part| granules.add(part));
    }
    (survey, granules)
}

fn written(plan: Plan, indices: &[u64]) -> Vec<u8> {
    let (encoding, size_bytes) = (plan.encoding(), plan.size_bytes());
    let mut encoder = plan.encoder();
    // In parts of another size than they were counted in.
    indices.chunks(11).for_each(|part| encoder.add(part));
    let bytes = encoder.finish();
    assert_eq!(wide(bytes.len()), size_bytes, "{encoding}: another size than was planned");
    bytes
}

fn comes_back(indices: &[u64], elements: u64) {
    let extent = Extent { elements: narrow(elements), entries: indices.len() };
    let expected: Vec<usize> = indices.iter().map(|index| narrow(*index)).collect();
    for (encoding, bytes) in every_encoding(indices, elements) {
        assert_eq!(check(encoding, &bytes, extent), Ok(()), "{encoding}");
        let decoded = Indices::new(encoding, &bytes, extent);
        let mut folded = Vec::new();
        decoded.for_each(|index| folded.push(index));
        assert_eq!(folded, expected, "{encoding}, folded");
        let mut stepped = Vec::new();
        for index in decoded {
            stepped.push(index);
        }
        assert_eq!(stepped, expected, "{encoding}, one by one");
        // A fold goes on where `next` stopped.
        for taken in [1, expected.len() / 2] {
            let mut rest = decoded;
            let mut mixed: Vec<usize> = rest.by_ref().take(taken).collect();
            rest.for_each(|index| mixed.push(index));
            assert_eq!(mixed, expected, "{encoding}, after {taken}");
        }
    }
}

/// Miri takes a thousand times as long, and wants less of everything.
const ELEMENTS_MAX: u64 = if cfg!(miri) { 30 } else { 3000 };
const GRANULE_MAX: u64 = if cfg!(miri) { 5 } else { 40 };

fn any_mask() -> impl Strategy<Value = (Vec<u64>, u64)> {
    (1_u64..ELEMENTS_MAX, 1_u64..400, any::<u64>()).prop_map(|(elements, spread, seed)| {
        let mut state = seed;
        let mut indices = BTreeSet::from([seed % elements]);
        for index in 0..elements {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (state >> 33) % spread == 0 {
                indices.insert(index);
            }
        }
        (indices.into_iter().collect(), elements)
    })
}

proptest! {
    #[test]
    fn masks_come_back((indices, elements) in any_mask()) {
        comes_back(&indices, elements);
    }

    #[test]
    fn granules_come_back((granules, count) in any_mask(), len in 2_u64..GRANULE_MAX, missing in 0_u64..39) {
        let elements = (count * len).saturating_sub(missing % len).max(1);
        let indices: Vec<u64> =
            granules.iter().flat_map(|granule| granule * len..(granule + 1) * len).filter(|i| *i < elements).collect();
        prop_assume!(!indices.is_empty());
        comes_back(&indices, elements);
    }

    #[test]
    fn foreign_bytes_are_refused_or_read_as_promised(
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        elements in 1_u64..700,
        entries in 1_u64..700,
    ) {
        let extent = Extent { elements: narrow(elements), entries: narrow(entries) };
        for encoding in ALL {
            let checked = check(encoding, &bytes, extent);
            let indices: Vec<usize> = Indices::new(encoding, &bytes, extent).take(100_000).collect();
            prop_assert!(indices.iter().all(|index| wide(*index) < elements), "{}", encoding);
            prop_assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "{}", encoding);
            if checked.is_ok() {
                prop_assert_eq!(wide(indices.len()), entries, "{}", encoding);
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_or_read_as_promised((indices, elements) in any_mask(), flip in any::<usize>()) {
        let extent = Extent { elements: narrow(elements), entries: indices.len() };
        for (encoding, mut bytes) in every_encoding(&indices, elements) {
            let bits = bytes.len() * 8;
            let Some(bit) = flip.checked_rem(bits) else { continue };
            bytes[bit / 8] ^= 1 << (bit % 8);
            if check(encoding, &bytes, extent).is_ok() {
                let read: Vec<usize> = Indices::new(encoding, &bytes, extent).collect();
                prop_assert_eq!(read.len(), indices.len(), "{}", encoding);
                prop_assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "{}", encoding);
                prop_assert!(read.iter().all(|index| wide(*index) < elements), "{}", encoding);
            }
        }
    }
}

#[test]
fn far_and_near_entries_come_back() {
    comes_back(&[0], 1);
    // On 32-bit machines no such tensor is let in.
    if usize::BITS == 64 {
        comes_back(&[(1 << 40) - 1], 1 << 40);
        comes_back(&[0, 1, 2, 1 << 33, (1 << 39) + 5], 1 << 40);
    }
    // One gap that is far longer than its block's parameter is made for.
    let far = if cfg!(miri) { 1_000 } else { 20_000 };
    let mut indices: Vec<u64> = (0..255).collect();
    indices.push(far);
    comes_back(&indices, far + 1);
}

#[test]
fn the_shortest_encoding_wins() {
    struct Case {
        what: &'static str,
        indices: Vec<u64>,
        elements: u64,
        encoding: IndexEncoding,
    }
    let cases = [
        Case {
            what: "few",
            indices: (0..20).map(|i| i * i * 7).collect(),
            elements: 4096,
            encoding: IndexEncoding::RiceGaps,
        },
        Case {
            what: "rows",
            indices: (0..33).filter(|r| r % 3 == 0).flat_map(|r| r * 16..(r + 1) * 16).collect(),
            elements: 33 * 16,
            encoding: IndexEncoding::Granules,
        },
        Case {
            what: "every other",
            indices: (0..512).map(|i| i * 2 + u64::from(i * i % 7 < 3)).collect(),
            elements: 1025,
            encoding: IndexEncoding::CountedBitmap,
        },
        Case {
            what: "half of a few",
            indices: alloc::vec![0, 2, 3, 5, 7],
            elements: 8,
            encoding: IndexEncoding::Bitmap,
        },
    ];
    for Case { what, indices, elements, encoding } in cases {
        let (survey, granules) = survey(&indices, elements, indices.len());
        assert_eq!(survey.plan(granules).encoding(), encoding, "{what}");
    }
}

#[test]
fn every_fault_has_its_kind() {
    struct Case {
        what: &'static str,
        encoding: IndexEncoding,
        bytes: &'static [u8],
        kind: ErrorKind,
    }
    use IndexEncoding::{Bitmap, CountedBitmap, Dense, Granules, RiceGaps};
    // Ten elements, two entries. A Rice stream with k = 0 is five zero bits, then the gaps in unary: 0x60 is 0, 0.
    let cases = [
        Case { what: "nothing", encoding: RiceGaps, bytes: &[], kind: ErrorKind::Truncated },
        Case { what: "one gap", encoding: RiceGaps, bytes: &[0x20], kind: ErrorKind::Truncated },
        Case { what: "a byte left", encoding: RiceGaps, bytes: &[0x60, 0], kind: ErrorKind::Trailing },
        Case { what: "a bit left", encoding: RiceGaps, bytes: &[0xe0], kind: ErrorKind::Padding },
        Case { what: "too far", encoding: RiceGaps, bytes: &[0x20, 0, 0x02], kind: ErrorKind::Index },
        Case {
            what: "endless zeros",
            encoding: RiceGaps,
            bytes: &[0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            kind: ErrorKind::Truncated,
        },
        Case { what: "no granules", encoding: Granules, bytes: &[2], kind: ErrorKind::Truncated },
        Case { what: "granule of one", encoding: Granules, bytes: &[1, 2, 0x60], kind: ErrorKind::Count },
        Case { what: "granule of eleven", encoding: Granules, bytes: &[11, 1, 0x20], kind: ErrorKind::Count },
        Case { what: "granule count of none", encoding: Granules, bytes: &[2, 0], kind: ErrorKind::Count },
        Case { what: "six granules of two", encoding: Granules, bytes: &[2, 6, 0xe0, 7], kind: ErrorKind::Index },
        Case { what: "two granules of two", encoding: Granules, bytes: &[2, 2, 0x60], kind: ErrorKind::Count },
        Case { what: "granule too far", encoding: Granules, bytes: &[2, 1, 0, 0x04], kind: ErrorKind::Index },
        Case { what: "long varint", encoding: Granules, bytes: &[0x82, 0, 1, 0x20], kind: ErrorKind::Varint },
        Case { what: "short bitmap", encoding: Bitmap, bytes: &[3], kind: ErrorKind::Truncated },
        Case { what: "long bitmap", encoding: Bitmap, bytes: &[3, 0, 0], kind: ErrorKind::Trailing },
        Case { what: "bit beyond the end", encoding: Bitmap, bytes: &[1, 4], kind: ErrorKind::Padding },
        // Found by the fuzzer: told as trailing bytes until then.
        Case { what: "bit beyond the end, and a byte", encoding: Bitmap, bytes: &[3, 4, 0], kind: ErrorKind::Padding },
        Case { what: "three ones", encoding: Bitmap, bytes: &[7, 0], kind: ErrorKind::Count },
        Case { what: "dense of two", encoding: Dense, bytes: &[], kind: ErrorKind::Count },
        Case { what: "dense of two with bytes", encoding: Dense, bytes: &[0], kind: ErrorKind::Count },
        Case { what: "no table", encoding: CountedBitmap, bytes: &[0, 0, 0], kind: ErrorKind::Truncated },
        Case { what: "no code", encoding: CountedBitmap, bytes: &[0, 0, 0, 0, 0], kind: ErrorKind::Code },
        // Counts 0 and 2 with one bit each; a byte of two ones, rank 0, then an empty one: 1 0000 0 from bit 36.
        Case {
            what: "no second byte",
            encoding: CountedBitmap,
            bytes: &[0x01, 0x01, 0, 0, 0x10],
            kind: ErrorKind::Truncated,
        },
        Case { what: "both empty", encoding: CountedBitmap, bytes: &[0x01, 0x01, 0, 0, 0x00], kind: ErrorKind::Count },
        Case {
            what: "code without symbol",
            encoding: CountedBitmap,
            bytes: &[0x00, 0x01, 0, 0, 0x10],
            kind: ErrorKind::Code,
        },
    ];
    let extent = Extent { elements: 10, entries: 2 };
    for Case { what, encoding, bytes, kind } in cases {
        let found = check(encoding, bytes, extent).map_err(|error| error.kind);
        assert_eq!(found, Err(kind), "{what}");
    }
    let all = Extent { elements: 10, entries: 10 };
    let found = check(Dense, &[0], all).map_err(|error| (error.kind, error.offset));
    assert_eq!(found, Err((ErrorKind::Trailing, 100)), "dense with bytes");
    for (encoding, bytes) in [
        (RiceGaps, &[0x60][..]),
        (Granules, &[2, 1, 0x20]),
        (Bitmap, &[3, 0]),
        (CountedBitmap, &[0x01, 0x01, 0, 0, 0x10, 0]),
    ] {
        assert_eq!(check(encoding, bytes, extent), Ok(()), "{encoding}");
    }
}
