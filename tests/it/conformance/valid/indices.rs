//! Packs for each index encoding. The deltas are the same throughout: 0 to 7, again and again.

use taskvec_testkit::contents::Values;
use taskvec_testkit::hand_made::{HandMade, HandTensor, streams};

use super::super::golden::Vector;
use super::vector;

struct Case {
    name: &'static str,
    why: &'static str,
    element_count: u64,
    encoding: u8,
    stream: Vec<u8>,
    indices: Vec<u64>,
}

pub(super) fn vectors() -> Vec<Vector> {
    let cases = [rice_coded(), granule_mask(), bitmap(), counted_bitmap()].into_iter().flatten();
    cases.map(in_a_pack).collect()
}

fn in_a_pack(case: Case) -> Vector {
    let deltas: Vec<f32> =
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].into_iter().cycle().take(case.indices.len()).collect();
    let tensor = HandTensor {
        name: "t".to_owned(),
        dtype: 1,
        shape: vec![case.element_count],
        index: (case.encoding, case.stream),
        value: (1, streams::f32s(&deltas)),
        indices: case.indices,
        values: Values::Deltas(deltas),
        error: None,
    };
    vector(case.name, case.why, &HandMade::new("n").tensor(tensor))
}

fn rice_coded() -> Vec<Case> {
    let in_two_blocks: Vec<u64> = (0..256).map(|place| 2 * place + 1).chain([600, 601, 900]).collect();
    let case = |name, why, element_count, parameters: &[u32], indices: &[u64]| Case {
        name,
        why,
        element_count,
        encoding: 1,
        stream: streams::rice_coded(parameters, indices),
        indices: indices.to_vec(),
    };
    vec![
        case("rice_one_block", "gaps in one block", 100, &[3], &[0, 1, 2, 17, 90, 99]),
        case("rice_two_blocks", "entry 256 starts a block with a parameter of its own", 901, &[1, 6], &in_two_blocks),
        case("rice_256_entries", "exactly one block: no second parameter follows", 256, &[0], &Vec::from_iter(0..256)),
        case("rice_parameter_0", "a gap in unary alone", 40, &[0], &[5, 6, 39]),
        case("rice_parameter_31", "the largest parameter", 1 << 33, &[31], &[7, (1 << 31) + 8, (1 << 33) - 1]),
        case("rice_whole_bytes", "the last bit of the last byte is used", 8, &[0], &[0, 1, 2]),
    ]
}

fn granule_mask() -> Vec<Case> {
    let two_blocks: Vec<u64> = (0..260).map(|place| 2 * place).collect();
    vec![
        Case {
            name: "granules_of_4",
            why: "granules 0 and 2 of four elements each",
            element_count: 16,
            encoding: 2,
            stream: streams::granule_mask(4, &[1], &[0, 2]),
            indices: vec![0, 1, 2, 3, 8, 9, 10, 11],
        },
        Case {
            name: "granules_last_is_shorter",
            why: "the last granule has two of four elements",
            element_count: 10,
            encoding: 2,
            stream: streams::granule_mask(4, &[0], &[1, 2]),
            indices: vec![4, 5, 6, 7, 8, 9],
        },
        Case {
            name: "granules_one_for_all",
            why: "a granule may be the whole tensor",
            element_count: 5,
            encoding: 2,
            stream: streams::granule_mask(5, &[0], &[0]),
            indices: vec![0, 1, 2, 3, 4],
        },
        Case {
            name: "granules_two_blocks",
            why: "granule 256 of those present starts a block with a parameter of its own",
            element_count: 1037,
            encoding: 2,
            stream: streams::granule_mask(2, &[0, 2], &two_blocks),
            // Granule 2 * 259 begins at element 1036, the last one.
            indices: (0..1037).filter(|index| index % 4 < 2).collect(),
        },
    ]
}

fn bitmap() -> Vec<Case> {
    let case = |name, why, element_count, indices: &[u64]| Case {
        name,
        why,
        element_count,
        encoding: 3,
        stream: streams::bitmap(element_count, indices),
        indices: indices.to_vec(),
    };
    vec![
        case("bitmap_whole_bytes", "one bit for each element", 16, &[0, 7, 8, 15]),
        case("bitmap_part_of_a_byte", "the last byte is filled up", 11, &[1, 2, 10]),
        case("bitmap_one_of_many", "a reader does not judge the writer's choice", 400, &[333]),
        Case {
            name: "dense",
            why: "every element is an entry, and the index stream has no bytes",
            element_count: 9,
            encoding: 4,
            stream: Vec::new(),
            indices: (0..9).collect(),
        },
    ]
}

fn counted_bitmap() -> Vec<Case> {
    let case = |name, why, element_count, lengths, indices: &[u64]| Case {
        name,
        why,
        element_count,
        encoding: 5,
        stream: streams::counted_bitmap(lengths, element_count, indices),
        indices: indices.to_vec(),
    };
    // Byte c of the first nine has its c lowest bits set, so that its rank is 0; those after them have the highest ranks,
    // and some in between.
    let bytes: [u8; 21] = [
        0x00, 0x01, 0x03, 0x07, 0x0F, 0x1F, 0x3F, 0x7F, 0xFF, 0x80, 0xC0, 0xE0, 0xF0, 0xF8, 0xFC, 0xFE, 0x42, 0x2A,
        0x96, 0xB5, 0xDB,
    ];
    let all_counts: Vec<u64> =
        (0..8 * bytes.len()).filter(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1).map(|bit| bit as u64).collect();
    vec![
        case(
            "counted_all_counts",
            "each count of one bits, with the lowest and the highest rank",
            168,
            [4, 4, 3, 3, 3, 3, 3, 3, 3],
            &all_counts,
        ),
        case(
            "counted_one_symbol",
            "each byte has one bit: the only symbol has the code 0 of one bit",
            24,
            [0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[7, 8, 20],
        ),
        case(
            "counted_all_elements",
            "each byte has eight bits: one bit of code for each, and no rank",
            16,
            [0, 0, 0, 0, 0, 0, 0, 0, 1],
            &Vec::from_iter(0..16),
        ),
        case(
            "counted_part_of_a_byte",
            "the last byte has three elements, of which two are entries",
            19,
            [2, 0, 2, 1, 0, 0, 0, 0, 0],
            &[8, 9, 10, 16, 18],
        ),
        case(
            "counted_longest_codes",
            "codes of very different lengths, up to 8 bits",
            40,
            [1, 2, 3, 4, 5, 6, 7, 8, 8],
            &[0, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 31],
        ),
    ]
}
