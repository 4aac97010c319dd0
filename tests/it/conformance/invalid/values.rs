//! Packs with wrong value streams: the second half of step 19 of `FORMAT.md` section 13.

use taskvec_testkit::contents::{LossyError, Values};
use taskvec_testkit::hand_made::streams::{self, Bits, DistanceTable};
use taskvec_testkit::hand_made::{Draft, HandMade, HandTensor};

use super::{Invalid, last_bit_set};

pub(super) fn cases() -> Vec<Invalid> {
    deltas().into_iter().chain(levels()).chain(distances().into_iter().map(DistanceCase::into_invalid)).collect()
}

/// A tensor of 400 elements, of which the first ones have entries with this value stream.
fn with_values(dtype: u8, encoding: u8, entry_count: u64, stream: Vec<u8>) -> Draft {
    let indices: Vec<u64> = (0..entry_count).collect();
    let parameters = vec![0; indices.len().div_ceil(256)];
    let tensor = HandTensor {
        name: "t".to_owned(),
        dtype,
        shape: vec![400],
        index: (1, streams::rice_coded(&parameters, &indices)),
        value: (encoding, stream),
        indices,
        // Not written: the stream stands for them.
        values: Values::Deltas(Vec::new()),
        error: matches!(encoding, 2 | 3 | 5 | 6).then_some(LossyError { max: 0.5, rms: 0.25 }),
    };
    HandMade::new("n").tensor(tensor).draft()
}

fn deltas() -> Vec<Invalid> {
    let case = |name, why, encoding, entry_count, stream, kind, place| {
        Invalid::drafted(name, why, with_values(1, encoding, entry_count, stream), kind, place)
    };
    let plain = streams::f32s(&[1.0, 2.0]);
    let halves = streams::bf16s(&[1.0, 2.0]);
    let coded = |scale: f32, codes: &[i8]| streams::int8(&[(scale, codes)]);
    let two_blocks = streams::int8(&[(0.5, &[1; 256]), (f32::NAN, &[1, 2])]);
    // The number behind the largest scale that is allowed: 127 times it rounds to infinity.
    let too_large = f32::from_bits(0x7C01_0204);
    vec![
        case(
            "f32_cut",
            "the last byte of the last delta is missing",
            1,
            2,
            plain[..7].to_vec(),
            "truncated",
            "section 3.end",
        ),
        case(
            "f32_trailing",
            "a byte follows the last delta",
            1,
            2,
            [&plain[..], &[0]].concat(),
            "trailing",
            "entries.0.value+8",
        ),
        case(
            "f32_nan",
            "the second delta is not a number",
            1,
            2,
            streams::f32s(&[1.0, f32::NAN]),
            "number",
            "entries.0.value+4",
        ),
        case(
            "f32_infinite",
            "the first delta is infinite",
            1,
            2,
            streams::f32s(&[f32::NEG_INFINITY, 1.0]),
            "number",
            "entries.0.value",
        ),
        case(
            "bf16_cut",
            "the last byte of the last delta is missing",
            2,
            2,
            halves[..3].to_vec(),
            "truncated",
            "section 3.end",
        ),
        case(
            "bf16_trailing",
            "a byte follows the last delta",
            2,
            2,
            [&halves[..], &[0]].concat(),
            "trailing",
            "entries.0.value+4",
        ),
        case(
            "bf16_infinite",
            "the second delta is infinite",
            2,
            2,
            vec![0x80, 0x3F, 0x80, 0x7F],
            "number",
            "entries.0.value+2",
        ),
        case(
            "bf16_nan",
            "the first delta is not a number",
            2,
            2,
            vec![0xC0, 0x7F, 0x80, 0x3F],
            "number",
            "entries.0.value",
        ),
        case("int8_cut", "the last code is missing", 3, 3, coded(0.5, &[1, 2]), "truncated", "section 3.end"),
        case(
            "int8_trailing",
            "there is one code more than entries",
            3,
            1,
            coded(0.5, &[1, 2]),
            "trailing",
            "entries.0.value+5",
        ),
        case("int8_negative_scale", "the scale is negative", 3, 2, coded(-0.5, &[1, 2]), "number", "entries.0.value"),
        case(
            "int8_infinite_scale",
            "the scale is infinite",
            3,
            2,
            coded(f32::INFINITY, &[0, 0]),
            "number",
            "entries.0.value",
        ),
        case(
            "int8_large_scale",
            "127 * scale is infinite",
            3,
            2,
            coded(too_large, &[1, 0]),
            "number",
            "entries.0.value",
        ),
        case(
            "int8_second_scale_nan",
            "the scale of the second block is not a number",
            3,
            258,
            two_blocks,
            "number",
            "entries.0.value+260",
        ),
        case("int8_code", "a code is -128", 3, 2, coded(0.5, &[1, -128]), "number", "entries.0.value+5"),
        case(
            "f16_infinite",
            "the second delta is infinite",
            6,
            2,
            streams::f16s(&[0x3C00, 0xFC00]),
            "number",
            "entries.0.value+2",
        ),
        case("f16_nan", "the first delta is not a number", 6, 1, streams::f16s(&[0x7C01]), "number", "entries.0.value"),
        case("f16_cut", "half of the last delta is missing", 6, 1, vec![0], "truncated", "section 3.end"),
        cut_before_next_tensor(),
    ]
}

