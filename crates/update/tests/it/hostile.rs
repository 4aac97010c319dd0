//! Updates that lie. None makes anything but the file whose digest it names, and none takes more memory than it brings.

use taskvec_pack::Digest;
use taskvec_pack::write::Rounding;
use taskvec_update::{Error, ErrorKind, Limits, Update, write};

use crate::forge::{Draft, pack, raw_frame, seal};

const CONTENT: &[u8] = b"0123456789abcdef";

fn make(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    Update::read(bytes, &Limits::default())?.make(&[CONTENT])
}

/// Copies bytes 2 to 5, appends two of its own, adds 1, 2, 3, 4 to the number at 4.
fn honest() -> Draft {
    let operations = [1, 4, 0, 2, 2, 2, 8, 1, 0, 4];
    Draft::new(&operations, b"xy\x01\x02\x03\x04", b"2345xy579;", 16)
}

#[test]
fn an_update_made_by_hand_after_the_specification_is_understood() {
    assert_eq!(make(&honest().build()).unwrap(), b"2345xy579;");
    let wide = Draft::new(&[7, 2, 0, 0, 4, 2], b"abcd\xff\x00\x00\x01", b"/2243acbd", 16);
    let error = make(&wide.build()).unwrap_err();
    assert!(error.to_string().contains("make 8 bytes, expected 9"), "{error}");
    // 0x3130 + 0x00ff = 0x322f; 0x3332 + 0x0100 = 0x3432; then the planes of 0x6361 and 0x6462.
    let wide = Draft::new(&[7, 2, 0, 0, 4, 2], b"abcd\xff\x00\x00\x01", b"/224acbd", 16);
    assert_eq!(make(&wide.build()).unwrap(), b"/224acbd");
}

