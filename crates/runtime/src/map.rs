//! Memory maps: the base read-only, the composed weights private and copy-on-write.
//!
//! The one file that names `memmap2`, and the one with `unsafe` for maps. What the rest of the crate may rely on:
//!
//! - **The base is never written.** Its mapping has no write permission; a stray write is a fault, not a corruption.
//! - **Writers are alone.** [`PrivateMap::write`] gives the bytes out only while no [`WeightsReader`] lives. What an
//!   engine lays over the mapping holds a reader, also where it hands a raw address to a foreign library.
//! - **A pack stays with its bytes.** [`HeldPack`] keeps what was read beside what it was read from.
//! - **Untouched pages are shared** with the base and with every other process that maps the same file.
//!
//! A mapped file may change under us, and no check of ours can prevent it. Therefore bundles and packs are written
//! aside, renamed into place, made read-only and never edited. If someone does it all the same: a page that nobody has
//! touched shows the new bytes in both mappings, answers and digests are then those of another base, and the next
//! [`crate::BaseModel::open`] refuses the file; a file that shrinks ends the process with SIGBUS at the first access
//! past its end. Nothing is written outside the mapping in either case, since lengths and offsets are those checked at
//! open.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions, MmapRaw};
use taskvec_pack::{Digest, Limits, Pack};

/// A file mapped read-only.
pub(crate) struct ReadOnlyMap {
    map: Mmap,
}

