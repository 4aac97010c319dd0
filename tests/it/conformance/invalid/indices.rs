//! Packs with wrong index streams: the first half of step 19 of `FORMAT.md` section 13.

use taskvec_testkit::contents::Values;
use taskvec_testkit::hand_made::streams::{self, Bits};
use taskvec_testkit::hand_made::{HandMade, HandTensor};

use super::{Invalid, last_bit_set};

pub(super) fn cases() -> Vec<Invalid> {
    let cases = [rice_coded(), granule_mask(), bitmap(), counted_bitmap()].into_iter().flatten();
    cases.map(Case::into_invalid).collect()
}

/// A tensor with this index stream, and with as many deltas as it has entries.
struct Case {
    name: &'static str,
    why: &'static str,
    element_count: u64,
    entry_count: usize,
    encoding: u8,
    stream: Vec<u8>,
    kind: &'static str,
}

impl Case {
    fn into_invalid(self) -> Invalid {
        let deltas = vec![1.0; self.entry_count];
        let tensor = HandTensor {
            name: "t".to_owned(),
            dtype: 1,
            shape: vec![self.element_count],
            index: (self.encoding, self.stream),
            value: (1, streams::f32s(&deltas)),
            // Only their number is written.
            indices: vec![0; self.entry_count],
            values: Values::Deltas(deltas),
            error: None,
        };
        Invalid::drafted(self.name, self.why, HandMade::new("n").tensor(tensor).draft(), self.kind, "entries.0.index")
    }
}

fn rice_coded() -> Vec<Case> {
    let case = |name, why, element_count, entry_count, stream, kind| Case {
        name,
        why,
        element_count,
        entry_count,
        encoding: 1,
        stream,
        kind,
    };
    let two = streams::rice_coded(&[2], &[1, 5]);
    let beyond_64_bits = {
        let mut bits = Bits::default();
        bits.push(31, 5);
        // Quotient 9, the largest remainder: a gap far beyond the tensor.
        bits.push(1 << 9, 10);
        bits.push((1 << 31) - 1, 31);
        bits.finish()
    };
    vec![
        case(
            "rice_index_beyond",
            "the second index is 8 in a tensor of 8",
            8,
            2,
            streams::rice_coded(&[2], &[1, 8]),
            "index",
        ),
        case("rice_gap_beyond", "a gap of more than 32 bits", 100, 1, beyond_64_bits, "index"),
        case("rice_empty", "there is not even a parameter", 8, 2, vec![], "truncated"),
        case("rice_cut", "the stream ends within the second gap", 8, 2, two[..1].to_vec(), "truncated"),
        case("rice_trailing", "a byte follows the last index", 8, 2, [&two[..], &[0]].concat(), "trailing"),
        case(
            "rice_unused_bit",
            "the last bit of the last byte is no part of an index",
            8,
            2,
            last_bit_set(&two),
            "padding",
        ),
    ]
}

fn granule_mask() -> Vec<Case> {
    // Ten elements in granules of 4, 4 and 2.
    let case = |name, why, entry_count, stream, kind| Case {
        name,
        why,
        element_count: 10,
        entry_count,
        encoding: 2,
        stream,
        kind,
    };
    let one = streams::granule_mask(4, &[0], &[1]);
    let long_size = [vec![0x84, 0x00], one[1..].to_vec()].concat();
    let long_count = [&one[..1], &[0x81, 0x00], &one[2..]].concat();
    vec![
        case("granules_of_1", "a granule has at least 2 elements", 1, streams::granule_mask(1, &[0], &[1]), "count"),
        case(
            "granules_of_11",
            "a granule has more elements than the tensor",
            10,
            streams::granule_mask(11, &[0], &[0]),
            "count",
        ),
        case("granules_none", "no granule is present", 4, streams::granule_mask(4, &[], &[]), "count"),
        case("granule_beyond", "granule 3 of three granules", 4, streams::granule_mask(4, &[0], &[3]), "index"),
        case("granules_other_count", "the granule has 4 elements, the record 5 entries", 5, one.clone(), "count"),
        case(
            "granules_last_counted_whole",
            "the last granule has 2 elements, the record 4 entries",
            4,
            streams::granule_mask(4, &[0], &[2]),
            "count",
        ),
        case("granules_empty", "the stream has no bytes", 4, vec![], "truncated"),
        case("granules_cut", "the stream ends behind its counts", 4, one[..2].to_vec(), "truncated"),
        case("granules_trailing", "a byte follows the last granule", 4, [&one[..], &[0]].concat(), "trailing"),
        case(
            "granules_unused_bit",
            "the last bit of the last byte is no part of a granule",
            4,
            last_bit_set(&one),
            "padding",
        ),
        case(
            "granules_long_size",
            "the elements of a granule in two bytes of which one would do",
            4,
            long_size,
            "varint",
        ),
        case(
            "granules_long_count",
            "the number of granules in two bytes of which one would do",
            4,
            long_count,
            "varint",
        ),
    ]
}

