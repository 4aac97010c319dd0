//! The packed matrices of one session of ONNX Runtime, where the session itself has mapped them.
//!
//! The library maps each packed form of the data file, privately and writable, and tells nobody where. Linux does: the
//! mappings of this file that are there when a session has been made, and were not before, are the session's.
//!
//! This is the third place in the crate with `unsafe`, apart from `map.rs`: the memory that is written here is not a
//! mapping of ours. What the rest may rely on:
//!
//! - **Nobody reads while one writes.** The session and the addresses are one value; a run borrows it, a write borrows it
//!   mutably.
//! - **Addresses are the session's.** Sessions over one file are made and dropped one at a time in this process (a lock),
//!   so that no other's mapping is taken for this one's, and they are dropped with what holds their addresses.
//! - **Nobody writes to the file.** It is made aside, renamed into place and never edited; what a change would do, and what
//!   not, stands in `map.rs`.
//! - **Writes stay private**, because the mapping is (`p` in what Linux says of it, which is looked at).

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::sync::{Mutex, PoisonError};

use super::super::runner::Runner;
use crate::pages::PAGE_BYTES;

/// Held while a session over a file of packed weights is made or dropped.
static CHANGING: Mutex<()> = Mutex::new(());

/// A session and the packed matrices in its memory.
pub(super) struct MappedSession {
    /// None only while it is being dropped.
    runner: Option<Runner>,
    matrices: Vec<Matrix>,
}

/// A packed matrix in memory: words of 32 bits.
struct Matrix {
    address: usize,
    words: usize,
}

/// Bytes of a file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    addresses: Range<usize>,
    offset: usize,
    /// Private, readable and writable.
    is_ours_to_write: bool,
}

impl MappedSession {
    /// Makes a session with `make`, and finds where it has mapped the bytes at `places` of the file `data`. `Ok(None)`: it
    /// has not mapped all of them so that they can be written.
    ///
    /// # Errors
    /// `cannot_look` if the mappings of this process cannot be read, and what `make` says.
    pub(super) fn make<E>(
        data: &Path,
        places: &[Range<usize>],
        make: impl FnOnce() -> Result<Runner, E>,
        cannot_look: impl Fn(io::Error) -> E,
    ) -> Result<Option<Self>, E> {
        let _alone = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let data = data.canonicalize().map_err(&cannot_look)?;
        let before = mappings(&data).map_err(&cannot_look)?;
        let runner = make()?;
        let made = without(mappings(&data).map_err(&cannot_look)?, &before);
        let matrices = places.iter().map(|place| {
            let [address] = addresses(&made, place)?[..] else { return None };
            (address % 4 == 0 && place.len() % 4 == 0).then_some(Matrix { address, words: place.len() / 4 })
        });
        Ok(matrices.collect::<Option<_>>().map(|matrices| Self { runner: Some(runner), matrices }))
    }

    pub(super) fn runner(&self) -> &Runner {
        // It is none only in `drop`.
        self.runner.as_ref().unwrap_or_else(|| unreachable!("a session that is being dropped"))
    }

    /// The words of packed matrix number `matrix`, to write.
    #[expect(unsafe_code, reason = "the memory is ONNX Runtime's; see the head of this file")]
    pub(super) fn write(&mut self, matrix: usize) -> &mut [u32] {
        let Matrix { address, words } = self.matrices[matrix];
        // SAFETY: the address is a multiple of 4, and as many words are mapped there, readable, writable and privately, for
        // as long as the session lives, which `self` does not outlive. Only runs of the session read them, and those
        // borrow `self`. Any bits are a `u32`.
        unsafe { slice::from_raw_parts_mut(address as *mut u32, words) }
    }

    /// Makes packed matrix number `matrix` the file's again and gives its memory back. `false`: the system refuses.
    pub(super) fn discard(&mut self, matrix: usize) -> bool {
        let Matrix { address, words } = self.matrices[matrix];
        let start = address - address % PAGE_BYTES;
        self.discard_pages(start, (address + words * 4 - start).next_multiple_of(PAGE_BYTES))
    }

    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the memory is ONNX Runtime's; see the head of this file")]
    fn discard_pages(&mut self, start: usize, length: usize) -> bool {
        // SAFETY: these pages are of one private mapping of a file, in which each packed form has pages of its own; their
        // content is the file's afterwards, and they stay mapped. Nobody holds a reference into them (`&mut self`).
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) == 0 }
    }

    #[cfg(not(target_os = "linux"))]
    fn discard_pages(&mut self, _start: usize, _length: usize) -> bool {
        false
    }
}

impl Drop for MappedSession {
    fn drop(&mut self) {
        let _alone = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.runner.take());
    }
}

