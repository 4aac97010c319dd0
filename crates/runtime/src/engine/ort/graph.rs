//! Who gives the editable tensors of `graph.onnx` their values: a walk over its bytes that leaves some entries out.
//!
//! As it is written, the graph has each editable tensor twice: as an input, and as an initializer that is the input's
//! default. Either can be left out. Without the input the tensor is a constant, which a library may fold and pack as it
//! likes ([`constants`]); without the initializer it is an input and nothing else, so that no library can take the
//! base's value for it ([`bare_inputs`]).
//!
//! Everything else is copied as it is, byte for byte: fields of newer versions of ONNX, their order, and how their
//! numbers are written. So nothing has to be known of ONNX but where names stand, and no message is encoded again but the graph's own length.

use std::collections::BTreeSet;

use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};
use taskvec_bundle::onnx::{
    Fields, GRAPH_INITIALIZER, GRAPH_INPUT, MODEL_GRAPH, TENSOR_NAME, VALUE_NAME, string, write_field,
};

/// A kind of entry of a graph that can be left out.
struct Entry {
    field: u64,
    name: u64,
    /// What it is called, for people.
    what: &'static str,
}

const INPUTS: Entry = Entry { field: GRAPH_INPUT, name: VALUE_NAME, what: "input" };
const INITIALIZERS: Entry = Entry { field: GRAPH_INITIALIZER, name: TENSOR_NAME, what: "initializer" };

/// The graph with the editable tensors of `base` as constants: initializers that nobody can override.
///
/// # Errors
/// `Damaged` when `graph` is no protobuf message; `Mismatch` when an editable tensor is no input of it.
pub(super) fn constants(graph: &[u8], base: &BaseModel) -> Result<Vec<u8>, Error> {
    without(graph, base, &editable(base), &INPUTS)
}

/// The graph with those editable tensors of `base` as constants that are called `names`.
///
/// # Errors
/// As [`constants`].
pub(super) fn some_constants(graph: &[u8], base: &BaseModel, names: &[&str]) -> Result<Vec<u8>, Error> {
    without(graph, base, &names.iter().map(|name| name.as_bytes()).collect(), &INPUTS)
}

/// The graph with the editable tensors of `base` as inputs that have no default.
///
/// # Errors
/// `Damaged` when `graph` is no protobuf message; `Mismatch` when an editable tensor is no initializer of it.
pub(super) fn bare_inputs(graph: &[u8], base: &BaseModel) -> Result<Vec<u8>, Error> {
    without(graph, base, &editable(base), &INITIALIZERS)
}

fn editable(base: &BaseModel) -> BTreeSet<&[u8]> {
    base.tensors().iter().filter(|tensor| tensor.editable).map(|tensor| tensor.name.as_bytes()).collect()
}

fn without(graph: &[u8], base: &BaseModel, names: &BTreeSet<&[u8]>, entry: &Entry) -> Result<Vec<u8>, Error> {
    let (bytes, left_out) = model_without(graph, names, entry).ok_or_else(|| {
        Error::new(ErrorKind::Damaged, format!("`{}`: not a protobuf message", base.graph_path().display()))
            .with_help("copy the bundle again")
    })?;
    match names.difference(&left_out).next() {
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
        let Some(graph) = field.payload_of(MODEL_GRAPH) else {
            bytes.extend_from_slice(field.whole);
            continue;
        };
        let mut kept = Vec::with_capacity(graph.len());
        for inner in Fields(graph) {
            let inner = inner?;
            let name = match inner.payload_of(entry.field) {
                Some(message) => string(message, entry.name)?,
                None => None,
            };
            match name.filter(|name| names.contains(name)) {
                Some(name) => _ = left_out.insert(name),
                None => kept.extend_from_slice(inner.whole),
            }
        }
        write_field(&mut bytes, MODEL_GRAPH, &kept);
    }
    Some((bytes, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_field(&mut bytes, number, payload);
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
