//! From a pack and its parents to an update (`FORMAT.md`, 9).
//!
//! Where numbers lie is known from the pack: the value streams of tensors, the head. If a parent holds the numbers of the same
//! tensor for the same mask, in the same encoding, the differences are tried; if they pack smaller than the numbers
//! themselves, they are what is sent. Everything else, the masks above all, is looked for in the parents as bytes: an index stream that
//! another pack has is found without being understood.

mod matches;
mod numbers;

use std::io::{self, Write as _};

use taskvec_pack::{Digest, Limits as PackLimits, Pack};

use self::matches::{Matches, Piece};
use self::numbers::{Numbers, numbers};
use crate::cursor::encode_varint;
use crate::error::Error;
use crate::layout::{AFTER_CHECKSUM_OFFSET, CHECKSUM_OFFSET, HEADER_BYTES, Limits, MAGIC, MAJOR, MINOR};
use crate::operation::{KINDS, Kind, Operation, Place, to_planes};
use crate::read::checksum_of;

/// Level of zstd: the highest that needs no more memory to unpack than others.
const LEVEL: i32 = 19;
/// The logarithm of the largest window that a reader takes.
const WINDOW_LOG: u32 = crate::layout::WINDOW_BYTES_MAX.trailing_zeros();
/// The logarithm of the smallest window that there is.
const WINDOW_LOG_MIN: u32 = 10;

/// An update, and what it is made of.
#[derive(Clone, Debug)]
pub struct Made {
    /// The file.
    pub bytes: Vec<u8>,
    /// Digests of the parents that it needs, ascending: not all that were given need be of use.
    pub parents: Vec<Digest>,
    /// Bytes of the pack that are a parent's.
    pub copied_bytes: u64,
    /// Bytes of the pack that are sent as differences from a parent's.
    pub summed_bytes: u64,
    /// Bytes of the pack that are sent as they are.
    pub literal_bytes: u64,
}

/// The update that makes the file `pack` of the packs `parents`. Without parents, or where it is smaller without them, it is a
/// compressed pack.
///
/// # Errors
/// `Unsupported` or `Usage` when one of them is no pack that can be read; `Limit` when the update would exceed the default limits
/// of a reader.
pub fn write(pack: &[u8], parents: &[&[u8]]) -> Result<Made, Error> {
    let read_pack = read(pack, "the pack to make")?;
    let mut parents = parents.iter().map(|parent| read(parent, "a parent")).collect::<Result<Vec<_>, _>>()?;
    parents.sort_by_key(Pack::digest);
    parents.dedup_by_key(|parent| parent.digest());
    let alone = made_of(pack, &read_pack, &[])?;
    if parents.is_empty() {
        return Ok(alone);
    }
    let related = made_of(pack, &read_pack, &parents)?;
    Ok(if related.bytes.len() < alone.bytes.len() { related } else { alone })
}

fn made_of(pack: &[u8], pack_read: &Pack<'_>, parents: &[Pack<'_>]) -> Result<Made, Error> {
    let planes = KINDS.map(|kind| vec![Vec::new(); kind.width()]);
    let mut body = Body { pack, parents, operations: Vec::new(), planes };
    body.fill(pack_read)?;
    let used = body.drop_unused();
    let [copied_bytes, summed_bytes, literal_bytes] = body.shares();
    let parents: Vec<&Pack<'_>> = used.iter().map(|place| &parents[*place]).collect();
    let operations = body.encoded_operations();
    let frame = packed(std::iter::once(&operations).chain(body.planes.iter().flatten()))?;
    let limits = Limits::default();
    for (subject, found, max) in [
        ("the size in bytes of the pack is", pack.len() as u64, limits.max_pack_bytes),
        ("the size in bytes of the operations is", operations.len() as u64, limits.max_operation_bytes.into()),
        ("the number of parents is", parents.len() as u64, limits.max_parents.into()),
    ] {
        if found > max {
            return Err(Error::limit(subject, found, max));
        }
    }
    let mut bytes = header(pack_read, pack, parents.len() as u32, operations.len() as u32);
    encode_text(pack_read.manifest().name, &mut bytes);
    for parent in &parents {
        bytes.extend(parent.digest().0);
        bytes.extend((parent.content().len() as u64).to_le_bytes());
        encode_text(parent.manifest().name, &mut bytes);
    }
    bytes.extend(frame);
    let checksum = checksum_of(&bytes);
    bytes[CHECKSUM_OFFSET..AFTER_CHECKSUM_OFFSET].copy_from_slice(&checksum.to_le_bytes());
    let parents = parents.iter().map(|parent| parent.digest()).collect();
    Ok(Made { bytes, parents, copied_bytes, summed_bytes, literal_bytes })
}

fn read<'a>(bytes: &'a [u8], what: &str) -> Result<Pack<'a>, Error> {
    use taskvec_pack::ErrorClass;
    Pack::read(bytes, &PackLimits::default()).map_err(|cause| {
        let clause = format!("{what} is not one that can be read");
        let error = match cause.class() {
            ErrorClass::Unsupported => Error::unsupported(clause),
            _ => Error::usage(clause, "name packs, as `taskvec pack` and `taskvec sign` write them"),
        };
        error.caused_by(cause.to_string())
    })
}

