//! Packs that are wrong in one way, with all checksums right: each has its kind and its offset.

use taskvec_pack::{ErrorClass, ErrorKind, Limits, Pack};

use crate::forge::{from_sections, seal, seal_header, section, signed, unsigned, with_section};

const MANIFEST: usize = 0;
const TENSORS: usize = 1;
const ENTRIES: usize = 2;
const HEAD: usize = 3;
const PREPROCESSING: usize = 4;
const PROBES: usize = 5;

/// A change of the pack of `forge::everything`, and what must be found. Offsets count from the section at `place`.
struct Case {
    what: &'static str,
    place: usize,
    change: fn(&mut Vec<u8>),
    kind: ErrorKind,
    offset: usize,
}

fn check(cases: &[Case]) {
    let original = unsigned();
    let mut wrong = Vec::new();
    for Case { what, place, change, kind, offset } in cases {
        let (start, size) = section(&original, *place);
        let mut contents = original[start..start + size].to_vec();
        change(&mut contents);
        let bytes = with_section(&original, *place, &contents);
        let found = Pack::read(&bytes, &Limits::default()).map(|_| ()).map_err(|error| (error.kind, error.offset));
        let expected = Err((*kind, (section(&bytes, *place).0 + offset) as u64));
        if found != expected {
            wrong.push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn put(at: usize, value: &[u8], bytes: &mut [u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn nan(at: usize, bytes: &mut [u8]) {
    put(at, &f32::NAN.to_le_bytes(), bytes);
}

#[test]
fn wrong_manifests() {
    use ErrorKind::{Count, Number, Order, Text, Trailing, Truncated};
    // name at 64: 6 "digits", 71: 2 pairs, 72: 4 "data" 0, 78: 7 "licence" 3 "MIT".
    let cases = [
        Case { what: "alpha NaN", place: MANIFEST, change: |m| nan(32, m), kind: Number, offset: 32 },
        Case {
            what: "alpha infinite",
            place: MANIFEST,
            change: |m| put(32, &f32::INFINITY.to_le_bytes(), m),
            kind: Number,
            offset: 32,
        },
        Case {
            what: "alpha below its range",
            place: MANIFEST,
            change: |m| put(32, &0.1_f32.to_le_bytes(), m),
            kind: Number,
            offset: 36,
        },
        Case {
            what: "alpha above its range",
            place: MANIFEST,
            change: |m| put(32, &1.5_f32.to_le_bytes(), m),
            kind: Number,
            offset: 40,
        },
        Case {
            what: "density above 1",
            place: MANIFEST,
            change: |m| put(44, &1.5_f32.to_le_bytes(), m),
            kind: Number,
            offset: 44,
        },
        Case {
            what: "density below 0",
            place: MANIFEST,
            change: |m| put(44, &(-0.5_f32).to_le_bytes(), m),
            kind: Number,
            offset: 44,
        },
        Case { what: "block of 0 bytes", place: MANIFEST, change: |m| put(60, &[0; 4], m), kind: Number, offset: 60 },
        Case { what: "row with bytes", place: MANIFEST, change: |m| put(58, &[2, 0], m), kind: Number, offset: 60 },
        Case { what: "line feed in the name", place: MANIFEST, change: |m| put(66, b"\n", m), kind: Text, offset: 65 },
        Case { what: "name in Latin-1", place: MANIFEST, change: |m| put(66, b"\xe4", m), kind: Text, offset: 65 },
        Case { what: "empty name", place: MANIFEST, change: |m| drop(m.splice(64..71, [0])), kind: Text, offset: 65 },
        Case {
            what: "name beyond the section",
            place: MANIFEST,
            change: |m| put(64, &[100], m),
            kind: Truncated,
            offset: 90,
        },
        Case { what: "fifty pairs", place: MANIFEST, change: |m| put(71, &[50], m), kind: Count, offset: 71 },
        Case { what: "one pair", place: MANIFEST, change: |m| put(71, &[1], m), kind: Trailing, offset: 78 },
        Case { what: "keys that descend", place: MANIFEST, change: |m| put(73, b"zata", m), kind: Order, offset: 79 },
        Case { what: "half a manifest", place: MANIFEST, change: |m| m.truncate(40), kind: Truncated, offset: 40 },
    ];
    check(&cases);
}

#[test]
fn wrong_tensor_records() {
    use ErrorKind::{Count, Encoding, Limit, Number, Order, Text, Trailing, Truncated, Varint};
    // Record of `a.rice`: 1: 6 "a.rice", 8: dtype, 9: rank 2, 10: 40, 11: 10, 12: index, 13: value encoding, 14: 4 entries,
    // 15: index bytes, 16: value bytes. Then 17: 6 "b.rows", 24: dtype, 25: rank, 26: 6, 27: 4, 28, 29, 30: 8, 31, 32, errors.
    let cases = [
        Case { what: "four tensors", place: TENSORS, change: |t| put(0, &[4], t), kind: Trailing, offset: 71 },
        Case { what: "six tensors", place: TENSORS, change: |t| put(0, &[6], t), kind: Truncated, offset: 98 },
        Case { what: "a hundred tensors", place: TENSORS, change: |t| put(0, &[100], t), kind: Count, offset: 0 },
        Case {
            what: "long varint",
            place: TENSORS,
            change: |t| drop(t.splice(0..1, [0x85, 0])),
            kind: Varint,
            offset: 0,
        },
        Case { what: "tab in a name", place: TENSORS, change: |t| put(3, b"\t", t), kind: Text, offset: 2 },
        Case { what: "equal names", place: TENSORS, change: |t| put(18, b"a.rice", t), kind: Order, offset: 18 },
        Case { what: "names that descend", place: TENSORS, change: |t| put(2, b"x", t), kind: Order, offset: 18 },
        Case { what: "unknown dtype", place: TENSORS, change: |t| put(8, &[9], t), kind: Encoding, offset: 8 },
        Case { what: "rank 9", place: TENSORS, change: |t| put(9, &[9], t), kind: Count, offset: 9 },
        Case { what: "dimension 0", place: TENSORS, change: |t| put(11, &[0], t), kind: Number, offset: 11 },
        Case {
            what: "2^63 elements",
            place: TENSORS,
            change: |t| drop(t.splice(9..12, [1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1])),
            kind: Number,
            offset: 10,
        },
        Case {
            what: "2^42 elements",
            place: TENSORS,
            change: |t| drop(t.splice(9..12, [1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1])),
            kind: Limit,
            offset: 9,
        },
        Case {
            what: "unknown index encoding",
            place: TENSORS,
            change: |t| put(12, &[0], t),
            kind: Encoding,
            offset: 12,
        },
        Case {
            what: "unknown value encoding",
            place: TENSORS,
            change: |t| put(13, &[7], t),
            kind: Encoding,
            offset: 13,
        },
        Case { what: "no entries", place: TENSORS, change: |t| put(14, &[0], t), kind: Count, offset: 14 },
        Case {
            what: "more entries than elements",
            place: TENSORS,
            change: |t| drop(t.splice(14..15, [0x91, 3])),
            kind: Count,
            offset: 14,
        },
        Case {
            what: "index beyond the entries",
            place: TENSORS,
            change: |t| drop(t.splice(15..16, [0xff, 1])),
            kind: Count,
            offset: 15,
        },
        Case {
            what: "values beyond the entries",
            place: TENSORS,
            change: |t| drop(t.splice(16..17, [0xff, 1])),
            kind: Count,
            offset: 16,
        },
        Case { what: "error NaN", place: TENSORS, change: |t| nan(33, t), kind: Number, offset: 33 },
        Case {
            what: "rms above max",
            place: TENSORS,
            change: |t| put(37, &1.0_f32.to_le_bytes(), t),
            kind: Number,
            offset: 37,
        },
        Case {
            what: "negative rms",
            place: TENSORS,
            change: |t| put(37, &(-1.0_f32).to_le_bytes(), t),
            kind: Number,
            offset: 37,
        },
    ];
    check(&cases);
}

#[test]
fn wrong_entries() {
    let original = unsigned();
    let pack = Pack::read(&original, &Limits::default()).unwrap();
    let start = section(&original, ENTRIES).0;
    let tensors: Vec<(usize, usize)> = pack
        .tensors()
        .scan(0, |at, tensor| {
            let index = *at;
            let value = index + tensor.index_bytes().len();
            *at = value + tensor.value_bytes().len();
            Some((index, value))
        })
        .collect();
    let mut wrong = Vec::new();
    let mut refuse = |what: &str, at: usize, bytes: &[u8], kind: ErrorKind, offset: usize| {
        let mut changed = original.clone();
        put(start + at, bytes, &mut changed);
        let found = Pack::read(&seal(changed), &Limits::default()).map(|_| ()).map_err(|e| (e.kind, e.offset));
        let expected = Err((kind, (start + offset) as u64));
        if found != expected {
            wrong.push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    };
    let [(rice, f32), (rows, bf16), (bitmap, distances), (_, scalar), (counted, int8)] = tensors[..] else {
        panic!("five tensors")
    };
    let nan = f32::NAN.to_le_bytes();
    refuse("f32 NaN", f32 + 4, &nan, ErrorKind::Number, f32 + 4);
    refuse("f32 infinite", f32 + 12, &f32::INFINITY.to_le_bytes(), ErrorKind::Number, f32 + 12);
    refuse("bf16 NaN", bf16 + 2, &nan[2..], ErrorKind::Number, bf16 + 2);
    refuse("scale NaN", int8, &nan, ErrorKind::Number, int8);
    refuse("scale negative", int8, &(-1.0_f32).to_le_bytes(), ErrorKind::Number, int8);
    refuse("scale too large", int8, &f32::MAX.to_le_bytes(), ErrorKind::Number, int8);
    refuse("code -128", int8 + 6, &[0x80], ErrorKind::Number, int8 + 6);
    refuse("index beyond the tensor", rice, &[0, 0, 0, 0], ErrorKind::Truncated, rice);
    refuse("granule of 1", rows, &[1], ErrorKind::Count, rows);
    refuse("bits too many", bitmap, &[0xff], ErrorKind::Count, bitmap);
    refuse("form unknown", distances, &[0x80], ErrorKind::Code, distances);
    refuse("table incomplete", scalar + 3, &[0], ErrorKind::Code, scalar);
    refuse("counts without a code", counted, &[0; 5], ErrorKind::Code, counted);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    check(&[Case {
        what: "an entry too many",
        place: ENTRIES,
        change: |e| e.push(0),
        kind: ErrorKind::Trailing,
        offset: pack.tensors().map(|t| t.index_bytes().len() + t.value_bytes().len()).sum(),
    }]);
}

#[test]
fn wrong_heads() {
    use ErrorKind::{Count, Encoding, Number, Padding, Text, Trailing, Truncated};
    // 12: 4 "zero", 17: 3 bytes of label, 21: four weights, 37: two biases, 45: end.
    let cases = [
        Case { what: "no features", place: HEAD, change: |h| put(0, &[0; 4], h), kind: Count, offset: 0 },
        Case { what: "no classes", place: HEAD, change: |h| put(4, &[0; 4], h), kind: Count, offset: 4 },
        Case { what: "more classes than bytes", place: HEAD, change: |h| put(4, &[200], h), kind: Count, offset: 4 },
        Case { what: "lossless weights", place: HEAD, change: |h| put(8, &[4], h), kind: Encoding, offset: 8 },
        Case { what: "unknown weights", place: HEAD, change: |h| put(8, &[9], h), kind: Encoding, offset: 8 },
        Case { what: "byte that is not zero", place: HEAD, change: |h| put(10, &[1], h), kind: Padding, offset: 10 },
        Case { what: "control character", place: HEAD, change: |h| put(14, &[0x7f], h), kind: Text, offset: 13 },
        Case { what: "weight NaN", place: HEAD, change: |h| nan(25, h), kind: Number, offset: 25 },
        Case { what: "bias NaN", place: HEAD, change: |h| nan(41, h), kind: Number, offset: 41 },
        Case { what: "bias missing", place: HEAD, change: |h| h.truncate(41), kind: Truncated, offset: 41 },
        Case { what: "a byte left", place: HEAD, change: |h| h.push(0), kind: Trailing, offset: 45 },
        Case { what: "endless weights", place: HEAD, change: |h| put(0, &[0xff; 4], h), kind: Truncated, offset: 45 },
    ];
    check(&cases);
}

#[test]
fn wrong_preprocessings_and_probes() {
    use ErrorKind::{Count, Encoding, Number, Order, Padding, Trailing, Truncated};
    let cases = [
        Case { what: "no channels", place: PREPROCESSING, change: |p| put(0, &[0], p), kind: Count, offset: 0 },
        Case { what: "no width", place: PREPROCESSING, change: |p| put(8, &[0], p), kind: Count, offset: 8 },
        Case {
            what: "too many pixels",
            place: PREPROCESSING,
            change: |p| put(0, &[255; 12], p),
            kind: Count,
            offset: 0,
        },
        Case { what: "unknown resize", place: PREPROCESSING, change: |p| put(12, &[2], p), kind: Encoding, offset: 12 },
        Case {
            what: "byte that is not zero",
            place: PREPROCESSING,
            change: |p| put(15, &[2], p),
            kind: Padding,
            offset: 15,
        },
        Case { what: "mean NaN", place: PREPROCESSING, change: |p| nan(16, p), kind: Number, offset: 16 },
        Case { what: "std 0", place: PREPROCESSING, change: |p| put(20, &[0; 4], p), kind: Number, offset: 20 },
        Case { what: "std missing", place: PREPROCESSING, change: |p| p.truncate(20), kind: Truncated, offset: 20 },
        // 16: engine 0, 24: engine 2, 32: 12 pixels, 44: 4 outputs, 60: end.
        Case { what: "no probes", place: PROBES, change: |p| put(0, &[0], p), kind: Count, offset: 0 },
        Case { what: "no output", place: PROBES, change: |p| put(8, &[0], p), kind: Count, offset: 8 },
        Case { what: "unknown inputs", place: PROBES, change: |p| put(12, &[3], p), kind: Encoding, offset: 12 },
        Case { what: "no tolerance", place: PROBES, change: |p| put(13, &[0], p), kind: Count, offset: 13 },
        Case {
            what: "engines that do not ascend",
            place: PROBES,
            change: |p| put(24, &[0], p),
            kind: Order,
            offset: 24,
        },
        Case { what: "byte that is not zero", place: PROBES, change: |p| put(19, &[1], p), kind: Padding, offset: 19 },
        Case {
            what: "negative tolerance",
            place: PROBES,
            change: |p| put(20, &(-1.0_f32).to_le_bytes(), p),
            kind: Number,
            offset: 20,
        },
        Case { what: "another input size", place: PROBES, change: |p| put(4, &[7], p), kind: Count, offset: 4 },
        Case { what: "another output size", place: PROBES, change: |p| put(8, &[3], p), kind: Count, offset: 8 },
        Case { what: "three probes", place: PROBES, change: |p| put(0, &[3], p), kind: Truncated, offset: 60 },
        Case { what: "one probe", place: PROBES, change: |p| put(0, &[1], p), kind: Trailing, offset: 46 },
        Case { what: "output NaN", place: PROBES, change: |p| nan(48, p), kind: Number, offset: 48 },
    ];
    check(&cases);
    let sections: Vec<(u32, Vec<u8>)> = sections_of(&unsigned()).into_iter().filter(|(kind, _)| *kind != 5).collect();
    let bytes = from_sections(&sections);
    let error = Pack::read(&bytes, &Limits::default()).unwrap_err();
    let probes = section(&bytes, 4).0 as u64;
    assert_eq!((error.kind, error.offset), (Count, probes + 12), "pixels without preprocessing");
}

fn sections_of(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    (1..=6)
        .zip(0..)
        .map(|(kind, place)| {
            (kind, {
                let (start, size) = section(bytes, place);
                bytes[start..start + size].to_vec()
            })
        })
        .collect()
}

#[test]
fn wrong_headers() {
    let original = unsigned();
    let mut wrong = Vec::new();
    let mut refuse = |what: &str, kind: ErrorKind, offset: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = original.clone();
        change(&mut bytes);
        let bytes = seal_header(bytes);
        let found = Pack::read(&bytes, &Limits::default()).map(|_| ()).map_err(|e| (e.kind, e.offset));
        if found != Err((kind, offset as u64)) {
            wrong.push(format!("{what}: expected {kind:?} at {offset}, found {found:?}"));
        }
    };
    refuse("newer major version", ErrorKind::Version, 8, &|b| put(8, &[2], b));
    refuse("major version 0", ErrorKind::Version, 8, &|b| put(8, &[0], b));
    refuse("content not aligned", ErrorKind::Layout, 16, &|b| b[16] += 1);
    refuse("content too short", ErrorKind::Layout, 16, &|b| put(16, &8_u64.to_le_bytes(), b));
    refuse("content too long", ErrorKind::Truncated, original.len(), &|b| put(16, &(1_u64 << 40).to_le_bytes(), b));
    refuse("header byte not zero", ErrorKind::Padding, 29, &|b| b[29] = 1);
    refuse("kinds not ascending", ErrorKind::Order, 56, &|b| b[56] = 1);
    refuse("unknown required section", ErrorKind::Section, 152, &|b| b[152] = 7);
    refuse("gap before a section", ErrorKind::Layout, 64, &|b| b[64] += 8);
    refuse("overlap", ErrorKind::Layout, 64, &|b| b[64] -= 8);
    refuse("section beyond the content", ErrorKind::Layout, 168, &|b| put(168, &u64::MAX.to_le_bytes(), b));
    refuse("last section too short", ErrorKind::Layout, 16, &|b| put(168, &[1], b));
    refuse("checksum of a section", ErrorKind::Checksum, section(&original, 0).0, &|b| b[36] ^= 1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let mut many = original.clone();
    put(12, &u32::MAX.to_le_bytes(), &mut many);
    assert_eq!(Pack::read(&many, &Limits::default()).unwrap_err().kind, ErrorKind::Count);
    let sections = sections_of(&original);
    for missing in 0..3 {
        let rest: Vec<_> =
            sections.iter().enumerate().filter(|(place, _)| *place != missing).map(|(_, s)| s.clone()).collect();
        let error = Pack::read(&from_sections(&rest), &Limits::default()).map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.offset, error.expected), (ErrorKind::Missing, 12, missing as u64 + 1));
    }
}

#[test]
fn unknown_sections_are_refused_or_skipped_by_their_number() {
    let mut sections = sections_of(&unsigned());
    sections.push((0x8000_0007, vec![1, 2, 3]));
    let bytes = from_sections(&sections);
    assert!(Pack::read(&bytes, &Limits::default()).is_ok());
    let mut damaged = bytes.clone();
    damaged[section(&bytes, 6).0] ^= 1;
    assert_eq!(Pack::read(&damaged, &Limits::default()).unwrap_err().kind, ErrorKind::Checksum);
    sections[6].0 = 7;
    let error = Pack::read(&from_sections(&sections), &Limits::default()).unwrap_err();
    assert_eq!((error.kind, error.class(), error.found), (ErrorKind::Section, ErrorClass::Unsupported, 7));
    assert_eq!(error.to_string(), "section table at byte 176: required section 7 is unknown");
}

#[test]
fn minor_versions_are_accepted() {
    let mut bytes = unsigned();
    bytes[10] = 7;
    let bytes = seal_header(bytes);
    assert_eq!(Pack::read(&bytes, &Limits::default()).unwrap().version(), (1, 7));
}

#[test]
fn wrong_signature_blocks() {
    let (signed, start) = (signed(), unsigned().len());
    let mut wrong = Vec::new();
    for (what, at, value, kind, offset) in [
        ("another magic", 3, &b"P"[..], ErrorKind::Magic, 0),
        ("another size", 8, &[0], ErrorKind::Count, 8),
        ("no key", 14, &[0, 0], ErrorKind::Count, 8),
        ("a shorter key id and a longer signature", 14, &[15, 0, 65], ErrorKind::Count, 8),
        ("no signature", 16, &[0], ErrorKind::Count, 8),
        ("another algorithm", 12, &[2], ErrorKind::Checksum, 0),
        ("another key", 24, b"x", ErrorKind::Checksum, 0),
        ("another signature", 40, &[8], ErrorKind::Checksum, 0),
    ] {
        let mut bytes = signed.clone();
        put(start + at, value, &mut bytes);
        let found = Pack::read(&bytes, &Limits::default()).map(|_| ()).map_err(|e| (e.kind, e.offset));
        if found != Err((kind, (start + offset) as u64)) {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn limits_are_kept() {
    let bytes = signed();
    let limits = Limits::default();
    let size = bytes.len() as u64;
    let tight = Limits {
        max_file_bytes: size,
        max_sections: 6,
        max_tensors: 5,
        max_elements_per_tensor: 400,
        max_entries: 4 + 40 + 5 + 1 + 80,
        max_string_bytes: 16,
        max_provenance_pairs: 2,
        max_classes: 2,
        max_probes: 2,
        max_signatures: 1,
    };
    assert!(Pack::read(&bytes, &tight).is_ok(), "{:?}", Pack::read(&bytes, &tight).map(|_| ()));
    let cases = [
        ("file", Limits { max_file_bytes: size - 1, ..limits }),
        ("sections", Limits { max_sections: 5, ..limits }),
        ("tensors", Limits { max_tensors: 4, ..limits }),
        ("elements", Limits { max_elements_per_tensor: 399, ..limits }),
        ("entries", Limits { max_entries: tight.max_entries - 1, ..limits }),
        ("key ids", Limits { max_string_bytes: 15, ..limits }),
        ("signatures", Limits { max_signatures: 0, ..limits }),
        ("pairs", Limits { max_provenance_pairs: 1, ..limits }),
        ("classes", Limits { max_classes: 1, ..limits }),
        ("probes", Limits { max_probes: 1, ..limits }),
    ];
    for (what, limits) in cases {
        let error = Pack::read(&bytes, &limits).map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.class()), (ErrorKind::Limit, ErrorClass::Limit), "{what}");
    }
    // Without key ids, which are longer than its texts.
    let strings = |max_string_bytes| Pack::read(&unsigned(), &Limits { max_string_bytes, ..limits }).map(|_| ());
    assert_eq!(strings(9), Ok(()));
    assert_eq!(strings(8).unwrap_err().kind, ErrorKind::Limit);
}
