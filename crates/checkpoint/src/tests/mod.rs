//! Checkpoints of every form, made by hand: all say the same; and each kind of damage, refused with a reason.

mod torch;

use std::fs;

use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors};
use taskvec_dataset::ErrorKind;
use taskvec_testkit::saved::{OnnxPlace, SavedTensor, gguf, onnx, torch_archive, torch_legacy};

use super::*;

fn tensors() -> Vec<SavedTensor> {
    let bits = |bits: &[u16]| bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    vec![
        SavedTensor::f32s("a.weight", &[2, 3], &[1.0, -2.0, 3.5, 0.0, -0.0, f32::NAN]),
        SavedTensor { name: "b.bias".to_owned(), dtype: "F16", shape: vec![2], bytes: bits(&[0x3C00, 0xBC01]) },
        SavedTensor { name: "c.weight".to_owned(), dtype: "BF16", shape: vec![1, 2], bytes: bits(&[0x3F80, 0xBF81]) },
    ]
}

fn safetensors(tensors: &[SavedTensor]) -> Vec<u8> {
    let named: Vec<NamedTensor<'_>> = tensors
        .iter()
        .map(|tensor| {
            let dtype = StoredDtype::from_name(tensor.dtype).unwrap();
            NamedTensor { name: &tensor.name, dtype, shape: &tensor.shape, bytes: &tensor.bytes }
        })
        .collect();
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, &named).unwrap();
    bytes
}

fn read(name: &str, bytes: Vec<u8>) -> Result<Checkpoint> {
    Checkpoint::in_memory(name, bytes, &Limits::default())
}

#[track_caller]
fn holds(checkpoint: &Checkpoint, expected: &[SavedTensor]) {
    let found: Vec<SavedTensor> = checkpoint
        .tensors()
        .iter()
        .map(|tensor| SavedTensor {
            name: tensor.name().to_owned(),
            dtype: tensor.dtype().name(),
            shape: tensor.shape().to_vec(),
            bytes: checkpoint.read(tensor).unwrap(),
        })
        .collect();
    assert_eq!(found, expected);
}

/// The whole chain of clauses.
fn told(error: &Error) -> String {
    let mut clauses = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        clauses.push(error.to_string());
        cause = error.source();
    }
    clauses.join(": ")
}

/// One thing that is wrong.
struct Case<'a>(&'a str, &'a str, Vec<u8>, ErrorKind, &'a str);

