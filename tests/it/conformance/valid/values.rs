//! Packs for each value encoding.

use taskvec_testkit::contents::{LossyError, Values};
use taskvec_testkit::hand_made::streams::{self, DistanceTable};
use taskvec_testkit::hand_made::{HandMade, HandTensor};

use super::super::golden::Vector;
use super::vector;

pub(super) fn vectors() -> Vec<Vector> {
    [deltas(), levels(), distances()].concat()
}

fn deltas() -> Vec<Vector> {
    let case = |name, why, value: (u8, Vec<u8>), deltas: &[f32]| {
        let error = (value.0 != 1).then_some(LossyError { max: 0.5, rms: 0.5 });
        in_a_pack(name, why, 1, value, error, Values::Deltas(deltas.to_vec()), deltas.len())
    };
    let odd = [0.0, -0.0, f32::MIN_POSITIVE, -1e-45, f32::MAX, -f32::MAX, 0.1];
    let odd_bf16 = [0.0, -0.0, 1.0, -1.0078125, f32::from_bits(0x7F7F_0000), f32::from_bits(0x8001_0000)];
    let codes: Vec<i8> = (0..256).map(|place| if place % 2 == 0 { 1 } else { -1 }).collect();
    let in_two_blocks: Vec<f32> =
        codes.iter().map(|&code| f32::from(code) * 0.5).chain([127.0 * 0.25, -127.0 * 0.25, 0.0]).collect();
    // The largest scale: 127 times the next number is beyond all finite ones.
    let largest = f32::from_bits(0x7C01_0203);
    vec![
        case("f32_odd", "zeros of both signs, the smallest and the largest numbers", (1, streams::f32s(&odd)), &odd),
        case(
            "bf16_odd",
            "zeros of both signs, a subnormal and the largest number",
            (2, streams::bf16s(&odd_bf16)),
            &odd_bf16,
        ),
        case(
            "int8_one_block",
            "code * scale, rounded to f32; the scale 0.1 is no power of two",
            (3, streams::int8(&[(0.1, &[127, -127, 3, -7, 0, 1])])),
            &[127.0, -127.0, 3.0, -7.0, 0.0, 1.0].map(|code: f32| code * 0.1),
        ),
        case(
            "int8_two_blocks",
            "entry 256 starts a block with a scale of its own",
            (3, streams::int8(&[(0.5, &codes), (0.25, &[127, -127, 0])])),
            &in_two_blocks,
        ),
        case(
            "int8_scale_0",
            "a block of zeros; a code that is not 0 has no effect but the sign of the zero",
            (3, streams::int8(&[(0.0, &[0, 1, -1])])),
            &[0.0, 0.0, -0.0],
        ),
        case(
            "int8_largest_scale",
            "127 * scale is the largest finite number of its kind",
            (3, streams::int8(&[(largest, &[127, -127])])),
            &[largest * 127.0, largest * -127.0],
        ),
        case(
            "f16_odd",
            "zeros of both signs, the smallest and the largest numbers, the largest subnormal and the smallest normal",
            (6, streams::f16s(&[0x0000, 0x8000, 0x0001, 0x8001, 0x7BFF, 0xFBFF, 0x03FF, 0x0400, 0x3C01])),
            &[
                0.0,
                -0.0,
                5.960_464_5e-8,
                -5.960_464_5e-8,
                65_504.0,
                -65_504.0,
                6.097_555e-5,
                6.103_515_6e-5,
                1.000_976_6,
            ],
        ),
    ]
}

fn levels() -> Vec<Vector> {
    let case = |name, why, first: i8, lengths: &[u8], scales: &[f32], levels: &[i8]| {
        let value = (5, streams::levels(first, lengths, scales, levels));
        let blocks = levels.chunks(256).zip(scales);
        let deltas: Vec<f32> =
            blocks.flat_map(|(block, scale)| block.iter().map(move |&level| f32::from(level) * scale)).collect();
        let error = Some(LossyError { max: 0.5, rms: 0.5 });
        in_a_pack(name, why, 1, value, error, Values::Deltas(deltas), levels.len())
    };
    let signs: Vec<i8> = (0..258).map(|place| if place % 3 == 0 { -1 } else { 1 }).collect();
    let largest = f32::from_bits(0x7C01_0203);
    vec![
        case(
            "levels_ternary",
            "three levels; the scale 0.1 is no power of two",
            -1,
            &[2, 1, 2],
            &[0.1],
            &[0, 1, -1, 0, 0, 1],
        ),
        case(
            "levels_signs_in_two_blocks",
            "no level 0; entry 256 starts a block with a scale of its own",
            -1,
            &[1, 0, 1],
            &[0.5, 0.25],
            &signs,
        ),
        case(
            "levels_all_255",
            "the largest table, with codes of 15 bits; 127 * scale is the largest finite number of its kind",
            -127,
            &lengths(255, &[(0, 1), (254, 2), (127, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9)])
                .into_iter()
                .enumerate()
                .map(|(place, length)| match place {
                    7..=11 => u8::try_from(place).expect("small") + 3,
                    12 | 13 => 15,
                    _ => length,
                })
                .collect::<Vec<u8>>(),
            &[largest],
            &[-127, 127, 0, -114, -115, -126],
        ),
        case("levels_one", "one level is all there is: its code is one zero bit", 5, &[1], &[2.0], &[5, 5, 5]),
        case("levels_above_zero", "the table need not hold level 0", 3, &[1, 2, 2], &[1.0], &[3, 5, 4]),
        case("levels_scale_0", "a level has no effect but the sign of the zero", -1, &[1, 0, 1], &[0.0], &[1, -1]),
    ]
}

