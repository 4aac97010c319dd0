use super::*;

/// A safetensors file with this JSON and this many bytes of data, counting up from 0.
fn file(json: &str, data_bytes: u8) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.extend(0..data_bytes);
    bytes
}

const TWO: &str = r#"{"__metadata__":{"format":"pt"},
    "b":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},
    "a":{"dtype":"F32","shape":[1,2],"data_offsets":[6,14]}}"#;

#[test]
fn finds_tensors_in_byte_order_of_names() {
    let bytes = file(TWO, 14);
    let parsed = TensorFile::parse(&bytes).unwrap();
    let names: Vec<_> = parsed.tensors().iter().map(TensorInfo::name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(parsed.metadata()["format"], "pt");
    assert_eq!(parsed.size_bytes(), bytes.len());
    let a = parsed.tensor("a").unwrap();
    assert_eq!((a.dtype(), a.shape(), a.element_count()), (StoredDtype::F32, &[1, 2][..], 2));
    assert_eq!(a.bytes(&bytes).unwrap(), [6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!(a.range().start, parsed.data_offset() + 6);
    assert!(parsed.tensor("c").is_none());
}

#[test]
fn reports_alignment_from_the_start_of_the_file() {
    for padding in 0..8 {
        let bytes = file(&format!("{TWO}{}", " ".repeat(padding)), 14);
        let parsed = TensorFile::parse(&bytes).unwrap();
        for tensor in parsed.tensors() {
            let size_bytes = tensor.dtype().size_bits() as usize / 8;
            assert_eq!(tensor.is_aligned(), tensor.range().start % size_bytes == 0);
        }
    }
}

#[test]
fn takes_a_file_without_tensors_and_tensors_without_elements() {
    assert!(TensorFile::parse(&file("{}", 0)).unwrap().tensors().is_empty());
    let empty = r#"{"z":{"dtype":"F32","shape":[0,7],"data_offsets":[2,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
    let bytes = file(empty, 2);
    assert_eq!(TensorFile::parse(&bytes).unwrap().tensor("z").unwrap().bytes(&bytes).unwrap(), [0u8; 0]);
}

#[test]
fn refuses_the_file_cut_at_every_length() {
    let bytes = file(TWO, 14);
    for length in 0..bytes.len() {
        let error = TensorFile::parse(&bytes[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "cut at {length}: {error}");
        assert!(error.help().is_some());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(TensorFile::parse(&longer).unwrap_err().to_string().contains("its tensors end at byte"));
}

#[test]
fn survives_every_flipped_bit() {
    let bytes = file(TWO, 14);
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        if let Ok(parsed) = TensorFile::parse(&flipped) {
            assert!(parsed.tensors().iter().all(|tensor| tensor.bytes(&flipped).is_ok()));
        }
    }
}

#[test]
fn refuses_hostile_header_lengths() {
    for length in [u64::MAX, u64::MAX - 7, i64::MAX as u64, u64::from(u32::MAX), 200] {
        let mut bytes = file(TWO, 14);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        let error = TensorFile::parse(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{length}: {error}");
    }
    let limits = Limits { header_bytes_max: 10, ..Limits::default() };
    let error = TensorFile::parse_within(&file(TWO, 14), &limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().ends_with("at most 10 are read here"), "{error}");
}

#[test]
fn names_what_is_wrong_with_a_header() {
    struct Case {
        entries: &'static str,
        kind: ErrorKind,
        message: &'static str,
    }
    let damaged = |entries, message| Case { entries, kind: ErrorKind::Damaged, message };
    // Each over 8 bytes of data.
    let cases = [
        damaged(
            r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}"#,
            "tensor `b`: overlaps the tensor before it: it starts at byte",
        ),
        damaged(
            r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}"#,
            "tensor `b`: leaves a hole: it starts at byte",
        ),
        damaged(
            r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#,
            "tensor `a`: leaves a hole: it starts at byte",
        ),
        damaged(
            r#""a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#,
            "tensor `a`: shape [3] of F32 takes 12 bytes, its range has 8",
        ),
        damaged(
            r#""a":{"dtype":"F4","shape":[15],"data_offsets":[0,8]}"#,
            "tensor `a`: shape [15] of F4 takes 60 bits, which are no whole bytes, its range has 8",
        ),
        damaged(
            r#""a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#,
            "tensor `a`: shape [4294967296, 4294967296] of F32 takes more bytes than can be counted, its range has 8",
        ),
        damaged(
            r#""a":{"dtype":"U8","shape":[8],"data_offsets":[8,0]}"#,
            "tensor `a`: claims bytes 8..0 of the data, which is 8 bytes long",
        ),
        damaged(
            r#""a":{"dtype":"U8","shape":[8],"data_offsets":[18446744073709551607,18446744073709551615]}"#,
            "tensor `a`: claims bytes 18446744073709551607..18446744073709551615 of the data, which is 8 bytes long",
        ),
        Case {
            entries: r#""a":{"dtype":"F128","shape":[1],"data_offsets":[0,8]}"#,
            kind: ErrorKind::Unsupported,
            message: "tensor `a`: dtype `F128` is not known here",
        },
    ];
    for case in cases {
        let error = TensorFile::parse(&file(&format!("{{{}}}", case.entries), 8)).unwrap_err();
        assert_eq!(error.kind(), case.kind, "{}: {error}", case.entries);
        assert!(error.to_string().starts_with(case.message), "{}: {error}", case.entries);
    }
}

#[test]
fn keeps_what_is_wrong_with_the_json_as_the_cause() {
    let a = r#""a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}"#;
    let cases = [
        (format!("{{{a},{a}}}"), "entry `a` is there twice"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(), "entry `__metadata__` is there twice"),
        (r#"{"__metadata__":{"k":1}}"#.to_owned(), "entry `__metadata__`: invalid type: integer `1`"),
        (
            r#"{"a":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}}"#.to_owned(),
            "entry `a`: invalid value: integer `-8`",
        ),
        (r#"{"a":{"dtype":"U8","shape":[8]}}"#.to_owned(), "entry `a`: missing field `data_offsets`"),
        ("[]".to_owned(), "invalid type: sequence, expected an object with an entry per tensor"),
        ("{} {}".to_owned(), "trailing characters"),
        (String::new(), "EOF while parsing"),
        ("[".repeat(4000), "invalid type: sequence"),
    ];
    for (json, cause) in cases {
        let error = TensorFile::parse(&file(&json, 8)).unwrap_err();
        let found = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(found.starts_with(cause), "{json}: {found}");
    }
}

#[test]
fn bytes_of_another_file_are_an_error_and_no_panic() {
    let mut bytes = file(TWO, 14);
    let parsed = TensorFile::parse(&bytes).unwrap();
    let a = parsed.tensor("a").unwrap();
    bytes.pop();
    assert_eq!(a.bytes(&bytes).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(a.bytes_mut(&mut bytes).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn the_header_alone_tells_what_the_whole_file_tells() {
    let bytes = file(TWO, 14);
    let limits = Limits::default();
    let end = TensorFile::header_end(*bytes.first_chunk().unwrap(), bytes.len(), &limits).unwrap();
    let whole = TensorFile::parse(&bytes).unwrap();
    assert_eq!(end, whole.data_offset());
    assert_eq!(TensorFile::parse_start(&bytes[..end], bytes.len(), &limits).unwrap(), whole);
    for (start, size_bytes) in [(&bytes[..end - 1], bytes.len()), (&bytes[..7], bytes.len()), (&bytes[..end], 20)] {
        let error = TensorFile::parse_start(start, size_bytes, &limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
