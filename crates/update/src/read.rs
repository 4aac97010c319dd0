//! `Update`: a header that has been checked, and the pack that it makes of its parents.

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;
use taskvec_pack::Digest;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::layout::{
    AFTER_CHECKSUM_OFFSET, CHECKSUM_OFFSET, HEADER_BYTES, Limits, MAGIC, MAJOR, PARENT_BYTES_MIN, WINDOW_BYTES_MAX,
};
use crate::operation::{KINDS, Operation, Place, from_planes};

/// An update whose header has been read.
///
/// Having one tells you: the magic and version are right, no bit was changed by accident, and every size in the header is
/// below the limits. It does not tell you what the frame holds: [`Update::make`] finds out, and says so.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    name: &'a str,
    pack: Digest,
    file: Digest,
    pack_bytes: u64,
    operation_bytes: u64,
    parents: Vec<Parent<'a>>,
    frame: &'a [u8],
}

/// A pack that must be there for an update to be made into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<'a> {
    /// Its pack digest.
    pub digest: Digest,
    /// Size of its content, which is the pack without its signatures.
    pub content_bytes: u64,
    /// Name of its skill, for people.
    pub name: &'a str,
}

impl<'a> Update<'a> {
    /// Whether these are the first bytes of an update: at least 8 of them.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads the header in the order of `FORMAT.md`, 8, and none of the frame.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported` or `Limit`.
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        if !Self::is_one(bytes) {
            return Err(Error::damaged(format!(
                "it begins with {:02x?}, expected {MAGIC:02x?}",
                &bytes[..bytes.len().min(MAGIC.len())]
            )));
        }
        let mut cursor = Cursor::new(bytes, "the update");
        let mut header = Cursor::new(cursor.take(HEADER_BYTES as u64)?, "the header");
        header.take(MAGIC.len() as u64)?;
        let (major, minor) = (header.u16()?, header.u16()?);
        if major != MAJOR {
            return Err(Error::unsupported(format!("it has version {major}.{minor}, expected {MAJOR}")));
        }
        let (parent_count, checksum) = (header.u32()?, header.u32()?);
        let found = checksum_of(bytes);
        if found != checksum {
            return Err(Error::damaged(format!("it has checksum {found:08x}, expected {checksum:08x}")));
        }
        let operation_bytes = header.u32()?.into();
        let max = limits.max_operation_bytes.into();
        let operation_bytes = within("the size in bytes of the operations is", operation_bytes, max)?;
        let pack_bytes = within("the size in bytes of the pack is", header.u64()?, limits.max_pack_bytes)?;
        let (pack, file) = (header.digest()?, header.digest()?);
        let name = cursor.text(limits.max_string_bytes)?;
        let parents = parents(&mut cursor, parent_count, limits)?;
        let frame = cursor.take(cursor.remaining() as u64)?;
        Ok(Self { name, pack, file, pack_bytes, operation_bytes, parents, frame })
    }

    /// Name of the skill in the pack that it makes, for people.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Digest of the pack that it makes.
    #[must_use]
    pub fn pack(&self) -> Digest {
        self.pack
    }

    /// Size of that pack's file.
    #[must_use]
    pub fn pack_bytes(&self) -> u64 {
        self.pack_bytes
    }

    /// What must be there, in ascending order of the digests.
    #[must_use]
    pub fn parents(&self) -> &[Parent<'a>] {
        &self.parents
    }

    /// The file of the pack: byte for byte what the update was made of. `contents` are the contents of the parents, in the
    /// order of [`Update::parents`]. Memory grows with what the frame
    /// really holds and with what is made of it: at most the operations and twice the pack.
    ///
    /// # Errors
    /// `Mismatch` when these are not so many contents of these sizes; `Unsupported` for an operation that is not known;
    /// `Damaged` for everything else, the file's digest at last.
    pub fn make(&self, contents: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let sizes = contents.iter().map(|content| content.len() as u64);
        if !sizes.clone().eq(self.parents.iter().map(|parent| parent.content_bytes)) {
            let [found, expected] =
                [sizes.collect::<Vec<_>>(), self.parents.iter().map(|parent| parent.content_bytes).collect()];
            return Err(Error::mismatch(format!("the parents have {found:?} bytes, expected {expected:?}")));
        }
        let mut frame = Frame::open(self.frame)?;
        let operations = frame.next(self.operation_bytes)?;
        let counts = self.counts(&operations)?;
        let sizes = KINDS.iter().zip(counts).map(|(kind, count)| count * kind.width() as u64);
        let data = frame.next(sizes.sum())?;
        frame.finish()?;
        let mut made = Made { bytes: Vec::new(), contents, planes: planes(&data, counts), taken: [0; KINDS.len()] };
        let mut operations = list(&operations);
        while !operations.is_empty() {
            made.append(Operation::decode(&mut operations)?)?;
        }
        let found = Digest::of(&made.bytes);
        if found != self.file {
            return Err(Error::damaged(format!("what it makes has SHA-256 {found}, expected {}", self.file)));
        }
        Ok(made.bytes)
    }

    /// How many numbers of each kind the operations take, which together make what was said. They are not kept, since in memory
    /// they take many times as much as here.
    fn counts(&self, operations: &[u8]) -> Result<[u64; KINDS.len()], Error> {
        let mut operations = list(operations);
        let (mut counts, mut left) = ([0; KINDS.len()], self.pack_bytes);
        while !operations.is_empty() {
            let operation = Operation::decode(&mut operations)?;
            left = operation.size_bytes().and_then(|bytes| left.checked_sub(bytes)).ok_or_else(|| {
                let count = operation.count;
                Error::damaged(format!("an operation makes {count} numbers, expected at most {left} bytes"))
            })?;
            if let Some(kind) = operation.kind {
                counts[kind.place()] += operation.count;
            }
        }
        match left {
            0 => Ok(counts),
            left => Err(Error::damaged(format!(
                "its operations make {} bytes, expected {}",
                self.pack_bytes - left,
                self.pack_bytes
            ))),
        }
    }
}