fn distances() -> Vec<Vector> {
    let case = |name, why, dtype, table: &DistanceTable, distances: &[i64]| {
        let value = (4, streams::distances(table, distances));
        in_a_pack(name, why, dtype, value, None, Values::Distances(distances.to_vec()), distances.len())
    };
    let table = |m, own_sign, first, lengths: Vec<u8>| DistanceTable { m, own_sign, first, lengths };
    vec![
        case(
            "distances_m0_sign_bit",
            "m = 0: a bucket for each number of bits; the sign is a bit of its own",
            1,
            &table(0, true, 0, vec![1, 2, 3, 0, 3]),
            &[1, -1, 2, -3, 4, 7, -31, 16],
        ),
        case(
            "distances_m0_sign_in_symbol",
            "m = 0: two symbols for each number of bits",
            1,
            &table(0, false, 0, vec![1, 2, 3, 4, 0, 4]),
            &[1, -1, 2, -3, -4, -7],
        ),
        case(
            "distances_m1",
            "m = 1: two buckets for each number of bits, but for the first of which one cannot arise",
            1,
            // Buckets 0 (v = 1), 2, 3 (v = 2, 3), 4 and 5 (v = 4 to 7).
            &table(1, true, 0, vec![1, 0, 2, 3, 4, 4]),
            &[1, -2, 3, 4, -5, 6, 7],
        ),
        case(
            "distances_m2",
            "m = 2, and the first bucket is not 0",
            2,
            // Buckets 8 to 11 (v = 4, 5, 6, 7), 12 and 15 (v = 8 and 9, 14 and 15).
            &table(2, false, 8, lengths(16, &[(0, 2), (1, 2), (3, 3), (6, 3), (8, 3), (15, 3)])),
            &[4, -4, -5, 7, 8, 9, -14, -15],
        ),
        case(
            "distances_m3",
            "m = 3: eight buckets for each number of bits, of which few arise for small ones",
            1,
            // Buckets 0 (v = 1), 8 and 9 (v = 2, 3), 24 (v = 8), 39 (v = 30 and 31).
            &table(3, false, 0, lengths(80, &[(0, 3), (1, 3), (16, 3), (19, 3), (48, 2), (79, 2)])),
            &[1, -1, 2, -3, 8, -31, -30],
        ),
        case(
            "distances_one_symbol",
            "all distances are in one bucket: the code is one zero bit",
            3,
            &table(0, true, 3, vec![1]),
            &[8, -15, 10],
        ),
        case(
            "distances_longest_codes",
            "codes of 15 bits",
            1,
            &table(0, true, 0, (1..=15).chain([15]).collect()),
            &[1, -(1 << 14), (1 << 15) + 1, -(1 << 15), 3],
        ),
        case(
            "distances_widest_f32",
            "from the first pattern of 32 bits to the last",
            1,
            &table(0, true, 31, vec![1]),
            &[(1 << 32) - 1, -((1 << 32) - 1), 1 << 31],
        ),
        case(
            "distances_widest_f16",
            "from the first pattern of 16 bits to the last",
            2,
            &table(3, true, 120, lengths(8, &[(0, 1), (7, 1)])),
            &[(1 << 16) - 1, -((1 << 16) - 1), 1 << 15],
        ),
        case(
            "distances_256_symbols",
            "the largest table",
            1,
            // Buckets 9 (v = 3), 16 (v = 4) and 136 (v from 2^17 on).
            &table(3, false, 9, lengths(256, &[(14, 1), (1, 2), (254, 2)])),
            &[-3, 4, (1 << 17) + 5],
        ),
    ]
}

/// Code lengths of so many symbols, of which few occur.
fn lengths(count: usize, used: &[(usize, u8)]) -> Vec<u8> {
    let mut lengths = vec![0; count];
    for &(symbol, length) in used {
        lengths[symbol] = length;
    }
    lengths
}

/// Every third element has an entry.
fn in_a_pack(
    name: &str,
    why: &str,
    dtype: u8,
    value: (u8, Vec<u8>),
    error: Option<LossyError>,
    values: Values,
    entry_count: usize,
) -> Vector {
    let indices: Vec<u64> = (0..entry_count as u64).map(|place| 3 * place).collect();
    let parameters = vec![1; entry_count.div_ceil(256)];
    let tensor = HandTensor {
        name: "t".to_owned(),
        dtype,
        shape: vec![1000],
        index: (1, streams::rice_coded(&parameters, &indices)),
        value,
        indices,
        values,
        error,
    };
    vector(name, why, &HandMade::new("n").tensor(tensor))
}
