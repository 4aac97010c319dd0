//! A model as ONNX Runtime saves it with packed weights: which tensors it keeps in its data file, and their packed forms.
//!
//! ONNX Runtime (1.22 and newer) notes a packed form beside the place of the tensor that it is made of, in an entry of
//! `external_data`: `prepacked_0` = `KERNEL+HASH|OFFSET;LENGTH;CHECKSUM`. When the saved model is opened, the library packs
//! the tensor once more, finds the hash again, and uses the bytes of the file in place of its own: mapped, privately.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use taskvec_bundle::onnx::{
    ATTRIBUTE_GRAPHS, ENTRY_KEY, ENTRY_VALUE, Fields, GRAPH_INITIALIZER, GRAPH_NODE, MODEL_GRAPH, NODE_ATTRIBUTE,
    NODE_INPUT, TENSOR_EXTERNAL_DATA, TENSOR_NAME, string, write_field,
};

/// Where pieces begin: at a page of every system, of which the largest are 64 KiB.
const PIECE_ALIGN: usize = 64 << 10;
const OFFSET: &[u8] = b"offset";
const LENGTH: &[u8] = b"length";
const PACKED: &[u8] = b"prepacked_";

/// A tensor in the data file.
pub(super) struct Saved {
    /// Where the one packed form of it lies.
    pub(super) packed: Range<usize>,
}

/// The tensors of which the saved model has one packed form in one piece and whose only use is that of one node, by name.
/// None if the model cannot be read or has graphs within nodes, of which it cannot be said what they use.
pub(super) fn packed_tensors(model: &[u8]) -> Option<BTreeMap<&str, Saved>> {
    let mut uses: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut tensors = BTreeMap::new();
    for graph in graphs(model)? {
        for field in Fields(graph) {
            let field = field?;
            if let Some(node) = field.payload_of(GRAPH_NODE) {
                for part in Fields(node) {
                    let part = part?;
                    if let Some(name) = part.payload_of(NODE_INPUT) {
                        *uses.entry(name).or_default() += 1;
                    }
                    if let Some(attribute) = part.payload_of(NODE_ATTRIBUTE) {
                        for inner in Fields(attribute) {
                            let inner = inner?;
                            if ATTRIBUTE_GRAPHS.iter().any(|&number| inner.payload_of(number).is_some()) {
                                return None;
                            }
                        }
                    }
                }
            } else if let Some(tensor) = field.payload_of(GRAPH_INITIALIZER) {
                let mut forms = entries(tensor)?.filter(|(key, _)| key.starts_with(PACKED));
                if let (Some((_, form)), None) = (forms.next(), forms.next())
                    && let [(offset, length, _)] = places(form)?[..]
                {
                    tensors.insert(string(tensor, TENSOR_NAME)??, (offset, length));
                }
            }
        }
    }
    let once = tensors.into_iter().filter(|(name, _)| uses.get(name) == Some(&1));
    let named = once.map(|(name, (offset, length))| {
        let packed = offset..offset.checked_add(length)?;
        Some((str::from_utf8(name).ok()?, Saved { packed }))
    });
    named.collect()
}

/// Writes the data of `model` to `out` so that each tensor and each packed form begins at a page of its own, and gives the
/// model with the new places. None if the model cannot be read or its data is not in `data`.
pub(super) fn in_pages(model: &[u8], data: &[u8], out: &mut impl Write) -> io::Result<Option<Vec<u8>>> {
    let mut written = Written { out, length: 0, failed: None };
    let moved = model_in_pages(model, data, &mut written);
    match written.failed {
        Some(cause) => Err(cause),
        None => Ok(moved),
    }
}

struct Written<'a, W> {
    out: &'a mut W,
    length: usize,
    failed: Option<io::Error>,
}

impl<W: Write> Written<'_, W> {
    /// Appends the bytes, and zeros to the end of their last page; says where they begin.
    fn append(&mut self, bytes: &[u8]) -> Option<usize> {
        let start = self.length;
        let padding = bytes.len().next_multiple_of(PIECE_ALIGN) - bytes.len();
        self.length = start.checked_add(bytes.len())?.checked_add(padding)?;
        match self.out.write_all(bytes).and_then(|()| self.out.write_all(&[0; PIECE_ALIGN][..padding])) {
            Ok(()) => Some(start),
            Err(cause) => {
                self.failed = Some(cause);
                None
            }
        }
    }
}

fn model_in_pages(model: &[u8], data: &[u8], out: &mut Written<'_, impl Write>) -> Option<Vec<u8>> {
    rewritten(model, MODEL_GRAPH, &mut |graph| {
        rewritten(graph, GRAPH_INITIALIZER, &mut |tensor| {
            let length = entries(tensor)?.find(|(key, _)| *key == LENGTH);
            rewritten(tensor, TENSOR_EXTERNAL_DATA, &mut |entry| {
                let (key, value) = key_and_value(entry)?;
                let mut append =
                    |offset: usize, length: usize| out.append(data.get(offset..offset.checked_add(length)?)?);
                let moved = if key == OFFSET {
                    append(number(value)?, number(length?.1)?)?.to_string()
                } else if key.starts_with(PACKED) {
                    let mut moved = str::from_utf8(value).ok()?.split('|').next()?.to_owned();
                    for (offset, length, checksum) in places(value)? {
                        moved += &format!("|{};{length};{checksum}", append(offset, length)?);
                    }
                    moved
                } else {
                    return Some(entry.to_vec());
                };
                let mut entry = Vec::new();
                write_field(&mut entry, ENTRY_KEY, key);
                write_field(&mut entry, ENTRY_VALUE, moved.as_bytes());
                Some(entry)
            })
        })
    })
}

