//! What version 1 cannot say: arrays, and what a base model stands for.

use super::*;
use crate::tensors::{NamedTensor, write};

/// A matrix of 2 x 3 bytes with a scale for each column, and a bias.
const MODEL: [NamedTensor<'static>; 4] = [
    NamedTensor { name: "bias", dtype: StoredDtype::F32, shape: &[3], bytes: &[0; 12] },
    NamedTensor { name: "w", dtype: StoredDtype::I8, shape: &[2, 3], bytes: &[1, 2, 3, 4, 5, 6] },
    NamedTensor {
        name: "w.scale",
        dtype: StoredDtype::F32,
        shape: &[3],
        bytes: &[0, 0, 128, 63, 0, 0, 128, 63, 0, 0, 128, 63],
    },
    NamedTensor { name: "w.zero", dtype: StoredDtype::I8, shape: &[3], bytes: &[0; 3] },
];

fn file() -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, &MODEL).unwrap();
    bytes
}

fn draft() -> BaseDraft {
    let port =
        |name: &str, dtype, shape: &[Side]| Port { name: name.to_owned(), dtype, shape: shape.to_vec(), fill: None };
    let batch = || Side::Named("batch".to_owned());
    let rate = Port { fill: Some(16000.0), ..port("rate", StoredDtype::I64, &[]) };
    BaseDraft {
        name: "quantized".to_owned(),
        network: serde_json::json!({"family": "onnx"}),
        interface: Interface::Arrays(Arrays {
            inputs: vec![port("ids", StoredDtype::I64, &[batch(), Side::Fixed(2)]), rate],
            outputs: vec![port("hidden", StoredDtype::F32, &[batch(), Side::Fixed(3)])],
            sizes: [("batch".to_owned(), 4)].into(),
        }),
        stands_for: Some(StandsFor {
            fingerprint: Fingerprint([7; 32]),
            tensors: vec![
                Counterpart {
                    name: "bias".to_owned(),
                    of: "layer.bias".to_owned(),
                    dtype: StoredDtype::F32,
                    turned: false,
                    grid: None,
                },
                Counterpart {
                    name: "w".to_owned(),
                    of: "layer.weight".to_owned(),
                    dtype: StoredDtype::F32,
                    turned: true,
                    grid: Some(GridNames {
                        scale: "w.scale".to_owned(),
                        zero_point: Some("w.zero".to_owned()),
                        axis: Some(1),
                    }),
                },
            ],
        }),
        heads: Vec::new(),
        editable: vec!["bias".to_owned(), "w".to_owned()],
    }
}

fn described() -> Base {
    let bytes = file();
    Base::describe(draft(), &TensorFile::parse(&bytes).unwrap(), &bytes).unwrap()
}

#[test]
fn what_is_written_is_read_back_and_written_the_same() {
    let base = described();
    let json = base.to_json();
    let read = Base::parse(json.as_bytes()).unwrap();
    assert_eq!(read, base);
    assert_eq!(read.to_json(), json);
    assert!(json.contains("\"version\": 2"));
    assert!(read.pictures().is_none() && read.is_quantized("w") && !read.is_quantized("bias"));
    let Interface::Arrays(arrays) = read.interface() else { panic!("no arrays") };
    assert_eq!(arrays.trial_shape(&arrays.inputs[0]), [4, 2]);
}

#[test]
fn the_fingerprint_covers_whole_numbers_too() {
    let bytes = file();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let of = |bytes: &[u8]| crate::fingerprint_of(&TensorFile::parse(bytes).unwrap(), bytes).unwrap();
    assert_eq!(of(&bytes), described().fingerprint());
    assert_ne!(of(&other), of(&bytes));
}

#[test]
fn dtypes_are_written_in_small_letters_everywhere() {
    let json = described().to_json();
    for (from, to) in [("\"dtype\": \"i64\"", "\"dtype\": \"I64\""), ("\"dtype\": \"f32\"", "\"dtype\": \"F32\"")] {
        Base::parse(json.replacen(from, to, 1).as_bytes()).unwrap_err();
    }
}

#[test]
fn names_what_contradicts_itself() {
    let json = described().to_json();
    for (from, to, message) in [
        ("\"batch\": 4", "\"match\": 4", "base.json: side `batch` of an input has no size in `sizes`"),
        (
            "\"batch\": 4",
            "\"batch\": 99999999999",
            "base.json: with `ids`, inputs have more than 67108864 elements when they are tried",
        ),
        // `ids` alone has all that there may be, and `rate` one more.
        (
            "\"batch\": 4",
            "\"batch\": 33554432",
            "base.json: with `rate`, inputs have more than 67108864 elements when they are tried",
        ),
        ("\"name\": \"rate\"", "\"name\": \"bias\"", "base.json: `bias` is both an input and a tensor"),
        ("\"rate\"", "\"ids\"", "base.json: `ids` is there twice among the inputs"),
        ("\"arrays\"", "\"erroys\"", "base.json: is no description of a base model"),
        (
            "\"of\": \"layer.bias\"",
            "\"of\": \"layer.weight\"",
            "base.json: `stands_for`: two tensors are `layer.weight` there",
        ),
        (
            "\"of\": \"layer.bias\",",
            "\"turned\": true, \"of\": \"layer.bias\",",
            "base.json: `stands_for`: tensor `bias`: is turned and has 1 sides, expected 2",
        ),
        (
            "\"of\": \"layer.bias\",\n        \"dtype\": \"f32\"",
            "\"of\": \"layer.bias\",\n        \"dtype\": \"f16\"",
            "base.json: `stands_for`: tensor `bias`: is F32 here and F16 there",
        ),
        (
            "\"axis\": 1",
            "\"axis\": 0",
            "base.json: the grid of tensor `w`: `w.scale` is F32 [3], expected F32 with 2 elements",
        ),
        (
            "\"axis\": 1",
            "\"axis\": 2",
            "base.json: the grid of tensor `w`: its axis is beyond the 2 sides of the tensor",
        ),
        (
            "\"zero_point\": \"w.zero\"",
            "\"zero_point\": \"w.scale\"",
            "base.json: the grid of tensor `w`: `w.scale` is F32 [3], expected I8 with 3 elements",
        ),
        (
            "    \"w\"\n",
            "    \"w\",\n    \"w.scale\"\n",
            "base.json: the grid of tensor `w`: `w.scale` is editable, expected a grid that stays as it is",
        ),
        (
            "\"scale\": \"w.scale\"",
            "\"scale\": \"w.missing\"",
            "base.json: the grid of tensor `w`: `w.missing` is not among the tensors",
        ),
    ] {
        assert!(json.contains(from), "{from} in {json}");
        let error = Base::parse(json.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{to}");
        assert_eq!(error.to_string(), message, "{to}");
    }
    let unlisted = BaseDraft { stands_for: None, ..draft() };
    let bytes = file();
    let error = Base::describe(unlisted, &TensorFile::parse(&bytes).unwrap(), &bytes).unwrap_err();
    assert_eq!(error.to_string(), "base.json: editable tensor `w`: has dtype I8, packs edit F32, F16 and BF16");
}
