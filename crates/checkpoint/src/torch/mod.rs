//! PyTorch checkpoints (`torch.save`): pickles read as data, numbers read where they lie.
//!
//! A pickle is a program for a stack machine that can call any function of the reader's. This reader has none to call: it
//! knows the few globals that state dicts name (`machine.rs`), makes values of its own for them, and refuses all else by name.
//! Archives are zip files whose entries are stored as they are, so tensors are views into the archive and nothing is unpacked.

mod archive;
mod legacy;
mod machine;
mod pickle;
mod state_dict;

use std::collections::HashMap;
use std::ops::Range;

use taskvec_bundle::StoredDtype;
use taskvec_dataset::{Error, Result};

use crate::limits::Limits;
use crate::source::damaged;
use crate::table::Table;
use crate::tensor::{Place, StoredTensor};
use archive::Archive;
use pickle::{Pickle, Storage};

/// The first local header of a zip archive.
pub(crate) const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// A pickle of protocol 2 or above: the opcode that says so.
pub(crate) const PICKLE_MAGIC: &[u8] = b"\x80";

/// `DataParallel` and its like put this before every name.
const PARALLEL_PREFIX: &str = "module.";

/// Adds the tensors of the first file, a zip archive.
pub(crate) fn read_archive(table: &mut Table, limits: &Limits) -> Result<()> {
    let source = table.first();
    let archive = Archive::read(source, limits)?;
    let pickle = archive.entry("data.pkl")?;
    if let Ok(order) = archive.entry("byteorder") {
        let order = source.bytes("`byteorder`", order.start, order.end - order.start, limits.header_bytes_max)?;
        if order != b"little" {
            let found = String::from_utf8_lossy(&order).chars().take(16).collect::<String>();
            return Err(Error::unsupported(format!("its numbers are in the byte order `{found}`, `little` is read"))
                .with_help("save the checkpoint again on a little-endian machine"));
        }
    }
    let bytes = source.bytes("`data.pkl`", pickle.start, pickle.end - pickle.start, limits.header_bytes_max)?;
    let pickle = Pickle::read(&bytes, limits)?;
    add(table, &pickle, limits, |storage| archive.entry(&format!("data/{}", pickle.text(storage.key))))
}

/// Adds the tensors of the first file: pickles, then storages.
pub(crate) fn read_legacy(table: &mut Table, limits: &Limits) -> Result<()> {
    let source = table.first();
    let bytes = source.start(limits.header_bytes_max)?;
    let (pickle, storages) = legacy::read(source, &bytes, limits)?;
    add(table, &pickle, limits, |storage| {
        let key = pickle.text(storage.key);
        storages.get(key).cloned().ok_or_else(|| damaged(format!("storage `{key}` is named and not there")))
    })
}

/// Adds the tensors of the state dict in `pickle`; `find` says where the bytes of a storage lie.
fn add(
    table: &mut Table,
    pickle: &Pickle<'_>,
    limits: &Limits,
    find: impl Fn(&Storage) -> Result<Range<u64>>,
) -> Result<()> {
    let found = state_dict::find(pickle)?;
    let mut ranges: HashMap<(&str, StoredDtype), Range<u64>> = HashMap::new();
    for (name, view) in found.tensors {
        let storage = &view.storage;
        let key = (pickle.text(storage.key), storage.dtype);
        let range = match ranges.get(&key) {
            Some(range) => range.clone(),
            None => ranges.entry(key).or_insert(checked(find(storage)?, storage, key.0)?).clone(),
        };
        let element_bytes = storage.dtype.size_bits() / 8;
        let offset = view.offset.checked_mul(element_bytes).and_then(|offset| offset.checked_add(range.start));
        let offset = offset.ok_or_else(|| damaged(format!("tensor `{name}` begins at element {}", view.offset)))?;
        let place = Place { file: 0, offset, strides: Some(view.strides.clone()) };
        table.add(StoredTensor::within(name.to_owned(), storage.dtype, view.shape.clone(), place, range)?, limits)?;
    }
    table.notes.extend(found.note);
    table.strip(PARALLEL_PREFIX);
    Ok(())
}

/// That the bytes of a storage are as many as the pickle says.
fn checked(range: Range<u64>, storage: &Storage, key: &str) -> Result<Range<u64>> {
    let found = range.end - range.start;
    if storage.element_count.checked_mul(storage.dtype.size_bits() / 8) != Some(found) {
        let (count, dtype) = (storage.element_count, storage.dtype.name());
        return Err(damaged(format!("storage `{key}` of {count} {dtype} elements has {found} bytes")));
    }
    Ok(range)
}