fn levels() -> Vec<Invalid> {
    let case = |name, why, entry_count, stream: Vec<u8>, kind, place| {
        Invalid::drafted(name, why, with_values(1, 5, entry_count, stream), kind, place)
    };
    // First, last; lengths 2, 1 and 2 in two bytes; the scale; eight bits of codes.
    let right = streams::levels(-1, &[2, 1, 2], &[0.5], &[0, -1, 1, 0, 0, 0]);
    assert_eq!(right.len(), 9);
    let with = |place: usize, byte: u8| {
        let mut wrong = right.clone();
        wrong[place] = byte;
        wrong
    };
    let stream = "entries.0.value";
    let one_level = streams::levels(0, &[1], &[0.5], &[0, 0]);
    let no_code = [&one_level[..7], &[0b10]].concat();
    let two_blocks = streams::levels(-1, &[1, 0, 1], &[0.5, -0.5], &[1; 257]);
    // 127 times it is finite, 3 times the next power of two is not.
    let scaled = |scale: f32| streams::levels(3, &[1], &[scale], &[3]);
    vec![
        case("levels_empty", "there is no table", 1, vec![], "truncated", stream),
        case("levels_first_minus_128", "the first level is -128", 6, with(0, 0x80), "code", stream),
        case("levels_first_above_last", "the first level is above the last", 6, with(1, 0xFE), "code", stream),
        case("levels_table_cut", "the table is cut", 6, right[..3].to_vec(), "truncated", stream),
        case("levels_table_padding", "an unused bit of the table is one", 6, with(3, 0x82), "padding", stream),
        case("levels_first_empty", "the first level does not occur", 6, with(2, 0x10), "code", stream),
        case("levels_last_empty", "the last level does not occur", 6, with(3, 0), "code", stream),
        case("levels_incomplete", "the lengths are no code", 6, with(2, 0x22), "code", stream),
        case("levels_scales_cut", "the scale is cut", 6, right[..7].to_vec(), "truncated", stream),
        case("levels_negative_scale", "the scale is negative", 6, with(7, 0xBF), "number", "entries.0.value+4"),
        case("levels_large_scale", "3 * scale is infinite", 1, scaled(2e38), "number", "entries.0.value+3"),
        case("levels_second_scale", "the second scale is negative", 257, two_blocks, "number", "entries.0.value+8"),
        case("levels_cut", "the last codes are missing", 6, right[..8].to_vec(), "truncated", stream),
        case("levels_no_code", "a one bit where one level is all there is", 2, no_code, "code", stream),
        case("levels_padding", "an unused bit is one", 5, with(8, right[8] | 0x80), "padding", stream),
        case("levels_trailing", "a byte follows the codes", 6, [&right[..], &[0]].concat(), "trailing", stream),
    ]
}

/// The stream of the first tensor is too short, although more bytes follow in the section.
fn cut_before_next_tensor() -> Invalid {
    let short = HandTensor { value: (1, vec![0; 7]), ..HandTensor::small("a", 8, &[(1, 0.0), (2, 0.0)]) };
    let draft = HandMade::new("n").tensor(short).tensor(HandTensor::small("b", 8, &[(1, 0.0)])).draft();
    Invalid::drafted(
        "f32_cut_in_section",
        "a stream is cut, and another follows",
        draft,
        "truncated",
        "entries.1.index",
    )
}

/// A tensor with two entries and this value stream.
struct DistanceCase {
    name: &'static str,
    why: &'static str,
    dtype: u8,
    stream: Vec<u8>,
    kind: &'static str,
}

impl DistanceCase {
    fn into_invalid(self) -> Invalid {
        let draft = with_values(self.dtype, 4, 2, self.stream);
        Invalid::drafted(self.name, self.why, draft, self.kind, "entries.0.value")
    }
}

