//! Who gives the editable tensors of `graph.onnx` their values: a walk over its bytes that leaves some entries out.
//!
//! As it is written, the graph has each editable tensor twice: as an input, and as an initializer that is the input's
//! default. Either can be left out. Without the input the tensor is a constant, which a library may fold and pack as it
//! likes ([`constants`]); without the initializer it is an input and nothing else, so that no library can take the
//! base's value for it ([`bare_inputs`]).
//!
//! Everything else is copied as it is, byte for byte: fields of newer versions of ONNX, their order, and how their
//! numbers are written. So nothing has to be known of ONNX but where names stand (`onnx.proto`, IR version 3 and
//! above), and no message is encoded again but the graph's own length.

use std::collections::BTreeSet;

use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};

/// `ModelProto.graph`.
const MODEL_GRAPH: u64 = 7;
/// `GraphProto.initializer`, of `TensorProto`.
const GRAPH_INITIALIZER: u64 = 5;
/// `GraphProto.input`, of `ValueInfoProto`.
const GRAPH_INPUT: u64 = 11;
/// `TensorProto.name`.
const TENSOR_NAME: u64 = 8;
/// `ValueInfoProto.name`.
const VALUE_NAME: u64 = 1;

/// The wire type of strings, messages and bytes: a length and that many bytes.
const LENGTH_DELIMITED: u64 = 2;

/// A kind of entry of a graph that can be left out.
struct Entry {
    field: u64,
    name: u64,
    /// What it is called, for people.
    what: &'static str,
}

/// The graph with the editable tensors of `base` as constants: initializers that nobody can override.
///
/// # Errors
/// `Damaged` when `graph` is no protobuf message; `Mismatch` when an editable tensor is no input of it.
pub(super) fn constants(graph: &[u8], base: &BaseModel) -> Result<Vec<u8>, Error> {
    without(graph, base, &Entry { field: GRAPH_INPUT, name: VALUE_NAME, what: "input" })
}

/// The graph with the editable tensors of `base` as inputs that have no default.
///
/// # Errors
/// `Damaged` when `graph` is no protobuf message; `Mismatch` when an editable tensor is no initializer of it.
pub(super) fn bare_inputs(graph: &[u8], base: &BaseModel) -> Result<Vec<u8>, Error> {
    without(graph, base, &Entry { field: GRAPH_INITIALIZER, name: TENSOR_NAME, what: "initializer" })
}

fn without(graph: &[u8], base: &BaseModel, entry: &Entry) -> Result<Vec<u8>, Error> {
    let editable: BTreeSet<&[u8]> =
        base.tensors().iter().filter(|tensor| tensor.editable).map(|tensor| tensor.name.as_bytes()).collect();
    let (bytes, left_out) = model_without(graph, &editable, entry).ok_or_else(|| {
        Error::new(ErrorKind::Damaged, format!("`{}`: not a protobuf message", base.graph_path().display()))
            .with_help("copy the bundle again")
    })?;
    match editable.difference(&left_out).next() {
        None => Ok(bytes),
        Some(missing) => {
            let (name, what) = (String::from_utf8_lossy(missing), entry.what);
            let clause = format!("tensor `{name}`: editable in `base.json`, and no {what} of `graph.onnx`");
            Err(Error::new(ErrorKind::Mismatch, clause)
                .with_help("`base.json` and `graph.onnx` are of two bundles: copy the bundle again"))
        }
    }
}

/// The model without the entries of these names, and the names that were left out; nothing if it cannot be read.
fn model_without<'a>(model: &'a [u8], names: &BTreeSet<&[u8]>, entry: &Entry) -> Option<(Vec<u8>, BTreeSet<&'a [u8]>)> {
    let mut bytes = Vec::with_capacity(model.len());
    let mut left_out = BTreeSet::new();
    for field in Fields(model) {
        let field = field?;
        if field.number != MODEL_GRAPH || field.wire != LENGTH_DELIMITED {
            bytes.extend_from_slice(field.whole);
            continue;
        }
        let mut kept = Vec::with_capacity(field.payload.len());
        for inner in Fields(field.payload) {
            let inner = inner?;
            let name = if inner.number == entry.field && inner.wire == LENGTH_DELIMITED {
                name_of(inner.payload, entry.name)?
            } else {
                None
            };
            match name.filter(|name| names.contains(name)) {
                Some(name) => _ = left_out.insert(name),
                None => kept.extend_from_slice(inner.whole),
            }
        }
        write_varint(&mut bytes, (MODEL_GRAPH << 3) | LENGTH_DELIMITED);
        write_varint(&mut bytes, kept.len() as u64);
        bytes.extend_from_slice(&kept);
    }
    Some((bytes, left_out))
}

/// The name in a message, if it has one; the last counts, as everywhere in protobuf. `None` outside: it cannot be read.
fn name_of(message: &[u8], number: u64) -> Option<Option<&[u8]>> {
    let mut name = None;
    for field in Fields(message) {
        let field = field?;
        if field.number == number && field.wire == LENGTH_DELIMITED {
            name = Some(field.payload);
        }
    }
    Some(name)
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    wire: u64,
    /// All its bytes, with its key.
    whole: &'a [u8],
    /// Its value, without the length.
    payload: &'a [u8],
}