#[test]
fn every_lie_is_refused_by_name() {
    struct Case(&'static str, fn(&mut Draft), ErrorKind, &'static str);
    fn run(draft: &mut Draft, operations: &[u8], data: &[u8]) {
        draft.operation_bytes = operations.len() as u32;
        draft.frame = raw_frame(&[operations, data].concat(), 10);
    }
    let cases = [
        Case("newer", |draft| draft.major = 2, ErrorKind::Unsupported, "it has version 2.0, expected 1"),
        Case("pack too large", |draft| draft.pack_bytes = 1 << 40, ErrorKind::Limit, "expected at most 268435456"),
        Case(
            "operations too large",
            |draft| draft.operation_bytes = 1 << 30,
            ErrorKind::Limit,
            "expected at most 4194304",
        ),
        Case(
            "operations longer than the frame",
            |draft| draft.operation_bytes = 1 << 20,
            ErrorKind::Damaged,
            "ends after 16 bytes, expected 1048576",
        ),
        Case(
            "more parents than bytes",
            |draft| draft.parent_count = u32::MAX,
            ErrorKind::Damaged,
            "expected 4294967295",
        ),
        Case(
            "too many parents",
            |draft| {
                draft.parents = (0..20).map(|place| ([place; 32], 1)).collect();
                draft.parent_count = 20;
            },
            ErrorKind::Limit,
            "the number of parents is 20, expected at most 16",
        ),
        Case(
            "parents out of order",
            |draft| {
                draft.parents.push(([3; 32], 1));
                draft.parent_count = 2;
            },
            ErrorKind::Damaged,
            "does not come after",
        ),
        Case("another parent", |draft| draft.parents[0].1 = 17, ErrorKind::Mismatch, "[16] bytes, expected [17]"),
        Case("no name", |draft| draft.name = vec![0], ErrorKind::Damaged, "no text"),
        Case("a bell for a name", |draft| draft.name = vec![1, 7], ErrorKind::Damaged, "no text"),
        Case("an endless name", |draft| draft.name = vec![0xff; 20], ErrorKind::Damaged, "shortest form"),
        Case(
            "a long name",
            |draft| draft.name = [&[0x81, 0x20][..], &[b'a'; 4097]].concat(),
            ErrorKind::Limit,
            "4097, expected at most 4096",
        ),
        Case("no frame", |draft| draft.frame = vec![], ErrorKind::Damaged, "cannot be unpacked"),
        Case("a window of 16 MiB", |draft| draft.frame[5] = 14 << 3, ErrorKind::Damaged, "cannot be unpacked"),
        Case(
            "a dictionary",
            |draft| drop(draft.frame.splice(4..6, [1, 0, 7])),
            ErrorKind::Damaged,
            "cannot be unpacked",
        ),
        Case("bytes behind the frame", |draft| draft.frame.push(0), ErrorKind::Damaged, "1 bytes follow its frame"),
        Case("half a frame", |draft| draft.frame.truncate(20), ErrorKind::Damaged, "frame"),
        Case(
            "data left over",
            |draft| run(draft, &[2, 10], b"0123456789x"),
            ErrorKind::Damaged,
            "more than the operations take",
        ),
        Case(
            "data missing",
            |draft| run(draft, &[2, 10], b"xy"),
            ErrorKind::Damaged,
            "ends after 2 bytes, expected 10",
        ),
        Case("operation 0", |draft| run(draft, &[0, 1], b""), ErrorKind::Unsupported, "operation 0 is not known"),
        Case("operation 9", |draft| run(draft, &[9, 1, 0, 0], b""), ErrorKind::Unsupported, "operation 9 is not known"),
        Case("nothing to do", |draft| run(draft, &[2, 0], b""), ErrorKind::Damaged, "makes 0 numbers"),
        Case("half an operation", |draft| run(draft, &[1, 4, 0], b""), ErrorKind::Damaged, "ends after 0 bytes"),
        Case("parent 1 of 1", |draft| run(draft, &[1, 10, 1, 0], b""), ErrorKind::Damaged, "names parent 1"),
        Case(
            "beyond the parent",
            |draft| run(draft, &[1, 10, 0, 7], b""),
            ErrorKind::Damaged,
            "10 bytes at 7 of a parent that has 16",
        ),
        Case(
            "beyond all addresses",
            |draft| {
                run(draft, &[1, 10, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], b"");
            },
            ErrorKind::Damaged,
            "at 18446744073709551615",
        ),
        Case(
            "more numbers than there are",
            |draft| {
                run(draft, &[7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0], b"");
            },
            ErrorKind::Damaged,
            "numbers, expected at most 10",
        ),
        Case("more than was said", |draft| run(draft, &[1, 11, 0, 0], b""), ErrorKind::Damaged, "expected at most 10"),
        Case(
            "less than was said",
            |draft| run(draft, &[1, 9, 0, 0], b""),
            ErrorKind::Damaged,
            "make 9 bytes, expected 10",
        ),
        Case("something else than was said", |draft| draft.file = Digest([0; 32]), ErrorKind::Damaged, "has SHA-256"),
    ];
    let mut wrong = Vec::new();
    for Case(name, lie, kind, message) in cases {
        let mut draft = honest();
        lie(&mut draft);
        match make(&draft.build()) {
            Err(error) if error.kind() == kind && error.to_string().contains(message) && !error.help().is_empty() => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_bit_can_be_flipped_and_no_byte_left_out() {
    let old = pack("skill", Some(Rounding::INT8), 2, 1, 1);
    let update = write(&pack("skill", Some(Rounding::INT8), 2, 1, 2), &[&old]).unwrap().bytes;
    for bit in 0..8 * update.len() {
        let mut flipped = update.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Update::read(&flipped, &Limits::default()).is_err(), "bit {bit} of {}", 8 * update.len());
    }
    for length in 0..update.len() {
        assert!(Update::read(&update[..length], &Limits::default()).is_err(), "{length} bytes");
    }
}

#[test]
fn no_bit_behind_the_checksum_makes_another_pack() {
    let old = pack("skill", Some(Rounding::INT8), 2, 1, 1);
    let new = pack("skill", Some(Rounding::INT8), 2, 1, 2);
    let update = write(&new, &[&old]).unwrap().bytes;
    for bit in 8 * 20..8 * update.len() {
        let mut flipped = update.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        seal(&mut flipped);
        let Ok(read) = Update::read(&flipped, &Limits::default()) else { continue };
        if let Ok(made) = read.make(&[&old]) {
            assert_eq!(made, new, "bit {bit}");
        }
    }
}

#[test]
fn a_bomb_ends_at_what_it_said() {
    // Blocks that each say: 128 KiB of one byte. 4 bytes a block, 32768 times as many unpacked.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    for _ in 0..100_000 {
        frame.extend(&(2_u32 | (1 << 17) << 3).to_le_bytes()[..3]);
        frame.push(0);
    }
    let mut draft = honest();
    draft.frame = frame;
    draft.operation_bytes = 1 << 22;
    let error = make(&draft.build()).unwrap_err();
    assert!(error.to_string().contains("operation 0 is not known") || error.kind() == ErrorKind::Damaged, "{error}");

    // One that does all that it says, within the limits of whoever reads it.
    let limits = Limits { max_pack_bytes: 1 << 20, ..Limits::default() };
    draft.pack_bytes = (1 << 20) + 1;
    assert_eq!(Update::read(&draft.build(), &limits).unwrap_err().kind(), ErrorKind::Limit);
}
