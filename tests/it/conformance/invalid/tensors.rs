//! Packs with wrong tensor records: step 18 of `FORMAT.md` section 13.

use taskvec_testkit::contents::LossyError;
use taskvec_testkit::hand_made::{Draft, HandMade, HandTensor, streams};

use super::Invalid;

pub(super) fn cases() -> Vec<Invalid> {
    [counts(), fields(), entry_counts(), errors()].into_iter().flatten().collect()
}

/// Two tensors of 12 elements with 2 and 3 entries.
fn draft() -> Draft {
    HandMade::new("n")
        .tensor(HandTensor { shape: vec![4, 3], ..HandTensor::small("bias", 12, &[(1, 0.5), (11, -0.5)]) })
        .tensor(HandTensor { shape: vec![2, 6], ..HandTensor::small("weight", 12, &[(0, 1.0), (3, 2.0), (8, 3.0)]) })
        .draft()
}

fn lossy_draft() -> Draft {
    let error = Some(LossyError { max: 0.5, rms: 0.25 });
    let value = (2, streams::bf16s(&[0.5]));
    HandMade::new("n").tensor(HandTensor { value, error, ..HandTensor::small("bias", 12, &[(1, 0.5)]) }).draft()
}

/// A draft with one piece replaced, refused at that piece.
fn replaced(name: &'static str, why: &'static str, piece: &str, bytes: &[u8], kind: &'static str) -> Invalid {
    Invalid::drafted(name, why, draft().replace(piece, bytes), kind, piece)
}

fn counts() -> Vec<Invalid> {
    let name = |name, why, bytes: &[u8], kind| {
        let length = streams::varint(bytes.len() as u64);
        let draft = draft().replace("tensors.1.name_bytes", length).replace("tensors.1.name", bytes);
        Invalid::drafted(name, why, draft, kind, "tensors.1.name")
    };
    vec![
        replaced(
            "tensors_beyond_section",
            "more tensors than could lie in what is left of the section",
            "tensors.count",
            &[5],
            "count",
        ),
        Invalid::drafted(
            "tensors_one_less",
            "a record follows the last one",
            draft().replace("tensors.count", [1]),
            "trailing",
            "tensors.1.name_bytes",
        ),
        Invalid::drafted(
            "tensors_cut",
            "the last record ends beyond the section",
            draft().shorten(2, 1),
            "truncated",
            "section 2.end",
        ),
        Invalid::drafted(
            "tensors_trailing",
            "a byte follows the last record",
            draft().lengthen(2, &[0]),
            "trailing",
            "extra",
        ),
        Invalid::drafted(
            "tensors_empty_section",
            "not even the count is there",
            HandMade::new("n").draft().replace("tensors.count", []),
            "truncated",
            "section 2.end",
        ),
        Invalid::beyond("limit_tensors", draft(), ("max_tensors", 1), "tensors.count"),
        Invalid::beyond("limit_tensor_name", draft(), ("max_string_bytes", 5), "tensors.1.name_bytes"),
        name("tensor_name_empty", "the name of a tensor is empty", b"", "text"),
        name("tensor_name_control", "the name of a tensor has a control character", b"weight\0", "text"),
        name("tensor_names_descend", "`attn` comes behind `bias`", b"attn", "order"),
        name("tensor_twice", "two tensors have the same name", b"bias", "order"),
    ]
}

fn fields() -> Vec<Invalid> {
    let dimension = |name, why, first: u64, second: u64, place| {
        let draft = draft().replace("tensors.0.dimensions.0", streams::varint(first));
        let draft = draft.replace("tensors.0.dimensions.1", streams::varint(second));
        Invalid::drafted(name, why, draft, "number", place)
    };
    let too_large = draft().replace("tensors.0.dimensions.0", streams::varint(1 << 41));
    vec![
        replaced("dtype_0", "dtype 0 is not known", "tensors.0.dtype", &[0], "encoding"),
        replaced("dtype_4", "dtype 4 is not known", "tensors.1.dtype", &[4], "encoding"),
        replaced("rank_9", "a tensor has more than 8 dimensions", "tensors.0.rank", &[9], "count"),
        dimension("dimension_0", "a dimension is 0", 4, 0, "tensors.0.dimensions.1"),
        dimension("dimensions_overflow", "2^63 elements", 1 << 32, 1 << 31, "tensors.0.dimensions.1"),
        dimension("dimension_overflow", "one dimension of 2^63 elements", 1 << 63, 1, "tensors.0.dimensions.0"),
        Invalid::drafted(
            "elements_beyond_default",
            "3 * 2^41 elements are beyond the default limit",
            too_large,
            "limit",
            "tensors.0.rank",
        ),
        Invalid::beyond("limit_elements", draft(), ("max_elements_per_tensor", 11), "tensors.0.rank"),
        replaced("index_encoding_0", "index encoding 0 is not known", "tensors.0.index_encoding", &[0], "encoding"),
        replaced("index_encoding_6", "index encoding 6 is not known", "tensors.0.index_encoding", &[6], "encoding"),
        replaced("value_encoding_0", "value encoding 0 is not known", "tensors.1.value_encoding", &[0], "encoding"),
        replaced("value_encoding_7", "value encoding 7 is not known", "tensors.1.value_encoding", &[7], "encoding"),
    ]
}

fn entry_counts() -> Vec<Invalid> {
    let many = draft().replace("tensors.0.dimensions.0", streams::varint(1000));
    let many = many.replace("tensors.0.entry_count", streams::varint(200));
    vec![
        replaced("entry_count_0", "a tensor without entries has no record", "tensors.0.entry_count", &[0], "count"),
        replaced("entry_count_above_elements", "more entries than elements", "tensors.0.entry_count", &[13], "count"),
        Invalid::drafted(
            "entry_count_above_bits",
            "more entries than the entries section has bits",
            many,
            "count",
            "tensors.0.entry_count",
        ),
        Invalid::beyond("limit_entries", draft(), ("max_entries", 4), "tensors.1.entry_count"),
        replaced(
            "index_bytes_beyond",
            "an index stream reaches beyond the entries section",
            "tensors.0.index_bytes",
            &[120],
            "count",
        ),
        replaced(
            "value_bytes_beyond",
            "a value stream reaches beyond the entries section",
            "tensors.1.value_bytes",
            &[13],
            "count",
        ),
        Invalid::drafted(
            "entries_trailing",
            "a byte follows the last stream",
            draft().lengthen(3, &[0]),
            "trailing",
            "extra",
        ),
        Invalid::drafted(
            "entries_without_tensors",
            "there are entries and no tensors",
            HandMade::new("n").draft().lengthen(3, &[7]),
            "trailing",
            "extra",
        ),
    ]
}

fn errors() -> Vec<Invalid> {
    let error = |name, why, piece: &str, number: f32| {
        Invalid::drafted(name, why, lossy_draft().replace(piece, number.to_le_bytes()), "number", piece)
    };
    vec![
        error("error_max_negative", "the largest error is negative", "tensors.0.error_max", -0.5),
        error("error_max_infinite", "the largest error is infinite", "tensors.0.error_max", f32::INFINITY),
        error("error_rms_negative", "the root mean square error is negative", "tensors.0.error_rms", -0.25),
        error("error_rms_nan", "the root mean square error is not a number", "tensors.0.error_rms", f32::NAN),
        error(
            "error_rms_above_max",
            "the root mean square error is above the largest error",
            "tensors.0.error_rms",
            0.75,
        ),
    ]
}