/// The fields of a message in their order; `None` once, at the end, if the bytes are no message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = first_field(self.0);
        self.0 = field.as_ref().and_then(|field| self.0.get(field.whole.len()..)).unwrap_or_default();
        Some(field)
    }
}

fn first_field(bytes: &[u8]) -> Option<Field<'_>> {
    let (key, mut offset) = read_varint(bytes)?;
    let (number, wire) = (key >> 3, key & 7);
    let length = match wire {
        0 => read_varint(bytes.get(offset..)?)?.1,
        1 => 8,
        5 => 4,
        LENGTH_DELIMITED => {
            let (length, taken) = read_varint(bytes.get(offset..)?)?;
            offset += taken;
            usize::try_from(length).ok()?
        }
        // Groups, which ONNX never had, and what protobuf does not have.
        _ => return None,
    };
    let end = offset.checked_add(length)?;
    Some(Field { number, wire, whole: bytes.get(..end)?, payload: bytes.get(offset..end)? })
}

/// A number and how many bytes it takes.
fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: Entry = Entry { field: GRAPH_INPUT, name: VALUE_NAME, what: "input" };
    const INITIALIZERS: Entry = Entry { field: GRAPH_INITIALIZER, name: TENSOR_NAME, what: "initializer" };

    fn message(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_varint(&mut bytes, (number << 3) | LENGTH_DELIMITED);
        write_varint(&mut bytes, payload.len() as u64);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// A field with a key and a length that are written longer than they need to be.
    fn long_winded(number: u8, payload: u8) -> Vec<u8> {
        vec![(number << 3) | 0x82, 0x80, 0x00, 0x81, 0x00, payload]
    }

    /// A number, a double, a float, a field of a number that no version of ONNX has, and one that is long-winded.
    fn odd_fields() -> Vec<u8> {
        let mut bytes = vec![(1 << 3), 0x96, 0x01, (2 << 3) | 1];
        bytes.extend([7; 8]);
        bytes.extend([(3 << 3) | 5, 1, 2, 3, 4]);
        bytes.extend(message(1_000_000, b"of tomorrow"));
        bytes.extend(long_winded(9, b'x'));
        bytes
    }

    fn initializer(name: &str) -> Vec<u8> {
        let tensor = [odd_fields(), message(TENSOR_NAME, name.as_bytes()), odd_fields()].concat();
        message(GRAPH_INITIALIZER, &tensor)
    }

    fn input(name: &str) -> Vec<u8> {
        message(GRAPH_INPUT, &[message(VALUE_NAME, name.as_bytes()), odd_fields()].concat())
    }

    fn model(entries: &[Vec<u8>]) -> Vec<u8> {
        [odd_fields(), message(MODEL_GRAPH, &entries.concat()), odd_fields()].concat()
    }

    fn without_names(model: &[u8], names: &[&str], entry: &Entry) -> Option<Vec<u8>> {
        let names: BTreeSet<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let (bytes, left_out) = model_without(model, &names, entry)?;
        assert_eq!(left_out, names);
        Some(bytes)
    }

    #[test]
    fn entries_of_a_name_go_and_every_other_byte_stays() {
        let all = [odd_fields(), initializer("a"), input("a"), initializer("b"), input("b"), odd_fields()];
        let model_of = |kept: &[usize]| model(&kept.iter().map(|&index| all[index].clone()).collect::<Vec<_>>());
        let whole = model_of(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(without_names(&whole, &["a"], &INPUTS).unwrap(), model_of(&[0, 1, 3, 4, 5]));
        assert_eq!(without_names(&whole, &["a", "b"], &INPUTS).unwrap(), model_of(&[0, 1, 3, 5]));
        assert_eq!(without_names(&whole, &["b"], &INITIALIZERS).unwrap(), model_of(&[0, 1, 2, 4, 5]));
        assert_eq!(without_names(&whole, &[], &INITIALIZERS).unwrap(), whole);
    }

    #[test]
    fn bytes_that_are_no_message_are_refused_wherever_they_are_cut() {
        let whole = model(&[initializer("a"), input("a")]);
        // Where a model ends behind a whole field, it is a shorter model; only there it can be read.
        let ends = {
            let mut ends = vec![0];
            for field in Fields(&whole) {
                ends.push(ends[ends.len() - 1] + field.unwrap().whole.len());
            }
            ends
        };
        for end in 0..whole.len() {
            let readable = model_without(&whole[..end], &BTreeSet::new(), &INPUTS).is_some();
            assert_eq!(readable, ends.contains(&end), "cut at {end}");
        }
    }

    #[test]
    fn lengths_beyond_the_bytes_groups_and_endless_numbers_are_refused() {
        let refused: [&[u8]; 4] = [
            &[(MODEL_GRAPH as u8) << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[(1 << 3) | 3, (1 << 3) | 4],
            &[0xff; 12],
            &[(MODEL_GRAPH as u8) << 3 | 2, 2, (GRAPH_INPUT as u8) << 3 | 2, 5],
        ];
        for bytes in refused {
            assert!(model_without(bytes, &BTreeSet::new(), &INPUTS).is_none(), "{bytes:x?}");
        }
    }
}