/// The header without its checksum.
fn header(pack: &Pack<'_>, file: &[u8], parent_count: u32, operation_bytes: u32) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(MAJOR.to_le_bytes());
    header.extend(MINOR.to_le_bytes());
    header.extend(parent_count.to_le_bytes());
    header.extend([0; AFTER_CHECKSUM_OFFSET - CHECKSUM_OFFSET]);
    header.extend(operation_bytes.to_le_bytes());
    header.extend((file.len() as u64).to_le_bytes());
    header.extend(pack.digest().0);
    header.extend(Digest::of(file).0);
    debug_assert_eq!(header.len(), HEADER_BYTES);
    header
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    encode_varint(text.len() as u64, out);
    out.extend(text.as_bytes());
}

/// One frame of zstd, in which a block ends with each of `parts`: what is alike shares a table of codes with nothing else.
fn packed<'a>(parts: impl Iterator<Item = &'a Vec<u8>> + Clone) -> Result<Vec<u8>, Error> {
    let size = parts.clone().map(Vec::len).sum::<usize>();
    let pack = || {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
        encoder.window_log(WINDOW_LOG.min(size.next_power_of_two().trailing_zeros().max(WINDOW_LOG_MIN)))?;
        encoder.set_pledged_src_size(Some(size as u64))?;
        for part in parts.filter(|part| !part.is_empty()) {
            encoder.write_all(part)?;
            encoder.flush()?;
        }
        encoder.finish()
    };
    pack().map_err(|cause: io::Error| {
        Error::usage("zstd cannot pack it", "this is a defect: please report it").caused_by(cause)
    })
}

/// What a pack is made of.
struct Body<'a> {
    pack: &'a [u8],
    parents: &'a [Pack<'a>],
    operations: Vec<Operation>,
    /// What the operations of each kind take.
    planes: [Vec<Vec<u8>>; KINDS.len()],
}

impl<'a> Body<'a> {
    fn fill(&mut self, pack: &Pack<'a>) -> Result<(), Error> {
        let matches = Matches::new(self.parents.iter().map(|parent| parent.content()).collect());
        let mut at = 0;
        for numbers in numbers(self.pack, pack, self.parents) {
            self.bytes(&matches, at, numbers.offset);
            at = numbers.offset + numbers.bytes;
            self.numbers(&numbers)?;
        }
        self.bytes(&matches, at, self.pack.len());
        Ok(())
    }

    /// Bytes of which nothing is known: from `start` to `end`.
    fn bytes(&mut self, matches: &Matches<'_>, start: usize, end: usize) {
        for piece in matches.cut(&self.pack[start..end]) {
            match piece {
                Piece::Found { parent, offset, count } => self.copy(parent, offset, count),
                Piece::Lost(range) => {
                    self.take(Kind::Bytes, &self.pack[start + range.start..start + range.end], None);
                }
            }
        }
    }

    /// A stream of numbers: copied, as they are, or less those of one parent, whichever packs smallest.
    fn numbers(&mut self, numbers: &Numbers) -> Result<(), Error> {
        let stream = &self.pack[numbers.offset..numbers.offset + numbers.bytes];
        let size = |before: Option<&[u8]>| {
            let mut planes = vec![Vec::new(); numbers.kind.width()];
            to_planes(stream, before, &mut planes);
            packed(planes.iter()).map(|packed| packed.len())
        };
        let (mut smallest, mut best) = (size(None)?, None);
        for &(parent, offset) in &numbers.before {
            let before = &self.parents[parent].content()[offset..offset + numbers.bytes];
            if before == stream {
                self.copy(parent, offset, numbers.bytes);
                return Ok(());
            }
            let found = size(Some(before))?;
            if found < smallest {
                (smallest, best) = (found, Some((parent, offset)));
            }
        }
        self.take(best.map_or(numbers.kind, |_| numbers.sums), stream, best);
        Ok(())
    }

    fn copy(&mut self, parent: usize, offset: usize, count: usize) {
        let place = Place { parent: parent as u64, offset: offset as u64 };
        self.operations.push(Operation { kind: None, count: count as u64, parent: Some(place) });
    }

    /// Numbers out of the frame, less those at this place of a parent.
    fn take(&mut self, kind: Kind, numbers: &[u8], before: Option<(usize, usize)>) {
        let from = before.map(|(parent, offset)| &self.parents[parent].content()[offset..offset + numbers.len()]);
        to_planes(numbers, from, &mut self.planes[kind.place()]);
        let parent = before.map(|(parent, offset)| Place { parent: parent as u64, offset: offset as u64 });
        let count = (numbers.len() / kind.width()) as u64;
        self.operations.push(Operation { kind: Some(kind), count, parent });
    }

    /// Numbers the parents anew that an operation names, and returns them by their numbers before.
    fn drop_unused(&mut self) -> Vec<usize> {
        let named = self.operations.iter().filter_map(|operation| operation.parent);
        let mut used: Vec<usize> = named.map(|place| place.parent as usize).collect();
        used.sort_unstable();
        used.dedup();
        for place in self.operations.iter_mut().filter_map(|operation| operation.parent.as_mut()) {
            place.parent = used.partition_point(|used| (*used as u64) < place.parent) as u64;
        }
        used
    }

    /// Bytes that are copied, that are sums, that are sent as they are.
    fn shares(&self) -> [u64; 3] {
        let mut shares = [0; 3];
        for operation in &self.operations {
            let place = match operation.kind {
                None => 0,
                Some(kind) if kind.is_sum() => 1,
                Some(_) => 2,
            };
            shares[place] += operation.size_bytes().unwrap_or_default();
        }
        shares
    }

    fn encoded_operations(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.operations.iter().for_each(|operation| operation.encode(&mut bytes));
        bytes
    }
}
