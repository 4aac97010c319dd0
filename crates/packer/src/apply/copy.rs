//! The base as a safetensors file, to be changed in place: its own bytes, or, for any other form, its tensors written anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use taskvec_checkpoint::{Checkpoint, Form, PART_ELEMENTS, StoredTensor};

use crate::error::{Error, Result};

/// The first tensor starts at a multiple of this, as in the bundles that we write.
const DATA_ALIGNMENT_BYTES: u64 = 64;
/// The one name in a header that is no tensor's.
const METADATA: &str = "__metadata__";
/// Of the length that a safetensors file starts with.
const LENGTH_BYTES: u64 = 8;

/// Writes `base` to `out`, which will be `path`; where each tensor lies in it.
pub(crate) fn copy<'a>(base: &'a Checkpoint, out: &mut impl Write, path: &Path) -> Result<HashMap<&'a str, u64>> {
    let refused = |cause| Error::io("write", path, cause);
    if base.form() == Form::Safetensors {
        let original = File::open(base.path()).map_err(|cause| Error::io("read", base.path(), cause))?;
        io::copy(&mut BufReader::new(original), out).map_err(refused)?;
        return Ok(base.tensors().iter().map(|tensor| (tensor.name(), tensor.offset())).collect());
    }
    if base.tensor(METADATA).is_some() {
        return Err(Error::usage(format!("no safetensors file can have a tensor of the name `{METADATA}`"))
            .with_help("rename it in the base"));
    }
    let mut sorted: Vec<&StoredTensor> = base.tensors().iter().collect();
    sorted.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype().alignment_bytes()));
    let (header, offsets) = header(&sorted);
    out.write_all(&header).map_err(refused)?;
    let mut part = Vec::new();
    for tensor in sorted {
        let mut reader = base.reader(tensor)?;
        while reader.read(PART_ELEMENTS, &mut part)? {
            out.write_all(&part).map_err(refused)?;
        }
    }
    Ok(offsets)
}

/// The header of a file with these tensors in this order, and where each will lie.
fn header<'a>(tensors: &[&'a StoredTensor]) -> (Vec<u8>, HashMap<&'a str, u64>) {
    let mut json = Map::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.size_bytes();
        let entry = json!({"dtype": tensor.dtype().name(), "shape": tensor.shape(), "data_offsets": [offset, end]});
        json.insert(tensor.name().to_owned(), entry);
        offset = end;
    }
    let json = Value::Object(json).to_string().into_bytes();
    let data_offset = (LENGTH_BYTES + json.len() as u64).next_multiple_of(DATA_ALIGNMENT_BYTES);
    let mut header = (data_offset - LENGTH_BYTES).to_le_bytes().to_vec();
    header.extend(json);
    header.resize(data_offset as usize, b' ');
    let mut offsets = HashMap::new();
    let mut offset = data_offset;
    for tensor in tensors {
        offsets.insert(tensor.name(), offset);
        offset += tensor.size_bytes();
    }
    (header, offsets)
}
