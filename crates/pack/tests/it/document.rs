//! `FORMAT.md` and the code say the same.

use taskvec_pack::write::{Builder, Rounding, TensorDeltas, Values};
use taskvec_pack::{Dtype, ErrorKind, Fingerprint, Limits, Method, Pack, ValueEncoding, layout};

const FORMAT: &str = include_str!("../../FORMAT.md");

/// The pack of section 16.
fn example() -> Vec<u8> {
    let mut builder = Builder::new(Fingerprint([0xaa; 32]), "demo");
    builder.method(Method::Difference).density(0.5).provenance("licence", "MIT");
    let deltas = TensorDeltas { indices: &[1, 5], values: Values::Deltas(&[0.5, -0.25], Rounding::Bf16) };
    builder.tensor("norm.weight", Dtype::F32, &[2, 4], deltas).unwrap();
    builder.finish().unwrap()
}

fn bytes_of_the_document() -> Vec<u8> {
    let (_, chapter) = FORMAT.split_once("\n## 16.").unwrap();
    let (_, dump) = chapter.split_once("```text\n").unwrap();
    let (dump, _) = dump.split_once("```").unwrap();
    dump.lines()
        .flat_map(|line| line.split('|').next().unwrap_or_default().split_whitespace().skip(1))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[test]
fn the_example_is_what_the_writer_writes() {
    let bytes = example();
    if bytes != bytes_of_the_document() {
        let dump: Vec<String> = bytes
            .chunks(16)
            .zip(0..)
            .map(|(line, place)| {
                let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{:4}  {}", place * 16, bytes.join(" "))
            })
            .collect();
        panic!("the example of FORMAT.md should be\n{}", dump.join("\n"));
    }
    let pack = Pack::read(&bytes, &Limits::default()).unwrap();
    assert!(
        FORMAT.contains(&pack.digest().to_string()),
        "the digest {} of the example is not in FORMAT.md",
        pack.digest()
    );
}

/// What stands in a table row of the document after this cell.
fn row(section: &str, first: &str) -> Vec<String> {
    let (_, chapter) = FORMAT.split_once(section).unwrap();
    let line = chapter.lines().find(|line| line.starts_with(&format!("| {first} |"))).unwrap();
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn power(cell: &str) -> u64 {
    match cell.split_once('^') {
        Some((base, exponent)) => base.parse::<u64>().unwrap().pow(exponent.parse().unwrap()),
        None => cell.split([' ', ',']).next().unwrap().parse().unwrap(),
    }
}

/// A number may be added, and never given another meaning.
#[test]
fn methods_have_the_numbers_of_the_registry() {
    let (_, chapter) = FORMAT.split_once("### 11.5 Methods").unwrap();
    let (table, _) = chapter.split_once("### 11.6").unwrap();
    let numbers: Vec<u16> = table.lines().filter_map(|line| line.split('|').nth(1)?.trim().parse().ok()).collect();
    assert_eq!(numbers, (0..numbers.len() as u16).collect::<Vec<u16>>());
    for number in numbers.iter().copied() {
        let method = Method::from_code(number);
        assert_ne!(method, Method::Other(number), "the code has no name for method {number}");
        assert_eq!(method.code(), number);
    }
    let next = numbers.len() as u16;
    assert_eq!(Method::from_code(next), Method::Other(next), "the document does not list method {next}");
}

#[test]
fn limits_are_those_of_the_document() {
    let limits = Limits::default();
    let numbers = [
        ("max_file_bytes", limits.max_file_bytes),
        ("max_sections", u64::from(limits.max_sections)),
        ("max_tensors", limits.max_tensors),
        ("max_entries", limits.max_entries),
        ("max_string_bytes", limits.max_string_bytes),
        ("max_provenance_pairs", limits.max_provenance_pairs),
        ("max_classes", limits.max_classes),
        ("max_probes", limits.max_probes),
        ("max_signatures", u64::from(limits.max_signatures)),
    ];
    for (name, number) in numbers {
        let cell = &row("## 12. Limits", name)[1];
        assert_eq!(power(cell.split(',').next().unwrap()), number, "{name}");
    }
    assert!(row("## 12. Limits", "max_elements_per_tensor")[1].starts_with("2^40"));
    assert_eq!(limits.max_elements_per_tensor, 1 << 40);
}

#[test]
fn offsets_are_those_of_the_document() {
    let offset = |section: &str, name: &str| {
        let (_, chapter) = FORMAT.split_once(section).unwrap();
        let line = chapter
            .lines()
            .filter(|line| line.starts_with('|'))
            .find(|line| line.split('|').nth(3).map(str::trim) == Some(name))
            .unwrap();
        line.split('|').nth(1).unwrap().trim().parse::<usize>().unwrap_or_else(|_| panic!("{line}"))
    };
    assert_eq!(offset("### 4.1", "major"), layout::MAJOR_OFFSET);
    assert_eq!(offset("### 4.1", "section_count"), layout::SECTION_COUNT_OFFSET);
    assert_eq!(offset("### 4.1", "content_bytes"), layout::CONTENT_BYTES_OFFSET);
    assert_eq!(offset("### 4.1", "checksum"), layout::CHECKSUM_OFFSET);
    assert_eq!(offset("### 4.1", "zero"), layout::HEADER_ZERO_OFFSET);
    assert_eq!(offset("### 8.1", "block_bytes"), layout::SIGNATURE_SIZE_OFFSET);
    assert_eq!(offset("### 8.1", "key_id_bytes"), layout::KEY_ID_SIZE_OFFSET);
    assert_eq!(offset("### 8.1", "checksum"), layout::SIGNATURE_CHECKSUM_OFFSET);
    let (_, blocks) = FORMAT.split_once("### 8.1").unwrap();
    assert!(blocks.contains(&format!("at least 1; {} for algorithm 1", layout::KEY_ID_BYTES)));
    assert!(blocks.contains(&format!("at least 1; {} for algorithm 1", layout::ED25519_SIGNATURE_BYTES)));
    assert!(FORMAT.contains(&format!("### 4.1 Header, {} bytes at offset 0", layout::HEADER_BYTES)));
    assert!(FORMAT.contains(&format!("entries of {} bytes at offset 32", layout::SECTION_ENTRY_BYTES)));
}

#[test]
fn registries_are_those_of_the_document() {
    let sections = [
        (layout::section::MANIFEST, "manifest"),
        (layout::section::TENSORS, "tensors"),
        (layout::section::ENTRIES, "entries"),
        (layout::section::HEAD, "head"),
        (layout::section::PREPROCESSING, "preprocessing"),
        (layout::section::PROBES, "probes"),
    ];
    for (kind, name) in sections {
        assert_eq!(row("### 11.1", &kind.to_string())[1], name);
    }
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let row = row("### 11.2", &dtype.code().to_string());
        assert_eq!((row[1].as_str(), row[2].parse()), (dtype.to_string().as_str(), Ok(dtype.size_bytes())));
    }
    let indices = [
        (layout::index::RICE_GAPS, "Rice-coded gaps"),
        (layout::index::GRANULES, "granule mask"),
        (layout::index::BITMAP, "bitmap"),
        (layout::index::DENSE, "dense"),
        (layout::index::COUNTED_BITMAP, "counted bitmap"),
    ];
    for (code, name) in indices {
        assert_eq!(row("### 11.3", &code.to_string())[1], name);
    }
    let encodings = [
        ValueEncoding::F32,
        ValueEncoding::Bf16,
        ValueEncoding::Int8,
        ValueEncoding::Lossless,
        ValueEncoding::Levels,
        ValueEncoding::F16,
    ];
    for encoding in encodings {
        let row = row("### 11.4", &encoding.code().to_string());
        assert!(row[1].starts_with(&encoding.to_string()), "{row:?}");
        assert_eq!(row[2] == "yes", encoding.is_lossy());
    }
}

#[test]
fn every_kind_of_error_stands_in_the_document() {
    let (_, checks) = FORMAT.split_once("## 13.").unwrap();
    let (checks, _) = checks.split_once("## 14.").unwrap();
    let kinds = [
        ErrorKind::Truncated,
        ErrorKind::Trailing,
        ErrorKind::Magic,
        ErrorKind::Version,
        ErrorKind::Section,
        ErrorKind::Encoding,
        ErrorKind::Checksum,
        ErrorKind::Padding,
        ErrorKind::Layout,
        ErrorKind::Missing,
        ErrorKind::Order,
        ErrorKind::Count,
        ErrorKind::Index,
        ErrorKind::Code,
        ErrorKind::Number,
        ErrorKind::Text,
        ErrorKind::Varint,
        ErrorKind::Limit,
    ];
    for kind in kinds {
        assert!(checks.contains(kind.name()), "{}", kind.name());
    }
}
