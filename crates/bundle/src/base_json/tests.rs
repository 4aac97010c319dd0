use super::*;
use crate::tensors::{NamedTensor, write};
use crate::{Preprocessing, Resize, argmax};

/// A tiny model in byte order of names: two tensors to edit and one head over two features.
pub(crate) const MODEL: [NamedTensor<'static>; 4] = [
    NamedTensor { name: "a.weight", dtype: StoredDtype::F32, shape: &[2, 1], bytes: &[0, 0, 128, 63, 0, 0, 0, 64] },
    NamedTensor { name: "b.weight", dtype: StoredDtype::Bf16, shape: &[2], bytes: &[1, 2, 3, 4] },
    NamedTensor { name: "heads.x.bias", dtype: StoredDtype::F32, shape: &[2], bytes: &[0; 8] },
    NamedTensor {
        name: "heads.x.weight",
        dtype: StoredDtype::F32,
        shape: &[2, 2],
        bytes: &[0, 0, 128, 63, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64],
    },
];

pub(crate) fn model(tensors: &[NamedTensor<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, tensors).unwrap();
    bytes
}

fn draft() -> BaseDraft {
    BaseDraft {
        name: "tiny".to_owned(),
        network: serde_json::json!({"family": "vit", "width": 2, "layer_norm_epsilon": 1e-6}),
        interface: Interface::Pictures(Pictures {
            preprocessing: Preprocessing::new(1, (2, 3), Resize::Bilinear, vec![0.1], vec![0.3]).unwrap(),
            feature_width: 2,
        }),
        stands_for: None,
        heads: vec![HeadEntry {
            name: "x".to_owned(),
            labels: vec!["left".to_owned(), "right".to_owned()],
            weight: "heads.x.weight".to_owned(),
            bias: "heads.x.bias".to_owned(),
        }],
        editable: vec!["a.weight".to_owned(), "b.weight".to_owned()],
    }
}

/// A bundle's description, and the bytes of its `model.safetensors`.
pub(crate) fn bundle() -> (Base, Vec<u8>) {
    let bytes = model(&MODEL);
    let base = Base::describe(draft(), &TensorFile::parse(&bytes).unwrap(), &bytes).unwrap();
    (base, bytes)
}

#[test]
fn what_is_written_is_read_back_and_written_the_same() {
    let (base, _) = bundle();
    let json = base.to_json();
    let read = Base::parse(json.as_bytes()).unwrap();
    assert_eq!(read, base);
    assert_eq!(read.to_json(), json);
    assert!(json.contains("\"mean\": [\n      0.1\n    ]"), "{json}");
    assert_eq!(read.tensor("b.weight").unwrap().dtype, StoredDtype::Bf16);
    assert!(read.is_editable("a.weight") && !read.is_editable("heads.x.bias"));
}

#[test]
fn the_fingerprint_is_that_of_the_file() {
    let (base, bytes) = bundle();
    let file = TensorFile::parse(&bytes).unwrap();
    assert_eq!(base.fingerprint(), digest::fingerprint_of(&file, &bytes).unwrap());
}

#[test]
fn a_head_comes_out_of_the_file() {
    let (base, bytes) = bundle();
    let file = TensorFile::parse(&bytes).unwrap();
    let head = base.head("x", &file, &bytes).unwrap();
    assert_eq!(argmax(&head.logits(&[3.0, 1.0]).unwrap()), Some(0));
    assert_eq!(argmax(&head.logits(&[3.0, 2.0]).unwrap()), Some(1));
    let error = base.head("y", &file, &bytes).unwrap_err();
    assert_eq!(error.to_string(), "head `y`: the base model has no head of this name");
    assert_eq!(error.help(), Some("heads of this base model: `x`"));
}

#[test]
fn refuses_the_text_cut_at_every_length() {
    let json = bundle().0.to_json();
    // Without the final newline it is whole.
    for length in 0..json.len() - 1 {
        assert_eq!(Base::parse(&json.as_bytes()[..length]).unwrap_err().kind(), ErrorKind::Damaged, "{length}");
    }
}

