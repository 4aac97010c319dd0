//! An update: a header that is believed when its checksum fits, and operations that are replayed as they are written.

use taskvec_pack::Digest;
use taskvec_testkit::crc32;
use taskvec_update::{ErrorKind, Limits, Update};

/// More than a seed's pack has; an operation of a few bytes can ask for any size.
const PACK_BYTES_MAX: u64 = 1 << 16;
/// The parents that the operations of a fuzzer find.
const PARENTS: [&[u8]; 2] = [b"0123456789abcdef", &[0xff; 300]];

/// Reads the bytes as they are and once more with the right checksum; then takes them for what a frame holds, of which an update
/// is made that says what a naive reader makes of it.
///
/// # Panics
///
/// If the two disagree, if an update makes what it does not say, or if the reader panics.
pub fn update(bytes: &[u8]) {
    read(bytes);
    if bytes.len() >= 20 {
        read(&sealed(bytes.to_vec()));
    }
    let [low, high, body @ ..] = bytes else { return };
    let operation_bytes = usize::from(u16::from_le_bytes([*low, *high])).min(body.len());
    let (operations, data) = body.split_at(operation_bytes);
    let naive = naive(operations, data);
    let file = naive.clone().unwrap_or_default();
    let update = update_of(body, operation_bytes, &file);
    let made = Update::read(&update, &limits()).expect("a header that is right").make(&PARENTS);
    match naive {
        Some(file) => assert!(made.is_ok_and(|made| made == file), "the naive reader makes {file:02x?}"),
        None => assert!(made.is_err(), "the naive reader refuses what makes {made:02x?}"),
    }
}

fn limits() -> Limits {
    Limits { max_pack_bytes: PACK_BYTES_MAX, ..Limits::default() }
}

/// Reads a file, and makes of it what it says out of parents that are as long as it says.
fn read(bytes: &[u8]) {
    let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported, ErrorKind::Limit];
    let update = match Update::read(bytes, &limits()) {
        Ok(update) => update,
        Err(error) => return assert!(kinds.contains(&error.kind()), "a file gives {error:?}"),
    };
    let claimed = update.parents().iter().map(|parent| parent.content_bytes);
    if claimed.fold(0_u64, u64::saturating_add) > PACK_BYTES_MAX {
        return;
    }
    let contents: Vec<Vec<u8>> =
        update.parents().iter().map(|parent| vec![b'p'; parent.content_bytes as usize]).collect();
    match update.make(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>()) {
        Ok(made) => assert_eq!(made.len() as u64, update.pack_bytes()),
        Err(error) => assert!(kinds.contains(&error.kind()), "a file gives {error:?}"),
    }
}

/// What `FORMAT.md` makes of it, without haste.
fn naive(operations: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut rest = operations;
    let mut steps = Vec::new();
    while let [kind, after @ ..] = rest {
        rest = after;
        let count = varint(&mut rest).filter(|count| *count > 0)?;
        let parent = match kind {
            1 | 6..=8 => Some((varint(&mut rest)?, varint(&mut rest)?)),
            2..=5 => None,
            _ => return None,
        };
        steps.push((*kind, count, parent));
    }
    let width = |kind: u8| [0, 1, 1, 1, 2, 4, 1, 2, 4][usize::from(kind)];
    let size: u128 = steps.iter().map(|(kind, count, _)| u128::from(*count) * u128::from(width(*kind))).sum();
    if size > PACK_BYTES_MAX.into() {
        return None;
    }
    let (mut file, mut taken) = (Vec::new(), [0; 9]);
    let total = |kind: u8| steps.iter().filter(|step| step.0 == kind).map(|step| step.1).sum::<u64>();
    for &(kind, count, parent) in &steps {
        for number in 0..count {
            let mut carry = 0;
            for byte in 0..width(kind) {
                let before = match parent {
                    None => 0,
                    Some((parent, offset)) => {
                        let content = PARENTS.get(usize::try_from(parent).ok()?)?;
                        let at = offset.checked_add(number * width(kind) + byte)?;
                        u16::from(*content.get(usize::try_from(at).ok()?)?)
                    }
                };
                let own = if kind == 1 {
                    0
                } else {
                    let kinds_before: u64 = (2..kind).map(|kind| total(kind) * width(kind)).sum();
                    let at = kinds_before + byte * total(kind) + taken[usize::from(kind)] + number;
                    u16::from(*data.get(at as usize)?)
                };
                carry += before + own;
                file.push(carry as u8);
                carry >>= 8;
            }
        }
        taken[usize::from(kind)] += count;
    }
    let needed: u64 = (2..=8).map(|kind| total(kind) * width(kind)).sum();
    (needed == data.len() as u64).then_some(file)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number: u128 = 0;
    for place in 0..10 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u128::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            let is_shortest = place == 0 || byte != 0;
            return u64::try_from(number).ok().filter(|_| is_shortest);
        }
    }
    None
}

/// An update whose frame holds `body`, uncompressed (RFC 8878, 3.1.1), and that makes `file`.
fn update_of(body: &[u8], operation_bytes: usize, file: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89TVU\r\n\x1a\n\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00".to_vec();
    bytes.extend((operation_bytes as u32).to_le_bytes());
    bytes.extend((file.len() as u64).to_le_bytes());
    bytes.extend([0; 32]);
    bytes.extend(Digest::of(file).0);
    bytes.extend(b"\x01n");
    for (place, parent) in PARENTS.iter().enumerate() {
        bytes.extend([place as u8; 32]);
        bytes.extend((parent.len() as u64).to_le_bytes());
        bytes.extend(b"\x01p");
    }
    // A window of 128 KiB, and blocks of at most 64.
    bytes.extend([0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3]);
    let mut blocks = body.chunks(1 << 16).peekable();
    while let Some(block) = blocks.next() {
        let header = u32::from(blocks.peek().is_none()) | (block.len() as u32) << 3;
        bytes.extend(&header.to_le_bytes()[..3]);
        bytes.extend(block);
    }
    if body.is_empty() {
        bytes.extend([1, 0, 0]);
    }
    sealed(bytes)
}

/// The same with the right checksum.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32(&[&bytes[..16], &bytes[20..]]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    bytes
}
