//! A pack: both readers say the same of it, and what they accept is given to the end.

use taskvec_pack::{Limits, Pack};
use taskvec_testkit::hand_made::Draft;
use taskvec_testkit::{crc32, hex};

use crate::readers::READERS;

/// More entries than any seed has; the naive reader copies each of them.
const ENTRIES_MAX: u64 = 1 << 14;

/// Reads the bytes as they are, and once more with right checksums, so that damage reaches what lies behind them.
///
/// # Panics
///
/// If the two readers disagree, or one of them panics.
pub fn pack(bytes: &[u8]) {
    let mended = with_right_checksums(bytes);
    for file in [bytes, &mended] {
        // The naive reader cannot be asked under these limits, but the quick one must end.
        let _verdict = Pack::read(file, &Limits::default());
        read_alike(file);
    }
}

/// Changes one section of a file and lays it out again, so that sizes, offsets and checksums fit the change; nothing if the
/// bytes are not laid out as a pack.
pub fn change_a_section(file: &[u8], place: usize, change: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
    let mut draft = Draft::found_in(file)?;
    draft.change(place, change);
    Some(draft.build().bytes)
}

fn read_alike(file: &[u8]) {
    let limits = taskvec_testkit::Limits { max_entries: ENTRIES_MAX, ..taskvec_testkit::Limits::default() };
    let [naive, fast] = READERS.map(|(_, read)| read(file, &limits));
    // As text: 0.0 and -0.0 are equal as numbers.
    let alike = naive == fast && (naive.is_err() || format!("{naive:?}") == format!("{fast:?}"));
    assert!(alike, "the naive reader says {naive:?}, the fast one {fast:?}, of {}", hex(file));
}

/// The file with the right checksum wherever its own sizes say that there is one.
fn with_right_checksums(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let number = |file: &[u8], offset: usize, byte_count: usize| {
        let bytes = file.get(offset..offset.checked_add(byte_count)?)?.iter().rev();
        usize::try_from(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte))).ok()
    };
    let entries = number(&file, 12, 4).unwrap_or(0).min(file.len() / 24);
    for entry in (0..entries).map(|place| 32 + 24 * place) {
        let extent = number(&file, entry + 8, 8).zip(number(&file, entry + 16, 8));
        let section = extent.and_then(|(offset, bytes)| file.get(offset..offset.checked_add(bytes)?));
        if let Some(sum) = section.map(|section| crc32(&[section])) {
            put(&mut file, entry + 4, sum);
        }
    }
    let mut block = number(&file, 16, 8).unwrap_or(file.len());
    while let Some(end) = number(&file, block.saturating_add(8), 4).and_then(|bytes| block.checked_add(bytes)) {
        let Some([fields @ .., _, _, _, _]) = file.get(block..end).and_then(|bytes| bytes.get(..24)) else { break };
        let sum = crc32(&[fields, &file[block + 24..end]]);
        put(&mut file, block + 20, sum);
        block = end;
    }
    // Last, because it covers the checksums of the sections.
    if let Some(table) = file.get(28..32 + 24 * entries) {
        let sum = crc32(&[&file[..24], table]);
        put(&mut file, 24, sum);
    }
    file
}

fn put(file: &mut [u8], offset: usize, sum: u32) {
    if let Some(place) = file.get_mut(offset..offset + 4) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}