fn list(operations: &[u8]) -> Cursor<'_> {
    Cursor::new(operations, "the list of operations")
}

fn within(subject: &str, found: u64, max: u64) -> Result<u64, Error> {
    if found > max { Err(Error::limit(subject, found, max)) } else { Ok(found) }
}

/// CRC-32 of a file of at least a header, without its checksum.
pub(crate) fn checksum_of(file: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&file[..CHECKSUM_OFFSET]);
    hash.update(&file[AFTER_CHECKSUM_OFFSET..]);
    hash.finalize()
}

fn parents<'a>(cursor: &mut Cursor<'a>, count: u32, limits: &Limits) -> Result<Vec<Parent<'a>>, Error> {
    let room = cursor.remaining() / PARENT_BYTES_MIN;
    if count as usize > room {
        return Err(Error::damaged(format!("it has room for {room} parents, expected {count}")));
    }
    within("the number of parents is", count.into(), limits.max_parents.into())?;
    let mut parents: Vec<Parent<'a>> = Vec::new();
    for _ in 0..count {
        let (digest, content_bytes) = (cursor.digest()?, cursor.u64()?);
        if parents.last().is_some_and(|last| last.digest >= digest) {
            return Err(Error::damaged(format!("parent {digest} does not come after the one before it")));
        }
        parents.push(Parent { digest, content_bytes, name: cursor.text(limits.max_string_bytes)? });
    }
    Ok(parents)
}

/// What the frame holds, unpacked as it is asked for.
struct Frame<'a>(StreamingDecoder<&'a [u8], ruzstd::decoding::FrameDecoder>);

impl<'a> Frame<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        StreamingDecoder::new_with_max_window_size(bytes, WINDOW_BYTES_MAX)
            .map(Self)
            .map_err(|cause| Error::damaged("its frame cannot be unpacked").caused_by(cause))
    }

    /// The next `count` bytes. They are taken as they come: a claim of more than there is fills no memory.
    fn next(&mut self, count: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = (&mut self.0).take(count).read_to_end(&mut bytes);
        read.map_err(|cause| Error::damaged("its frame cannot be unpacked").caused_by(cause))?;
        match bytes.len() as u64 {
            found if found == count => Ok(bytes),
            found => Err(Error::damaged(format!("its frame ends after {found} bytes, expected {count} more"))),
        }
    }

    /// Nothing may be left, in the frame or behind it.
    fn finish(mut self) -> Result<(), Error> {
        let left = self.0.read(&mut [0]);
        let left = left.map_err(|cause| Error::damaged("its frame cannot be unpacked").caused_by(cause))?;
        if left > 0 {
            return Err(Error::damaged("its frame holds more than the operations take"));
        }
        match self.0.get_ref().len() {
            0 => Ok(()),
            behind => Err(Error::damaged(format!("{behind} bytes follow its frame, expected none"))),
        }
    }
}

/// The planes of each kind, one after the other.
fn planes(mut data: &[u8], counts: [u64; KINDS.len()]) -> [Vec<&[u8]>; KINDS.len()] {
    std::array::from_fn(|place| {
        let mut plane = || data.split_off(..counts[place] as usize).unwrap_or_default();
        (0..KINDS[place].width()).map(|_| plane()).collect()
    })
}

/// The pack as far as it has been made.
struct Made<'a> {
    bytes: Vec<u8>,
    contents: &'a [&'a [u8]],
    planes: [Vec<&'a [u8]>; KINDS.len()],
    /// Numbers of each kind that were taken.
    taken: [usize; KINDS.len()],
}

impl Made<'_> {
    fn append(&mut self, operation: Operation) -> Result<(), Error> {
        // Both are at most the size of the pack.
        let (count, bytes) = (operation.count as usize, operation.size_bytes().unwrap_or_default());
        let before = operation.parent.map(|place| range(self.contents, place, bytes)).transpose()?;
        match operation.kind {
            None => self.bytes.extend_from_slice(before.unwrap_or_default()),
            Some(kind) => {
                let taken = &mut self.taken[kind.place()];
                let at = *taken..*taken + count;
                *taken = at.end;
                from_planes(&self.planes[kind.place()], at, before, &mut self.bytes);
            }
        }
        Ok(())
    }
}

fn range<'a>(contents: &[&'a [u8]], place: Place, bytes: u64) -> Result<&'a [u8], Error> {
    let Place { parent, offset } = place;
    let content = usize::try_from(parent).ok().and_then(|parent| contents.get(parent)).ok_or_else(|| {
        Error::damaged(format!("an operation names parent {parent}, expected a number below {}", contents.len()))
    })?;
    let end = offset.checked_add(bytes);
    let range = end.and_then(|end| content.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?));
    range.ok_or_else(|| {
        let size = content.len();
        Error::damaged(format!("an operation takes {bytes} bytes at {offset} of a parent that has {size}"))
    })
}