#[track_caller]
fn all_refused(cases: Vec<Case<'_>>) {
    let mut wrong = Vec::new();
    for Case(what, name, bytes, kind, clause) in cases {
        match read(name, bytes) {
            Ok(checkpoint) => wrong.push(format!("{what}: accepted, {checkpoint:?}")),
            Err(error) => {
                let told = told(&error);
                if error.kind() != kind || !told.contains(clause) || !told.contains(name) || error.help().is_none() {
                    wrong.push(format!("{what}: {error:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_form_says_the_same() {
    let tensors = tensors();
    let forms = [
        ("x.safetensors", safetensors(&tensors), Form::Safetensors),
        ("x.pth", torch_archive(&tensors, &[]), Form::Torch),
        ("x.pt", torch_legacy(&tensors), Form::TorchLegacy),
        ("x.onnx", onnx(&tensors, OnnxPlace::Raw).0, Form::Onnx),
        ("x.gguf", gguf(&tensors), Form::Gguf),
    ];
    let mut fingerprints = Vec::new();
    for (name, bytes, form) in forms {
        let checkpoint = read(name, bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(checkpoint.form(), form);
        holds(&checkpoint, &tensors);
        fingerprints.push(checkpoint.fingerprint().unwrap());
    }
    assert!(fingerprints.windows(2).all(|pair| pair[0] == pair[1]), "{fingerprints:?}");
    let floats = onnx(&tensors[..1], OnnxPlace::Floats).0;
    holds(&read("floats.onnx", floats).unwrap(), &tensors[..1]);
}

/// One file in 32 has such a header: MobileNet's, of all.
#[test]
fn a_safetensors_file_whose_first_byte_is_that_of_a_pickle_is_none() {
    let tensors = tensors();
    let bytes = safetensors(&tensors);
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap());
    let padded = length.next_multiple_of(0x100) + u64::from(crate::torch::PICKLE_MAGIC[0]);
    let (header, numbers) = rest.split_at(length as usize);
    let spaces = vec![b' '; (padded - length) as usize];
    let bytes = [&padded.to_le_bytes()[..], header, &spaces, numbers].concat();
    assert!(bytes.starts_with(crate::torch::PICKLE_MAGIC));
    let checkpoint = read("x", bytes).unwrap();
    assert_eq!(checkpoint.form(), Form::Safetensors);
    holds(&checkpoint, &tensors);
}

#[test]
fn no_cut_and_no_flipped_bit_brings_a_panic() {
    let tensors = tensors();
    let forms = [
        ("x.safetensors", safetensors(&tensors)),
        ("x.pth", torch_archive(&tensors, &["state_dict"])),
        ("x.pt", torch_legacy(&tensors)),
        ("x.onnx", onnx(&tensors, OnnxPlace::Raw).0),
        ("x.gguf", gguf(&tensors)),
        ("x.index.json", br#"{"weight_map": {"a": "b"}}"#.to_vec()),
    ];
    for (name, bytes) in forms {
        for end in 0..bytes.len() {
            // An ONNX model that is cut between two fields is a whole one, and so is a model of no tensors.
            if let Ok(checkpoint) = read(name, bytes[..end].to_vec()) {
                checkpoint.tensors().iter().for_each(|tensor| drop(checkpoint.read(tensor).unwrap()));
            }
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(checkpoint) = read(name, flipped) {
                checkpoint.tensors().iter().for_each(|tensor| drop(checkpoint.read(tensor).unwrap()));
            }
        }
    }
}

#[test]
fn onnx_numbers_in_a_file_beside_it_are_read_and_never_outside_its_folder() {
    let (tensors, folder) = (tensors(), tempfile::tempdir().unwrap());
    let inner = folder.path().join("model");
    fs::create_dir(&inner).unwrap();
    let open = |location: &str| {
        fs::write(inner.join("x.onnx"), onnx(&tensors, OnnxPlace::External(location)).0).unwrap();
        Checkpoint::open(&inner.join("x.onnx"))
    };
    let data = onnx(&tensors, OnnxPlace::External("")).1;
    fs::write(inner.join("x.data"), &data).unwrap();
    fs::write(folder.path().join("outside"), &data).unwrap();
    holds(&open("x.data").unwrap(), &tensors);
    holds(&open("./x.data").unwrap(), &tensors);
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("outside"), inner.join("link")).unwrap();
    let absolute = folder.path().join("outside").display().to_string();
    for location in [
        "../outside",
        &absolute,
        "",
        "a/../../outside",
        #[cfg(unix)]
        "link",
    ] {
        let refused = open(location).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage, "{location}");
        assert!(told(&refused).contains("does not lie in the folder"), "{location}: {refused:?}");
    }
    fs::write(inner.join("x.data"), &data[..data.len() - 1]).unwrap();
    let short = open("x.data").unwrap_err();
    assert!(told(&short).contains("tensor `c.weight`") && told(&short).contains("end after"), "{short:?}");
    assert_eq!(open("missing.data").unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn models_that_cannot_be_read_by_range_are_refused_by_tensor() {
    let halves = onnx(&tensors()[1..2], OnnxPlace::Raw).0;
    // `int32_data` (field 5) in place of `raw_data` (field 9).
    let as_numbers: Vec<u8> = halves.iter().map(|&byte| if byte == 9 << 3 | 2 { 5 << 3 | 2 } else { byte }).collect();
    let mut quantised = gguf(&tensors()[..1]);
    let at = quantised.windows(8).position(|bytes| bytes == b"a.weight").unwrap() + 8 + 4 + 16;
    quantised[at] = 2;
    let two = [tensors(), tensors()].concat();
    all_refused(vec![
        Case(
            "numbers one by one",
            "x.onnx",
            as_numbers,
            ErrorKind::Unsupported,
            "tensor `b.bias`: its numbers are written one by one",
        ),
        Case("quantised", "x.gguf", quantised, ErrorKind::Unsupported, "tensor `a.weight` is quantised (ggml type 2)"),
        Case(
            "twice in ONNX",
            "x.onnx",
            onnx(&two, OnnxPlace::Raw).0,
            ErrorKind::Damaged,
            "tensor `a.weight` is there twice",
        ),
        Case("twice in GGUF", "x.gguf", gguf(&two), ErrorKind::Damaged, "tensor `a.weight` is there twice"),
        Case(
            "twice in a state dict",
            "x.pth",
            torch_archive(&two, &[]),
            ErrorKind::Damaged,
            "tensor `a.weight` is there twice",
        ),
        Case("no model", "x.onnx", b"this is no model".to_vec(), ErrorKind::Damaged, "no field of protobuf"),
        Case("old GGUF", "x.gguf", b"GGUF\x01\0\0\0".to_vec(), ErrorKind::Unsupported, "version 1"),
        Case(
            "tensors that are not there",
            "x.gguf",
            [b"GGUF\x03\0\0\0".to_vec(), vec![0xff; 16]].concat(),
            ErrorKind::Damaged,
            "are claimed",
        ),
        Case(
            "shards in memory",
            "x.index.json",
            br#"{"weight_map": {"a": "b"}}"#.to_vec(),
            ErrorKind::Usage,
            "from memory",
        ),
    ]);
}

#[test]
fn shards_are_one_checkpoint_and_every_tensor_that_is_not_where_it_should_be_is_named() {
    let (tensors, folder) = (tensors(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    fs::write(path("1.safetensors"), safetensors(&tensors[..2])).unwrap();
    fs::write(path("2.bin"), torch_archive(&tensors[2..], &[])).unwrap();
    let index = |map: &str| {
        fs::write(path("model.safetensors.index.json"), format!(r#"{{"metadata": {{}}, "weight_map": {{{map}}}}}"#))
            .unwrap();
        Checkpoint::open(folder.path())
    };
    let whole = index(r#""a.weight": "1.safetensors", "b.bias": "1.safetensors", "c.weight": "2.bin""#).unwrap();
    holds(&whole, &tensors);
    assert_eq!((whole.form(), whole.paths().count()), (Form::Shards, 3));
    let wrong = index(r#""a.weight": "1.safetensors", "b.bias": "2.bin", "d": "2.bin""#).unwrap_err();
    let told_wrong = told(&wrong);
    assert_eq!(wrong.kind(), ErrorKind::Mismatch);
    for clause in [
        "tensor `b.bias` is in shard `1.safetensors`, not by the index",
        "tensor `b.bias` is not in shard `2.bin`",
        "tensor `d` is not in shard `2.bin`",
        "tensor `c.weight` is in shard `2.bin`, not by the index",
    ] {
        assert!(told_wrong.contains(clause), "{clause}: {told_wrong}");
    }
    let outside = index(r#""a": "../1.safetensors""#).unwrap_err();
    assert!(told(&outside).contains("does not lie in the folder"), "{outside:?}");
    let nested = index(r#""a": "model.safetensors.index.json""#).unwrap_err();
    assert!(told(&nested).contains("is an index itself"), "{nested:?}");
}

#[test]
fn what_is_no_checkpoint_is_refused_by_name() {
    let empty = [&2u64.to_le_bytes()[..], b"{}"].concat();
    let damaged = ErrorKind::Damaged;
    all_refused(vec![
        Case("empty", "x.safetensors", vec![], damaged, "is 0 bytes long"),
        Case("seven bytes", "x.safetensors", vec![0; 7], damaged, "is 7 bytes long"),
        Case("longer than itself", "x.safetensors", u64::MAX.to_le_bytes().to_vec(), damaged, "longer than the file"),
        Case("text", "x.safetensors", b"this is no safetensors file".to_vec(), damaged, "longer than the file"),
        Case("bytes left over", "x.safetensors", [&empty[..], &[0]].concat(), damaged, "its tensors end"),
        Case("a picture", "x.pth", b"\x89PNG\r\n\x1a\n0000".to_vec(), damaged, "as a safetensors file"),
    ]);
    assert!(read("x.safetensors", empty).unwrap().tensors().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let missing = Checkpoint::open(folder.path()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Io);
    assert!(missing.to_string().contains("model.safetensors"), "{missing}");
}