#[test]
fn a_newer_version_is_unsupported_even_with_unknown_fields() {
    let json = bundle().0.to_json().replace("\"version\": 1", "\"version\": 3, \"quantum\": true");
    let error = Base::parse(json.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "base.json: version is 3, this program reads 1 to 2");
    assert!(error.help().unwrap().starts_with("update taskvec"));
}

#[test]
fn names_what_contradicts_itself() {
    let json = bundle().0.to_json();
    let fingerprint = bundle().0.fingerprint().to_string();
    let cases = [
        ("\"taskvec base\"", "\"gguf\"", "base.json: format is `gguf`, expected `taskvec base`"),
        ("\"tiny\"", "\"ti\\nny\"", "base.json: base model \"ti\\nny\" is no name"),
        ("\"family\"", "\"kind\"", "base.json: `network` has no `family`"),
        ("\"feature_width\": 2", "\"feature_width\": 0", "base.json: `feature_width` is 0"),
        (
            "\"feature_width\": 2",
            "\"feature_width\": 3",
            "base.json: head `x`: its tensor `heads.x.weight` is F32 [2, 2], expected F32 [2, 3]",
        ),
        (
            "\"weight\": \"heads.x.weight\"",
            "\"weight\": \"a.weight\"",
            "base.json: head `x`: its tensor `a.weight` does not start with `heads.`",
        ),
        (
            "\"weight\": \"heads.x.weight\"",
            "\"weight\": \"heads.w\"",
            "base.json: head `x`: its tensor `heads.w` is not among the tensors",
        ),
        ("\"right\"", "\"\"", "base.json: label \"\" is no name"),
        (
            "\"a.weight\",\n",
            "\"b.weight\",\n",
            "base.json: editable `b.weight` stands after a name that is not smaller",
        ),
        (
            "\"a.weight\",\n    \"b.weight\"",
            "\"a.weight\", \"c\"",
            "base.json: editable tensor `c`: is not among the tensors",
        ),
        (
            "\"a.weight\",\n    \"b.weight\"",
            "\"heads.x.bias\"",
            "base.json: editable tensor `heads.x.bias`: belongs to a head",
        ),
        (
            "\"name\": \"b.weight\"",
            "\"name\": \"a.weight\"",
            "base.json: tensor `a.weight` stands after a name that is not smaller",
        ),
        ("\"bf16\"", "\"BF16\"", "base.json: tensor `b.weight`: dtype `BF16` is not known here"),
        ("\"bf16\"", "\"f16\"", "base.json: `fingerprint` is"),
        ("\"sha256\": \"", "\"sha256\": \"z", "base.json: tensor `a.weight`: `sha256` is `z"),
        (fingerprint.as_str(), "00", "base.json: `fingerprint` is `00`, expected 64 hexadecimal digits"),
        ("\"std\"", "\"deviation\"", "base.json: is no description of a base model"),
        ("\"editable\"", "\"extra\": 1, \"editable\"", "base.json: is no description of a base model"),
    ];
    for (from, to, message) in cases {
        assert!(json.contains(from), "{from}");
        let error = Base::parse(json.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(message), "{to}: {error}");
    }
}

#[test]
fn a_draft_that_does_not_fit_is_the_callers_mistake() {
    let bytes = model(&MODEL);
    let file = TensorFile::parse(&bytes).unwrap();
    let describe = |change: fn(&mut BaseDraft)| {
        let mut draft = draft();
        change(&mut draft);
        Base::describe(draft, &file, &bytes).unwrap_err()
    };
    for error in [
        describe(|draft| draft.editable.reverse()),
        describe(|draft| draft.heads.push(draft.heads[0].clone())),
        describe(|draft| draft.heads[0].labels.clear()),
        describe(|draft| draft.network = serde_json::Value::Null),
    ] {
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}

#[test]
fn reads_from_a_folder_within_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let error = Base::read(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.help().unwrap().starts_with("a base bundle is a folder with"));
    let (base, _) = bundle();
    let json = base.to_json();
    std::fs::write(folder.path().join(BASE_FILE), &json).unwrap();
    assert_eq!(Base::read(folder.path()).unwrap(), base);
    let within = |bytes: usize| Limits { base_json_bytes_max: bytes as u64, ..Limits::default() };
    assert!(Base::read_within(folder.path(), &within(json.len())).is_ok());
    let error = Base::read_within(folder.path(), &within(json.len() - 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}