fn bitmap() -> Vec<Case> {
    let case = |name, why, element_count, entry_count, encoding, stream, kind| Case {
        name,
        why,
        element_count,
        entry_count,
        encoding,
        stream,
        kind,
    };
    vec![
        case("bitmap_cut", "one byte for 16 elements", 16, 1, 3, vec![1], "truncated"),
        case("bitmap_trailing", "three bytes for 16 elements", 16, 1, 3, vec![1, 0, 0], "trailing"),
        case("bitmap_unused_bit", "a bit behind the last of 11 elements is one", 11, 1, 3, vec![1, 0b1000], "padding"),
        case("bitmap_too_few", "two bits are one, the record has 3 entries", 16, 3, 3, vec![1, 1], "count"),
        case("bitmap_too_many", "two bits are one, the record has 1 entry", 16, 1, 3, vec![1, 1], "count"),
        case("dense_too_few", "four elements, the record has 3 entries", 4, 3, 4, vec![], "count"),
        case("dense_trailing", "an index stream without meaning", 4, 4, 4, vec![0], "trailing"),
    ]
}

fn counted_bitmap() -> Vec<Case> {
    // Two bytes of bitmap, with one bit each.
    let case = |name, why, element_count, entry_count, stream, kind| Case {
        name,
        why,
        element_count,
        entry_count,
        encoding: 5,
        stream,
        kind,
    };
    let with_lengths = |lengths: [u8; 9]| {
        let mut bits = Bits::default();
        bits.lengths(&lengths);
        bits.push(0, 12);
        bits.finish()
    };
    let no_code = {
        let mut bits = Bits::default();
        bits.lengths(&[0, 1, 0, 0, 0, 0, 0, 0, 0]);
        // Code 0 and rank 3, then the bit 1, which is no code.
        bits.push(0b0110, 4);
        bits.push(0b0111, 4);
        bits.finish()
    };
    let right = streams::counted_bitmap([0, 1, 0, 0, 0, 0, 0, 0, 0], 16, &[3, 8]);
    let two_counts = streams::counted_bitmap([1, 1, 0, 0, 0, 0, 0, 0, 0], 16, &[3]);
    let beyond_end = streams::counted_bitmap([0, 1, 0, 0, 0, 0, 0, 0, 0], 16, &[3, 11]);
    vec![
        case("counted_no_symbols", "no count of bits occurs", 16, 2, with_lengths([0; 9]), "code"),
        case(
            "counted_long_symbol",
            "the only symbol has a length of 2",
            16,
            2,
            with_lengths([0, 2, 0, 0, 0, 0, 0, 0, 0]),
            "code",
        ),
        case(
            "counted_incomplete",
            "lengths of which a code is left over",
            16,
            2,
            with_lengths([2, 1, 0, 0, 0, 0, 0, 0, 0]),
            "code",
        ),
        case(
            "counted_too_many_codes",
            "lengths with more codes than there are",
            16,
            2,
            with_lengths([1, 1, 1, 0, 0, 0, 0, 0, 0]),
            "code",
        ),
        case("counted_no_code", "a bit that is no code of the only symbol", 16, 2, no_code, "code"),
        case("counted_cut_in_lengths", "the stream ends within the lengths", 16, 2, right[..4].to_vec(), "truncated"),
        case(
            "counted_cut",
            "the stream ends within the second byte of the bitmap",
            16,
            2,
            right[..5].to_vec(),
            "truncated",
        ),
        case("counted_trailing", "a byte follows", 16, 2, [&right[..], &[0]].concat(), "trailing"),
        case(
            "counted_unused_bit",
            "the last bit of the stream is no part of it",
            16,
            2,
            last_bit_set(&right),
            "padding",
        ),
        case("counted_beyond_elements", "a bit behind the last of 11 elements is one", 11, 2, beyond_end, "padding"),
        case("counted_too_few", "one bit is one, the record has 2 entries", 16, 2, two_counts.clone(), "count"),
        case("counted_too_many", "two bits are one, the record has 1 entry", 16, 1, right, "count"),
    ]
}