fn distances() -> Vec<DistanceCase> {
    let case = |name, why, dtype, stream, kind| DistanceCase { name, why, dtype, stream, kind };
    // The first three bytes, the code lengths, and two bytes of distances.
    let raw = |form: u8, first: u8, last: u8, lengths: &[u8]| {
        let mut bits = Bits::default();
        bits.lengths(lengths);
        [vec![form, first, last], bits.finish(), vec![0, 0]].concat()
    };
    let own_sign = 4;
    let table = DistanceTable { m: 0, own_sign: true, first: 0, lengths: vec![1, 1] };
    let right = streams::distances(&table, &[1, -3]);
    let one_symbol = DistanceTable { lengths: vec![1], ..table.clone() };
    let mut no_code = streams::distances(&one_symbol, &[1, -1]);
    no_code[4] |= 0b100;
    let filled = DistanceTable { lengths: vec![2, 1, 2], ..table };
    let mut table_padding = streams::distances(&filled, &[1, -3]);
    table_padding[4] |= 0x80;
    let wide =
        |first, lengths: &[u8]| raw(own_sign, first, first + u8::try_from(lengths.len()).expect("few") - 1, lengths);
    let in_m3 = |lengths: &[u8]| raw(own_sign | 3, 0, u8::try_from(lengths.len()).expect("few") - 1, lengths);
    vec![
        case(
            "distances_form",
            "a bit of the form that must be zero is one",
            1,
            raw(own_sign | 8, 0, 1, &[1, 1]),
            "code",
        ),
        case("distances_form_high", "the last bit of the form is one", 1, raw(own_sign | 128, 0, 1, &[1, 1]), "code"),
        case(
            "distances_first_above_last",
            "the first bucket is above the last",
            1,
            raw(own_sign, 2, 1, &[1, 1]),
            "code",
        ),
        case("distances_many_symbols", "258 symbols", 1, raw(3, 9, 137, &first_and_last(258)), "code"),
        case("distances_first_empty", "the first bucket does not occur", 1, raw(own_sign, 0, 2, &[0, 1, 1]), "code"),
        case("distances_last_empty", "the last bucket does not occur", 1, raw(own_sign, 0, 2, &[1, 1, 0]), "code"),
        case(
            "distances_last_empty_both_signs",
            "the last bucket occurs with neither sign",
            1,
            raw(0, 0, 1, &[1, 1, 0, 0]),
            "code",
        ),
        case(
            "distances_impossible_m1",
            "bucket 1 does not arise with m = 1",
            1,
            raw(own_sign | 1, 0, 2, &[1, 2, 2]),
            "code",
        ),
        case(
            "distances_impossible_m3",
            "bucket 10 does not arise with m = 3",
            1,
            in_m3(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 3]),
            "code",
        ),
        case("distances_wide_f32", "33 bits in a tensor of f32", 1, wide(31, &[1, 1]), "code"),
        case("distances_wide_f16", "17 bits in a tensor of f16", 2, wide(15, &[1, 1]), "code"),
        case("distances_wide_bf16", "17 bits in a tensor of bf16", 3, wide(15, &[1, 1]), "code"),
        case("distances_incomplete", "lengths of which a code is left over", 1, raw(own_sign, 0, 1, &[1, 2]), "code"),
        case(
            "distances_too_many_codes",
            "lengths with more codes than there are",
            1,
            raw(own_sign, 0, 2, &[1, 1, 1]),
            "code",
        ),
        case("distances_long_symbol", "the only symbol has a length of 2", 1, raw(own_sign, 0, 0, &[2]), "code"),
        case("distances_no_code", "a bit that is no code of the only symbol", 1, no_code, "code"),
        case("distances_table_padding", "the table is not filled up with zero bits", 1, table_padding, "padding"),
        case("distances_unused_bit", "the last bit is no part of a distance", 1, last_bit_set(&right), "padding"),
        case("distances_empty", "the stream has no bytes", 1, vec![], "truncated"),
        case("distances_cut_in_form", "the stream ends before the last bucket", 1, right[..2].to_vec(), "truncated"),
        case(
            "distances_cut_in_table",
            "the stream ends within the table",
            1,
            raw(3, 16, 31, &first_and_last(32))[..10].to_vec(),
            "truncated",
        ),
        case("distances_cut", "the stream ends behind the table", 1, right[..4].to_vec(), "truncated"),
        case("distances_trailing", "a byte follows the last distance", 1, [&right[..], &[0]].concat(), "trailing"),
    ]
}

/// Code lengths of so many symbols, of which the first and the last occur.
fn first_and_last(count: usize) -> Vec<u8> {
    let mut lengths = vec![0; count];
    lengths[0] = 1;
    lengths[count - 1] = 1;
    lengths
}
