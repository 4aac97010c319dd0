//! What `torch.save` wrote before PyTorch 1.6: a magic number, a version, a description of the machine, the object, the keys of
//! its storages, each a pickle; then the storages in the order of the keys, each with its length before it.

use std::collections::HashMap;
use std::ops::Range;

use taskvec_bundle::StoredDtype;
use taskvec_dataset::{Error, Result};

use super::pickle::{Pickle, Value};
use crate::limits::Limits;
use crate::source::{Source, damaged};

/// `MAGIC_NUMBER` of `torch.serialization`, as the whole pickle that it is.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// `PROTOCOL_VERSION` of `torch.serialization`.
const VERSION: i64 = 1001;
/// Bytes of the length before each storage.
const LENGTH_BYTES: u64 = 8;

/// The pickle of the object in `start`, the first bytes of `source`; and where each storage lies.
pub(super) fn read<'a>(
    source: &Source,
    start: &'a [u8],
    limits: &Limits,
) -> Result<(Pickle<'a>, HashMap<String, Range<u64>>)> {
    let Some(mut rest) = start.strip_prefix(MAGIC) else {
        // Whatever it is: read as data it says what it would have called.
        Pickle::read(start, limits)?;
        return Err(Error::unsupported("as a pickle: `torch.save` did not write it")
            .with_help("name a checkpoint that `torch.save` wrote"));
    };
    let mut next = || {
        let pickle = Pickle::read(rest, limits)?;
        rest = &rest[pickle.end..];
        Ok::<_, Error>(pickle)
    };
    let version = next()?.root;
    if version != Value::Integer(VERSION) {
        return Err(Error::unsupported(format!("its version is {version:?}, expected {VERSION}")));
    }
    // The machine: all of those that are left are little-endian.
    next()?;
    let object = next()?;
    let keys = next()?;
    let listed = match keys.root {
        Value::List(index) => keys.list(index),
        _ => return Err(damaged("the keys of its storages are no list")),
    };
    let dtypes = dtypes(&object);
    let mut offset = (start.len() - rest.len()) as u64;
    let mut ranges = HashMap::new();
    for key in listed {
        let Value::Text(key) = key else { return Err(damaged("the key of a storage is no text")) };
        let key = keys.text(*key);
        let length = source.bytes(&format!("storage `{key}`"), offset, LENGTH_BYTES, LENGTH_BYTES)?;
        let count = length.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte));
        // A storage that no tensor is a view of: its elements have no size that is known, and what follows is lost.
        let dtype = dtypes.get(key).ok_or_else(|| damaged(format!("storage `{key}` has no type")))?;
        let begin = offset + LENGTH_BYTES;
        let end = count.checked_mul(dtype.size_bits() / 8).and_then(|bytes| begin.checked_add(bytes));
        let Some(end) = end.filter(|&end| end <= source.size_bytes()) else {
            return Err(damaged(format!("storage `{key}` of {count} elements ends after the file")));
        };
        if ranges.insert(key.to_owned(), begin..end).is_some() {
            return Err(damaged(format!("storage `{key}` is there twice")));
        }
        offset = end;
    }
    Ok((object, ranges))
}

fn dtypes<'p>(object: &'p Pickle<'_>) -> HashMap<&'p str, StoredDtype> {
    object.storages().map(|storage| (object.text(storage.key), storage.dtype)).collect()
}