impl ReadOnlyMap {
    /// Maps `length` bytes of `file`, which must be all of it.
    pub(crate) fn of(file: &File, length: usize) -> io::Result<Self> {
        // SAFETY: the mapping is read-only and its bytes are plain `u8`. That the file does not change while it is
        // mapped is the promise of whoever installed it (module documentation).
        let map = unsafe { MmapOptions::new().len(length).map(file) }?;
        Ok(Self { map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// A private, writable mapping of a file: a page is the file's until it is written, and our own afterwards.
pub(crate) struct PrivateMap {
    memory: Arc<MmapRaw>,
    /// One count for `self`, one for each living [`WeightsReader`].
    readers: Arc<()>,
}

impl PrivateMap {
    /// Maps `length` bytes of `file`, which must be all of it.
    pub(crate) fn of(file: &File, length: usize) -> io::Result<Self> {
        // SAFETY: copy-on-write, so that writes stay in this process; plain `u8`. That the file does not change is the
        // promise of whoever installed it (module documentation).
        let map = unsafe { MmapOptions::new().len(length).map_copy(file) }?;
        Ok(Self { memory: Arc::new(MmapRaw::from(map)), readers: Arc::new(()) })
    }

    /// The bytes, to read during this borrow.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `len` bytes long and lives as long as `self.memory`. Only `write` and `discard` change
        // it, and they borrow `self` mutably, which this borrow excludes.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.memory.len()) }
    }

    /// The bytes, to write; `None` while a reader lives.
    pub(crate) fn write(&mut self) -> Option<&mut [u8]> {
        Arc::get_mut(&mut self.readers)?;
        // SAFETY: the mapping is `len` bytes long, writable, and lives as long as `self.memory`. No other reference
        // into it exists: `bytes` is excluded by `&mut self`, readers by the count above.
        Some(unsafe { slice::from_raw_parts_mut(self.memory.as_mut_ptr(), self.memory.len()) })
    }

    /// As [`PrivateMap::write`], with what takes pages for the writer before it comes to them.
    pub(crate) fn write_taking(&mut self) -> Option<(&mut [u8], PageTaker)> {
        let taker = PageTaker { memory: Arc::clone(&self.memory) };
        Some((self.write()?, taker))
    }

    /// Gives the pages of `range` back, if this system can: they are the file's again. The range is widened to whole
    /// pages. `false` means that nothing was done, and the caller copies instead.
    pub(crate) fn discard(&mut self, range: Range<usize>) -> bool {
        if !cfg!(target_os = "linux") || Arc::get_mut(&mut self.readers).is_none() {
            return false;
        }
        self.discard_on_linux(range).is_ok()
    }

    #[cfg(target_os = "linux")]
    fn discard_on_linux(&mut self, range: Range<usize>) -> io::Result<()> {
        let advice = memmap2::UncheckedAdvice::DontNeed;
        // SAFETY: on Linux `MADV_DONTNEED` on a private file mapping drops our copies, and the next access reads the
        // file again; the memory stays mapped. No reference into it exists (`&mut self`, no reader).
        unsafe { self.memory.unchecked_advise_range(advice, range.start, range.len()) }
    }

    #[cfg(not(target_os = "linux"))]
    fn discard_on_linux(&mut self, _range: Range<usize>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A handle that keeps the bytes readable, and writers out, for as long as it lives.
    pub(crate) fn reader(&self) -> WeightsReader {
        WeightsReader { memory: Arc::clone(&self.memory), _count: Arc::clone(&self.readers) }
    }
}

/// Makes pages of a private mapping our own before they are written to; no byte changes by it.
///
/// Many at once cost about two thirds of what the same pages cost one by one, each at its first access. And an element that
/// is read before it is written costs two faults: the first maps the file's page, and the second must tell every
/// processor with a thread of ours that this is no longer the page, so that threads which do this hinder each other.
pub(crate) struct PageTaker {
    memory: Arc<MmapRaw>,
}

impl PageTaker {
    /// Whether this system can take many pages at once (Linux from 5.14). Else each is taken when it is written.
    pub(crate) fn takes_many(&self) -> bool {
        self.advise(0, 0).is_ok()
    }

    /// Takes the pages on which `range` lies, if this system can.
    pub(crate) fn take(&self, range: Range<usize>) {
        let end = range.end.min(self.memory.len());
        if range.start < end {
            // What goes wrong here goes wrong at the first write as well, and shows there.
            let _ = self.advise(range.start, end - range.start);
        }
    }

    #[cfg(target_os = "linux")]
    fn advise(&self, offset: usize, size_bytes: usize) -> io::Result<()> {
        self.memory.advise_range(memmap2::Advice::PopulateWrite, offset, size_bytes)
    }

    #[cfg(not(target_os = "linux"))]
    fn advise(&self, _offset: usize, _size_bytes: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The composed weights of one view, the whole file, readable for as long as this lives. While it lives nobody writes to
/// them: the view's memory is taken back, or used for another composition, when the last reader is gone.
pub struct WeightsReader {
    memory: Arc<MmapRaw>,
    _count: Arc<()>,
}

impl AsRef<[u8]> for WeightsReader {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is `len` bytes long and lives as long as `self.memory`; while `self` lives, its count
        // keeps `write` and `discard` from changing a byte.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.memory.len()) }
    }
}

/// Where the bytes of a pack are.
pub(crate) enum PackBytes {
    Owned(Arc<[u8]>),
    Mapped(ReadOnlyMap),
}

impl PackBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(map) => map.bytes(),
        }
    }
}

/// A pack together with the bytes that it was read from, so that it is checked once and not at every attach.
pub(crate) struct HeldPack {
    /// Lives as long as `_bytes` and is given out for no longer.
    pack: Pack<'static>,
    _bytes: PackBytes,
}

impl HeldPack {
    /// Reads the pack in `bytes` and checks it, but for what was checked if these very bytes are `known` to have a digest.
    pub(crate) fn read(bytes: PackBytes, limits: &Limits, known: Option<Digest>) -> Result<Self, taskvec_pack::Error> {
        let all = bytes.bytes();
        // SAFETY: the bytes lie on the heap behind an `Arc`, or in a mapping; both stay where they are when `bytes`
        // moves into the value that is made here, and both live as long as it. Nothing writes to them: neither is ever
        // borrowed mutably. `pack` is private, has no `Drop`, and leaves `Self` only with the lifetime of a borrow of
        // it.
        let lasting: &'static [u8] = unsafe { slice::from_raw_parts(all.as_ptr(), all.len()) };
        let pack = match known {
            Some(digest) => Pack::read_again(lasting, limits, digest)?,
            None => Pack::read(lasting, limits)?,
        };
        Ok(Self { pack, _bytes: bytes })
    }

    pub(crate) fn pack(&self) -> &Pack<'_> {
        &self.pack
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn writes_stay_private() {
        let file = file_of(&[7; 10_000]);
        let base = ReadOnlyMap::of(&file, 10_000).unwrap();
        let mut composed = PrivateMap::of(&file, 10_000).unwrap();
        composed.write().unwrap()[5000] = 9;
        assert_eq!(base.bytes()[5000], 7);
        assert_eq!(composed.bytes()[5000], 9);
        assert_eq!(composed.bytes()[4999], 7);
    }

    #[test]
    fn a_reader_keeps_writers_out_until_it_is_dropped() {
        let mut composed = PrivateMap::of(&file_of(&[1; 100]), 100).unwrap();
        let reader = composed.reader();
        assert!(composed.write().is_none());
        assert!(!composed.discard(0..100));
        assert_eq!(reader.as_ref()[99], 1);
        drop(reader);
        assert!(composed.write().is_some());
    }

    #[test]
    fn taken_pages_have_the_files_bytes() {
        let bytes: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
        let mut composed = PrivateMap::of(&file_of(&bytes), bytes.len()).unwrap();
        let (written, taker) = composed.write_taking().unwrap();
        written[4096] = 252;
        for range in [0..0, 5000..5001, 4095..12_289, 19_999..30_000, 30_000..40_000] {
            taker.take(range);
        }
        assert_eq!(written[4096], 252);
        written[4096] = bytes[4096];
        assert!(written == bytes);
        let reader = composed.reader();
        assert!(composed.write_taking().is_none());
        assert!(reader.as_ref() == bytes);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn discarded_pages_are_the_files_again() {
        let bytes: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
        let mut composed = PrivateMap::of(&file_of(&bytes), bytes.len()).unwrap();
        composed.write().unwrap().fill(0);
        assert!(composed.discard(4096..8192));
        assert_eq!(composed.bytes()[4096..8192], bytes[4096..8192]);
        assert!(composed.bytes()[8192..].iter().all(|&byte| byte == 0));
        assert!(composed.discard(0..bytes.len()));
        assert_eq!(composed.bytes(), bytes);
    }
}