/// The message with other bytes for each of its messages `number`; everything else is copied.
fn rewritten(message: &[u8], number: u64, other: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(message.len());
    for field in Fields(message) {
        let field = field?;
        match field.payload_of(number) {
            Some(inner) => write_field(&mut bytes, number, &other(inner)?),
            None => bytes.extend_from_slice(field.whole),
        }
    }
    Some(bytes)
}

fn graphs(model: &[u8]) -> Option<Vec<&[u8]>> {
    let mut graphs = Vec::new();
    for field in Fields(model) {
        graphs.extend(field?.payload_of(MODEL_GRAPH));
    }
    Some(graphs)
}

/// Keys and values of a tensor's `external_data`.
fn entries(tensor: &[u8]) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
    let mut entries = Vec::new();
    for field in Fields(tensor) {
        if let Some(entry) = field?.payload_of(TENSOR_EXTERNAL_DATA) {
            entries.push(key_and_value(entry)?);
        }
    }
    Some(entries.into_iter())
}

fn key_and_value(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((string(entry, ENTRY_KEY)??, string(entry, ENTRY_VALUE)??))
}

/// Offset, length and checksum of each piece of a packed form.
fn places(form: &[u8]) -> Option<Vec<(usize, usize, &str)>> {
    let pieces = str::from_utf8(form).ok()?.split('|').skip(1);
    pieces
        .map(|piece| {
            let (offset, rest) = piece.split_once(';')?;
            let (length, checksum) = rest.split_once(';')?;
            Some((offset.parse().ok()?, length.parse().ok()?, checksum))
        })
        .collect()
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_field(&mut bytes, number, payload);
        bytes
    }

    fn tensor(name: &str, entries: &[(&str, &str)]) -> Vec<u8> {
        let entry = |(key, value): &(&str, &str)| {
            let entry = [field(ENTRY_KEY, key.as_bytes()), field(ENTRY_VALUE, value.as_bytes())].concat();
            field(TENSOR_EXTERNAL_DATA, &entry)
        };
        let entries: Vec<u8> = entries.iter().flat_map(entry).collect();
        field(GRAPH_INITIALIZER, &[field(TENSOR_NAME, name.as_bytes()), entries].concat())
    }

    fn node(inputs: &[&str], attributes: &[u8]) -> Vec<u8> {
        let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(NODE_INPUT, name.as_bytes())).collect();
        field(GRAPH_NODE, &[inputs, attributes.to_vec()].concat())
    }

    fn model(parts: &[Vec<u8>]) -> Vec<u8> {
        [field(1, b"odd"), field(MODEL_GRAPH, &parts.concat()), field(2, b"ends")].concat()
    }

    fn w(form: &str) -> Vec<u8> {
        tensor("w", &[("location", "data"), ("offset", "2"), ("length", "3"), ("prepacked_0", form)])
    }

    #[test]
    fn a_tensor_with_one_packed_form_that_one_node_uses_is_found() {
        let found = |parts: &[Vec<u8>]| {
            packed_tensors(&model(parts)).map(|tensors| tensors.get("w").map(|saved| saved.packed.clone()))
        };
        let used = node(&["x", "w"], &[]);
        assert_eq!(found(&[used.clone(), w("Gemm+1|10;4;0")]), Some(Some(10..14)));
        assert_eq!(found(&[used.clone(), used.clone(), w("Gemm+1|10;4;0")]), Some(None), "used twice");
        assert_eq!(found(&[w("Gemm+1|10;4;0")]), Some(None), "not used");
        assert_eq!(found(&[used.clone(), w("Gemm+1|10;4;0|14;4;0")]), Some(None), "in two pieces");
        let twice = tensor("w", &[("prepacked_0", "a|1;2;0"), ("prepacked_1", "b|3;4;0")]);
        assert_eq!(found(&[used.clone(), twice]), Some(None), "in two forms");
        assert_eq!(found(&[used.clone(), w("Gemm+1|ten;4;0")]), None);
        assert_eq!(found(&[used, w(&format!("Gemm+1|10;{};0", usize::MAX))]), None);
        let branch = field(NODE_ATTRIBUTE, &field(ATTRIBUTE_GRAPHS[0], b""));
        assert_eq!(found(&[node(&["w"], &branch), w("Gemm+1|10;4;0")]), None, "a graph within a node");
    }

    #[test]
    fn each_piece_moves_to_a_page_of_its_own_and_nothing_else_changes() {
        let data: Vec<u8> = (0..20).collect();
        let small = field(GRAPH_INITIALIZER, &[field(TENSOR_NAME, b"s"), field(9, b"raw")].concat());
        let before = model(&[node(&["w"], &[]), small.clone(), w("Gemm+1|10;4;0|15;2;9")]);
        let mut out = Vec::new();
        let after = in_pages(&before, &data, &mut out).unwrap().unwrap();
        let moved = tensor(
            "w",
            &[("location", "data"), ("offset", "0"), ("length", "3"), ("prepacked_0", "Gemm+1|65536;4;0|131072;2;9")],
        );
        assert_eq!(after, model(&[node(&["w"], &[]), small, moved]));
        assert_eq!(out.len(), 3 * PIECE_ALIGN);
        assert_eq!(
            (&out[..4], &out[65536..65541], &out[131072..131075]),
            (&[2, 3, 4, 0][..], &[10, 11, 12, 13, 0][..], &[15, 16, 0][..])
        );
        assert!(in_pages(&before, &data[..15], &mut Vec::new()).unwrap().is_none(), "data is missing");
    }

    #[test]
    fn a_disk_that_is_full_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let cause = in_pages(&model(&[w("Gemm+1|10;4;0")]), &[0; 20], &mut Full).unwrap_err();
        assert_eq!(cause.kind(), io::ErrorKind::StorageFull);
    }
}