/// Where the bytes at `place` of the file are in memory, each in one piece. None if one of them cannot be written.
fn addresses(mappings: &[Mapping], place: &Range<usize>) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for mapping in mappings {
        let mapped = mapping.offset..mapping.offset + mapping.addresses.len();
        if mapped.start <= place.start && place.end <= mapped.end {
            if !mapping.is_ours_to_write {
                return None;
            }
            found.push(mapping.addresses.start + (place.start - mapped.start));
        }
    }
    Some(found)
}

/// What of `after` was not there `before`. (Linux joins neighbors, so that one mapping may be partly new.)
fn without(after: Vec<Mapping>, before: &[Mapping]) -> Vec<Mapping> {
    let mut rest = after;
    for old in before {
        rest = rest.into_iter().flat_map(|mapping| mapping.cut(&old.addresses)).collect();
    }
    rest
}

impl Mapping {
    /// What is left of it outside of `addresses`.
    fn cut(self, addresses: &Range<usize>) -> impl Iterator<Item = Self> + use<> {
        let Range { start, end } = self.addresses;
        let parts = [start..end.min(addresses.start), start.max(addresses.end)..end];
        parts.into_iter().filter(|part| part.start < part.end).map(move |part| Self {
            offset: self.offset + (part.start - start),
            addresses: part,
            is_ours_to_write: self.is_ours_to_write,
        })
    }
}

/// The mappings of `file` in this process.
fn mappings(file: &Path) -> io::Result<Vec<Mapping>> {
    let lines = fs::read("/proc/self/maps")?;
    Ok(lines.split(|&byte| byte == b'\n').filter_map(|line| mapping_of(line, file)).collect())
}

/// A line is `START-END PERMISSIONS OFFSET DEVICE INODE PATH`, in hexadecimal, with spaces before the path; a line break
/// in the path is written as an octal number.
fn mapping_of(line: &[u8], file: &Path) -> Option<Mapping> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let hexadecimal = |digits: &str| usize::from_str_radix(digits, 16).ok();
    let offset = hexadecimal(words.next()?)?;
    let path = words.nth(2)?.trim_start();
    (path.replace("\\012", "\n") == file.to_str()?).then_some(())?;
    let is_ours_to_write = permissions.starts_with("rw") && permissions.ends_with('p');
    Some(Mapping { addresses: hexadecimal(start)?..hexadecimal(end)?, offset, is_ours_to_write })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(addresses: Range<usize>, offset: usize) -> Mapping {
        Mapping { addresses, offset, is_ours_to_write: true }
    }

    #[test]
    fn lines_of_the_file_are_read_and_others_are_not() {
        let file = Path::new("/a folder/packed.bin");
        let line = |rest: &str| mapping_of(format!("7f00-8f00 {rest}").as_bytes(), file);
        let found = mapping(0x7f00..0x8f00, 0x2000);
        assert_eq!(line("rw-p 00002000 fd:01 77     /a folder/packed.bin"), Some(found.clone()));
        let shared = Mapping { is_ours_to_write: false, ..found };
        assert_eq!(line("rw-s 00002000 fd:01 77     /a folder/packed.bin"), Some(shared.clone()));
        assert_eq!(line("r--p 00002000 fd:01 77     /a folder/packed.bin"), Some(shared));
        assert_eq!(line("rw-p 00002000 fd:01 77     /a folder/packed.bin (deleted)"), None);
        assert_eq!(line("rw-p 00000000 00:00 0 "), None);
        assert_eq!(line("rw-p 00000000 00:00 0                          [heap]"), None);
    }

    #[test]
    fn what_was_there_before_is_cut_out() {
        let cut = |whole: Range<usize>, old: Range<usize>| without(vec![mapping(whole, 100)], &[mapping(old, 0)]);
        assert_eq!(cut(10..50, 60..70), [mapping(10..50, 100)]);
        assert_eq!(cut(10..50, 0..10), [mapping(10..50, 100)]);
        assert_eq!(cut(10..50, 50..60), [mapping(10..50, 100)]);
        assert_eq!(cut(10..50, 10..50), []);
        assert_eq!(cut(10..50, 0..60), []);
        assert_eq!(cut(10..50, 10..30), [mapping(30..50, 120)]);
        assert_eq!(cut(10..50, 30..50), [mapping(10..30, 100)]);
        assert_eq!(cut(10..50, 20..30), [mapping(10..20, 100), mapping(30..50, 120)]);
    }

    #[test]
    fn a_place_is_found_where_it_is_whole() {
        let mappings = [mapping(4096..8192, 0), mapping(16384..24576, 4096)];
        assert_eq!(addresses(&mappings, &(100..200)), Some(vec![4196]));
        assert_eq!(addresses(&mappings, &(4096..12288)), Some(vec![16384]));
        assert_eq!(addresses(&mappings, &(4000..4100)), Some(vec![]));
        assert_eq!(addresses(&[mapping(0..10, 0), mapping(20..30, 0)], &(2..4)), Some(vec![2, 22]));
    }
}
