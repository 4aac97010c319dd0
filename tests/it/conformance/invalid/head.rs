//! Packs with a wrong head or preprocessing: steps 20 and 21 of `FORMAT.md` section 13.

use taskvec_testkit::contents::{Head, Preprocessing};
use taskvec_testkit::hand_made::{Draft, HandMade, streams};

use super::Invalid;

pub(super) fn cases() -> Vec<Invalid> {
    heads().into_iter().chain(preprocessings()).collect()
}

fn with_head() -> Draft {
    let head = Head {
        feature_width: 3,
        weight_encoding: 1,
        labels: vec!["no".to_owned(), "yes".to_owned()],
        weight: vec![1.0, 2.0, 3.0, -1.0, -2.0, -3.0],
        bias: vec![0.5, -0.5],
    };
    HandMade::new("n").head(head).draft()
}

fn heads() -> Vec<Invalid> {
    let replaced = |name, why, piece: &str, bytes: &[u8], kind, place: &str| {
        Invalid::drafted(name, why, with_head().replace(piece, bytes), kind, place)
    };
    let with_nan = streams::f32s(&[1.0, 2.0, 3.0, f32::NAN, -2.0, -3.0]);
    let bf16 = [streams::bf16s(&[1.0; 5]), vec![0x80, 0xFF]].concat();
    let in_bf16 = with_head().replace("head.weight_encoding", [2]).replace("head.weight", bf16);
    let int8 = streams::int8(&[(0.5, &[1, 2, 3, 4, 5, -128])]);
    let in_int8 = with_head().replace("head.weight_encoding", [3]).replace("head.weight", int8);
    let scale = streams::int8(&[(-0.5, &[1, 2, 3, 4, 5, 6])]);
    let negative_scale = with_head().replace("head.weight_encoding", [3]).replace("head.weight", scale);
    vec![
        replaced(
            "head_no_features",
            "the head has no features",
            "head.feature_width",
            &[0; 4],
            "count",
            "head.feature_width",
        ),
        replaced(
            "head_no_classes",
            "the head has no classes",
            "head.class_count",
            &[0; 4],
            "count",
            "head.class_count",
        ),
        replaced(
            "head_classes_beyond",
            "more classes than labels could lie in the section",
            "head.class_count",
            &[0xFF; 4],
            "count",
            "head.class_count",
        ),
        replaced(
            "head_features_beyond",
            "more weights than could lie in the section",
            "head.feature_width",
            &[0xFF; 4],
            "truncated",
            "section 4.end",
        ),
        replaced(
            "head_encoding_0",
            "weight encoding 0 is not known",
            "head.weight_encoding",
            &[0],
            "encoding",
            "head.weight_encoding",
        ),
        replaced(
            "head_encoding_4",
            "weights are no distances",
            "head.weight_encoding",
            &[4],
            "encoding",
            "head.weight_encoding",
        ),
        replaced(
            "head_encoding_5",
            "nothing says how long coded levels are",
            "head.weight_encoding",
            &[5],
            "encoding",
            "head.weight_encoding",
        ),
        replaced("head_zero", "a byte that must be zero is 1", "head.zero", &[1, 0, 0], "padding", "head.zero"),
        replaced("label_control", "a label has a control character", "head.labels.1", b"y\r!", "text", "head.labels.1"),
        replaced(
            "head_weight_nan",
            "the fourth weight is not a number",
            "head.weight",
            &with_nan,
            "number",
            "head.weight+12",
        ),
        Invalid::drafted(
            "head_weight_bf16_infinite",
            "the sixth weight, a bf16, is infinite",
            in_bf16,
            "number",
            "head.weight+10",
        ),
        Invalid::drafted("head_weight_code", "the sixth code is -128", in_int8, "number", "head.weight+9"),
        Invalid::drafted("head_weight_scale", "the scale is negative", negative_scale, "number", "head.weight"),
        replaced(
            "head_bias_infinite",
            "the second bias is infinite",
            "head.bias",
            &streams::f32s(&[0.5, f32::INFINITY]),
            "number",
            "head.bias+4",
        ),
        Invalid::drafted(
            "head_cut",
            "the last byte of the bias is missing",
            with_head().shorten(4, 1),
            "truncated",
            "section 4.end",
        ),
        Invalid::drafted(
            "head_trailing",
            "a byte follows the bias",
            with_head().lengthen(4, &[0]),
            "trailing",
            "extra",
        ),
        Invalid::drafted(
            "label_empty",
            "a label is empty",
            with_head().replace("head.labels.1_bytes", [0]).replace("head.labels.1", []),
            "text",
            "head.labels.1",
        ),
        Invalid::beyond("limit_classes", with_head(), ("max_classes", 1), "head.class_count"),
        Invalid::beyond("limit_label", with_head(), ("max_string_bytes", 2), "head.labels.1_bytes"),
    ]
}

fn preprocessings() -> Vec<Invalid> {
    let image =
        Preprocessing { channels: 2, height: 3, width: 4, resize: 1, mean: vec![0.5, 0.25], std: vec![1.0, 0.125] };
    let draft = HandMade::new("n").preprocessing(image).draft();
    let replaced = |name, why, piece: &str, bytes: &[u8], kind, place: &str| {
        Invalid::drafted(name, why, draft.clone().replace(piece, bytes), kind, place)
    };
    let number = |name, why, piece: &str, numbers: [f32; 2]| {
        replaced(name, why, piece, &streams::f32s(&numbers), "number", &format!("{piece}+4"))
    };
    let sizes = ["channels", "height", "width"].map(|size| format!("preprocessing.{size}"));
    let large = draft.clone().replace(&sizes[1], 0x8000_0000_u32.to_le_bytes()).replace(&sizes[2], 1_u32.to_le_bytes());
    vec![
        replaced("preprocessing_no_channels", "the image has no channels", &sizes[0], &[0; 4], "count", &sizes[0]),
        replaced("preprocessing_no_height", "the image has no rows", &sizes[1], &[0; 4], "count", &sizes[1]),
        replaced("preprocessing_no_width", "the image has no columns", &sizes[2], &[0; 4], "count", &sizes[2]),
        Invalid::drafted("preprocessing_product", "the image has 2^32 numbers", large, "count", "section 5"),
        replaced(
            "resize_0",
            "resize 0 is not known",
            "preprocessing.resize",
            &[0; 2],
            "encoding",
            "preprocessing.resize",
        ),
        replaced(
            "resize_2",
            "resize 2 is not known",
            "preprocessing.resize",
            &[2, 0],
            "encoding",
            "preprocessing.resize",
        ),
        replaced(
            "preprocessing_zero",
            "a byte that must be zero is 1",
            "preprocessing.zero",
            &[1, 0],
            "padding",
            "preprocessing.zero",
        ),
        number("mean_infinite", "the second mean is infinite", "preprocessing.mean", [0.5, f32::INFINITY]),
        number("std_nan", "the second std is not a number", "preprocessing.std", [1.0, f32::NAN]),
        number("std_0", "the second std is 0", "preprocessing.std", [1.0, 0.0]),
        number("std_negative", "the second std is negative", "preprocessing.std", [1.0, -1.0]),
        Invalid::drafted(
            "preprocessing_cut",
            "the last std is cut",
            draft.clone().shorten(5, 2),
            "truncated",
            "section 5.end",
        ),
        Invalid::drafted(
            "preprocessing_trailing",
            "a byte follows the last std",
            draft.clone().lengthen(5, &[0]),
            "trailing",
            "extra",
        ),
    ]
}
